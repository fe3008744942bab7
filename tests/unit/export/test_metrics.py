"""The table of instruments, and measurements on their way to a real OTLP receiver."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import SpanContext, TraceFlags

import otel_cinder
from otel_cinder import conventions
from otel_cinder.export import metrics
from otel_cinder.export.failure_log import failure_log
from otel_cinder.export.metrics import BOUNDARIES_S, SETS_LIMIT, Instruments, MetricQueue
from otel_cinder.spans.runtime import runtime
from otel_cinder.spans.service import SERVICE, Service
from tests.metric_points import MetricPoint
from tests.receiver import Receiver
from tests.unit import scripts
from tests.unit.racing import race

WAIT = conventions.RPC_QUEUE_DURATION
COUNT = conventions.RPC_CLOCK_SKEWS
NO_NUMBERS = [float("nan"), float("inf"), float("-inf")]

MEASURED = """
from opentelemetry import trace
from otel_cinder.spans.service import SERVICE, Service
def measure(value=1, service=None, **attributes):
    context = otel_context.get_current()
    if service:
        context = otel_context.set_value(SERVICE, Service(service), context)
    runtime.measure("cinder.rpc.queue.duration", value, attributes, context)
"""
"""After scripts.EXPORTED: ``measure(value)``, of how long a message waited."""


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A collector, to which this process exports."""
    with Receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        yield receiver


def to(receiver: Receiver, **more: str) -> dict[str, str]:
    """The environment of a process that exports there."""
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, **more}


def points(receiver: Receiver, name: str = WAIT) -> list[MetricPoint]:
    return [point for point in receiver.metrics() if point.name == name]


class Meters:
    """A provider of the test's own, with its data."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader], Resource({}), shutdown_on_exit=False)
        self.instruments = Instruments(self.provider.get_meter("test"))

    @property
    def data(self) -> dict[str, Any]:
        data = self.reader.get_metrics_data()
        (of_resource,) = data.resource_metrics if data else ()
        (of_scope,) = of_resource.scope_metrics
        return {metric.name: metric for metric in of_scope.metrics}


@pytest.fixture
def meters() -> Meters:
    return Meters()


# The instruments


def test_every_metric_of_the_table_has_its_instrument(meters: Meters) -> None:
    """Each metric is recorded under its name, with its unit, its meaning and as its kind."""
    for name in conventions.METRICS:
        meters.instruments.record(name, 2, {}, Context())
    exported = meters.data
    assert set(exported) == set(conventions.METRICS)
    kinds = {"histogram": "Histogram", "gauge": "Gauge"}
    for name, (kind, unit, meaning, _) in conventions.METRICS.items():
        metric = exported[name]
        assert (metric.unit, metric.description) == (unit, meaning)
        assert type(metric.data).__name__ == kinds.get(kind, "Sum")
        if kind in ("counter", "updowncounter"):
            assert metric.data.is_monotonic is (kind == "counter")


def test_buckets_are_the_conventions_and_go_on(meters: Meters) -> None:
    """Histograms have the semantic conventions' boundaries, and five more, to ten minutes."""
    meters.instruments.record(WAIT, 45.0, {}, Context())
    (point,) = meters.data[WAIT].data.data_points
    assert point.explicit_bounds == BOUNDARIES_S
    assert point.explicit_bounds[:14] == (
        *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10),
    )
    assert point.bucket_counts[point.explicit_bounds.index(60)] == 1


def test_unknown_name_is_an_error(meters: Meters) -> None:
    """A metric that is not in the table is not recorded."""
    with pytest.raises(KeyError):
        meters.instruments.record("cinder.nonsense", 1, {}, Context())


def test_sets_of_attributes_are_bounded(meters: Meters) -> None:
    """After 2000 sets of attributes all others are one, marked as the overflow; known ones go on."""
    for i in range(SETS_LIMIT + 50):
        meters.instruments.record(COUNT, 1, {conventions.RPC_METHOD: f"m{i}"}, Context())
    meters.instruments.record(COUNT, 1, {conventions.RPC_METHOD: "m0"}, Context())
    found = {
        json.dumps(dict(point.attributes)): point.value
        for point in meters.data[COUNT].data.data_points
    }
    assert len(found) == SETS_LIMIT + 1
    assert found['{"otel.metric.overflow": true}'] == 50
    assert found['{"rpc.method": "m0"}'] == 2


