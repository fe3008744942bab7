"""The fate of batches: halved, kept, tried again, lost; bounded, counted and reported."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry._logs import LogRecord
from opentelemetry.context import Context
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

import otel_cinder
from otel_cinder import conventions
from otel_cinder.export import delivery, exporters, results
from otel_cinder.export.failure_log import failure_log
from otel_cinder.export.logs import LogQueue
from otel_cinder.export.queues import BatchSpanProcessor
from otel_cinder.export.results import Result, Verdict
from otel_cinder.spans.runtime import runtime
from otel_cinder.spans.service import SERVICE, Service
from tests.metric_points import points_of
from tests.receiver import Receiver
from tests.unit import scripts
from tests.unit.export.collectors import answer, collector
from tests.unit.sdk import EXPORTS_LOGS
from tests.unit.spans.test_health import last

AGAIN = Result(Verdict.AGAIN, "503", "Look", "it is busy", answered=True)
REFUSED = Result(Verdict.AGAIN, "ConnectionRefusedError", "Start it", "nothing listens")
LOST = Result(Verdict.LOST, "401", "Correct it", "it knows no such credentials")
TOO_LARGE = Result(Verdict.TOO_LARGE, "413", "Raise it", "one is too large for it, and is lost")


class Told:
    """An exporter with scripted answers, the last one for ever; it keeps its batches."""

    takes_packed = True

    def __init__(self, *told: Result | Callable[[Any], Result]) -> None:
        self.told = list(told)
        self.batches: list[list[Any]] = []
        self.times: list[float] = []
        self.may_go = threading.Event()
        self.may_go.set()

    def deliver(self, batch: Any) -> Result:
        """Answer by the script."""
        self.may_go.wait(30)
        self.batches.append(list(batch))
        self.times.append(time.monotonic())
        told = self.told.pop(0) if len(self.told) > 1 else self.told[0]
        return told(batch) if callable(told) else told

    def shutdown(self) -> None:
        """Nothing."""


Make = Callable[..., BatchSpanProcessor]


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes queues to exporters, which are shut down."""
    queues: list[BatchSpanProcessor] = []

    def queue(*to: Any, **sizes: Any) -> BatchSpanProcessor:
        sizes = {"queue_size": 2048, "batch_size": 512, "delay": 0.05, **sizes}
        queues.append(BatchSpanProcessor([lambda one=one: lambda: one for one in to], "x", **sizes))
        return queues[-1]

    yield queue
    for each in queues:
        for one in each.delivery.exporters:
            getattr(one, "may_go", threading.Event()).set()
        each.shutdown()


def end(queue: BatchSpanProcessor, *names: str, **attributes: str) -> None:
    """End a span of each name."""
    provider = TracerProvider(resource=Resource({}), shutdown_on_exit=False)
    provider.add_span_processor(queue)
    tracer = provider.get_tracer("test")
    for name in names:
        tracer.start_span(name, attributes=attributes).end()


def wait(until: Callable[[], Any], seconds: float = 30) -> bool:
    """True if ``until`` came true in time."""
    deadline = time.monotonic() + seconds
    while not until() and time.monotonic() < deadline:
        time.sleep(0.01)
    return bool(until())


# Too large


def test_too_large_batch_arrives_in_halves(caplog: pytest.LogCaptureFixture) -> None:
    """A real collector that takes 100 kB: all of 512 spans arrive, once, in order, and quietly."""
    with collector(lambda request: answer(200 if len(request) < 100_000 else 413)) as listener:
        queue = exporters.spans({"OTEL_EXPORTER_OTLP_ENDPOINT": listener.endpoint})
        names = [str(number) for number in range(512)]
        end(queue, *names, text="x" * 1000)
        assert queue.force_flush(60_000)
        queue.shutdown()
        sent = [
            span.name
            for body in listener.bodies
            if len(body) < 99_000
            for group in ExportTraceServiceRequest.FromString(body).resource_spans
            for span in group.scope_spans[0].spans
        ]
    assert sent == names
    assert (queue.sent, queue.failed) == (512, {})
    assert caplog.messages == []


