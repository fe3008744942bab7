"""A worker that is killed and a broker that goes away under load."""

import threading
from collections.abc import Callable

import pytest

from tests.integration.arrivals import arrived, settle
from tests.integration.broker import Broker
from tests.integration.configuration import API, SERVICES, Mode, Tracing
from tests.integration.processes import wait_until
from tests.integration.stack import CinderStack
from tests.integration.whole_create import (
    SPANS,
    assert_no_span_twice,
    assert_whole_create,
    create_traces,
    request_id,
)
from tests.receiver import Receiver

# Each request of a load may hang for as long as its client waits, which is 90 s.
pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


@pytest.fixture(scope="module", params=["eventlet", "threading", "uwsgi"])
def stack(
    request: pytest.FixtureRequest, new_stack: Callable[[Mode], CinderStack], receiver: Receiver
) -> CinderStack:
    """Cinder in one of its ways, all of it traced."""
    stack = new_stack(request.param)
    stack.start(Tracing(receiver.endpoint))
    return stack


def assert_new_creates_are_whole(stack: CinderStack, receiver: Receiver, count: int) -> set[str]:
    """Make volumes and check their traces; return the instance ids of the API that took part."""
    settle(receiver)
    receiver.clear()
    answers = stack.create(count)
    assert {answer.status for answer in answers} == {202}
    stack.wait_available(answer.volume_id for answer in answers)
    spans = arrived(receiver, count * SPANS)
    assert_no_span_twice(spans)
    new = {answer.request_id for answer in answers}
    traces = [trace for trace in create_traces(spans) if request_id(trace) in new]
    for trace in traces:
        assert_whole_create(trace)
    assert len(traces) == count
    return {str(s.resource["service.instance.id"]) for s in spans if s.service == API}


def test_successor_of_a_killed_worker_traces(stack: CinderStack, receiver: Receiver) -> None:
    """kill -9 of an API worker under load: the one that takes its place traces, by its name."""
    first = assert_new_creates_are_whole(stack, receiver, 24)
    old = {worker.pid for worker in stack.api_workers()}
    load = threading.Thread(target=stack.try_create, args=(24,))
    load.start()
    killed = stack.kill_api_worker()
    load.join()
    wait_until(
        lambda: len({worker.pid for worker in stack.api_workers()} - old) == 1,
        30,
        "a successor of the killed worker",
    )
    assert killed in old
    # One of the two workers may take all of a few requests; not of many. The ids are those of the
    # workers' places, which a successor takes too.
    second = assert_new_creates_are_whole(stack, receiver, 40)
    assert len(second) == 2
    assert second == first


def test_broker_restarts_under_load(stack: CinderStack, receiver: Receiver, broker: Broker) -> None:
    """RabbitMQ goes and comes back: the services live on, and new creates are traced whole."""
    pids = {service: process.pid for service, process in stack.services.items()}
    load = threading.Thread(target=stack.try_create, args=(60,))
    load.start()
    settle(receiver, 2)
    broker.stop()
    broker.start()
    load.join()
    stack.wait_ready()
    assert {service: stack.services[service].pid for service in SERVICES} == pids
    assert_new_creates_are_whole(stack, receiver, 16)
