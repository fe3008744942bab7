"""The span by which work came into a service: a request's or a message's.

What is learned further inside (the volume's id, that Cinder has handled a failure by itself) is said
there too, so that it is found from every service's first span.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, Status, StatusCode

from otel_cinder import conventions, redaction
from otel_cinder.spans import clock
from otel_cinder.spans.failures import class_of, message_of, summary

_KEY: Final = otel_context.create_key("otel-cinder-entry")

UNKNOWN: Final = "unknown"
"""The class of a reason that is none, or a mere text."""

_NO_REASON: Final = "no reason given"

_SUBJECTS: Final = (
    conventions.VOLUME_ID,
    conventions.SNAPSHOT_ID,
    conventions.BACKUP_ID,
    conventions.GROUP_ID,
    conventions.GROUP_SNAPSHOT_ID,
)
"""Attributes that say what a message is about."""

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

    __slots__ = ("failed", "failure", "failures", "is_http", "said", "span")

    def __init__(self, span: Span, said: Mapping[str, Any] | None = None, *, is_http: bool) -> None:
        self.span = span
        self.said = dict(said or ())
        """What was asked, as far as it is known: nothing found later overrides it."""
        self.is_http = is_http
        """A request's outcome is what it was answered; a message's also what Cinder made of it."""
        self.failure: tuple[str, str] | None = None
        """Class and message, masked, of the last failure inside; for what names no reason."""
        self.failures: dict[str, tuple[str, str]] = {}
        """The same by the id of the resource that it was about."""
        self.failed: set[tuple[str, str, str]] = set()
        """Type, id and status of the resources whose failure has been told: each is, once."""

    @property
    def operation(self) -> str:
        """A message's topic and method; empty if it is none, or is not recorded."""
        return str((getattr(self.span, "attributes", None) or {}).get(conventions.RPC_METHOD, ""))

    def is_about(self, ids: Collection[str]) -> bool:
        """Whether the work is about any of these.

        Yes if nobody has said what it is about, and for a group, of which all in it is a part.
        """
        said = self.said
        if conventions.GROUP_ID in said and conventions.VOLUME_ID not in said:
            return True
        subjects = [said[name] for name in _SUBJECTS if name in said]
        return not subjects or any(subject in ids for subject in subjects)


def enter(context: Context, root: LocalRoot) -> Context:
    """``context`` with ``root`` as the way in."""
    return otel_context.set_value(_KEY, root, context)


def current(context: Context | None = None) -> LocalRoot | None:
    """The way in to what is being done, if it is traced."""
    found: Any = otel_context.get_value(_KEY, context)
    return found  # type: ignore[no-any-return]


def enrich(attributes: Mapping[str, Any], context: Context | None = None) -> None:
    """Say ``attributes`` on the entry's span, but for those that it has.

    What is about another volume is passed over: the one that a migration makes, say.
    """
    root = current(context)
    if root is None or not root.span.is_recording():
        return
    volume = root.said.get(conventions.VOLUME_ID)
    if volume and attributes.get(conventions.VOLUME_ID, volume) != volume:
        return
    new = {key: value for key, value in attributes.items() if key not in root.said}
    if new:
        root.said.update(new)
        root.span.set_attributes(new)


def remember(error: BaseException, about: Collection[str] = ()) -> None:
    """Remember what went wrong, for what comes of it later, when nobody names a reason.

    Args:
        about: ids of the resources that it is about; none: of all that the message is about.
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
    """What went wrong, as far as it is known by now.

    Args:
        reason: an exception or a text. None: what is being handled right now, or failed last.
        otherwise: what to say where that leads to nothing.
        about: id of the resource in question: what failed last with it is the better reason.
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
    # A text says why; of which class that was, what is being handled or has failed last says.
    return Reason(last[0] if last else UNKNOWN, redaction.text(reason))


def fail(
    event: str, attributes: Mapping[str, Any], reason: object = None, *, own: bool = True
) -> Reason:
    """Mark the current span and its message's as failed, although nothing may be raised.

    A request's own span gets the event only: whether it failed is what it was answered. A span that
    already names the class of an error keeps it, since what comes later is a consequence.

    Args:
        event: name of the event that says what Cinder did about it.
        attributes: the event's; the reason is added.
        reason: a `Reason`, or what `why` makes one of.
        own: False if it is no failure of the message's, but of something that was done beside it:
            then the current span gets the event, and no span becomes an error.

    Returns:
        The reason.
    """
    found = reason if isinstance(reason, Reason) else why(reason)
    root = current()
    spans = [trace.get_current_span()]
    if not own:
        _forget(root, found)
    elif root is not None and not root.is_http and root.span is not spans[0]:
        spans.append(root.span)
    said = {
        **attributes,
        conventions.ERROR_TYPE: found.error_type,
        conventions.REASON: found.message,
    }
    for span in spans:
        if not span.is_recording():
            continue
        clock.add_event(span, event, said)
        answered = root is not None and root.is_http and span is root.span
        if own and not answered and _says_more(found, span):
            span.set_status(Status(StatusCode.ERROR, summary(found.error_type, found.message)))
            span.set_attribute(conventions.ERROR_TYPE, found.error_type)
    return found


def _forget(root: LocalRoot | None, reason: Reason) -> None:
    """Let what failed beside a message not be taken for the reason of what fails after it."""
    if root is not None and root.failure == tuple(reason):
        root.failure = None


def _says_more(reason: Reason, span: Span) -> bool:
    """Whether ``reason`` is more than what ``span`` already says."""
    status = getattr(span, "status", None)  # the SDK's spans can be read, others maybe not
    if not isinstance(status, Status) or status.status_code is not StatusCode.ERROR:
        return True
    error_type, _, message = (status.description or "").partition(": ")
    return not error_type or _weight(reason) > _weight(Reason(error_type, message))


def _weight(reason: Reason) -> int:
    """How much a reason says: nothing, a text, or the class of an error."""
    if reason.error_type != UNKNOWN:
        return 2
    return int(reason.message != _NO_REASON)
