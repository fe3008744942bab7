"""Makes otel-cinder's own code fail: in each of its calls, and by objects that nothing can be asked of."""

from __future__ import annotations

import ast
import functools
import pathlib
import sys
import threading
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any, Final

import otel_cinder

ROOT: Final = str(pathlib.Path(otel_cinder.__file__).parent)

_HOSTS: Final = frozenset({"wrapped", "original"})
"""Names of the host's function in those of ours that lead to it: to enter these can't fail."""

_ENTERED: Final = frozenset(
    {
        # The host calls them, and they call the host.
        "__call__",
        "_bootstrap",
        "_completed",
        "_iterate",
        "_run_in",
        "call_with_room",
        "filter_all",
        # They say that another has failed.
        "log_internal_error",
        "_log_internal_error",
        # It makes a dictionary of a tuple and a dictionary.
        "_named",
    }
)
"""More functions that are always entered."""


class BrokenError(Exception):
    """Ours."""


class Breaking:
    """Raises in the n-th call that otel-cinder makes: of its own functions, or of the SDK's.

    Functions that hold all they do within a ``try`` are entered; what they call raises.
    """

    def __init__(self, at: int = 0) -> None:
        self._at = at
        self.calls = 0
        self.broken = ""

    def __enter__(self) -> Breaking:
        threading.setprofile(self._see)
        sys.setprofile(self._see)
        return self

    def __exit__(self, *_exc: object) -> None:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]

    def _see(self, frame: FrameType, event: str, _argument: Any) -> None:
        if event != "call" or not _may_break(frame):
            return
        self.calls += 1
        if self.calls == self._at:
            code = frame.f_code
            self.broken = (
                f"{pathlib.Path(code.co_filename).name}:{code.co_firstlineno} {code.co_name}"
            )
            raise BrokenError(self.broken)


def _may_break(frame: FrameType) -> bool:
    code, caller = frame.f_code, frame.f_back
    if "/opentelemetry/sdk/" in code.co_filename:  # a host's provider may be any
        return caller is not None and caller.f_code.co_filename.startswith(ROOT)
    return code.co_filename.startswith(ROOT) and not _is_safe(code)


@functools.cache
def _is_safe(code: CodeType) -> bool:
    if code.co_name in _ENTERED or not _HOSTS.isdisjoint((*code.co_varnames, *code.co_freevars)):
        return True
    return (code.co_firstlineno, code.co_name) in _guarded(code.co_filename)


@functools.cache
def _guarded(path: str) -> frozenset[tuple[int, str]]:
    """Functions of a file that do nothing outside of a ``try``."""
    tree = ast.parse(pathlib.Path(path).read_text())
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    return frozenset((node.lineno, node.name) for node in functions if all(map(_holds, node.body)))


def _holds(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Try):
        kinds = [handler.type for handler in statement.handlers]
        return any(isinstance(kind, ast.Name) and kind.id == "Exception" for kind in kinds)
    calls = any(isinstance(node, (ast.Call, ast.Attribute)) for node in ast.walk(statement))
    return isinstance(statement, (ast.Expr, ast.Return, ast.Assign)) and not calls


class Odd:
    """Raises on every operation."""

    def _refuse(self, *_args: Any, **_kwargs: Any) -> Any:
        raise RuntimeError("do not ask me")

    __getattr__ = __eq__ = __hash__ = __str__ = __repr__ = __len__ = _refuse  # type: ignore[assignment]
    __iter__ = __bool__ = __call__ = __getitem__ = __contains__ = __format__ = _refuse  # type: ignore[assignment]
    __module__ = property(_refuse)  # type: ignore[assignment]
    __name__ = property(_refuse)


def breaks(calls: int) -> Iterator[Breaking]:
    """Breaks of the first, the second, ... of so many calls."""
    for at in range(1, calls + 1):
        yield Breaking(at)
