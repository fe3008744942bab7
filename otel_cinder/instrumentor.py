"""CinderInstrumentor: the one place that lists every seam."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection
from typing import Any

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]

from otel_cinder import activation, redaction
from otel_cinder.cinder import (
    drivers,
    outcomes,
    packages,
    requests,
    resources,
    secret_options,
    services,
)
from otel_cinder.patching.internal_errors import log_internal_error
from otel_cinder.patching.patch_set import PatchSet, Seam
from otel_cinder.settings import Settings
from otel_cinder.spans.runtime import runtime


def _flows(patches: PatchSet) -> None:
    from otel_cinder.seams import flows

    flows.patch(patches, requests.result_attributes)


def _http(patches: PatchSet) -> None:
    from otel_cinder.seams import http

    http.patch(patches, services.API, requests.request_attributes, requests.attachment_attributes)


def _rpc(patches: PatchSet) -> None:
    from otel_cinder.seams import rpc

    rpc.patch(patches, services.service_of, services.is_periodic, requests.message_attributes)


def _notifications(patches: PatchSet) -> None:
    from otel_cinder.seams.rpc import notifications

    notifications.patch(patches, requests.context_attributes)


def _concurrency(patches: PatchSet) -> None:
    from otel_cinder.seams import concurrency

    concurrency.patch(patches, packages.is_cinders)


def _handled(patches: PatchSet) -> None:
    from otel_cinder.seams import handled_failures, interrupted

    handled_failures.patch(patches, outcomes)
    interrupted.patch(patches, services.service_of_manager, resources)


def _scheduler(patches: PatchSet) -> None:
    from otel_cinder.seams import scheduler

    scheduler.patch(patches, outcomes.backend_name, outcomes.choice)


def _driver(patches: PatchSet) -> None:
    from otel_cinder.seams import driver

    driver.patch(patches, drivers.driver_of, drivers.backend_of, drivers.QUIET_METHODS)


def _commands(patches: PatchSet) -> None:
    from otel_cinder.seams import commands

    commands.patch(patches)


def _images(patches: PatchSet) -> None:
    from otel_cinder.seams import images

    images.patch(patches)


def _logs(patches: PatchSet) -> None:
    from otel_cinder.seams import logs

    logs.patch(patches)


def _clients(patches: PatchSet) -> None:
    from otel_cinder.seams import clients

    clients.patch(patches)


def _configuration(patches: PatchSet) -> None:
    """Learn the configuration's secrets whenever it is read; and now, if that has been done."""

    def read(wrapped: Callable[..., Any], conf: Any, args: Any, kwargs: Any) -> Any:
        result = wrapped(*args, **kwargs)
        try:
            redaction.learn(secret_options.secret_options(conf))
        except Exception as error:
            log_internal_error("runtime", error)
        return result

    for method in ("__call__", "mutate_config_files", "reload_config_files"):
        patches.wrap("runtime", f"oslo_config.cfg:ConfigOpts.{method}", read)
    redaction.learn(secret_options.secret_options(sys.modules["oslo_config.cfg"].CONF))


def _lifecycle(patches: PatchSet) -> None:
    """Say that a service is traced when it starts, and export before it stops."""
    from otel_cinder.seams import lifecycle

    lifecycle.patch(patches, services.service_of, services.API)


SEAMS: dict[str, tuple[str, Callable[[PatchSet], None]]] = {
    "http": ("oslo_service.wsgi", _http),
    "flows": ("taskflow.engines.action_engine.engine", _flows),
    "rpc": ("oslo_messaging.rpc.server", _rpc),
    "notifications": ("oslo_messaging.notify.listener", _notifications),
    "concurrency": ("threading", _concurrency),
    "handled": ("cinder.objects", _handled),
    "scheduler": ("cinder.scheduler", _scheduler),
    "driver": ("threading", _driver),  # volume or backup: neither's manager imports the other's
    "commands": ("oslo_concurrency.processutils", _commands),
    "images": ("cinder.image.image_utils", _images),
    "logs": ("logging", _logs),
    "clients": ("oslo_messaging", _clients),
}
"""Seam -> the module whose import makes it worth loading, and what patches it.

A seam's own module is imported no earlier: it imports the library that it patches.
"""


class CinderInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """The entry point ``otel_cinder`` of group ``opentelemetry_instrumentor``. Idempotent."""

    _patches: PatchSet | None = None

    def instrumentation_dependencies(self) -> Collection[str]:
        """TaskFlow alone: where there's no oslo.messaging, there's nothing of it to patch."""
        return ("taskflow >= 5.0",)

    def instrument(self, **kwargs: Any) -> None:
        """See `otel_cinder.instrument`. A second call does nothing, quietly."""
        if not self.is_instrumented_by_opentelemetry:
            super().instrument(**kwargs)

    def uninstrument(self, **kwargs: Any) -> None:
        """See `otel_cinder.uninstrument`."""
        if self.is_instrumented_by_opentelemetry:
            super().uninstrument(**kwargs)

    def status(self) -> list[Seam]:
        """Every patched place and how it fared."""
        return self._patches.status() if self._patches else []

    def _instrument(self, **kwargs: Any) -> None:
        activation.deactivate()
        settings = kwargs.get("settings") or Settings.from_environ(os.environ)
        patches = CinderInstrumentor._patches = PatchSet()
        runtime.identify = services.resource_attributes
        runtime.start(
            settings, kwargs.get("tracer_provider"), patches, kwargs.get("meter_provider")
        )
        # Not seams: nobody may switch them off.
        _guarded("runtime", _lifecycle, patches)()
        secret_options = _guarded("runtime", _configuration, patches)
        patches.when_imported("oslo_config.cfg", secret_options)
        for name, (trigger, patch) in SEAMS.items():
            if name not in settings.disabled_seams:
                patches.when_imported(trigger, _guarded(name, patch, patches))

    def _uninstrument(self, **_kwargs: Any) -> None:
        activation.deactivate()
        if self._patches is not None:
            self._patches.undo()
        runtime.stop()
        redaction.forget()


def _guarded(name: str, patch: Callable[[PatchSet], None], patches: PatchSet) -> Callable[[], None]:
    def apply() -> None:
        try:
            patch(patches)
        except Exception as error:
            log_internal_error(name, error)

    return apply
