"""Fifty creates through real Cinder, in each of the ways it runs, and what is recorded of them."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from importlib.metadata import version

import pytest

from otel_cinder.conventions import ERROR_TYPE, STOPPED
from otel_cinder.reading.trace import SpanRecord, traces_of
from tests.integration.arrivals import arrived, settle
from tests.integration.complaints import MONKEY_PATCHING
from tests.integration.configuration import API, MODES, SCHEDULER, SERVICES, VOLUME, Mode, Tracing
from tests.integration.processes import wait_until
from tests.integration.stack import Answer, CinderStack
from tests.integration.totals import totals, wait_for_totals
from tests.integration.whole_create import (
    SPANS,
    TASKS,
    assert_no_span_twice,
    assert_whole_create,
    create_traces,
    draw,
    request_id,
)
from tests.metric_points import MetricPoint
from tests.receiver import Receiver

COUNT = 50
# Spans leave only with a full batch, which no test here makes, or when the process ends.
NEVER_ON_ITS_OWN = {
    "OTEL_BSP_SCHEDULE_DELAY": "3600000",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "2048",  # nor since there are many
}


@pytest.fixture(scope="module", params=MODES)
def stack(
    request: pytest.FixtureRequest, new_stack: Callable[[Mode], CinderStack], receiver: Receiver
) -> CinderStack:
    """Cinder in one of its ways, all of it traced."""
    stack = new_stack(request.param)
    receiver.clear()
    stack.start(Tracing(receiver.endpoint))
    return stack


@pytest.fixture(scope="module")
def from_start(stack: CinderStack, receiver: Receiver) -> list[SpanRecord]:
    """Spans from Cinder's start, and from the tests' questions whether it is ready."""
    return settle(receiver)


@pytest.fixture(scope="module")
def answers(stack: CinderStack, receiver: Receiver, from_start: list[SpanRecord]) -> list[Answer]:
    """Fifty creates, eight at a time, all available by now."""
    receiver.clear()
    answers = stack.create(COUNT)
    assert {answer.status for answer in answers} == {202}
    stack.wait_available(answer.volume_id for answer in answers)
    return answers


@pytest.fixture(scope="module")
def spans(answers: list[Answer], receiver: Receiver) -> list[SpanRecord]:
    """Every span that came of the fifty creates, and whatever else came meanwhile."""
    return arrived(receiver, COUNT * SPANS)


def instances(spans: Iterable[SpanRecord | MetricPoint]) -> dict[str, set[str]]:
    """Group the instance ids by service."""
    ids: dict[str, set[str]] = defaultdict(set)
    for span in spans:
        ids[span.service].add(str(span.resource.get("service.instance.id")))
    return ids


def test_start_is_quiet(from_start: list[SpanRecord]) -> None:
    """Starting up, heartbeats and capabilities start no trace; only our own GETs do."""
    roots = {trace.roots[0].name if trace.roots else "none" for trace in traces_of(from_start)}
    assert roots == {"GET /v3/{project_id}/scheduler-stats/get_pools"}


def test_idle_processes_report(
    from_start: list[SpanRecord], stack: CinderStack, receiver: Receiver
) -> None:
    """Every process exports metrics from its start, asked or not; uWSGI's workers once they are."""
    expected = {SCHEDULER: 1, VOLUME: 1} | ({API: 2} if stack.mode == "eventlet" else {})

    def reporting() -> dict[str, int]:
        started = [p for p in receiver.metrics() if p.name == "otel.sdk.span.started"]
        return {service: len(ids) for service, ids in instances(started).items()}

    wait_until(lambda: expected.items() <= reporting().items(), 30, f"{reporting()}")


def test_each_create_is_one_whole_trace(spans: list[SpanRecord], answers: list[Answer]) -> None:
    """Fifty creates give fifty traces of 22 spans over three services, and nothing else."""
    traces = traces_of(spans)
    for trace in traces:
        assert_whole_create(trace)
    assert len(traces) == COUNT
    assert len(spans) == COUNT * SPANS
    assert_no_span_twice(spans)
    assert {span.service for span in spans} == set(SERVICES)


def test_each_answer_finds_its_trace(spans: list[SpanRecord], answers: list[Answer]) -> None:
    """The request id of each answer is on the root of one trace."""
    wanted = sorted(answer.request_id for answer in answers)
    assert sorted(request_id(trace) for trace in create_traces(spans)) == wanted


def test_resource_names_the_process(
    spans: list[SpanRecord], stack: CinderStack, receiver: Receiver
) -> None:
    """Workers differ by instance id, keep it, and say Cinder's version."""
    before = instances(spans)
    assert {service: len(ids) for service, ids in before.items()} == {
        API: 2,
        SCHEDULER: 1,
        VOLUME: 1,
    }
    assert len(set().union(*before.values())) == 4
    receiver.clear()
    again = stack.create(8)
    stack.wait_available(answer.volume_id for answer in again)
    for service, ids in instances(arrived(receiver, 8 * SPANS)).items():
        assert ids <= before[service]
    assert {span.resource.get("service.version") for span in spans} == {version("cinder")}
    assert {span.resource.get("service.namespace") for span in spans} == {"cinder"}


