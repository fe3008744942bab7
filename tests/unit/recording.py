"""Spans kept in memory, with ids that count up and a clock that ticks once for each look at it."""

from __future__ import annotations

import inspect
import itertools
import threading
from collections.abc import Iterator
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Sampler

TICK_NS = 1_000_000
"""How far the fake clock goes on at each look: 1 ms."""


class CountingIds(IdGenerator):
    """1, 2, 3, ... for spans and for traces."""

    def __init__(self) -> None:
        self._spans = itertools.count(1)
        self._traces = itertools.count(1)

    def generate_span_id(self) -> int:
        return next(self._spans)

    def generate_trace_id(self) -> int:
        return next(self._traces)


class Clock:
    """Replaces every clock that times spans: the SDK's, and the two of `spans.clock`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = 1_800_000_000_000_000_000

    def __call__(self) -> int:
        with self._lock:
            self._now += TICK_NS
            return self._now

    def glance(self) -> int:
        """The time without a tick."""
        return self._now


class Recorder:
    """A provider and its ended spans, in order."""

    def __init__(self, sampler: Sampler | None = None) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(
            id_generator=CountingIds(), shutdown_on_exit=False, sampler=sampler
        )
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self.provider.get_tracer("test")

    def __iter__(self) -> Iterator[ReadableSpan]:
        return iter(self._exporter.get_finished_spans())

    def __len__(self) -> int:
        return len(self._exporter.get_finished_spans())

    def __getitem__(self, name: str) -> ReadableSpan:
        """The only span of this name."""
        (span,) = self.all(name)
        return span

    def all(self, name: str) -> list[ReadableSpan]:
        """Every span of this name, in the order in which they ended."""
        return [span for span in self if span.name == name]

    @property
    def names(self) -> list[str]:
        """The names in the order in which the spans were started."""
        return [span.name for span in sorted(self, key=lambda span: span.context.span_id)]

    def children(self, parent: ReadableSpan) -> list[str]:
        """Names of the spans right below ``parent``, in the order in which they were started."""
        ids = sorted(self, key=lambda span: span.context.span_id)
        return [s.name for s in ids if s.parent and s.parent.span_id == parent.context.span_id]

    def clear(self) -> None:
        """Forget the ended spans."""
        self._exporter.clear()


def exception_of(span: ReadableSpan) -> dict[str, Any]:
    """The attributes of the span's only event, an exception."""
    (event,) = span.events
    assert event.name == "exception"
    return dict(event.attributes or {})


def place_of(function: Any) -> dict[str, Any]:
    """The attributes that say where a function's code is."""
    code = inspect.unwrap(function).__code__
    return {"code.file.path": code.co_filename, "code.line.number": code.co_firstlineno}
