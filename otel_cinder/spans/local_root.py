"""The local root span: a service's first span of a request or a message.

Facts that turn up further inside are added to it, such as the volume's id, or a failure that Cinder
handled itself. So they are found on each service's first span.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanContext, Status, StatusCode
from opentelemetry.trace.propagation import _SPAN_KEY

from otel_cinder import conventions, redaction
from otel_cinder.spans import clock
from otel_cinder.spans.carrier import Roots
from otel_cinder.spans.failures import class_of, message_of, summary

_KEY: Final = otel_context.create_key("otel-cinder-local-root")

UNKNOWN: Final = "unknown"
"""The class of a reason that is missing, or a mere text."""

_NO_REASON: Final = "no reason given"

_SUBJECTS: Final = (
    conventions.VOLUME_ID,
    conventions.SNAPSHOT_ID,
    conventions.BACKUP_ID,
    conventions.GROUP_ID,
    conventions.GROUP_SNAPSHOT_ID,
)
"""Attributes for the resource of a message."""

_FAILURES_LIMIT: Final = 256
"""Resources whose last failure is remembered."""


class Reason(NamedTuple):
    """Why something failed."""

    error_type: str
    """Class of the error, or `UNKNOWN`."""
    message: str
    """Its text, masked."""


class LocalRoot:
    """One request or message in a service."""

    __slots__ = ("attributes", "entry", "failed", "failure", "failures", "is_http", "span")

    def __init__(
        self,
        span: Span,
        attributes: Mapping[str, Any] | None = None,
        *,
        is_http: bool,
        sent_in: Roots | None = None,
    ) -> None:
        self.span = span
        self.entry = sent_in.entry if sent_in else span.get_span_context().span_id
        """The id of the local root in which the trace came into Cinder, as far as is known."""
        self.attributes = dict(attributes or ())
        """Attributes of the request or message: later ones never override them."""
        self.is_http = is_http
        """True for an HTTP request: its status alone decides whether it failed."""
        self.failure: tuple[str, str] | None = None
        """Class and message, masked, of the last failure inside: the reason where none is given."""
        self.failures: dict[str, tuple[str, str]] = {}
        """The same by the id of the failed resource."""
        self.failed: set[tuple[str, str, str]] = set()
        """Type, id and status of the resources whose failure is recorded, each once."""

    @property
    def operation(self) -> str:
        """A message's topic and method; empty for a request, and if it is not recorded."""
        return str((getattr(self.span, "attributes", None) or {}).get(conventions.RPC_METHOD, ""))

    def is_about(self, ids: Collection[str]) -> bool:
        """True if the work is about any of these resources.

        True as well if its resource is unknown, and for a group, which contains others.
        """
        known = self.attributes
        if conventions.GROUP_ID in known and conventions.VOLUME_ID not in known:
            return True
        subjects = [known[name] for name in _SUBJECTS if name in known]
        return not subjects or any(subject in ids for subject in subjects)


def enter(context: Context, root: LocalRoot) -> Context:
    """``context`` with ``root`` as its local root, and the root's span as the current one."""
    return Context({**context, _SPAN_KEY: root.span, _KEY: root})


def current(context: Context | None = None) -> LocalRoot | None:
    """The local root of the current work, if it is traced."""
    root: Any = otel_context.get_value(_KEY, context)
    return root  # type: ignore[no-any-return]


def roots_of(sent: SpanContext, context: Context) -> Roots | None:
    """The roots that a message names which ``sent``, a span in ``context``, sends; None if there are
    none that are recorded in its trace.
    """
    root = current(context)
    if root is None:
        return None
    own = root.span.get_span_context()
    if own.trace_id != sent.trace_id or own.is_remote or not own.trace_flags.sampled:
        return None
    return Roots(own.span_id, root.entry)