def test_later_batches_fit_at_once(make: Make) -> None:
    """A size that was too large is not tried again."""
    exporter = Told(lambda batch: TOO_LARGE if len(batch) > 150 else results.TAKEN)
    queue = make(exporter, delay=60)
    for _ in range(2):
        end(queue, *["a"] * 512, text="x" * 2000)
        assert queue.force_flush(30_000)
    sizes = [len(batch) for batch in exporter.batches]
    assert max(sizes[:1]) > 150
    assert max(sizes[-4:]) <= 150
    assert queue.sent == 1024


def test_one_that_is_too_large_is_lost_alone(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """It is counted by the collector's status, and reported once, with advice."""
    exporter = Told(
        lambda b: TOO_LARGE if any(len(one[0]) > 19_000 for one in b) else results.TAKEN
    )
    queue = make(exporter, delay=60)
    for _ in range(2):
        end(queue, "a")
        end(queue, "b", text="x" * 20_000)
        end(queue, "c")
        assert queue.force_flush(30_000)
    assert (queue.sent, queue.failed) == (4, {"413": 2})
    assert caplog.messages == [
        (
            "Raise it. otel-cinder exports spans to x, but one is too large for it, and is lost; "
            "Cinder is not affected."
        )
    ]


def test_collector_that_takes_nothing_is_not_asked_for_each_span(make: Make) -> None:
    """If even a small batch is too large, the rest is not halved further."""
    exporter = Told(TOO_LARGE)
    queue = make(exporter, delay=60)
    end(queue, *["a"] * 512)
    assert queue.force_flush(30_000)
    assert queue.failed == {"413": 512}
    assert len(exporter.batches) < 100


@pytest.mark.parametrize("busy", [False, True], ids=["", "busy"])
def test_large_batches_of_metrics_arrive_in_halves(
    busy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By metric, and one metric by its points; also if the collector is busy in the midst of it."""
    limit, statuses = 25_000, [200, 503]

    def told(request: bytes) -> bytes:
        if b"/v1/metrics" in request and len(request) > limit:
            return answer(413)
        fits = b"/v1/metrics" in request and busy and len(statuses) > 0
        return answer(statuses.pop(0) if fits else 200)

    with collector(told) as listener:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", listener.endpoint)
        otel_cinder.instrument()
        for service in ("cinder-volume", "cinder-backup"):
            for name in (conventions.RPC_QUEUE_DURATION, conventions.RPC_CLOCK_SKEWS):
                for number in range(200):
                    context = Context({SERVICE: Service(service)})
                    runtime.measure(name, 1, {conventions.RPC_METHOD: f"{number}"}, context)
        otel_cinder.uninstrument()
    points: set[tuple[str, str, str]] = set()
    for request in listener.requests:
        head, _, body = request.partition(b"\r\n\r\n")
        if b"/v1/metrics" in head and len(request) <= limit:
            sent_points = points_of(ExportMetricsServiceRequest.FromString(body))
            points |= {
                (p.service, p.name, str(p.attributes.get("rpc.method"))) for p in sent_points
            }
    for service in ("cinder-volume", "cinder-backup"):
        for name in (conventions.RPC_QUEUE_DURATION, conventions.RPC_CLOCK_SKEWS):
            assert {(service, name, f"{number}") for number in range(200)} <= points
    assert not busy or statuses == []


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A collector."""
    with Receiver() as receiver:
        yield receiver


# Bounds


def test_batches_are_bounded_in_bytes(make: Make) -> None:
    """A batch stays below gRPC's limit, and leaves at once when it is full by its bytes."""
    exporter = Told(results.TAKEN)
    queue = make(exporter, delay=60)
    end(queue, *["a"] * 100, text="x" * 100_000)
    assert wait(lambda: exporter.batches)
    assert queue.force_flush(30_000)
    sizes = [sum(len(one[0]) for one in batch) for batch in exporter.batches]
    assert sum(len(batch) for batch in exporter.batches) == 100
    assert max(sizes) < 4 * 1024 * 1024
    assert sizes[0] > 1024 * 1024


def test_span_larger_than_a_batch_leaves_alone(make: Make) -> None:
    """A span larger than a batch is sent in a batch of its own."""
    exporter = Told(results.TAKEN)
    queue = make(exporter, delay=60)
    end(queue, "a")
    end(queue, "b", text="x" * 5_000_000)
    end(queue, "c")
    assert queue.force_flush(30_000)
    assert [len(batch) for batch in exporter.batches] == [1, 1, 1]


@pytest.mark.parametrize("packed", [True, False])
def test_queue_is_bounded_in_bytes(
    make: Make, packed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The bytes of few but large spans are bounded: more are dropped, counted and reported."""
    exporter = Told(results.TAKEN)
    exporter.takes_packed = packed
    exporter.may_go.clear()
    queue = make(exporter, delay=60, queue_bytes=8 << 20)
    end(queue, *["a"] * 100, text="x" * 200_000)
    assert queue._bytes <= 8 << 20
    assert 30 < queue.taken < 80
    assert queue.taken + queue.overflowed == 100
    exporter.may_go.set()
    assert queue.force_flush(30_000)
    assert queue._bytes == 0
    end(queue, "again")
    assert queue.taken + queue.overflowed == 101
    assert caplog.messages == [
        (
            "Find out why the collector is slow or down. otel-cinder drops spans because 8 MiB wait "
            "to be sent to x."
        )
    ]


def test_log_records_are_bounded_in_bytes() -> None:
    """By their texts."""
    queue = LogQueue(
        [], "x", lambda _: Resource({}), queue_size=99, batch_size=99, delay=60, queue_bytes=1 << 20
    )
    queue._started = True  # but it does not run
    for _ in range(20):
        queue.put((None, LogRecord(body="x" * 50_000, attributes={"a": "x" * 50_000})))
    assert queue.taken == 10
    assert queue.overflowed == 10


# To be tried again


def test_refused_spans_arrive_later(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """A collector that is busy for a moment gets all, in order; one such moment is not reported."""
    exporter = Told(AGAIN, results.TAKEN)
    queue = make(exporter)
    end(queue, "a", "b")
    assert wait(lambda: queue.sent == 2)
    assert exporter.batches[0] == exporter.batches[1]
    assert (queue.waiting, queue.failed, caplog.messages) == (0, {}, [])


def test_tries_are_spread(make: Make) -> None:
    """Each wait is longer than the last; spans that end meanwhile do not hasten it."""
    exporter = Told(AGAIN, AGAIN, results.TAKEN)
    queue = make(exporter, batch_size=1)
    end(queue, "a")
    while queue.sent < 1 and len(exporter.times) < 3:
        end(queue, "b")
        time.sleep(0.01)
    assert wait(lambda: len(exporter.times) >= 3)
    first, second, third = exporter.times[:3]
    assert second - first > 0.7
    assert third - second > 1.5


def test_retry_after_is_honoured(make: Make) -> None:
    """The collector's answer names the time."""
    exporter = Told(AGAIN._replace(wait=2.0), results.TAKEN)
    queue = make(exporter)
    end(queue, "a")
    assert wait(lambda: queue.sent == 1)
    assert exporter.times[1] - exporter.times[0] >= 2


def test_kept_batches_are_bounded_in_time(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After a minute a batch is lost, counted by its error; the next one has a minute of its own."""
    monkeypatch.setattr(delivery, "_KEPT_S", 1.5)
    exporter = Told(REFUSED)
    queue = make(exporter)
    end(queue, "a", "b")
    assert wait(lambda: queue.failed)
    assert queue.failed == {"ConnectionRefusedError": 2}
    exporter.told = [results.TAKEN]
    end(queue, "c")
    assert wait(lambda: queue.sent == 1)
    assert caplog.messages == [
        (
            "Start it. otel-cinder can't export spans to x: nothing listens. Cinder is not "
            "affected; they are tried again for a minute, then dropped."
        ),
        "otel-cinder exports to x again; 2 spans were lost so far.",
    ]


def test_waiting_spans_are_bounded(make: Make) -> None:
    """While a batch is kept, the queue fills up to its size and no more."""
    exporter = Told(REFUSED)
    queue = make(exporter, queue_size=20, batch_size=5)
    end(queue, *["a"] * 100)
    assert wait(lambda: exporter.batches)
    end(queue, *["a"] * 100)
    assert queue.waiting <= 25
    assert queue.waiting + queue.overflowed == 200


def test_part_of_a_batch_may_be_left(make: Make) -> None:
    """If a batch is halved, the accepted half is not sent again."""
    exporter = Told(TOO_LARGE, results.TAKEN, AGAIN, results.TAKEN)
    queue = make(exporter, delay=60)
    end(queue, *["a"] * 10, text="x" * 5000)
    assert queue.force_flush(30_000)
    assert [len(batch) for batch in exporter.batches] == [10, 5, 5, 5]
    assert exporter.batches[2] == exporter.batches[3] != exporter.batches[1]
    assert queue.sent == 10


def test_other_exporters_do_not_wait(make: Make) -> None:
    """Beside another exporter nothing is kept: that one gets everything at once."""

    class Keeps(SpanExporter):
        names: list[str] = []  # noqa: RUF012

        def export(self, spans: Any) -> SpanExportResult:
            self.names += [span.name for span in spans]
            return SpanExportResult.SUCCESS

    keeps = Keeps()
    queue = make(Told(REFUSED), keeps)
    for name in ("a", "b", "c"):
        end(queue, name)
        assert queue.force_flush()
    assert keeps.names == ["a", "b", "c"]
    assert queue.failed == {"ConnectionRefusedError": 3}


# Flush and stop


def test_flush_does_not_wait_where_nothing_listens(make: Make) -> None:
    """A flush returns False at once if nothing listens, and the spans stay for later."""
    exporter = Told(REFUSED)
    queue = make(exporter, batch_size=1, delay=60)
    end(queue, "a", "b", "c")
    begin = time.monotonic()
    assert not queue.force_flush(5000)
    assert time.monotonic() - begin < 2.5
    assert queue.waiting == 3
    exporter.told = [results.TAKEN]
    assert queue.force_flush(5000)
    assert queue.sent == 3


def test_flush_tries_again_where_something_answers(make: Make) -> None:
    """A collector that is busy for a second gets what a stop would lose."""
    exporter = Told(AGAIN, results.TAKEN)
    queue = make(exporter, delay=60)
    end(queue, "a")
    assert queue.force_flush(5000)
    assert queue.sent == 1


def test_flush_does_not_try_for_ever(make: Make) -> None:
    """A flush waits for a busy collector no longer than the 2 s of a failing one."""
    queue = make(Told(AGAIN), delay=60)
    end(queue, "a")
    begin = time.monotonic()
    assert not queue.force_flush(30_000)
    assert time.monotonic() - begin < 15


def test_shutdown_counts_lost_spans(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """Spans that can't be sent by then are lost, counted, and reported in one sentence."""
    queue = make(Told(REFUSED), batch_size=2, delay=60)
    end(queue, "a", "b", "c")
    queue.shutdown()
    assert queue.failed == {"ConnectionRefusedError": 3}
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("eventlet", [False, True], ids=["threads", "eventlet"])
@pytest.mark.parametrize("way", ["otel_cinder.uninstrument()", "flush()"])
def test_stop_is_quick_where_nothing_listens(eventlet: bool, way: str) -> None:
    """Each signal: a refused connection is known at once, and so a stop takes no 5 s."""
    ran = scripts.run(
        scripts.EVENTLET if eventlet else "",
        scripts.EXPORTED,
        """
        import json, time
        runtime.measure("cinder.rpc.queue.duration", 1, {})
        from opentelemetry._logs import LogRecord
        runtime.emit_log(LogRecord(body="a"))
        span("a")
        begin = time.monotonic()
        """,
        way,
        "print(json.dumps(time.monotonic() - begin))",
        env={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_LOGS_EXPORTER": "otlp"},
    )
    assert ran.said < 2.5
    assert ran.stderr.count("nothing listens at 127.0.0.1:1") == 2 + EXPORTS_LOGS


@pytest.mark.parametrize("eventlet", [False, True], ids=["threads", "eventlet"])
def test_thread_that_hangs_beyond_uninstrument_goes_on_well(
    receiver: Receiver, eventlet: bool
) -> None:
    """uninstrument() gives up on a hanging export; when it ends, what was left is sent after all."""
    receiver.respond(hang_seconds=4)
    ran = scripts.run(
        scripts.EVENTLET if eventlet else "",
        scripts.EXPORTED,
        """
        import json, time
        queue = runtime._current().spans
        span("a")
        while not queue.delivery.is_pending:
            time.sleep(0.01)
        span("b"); span("c")
        from otel_cinder.spans.runtime import FLUSH_TIMEOUT
        runtime._process.shutdown = lambda _, shutdown=runtime._process.shutdown: shutdown(0.5)
        otel_cinder.uninstrument()
        end = time.monotonic() + 40
        while queue.sent < 3 and time.monotonic() < end:
            time.sleep(0.05)
        print(json.dumps([queue.sent, queue.failed]))
        """,
        env={
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        },
        timeout=120,
    )
    assert ran.said == [3, {}]
    assert "tuple" not in ran.stderr
    assert ran.stderr.count("3 spans were not sent (no answer).") == 1, ran.stderr
    assert sorted(span.name for span in receiver.spans()) == ["a", "b", "c"]


# Reported and counted


def test_other_reason_is_reported_too(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """After the collector is started the next mistake is reported; each once."""
    exporter = Told(LOST)
    queue = make(exporter, delay=60)
    for result in (LOST, LOST, LOST._replace(kind="404", what="it takes none there"), LOST):
        exporter.told = [result]
        end(queue, "a")
        queue.force_flush()
    assert [message.partition(": ")[2][:19] for message in caplog.messages] == [
        "it knows no such cr",
        "it takes none there",
    ]
    assert queue.failed == {"401": 3, "404": 1}


def test_partial_success_is_counted_and_reported_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rejected items count as `rejected`, the others as sent; exporting goes on."""
    response = ExportTraceServiceResponse()
    response.partial_success.rejected_spans = 2
    response.partial_success.error_message = "too old"
    with Receiver() as receiver, collector(answer(200, response.SerializeToString())) as rejecting:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{rejecting.endpoint}/v1/traces")
        otel_cinder.instrument()
        for _ in range(2):
            for _ in range(5):
                runtime.start_span("a", Context()).end()
            assert runtime.flush()
        otel_cinder.uninstrument()
        counts = last(receiver, conventions.SPANS_EXPORTED)
    assert counts == {"{}": 6, '{"error.type": "rejected"}': 4}
    (message,) = caplog.messages
    assert message == (
        "Look at what the collector says, and at its log. otel-cinder exports spans to "
        f"{rejecting.endpoint}/v1/traces, but the collector has rejected 2 of a request, which are "
        "lost; Cinder is not affected. (too old)"
    )


@pytest.mark.parametrize(
    ("endpoint", "advice"),
    [
        ("http://127.0.0.1:1", "Start the collector, or correct OTEL_EXPORTER_OTLP_ENDPOINT. "),
        ("collector:4318", "Write http:// or https:// before the host in OTEL_EXPORTER_OTLP_"),
    ],
)
def test_advice_comes_first(endpoint: str, advice: str) -> None:
    """The advice first, then the problem, the raw error last; and only once."""
    ran = scripts.run(
        scripts.EXPORTED,
        "span('a'); flush(); span('b'); flush()",
        env={"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_METRICS_EXPORTER": "none"},
    )
    (line,) = ran.stderr.splitlines()
    assert line.startswith(advice)


def test_losses_without_an_exporter_are_counted(make: Make) -> None:
    """Without an exporter all spans count as lost, by the reason."""

    def broken() -> Any:
        raise FileNotFoundError("/no/such.pem")

    queue = BatchSpanProcessor([lambda: broken], "x", queue_size=9, batch_size=9, delay=60)
    end(queue, "a", "b")
    queue.force_flush()
    queue.shutdown()
    assert queue.failed == {"FileNotFoundError": 2}
    failure_log.stop()
