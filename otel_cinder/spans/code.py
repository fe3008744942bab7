"""A function as a span's attributes: its name, its file and its first line.

The names are OpenTelemetry's (semantic conventions, "code"). Work it out once for each function: it
takes some microseconds.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final

from otel_cinder import conventions, redaction

_PATH_LIMIT: Final = 256


def code_attributes(name: str, function: Callable[..., Any] | None) -> dict[str, Any]:
    """The attributes of ``function``, called ``name``; without a place if it has no Python code."""
    attributes: dict[str, Any] = {conventions.CODE_FUNCTION: name}
    code = _code(function)
    if code is not None:
        attributes[conventions.CODE_FILE] = redaction.plain(code.co_filename[:_PATH_LIMIT])
        attributes[conventions.CODE_LINE] = code.co_firstlineno
    return attributes


def _code(function: Any) -> Any:
    try:
        return getattr(inspect.unwrap(function), "__code__", None)
    except Exception:  # wrapped in itself, or a host's class raises
        return None
