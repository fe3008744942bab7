"""An exception on a span: status, ``error.type`` and one event, with secrets masked.

The causes of the exception are recorded as well. Drivers raise their own errors from others, and
often only those name the problem. The event's ``cinder.cause`` has class and message of each, the
nearest first. ``exception.stacktrace`` has their frames too, in the order and words of Python's
tracebacks.
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
"""oslo.messaging appends this to module and class of an exception that a call brought back."""

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
"""Exceptions of a chain that are recorded; of a longer one those nearest to its two ends."""

_DEEPEST: Final = 64
"""Exceptions of a chain that are read."""

_CAUSE_LIMIT: Final = 256
"""Characters recorded of one of them."""

_CAUSES_SHARE: Final = redaction.STACKTRACE_LIMIT // 2
"""Characters of a stack trace that all the causes' frames and messages get together."""

_NOTES_LIMIT: Final = 3

_FRAMES_LIMIT: Final = 64
"""Frames of one exception that are read, the last ones."""


class _Link(NamedTuple):
    """One exception of a chain, and its connection to the next one."""

    summary: str
    """Class and message, masked."""
    frames: TracebackType | str | None
    words: str
    """Python's words between it and the next one."""


def class_of(error: BaseException) -> tuple[str, str]:
    """Module and name of an exception's class; of a remote one as it was raised."""
    kind = type(error)
    return str(kind.__module__).removesuffix(_REMOTE), kind.__qualname__.removesuffix(_REMOTE)


def summary(error_type: str, message: str) -> str:
    """Class and message of an error in one line; the class alone where there is no message."""
    return f"{error_type}: {message}" if message else error_type


def message_of(error: BaseException) -> str:
    """An exception's message, masked, without the traceback that came along from another process."""
    return redaction.text(_message(error)[0])


def reasons_of(error: BaseException) -> list[str]:
    """An exception and its causes, the nearest first, each in one line."""
    message, remote_frames = _message(error)
    own = summary(class_of(error)[1], redaction.text(message))
    return [own, *_causes(error, remote_frames)]


def exception_attributes(error: BaseException) -> dict[str, Any]:
    """Class and message of an exception, and of its causes."""
    message, remote_frames = _message(error)
    attributes: dict[str, Any] = {
        conventions.EXCEPTION_TYPE: ".".join(class_of(error)),
        conventions.EXCEPTION_MESSAGE: redaction.text(message),
    }
    causes = _causes(error, remote_frames)
    if causes:
        attributes[conventions.CAUSE] = causes
    return attributes


def _causes(error: BaseException, remote_frames: str) -> list[str]:
    return [link.summary for link in _chain(error)] or _remote_causes(remote_frames)


def stacktrace_of(error: BaseException, own: TracebackType | str | None) -> str:
    """The frames of an exception, masked; before them those of its causes, as Python has it.

    Args:
        own: the exception's own frames, which it may have lost. A text must not hold the message,
            which Python's own formatting would add unmasked.
    """
    chain, remote_frames = _chain(error), _message(error)[1]
    if not chain and not remote_frames:
        return _frames(own, redaction.STACKTRACE_LIMIT)
    parts = []
    if remote_frames:
        parts += [_tail(remote_frames, _CAUSES_SHARE), _ELSEWHERE]
    share = _CAUSES_SHARE // max(len(chain), 1)
    for link in reversed(chain):
        frames = _frames(link.frames, share - len(link.summary) - len(link.words))
        parts += [_HEADER if frames else "", frames, f"{link.summary}\n", link.words]
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

    Never raises: the host's exception is on its way.

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
            attributes = exception_attributes(error)
            attributes[conventions.EXCEPTION_STACKTRACE] = stacktrace_of(error, own)
            clock.add_event(span, conventions.EXCEPTION_EVENT, attributes)
    except Exception as problem:  # a processor or provider of the host's
        log_internal_error("failures", problem)
    return name, message


def record_lost(
    span: Span, kind: str, message: str, stacktrace: str = "", causes: Sequence[str] = ()
) -> tuple[str, str]:
    """Mark ``span`` as failed by an exception that is known by texts only; returns as above.

    Args:
        kind: its class, with its module.
        causes: class and message of each cause, the nearest first.
    """
    name, message = kind.rpartition(".")[2], redaction.text(message)
    attributes: dict[str, Any] = {
        conventions.EXCEPTION_TYPE: kind,
        conventions.EXCEPTION_MESSAGE: message,
        conventions.EXCEPTION_STACKTRACE: _tail(stacktrace, redaction.STACKTRACE_LIMIT),
    }
    if causes:
        kept = causes[:_CAUSES_LIMIT]
        attributes[conventions.CAUSE] = [
            _MODULE.sub("", redaction.text(c, _CAUSE_LIMIT)) for c in kept
        ]
    span.set_status(Status(StatusCode.ERROR, summary(name, message)))
    span.set_attribute(conventions.ERROR_TYPE, name)
    clock.add_event(span, conventions.EXCEPTION_EVENT, attributes)
    return name, message


# Causes


def _chain(error: BaseException) -> list[_Link]:
    """The causes of ``error``, the nearest first."""
    try:
        links = [
            _Link(_summary(cause), cause.__traceback__, words) for cause, words in _walk(error)
        ]
    except Exception:  # a property of the host's exception
        return []
    if len(links) > _CAUSES_LIMIT:
        half = _CAUSES_LIMIT // 2
        left_out = links[half : 1 - half]
        links[half : 1 - half] = [_Link(f"… {len(left_out)} more", None, left_out[0].words)]
    return links


def _walk(error: BaseException) -> Iterator[tuple[BaseException, str]]:
    """The causes of ``error``, each once, and Python's words between each and the next."""
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
        yield from (
            (member, _IN_A_GROUP) for member in members if isinstance(member, BaseException)
        )
    if error.__cause__ is not None:
        yield error.__cause__, _RAISED_FROM
    elif error.__context__ is not None and not error.__suppress_context__:
        yield error.__context__, _RAISED_MEANWHILE


def _summary(error: BaseException) -> str:
    """Class and message, masked, and the notes that were added to it."""
    message = redaction.text(_message(error)[0], _CAUSE_LIMIT)
    lines = [summary(class_of(error)[1], message)]
    notes = getattr(error, "__notes__", None)
    if isinstance(notes, list):
        lines += [redaction.text(note, _CAUSE_LIMIT) for note in notes[:_NOTES_LIMIT]]
    return redaction.plain("\n".join(lines))[:_CAUSE_LIMIT]


def _message(error: BaseException) -> tuple[Any, str]:
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
    except Exception:  # it can't be printed: `redaction.text` replaces it
        return error, ""


def _remote_causes(text: str) -> list[str]:
    """Class and message of the causes in a traceback that came along, the nearest first."""
    causes = []
    for piece in reversed(_BETWEEN.split(text)[:-1]):
        # Frames are indented.
        lines = [line for line in piece.splitlines() if line[:1].strip()]
        messages = [line for line in lines if not _HEADER.startswith(line)]
        if messages:
            causes.append(_MODULE.sub("", redaction.text(messages[0], _CAUSE_LIMIT)))
    return causes[:_CAUSES_LIMIT]


def _frames(frames: TracebackType | str | None, limit: int) -> str:
    """The last ``limit`` characters of some frames."""
    if not frames or limit <= 0:
        return ""
    if not isinstance(frames, str):
        frames = "".join(traceback.format_tb(frames, -_FRAMES_LIMIT))
    return _tail(frames, limit)


def _tail(text: str, limit: int) -> str:
    return redaction.stacktrace(text, limit)
