"""Decides whether a global provider is used: only if the host has set it in this process.

The provider of another tracing library is for its own spans and its own collector. A provider that
was made before a fork may export nothing here: under eventlet its thread belongs to the parent's hub.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from opentelemetry import metrics, trace
from opentelemetry.environment_variables import (
    OTEL_PYTHON_METER_PROVIDER,
    OTEL_PYTHON_TRACER_PROVIDER,
)
from opentelemetry.metrics._internal import _ProxyMeterProvider

from otel_cinder.export.native_thread import threads_are_green
from otel_cinder.patching.internal_errors import log_internal_error
from otel_cinder.patching.patch_set import PatchSet

_OTHERS: Final = {
    "osprofiler": "osprofiler",
    "oslo_middleware": "oslo.middleware",
    "oslo_messaging": "oslo.messaging",
}
"""Packages that set a global provider for their own tracing -> their names in messages."""

_PASSED_THROUGH: Final = frozenset({"otel_cinder", "wrapt"})
"""Packages with frames between the caller that sets a provider and `_package_that_calls`."""


class _Sight(NamedTuple):
    """A global provider, as it was set or first seen."""

    provider: Any
    pid: int
    package: str
    """The package that has set it; empty for one that was set before we looked."""


class Providers:
    """The global providers, each with the package and the process that set it."""

    def __init__(self) -> None:
        self._sights: list[_Sight] = []

    def watch(self, patches: PatchSet) -> None:
        """Note the providers that are set already, and those that will be."""
        self._sights.clear()
        if OTEL_PYTHON_TRACER_PROVIDER not in os.environ:  # the first look would load it
            self._note(trace.get_tracer_provider(), "")
        if OTEL_PYTHON_METER_PROVIDER not in os.environ:
            self._note(metrics.get_meter_provider(), "")
        for target, get in (
            ("opentelemetry.trace:set_tracer_provider", trace.get_tracer_provider),
            ("opentelemetry.metrics:set_meter_provider", metrics.get_meter_provider),
        ):
            patches.wrap("runtime", target, functools.partial(self._set, get))

    def tracer_provider(self) -> trace.TracerProvider | None:
        """The global provider, if it is to be used."""
        provider = trace.get_tracer_provider()
        usable = not (_is_proxy(provider) or self.why_not(provider))
        return provider if usable else None

    def meter_provider(self) -> metrics.MeterProvider | None:
        """The global provider, if it is to be used."""
        provider = metrics.get_meter_provider()
        usable = not (_is_proxy(provider) or self.why_not(provider))
        return provider if usable else None

    def why_not(self, provider: Any) -> str:
        """The reason not to use ``provider`` in this process; empty if it is used."""
        package = next((sight.package for sight in self._sights if sight.provider is provider), "")
        if _is_oslo_middlewares(provider):
            package = "oslo_middleware"
        if package in _OTHERS:
            return f"it is {_OTHERS[package]}'s"
        return "" if self.made_here(provider) else "it was made before this process was forked"

    def made_here(self, provider: Any) -> bool:
        """True if ``provider`` was set in this process, as far as we have seen."""
        return all(sight.pid == os.getpid() for sight in self._sights if sight.provider is provider)

    def exports_here(self, provider: Any) -> bool:
        """True if spans of ``provider``, another library's, leave this process.

        The SDK starts its threads anew after a fork. Under eventlet they are greenthreads, and
        wait for the hub that oslo.service has just thrown away.
        """
        return self.made_here(provider) or not threads_are_green()

    def _set(
        self,
        get: Callable[[], Any],
        wrapped: Callable[..., Any],
        _instance: Any,
        args: tuple[Any, ...],
        kwargs: Any,
    ) -> Any:
        result = wrapped(*args, **kwargs)
        try:
            self._note(get(), _package_that_calls())
        except Exception as error:
            log_internal_error("runtime", error)
        return result

    def _note(self, provider: Any, package: str) -> None:
        known = any(sight.provider is provider for sight in self._sights)
        if not known and not _is_proxy(provider):
            self._sights.append(_Sight(provider, os.getpid(), package))


def _is_proxy(provider: Any) -> bool:
    """True if ``provider`` is the API's proxy: no provider is set yet."""
    return isinstance(provider, (trace.ProxyTracerProvider, _ProxyMeterProvider))


def _is_oslo_middlewares(provider: Any) -> bool:
    tracing = sys.modules.get("oslo_middleware.tracing")
    return tracing is not None and getattr(tracing, "_TRACER_PROVIDER", None) is provider


def _package_that_calls() -> str:
    frame: Any = sys._getframe(1)
    while frame is not None:
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package not in _PASSED_THROUGH:
            return package
        frame = frame.f_back
    return ""
