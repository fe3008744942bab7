"""PatchSet: replaces attributes of other libraries, reports which of them fitted, puts them back.

A function is replaced by a function: it is pickled by its name, copied, bound, weakly referenced and
inspected as before, and takes its arguments by the same names. Anything else (C code, a class, a
wrapper of another library's) is replaced by a wrapt proxy, which looks like the original, and does
not turn into a method when it is put into a class.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
import operator
import pkgutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FunctionType, MethodType
from typing import Any, Final, TypeVar

from otel_cinder import notices
from otel_cinder.import_hooks import ImportHooks
from otel_cinder.patching.internal_errors import log_internal_error

_LOG = logging.getLogger(__name__)

Wrapper = Callable[[Callable[..., Any], Any, tuple[Any, ...], dict[str, Any]], Any]
"""``(wrapped, instance, args, kwargs)``, as wrapt calls it: ``wrapped`` is bound to ``instance``."""

Factory = Callable[[Any], Any]
"""Takes the original, returns its replacement."""

_Function = TypeVar("_Function", bound=Callable[..., Any])

_MISSING: Final = object()


@dataclass
class Seam:
    """One patched place and its state."""

    seam: str
    target: str
    """``module:Class.attribute``; ``module:Class.* (12)`` for so many methods of a class, with
    ``Class()`` for an instance's own."""
    state: str
    """``waiting`` (not imported yet), ``on``, ``off`` (put back) or ``skipped: why``."""


@dataclass
class _Patch:
    row: Seam
    owner: Any
    attribute: str
    original: Any
    replacement: Any
    inherited: bool


class PatchSet:
    """A list of replaced attributes. A place that does not fit is skipped and reported, never raised."""

    def __init__(self) -> None:
        self._hooks = ImportHooks()
        self.enabled = True
        """False once undone; for objects that were handed out and can't be taken back."""
        self._patches: list[_Patch] = []
        self._rows: list[Seam] = []
        self._methods: dict[tuple[str, int], tuple[Seam, list[str]]] = {}
        """By seam and ``id`` of the class or instance: its row, and the names of its methods."""

    def when_imported(self, module: str, callback: Callable[[], None]) -> None:
        """Call ``callback`` once ``module`` is imported, at once if it is; dropped by `undo`."""
        self._hooks.when_imported(module, callback)

    def wrap(self, seam: str, target: str, wrapper: Wrapper) -> None:
        """Wrap the function ``module:path``, now or once its module is imported."""
        self._declare(seam, target, functools.partial(self._wrap, wrapper))

    def wrap_methods(self, seam: str, owner: object, wrappers: Mapping[str, Wrapper]) -> None:
        """Wrap methods of a class at hand by name, each where it is defined; one row for all.

        For a class that is met only when it is used, and may not be importable by its name. Of an
        instance, functions that it has itself.
        """
        row, names = self._methods.setdefault((seam, id(owner)), (Seam(seam, "", "on"), []))
        if not names:
            self._rows.append(row)
        names.extend(wrappers)
        cls, of = (owner, "") if isinstance(owner, type) else (type(owner), "()")
        row.target = f"{cls.__module__}:{cls.__qualname__}{of}.* ({len(names)})"
        try:
            for name, wrapper in wrappers.items():
                self._wrap(wrapper, row, owner, name)
        except Exception as error:  # a class that can't be changed
            row.state = f"skipped: {type(error).__name__}: {error}"
            log_internal_error(seam, error)

    def replace(self, seam: str, target: str, factory: Factory) -> None:
        """Put ``factory(original)`` in the place of ``module:path``, now or once it is imported.

        For functions that are called too often for `wrap`'s second call, and for other objects.
        """
        self._declare(seam, target, functools.partial(self._put, factory))

    def _declare(self, seam: str, target: str, put: Callable[[Seam, Any, str], None]) -> None:
        row = Seam(seam, target, "waiting")
        self._rows.append(row)
        module = target.partition(":")[0]
        self._hooks.when_imported(module, lambda: self._apply(row, put))

    def _apply(self, row: Seam, put: Callable[[Seam, Any, str], None]) -> None:
        module, _, path = row.target.partition(":")
        try:
            owner: Any = sys.modules[module]
            *parents, attribute = path.split(".")
            for parent in parents:
                owner = getattr(owner, parent)
            put(row, owner, attribute)
        except Exception as error:
            row.state = f"skipped: {type(error).__name__}: {error}"
            notices.warn(  # most libraries are imported before there is a log
                "otel-cinder leaves %s unpatched because this version has no such place (%s: %s); "
                "its %s spans will be missing.",
                row.target,
                type(error).__name__,
                error,
                row.seam,
            )
            return
        row.state = "on"

    def _wrap(self, wrapper: Wrapper, row: Seam, owner: Any, attribute: str) -> None:
        """Wrap a function where it is defined: a copy on a subclass would change what Python finds
        in classes that inherit from that and from another.
        """
        if isinstance(owner, type) and attribute not in vars(owner):
            defining = [cls for cls in owner.__mro__ if attribute in vars(cls)]
            wrapper = functools.partial(_only_of, owner, wrapper)
            owner = defining[0] if defining else owner
        self._put(
            functools.partial(self._wrapped, wrapper, owner, attribute), row, owner, attribute
        )

    def _wrapped(self, wrapper: Wrapper, owner: Any, attribute: str, original: Any) -> Any:
        """The replacement of ``original``, the raw entry in ``owner``."""
        kind = type(original)
        is_class = isinstance(owner, type)
        if kind is FunctionType:
            replacement = (
                self._method(original, wrapper) if is_class else self._function(original, wrapper)
            )
            _name_by_place(replacement, original, owner, attribute)
            return replacement
        if is_class and kind in (staticmethod, classmethod):
            wrap = self._function if kind is staticmethod else self._method
            if type(original.__func__) is FunctionType:
                return kind(wrap(original.__func__, wrapper))
        return _proxy()(original, wrapper, lambda: self.enabled, _place(owner, attribute))

    def _function(self, original: Callable[..., Any], wrapper: Wrapper) -> Callable[..., Any]:
        def function(*args: Any, **kwargs: Any) -> Any:
            if not self.enabled:
                return original(*args, **kwargs)
            return wrapper(original, None, args, kwargs)

        return stand_in(function, original)

    def _method(self, original: FunctionType, wrapper: Wrapper) -> Callable[..., Any]:
        """A method; a class's first argument is its instance."""
        code = original.__code__
        takes_by_name = code.co_argcount and not code.co_posonlyargcount
        self_name = code.co_varnames[0] if takes_by_name else None

        def method(instance: Any = _MISSING, /, *args: Any, **kwargs: Any) -> Any:
            if instance is _MISSING:
                if self_name not in kwargs:
                    return original(*args, **kwargs)  # its TypeError names the missing argument
                instance = kwargs.pop(self_name)
            if not self.enabled:
                return original(instance, *args, **kwargs)
            return wrapper(MethodType(original, instance), instance, args, kwargs)

        return stand_in(method, original)

    def _put(self, factory: Factory, row: Seam, owner: Any, attribute: str) -> None:
        inherited = attribute not in vars(owner)
        # The raw entry, so that a staticmethod is put back as one.
        original = getattr(owner, attribute) if inherited else vars(owner)[attribute]
        replacement = factory(original)
        setattr(owner, attribute, replacement)
        self._patches.append(_Patch(row, owner, attribute, original, replacement, inherited))

    def undo(self) -> None:
        """Put every original back, newest first. A place that was patched again since is left alone."""
        self._hooks.clear()
        self.enabled = False
        for row in self._rows:
            if row.state == "waiting":
                row.state = "off"
        while self._patches:
            patch = self._patches.pop()
            if vars(patch.owner).get(patch.attribute) is not patch.replacement:
                patch.row.state = "skipped: patched again by somebody else"
                _LOG.warning(
                    "otel-cinder can't put %s back because another program has patched it since; "
                    "its own wrapper stays there and only calls the original.",
                    patch.row.target,
                )
                continue
            if patch.inherited:
                delattr(patch.owner, patch.attribute)
            else:
                setattr(patch.owner, patch.attribute, patch.original)
            if patch.row.state == "on":  # and none of the row's others had to stay
                patch.row.state = "off"

    def status(self) -> list[Seam]:
        """The state of each seam, in the order in which they were declared."""
        return list(self._rows)


