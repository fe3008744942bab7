"""The trace on the wire: writing it, renewing its stamp, and reading other senders' values."""

from __future__ import annotations

import json
import random
import time

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanContext, TraceFlags, TraceState
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from otel_cinder.spans import carrier

SENT = SpanContext(0xA, 0xB, is_remote=False, trace_flags=TraceFlags(1))
OTHER = SpanContext(0xA, 0xC, is_remote=False, trace_flags=TraceFlags(1))


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The keys injected for `SENT`, a fan-out, one minute ago."""
    ago = time.time_ns() - 60_000_000_000
    with monkeypatch.context() as patched:
        patched.setattr("otel_cinder.spans.carrier.time.time_ns", lambda: ago)
        return carrier.inject(SENT, fanout=True)


def waited(state: str, keys: dict[str, str]) -> float:
    """Return since when a message that has this tracestate waits, in seconds."""
    arrival = carrier.extract({**keys, carrier.TRACESTATE: state})
    assert arrival.sent is not None
    assert arrival.fanout
    return time.time() - arrival.sent


def test_stamp_is_renewed(keys: dict[str, str]) -> None:
    """A message sent a minute after its stamp has not waited; all else stays."""
    state = keys[carrier.TRACESTATE]
    assert waited(state, keys) == pytest.approx(60, abs=5)
    assert waited(carrier.renew(state, SENT), keys) == pytest.approx(0, abs=5)


def test_stamp_is_renewed_in_a_whole_message(keys: dict[str, str]) -> None:
    """In a text that has the key somewhere nothing but the stamp changes."""
    message = json.dumps({"method": "create_volume", **keys, "args": {"volume": "ü" * 1000}})
    renewed = json.loads(carrier.renew(message, SENT))
    assert waited(renewed.pop(carrier.TRACESTATE), keys) == pytest.approx(0, abs=5)
    assert renewed.items() <= json.loads(message).items()


def test_stamp_is_stale_once_time_has_passed(
    keys: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message published at once keeps its stamp; a minute later, or earlier by a clock that was set
    back, it does not.
    """
    state = keys[carrier.TRACESTATE]
    stamped = int(state.partition(":")[2][:16]) * 1000
    for seconds, stale in ((0, False), (60, True), (-60, True)):
        now = stamped + seconds * 1_000_000_000
        monkeypatch.setattr("otel_cinder.spans.carrier.time.time_ns", lambda now=now: now)
        assert carrier.is_stale(state) is stale
        assert carrier.is_stale(f'{{"tracestate": "{state}"}}') is stale


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
def test_state_without_a_stamp_stays(text: str) -> None:
    """A text without a stamp, or with nothing that is one, is left alone."""
    assert not carrier.is_stale(text)
    assert carrier.renew(text, SENT) is text


def test_anothers_stamp_stays(keys: dict[str, str]) -> None:
    """The stamp of another span, in whose context this is not sent, is left alone."""
    assert carrier.renew(keys[carrier.TRACESTATE], OTHER) is keys[carrier.TRACESTATE]


@pytest.mark.parametrize("flags", [0, 1])
@pytest.mark.parametrize("members", [[], [("vendor", "a"), ("b@c", "xy")]])
def test_keys_are_what_the_sdk_reads(flags: int, members: list[tuple[str, str]]) -> None:
    """The W3C propagator reads the same trace, span, flags and other members."""
    sent = SpanContext(0xA << 100, 0xB, False, TraceFlags(flags), TraceState(members))
    keys = carrier.inject(sent, fanout=False)
    context = TraceContextTextMapPropagator().extract(keys, Context())
    read = trace.get_current_span(context).get_span_context()
    assert (read.trace_id, read.span_id, read.trace_flags) == (sent.trace_id, 0xB, flags)
    assert [item for item in read.trace_state.items() if item[0] != "otelcinder"] == members
    written: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(
        written, trace.set_span_in_context(trace.NonRecordingSpan(sent), Context())
    )
    assert keys["traceparent"] == written["traceparent"]
    assert keys["tracestate"].partition(",")[2] == written.get("tracestate", "")


@pytest.mark.parametrize("state", ["", "vendor=a,other=b"])
def test_roots_arrive(state: str) -> None:
    """The sender's local root and the first one arrive; those of a fan-out are nobody's."""
    roots = carrier.Roots(0xD, 0xE)
    sent = SpanContext(0xA, 0xB, False, TraceFlags(1), TraceState.from_header([state]))
    assert carrier.extract(carrier.inject(sent, fanout=False, roots=roots)).roots == roots
    assert carrier.extract(carrier.inject(sent, fanout=True, roots=roots)).roots is None


def test_roots_arrive_beside_as_much_as_others_may_send() -> None:
    """Neither others' 512 characters nor our own member get lost for the other."""
    others = ",".join(f"v{i}={'x' * 123}" for i in range(4))[: carrier.LIMIT]
    sent = SpanContext(0xA, 0xB, False, TraceFlags(1), TraceState.from_header([others]))
    roots = carrier.Roots(0xD, 0xE)
    arrival = carrier.extract(carrier.inject(sent, fanout=False, roots=roots))
    assert arrival.roots == roots
    assert TraceState.to_header(arrival.remote.trace_state) == others


