"""Drivers of volumes and backups: a span for each call of the manager on its driver.

A driver's class is known when a manager has been made. Its methods are patched then, each in the class
that defines it: Python goes on to find what it would have found, in this class and in all that inherit
from the same ones. On objects that are no driver these methods are called as ever.
What a driver calls on itself while it is at work is a part of that call. Where nothing is traced,
in periodic tasks and while a service starts, nothing begins here.

With ``[profiler] enabled`` osprofiler has put functions of its own on the driver itself, which hide
those of its class: they are wrapped as well.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.trace import Span

from otel_cinder import conventions
from otel_cinder.cinder.drivers import QUIET_METHODS, backend_of, driver_of
from otel_cinder.patching.internal_errors import log_internal_error
from otel_cinder.patching.patch_set import PatchSet, Wrapper
from otel_cinder.spans import calls, local_root
from otel_cinder.spans.code import code_attributes
from otel_cinder.spans.failures import record_failure
from otel_cinder.spans.runtime import runtime

SEAM: Final = "driver"

_MANAGERS: Final = (
    "cinder.volume.manager:VolumeManager.__init__",
    "cinder.backup.manager:BackupManager.__init__",
)

_UUID_LENGTH: Final = 36

_AT_WORK: Final = otel_context.create_key("otel-cinder-driver")
"""Context key: ``id`` of the driver at work. Not the driver, which a thread might then keep."""


def patch(patches: PatchSet) -> None:
    """Patch the managers, so that each driver's class is patched once there is one."""
    drivers = _Drivers(patches)
    for manager in _MANAGERS:
        patches.wrap(SEAM, manager, drivers.manager_made)


class _Drivers:
    def __init__(self, patches: PatchSet) -> None:
        self._patches = patches
        self._classes: set[type] = set()
        """Of drivers."""
        self._patched: dict[type, set[str]] = {}
        """Names of the methods that are wrapped, by the class that defines them."""

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
            cls, driver = driver_of(manager)
            if cls is not None:
                self._patch(cls, driver)
        except Exception as error:
            log_internal_error(SEAM, error)
        return result

    def _patch(self, cls: type, driver: Any) -> None:
        self._classes.add(cls)
        hiding: dict[str, Wrapper] = {}
        own = getattr(driver, "__dict__", {})
        for owner, methods in _methods(cls).items():
            wrappers = {
                name: functools.partial(
                    self._call,
                    name,
                    code_attributes(f"{_name(owner)}.{name}", vars(owner)[name]),
                )
                for name in methods
                if name not in QUIET_METHODS
            }
            self._wrap(owner, wrappers)
            for name, wrapper in wrappers.items():
                if type(own.get(name)) is FunctionType:
                    hiding[name] = functools.partial(_on, driver, wrapper)
        if hiding:
            self._patches.wrap_methods(SEAM, driver, hiding)

    def _wrap(self, owner: type, wrappers: Mapping[str, Wrapper]) -> None:
        """Wrap those methods of a class that are not wrapped for another driver yet."""
        patched = self._patched.setdefault(owner, set())
        new = {name: wrapper for name, wrapper in wrappers.items() if name not in patched}
        patched.update(new)
        if new:
            self._patches.wrap_methods(SEAM, owner, new)

    def _call(
        self,
        name: str,
        code: Mapping[str, Any],
        wrapped: Callable[..., Any],
        driver: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        begin = functools.partial(self._begin, name, code, driver)
        fail = functools.partial(_fail, args)
        return calls.traced(SEAM, begin, wrapped, args, kwargs, fail=fail)

    def _begin(
        self, name: str, code: Mapping[str, Any], driver: Any, context: Context
    ) -> tuple[Span, Context] | None:
        if type(driver) not in self._classes or context.get(_AT_WORK) == id(driver):
            return None  # no driver, or one that calls itself
        context = otel_context.set_value(_AT_WORK, id(driver), context)
        # Now: what a driver's own code is asked here, a property say, may call its methods.
        token = otel_context.attach(context)
        try:
            attributes = dict(code)
            backend = backend_of(driver)
            if backend:
                attributes[conventions.BACKEND] = backend
            span_name = f"{type(driver).__name__}.{name}"
            return runtime.start_span(span_name, context, attributes=attributes), context
        finally:
            otel_context.detach(token)


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
        local_root.remember(error, _ids(args))


def _ids(args: tuple[Any, ...]) -> list[str]:
    """Ids of the resources that a call is about: objects, or uuids alone."""
    candidates = [getattr(arg, "id", arg) for arg in args]
    return [
        candidate
        for candidate in candidates
        if isinstance(candidate, str) and len(candidate) == _UUID_LENGTH
    ]


def _methods(driver: type) -> dict[type, list[str]]:
    """Names of the public methods of an instance whose work is done when they return.

    By the class in which Python finds each.
    """
    methods: dict[type, list[str]] = {}
    seen: set[str] = set()
    for owner in driver.__mro__:
        names = [name for name in vars(owner) if name not in seen]
        seen.update(names)
        if not _is_pythons(owner):
            methods[owner] = [name for name in names if _works(name, vars(owner)[name])]
    return methods


def _is_pythons(owner: type) -> bool:
    """Return whether a class is the standard library's, as all of a mock's are: not a driver's work."""
    return str(owner.__module__).partition(".")[0] in sys.stdlib_module_names


def _works(name: str, member: Any) -> bool:
    if name.startswith("_") or type(member) is not FunctionType:
        return False  # static and class methods, properties: they do no backend's work
    function: Any = member
    with contextlib.suppress(ValueError):  # wrapped in itself
        function = inspect.unwrap(member)
    return not inspect.isgeneratorfunction(function) and not inspect.iscoroutinefunction(function)


def _name(owner: type) -> str:
    return f"{owner.__module__}.{owner.__qualname__}"
