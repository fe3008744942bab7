"""An exception on a span: status, ``error.type`` and one event, with secrets masked.

What an exception came of is told as well. Drivers raise their own from what went wrong beneath, and
often name it there alone. The event's ``cinder.cause`` has class and message of each, the nearest
first, and ``exception.stacktrace`` their frames too, in the order and words of Python's tracebacks.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Final, NamedTuple

from opentelemetry.trace import Span, Status, StatusCode

from otel_cinder import conventions, redaction
from otel_cinder.patching.internal_errors import log_internal_error
from otel_cinder.spans import clock

_REMOTE: Final = "_Remote"
"""What oslo.messaging appends to module and class of an exception that a call brought back."""

_HEADER: Final = "Traceback (most recent call last):\n"
_RAISED_FROM: Final = "\nThe above exception was the direct cause of the following exception:\n\n"
_RAISED_MEANWHILE: Final = (
    "\nDuring handling of the above exception, another exception occurred:\n\n"
)
_IN_A_GROUP: Final = "\nThe above exception is one of the following group:\n\n"
_ELSEWHERE: Final = "\nThe above was raised in another process, and came back here:\n\n"
_BETWEEN: Final = re.compile(f"{_RAISED_FROM.strip()}|{_RAISED_MEANWHILE.strip()}")
_MODULE: Final = re.compile(r"^(?:\w+\.)+(?=\w+(?::|$))")

_CAUSES_LIMIT: Final = 8
"""Exceptions of a chain that are told; of a longer one those nearest to its two ends."""

_DEEPEST: Final = 64
"""Exceptions of a chain that are looked at."""

_CAUSE_LIMIT: Final = 256
"""Characters of what is told of one of them."""

_CAUSES_SHARE: Final = redaction.STACKTRACE_LIMIT // 2
"""Characters of a stack trace that all the causes' frames and messages get together."""

_NOTES_LIMIT: Final = 3

_FRAMES_LIMIT: Final = 64
"""Frames of one exception that are looked at, the last ones."""


class _Link(NamedTuple):
    """One exception of a chain, and how the next one came of it."""

    said: str
    """Class and message, masked."""
    frames: TracebackType | str | None
    words: str
    """What Python writes between it and the next one."""


def class_of(error: BaseException) -> tuple[str, str]:
    """Module and name of an exception's class; of a remote one as it was raised."""
    kind = type(error)
    return str(kind.__module__).removesuffix(_REMOTE), kind.__qualname__.removesuffix(_REMOTE)


def summary(error_type: str, message: str) -> str:
    """Class and message of an error in one line; the class alone where there is no message."""
    return f"{error_type}: {message}" if message else error_type


def message_of(error: BaseException) -> str:
    """An exception's message, masked, without the traceback that came along from another process."""
    return redaction.text(_said(error)[0])


def exception_attributes(error: BaseException) -> dict[str, Any]:
    """Class and message of an exception, and of what it came of."""
    message, elsewhere = _said(error)
    found: dict[str, Any] = {
        conventions.EXCEPTION_TYPE: ".".join(class_of(error)),
        conventions.EXCEPTION_MESSAGE: redaction.text(message),
    }
    causes = [link.said for link in _chain(error)] or _causes_elsewhere(elsewhere)
    if causes:
        found[conventions.CAUSE] = causes
    return found