def enrich(attributes: Mapping[str, Any], context: Context | None = None) -> None:
    """Add ``attributes`` to the local root span, except those that it has.

    Attributes of another volume are ignored, such as the one that a migration creates.
    """
    root = current(context)
    if root is None or not root.span.is_recording():
        return
    volume = root.attributes.get(conventions.VOLUME_ID)
    if volume and attributes.get(conventions.VOLUME_ID, volume) != volume:
        return
    new = {key: value for key, value in attributes.items() if key not in root.attributes}
    if new:
        root.attributes.update(new)
        root.span.set_attributes(new)


def remember(error: BaseException, about: Collection[str] = ()) -> None:
    """Remember ``error`` as the reason of later failures that name none.

    Args:
        about: ids of the failed resources; empty: all resources of the message.
    """
    root = current()
    if root is None:
        return
    failure = (class_of(error)[1], message_of(error))
    if not about:
        root.failure = failure
    elif len(root.failures) < _FAILURES_LIMIT:
        root.failures.update(dict.fromkeys(about, failure))


def why(reason: object = None, otherwise: str = _NO_REASON, about: str = "") -> Reason:
    """Find the reason of a failure.

    Args:
        reason: an exception or a text. None: the exception being handled, or the last failure.
        otherwise: the text if there is neither.
        about: id of the failed resource: its own last failure is preferred.
    """
    root = current()
    last = root.failures.get(about, root.failure) if root is not None else None
    handled = reason if isinstance(reason, BaseException) else sys.exc_info()[1]
    if handled is not None:
        last = (class_of(handled)[1], message_of(handled))
        if root is not None:
            root.failure = last
    if reason is None or reason is handled:
        return Reason(*last) if last else Reason(UNKNOWN, redaction.text(otherwise))
    # The text is the message; the class is that of the handled exception, or of the last failure.
    return Reason(last[0] if last else UNKNOWN, redaction.text(reason))


def fail(
    event: str, attributes: Mapping[str, Any], reason: object = None, *, own: bool = True
) -> Reason:
    """Mark the current span and its message's as failed, even if nothing is raised.

    A request's span only gets the event: its HTTP status decides. A span that already names an
    error class keeps it, because later failures are consequences.

    Args:
        event: name of the event; tells Cinder's reaction.
        attributes: the event's; the reason is added.
        reason: a `Reason`, or an argument for `why`.
        own: False if the message itself did not fail, but something beside it. Then the current
            span gets the event, and no span becomes an error.

    Returns:
        The reason.
    """
    known = reason if isinstance(reason, Reason) else why(reason)
    root = current()
    spans = [trace.get_current_span()]
    if not own:
        _forget(root, known)
    elif root is not None and not root.is_http and root.span is not spans[0]:
        spans.append(root.span)
    event_attributes = {
        **attributes,
        conventions.ERROR_TYPE: known.error_type,
        conventions.REASON: known.message,
    }
    for span in spans:
        if not span.is_recording():
            continue
        clock.add_event(span, event, event_attributes)
        answered = root is not None and root.is_http and span is root.span
        if own and not answered and _says_more(known, span):
            span.set_status(Status(StatusCode.ERROR, summary(known.error_type, known.message)))
            span.set_attribute(conventions.ERROR_TYPE, known.error_type)
    return known


def _forget(root: LocalRoot | None, reason: Reason) -> None:
    """Make sure that a failure beside a message is not the reason of the next one."""
    if root is not None and root.failure == tuple(reason):
        root.failure = None


def _says_more(reason: Reason, span: Span) -> bool:
    """True if ``reason`` is more precise than the error on ``span``."""
    status = getattr(span, "status", None)  # the SDK's spans can be read, others maybe not
    if not isinstance(status, Status) or status.status_code is not StatusCode.ERROR:
        return True
    error_type, _, message = (status.description or "").partition(": ")
    return not error_type or _weight(reason) > _weight(Reason(error_type, message))


def _weight(reason: Reason) -> int:
    """Rank of a reason: 0 for none, 1 for a text, 2 for the class of an error."""
    if reason.error_type != UNKNOWN:
        return 2
    return int(reason.message != _NO_REASON)
