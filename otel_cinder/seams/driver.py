"""Drivers of volumes and backups: a span for each call of the manager on its driver.

A driver's class is known when a manager has been made, and patched then, its inherited methods too.
What a driver calls on itself while it is at work is a part of that call. Where nothing is traced,
in periodic tasks and while a service starts, nothing begins here.

With ``[profiler] enabled`` osprofiler has put functions of its own on the driver itself, which hide
those of its class: they are wrapped as well.
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

from otel_cinder.core import conventions, entry, spans
from otel_cinder.core.failures import record_failure
from otel_cinder.core.patching import PatchSet, Wrapper, complain
from otel_cinder.core.runtime import runtime

SEAM: Final = "driver"

_MANAGERS: Final = (
    "cinder.volume.manager:VolumeManager.__init__",
    "cinder.backup.manager:BackupManager.__init__",
)

_UUID_LENGTH: Final = 36

_AT_WORK: Final = otel_context.create_key("otel-cinder-driver")
"""Context key: ``id`` of the driver at work. Not the driver, which a thread might then keep."""

DriverOf = Callable[[Any], tuple[type | None, Any]]
BackendOf = Callable[[Any], str]


def patch(
    patches: PatchSet, driver_of: DriverOf, backend_of: BackendOf, quiet: Collection[str]
) -> None:
    """Patch the managers, so that each driver's class is patched once there is one.

    Args:
        driver_of: the class of a manager's driver and the driver, each None if there is none.
        backend_of: the name of a driver's backend; empty if it has none.
        quiet: methods that are not worth a span.
    """
    drivers = _Drivers(patches, driver_of, backend_of, quiet)
    for manager in _MANAGERS:
        patches.wrap(SEAM, manager, drivers.manager_made)


class _Drivers:
    def __init__(
        self, patches: PatchSet, driver_of: DriverOf, backend_of: BackendOf, quiet: Collection[str]
    ) -> None:
        self._patches = patches
        self._driver_of = driver_of
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
            cls, driver = self._driver_of(manager)
            if cls is not None:
                self._patch(cls, driver)
        except Exception as error:
            complain(SEAM, error)
        return result

    def _patch(self, cls: type, driver: Any) -> None:
        wrappers: dict[str, Wrapper] = {
            name: functools.partial(self._call, name, _function_name(cls, name))
            for name in _methods(cls)
            if name not in self._quiet
        }
        if cls not in self._patched:
            self._patched.add(cls)
            self._patches.wrap_methods(SEAM, cls, wrappers)
        own = getattr(driver, "__dict__", {})
        hiding = {
            name: functools.partial(_on, driver, wrapper)
            for name, wrapper in wrappers.items()
            if type(own.get(name)) is FunctionType
        }
        if hiding:
            self._patches.wrap_methods(SEAM, driver, hiding)

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
        fail = functools.partial(_fail, args)
        return spans.call(SEAM, span, context, wrapped, args, kwargs, fail=fail)


def _on(
    driver: Any,
    wrapper: Wrapper,
    wrapped: Callable[..., Any],
    _instance: None,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Call a wrapper of a function that is a driver's own, and so not bound to it."""
    return wrapper(wrapped, driver, args, kwargs)


def _fail(args: tuple[Any, ...], span: Span, error: BaseException) -> None:
    # NotImplementedError is how a driver says that this is not for it: Cinder does it another way,
    # or fails itself, which its own span then shows. Nothing has failed here.
    if not isinstance(error, NotImplementedError):
        record_failure(span, error)
        entry.remember(error, _ids(args))


def _ids(args: tuple[Any, ...]) -> list[str]:
    """Ids of the resources that a call is about: objects, or uuids alone."""
    found = [getattr(arg, "id", arg) for arg in args]
    return [each for each in found if isinstance(each, str) and len(each) == _UUID_LENGTH]


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