def stacktrace_of(error: BaseException, own: TracebackType | str | None) -> str:
    """The frames of an exception, masked; before them, as Python has it, what it came of.

    Args:
        own: the exception's own frames, which it may have lost. A text must not hold the message,
            which Python's own formatting would add unmasked.
    """
    chain, elsewhere = _chain(error), _said(error)[1]
    if not chain and not elsewhere:
        return _frames(own, redaction.STACKTRACE_LIMIT)
    parts = []
    if elsewhere:
        parts += [_tail(elsewhere, _CAUSES_SHARE), _ELSEWHERE]
    share = _CAUSES_SHARE // max(len(chain), 1)
    for link in reversed(chain):
        frames = _frames(link.frames, share - len(link.said) - len(link.words))
        parts += [_HEADER if frames else "", frames, f"{link.said}\n", link.words]
    before = "".join(parts) + _HEADER
    return before + _frames(own, redaction.STACKTRACE_LIMIT - len(before))


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
        stacktrace: the frames where ``error`` has lost them; see `stacktrace_of`.
    """
    name, message = error_type or class_of(error)[1], message_of(error)
    try:
        if span.is_recording():
            span.set_status(Status(StatusCode.ERROR, summary(name, message)))
            span.set_attribute(conventions.ERROR_TYPE, name)
            own = error.__traceback__ if stacktrace is None else stacktrace
            said = exception_attributes(error)
            said[conventions.EXCEPTION_STACKTRACE] = stacktrace_of(error, own)
            clock.add_event(span, conventions.EXCEPTION_EVENT, said)
    except Exception as problem:  # a processor or provider of the host's
        log_internal_error("failures", problem)
    return name, message


def record_lost(
    span: Span, kind: str, message: str, stacktrace: str = "", causes: Sequence[str] = ()
) -> tuple[str, str]:
    """Mark ``span`` as failed by an exception of which only texts are left; returns as above.

    Args:
        kind: its class, with its module.
        causes: class and message of what it came of, the nearest first.
    """
    name, message = kind.rpartition(".")[2], redaction.text(message)
    said: dict[str, Any] = {
        conventions.EXCEPTION_TYPE: kind,
        conventions.EXCEPTION_MESSAGE: message,
        conventions.EXCEPTION_STACKTRACE: _tail(stacktrace, redaction.STACKTRACE_LIMIT),
    }
    if causes:
        kept = causes[:_CAUSES_LIMIT]
        said[conventions.CAUSE] = [_MODULE.sub("", redaction.text(c, _CAUSE_LIMIT)) for c in kept]
    span.set_status(Status(StatusCode.ERROR, summary(name, message)))
    span.set_attribute(conventions.ERROR_TYPE, name)
    clock.add_event(span, conventions.EXCEPTION_EVENT, said)
    return name, message


# What an exception came of


def _chain(error: BaseException) -> list[_Link]:
    """What ``error`` came of, the nearest first."""
    try:
        found = [_Link(_told(each), each.__traceback__, words) for each, words in _walk(error)]
    except Exception:  # a property of the host's exception
        return []
    if len(found) > _CAUSES_LIMIT:
        half = _CAUSES_LIMIT // 2
        left_out = found[half : 1 - half]
        found[half : 1 - half] = [_Link(f"… {len(left_out)} more", None, left_out[0].words)]
    return found


def _walk(error: BaseException) -> Iterator[tuple[BaseException, str]]:
    """The exceptions that ``error`` came of, each once, and how the next one came of it."""
    seen = {id(error)}
    waiting = [error]
    while waiting and len(seen) < _DEEPEST:
        for cause, words in _next(waiting.pop(0)):
            if id(cause) not in seen:
                seen.add(id(cause))
                waiting.append(cause)
                yield cause, words


def _next(error: BaseException) -> Iterator[tuple[BaseException, str]]:
    members = getattr(error, "exceptions", None)  # an ExceptionGroup's
    if isinstance(members, tuple):
        yield from ((each, _IN_A_GROUP) for each in members if isinstance(each, BaseException))
    if error.__cause__ is not None:
        yield error.__cause__, _RAISED_FROM
    elif error.__context__ is not None and not error.__suppress_context__:
        yield error.__context__, _RAISED_MEANWHILE


def _told(error: BaseException) -> str:
    """Class and message, masked, and the notes that were added to it."""
    message = redaction.text(_said(error)[0], _CAUSE_LIMIT)
    said = [summary(class_of(error)[1], message)]
    notes = getattr(error, "__notes__", None)
    if isinstance(notes, list):
        said += [redaction.text(note, _CAUSE_LIMIT) for note in notes[:_NOTES_LIMIT]]
    return redaction.plain("\n".join(said))[:_CAUSE_LIMIT]


def _said(error: BaseException) -> tuple[Any, str]:
    """Message of an exception, and the traceback that came along with it from another process.

    oslo.messaging puts that behind the message, which has little room and would be cut there.
    """
    try:
        frames = getattr(error, "traceback", None)
        if isinstance(frames, list) and hasattr(error, "exc_type"):  # its RemoteError
            value = getattr(error, "value", None)
            return f"Remote error: {error.exc_type} {value}", "".join(map(str, frames))
        message, header, rest = str(error).partition(f"\n{_HEADER}")
        return message, f"{header[1:]}{rest}"
    except Exception:  # it can't be printed, for which `redaction.text` has a word
        return error, ""


def _causes_elsewhere(text: str) -> list[str]:
    """Class and message of the causes in a traceback that came along, the nearest first."""
    found = []
    for piece in reversed(_BETWEEN.split(text)[:-1]):
        # Frames are indented.
        lines = [line for line in piece.splitlines() if line[:1].strip()]
        said = [line for line in lines if not _HEADER.startswith(line)]
        if said:
            found.append(_MODULE.sub("", redaction.text(said[0], _CAUSE_LIMIT)))
    return found[:_CAUSES_LIMIT]


def _frames(found: TracebackType | str | None, limit: int) -> str:
    """The last ``limit`` characters of some frames."""
    if not found or limit <= 0:
        return ""
    if not isinstance(found, str):
        found = "".join(traceback.format_tb(found, -_FRAMES_LIMIT))
    return _tail(found, limit)


def _tail(text: str, limit: int) -> str:
    return redaction.stacktrace(text, limit)
