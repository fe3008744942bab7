"""Calls a function of the host's in a span of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span

from otel_cinder.patching.internal_errors import log_internal_error
from otel_cinder.spans.failures import record_failure
from otel_cinder.spans.runtime import end_span

Begin = Callable[[Context], "tuple[Span, Context] | None"]
Fail = Callable[[Span, BaseException], Any]
Succeed = Callable[[Span], Any]


def attach(seam: str, context: Context | None) -> Any:
    """Make ``context``, if any, current; a token for `detach`, or None. Never raises."""
    try:
        return None if context is None else otel_context.attach(context)
    except Exception as error:  # OTEL_PYTHON_CONTEXT may name another implementation
        log_internal_error(seam, error)
        return None


def detach(seam: str, token: Any) -> None:
    """Restore the context that was current before `attach`. Never raises."""
    try:
        if token is not None:
            otel_context.detach(token)
    except Exception as error:
        log_internal_error(seam, error)


def traced(
    seam: str,
    begin: Begin,
    wrapped: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    fail: Fail = record_failure,
    succeed: Succeed | None = None,
) -> Any:
    """Call ``wrapped`` once, in a span where the current one is recorded, and end that span.

    Args:
        seam: for log messages.
        begin: starts the span in the current context, and returns it and its own context; None
            for no span. Its errors are logged.
        fail: records an exception of the call on the span; the exception goes on unchanged.
        succeed: adds to the span, after the call has returned.
    """
    begun = None
    try:
        current = otel_context.get_current()
        if trace.get_current_span(current).is_recording():
            begun = begin(current)
    except Exception as error:
        log_internal_error(seam, error)
    if begun is None:
        return wrapped(*args, **kwargs)
    span, context = begun
    token = attach(seam, trace.set_span_in_context(span, context))
    try:
        result = wrapped(*args, **kwargs)
    except BaseException as error:
        try:
            fail(span, error)
        except Exception as problem:
            log_internal_error(seam, problem)
        raise
    else:
        if succeed is not None:
            try:
                succeed(span)
            except Exception as problem:
                log_internal_error(seam, problem)
        return result
    finally:
        detach(seam, token)
        end_span(span)
