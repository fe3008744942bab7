"""http: what tracing adds to a request, against opentelemetry-instrumentation-wsgi's middleware."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext

from opentelemetry.instrumentation.wsgi import OpenTelemetryMiddleware
from opentelemetry.trace import SpanKind

from benchmarks import estimates, providers
from benchmarks.estimates import Round
from benchmarks.http_application import App, application, environ, start_response
from benchmarks.rounds import Effort, Segment, Variant, run
from benchmarks.verdicts import Check, Report, comparison
from otel_cinder.cinder import services
from otel_cinder.patching.patch_set import PatchSet
from otel_cinder.seams import http
from otel_cinder.spans.service import Service

EFFORT = Effort(operations=100, at_least=100, seconds=90, precision=0.03)
QUICK = Effort(operations=50, at_least=30, seconds=20, precision=0.1)

BARE = "bare"
PEER, PEER_SPANS = "…-wsgi's middleware", "…-wsgi's middleware, no metrics"
OURS, SPANS = "otel-cinder", "otel-cinder, no metrics"
UNSAMPLED = "otel-cinder, not sampled"


def benchmark(*, quick: bool = False) -> Report:
    """Measure all variants and hold ours against the middleware's."""
    _check_spans()
    rounds = run(_variants(), QUICK if quick else EFFORT, lambda all_: _unsure(all_["http"]))[
        "http"
    ]
    report = Report(
        f"http: CPU µs of a GET of the volumes ({len(rounds)} rounds)",
        ("variant", "µs", "added", "95 % interval", "added / middleware's"),
    )
    report.rows += comparison(rounds, BARE, (PEER, PEER_SPANS, OURS, SPANS, UNSAMPLED), PEER)
    report.checks = [Check("added / middleware's", estimates.ratio(rounds, OURS, PEER, BARE), 1)]
    return report


def _unsure(rounds: Sequence[Round]) -> float:
    return estimates.ratio(rounds, OURS, PEER, BARE).precision


def _variants() -> list[Variant]:
    sampled, unsampled = providers.batching(), providers.batching(sampled=False)
    meters = providers.measuring()
    peer = OpenTelemetryMiddleware(application, tracer_provider=sampled, meter_provider=meters)
    peer_spans = OpenTelemetryMiddleware(application, tracer_provider=sampled)
    ours = _segment(_traced())
    return [
        Variant(BARE, nullcontext, _segment(application)),
        Variant(PEER, lambda: providers.flushed(sampled), _segment(peer)),
        Variant(PEER_SPANS, lambda: providers.flushed(sampled), _segment(peer_spans)),
        Variant(OURS, lambda: providers.traced(sampled, meters), ours),
        Variant(SPANS, lambda: providers.traced(sampled), ours),
        Variant(UNSAMPLED, lambda: providers.traced(unsampled, meters), ours),
    ]


def _traced() -> App:
    return http.TracedApplication(application, Service(services.API), PatchSet())


def _segment(app: App) -> Segment:
    def segment(operations: int) -> Mapping[str, Sequence[float]]:
        took = []
        for _ in range(operations):
            request = environ()
            started = time.thread_time()
            list(app(request, start_response))
            took.append(time.thread_time() - started)
        return {"http": took}

    return segment


def _check_spans() -> None:
    """Compare nothing with nothing and it is equal: each must make its span."""
    provider, exporter = providers.recording()
    peer = OpenTelemetryMiddleware(application, tracer_provider=provider)
    with providers.traced(provider):
        for app in (_traced(), peer):
            list(app(environ(), start_response))
    spans = exporter.get_finished_spans()
    assert [span.kind for span in spans] == [SpanKind.SERVER, SpanKind.SERVER]
    ours, theirs = (len(span.attributes or {}) for span in spans)
    assert ours >= theirs