def _only_of(
    cls: type,
    wrapper: Wrapper,
    wrapped: Callable[..., Any],
    instance: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Wrap the method for ``cls`` alone: other classes inherit the same function."""
    kind = instance if isinstance(instance, type) else type(instance)
    if type.__subclasscheck__(cls, kind):  # not a metaclass's, which is the host's code
        return wrapper(wrapped, instance, args, kwargs)
    return wrapped(*args, **kwargs)


def stand_in(function: _Function, original: Callable[..., Any]) -> _Function:
    """``function`` with the names of ``original``, by which pickle finds it, and its signature."""
    functools.update_wrapper(function, original)
    with contextlib.suppress(TypeError, ValueError):  # not everyone follows __wrapped__
        function.__signature__ = inspect.signature(original)  # type: ignore[attr-defined]
    return function


def _place(owner: Any, attribute: str) -> str:
    """``module:path`` of an attribute."""
    if isinstance(owner, type):
        return f"{owner.__module__}:{owner.__qualname__}.{attribute}"
    return f"{getattr(owner, '__name__', None)}:{attribute}"


def _name_by_place(replacement: Any, original: Any, owner: Any, attribute: str) -> None:
    """Let pickle find ``replacement`` in its own place, if ``original`` has another."""
    place = _place(owner, attribute)
    known_as = f"{original.__module__}:{original.__qualname__}"
    if place == known_as:
        return
    module, _, path = known_as.partition(":")
    with contextlib.suppress(AttributeError, KeyError):
        if operator.attrgetter(path)(sys.modules[module]) is original:
            replacement.__module__, _, replacement.__qualname__ = place.partition(":")


@functools.cache
def _proxy() -> Any:
    """A FunctionWrapper of wrapt's, for everything except plain functions."""
    import wrapt  # late: it imports ssl

    wrapper: Any = wrapt.FunctionWrapper

    class Proxy(wrapper):  # type: ignore[misc]
        """Is copied like the original, and pickled as the object in its place."""

        def __init__(
            self, original: Any, wrapper: Wrapper, enabled: Callable[[], bool], place: str
        ) -> None:
            super().__init__(original, wrapper, enabled=enabled)
            self._self_place = place

        def __get__(self, instance: Any, owner: Any = None) -> Any:
            if not hasattr(type(self.__wrapped__), "__get__"):
                return self  # C functions and classes do not become methods
            return super().__get__(instance, owner)

        def __reduce_ex__(self, protocol: Any) -> Any:
            return pkgutil.resolve_name, (self._self_place,)

        def __copy__(self) -> Any:
            return self

        def __deepcopy__(self, memo: Any) -> Any:
            return self

    return Proxy