def test_each_instrument_has_its_own_bound(meters: Meters) -> None:
    """One metric's overflow is not another's."""
    for i in range(SETS_LIMIT + 1):
        meters.instruments.record(COUNT, 1, {conventions.RPC_METHOD: f"m{i}"}, Context())
    meters.instruments.record(WAIT, 1, {conventions.RPC_METHOD: "a"}, Context())
    (point,) = meters.data[WAIT].data.data_points
    assert point.attributes == {"rpc.method": "a"}


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("a\ud800b", "a?b"),
        ("x" * 1000, "x" * 255 + "…"),
        ("password=hunter2", "password=***"),
        (["a", "b"], "['a', 'b']"),
        (3, 3),
        (True, True),
    ],
    ids=["surrogate", "long", "secret", "list", "number", "bool"],
)
def test_attributes_are_made_safe(meters: Meters, value: Any, kept: Any) -> None:
    """Values that can't be encoded, are endless or secret do no harm."""
    meters.instruments.record(COUNT, 1, {"a": value, "none": None}, Context())
    (point,) = meters.data[COUNT].data.data_points
    assert point.attributes == {"a": kept}


@pytest.mark.parametrize("number", NO_NUMBERS)
def test_attributes_are_numbers(meters: Meters, number: float) -> None:
    """An attribute that is NaN or infinite is left out."""
    meters.instruments.record(COUNT, 1, {"a": number, "b": 1.5}, Context())
    (point,) = meters.data[COUNT].data.data_points
    assert point.attributes == {"b": 1.5}


# The queue


def queue(**more: Any) -> MetricQueue:
    return MetricQueue(
        [],
        "http://collector:4318",
        interval=60,
        resource=lambda _: Resource({}),
        prepare=lambda: None,
        observe=lambda _: None,
        **more,
    )


def test_overflow_is_counted_and_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    """10,000 measurements may wait; more are dropped and counted, without blocking anybody."""
    processor = queue()
    processor._started = True  # but it does not run
    for _ in range(metrics.QUEUE_SIZE + 7):
        processor.put((None, WAIT, 1.0, {}, Context()))
    assert (processor.waiting, processor.overflowed) == (metrics.QUEUE_SIZE, 7)
    failure_log.write()
    assert caplog.messages == [
        (
            "Find out why the collector is slow or down. otel-cinder drops metrics because 10000 wait "
            "to be sent to http://collector:4318."
        )
    ]


def test_queue_is_emptied_without_exporters() -> None:
    """Without an exporter, measurements do not pile up."""
    processor = queue()
    processor.put((None, WAIT, 1.0, {}, Context()))
    assert processor.ask().wait(5)
    assert processor.waiting == 0
    assert processor.ask_to_end().wait(5)


# This process


