"""The trace on the wire: what is written, and when it is written anew."""

from __future__ import annotations

import json
import time

import pytest
from opentelemetry.trace import SpanContext, TraceFlags, TraceState

from otel_cinder.core import carrier

SENT = SpanContext(0xA, 0xB, is_remote=False, trace_flags=TraceFlags(1))
OTHER = SpanContext(0xA, 0xC, is_remote=False, trace_flags=TraceFlags(1))


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What was injected for `SENT`, to all who listen, one minute ago."""
    ago = time.time_ns() - 60_000_000_000
    with monkeypatch.context() as patched:
        patched.setattr("otel_cinder.core.carrier.time.time_ns", lambda: ago)
        return carrier.inject(SENT, fanout=True)


def waited(state: str, keys: dict[str, str]) -> float:
    """Return since when a message that has this tracestate waits, in seconds."""
    arrival = carrier.extract({**keys, carrier.TRACESTATE: state})
    assert arrival.sent is not None
    assert arrival.fanout
    return time.time() - arrival.sent


def test_stamp_is_renewed(keys: dict[str, str]) -> None:
    """What was sent a minute after it was stamped has not waited; all else stays."""
    state = keys[carrier.TRACESTATE]
    assert waited(state, keys) == pytest.approx(60, abs=5)
    assert waited(carrier.renew(state, SENT), keys) == pytest.approx(0, abs=5)


def test_stamp_is_renewed_in_a_whole_message(keys: dict[str, str]) -> None:
    """In a text that has the key somewhere nothing but the stamp changes."""
    message = json.dumps({"method": "create_volume", **keys, "args": {"volume": "ü" * 1000}})
    renewed = json.loads(carrier.renew(message, SENT))
    assert waited(renewed.pop(carrier.TRACESTATE), keys) == pytest.approx(0, abs=5)
    assert renewed.items() <= json.loads(message).items()


def test_fresh_stamp_stays() -> None:
    """What is published at once is not copied: this happens for each message."""
    state = carrier.inject(SENT, fanout=False)[carrier.TRACESTATE]
    text = f"{state},vendor=a"
    renewed = carrier.renew(text, SENT)
    assert renewed is text or waited_less_than_a_second(renewed)


def waited_less_than_a_second(state: str) -> bool:
    """Tell so, for a machine that slept for a millisecond in the midst of the test."""
    return abs(int(state.partition(":")[2][:16]) / 1e6 - time.time()) < 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "vendor=a",
        "otelcinder=000000000000000b:",
        "otelcinder=000000000000000b:17",
        "otelcinder=000000000000000b:not-a-number-16c",
        "otelcinder=000000000000000b:²²²²²²²²²²²²²²²²",
    ],
)
def test_what_has_no_stamp_stays(text: str) -> None:
    """A text without a stamp, or with nothing that is one, is left alone."""
    assert carrier.renew(text, SENT) is text


def test_anothers_stamp_stays(keys: dict[str, str]) -> None:
    """The stamp of another span, in whose context this is not sent, is left alone."""
    assert carrier.renew(keys[carrier.TRACESTATE], OTHER) is keys[carrier.TRACESTATE]


def test_members_of_others_stay() -> None:
    """What other vendors have in tracestate travels on behind ours, whose old one goes."""
    state = TraceState([("otelcinder", "000000000000000c:1"), ("vendor", "a")])
    sent = SpanContext(0xA, 0xB, is_remote=False, trace_flags=TraceFlags(1), trace_state=state)
    ours, _, others = carrier.inject(sent, fanout=False)[carrier.TRACESTATE].partition(",")
    assert ours.startswith("otelcinder=000000000000000b:")
    assert others == "vendor=a"
