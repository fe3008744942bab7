"""The providers that a process uses."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource

import otel_cinder
from otel_cinder import conventions
from otel_cinder.spans.runtime import runtime
from tests.unit import scripts
from tests.unit.recording import Recorder

WAIT = conventions.RPC_QUEUE_DURATION


def counts(reader: InMemoryMetricReader) -> dict[str, int]:
    """The number of measurements of each metric."""
    data: Any = reader.get_metrics_data()
    return {
        metric.name: sum(point.count for point in metric.data.data_points)
        for of_resource in (data.resource_metrics if data else ())
        for of_scope in of_resource.scope_metrics
        for metric in of_scope.metrics
    }


def test_meter_provider_that_is_given_gets_measurements_at_once() -> None:
    """With instrument(meter_provider=...) a measurement is in that provider when measure returns."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], Resource({}), shutdown_on_exit=False)
    otel_cinder.instrument(tracer_provider=Recorder().provider, meter_provider=provider)
    assert runtime.measuring
    runtime.measure(WAIT, 1, {}, Context())
    runtime.measure(WAIT, 1, {})
    assert counts(reader) == {WAIT: 2}
    otel_cinder.uninstrument()
    runtime.measure(WAIT, 1, {})
    assert counts(reader) == {WAIT: 2}


def test_tracer_provider_alone_measures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a provider for spans and none for metrics, there are no metrics and no export."""
    otel_cinder.instrument(tracer_provider=Recorder().provider)
    assert not runtime.measuring
    runtime.measure(WAIT, 1, {})
    process = runtime._process
    assert process is not None
    assert process.metrics is process.instruments is None
    otel_cinder.uninstrument()


@pytest.mark.complains
def test_broken_meter_provider_does_not_reach_cinder() -> None:
    """Errors of a host's provider do not reach Cinder."""

    class Broken(MeterProvider):
        def get_meter(self, *args: Any, **kwargs: Any) -> Any:
            return None

    provider = Broken([], Resource({}), shutdown_on_exit=False)
    otel_cinder.instrument(tracer_provider=Recorder().provider, meter_provider=provider)
    runtime.measure(WAIT, 1, {})
    otel_cinder.uninstrument()


@pytest.mark.parametrize("tracer", ["", "trace.set_tracer_provider(Recorder().provider)"])
def test_meter_provider_of_the_host_is_used(tracer: str) -> None:
    """A global meter provider gets the measurements, and is flushed before os._exit."""
    ran = scripts.run(
        """
        import json, os
        from opentelemetry import metrics, trace
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import (
            ConsoleMetricExporter, PeriodicExportingMetricReader,
        )
        from tests.unit.recording import Recorder
        reader = PeriodicExportingMetricReader(ConsoleMetricExporter(), 1e7)
        metrics.set_meter_provider(MeterProvider([reader], shutdown_on_exit=False))
        """,
        tracer,
        """
        import otel_cinder
        from otel_cinder.spans.runtime import runtime
        otel_cinder.instrument()
        runtime.measure("cinder.rpc.queue.duration", 1, {})
        assert runtime._process.metrics is None
        os._exit(0)
        """,
        env={"OTEL_TRACES_EXPORTER": "none"},
    )
    assert '"name": "cinder.rpc.queue.duration"' in ran.stdout


def test_forks_do_not_run_the_sdks_hooks() -> None:
    """A child of a traced process starts no thread at the fork, as the SDK's providers would."""
    ran = scripts.run(
        scripts.EXPORTED,
        """
        import concurrent.futures, json, os, sys
        span("a")
        runtime.measure("cinder.rpc.queue.duration", 1, {})
        flush()
        assert runtime._process.metrics._services
        def refuse(*args, **kwargs):
            os.write(2, b"a pool")
        concurrent.futures.ThreadPoolExecutor.__init__ = refuse
        child = os.fork()
        if not child:
            os.kill(os.getpid(), 9)
        os.waitpid(child, 0)
        """,
        env={"OTEL_METRICS_EXPORTER": "console", "OTEL_TRACES_EXPORTER": "console"},
    )
    assert ran.stderr == ""


def test_child_has_nothing_of_its_parents_threads() -> None:
    """In a forked child, the loggers of exporters are not kept from threads with the old idents."""
    ran = scripts.run(
        scripts.EXPORTED,
        """
        import json, logging, os, time
        from otel_cinder.export.native_thread import LogSilencer
        def kept(threads):
            end = time.monotonic() + 20
            while len(LogSilencer._threads) != threads and time.monotonic() < end:
                time.sleep(0.01)  # the flush waits for those that export, not for the third
            loggers = logging.root.manager.loggerDict.values()
            filters = [f for each in loggers for f in getattr(each, "filters", ())]
            return len(LogSilencer._threads), len({f for f in filters if isinstance(f, LogSilencer)})
        span("a")
        flush()
        print(json.dumps(kept(3)), flush=True)
        if not os.fork():
            span("b")
            flush()
            print(json.dumps(kept(3)), flush=True)
            os._exit(0)
        os.wait()
        otel_cinder.uninstrument()
        print(json.dumps(kept(0)), flush=True)
        """,
        env={"OTEL_METRICS_EXPORTER": "console", "OTEL_TRACES_EXPORTER": "console"},
    )
    lines = [line for line in ran.stdout.splitlines() if line.startswith("[") and len(line) < 10]
    # Two export, the third looks for open spans and has no exporter's loggers.
    assert lines == ["[3, 2]", "[3, 2]", "[0, 0]"]