def test_measurements_arrive(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """All measurements have arrived after uninstrument(), under their service, summed up."""
    monkeypatch.setattr("socket.gethostname", lambda: "h")
    otel_cinder.instrument()
    context = otel_context.set_value(SERVICE, Service("cinder-volume", "h@lvm"), Context())
    assert runtime.measuring
    for value in (0.25, 0.75):
        runtime.measure(WAIT, value, {conventions.RPC_METHOD: "a/b"}, context)
    runtime.measure(COUNT, 3, {}, context)
    otel_cinder.uninstrument()
    assert not runtime.measuring
    (wait,) = points(receiver)
    assert (wait.service, wait.unit, wait.kind) == ("cinder-volume", "s", "histogram")
    assert wait.resource["service.instance.id"] == "h@lvm"
    assert (wait.count, wait.sum, wait.attributes) == (2, 1.0, {"rpc.method": "a/b"})
    assert wait.temporality == "cumulative"
    (count,) = points(receiver, COUNT)
    assert (count.kind, count.value) == ("counter", 3)


def test_scope_is_ours(receiver: Receiver) -> None:
    """Metrics have the same instrumentation scope as spans."""
    otel_cinder.instrument()
    runtime.measure(WAIT, 1, {}, Context())
    otel_cinder.uninstrument()
    scopes = {
        (scoped.scope.name, scoped.scope.version)
        for request in receiver.metric_requests
        for group in request.resource_metrics
        for scoped in group.scope_metrics
    }
    assert scopes == {("otel_cinder", otel_cinder.__version__)}


def test_services_have_their_own_metrics(receiver: Receiver) -> None:
    """Two services of one process: one export, two resources."""
    otel_cinder.instrument()
    for name in ("cinder-volume", "cinder-scheduler"):
        context = otel_context.set_value(SERVICE, Service(name), Context())
        runtime.measure(WAIT, 1, {}, context)
    otel_cinder.uninstrument()
    assert len(receiver.metric_requests) == 1
    assert {point.service for point in points(receiver)} == {"cinder-volume", "cinder-scheduler"}


@pytest.mark.parametrize("sampled", [True, False])
def test_exemplars_carry_the_trace_of_sampled_spans(receiver: Receiver, sampled: bool) -> None:
    """Both are measured; a sampled span's trace id comes along."""
    otel_cinder.instrument()
    span = trace.NonRecordingSpan(SpanContext(0xABC, 0xD, False, TraceFlags(int(sampled))))
    token = otel_context.attach(trace.set_span_in_context(span, Context()))
    runtime.measure(WAIT, 1, {})
    otel_context.detach(token)
    otel_cinder.uninstrument()
    (point,) = points(receiver)
    assert point.count == 1
    assert point.exemplar_trace_ids == ((f"{0xABC:032x}",) if sampled else ())


def test_unsampled_requests_are_measured(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a sampler that takes nothing, metrics are complete."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    otel_cinder.instrument()
    for _ in range(10):
        span = runtime.start_span("a", Context())
        runtime.measure(WAIT, 1, {}, trace.set_span_in_context(span, Context()))
        span.end()
    otel_cinder.uninstrument()
    assert receiver.spans() == []
    assert points(receiver)[0].count == 10


def test_each_flush_collects(receiver: Receiver) -> None:
    """A flush exports all measurements so far; sums continue."""
    otel_cinder.instrument()
    for _ in range(3):
        runtime.measure(COUNT, 1, {}, Context())
        assert runtime.flush()
    otel_cinder.uninstrument()
    assert [point.value for point in points(receiver, COUNT)] == [1, 2, 3, 3]


def test_interval_exports_without_a_flush(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OTEL_METRIC_EXPORT_INTERVAL ms after a measurement it has been exported."""
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "50")
    otel_cinder.instrument()
    runtime.measure(WAIT, 1, {}, Context())
    assert receiver.wait_for(lambda _: bool(points(receiver)), 10)
    otel_cinder.uninstrument()


def test_measurements_do_not_wait_for_the_collection(receiver: Receiver) -> None:
    """Long before the minute is over, measurements have left the queue, and let go of their spans."""
    otel_cinder.instrument()
    runtime.measure(WAIT, 1, {}, Context())
    process = runtime._process
    assert process is not None
    assert process.metrics is not None
    deadline = time.monotonic() + 10
    while process.metrics.waiting and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.metrics.waiting == 0
    assert receiver.metric_requests == []
    otel_cinder.uninstrument()


def test_temporality_is_the_exporters(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=delta sends only new measurements."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta")
    otel_cinder.instrument()
    for _ in range(2):
        runtime.measure(COUNT, 1, {}, Context())
        runtime.flush()
    otel_cinder.uninstrument()
    counted = points(receiver, COUNT)
    assert [(point.value, point.temporality) for point in counted[:2]] == [(1, "delta")] * 2


@pytest.mark.parametrize(
    ("said", "kind"),
    [("", "histogram"), ("base2_exponential_bucket_histogram", "exponential_histogram")],
)
def test_aggregation_is_the_exporters(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, said: str, kind: str
) -> None:
    """Our buckets, unless OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION says none."""
    if said:
        name = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION"
        monkeypatch.setenv(name, said)
    otel_cinder.instrument()
    runtime.measure(WAIT, 1, {}, Context())
    otel_cinder.uninstrument()
    (request,) = receiver.metric_requests
    metric = request.resource_metrics[0].scope_metrics[0].metrics[0]
    assert (metric.name, metric.WhichOneof("data")) == (WAIT, kind)
    if not said:
        assert tuple(metric.histogram.data_points[0].explicit_bounds) == BOUNDARIES_S


def test_racing_threads_lose_nothing(receiver: Receiver) -> None:
    """Twenty threads that measure at once: every measurement arrives."""
    otel_cinder.instrument()

    def measure() -> None:
        for _ in range(100):
            runtime.measure(COUNT, 1, {}, Context())

    race(measure)
    otel_cinder.uninstrument()
    assert points(receiver, COUNT)[-1].value == 2000


def test_unknown_metric_is_reported_once_and_hurts_no_other(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """A name that is not in the table costs one sentence; other metrics arrive."""
    otel_cinder.instrument()
    for _ in range(3):
        runtime.measure("cinder.nonsense", 1, {}, Context())
    runtime.measure(WAIT, 1, {}, Context())
    otel_cinder.uninstrument()
    assert len(points(receiver)) == 1
    assert caplog.messages == [
        (
            "otel-cinder leaves out measurements of cinder.nonsense because of KeyError: "
            "'cinder.nonsense'; Cinder is not affected. Please report it."
        )
    ]


@pytest.mark.parametrize("number", NO_NUMBERS)
def test_measurements_are_numbers(
    receiver: Receiver, caplog: pytest.LogCaptureFixture, number: float
) -> None:
    """A value that is NaN or infinite spoils no sum, and is reported once."""
    otel_cinder.instrument()
    for value in (1, number, 2, number):
        runtime.measure(WAIT, value, {}, Context())
    otel_cinder.uninstrument()
    (point,) = points(receiver)
    assert (point.sum, point.count) == (3, 2)
    assert caplog.messages == [
        (
            f"otel-cinder leaves out measurements of {WAIT} because of ValueError: "
            f"{number} is no measurement; Cinder is not affected. Please report it."
        )
    ]


@pytest.mark.complains
@pytest.mark.parametrize("number", NO_NUMBERS)
def test_meters_of_the_host_get_numbers(meters: Meters, number: float) -> None:
    """The host's own provider gets no value that is NaN or infinite either."""
    otel_cinder.instrument(meter_provider=meters.provider)
    for value in (1, number, 2):
        runtime.measure(WAIT, value, {}, Context())
    otel_cinder.uninstrument()
    (point,) = meters.data[WAIT].data.data_points
    assert (point.sum, point.count) == (3, 2)


def test_nothing_is_measured_once_stopped(receiver: Receiver) -> None:
    """A wrapper that outlives uninstrument() measures nothing, and starts no thread."""
    otel_cinder.instrument()
    otel_cinder.uninstrument()
    before = threading.active_count()
    runtime.measure(WAIT, 1, {})
    assert runtime._process is None
    assert threading.active_count() == before


def test_process_id_reveals_a_fork_outside_of_python(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uWSGI forks in C: a new process id alone leads to a new queue, without the parent's counts."""
    otel_cinder.instrument()
    runtime.measure(COUNT, 5, {}, Context())
    parent = runtime._process
    assert parent is not None
    pid = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: pid + 100_000)
    runtime.measure(COUNT, 1, {}, Context())
    assert runtime._process is not parent
    assert runtime.flush()
    assert [point.value for point in points(receiver, COUNT)] == [1]
    monkeypatch.undo()
    parent.shutdown(5)
    otel_cinder.uninstrument()
    assert sorted(point.value or 0 for point in points(receiver, COUNT)) == [1, 5]


# Processes


@pytest.mark.parametrize("eventlet", [False, True], ids=["threads", "eventlet"])
@pytest.mark.parametrize("how", ["pass", "raise ValueError", "import os; os._exit(0)"])
def test_every_way_out_exports(receiver: Receiver, how: str, eventlet: bool) -> None:
    """The end of the script, an exception and os._exit all export the measurements."""
    first = scripts.EVENTLET if eventlet else ""
    parts = (first, scripts.EXPORTED, scripts.PATIENT, MEASURED, "measure()", how)
    ran = scripts.run_anyhow(*parts, env=to(receiver))
    assert [point.count for point in points(receiver)] == [1], ran.stderr


@pytest.mark.parametrize("eventlet", [False, True], ids=["threads", "eventlet"])
def test_fork_exports_its_own(receiver: Receiver, eventlet: bool) -> None:
    """A forked child sends its own metrics, not its parent's, as an instance of its own."""
    scripts.run(
        scripts.EVENTLET if eventlet else "",
        scripts.EXPORTED,
        scripts.PATIENT,
        MEASURED,
        """
        import os, time
        measure(); measure()
        flush()
        child = os.fork()
        if not child:
            measure()
            os._exit(0)
        os.waitpid(child, 0)
        measure()
        """,
        env=to(receiver),
    )
    counts: dict[str, list[int | None]] = {}
    for point in points(receiver):
        counts.setdefault(str(point.resource["service.instance.id"]), []).append(point.count)
    assert sorted(counts.values()) == [[1], [2, 3]]


def test_eventlet_measures_from_tpool_and_greenthreads(receiver: Receiver) -> None:
    """Under eventlet, 200 greenthreads and tpool's threads measure at once: all of it arrives."""
    ran = scripts.run(
        scripts.EVENTLET,
        scripts.EXPORTED,
        MEASURED,
        """
        from eventlet import tpool
        import json
        def many():
            for i in range(50):
                measure()
                eventlet.sleep(0)
        def native():
            for i in range(50):
                measure()
        greens = [eventlet.spawn(many) for _ in range(100)]
        natives = [eventlet.spawn(tpool.execute, native) for _ in range(100)]
        for each in greens + natives:
            each.wait()
        ok = flush()
        import opentelemetry.sdk.metrics._internal.aggregation as aggregation
        meter = vars(runtime._process.metrics._services[None].instruments._meter)
        # Its name differs between releases of the SDK.
        names = "_instrument_registration_lock", "_instrument_id_instrument_lock"
        [kind] = [type(meter[name]).__module__ for name in names if name in meter]
        print(json.dumps([ok, runtime._process.metrics.dropped, aggregation.Lock.__module__, kind]))
        """,
        env=to(receiver, OTEL_METRIC_EXPORT_INTERVAL="300"),
    )
    assert ran.said == [True, 0, "_thread", "_thread"], ran.stderr
    assert points(receiver)[-1].count == 10_000
    assert ran.stderr == ""


def test_eventlets_modules_are_put_back(receiver: Receiver) -> None:
    """After uninstrument() the SDK's modules have the locks that they were imported with."""
    ran = scripts.run(
        scripts.EVENTLET,
        scripts.EXPORTED,
        MEASURED,
        """
        import json, threading
        measure()
        flush()
        from opentelemetry.sdk.metrics._internal import aggregation
        during = aggregation.Lock is threading.Lock
        otel_cinder.uninstrument()
        print(json.dumps([during, aggregation.Lock is threading.Lock]))
        """,
        env=to(receiver),
    )
    assert ran.said == [False, True]


@pytest.mark.parametrize("eventlet", [False, True], ids=["threads", "eventlet"])
def test_hanging_collector_does_not_block_measurements(receiver: Receiver, eventlet: bool) -> None:
    """While an export hangs, measuring goes on at full speed, and the stop takes 5 s at most."""
    receiver.respond(hang_seconds=60)
    ran = scripts.run(
        scripts.EVENTLET if eventlet else "",
        scripts.EXPORTED,
        MEASURED,
        """
        import json, time
        measure()  # under eventlet the first one imports the exporter
        slowest = 0
        for i in range(300):
            begin = time.monotonic()
            measure()
            slowest = max(slowest, time.monotonic() - begin)
            time.sleep(0.005)
        begin = time.monotonic()
        otel_cinder.uninstrument()
        print(json.dumps([slowest, time.monotonic() - begin]))
        """,
        env=to(receiver, OTEL_METRIC_EXPORT_INTERVAL="200"),
    )
    slowest, stopping = ran.said
    assert slowest < 0.9
    assert stopping < 6


def test_nothing_is_sent_without_an_exporter_for_metrics(receiver: Receiver) -> None:
    """OTEL_METRICS_EXPORTER=none: no thread, no import of the SDK's metrics, no export."""
    ran = scripts.run(
        scripts.EXPORTED,
        MEASURED,
        """
        import json, sys
        span("a"); measure(); flush()
        print(json.dumps([runtime.measuring, "opentelemetry.sdk.metrics.export" in sys.modules,
                          runtime._process.metrics is None]))
        """,
        env=to(receiver, OTEL_METRICS_EXPORTER="none"),
    )
    assert ran.said[0] is False
    assert ran.said[2] is True
    assert receiver.metric_requests == []
    assert len(receiver.spans()) == 1


def test_console_prints_metrics(receiver: Receiver) -> None:
    """OTEL_METRICS_EXPORTER=console writes them to stdout."""
    ran = scripts.run(
        scripts.EXPORTED, MEASURED, "measure(); flush()", env={"OTEL_METRICS_EXPORTER": "console"}
    )
    assert '"name": "cinder.rpc.queue.duration"' in ran.stdout


def test_two_exporters_get_the_same(receiver: Receiver) -> None:
    """OTEL_METRICS_EXPORTER=console,otlp: both."""
    ran = scripts.run(
        scripts.EXPORTED,
        MEASURED,
        "measure(); flush()",
        env=to(receiver, OTEL_METRICS_EXPORTER="console,otlp"),
    )
    assert '"name": "cinder.rpc.queue.duration"' in ran.stdout
    assert points(receiver)[0].count == 1


def test_metrics_have_an_endpoint_of_their_own(receiver: Receiver) -> None:
    """OTEL_EXPORTER_OTLP_METRICS_ENDPOINT and _HEADERS are honoured."""
    scripts.run(
        scripts.EXPORTED,
        MEASURED,
        "measure()",
        env={
            "OTEL_TRACES_EXPORTER": "none",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{receiver.endpoint}/v1/metrics",
            "OTEL_EXPORTER_OTLP_METRICS_COMPRESSION": "gzip",
        },
    )
    assert points(receiver)[0].count == 1


def test_collector_that_takes_no_metrics_is_reported_once(receiver: Receiver) -> None:
    """A 404 for metrics (Jaeger's) costs one sentence with the way out; spans arrive."""
    receiver.respond(404, path="/v1/metrics")
    ran = scripts.run(
        scripts.EXPORTED,
        MEASURED,
        "span('a'); measure(); flush(); measure(); flush()",
        env=to(receiver),
    )
    assert len(receiver.spans()) == 1
    (line,) = ran.stderr.splitlines()
    assert f"can't export metrics to {receiver.endpoint}: it takes none there." in line
    assert "they are dropped. (404 Not Found)" in line
    assert line.startswith(
        "Check that OTEL_EXPORTER_OTLP_ENDPOINT names a collector's port for OTLP over HTTP "
        "(4318), or set OTEL_METRICS_EXPORTER=none if it takes none. otel-cinder "
    )


def test_sdk_metrics_are_imported_in_the_export_thread(receiver: Receiver) -> None:
    """Instrumenting does not import the SDK's metrics, nor has a measurement waited for that."""
    ran = scripts.run(
        scripts.EXPORTED,
        MEASURED,
        """
        import json, sys
        before = "opentelemetry.sdk.metrics" in sys.modules
        measure(); flush()
        print(json.dumps([before, "opentelemetry.sdk.metrics" in sys.modules]))
        """,
        env=to(receiver),
    )
    assert ran.said == [False, True]
