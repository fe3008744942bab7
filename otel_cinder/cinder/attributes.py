"""A value of Cinder's made an attribute."""

from __future__ import annotations

from typing import Any

from otel_cinder.core import redaction


def add(attributes: dict[str, Any], name: str, value: Any) -> None:
    """A text that says something, or a whole number that OTLP can hold."""
    if isinstance(value, str) and value:
        attributes[name] = redaction.text(value, 128)
    elif isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 31:
        attributes[name] = value
