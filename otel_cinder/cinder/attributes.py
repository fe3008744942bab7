"""A value of Cinder's made an attribute."""

from __future__ import annotations

from typing import Any

from otel_cinder import redaction


def add(attributes: dict[str, Any], name: str, value: Any) -> None:
    """An id or another name, or a whole number that OTLP can hold."""
    if isinstance(value, str) and value:
        text = redaction.identifier(value, 128)
        if text:
            attributes[name] = text
    elif isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 31:
        attributes[name] = value
