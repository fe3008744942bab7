"""PatchSet: replace attributes of other libraries' objects, say what fitted, and put them back."""

from __future__ import annotations

import contextlib
import copy
import functools
import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from otel_cinder.core.imports import ImportHooks

_LOG = logging.getLogger(__name__)

Wrapper = Callable[[Callable[..., Any], Any, tuple[Any, ...], dict[str, Any]], Any]
"""``(wrapped, instance, args, kwargs)``, as wrapt calls it."""

Factory = Callable[[Any], Any]
"""Takes the original, returns what stands in for it."""


@dataclass
class Seam:
    """One patched place and how it fared."""

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


@functools.cache
def _function_wrapper() -> Any:
    """A FunctionWrapper of wrapt's that can be pickled and copied as the function itself can."""
    import wrapt  # late: it imports ssl

    function: Any = wrapt.FunctionWrapper
    bound: Any = wrapt.BoundFunctionWrapper

    class Bound(bound):  # type: ignore[misc]
        def __reduce_ex__(self, protocol: Any) -> Any:
            return getattr, (self.__self__, self.__name__)

        def __deepcopy__(self, memo: Any) -> Any:
            return getattr(copy.deepcopy(self.__self__, memo), self.__name__)

        def __copy__(self) -> Any:
            return self

    class Wrapper(function):  # type: ignore[misc]
        __bound_function_wrapper__ = Bound

        def __reduce_ex__(self, protocol: Any) -> Any:
            return self.__qualname__  # found by its name, like any function

        def __deepcopy__(self, memo: Any) -> Any:
            return self

        def __copy__(self) -> Any:
            return self

    return Wrapper


class PatchSet:
    """A list of replaced attributes. What doesn't fit is skipped and said, never raised."""

    def __init__(self) -> None:
        self._hooks = ImportHooks()
        self.enabled = True
        """False once undone; for what was handed out and can't be taken back."""
        self._patches: list[_Patch] = []
        self._rows: list[Seam] = []

    def when_imported(self, module: str, callback: Callable[[], None]) -> None:
        """Call ``callback`` once ``module`` is imported, at once if it is; dropped by `undo`."""
        self._hooks.when_imported(module, callback)

    def wrap(self, seam: str, target: str, wrapper: Wrapper) -> None:
        """Wrap the function ``module:path`` by wrapt, now or once its module is imported."""
        self.replace(seam, target, functools.partial(self._wrapped, wrapper))

    def wrap_methods(self, seam: str, owner: object, wrappers: Mapping[str, Wrapper]) -> None:
        """Wrap methods of a class at hand, its own and inherited ones, by name; one row for all.

        For a class that is met only when it is used, and may not be importable by its name. Of an
        instance, functions that it has itself.
        """
        cls, of = (owner, "") if isinstance(owner, type) else (type(owner), "()")
        target = f"{cls.__module__}:{cls.__qualname__}{of}.* ({len(wrappers)})"
        row = Seam(seam, target, "on")
        self._rows.append(row)
        try:
            for name, wrapper in wrappers.items():
                self._put(row, owner, name, functools.partial(self._wrapped, wrapper))
        except Exception as error:  # a class that can't be changed
            row.state = f"skipped: {type(error).__name__}: {error}"
            complain(seam, error)

    def replace(self, seam: str, target: str, factory: Factory) -> None:
        """Put ``factory(original)`` in the place of ``module:path``, now or once it is imported.

        For what a wrapt proxy can't stand in for: a function that is pickled by its name, a module.
        """
        row = Seam(seam, target, "waiting")
        self._rows.append(row)
        module = target.partition(":")[0]
        self._hooks.when_imported(module, lambda: self._apply(row, factory))

    def _wrapped(self, wrapper: Wrapper, original: Any) -> Any:
        return _function_wrapper()(original, wrapper, enabled=lambda: self.enabled)

    def _apply(self, row: Seam, factory: Factory) -> None:
        module, _, path = row.target.partition(":")
        try:
            owner: Any = sys.modules[module]
            *parents, attribute = path.split(".")
            for parent in parents:
                owner = getattr(owner, parent)
            self._put(row, owner, attribute, factory)
        except Exception as error:
            row.state = f"skipped: {type(error).__name__}: {error}"
            _LOG.warning(
                "otel-cinder leaves %s unpatched because this version has no such place (%s: %s); "
                "its %s spans will be missing.",
                row.target,
                type(error).__name__,
                error,
                row.seam,
            )
            return
        row.state = "on"

    def _put(self, row: Seam, owner: Any, attribute: str, factory: Factory) -> None:
        inherited = attribute not in vars(owner)
        # The raw entry, so that a staticmethod is put back as one.
        original = getattr(owner, attribute) if inherited else vars(owner)[attribute]
        replacement = factory(original)
        setattr(owner, attribute, replacement)
        self._patches.append(_Patch(row, owner, attribute, original, replacement, inherited))

    def undo(self) -> None:
        """Put every original back, newest first. What somebody else has patched since stays."""
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
                    "otel-cinder can't put %s back because somebody has patched it since; "
                    "what is left there only calls the original.",
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
        """How each seam fared, in the order in which they were declared."""
        return list(self._rows)


_complained: set[tuple[str, type[BaseException]]] = set()


def complain(seam: str, error: BaseException) -> None:
    """Log an error of our own once per seam and class; the host goes on untraced there.

    Wrappers call it wherever their own code, not the host's, has raised.
    """
    key = (seam, type(error))
    if key in _complained:
        return
    _complained.add(key)
    with contextlib.suppress(Exception):  # a broken log handler must not hurt the host here
        _LOG.warning(
            "otel-cinder could not trace a part of %s because of %s: %s; Cinder is not affected. "
            "Please report it with this traceback.",
            seam,
            type(error).__name__,
            error,
            exc_info=error,
        )
