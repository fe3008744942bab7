"""collector: what our configuration for one host costs per span, beside one that only passes on.

Two collectors of the same build run side by side and take turns: `collector/all-in-one.yaml`, and a
configuration with the same receiver and exporter and nothing between. Both get the spans of a real
create again and again, over gRPC, in batches as services send them. What their processes used is
read from their own CPU clocks.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import psutil
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks import estimates
from benchmarks.estimates import Round
from benchmarks.verdicts import Check, Report, interval
from otel_cinder.reading.receiver import from_json_line
from tests.integration.processes import wait_until
from tests.pipeline.programs import Collector

STOCK, OURS = "stock", "ours"
CREATES_A_BATCH, BATCHES = 20, 50
AT_LEAST, AT_MOST, PRECISION = 8, 40, 0.03
QUICK_AT_LEAST = 4
BOUND = 2.3
"""Times what the stock configuration uses, to catch what would get much dearer."""

STOCK_CONFIGURATION = """\
receivers:
  otlp:
    protocols:
      grpc: {endpoint: "${env:OTELCOL_OTLP_GRPC_ENDPOINT}"}
exporters:
  otlp_grpc:
    endpoint: ${env:OTELCOL_JAEGER_ENDPOINT}
    tls: {insecure: true}
    compression: none
    sending_queue:
      sizer: bytes
      queue_size: 67108864
      batch: {flush_timeout: 200ms, min_size: 524288, max_size: 2097152}
extensions:
  health_check: {endpoint: "${env:OTELCOL_HEALTH_ENDPOINT}"}
service:
  extensions: [health_check]
  telemetry:
    metrics:
      readers:
        - pull:
            exporter:
              prometheus: {host: 127.0.0.1, port: "${env:OTELCOL_TELEMETRY_PORT}"}
  pipelines:
    traces: {receivers: [otlp], exporters: [otlp_grpc]}
"""


class Stock(Collector):
    """A collector that passes on what it gets."""

    def __init__(self, folder: Path, **settings: object) -> None:
        super().__init__("all-in-one", folder, name=STOCK, **settings)
        self.configurations = [self.folder / "stock.yaml"]
        self.configurations[0].write_text(STOCK_CONFIGURATION)


def benchmark(*, quick: bool = False) -> Report:
    """Send spans through both by turns; needs what `make collector` builds."""
    try:
        rounds, spans = _measure(quick=quick)
    except pytest.skip.Exception as absent:  # how the tests say that something is missing
        return Report("collector", notes=[f"Not measured: {absent}"])
    except pytest.fail.Exception as absent:
        return Report("collector", notes=[f"Not measured: {absent}"], failed=True)
    report = Report(
        f"collector: CPU µs per span ({len(rounds)} rounds of {spans:,} spans each)",
        ("", "per span", "95 % interval", "spans/s per core"),
    )
    for name in (STOCK, OURS):
        cost = estimates.typical(rounds, name)
        report.rows.append((name, f"{cost.value:.1f}", interval(cost), f"{1e6 / cost.value:,.0f}"))
    report.checks.append(Check("ours / stock", estimates.times(rounds, OURS, STOCK), BOUND))
    return report


def _measure(*, quick: bool) -> tuple[list[Round], int]:
    rounds: list[Round] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sink = stack.enter_context(_sink())
        create = _create(folder)
        collectors = {
            STOCK: Stock(folder, JAEGER_ENDPOINT=sink),
            # At its own pace, and never refusing: its memory is not what is measured here.
            OURS: Collector(
                "all-in-one",
                folder,
                JAEGER_ENDPOINT=sink,
                METRICS_INTERVAL="15s",
                MEMORY_LIMIT_MIB=2048,
            ),
        }
        for collector in collectors.values():
            stack.callback(collector.kill)
            collector.start()
            _turn(collector, create)  # fills caches; not counted
        while len(rounds) < AT_MOST:
            order = random.sample(list(collectors), len(collectors))
            rounds.append({name: _turn(collectors[name], create) for name in order})
            enough = len(rounds) >= (QUICK_AT_LEAST if quick else AT_LEAST)
            if enough and (quick or estimates.times(rounds, OURS, STOCK).precision < PRECISION):
                break
    return rounds, BATCHES * CREATES_A_BATCH * _size(create)


def _turn(collector: Collector, create: Sequence[ExportTraceServiceRequest]) -> float:
    """Send batches and wait until they have left; return the collector's CPU µs per span."""
    assert collector.process is not None
    process = psutil.Process(collector.process.pid)
    batches = [_batch(create) for _ in range(BATCHES)]
    count = BATCHES * CREATES_A_BATCH * _size(create)
    before = collector.count("otelcol_exporter_sent_spans")
    used = sum(process.cpu_times()[:2])
    with grpc.insecure_channel(collector.otlp_grpc) as channel:
        export = channel.unary_unary(
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            request_serializer=None,
            response_deserializer=None,
        )
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda batch: export(batch, timeout=60), batches))
    wait_until(
        lambda: collector.count("otelcol_exporter_sent_spans") >= before + count, 60, "the spans"
    )
    return (sum(process.cpu_times()[:2]) - used) * 1e6 / count


def _batch(create: Sequence[ExportTraceServiceRequest]) -> bytes:
    """Return the spans of so many creates as one request, under ids of their own."""
    batch = ExportTraceServiceRequest()
    for _ in range(CREATES_A_BATCH):
        trace_id = os.urandom(16)
        for part in create:
            copy = ExportTraceServiceRequest()
            copy.CopyFrom(part)
            for resource in copy.resource_spans:
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        span.trace_id = trace_id
            batch.resource_spans.extend(copy.resource_spans)
    return batch.SerializeToString()


def _create(folder: Path) -> list[ExportTraceServiceRequest]:
    """Return the spans of one create of real Cinder, each service's as it sent them."""
    spans = folder / "create.jsonl"
    subprocess.run(
        [Path(sys.executable).parent / "otel-cinder", "demo", "--spans", spans],
        check=True,
        capture_output=True,
        timeout=300,
    )
    return [from_json_line(line) for line in spans.read_text().splitlines()]


def _size(create: Sequence[ExportTraceServiceRequest]) -> int:
    return sum(
        len(scope.spans)
        for part in create
        for resource in part.resource_spans
        for scope in resource.scope_spans
    )


@contextmanager
def _sink() -> Iterator[str]:
    """Take what comes and read nothing of it: the processor is the collectors'."""
    taken = grpc.unary_unary_rpc_method_handler(lambda request, context: b"")
    method = {"Export": taken}
    server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.max_receive_message_length", -1)])
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(
                "opentelemetry.proto.collector.trace.v1.TraceService", method
            ),
        )
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0)
