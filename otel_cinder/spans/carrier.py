"""The trace on the wire: W3C keys at the top of an RPC message's context dictionary.

``traceparent`` and ``tracestate`` are where oslo.messaging's own tracing (18.3 and later) puts
them too, so a peer of either kind continues the trace, and a service without tracing does not
notice them. One member of ``tracestate`` is ours: when the message was sent, whether it was a
fan-out, and in which request or message. It names the span that wrote it, so that one which a peer
passed on is not believed.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from opentelemetry import trace
from opentelemetry.trace import SpanContext, TraceFlags, TraceState

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
KEYS: Final = frozenset({TRACEPARENT, TRACESTATE})

LIMIT: Final = 512
"""Characters of a ``traceparent`` or ``tracestate`` that count; a longer one counts as absent.

W3C Trace Context asks to propagate at least so many. Of a longer ``traceparent`` the SDK warns.
"""

_MEMBERS_LIMIT: Final = 32
"""Members of a ``tracestate``, by W3C Trace Context."""

_MEMBER: Final = "otelcinder"
_MEMBER_LIMIT: Final = 96
_OURS: Final = f"{_MEMBER}="
_STAMP: Final = 16
"""Digits of a stamp: microseconds since the epoch, until the year 2286."""

_BEFORE_STAMP: Final = len(f"{_OURS}{0:016x}:")

_FRESH_US: Final = 1000
"""Microseconds for which a stamp is as good as new."""

_BELIEVED_S: Final = 30 * 86_400.0
"""Seconds from the present, either way, in which a stamp is believed: no message waits for a month.
A stamp beyond that is wrong, and would spoil the sum of a histogram for ever."""

_VALID: Final = re.compile(
    r"""(?x)
    (?P<key> [a-z][a-z0-9_*/-]{0,255} | [a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13} )
    = [\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255} [\x21-\x2b\x2d-\x3c\x3e-\x7e]"""
)
"""A member of a ``tracestate``, by W3C Trace Context."""
_PARENT: Final = re.compile(
    r"""(?x)
    [ \t]* (?P<version> (?!ff) [0-9a-f]{2} ) - (?P<trace_id> [0-9a-f]{32} ) - (?P<span_id> [0-9a-f]{16} )
    - (?P<flags> [0-9a-f]{2} ) (?: (?P<more> -.* ) | [ \t]* )"""
)
"""A ``traceparent``, by W3C Trace Context. A later version than 00 may have more behind the flags."""
_SPAN_ID: Final = re.compile(r"(?!0{16})[0-9a-f]{16}")


class Roots(NamedTuple):
    """The spans of a message's trace below which its handling may be shown, by their ids."""

    sender: int
    """The local root of who sent it: a request, or another message."""
    entry: int
    """The local root in which the trace came into Cinder."""


class Arrival(NamedTuple):
    """A message's information about its sender."""

    remote: SpanContext
    """The sender's span; invalid if the message names none, or a malformed one."""
    sent: float | None
    """Time of sending by the sender's clock, in seconds since the epoch; at most a month from now."""
    fanout: bool
    """True for a fan-out, which all listeners get."""
    roots: Roots | None = None
    """None from a sender that names none: an older one, or another tracer."""


NOTHING: Final = Arrival(trace.INVALID_SPAN_CONTEXT, None, fanout=False)


def inject(sent: SpanContext, *, fanout: bool, roots: Roots | None = None) -> dict[str, str]:
    """The keys that carry ``sent``, stamped with the present time; empty if it is invalid.

    Written here, because the SDK's propagator takes four times as long for the same text. Of a
    fan-out the roots are left out: its handling begins a trace of its own.
    """
    if not sent.is_valid:
        return {}
    more = ":f" if fanout else ""
    if roots is not None and not fanout:
        more = f":{roots.sender:016x}:{roots.entry:016x}"
    state = f"{_mark_of(sent)}{_now()}{more}"
    for key, value in sent.trace_state.items() if sent.trace_state else ():
        if key != _MEMBER:
            state = f"{state},{key}={value}"
    return {
        TRACEPARENT: f"00-{sent.trace_id:032x}-{sent.span_id:016x}-{sent.trace_flags:02x}",
        TRACESTATE: state,
    }


