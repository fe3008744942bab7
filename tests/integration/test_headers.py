"""The effects that a client's trace headers may have, and those that they may not."""

import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from otel_cinder.reading.trace import Trace
from tests.integration.arrivals import arrived, settle
from tests.integration.broker import Broker
from tests.integration.complaints import OUR_LOGGER
from tests.integration.configuration import Mode, Tracing
from tests.integration.stack import CinderStack
from tests.integration.whole_create import (
    ROOT,
    SPANS,
    assert_no_span_twice,
    assert_whole_create,
    create_traces,
)
from tests.integration.wiretap import Wiretap, context_of
from tests.receiver import Receiver

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SPAN_ID = "b7ad6b7169203331"
VALID = f"00-{TRACE_ID}-{SPAN_ID}-01"
SECRET = "Xyzzy-kept-out-of-the-broker"
KIBIBYTES_8 = "x" * 8192

MALFORMED = {
    "empty": "",
    "words": "not a traceparent",
    "short": "00-1234-5678-01",
    "not hexadecimal": f"00-{'g' * 32}-{SPAN_ID}-01",
    "upper case": VALID.upper(),
    "no trace": f"00-{'0' * 32}-{SPAN_ID}-01",
    "no span": f"00-{TRACE_ID}-{'0' * 16}-01",
    "forbidden version": f"ff-{TRACE_ID}-{SPAN_ID}-01",
    "version 0 with more": f"{VALID}-more",
    "two of them": f"{VALID},{VALID}",
    "oversized": f"{VALID}{KIBIBYTES_8}",
    "control characters": f"{VALID}\x1b[31m\x07",
    "not ASCII": f"{VALID}\xff\xfe",
    "injection": "'; DROP TABLE volumes; --${jndi:ldap://x}",
}

STATES = {
    "malformed": ("====,,,;;; , =", ""),
    "hostile": ("a=\x1b[2J\xff,b='; DROP TABLE volumes", ""),
    "513 characters": (",".join(f"k{n:02}=" + "v" * 56 for n in range(8)) + "v" * 26, ""),
    "oversized": (f"vendor={KIBIBYTES_8}", ""),
    "33 members": (",".join(f"k{n}=v" for n in range(33)), ""),
    "valid": ("vendor=value,other=1", "vendor=value,other=1"),
}

BAGGAGE = {
    "valid": f"user={SECRET}",
    "oversized": f"user={SECRET}{KIBIBYTES_8}",
    "hostile": f"{SECRET}=\x1b[2J\xff,,,=;{SECRET}={SECRET};prop",
    "many": ",".join(f"k{n}={SECRET}" for n in range(200)),
}


@pytest.fixture(scope="module")
def stack(new_stack: Callable[[Mode], CinderStack], receiver: Receiver) -> CinderStack:
    """Cinder under eventlet, all of it traced, with the default sampler."""
    stack = new_stack("eventlet")
    stack.start(Tracing(receiver.endpoint))
    return stack


@pytest.fixture
def wiretap(stack: CinderStack, broker: Broker) -> Iterator[Wiretap]:
    """The messages from cinder-api to cinder-scheduler."""
    wiretap = Wiretap(broker, stack.name, "cinder-scheduler")
    yield wiretap
    wiretap.close()


def create_with(stack: CinderStack, receiver: Receiver, *headers: dict[str, str]) -> list[Trace]:
    """Make one volume with each of these sets of headers; return the traces that came of it."""
    settle(receiver)
    receiver.clear()
    answers = stack.create(len(headers), headers=headers)
    assert [answer.status for answer in answers] == [202] * len(headers)
    stack.wait_available(answer.volume_id for answer in answers)
    spans = arrived(receiver, len(headers) * SPANS)
    assert_no_span_twice(spans)
    return create_traces(spans)


def callers_state(context: dict[str, Any]) -> str:
    """Return the tracestate of a message without the member that otel-cinder itself adds."""
    members = (context.get("tracestate") or "").split(",")
    return ",".join(member for member in members if not member.startswith("otelcinder="))


def test_valid_traceparent_is_the_parent(stack: CinderStack, receiver: Receiver) -> None:
    """The caller's trace goes on, with the caller's span as the parent of the request."""
    (trace,) = create_with(stack, receiver, {"traceparent": VALID})
    assert trace.trace_id == TRACE_ID
    assert_whole_create(trace, parent_id=SPAN_ID)
    (request,) = [span for span in trace.spans if span.name == ROOT]
    assert request.parent_id == SPAN_ID


