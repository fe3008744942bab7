"""The span by which work came into a service: a request's or a message's.

What is learned further inside (the volume's id, that Cinder has handled a failure by itself) is said
there too, so that it is found from every service's first span.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, Status, StatusCode

from otel_cinder.core import conventions, redaction

_KEY: Final = otel_context.create_key("otel-cinder-entry")


class Entry:
    """One request or message in a service."""

    __slots__ = ("failure", "is_http", "span")

    def __init__(self, span: Span, *, is_http: bool) -> None:
        self.span = span
        self.is_http = is_http
        """A request's outcome is what it was answered; a message's also what Cinder made of it."""
        self.failure: tuple[str, str] | None = None
        """Class and message, masked, of the last failure inside; for what names no reason."""


def enter(context: Context, entry: Entry) -> Context:
    """``context`` with ``entry`` as the way in."""
    return otel_context.set_value(_KEY, entry, context)


def current(context: Context | None = None) -> Entry | None:
    """The way in to what is being done, if it is traced."""
    found: Any = otel_context.get_value(_KEY, context)
    return found  # type: ignore[no-any-return]


def enrich(attributes: Mapping[str, Any], context: Context | None = None) -> None:
    """Say ``attributes`` on the entry's span."""
    entry = current(context)
    if entry is not None and attributes and entry.span.is_recording():
        entry.span.set_attributes(attributes)


def fail(event: str, attributes: Mapping[str, Any], reason: object = None) -> tuple[str, str]:
    """Mark the current span and its message's as failed, although nothing may be raised.

    Args:
        event: name of the event that says what Cinder did about it.
        attributes: the event's; the reason is added.
        reason: an exception or a text. None: what is being handled right now, or failed last.

    Returns:
        The reason's class (``unknown`` if there is none) and text, masked.
    """
    entry = current()
    error_type, message = _reason(reason, entry)
    spans = [trace.get_current_span()]
    if entry is not None and not entry.is_http and entry.span is not spans[0]:
        spans.append(entry.span)
    said = {**attributes, conventions.ERROR_TYPE: error_type, conventions.REASON: message}
    for span in spans:
        if span.is_recording():
            span.set_status(Status(StatusCode.ERROR, f"{error_type}: {message}"))
            span.set_attribute(conventions.ERROR_TYPE, error_type)
            span.add_event(event, said)
    return error_type, message


def _reason(reason: object, entry: Entry | None) -> tuple[str, str]:
    found = reason if reason is not None else sys.exc_info()[1]
    last = entry.failure if entry is not None else None
    if isinstance(found, BaseException):
        return type(found).__qualname__, redaction.text(found)
    if found is not None:
        # A text says why; the class is the last failure's.
        return (last[0] if last else "unknown"), redaction.text(found)
    return last or ("unknown", "no reason given")
