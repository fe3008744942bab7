"""live: how late `otel-cinder live` shows what arrives, and its memory, at 5,000 spans a second for a minute."""

from __future__ import annotations

import http.client
import sys
import tempfile
import time
from pathlib import Path

import psutil
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.estimates import Estimate
from benchmarks.verdicts import Check, Report
from otel_cinder.cli.demo.run import free_port
from otel_cinder.reading.otlp_json import from_json_line
from tests.terminal import Terminal

SPANS_A_SECOND = 5_000
SECONDS, QUICK_SECONDS = 60, 10
BOUND_S, BOUND_MIB = 2.0, 300.0
_BATCH_S = 0.1
_CREATE = Path(__file__).parents[1] / "tests" / "unit" / "reading" / "traces" / "create.jsonl"


def benchmark(*, quick: bool = False) -> Report:
    """Send creates as fast as that, one of them each second with an id to look for on the screen."""
    seconds = QUICK_SECONDS if quick else SECONDS
    port = free_port(0)
    program = Path(sys.executable).with_name("otel-cinder")
    command = [program, "live", "--listen", f"127.0.0.1:{port}", "--request", "req-mark"]
    with (
        tempfile.TemporaryDirectory() as folder,
        Terminal(command, {}, (120, 50), Path(folder)) as seen,
    ):
        seen.wait_for_text("otel-cinder live", "OTEL_CINDER_ENABLED")
        process = psutil.Process(seen.process.pid)
        before = process.memory_info().rss
        fed = _Feed(port, seen, process)
        fed.run(seconds)
        cpu = sum(process.cpu_times()[:2])
        shown = [line for line in seen.lines if "dropped" in line]
        seen.press("q")
        seen.ended()
    lags = sorted(fed.lags)
    if not lags:
        raise RuntimeError("nothing was shown")
    middle, worst = lags[len(lags) // 2], lags[-1]
    peak = fed.peak / 2**20
    report = Report(
        f"live: {fed.sent:,} spans in {fed.took:.0f} s, {fed.sent / fed.took:,.0f} a second",
        ("", ""),
        [
            ("lag, median", f"{middle:.2f} s"),
            ("lag, longest", f"{worst:.2f} s"),
            ("RSS before, peak", f"{before / 2**20:.0f}, {peak:.0f} MiB"),
            ("CPU", f"{cpu / fed.took:.0%} of one"),
        ],
        [
            Check("median lag", Estimate(middle, middle, middle), BOUND_S, " s"),
            Check("peak RSS", Estimate(peak, peak, peak), BOUND_MIB, " MiB"),
        ],
    )
    report.notes += [*shown, f"{len(lags)} of {fed.marks} marks were seen."]
    report.failed = len(lags) < fed.marks
    return report


class _Feed:
    """Sends creates, and watches the screen for those that have an id of their own."""

    def __init__(self, port: int, seen: Terminal, process: psutil.Process) -> None:
        self._connect = lambda: http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self._seen = seen
        self._process = process
        self._create, self._trace_id, self._request_id, self._spans = _recorded()
        self._sent_at: dict[bytes, float] = {}
        self.lags: list[float] = []
        self.sent = self.marks = self.peak = 0
        self.took = 0.0

    def run(self, seconds: float) -> None:
        """Send for so long, at an even pace, then wait for the last marks."""
        began = time.monotonic()
        a_batch = round(SPANS_A_SECOND * _BATCH_S / self._spans) + 1
        while (elapsed := time.monotonic() - began) < seconds:
            marked = elapsed >= self.marks
            self._send(a_batch, marked=marked)
            due = began + self.sent / SPANS_A_SECOND
            while time.monotonic() < due:
                self._look()
                time.sleep(0.01)
        self.took = time.monotonic() - began
        deadline = time.monotonic() + 30
        while self._sent_at and time.monotonic() < deadline:
            self._look()
            time.sleep(0.01)

    def _send(self, count: int, *, marked: bool) -> None:
        body = b""
        for number in range(count):
            self.sent += self._spans
            trace_id = b"\xff" * 4 + (self.sent + number).to_bytes(12, "big")
            body += self._create.replace(self._trace_id, trace_id)
        if marked:
            self.marks += 1
            mark = f"req-mark{self.marks:04d}".encode().ljust(len(self._request_id), b"-")
            body += self._create.replace(
                self._trace_id, b"\xfe" * 12 + self.marks.to_bytes(4, "big")
            ).replace(self._request_id, mark)
            self._sent_at[mark[:12]] = time.monotonic()
        connection = self._connect()
        connection.request("POST", "/v1/traces", body, {"Content-Type": "application/x-protobuf"})
        connection.getresponse().read()
        connection.close()

    def _look(self) -> None:
        self.peak = max(self.peak, self._process.memory_info().rss)
        raw = self._seen.raw[-200_000:]
        for mark in [mark for mark in self._sent_at if mark in raw]:
            self.lags.append(time.monotonic() - self._sent_at.pop(mark))


def _recorded() -> tuple[bytes, bytes, bytes, int]:
    """A create of real Cinder in protobuf, its trace id, its request id, and how many spans it has."""
    # Exports written one behind the other are one export (protobuf, "Last One Wins" for repeated fields).
    whole = ExportTraceServiceRequest()
    for line in _CREATE.read_text().splitlines():
        whole.MergeFrom(from_json_line(line))
    spans = [s for r in whole.resource_spans for scoped in r.scope_spans for s in scoped.spans]
    request = next(
        pair.value.string_value
        for span in spans
        for pair in span.attributes
        if pair.key == "openstack.request_id"
    )
    return whole.SerializeToString(), spans[0].trace_id, request.encode(), len(spans)
