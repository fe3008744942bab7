"""Providers whose spans go through a batch processor to nowhere, or into a list."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased

import otel_cinder
from otel_cinder.spans.open import OpenSpans

_RESOURCE = Resource({"service.name": "benchmarks"})


class _NullExporter(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


def batching(*, sampled: bool = True, ours: bool = False) -> TracerProvider:
    """The provider of every variant: only the making of the spans differs between them.

    Args:
        ours: for what we trace: our own providers also keep a register of the open spans.
    """
    sampler = ParentBased(ALWAYS_ON) if sampled else ALWAYS_OFF
    provider = TracerProvider(sampler=sampler, resource=_RESOURCE, shutdown_on_exit=False)
    # Long enough for a segment: what a full queue drops would come cheap.
    queue = BatchSpanProcessor(_NullExporter(), max_queue_size=65536)
    provider.add_span_processor(OpenSpans(queue) if ours else queue)
    return provider


def recording() -> tuple[TracerProvider, InMemorySpanExporter]:
    """A provider that keeps its spans, to see what they look like."""
    provider = TracerProvider(
        sampler=ParentBased(ALWAYS_ON), resource=_RESOURCE, shutdown_on_exit=False
    )
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider, exporter


@contextmanager
def flushed(provider: TracerProvider) -> Iterator[None]:
    """Empty the provider's queue afterwards, so that no variant finds another's spans in it."""
    try:
        yield
    finally:
        provider.force_flush()


def measuring() -> MeterProvider:
    """A provider whose metrics are kept and never read."""
    return MeterProvider([InMemoryMetricReader()], _RESOURCE, shutdown_on_exit=False)


@contextmanager
def traced(provider: TracerProvider, meters: MeterProvider | None = None) -> Iterator[None]:
    """Trace by otel-cinder while in it, and measure if there are meters to measure by."""
    otel_cinder.instrument(tracer_provider=provider, meter_provider=meters)
    try:
        with flushed(provider):
            yield
    finally:
        otel_cinder.uninstrument()


def shapes(exporter: InMemorySpanExporter) -> list[str]:
    """One line per span: name, kind, links, attributes and how long their values are."""
    lines = []
    for span in exporter.get_finished_spans():
        attributes = ", ".join(
            f"{key}={_shape(value)}" for key, value in sorted((span.attributes or {}).items())
        )
        lines.append(f"{span.name} {span.kind.name} links={len(span.links)} {attributes}")
    return lines


def _shape(value: object) -> str:
    if isinstance(value, str):
        return f"str({len(value)})"
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(_shape(item) for item in value)}]"
    return type(value).__name__


def assert_same_spans(ours: InMemorySpanExporter, floor: InMemorySpanExporter) -> None:
    """A floor is one only if it makes the spans that we make, to the last attribute."""
    if not shapes(ours) or shapes(ours) != shapes(floor):
        difference = "\n".join(f"- {line}" for line in sorted({*shapes(ours)} ^ {*shapes(floor)}))
        raise AssertionError(f"the floor's spans are not ours any more:\n{difference}")
