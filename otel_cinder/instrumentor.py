"""CinderInstrumentor: patches each seam once the library that it patches is imported."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Collection
from typing import Any, Final

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]

from otel_cinder import activation, redaction
from otel_cinder.cinder.secret_options import secret_options
from otel_cinder.cinder.services import resource_attributes
from otel_cinder.patching.internal_errors import log_internal_error
from otel_cinder.patching.patch_set import PatchSet, Seam
from otel_cinder.settings import Settings
from otel_cinder.spans.runtime import runtime

SEAMS: Final[dict[str, tuple[str, ...]]] = {
    "http": ("oslo_service.wsgi", "http"),
    "flows": ("taskflow.engines.action_engine.engine", "flows"),
    "rpc": ("oslo_messaging.rpc.server", "rpc"),
    "notifications": ("oslo_messaging.notify.listener", "rpc.notifications"),
    "concurrency": ("threading", "concurrency"),
    "handled": ("cinder.objects", "handled_failures", "interrupted"),
    "scheduler": ("cinder.scheduler", "scheduler"),
    "driver": ("threading", "driver"),  # volume or backup: neither's manager imports the other's
    "commands": ("oslo_concurrency.processutils", "commands"),
    "images": ("cinder.image.image_utils", "images"),
    "logs": ("logging", "logs"),
    "clients": ("oslo_messaging", "clients"),
}
"""Name -> the module to wait for, then the seam's own modules, each with a `patch`.

A seam's modules are imported no earlier, because they import the library that they patch.
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
        runtime.identify = resource_attributes
        runtime.start(
            settings, kwargs.get("tracer_provider"), patches, kwargs.get("meter_provider")
        )
        # Not seams: they can't be switched off.
        _guarded("runtime", _patch, patches, "lifecycle")()
        patches.when_imported(
            "oslo_config.cfg", _guarded("runtime", _learn_secret_options, patches)
        )
        for name, (trigger, *modules) in SEAMS.items():
            if name not in settings.disabled_seams:
                patches.when_imported(trigger, _guarded(name, _patch, patches, *modules))

    def _uninstrument(self, **_kwargs: Any) -> None:
        activation.deactivate()
        if self._patches is not None:
            self._patches.undo()
        runtime.stop()
        redaction.clear_known_values()


def _patch(patches: PatchSet, *modules: str) -> None:
    for module in modules:
        importlib.import_module(f"otel_cinder.seams.{module}").patch(patches)


def _learn_secret_options(patches: PatchSet) -> None:
    """Learn the configuration's secrets whenever it is read, and now if it has been."""

    def read(wrapped: Callable[..., Any], conf: Any, args: Any, kwargs: Any) -> Any:
        result = wrapped(*args, **kwargs)
        try:
            redaction.add_known_values(secret_options(conf))
        except Exception as error:
            log_internal_error("runtime", error)
        return result

    for method in ("__call__", "mutate_config_files", "reload_config_files"):
        patches.wrap("runtime", f"oslo_config.cfg:ConfigOpts.{method}", read)
    redaction.add_known_values(secret_options(sys.modules["oslo_config.cfg"].CONF))


def _guarded(seam: str, patch: Callable[..., None], *args: Any) -> Callable[[], None]:
    def apply() -> None:
        try:
            patch(*args)
        except Exception as error:
            log_internal_error(seam, error)

    return apply