def test_metrics_count_unsampled_requests_too(
    stack: CinderStack, receiver: Receiver, answers: list[Answer]
) -> None:
    """Every worker exports metrics; requests count whether they are sampled or not."""
    settle(receiver)
    before = totals(receiver.metrics(), "http.request.method", "taskflow.task.class")
    receiver.clear()
    unsampled = [{"traceparent": f"00-{number:032x}-{1:016x}-00"} for number in range(1, 9)]
    created = stack.create(headers=[*unsampled, *({} for _ in range(8))])
    stack.wait_available(answer.volume_id for answer in created)

    def counted(points: list[MetricPoint]) -> Counter[tuple[object, ...]]:
        now = totals(points, "http.request.method", "taskflow.task.class")
        return Counter({key: now[key] - before[key] for key in now})

    wanted = {
        ("http.server.request.duration", "POST", None): 16,
        ("taskflow.flow.duration", None, None): 48,
        ("cinder.rpc.queue.duration", None, None): 32,
        ("messaging.client.sent.messages", None, None): 32,
        ("messaging.client.consumed.messages", None, None): 32,
        **{("taskflow.task.duration", None, task): 16 for task in TASKS},
    }
    points = wait_for_totals(
        receiver, lambda points: all(counted(points)[key] == wanted[key] for key in wanted)
    )
    assert len(create_traces(settle(receiver))) == 8
    workers = instances(points)
    assert {service: len(ids) for service, ids in workers.items()} == {
        API: 2,
        SCHEDULER: 1,
        VOLUME: 1,
    }
    traces = {trace.trace_id for trace in create_traces(receiver.spans())}
    assert traces.intersection(
        trace_id
        for point in points
        for trace_id in point.exemplar_trace_ids
        if point.name == "http.server.request.duration"
    )


def test_idle_cinder_is_quiet(
    stack: CinderStack, receiver: Receiver, answers: list[Answer]
) -> None:
    """Periodic tasks and heartbeats of several rounds start no trace."""
    settle(receiver)
    receiver.clear()
    time.sleep(8)
    assert [(span.service, span.name) for span in receiver.spans()] == []


def test_reading_is_traced(stack: CinderStack, receiver: Receiver, answers: list[Answer]) -> None:
    """A GET is a trace of its own, with the route for its name."""
    settle(receiver)
    receiver.clear()
    assert stack.get(f"volumes/{answers[0].volume_id}").status_code == 200
    (span,) = arrived(receiver, 1)
    assert (span.name, span.kind) == ("GET /v3/{project_id}/volumes/{id}", "server")


@pytest.mark.faults
def test_stop_sends_waiting_spans(stack: CinderStack, receiver: Receiver) -> None:
    """A graceful stop sends every span that was recorded, however long it could have waited."""
    stack.restart(Tracing(receiver.endpoint, env=NEVER_ON_ITS_OWN))
    settle(receiver)
    receiver.clear()
    answers = stack.create(16)
    stack.wait_available(answer.volume_id for answer in answers)
    assert receiver.spans() == []
    stack.terminate()
    stack.wait_ended(30)
    wanted = {answer.request_id for answer in answers}
    traces = [t for t in create_traces(receiver.spans()) if request_id(t) in wanted]
    for trace in traces:
        assert_whole_create(trace)
    assert len(traces) == 16


@pytest.mark.faults
def test_stop_under_load_loses_nothing(stack: CinderStack, receiver: Receiver) -> None:
    """SIGTERM to all right after the last 202: each volume that is made has a whole trace."""
    tracing = Tracing(receiver.endpoint)
    stack.restart(tracing)
    settle(receiver)
    receiver.clear()
    answers = stack.create(COUNT)
    assert {answer.status for answer in answers} == {202}
    volumes = {answer.volume_id for answer in answers}
    wait_until(lambda: "available" in map(stack.statuses().get, volumes), 60, "a volume")
    stack.terminate()
    stack.wait_ended(60)
    stack.start_after_stop(tracing)
    statuses = stack.wait_settled(answer.volume_id for answer in answers)
    # Cinder itself, traced or not, drops a few of the messages that a stopping service had taken.
    # Under its experimental threading it even ends in the midst of a flow: the spans that are open
    # then are errors, and those that its threads begin before the process is gone may be the flow's
    # last. What that flow had cast by then may well make the volume.
    available = {
        answer.request_id for answer in answers if statuses[answer.volume_id] == "available"
    }
    assert available
    traces = create_traces(settle(receiver))
    assert_no_span_twice(receiver.spans())
    assert {request_id(trace) for trace in traces} == {answer.request_id for answer in answers}
    whole = 0
    for trace in traces:
        stopped = [s for s in trace.spans if s.attributes.get(ERROR_TYPE) == STOPPED]
        if stack.mode == "threading" and (stopped or not trace.is_whole):
            cut = {span.service for span in (*trace.orphans, *stopped)}
            assert cut <= {SCHEDULER, VOLUME}, draw(trace)
        elif request_id(trace) in available:
            assert_whole_create(trace)
            whole += 1
        else:
            assert trace.is_whole, draw(trace)
    assert whole


def test_logs_never_warn_of_monkey_patching(stack: CinderStack) -> None:
    """Nothing that Cinder warns of was imported before it patched."""
    logs = stack.logs()
    assert set(logs) == set(SERVICES)
    assert not [service for service, log in logs.items() if MONKEY_PATCHING in log]
