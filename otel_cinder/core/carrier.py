"""The trace on the wire: W3C keys at the top of an RPC message's context dictionary.

``traceparent`` and ``tracestate`` stand where oslo.messaging's own tracing (18.3 and later) puts
them too, so a peer of either kind continues the trace, and a service without tracing does not
notice them. One member of ``tracestate`` is ours: when the message was sent, and whether it was a
fan-out. It names the span that wrote it, so that one which a peer passed on is not believed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanContext
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
KEYS: Final = frozenset({TRACEPARENT, TRACESTATE})

TRACESTATE_LIMIT: Final = 512
"""Characters; W3C Trace Context asks to propagate at least that many, and no more is."""

_MEMBER: Final = "otelcinder"
_MEMBER_LIMIT: Final = 64
_OURS: Final = f"{_MEMBER}="
_STAMP: Final = 16
"""Digits of a stamp: microseconds since the epoch, until the year 2286."""

_BEFORE_STAMP: Final = len(f"{_OURS}{0:016x}:")

_FRESH_US: Final = 1000
"""Microseconds for which a stamp is as good as new."""

_BELIEVED_S: Final = 30 * 86_400.0
"""Seconds from the present, either way, in which a stamp is believed: no message waits for a month.
What is beyond is nobody's clock, and would be the sum of a histogram for ever."""

_EMPTY: Final = Context()
_W3C: Final = TraceContextTextMapPropagator()
"""Not the configured propagators: baggage must not reach the broker, and peers read W3C."""


class Arrival(NamedTuple):
    """What a message says of its sender."""

    remote: SpanContext
    """The sender's span; invalid if the message says none, or nothing that can be understood."""
    sent: float | None
    """When it was sent, by the sender's clock, in seconds since the epoch; a month from now at most.
    """
    fanout: bool
    """Whether everybody who listens gets it."""


NOTHING: Final = Arrival(trace.INVALID_SPAN_CONTEXT, None, fanout=False)


def inject(sent: SpanContext, *, fanout: bool) -> dict[str, str]:
    """The keys that carry ``sent``, stamped with the present time; none for one that is invalid.

    Written here, since the SDK's propagator takes four times as long for the same text.
    """
    if not sent.is_valid:
        return {}
    state = f"{_mark_of(sent)}{_now()}{':f' if fanout else ''}"
    for key, value in sent.trace_state.items() if sent.trace_state else ():
        if key != _MEMBER:
            state = f"{state},{key}={value}"
    return {
        TRACEPARENT: f"00-{sent.trace_id:032x}-{sent.span_id:016x}-{sent.trace_flags:02x}",
        TRACESTATE: state,
    }


def is_stale(text: str) -> bool:
    """Whether a ``tracestate``, or a message that has one in it, has a stamp of ours that is no longer
    as good as new. Cheap: this is asked of each message that is published.
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
        sent: what was given to `inject`. ``text`` itself is returned where that is of another's.
    """
    mark = _mark_of(sent)
    before, found, rest = text.partition(mark)
    if not found or not _is_stamp(rest[:_STAMP]):
        return text
    return f"{before}{mark}{_now()}{rest[_STAMP:]}"


def extract(keys: Mapping[str, Any]) -> Arrival:
    """What ``keys`` carry. Malformed or oversized ones count as absent; never raises."""
    parent, state = keys.get(TRACEPARENT), keys.get(TRACESTATE)
    if not isinstance(parent, str):
        return NOTHING
    headers = {TRACEPARENT: parent}
    mark = ""
    if isinstance(state, str) and len(state) <= TRACESTATE_LIMIT + _MEMBER_LIMIT:
        members = [member.strip() for member in state.split(",") if member.strip()]
        mark = next((m for m in members if m.startswith(_OURS)), "")
        headers[TRACESTATE] = ",".join(m for m in members if m is not mark)
    remote = trace.get_current_span(_W3C.extract(headers, _EMPTY)).get_span_context()
    writer, _, rest = mark.removeprefix(_OURS).partition(":")
    if not remote.is_valid or writer != f"{remote.span_id:016x}":
        return Arrival(remote, None, fanout=False)
    stamp, _, flag = rest.partition(":")
    return Arrival(remote, _believed(stamp), fanout=flag == "f")


def _mark_of(sent: SpanContext) -> str:
    """The begin of our member of ``tracestate``, up to the stamp."""
    return f"{_OURS}{sent.span_id:016x}:"


def _now() -> str:
    return f"{time.time_ns() // 1000:0{_STAMP}d}"


def _is_stamp(text: str) -> bool:
    return len(text) == _STAMP and text.isascii() and text.isdecimal()


def _believed(stamp: str) -> float | None:
    """The time that a stamp says; None for one that no clock says."""
    if not _is_stamp(stamp):
        return None
    sent = int(stamp) / 1e6
    return sent if abs(time.time() - sent) <= _BELIEVED_S else None
