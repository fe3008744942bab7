"""Drivers of volumes and backups: a span for each call of the manager on its driver.

A driver's class is known when a manager has been made, and patched then, its inherited methods too.
What a driver calls on itself while it is at work is a part of that call. Where nothing is traced,
in periodic tasks and while a service starts, nothing begins here.

With ``[profiler] enabled`` osprofiler has wrapped the driver before we see it: its spans are left to
it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Iterator
from types import FunctionType
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import Span

from otel_cinder.core import conventions, spans
from otel_cinder.core.failures import record_failure
from otel_cinder.core.patching import PatchSet, complain
from otel_cinder.core.runtime import runtime

SEAM: Final = "driver"

_MANAGERS: Final = (
    "cinder.volume.manager:VolumeManager.__init__",
    "cinder.backup.manager:BackupManager.__init__",
)

_AT_WORK: Final = otel_context.create_key("otel-cinder-driver")
"""Context key: ``id`` of the driver at work. Not the driver, which a thread might then keep."""

ClassOf = Callable[[Any], type | None]
BackendOf = Callable[[Any], str]


def patch(
    patches: PatchSet, class_of: ClassOf, backend_of: BackendOf, quiet: Collection[str]
) -> None:
    """Patch the managers, so that each driver's class is patched once there is one.

    Args:
        class_of: a manager's driver's class; None if it has none.
        backend_of: the name of a driver's backend; empty if it has none.
        quiet: methods that are not worth a span.
    """
    drivers = _Drivers(patches, class_of, backend_of, quiet)
    for manager in _MANAGERS:
        patches.wrap(SEAM, manager, drivers.manager_made)


class _Drivers:
    def __init__(
        self, patches: PatchSet, class_of: ClassOf, backend_of: BackendOf, quiet: Collection[str]
    ) -> None:
        self._patches = patches
        self._class_of = class_of
        self._backend_of = backend_of
        self._quiet = quiet
        self._patched: set[type] = set()

    def manager_made(
        self,
        wrapped: Callable[..., Any],
        manager: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """``Manager.__init__``: patch the class of its driver, which several managers may share."""
        result = wrapped(*args, **kwargs)
        try:
            driver = self._class_of(manager)
            if driver is not None and driver not in self._patched:
                self._patched.add(driver)
                wrappers = {
                    name: functools.partial(self._call, name, _function_name(driver, name))
                    for name in _methods(driver)
                    if name not in self._quiet
                }
                self._patches.wrap_methods(SEAM, driver, wrappers)
        except Exception as error:
            complain(SEAM, error)
        return result

    def _call(
        self,
        name: str,
        function: str,
        wrapped: Callable[..., Any],
        driver: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        context = otel_context.get_current()
        if (
            not trace.get_current_span(context).is_recording()
            or context.get(_AT_WORK) == id(driver)  # it calls itself
        ):
            return wrapped(*args, **kwargs)
        try:
            attributes = {conventions.CODE_FUNCTION: function}
            backend = self._backend_of(driver)
            if backend:
                attributes[conventions.BACKEND] = backend
            span = runtime.start_span(
                f"{type(driver).__name__}.{name}", context, attributes=attributes
            )
            context = otel_context.set_value(_AT_WORK, id(driver), context)
        except Exception as error:
            complain(SEAM, error)
            return wrapped(*args, **kwargs)
        return spans.call(SEAM, span, context, wrapped, args, kwargs, fail=_fail)


def _fail(span: Span, error: BaseException) -> None:
    # NotImplementedError is how a driver says that this is not for it: Cinder does it another way,
    # or fails itself, which its own span then shows. Nothing has failed here.
    if not isinstance(error, NotImplementedError):
        record_failure(span, error)


def _methods(driver: type) -> Iterator[str]:
    """Names of the public methods of an instance whose work is done when they return."""
    for name in dir(driver):
        entry = inspect.getattr_static(driver, name)
        if name.startswith("_") or not isinstance(entry, FunctionType):
            continue  # static and class methods, properties: they do no backend's work
        function = inspect.unwrap(entry)
        if not inspect.isgeneratorfunction(function) and not inspect.iscoroutinefunction(function):
            yield name


def _function_name(driver: type, name: str) -> str:
    """``module.Class.method``, of the class that the method was written in."""
    function = _plain(inspect.getattr_static(driver, name))
    # From the most basic class on: a class that we patched has its inherited methods too.
    for owner in reversed(driver.__mro__):
        if _plain(vars(owner).get(name)) is function:
            return f"{owner.__module__}.{owner.__qualname__}.{name}"
    return f"{driver.__module__}.{driver.__qualname__}.{name}"


def _plain(entry: Any) -> Any:
    """A function without the proxies that stand for it."""
    while type(entry) is not FunctionType and hasattr(entry, "__wrapped__"):
        entry = entry.__wrapped__
    return entry