def is_stale(text: str) -> bool:
    """True if ``text`` has a stamp of ours that is older than a millisecond.

    Args:
        text: a ``tracestate``, or a message with one. Cheap: every published message is checked.
    """
    begin = text.find(_OURS) + _BEFORE_STAMP
    stamp = text[begin : begin + _STAMP]
    return (
        begin >= _BEFORE_STAMP
        and _is_stamp(stamp)
        and abs(time.time_ns() // 1000 - int(stamp)) >= _FRESH_US
    )


def renew(text: str, sent: SpanContext) -> str:
    """``text`` with the present time for the stamp that `inject` has put in for ``sent``.

    Args:
        text: a ``tracestate``, or a whole message that has it somewhere as it is.
        sent: the span that was given to `inject`. ``text`` is returned as it is if the stamp is
            another span's.
    """
    mark = _mark_of(sent)
    before, found, rest = text.partition(mark)
    if not found or not _is_stamp(rest[:_STAMP]):
        return text
    return f"{before}{mark}{_now()}{rest[_STAMP:]}"


def foreign_members(tracestate: str) -> str:
    """The members of a ``tracestate`` that are not ours, or nothing if any of them is malformed.

    The SDK would log a warning for each malformed one, and anybody may send them.
    """
    return _valid(_members(tracestate))


def extract(keys: Mapping[str, Any]) -> Arrival:
    """Read the keys of a message. Malformed or oversized ones count as absent; never raises.

    Read here, because the SDK's propagator takes three times as long for the same.
    """
    parent, state = keys.get(TRACEPARENT), keys.get(TRACESTATE)
    if not isinstance(parent, str) or len(parent) > LIMIT:
        return NOTHING
    found = _PARENT.fullmatch(parent)
    if found is None or (found["version"] == "00" and found["more"]):
        return NOTHING
    members = _members(state) if isinstance(state, str) else []
    foreign = _valid(members)
    remote = SpanContext(
        int(found["trace_id"], 16),
        int(found["span_id"], 16),
        is_remote=True,
        trace_flags=TraceFlags(int(found["flags"], 16)),
        trace_state=TraceState.from_header([foreign]) if foreign else None,
    )
    if not remote.is_valid:
        return NOTHING
    mark = next((member for member in members if member.startswith(_OURS)), "")
    writer, _, rest = mark.removeprefix(_OURS).partition(":")
    if writer != found["span_id"]:
        return Arrival(remote, None, fanout=False)
    stamp, _, more = rest.partition(":")
    return Arrival(remote, _believed(stamp), fanout=more == "f", roots=_roots(more))


def _members(tracestate: str) -> list[str]:
    """The members of a ``tracestate``; none of one that is too long."""
    if len(tracestate) > LIMIT + _MEMBER_LIMIT:
        return []
    return [member for part in tracestate.split(",") if (member := part.strip(" \t"))]


def _valid(members: list[str]) -> str:
    """Those members that are not ours, joined; nothing if any of them is malformed."""
    foreign = [member for member in members if not member.startswith(_OURS)]
    if not foreign:
        return ""
    matches = [_VALID.fullmatch(member) for member in foreign]
    keys = {match["key"] for match in matches if match}
    kept = ",".join(foreign)
    valid = all(matches) and len(keys) == len(foreign) <= _MEMBERS_LIMIT and len(kept) <= LIMIT
    return kept if valid else ""


def _mark_of(sent: SpanContext) -> str:
    """The beginning of our member of ``tracestate``, up to the stamp."""
    return f"{_OURS}{sent.span_id:016x}:"


def _now() -> str:
    return f"{time.time_ns() // 1000:0{_STAMP}d}"


def _is_stamp(text: str) -> bool:
    return len(text) == _STAMP and text.isascii() and text.isdecimal()


def _roots(text: str) -> Roots | None:
    ids = text.split(":")
    if len(ids) != len(Roots._fields) or not all(map(_SPAN_ID.fullmatch, ids)):
        return None
    return Roots(*(int(each, 16) for each in ids))


def _believed(stamp: str) -> float | None:
    """The time of a stamp; None if it is malformed or too far from the present."""
    if not _is_stamp(stamp):
        return None
    sent = int(stamp) / 1e6
    return sent if abs(time.time() - sent) <= _BELIEVED_S else None
