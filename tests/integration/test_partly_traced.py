"""Traced services beside untraced ones: Cinder works as before, and no log has an error."""

from collections.abc import Callable

import pytest

from otel_cinder.reading.trace import Trace, traces_of
from tests.integration.arrivals import settle
from tests.integration.configuration import API, SCHEDULER, SERVICES, VOLUME, Mode, Tracing
from tests.integration.stack import CinderStack
from tests.integration.whole_create import API_TREE, SPANS, create_traces, draw
from tests.receiver import Receiver

pytestmark = pytest.mark.faults
COUNT = 16


@pytest.fixture(scope="module")
def stack(new_stack: Callable[[Mode], CinderStack]) -> CinderStack:
    """Cinder under eventlet, not started yet."""
    return new_stack("eventlet")


def creates(stack: CinderStack, receiver: Receiver, *traced: str) -> list[Trace]:
    """Start Cinder with these services traced, make volumes, return the traces."""
    stack.terminate(tuple(stack.services))
    stack.wait_ended(30, tuple(stack.services))
    stack.start(Tracing(receiver.endpoint, services=traced))
    settle(receiver)
    receiver.clear()
    before = {service: len(log) for service, log in stack.logs().items()}
    answers = stack.create(COUNT)
    assert {answer.status for answer in answers} == {202}
    stack.wait_available(answer.volume_id for answer in answers)
    for service, log in stack.logs().items():
        assert "Traceback" not in log[before[service] :]
        assert " ERROR " not in log[before[service] :]
        assert "traceparent" not in log
    return traces_of(settle(receiver))


def test_untraced_scheduler_in_between(stack: CinderStack, receiver: Receiver) -> None:
    """With the API and volume service traced, the API's half of each trace is whole."""
    traces = creates(stack, receiver, API, VOLUME)
    halves = [draw(trace) for trace in create_traces(span for t in traces for span in t.spans)]
    assert halves == [API_TREE] * COUNT
    assert {span.service for trace in traces for span in trace.spans} <= {API, VOLUME}
    assert not [trace for trace in traces if trace.orphans]


def test_only_the_scheduler_traced(stack: CinderStack, receiver: Receiver) -> None:
    """With the scheduler alone traced, volumes are made and only its spans arrive."""
    traces = creates(stack, receiver, SCHEDULER)
    assert {span.service for trace in traces for span in trace.spans} <= {SCHEDULER}
    assert not [trace for trace in traces if trace.orphans]


def test_switched_off(stack: CinderStack, receiver: Receiver) -> None:
    """Installed but not switched on: no span, and nothing in a log tells of us."""
    assert creates(stack, receiver) == []
    assert not [service for service, log in stack.new_logs().items() if "otel" in log.lower()]


def test_all_traced_again(stack: CinderStack, receiver: Receiver) -> None:
    """With all services traced the traces are whole again."""
    traces = creates(stack, receiver, *SERVICES)
    assert [len(trace) for trace in traces] == [SPANS] * COUNT
