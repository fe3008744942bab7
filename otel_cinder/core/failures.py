"""An exception on a span: status, ``error.type`` and one event, with secrets masked."""

from __future__ import annotations

import traceback

from opentelemetry.trace import Span, Status, StatusCode

from otel_cinder.core import clock, conventions, redaction
from otel_cinder.core.patching import complain

_REMOTE = "_Remote"
"""What oslo.messaging appends to module and class of an exception that a call brought back."""


def class_of(error: BaseException) -> tuple[str, str]:
    """Module and name of an exception's class; of a remote one as it was raised."""
    kind = type(error)
    return str(kind.__module__).removesuffix(_REMOTE), kind.__qualname__.removesuffix(_REMOTE)


def record_failure(
    span: Span,
    error: BaseException,
    *,
    error_type: str | None = None,
    stacktrace: str | None = None,
) -> tuple[str, str]:
    """Mark ``span`` as failed by ``error``; returns ``error.type`` and the message, masked.

    Never raises: it stands where the host's exception is on its way.

    Args:
        error_type: ``error.type`` where it isn't the class's name: a remote exception's, say.
        stacktrace: the frames where ``error`` has lost them. They never hold the message, which
            Python's own formatting would add unmasked.
    """
    module, name = class_of(error)
    message = redaction.text(error)
    try:
        if span.is_recording():
            if stacktrace is None:
                stacktrace = "".join(traceback.format_tb(error.__traceback__))
            span.set_status(Status(StatusCode.ERROR, f"{error_type or name}: {message}"))
            span.set_attribute(conventions.ERROR_TYPE, error_type or name)
            clock.add_event(
                span,
                conventions.EXCEPTION_EVENT,
                {
                    conventions.EXCEPTION_TYPE: f"{module}.{name}",
                    conventions.EXCEPTION_MESSAGE: message,
                    conventions.EXCEPTION_STACKTRACE: redaction.text(
                        redaction.tail(stacktrace), redaction.STACKTRACE_LIMIT
                    ),
                },
            )
    except Exception as problem:  # a processor or provider of the host's
        complain("failures", problem)
    return error_type or name, message