def test_malformed_traceparent_is_ignored(stack: CinderStack, receiver: Receiver) -> None:
    """Whatever else a traceparent says, the volume is made and its trace is whole and new."""
    traces = create_with(stack, receiver, *({"traceparent": bad} for bad in MALFORMED.values()))
    for trace in traces:
        assert_whole_create(trace)
    assert len({trace.trace_id for trace in traces} - {TRACE_ID}) == len(MALFORMED)


def test_tracestate_is_bounded(stack: CinderStack, receiver: Receiver, wiretap: Wiretap) -> None:
    """A tracestate travels on only where it is valid and has at most 512 characters."""
    requests = [
        {"traceparent": f"00-{secrets.token_hex(16)}-{SPAN_ID}-01", "tracestate": sent}
        for sent, _ in STATES.values()
    ]
    traces = create_with(stack, receiver, *requests)
    for trace in traces:
        assert_whole_create(trace, parent_id=SPAN_ID)
    contexts = [context_of(message) for message in wiretap.read(len(requests))]
    travelled = {context["traceparent"][3:35]: callers_state(context) for context in contexts}
    actual = {
        case: travelled[headers["traceparent"][3:35]]
        for case, headers in zip(STATES, requests, strict=True)
    }
    # What is left of a malformed one may be anything that is short and clean.
    for case in ("malformed", "hostile", "33 members"):
        assert len(actual[case]) <= 512
        assert actual.pop(case).isprintable()
    assert actual == {case: kept for case, (_, kept) in STATES.items() if case in actual}


def test_baggage_stays_outside(stack: CinderStack, receiver: Receiver, wiretap: Wiretap) -> None:
    """No baggage of a client reaches the broker, or a span."""
    requests = [{"traceparent": VALID, "baggage": sent} for sent in BAGGAGE.values()]
    requests += [{"baggage": sent} for sent in BAGGAGE.values()]
    create_with(stack, receiver, *requests)
    for message in wiretap.read(len(requests)):
        assert "baggage" not in context_of(message)
        assert SECRET not in str(message)
        assert context_of(message)["traceparent"]
    assert not [request for request in receiver.requests if SECRET in str(request)]


def test_everything_bad_at_once(stack: CinderStack, receiver: Receiver) -> None:
    """Everything at once, and nothing of it good: still 202, and a whole trace."""
    headers = {
        "traceparent": MALFORMED["oversized"],
        "tracestate": STATES["oversized"][0],
        "baggage": BAGGAGE["oversized"][:4096],
    }
    (trace,) = create_with(stack, receiver, headers)
    assert_whole_create(trace)


def test_bad_headers_leave_no_line(stack: CinderStack, receiver: Receiver) -> None:
    """Malformed headers cause no warning of OpenTelemetry in a service's log."""
    bad = [{"traceparent": VALID, "tracestate": sent} for sent, _ in STATES.values()]
    bad += [{"traceparent": sent} for sent in MALFORMED.values()]
    create_with(stack, receiver, *bad)
    lines = [line for log in stack.logs().values() for line in log.splitlines()]
    assert lines
    assert not [line for line in lines if OUR_LOGGER.search(line)]


@pytest.mark.parametrize("sampler", ["traceidratio", "parentbased_traceidratio"])
def test_sampled_flag_does_not_raise_the_rate(
    stack: CinderStack, receiver: Receiver, sampler: str
) -> None:
    """At one in a hundred, sixty requests that ask to be sampled are not, low ids or not."""
    rate = {"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": "0.01"}
    stack.restart(Tracing(receiver.endpoint, env=rate))
    settle(receiver)
    receiver.clear()
    asking = [
        {"traceparent": f"00-{number:032x}-{SPAN_ID}-01", "tracestate": "ot=th:0;rv:ffffffffffffff"}
        for number in range(1, 61)
    ]
    answers = stack.create(len(asking), headers=asking)
    assert {answer.status for answer in answers} == {202}
    stack.wait_available(answer.volume_id for answer in answers)
    # More than five of sixty at one in a hundred happens once in thirty thousand runs.
    traces = create_traces(settle(receiver))
    assert len(traces) <= 5
    for trace in traces:
        assert len(trace) == SPANS
