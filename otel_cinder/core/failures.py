"""An exception on a span: status, ``error.type`` and one event, with secrets masked."""

from __future__ import annotations

import traceback

from opentelemetry.trace import Span, Status, StatusCode

from otel_cinder.core import conventions, redaction


def record_failure(
    span: Span,
    error: BaseException,
    *,
    error_type: str | None = None,
    stacktrace: str | None = None,
) -> None:
    """Mark ``span`` as failed by ``error``.

    Args:
        error_type: ``error.type`` where it isn't the class's name: a remote exception's, say.
        stacktrace: the frames where ``error`` has lost them. They never hold the message, which
            Python's own formatting would add unmasked.
    """
    if not span.is_recording():
        return
    name = type(error).__qualname__
    message = redaction.text(error)
    if stacktrace is None:
        stacktrace = "".join(traceback.format_tb(error.__traceback__))
    span.set_status(Status(StatusCode.ERROR, f"{error_type or name}: {message}"))
    span.set_attribute(conventions.ERROR_TYPE, error_type or name)
    span.add_event(
        conventions.EXCEPTION_EVENT,
        {
            conventions.EXCEPTION_TYPE: f"{type(error).__module__}.{name}",
            conventions.EXCEPTION_MESSAGE: message,
            conventions.EXCEPTION_STACKTRACE: redaction.text(
                redaction.tail(stacktrace), redaction.STACKTRACE_LIMIT
            ),
        },
    )