def test_stamp_is_renewed_beside_roots() -> None:
    """A stamp that is written anew leaves the roots."""
    roots = carrier.Roots(0xD, 0xE)
    keys = carrier.inject(SENT, fanout=False, roots=roots)
    state = carrier.renew(keys[carrier.TRACESTATE], SENT)
    assert carrier.extract({**keys, carrier.TRACESTATE: state}).roots == roots


@pytest.mark.parametrize(
    "parent",
    [
        f"00-{0xA:032x}-{0xB:016x}-01",
        f" \t00-{0xA:032x}-{0xB:016x}-00\t ",
        f"00-{0xA:032x}-{0xB:016x}-03",
        f"00-{0xA:032x}-{0xB:016x}-01-more",
        f"01-{0xA:032x}-{0xB:016x}-01-more",
        f"cc-{0xA:032x}-{0xB:016x}-01",
        f"ff-{0xA:032x}-{0xB:016x}-01",
        f"00-{0:032x}-{0xB:016x}-01",
        f"00-{0xA:032x}-{0:016x}-01",
        f"00-{0xA:032X}-{0xB:016X}-01",
        f"00-{0xA:031x}-{0xB:016x}-01",
        f"00-{0xA:032x}-{0xB:016x}-01x",
        "",
    ],
)
def test_traceparent_is_read_as_by_the_sdk(parent: str) -> None:
    """Each traceparent, of a later version or malformed, is to us what it is to the SDK's propagator."""
    keys = {carrier.TRACEPARENT: parent, carrier.TRACESTATE: "vendor=a, b@c=xy"}
    context = TraceContextTextMapPropagator().extract(keys, Context())
    expected = trace.get_current_span(context).get_span_context()
    remote = carrier.extract(keys).remote
    assert remote == expected
    assert remote.is_remote is expected.is_remote
    assert remote.trace_state == expected.trace_state


def test_invalid_span_is_not_carried() -> None:
    """Without a trace nothing is written."""
    assert carrier.inject(trace.INVALID_SPAN_CONTEXT, fanout=True) == {}


def test_members_of_others_stay() -> None:
    """Other vendors' members of tracestate stay behind ours, which replaces its old one."""
    state = TraceState([("otelcinder", "000000000000000c:1"), ("vendor", "a")])
    sent = SpanContext(0xA, 0xB, is_remote=False, trace_flags=TraceFlags(1), trace_state=state)
    ours, _, others = carrier.inject(sent, fanout=False)[carrier.TRACESTATE].partition(",")
    assert ours.startswith("otelcinder=000000000000000b:")
    assert others == "vendor=a"


TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    ("state", "kept"),
    [
        ("", ""),
        ("a=b", "a=b"),
        (" a=b ,\tc=d,,", "a=b,c=d"),
        ("t@v=1,0t@v=2,a-_*/=~ x", "t@v=1,0t@v=2,a-_*/=~ x"),
        (f"otelcinder={SPAN}:1,a=b", "a=b"),
        (f"a=b,otelcinder={SPAN}:1,otelcinder={SPAN}:2", "a=b"),
        (",".join(f"k{number}=v" for number in range(32)), None),
        (",".join(f"k{number}=v" for number in range(33)), ""),
        ("a=" + "v" * 256, None),
        ("a=" + "v" * 257, ""),
        ("a=b,a=c", ""),
        ("a=b,A=c", ""),
        ("a=b=c", ""),
        ("0=b", ""),
        ("a=", ""),
        ("a=b\n", ""),
        ("a=\xe9", ""),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_members_of_others(state: str, kept: str | None) -> None:
    """All of a valid tracestate but our member is kept, and nothing of a malformed one."""
    assert carrier.foreign_members(state) == (state if kept is None else kept)


def test_sdk_has_nothing_to_say(caplog: pytest.LogCaptureFixture) -> None:
    """The SDK understands every member that is kept, and logs nothing."""
    chance = random.Random(34)
    alphabet = "abz019AZ@_-*/=,, \t~\x1f\x7f\xe9"
    kept = 0
    for _ in range(20_000):
        state = carrier.foreign_members("".join(chance.choices(alphabet, k=chance.randrange(24))))
        assert TraceState.from_header([state]).to_header() == state
        kept += bool(state)
    assert kept > 20
    assert not caplog.records


@pytest.mark.parametrize(
    "keys",
    [
        {"traceparent": PARENT, "tracestate": "garbage"},
        {"traceparent": PARENT, "tracestate": "a=b," * 1000},
        {"traceparent": PARENT, "tracestate": ",".join(f"k{n}=v" for n in range(33))},
        {"traceparent": PARENT, "tracestate": "a=b,a=c"},
        {"traceparent": PARENT.ljust(513, "-"), "tracestate": "a=b"},
        {"traceparent": "garbage" * 100},
    ],
    ids=lambda keys: repr(keys)[-30:],
)
def test_malformed_message_is_read_in_silence(
    keys: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """A message with malformed keys does not fill the service's log either."""
    arrival = carrier.extract(keys)
    assert not arrival.remote.trace_state
    assert not caplog.records
