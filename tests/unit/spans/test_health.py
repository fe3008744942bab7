"""A process's own counters."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from opentelemetry._logs import LogRecord
from opentelemetry.context import Context

import otel_cinder
from otel_cinder import conventions
from otel_cinder.instrumentor import CinderInstrumentor
from otel_cinder.spans.runtime import runtime
from otel_cinder.spans.service import SERVICE, Service
from tests.receiver import Receiver
from tests.unit import scripts
from tests.unit.sdk import needs_log_export


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A collector, to which this process exports."""
    with Receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        yield receiver


def last(receiver: Receiver, name: str) -> dict[str, float | None]:
    """The last value of a metric for each set of attributes, which is written as JSON."""
    counts = {}
    for point in receiver.metrics():
        if point.name == name:
            counts[json.dumps(dict(point.attributes), sort_keys=True)] = point.value
    return counts


def spans(count: int, context: Context | None = None) -> None:
    for _ in range(count):
        runtime.start_span("a", context or Context()).end()


def test_counts_are_true(receiver: Receiver) -> None:
    """Spans started, processed and exported are as many as there were; the queue is empty."""
    otel_cinder.instrument()
    spans(7)
    assert runtime.flush()
    assert runtime.flush()  # what the first has exported is counted by now
    otel_cinder.uninstrument()
    assert last(receiver, conventions.SPANS_STARTED) == {
        '{"otel.span.sampling_result": "RECORD_AND_SAMPLE"}': 7,
        '{"otel.span.sampling_result": "DROP"}': 0,
    }
    assert last(receiver, conventions.SPANS_PROCESSED) == {"{}": 7}
    assert last(receiver, conventions.SPANS_EXPORTED) == {"{}": 7}
    assert last(receiver, conventions.QUEUE_SIZE) == {"{}": 0}
    assert last(receiver, conventions.QUEUE_CAPACITY) == {"{}": 2048}
    assert len(receiver.spans()) == 7


def test_kinds_are_the_conventions(receiver: Receiver) -> None:
    """Each is exported with the kind and the unit of the table."""
    otel_cinder.instrument()
    spans(1)
    otel_cinder.uninstrument()
    metrics = {point.name: (point.kind, point.unit) for point in receiver.metrics()}
    assert set(metrics) == {
        conventions.SPANS_STARTED,
        conventions.SPANS_PROCESSED,
        conventions.SPANS_EXPORTED,
        conventions.QUEUE_SIZE,
        conventions.QUEUE_CAPACITY,
    } | ({conventions.SEAMS} & set(metrics))
    for name, kind_and_unit in metrics.items():
        assert kind_and_unit == conventions.METRICS[name][:2]


def test_unsampled_spans_are_counted(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sampler that takes none: all are dropped decisions, none is processed."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    otel_cinder.instrument()
    spans(3)
    otel_cinder.uninstrument()
    started = last(receiver, conventions.SPANS_STARTED)
    assert started['{"otel.span.sampling_result": "DROP"}'] == 3
    assert started['{"otel.span.sampling_result": "RECORD_AND_SAMPLE"}'] == 0
    assert last(receiver, conventions.SPANS_PROCESSED) == {"{}": 0}


def test_lost_spans_are_counted(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans lost to a full queue and to a refusing collector count apart."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "5")
    receiver.respond(400, path="/v1/traces")
    otel_cinder.instrument()
    process = runtime._current()
    assert process is not None
    assert process.spans is not None
    process.spans._started = True  # but it does not run yet
    spans(8)
    process.spans._started = False
    process.spans.start()
    runtime.flush()
    otel_cinder.uninstrument()
    assert last(receiver, conventions.SPANS_PROCESSED) == {
        "{}": 5,
        '{"error.type": "queue_full"}': 3,
    }
    assert last(receiver, conventions.SPANS_EXPORTED) == {"{}": 0, '{"error.type": "400"}': 5}


@needs_log_export
def test_lost_log_records_are_counted(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exported log records are counted as spans are."""
    monkeypatch.setenv("OTEL_LOGS_EXPORTER", "otlp")
    monkeypatch.setenv("OTEL_BLRP_MAX_QUEUE_SIZE", "5")
    receiver.respond(401, path="/v1/logs")
    otel_cinder.instrument()
    process = runtime._current()
    assert process is not None
    assert process.logs is not None
    process.logs._started = True  # but it does not run yet
    for _ in range(8):
        runtime.emit_log(LogRecord(body="a"), Context())
    process.logs._started = False
    process.logs.start()
    spans(1)
    runtime.flush()
    otel_cinder.uninstrument()
    assert last(receiver, conventions.LOGS_PROCESSED) == {
        "{}": 5,
        '{"error.type": "queue_full"}': 3,
    }
    assert last(receiver, conventions.LOGS_EXPORTED) == {"{}": 0, '{"error.type": "401"}': 5}


def test_health_is_reported_by_the_first_service(receiver: Receiver) -> None:
    """In a process with two services, the first one reports health; the other has its own metrics only."""
    otel_cinder.instrument()
    for name in ("cinder-volume", "cinder-scheduler"):
        context = Context({SERVICE: Service(name)})
        spans(1, context)
        runtime.measure(conventions.RPC_QUEUE_DURATION, 1, {}, context)
    otel_cinder.uninstrument()
    services: dict[str, set[str]] = {}
    for point in receiver.metrics():
        services.setdefault(point.name, set()).add(point.service)
    assert services.pop(conventions.RPC_QUEUE_DURATION) == {"cinder-volume", "cinder-scheduler"}
    assert set().union(*services.values()) == {"cinder-volume"}


def test_seams_are_counted_by_their_state(receiver: Receiver) -> None:
    """As many places as `status()` lists; why one was skipped is not among the attributes."""
    otel_cinder.instrument()
    CinderInstrumentor()._patches.replace("rpc", "threading:Nothing", lambda counts: counts)
    rows = CinderInstrumentor().status()
    on = sum((row.seam, row.state) == ("runtime", "on") for row in rows)
    spans(1)
    runtime.flush()
    counts = last(receiver, conventions.SEAMS)
    otel_cinder.uninstrument()
    assert sum(value or 0 for value in counts.values()) == len(rows)
    assert counts['{"otel_cinder.seam": "rpc", "otel_cinder.seam.state": "skipped"}'] == 1
    assert counts['{"otel_cinder.seam": "runtime", "otel_cinder.seam.state": "on"}'] == on


def test_without_span_exporter_there_is_no_queue_to_tell_of(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OTEL_TRACES_EXPORTER=none: started spans are counted, and there is no queue."""
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    otel_cinder.instrument()
    spans(2)
    otel_cinder.uninstrument()
    assert sum(value or 0 for value in last(receiver, conventions.SPANS_STARTED).values()) == 2
    assert last(receiver, conventions.QUEUE_CAPACITY) == {}


def test_health_is_reported_without_a_measurement_in_every_process(receiver: Receiver) -> None:
    """Spans alone start the metrics, in a parent and in its child, each with its own counts."""
    scripts.run(
        scripts.EXPORTED,
        """
        import os
        span("a"); span("b")
        child = os.fork()
        if not child:
            span("c")
            os._exit(0)
        os.waitpid(child, 0)
        """,
        env={"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint},
    )
    found = {
        str(point.resource["service.instance.id"]): point.value
        for point in receiver.metrics()
        if point.name == conventions.SPANS_PROCESSED
    }
    assert sorted(value or 0 for value in found.values()) == [1, 2]
