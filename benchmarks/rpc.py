"""rpc: what tracing adds to a cast and to its dispatch, against the same two spans by hand."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.instrumentation.oslo_messaging import OsloMessagingInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from benchmarks import estimates, providers
from benchmarks.estimates import Round
from benchmarks.rounds import Effort, Segment, Variant, run
from benchmarks.rpc_path import Floor, Path
from benchmarks.verdicts import Check, Report, comparison

EFFORT = Effort(operations=100, at_least=60, seconds=90, precision=0.02)
QUICK = Effort(operations=50, at_least=20, seconds=20, precision=0.05)

BOUND = 2.5
"""Times the floor, which is told what a message is about; we read it from the message. Nobody has
asked for this bound; it is there to catch what would get much dearer."""

BARE, FLOOR = "bare", "floor: the two spans by hand"
OURS, UNSAMPLED, PEER = "otel-cinder", "otel-cinder, not sampled", "…-oslo-messaging 0.13.1"
MEASURED = ("cast", "dispatch")


def benchmark(*, quick: bool = False) -> Report:
    """Measure casts and dispatches by all variants."""
    _check_floor()
    measured = run(_variants(), QUICK if quick else EFFORT, _unsure)
    count = len(measured["cast"])
    report = Report(
        f"rpc: CPU µs of a message over fake:// ({count} rounds)",
        ("", "variant", "µs", "added", "95 % interval", "added / floor's"),
    )
    for what in MEASURED:
        rows = comparison(measured[what], BARE, (PEER, FLOOR, OURS, UNSAMPLED), FLOOR)
        report.rows += [(what if name == BARE else "", name, *cells) for name, *cells in rows]
    report.checks = [
        Check(f"{what}: added / floor's", estimates.ratio(measured[what], OURS, FLOOR, BARE), BOUND)
        for what in MEASURED
    ]
    return report


def _unsure(measured: Mapping[str, Sequence[Round]]) -> float:
    return max(
        estimates.ratio(measured[what], OURS, other, BARE).precision
        for what in MEASURED
        for other in (FLOOR, PEER)
    )


def _variants() -> list[Variant]:
    sampled, unsampled = providers.batching(), providers.batching(sampled=False)
    path, floor = Path(), Floor(sampled.get_tracer("floor"))
    return [
        Variant(BARE, nullcontext, _segment(path)),
        Variant(FLOOR, lambda: providers.flushed(sampled), _segment(floor)),
        Variant(OURS, lambda: providers.traced(sampled), _segment(path)),
        Variant(UNSAMPLED, lambda: providers.traced(unsampled), _segment(path, sampled=False)),
        Variant(PEER, lambda: _peer(sampled), _segment(path)),
    ]


def _segment(path: Path, *, sampled: bool = True) -> Segment:
    def segment(operations: int) -> Mapping[str, Sequence[float]]:
        took: dict[str, list[float]] = {what: [] for what in MEASURED}
        with _in_request(sampled=sampled):
            for _ in range(operations):
                started = time.thread_time()
                path.cast()
                took["cast"].append(time.thread_time() - started)
        for _ in range(operations):
            incoming = path.take()
            started = time.thread_time()
            path.dispatch(incoming)
            took["dispatch"].append(time.thread_time() - started)
        return took

    return segment


@contextmanager
def _in_request(*, sampled: bool = True) -> Iterator[None]:
    """Casts come from within a request, whose span is current."""
    flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
    request = NonRecordingSpan(SpanContext(0xC1DE << 64, 0xC1DE, False, flags))
    token = otel_context.attach(trace.set_span_in_context(request))
    try:
        yield
    finally:
        otel_context.detach(token)


@contextmanager
def _peer(provider: TracerProvider) -> Iterator[None]:
    OsloMessagingInstrumentor().instrument(tracer_provider=provider)
    try:
        with providers.flushed(provider):
            yield
    finally:
        OsloMessagingInstrumentor().uninstrument()


def _check_floor() -> None:
    provider, ours = providers.recording()
    with providers.traced(provider):
        _segment(Path())(1)
    provider, floor = providers.recording()
    _segment(Floor(provider.get_tracer("floor")))(1)
    providers.assert_same_spans(ours, floor)
