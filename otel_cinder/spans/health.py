"""Counts this process's own work, so that lost spans are noticed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.sdk.trace.sampling import Decision

from otel_cinder import conventions
from otel_cinder.export.logs import LogQueue
from otel_cinder.export.queues import BatchSpanProcessor, ExportQueue
from otel_cinder.patching.patch_set import Seam
from otel_cinder.spans.operations import Operations
from otel_cinder.spans.sampling import Tally
from otel_cinder.spans.still_running import StillRunning

_QUEUE_FULL: Final = "queue_full"

Counts = Iterable[tuple[float, Mapping[str, Any]]]


class Health(NamedTuple):
    """Observes the counters. Their names and meanings: `otel_cinder.conventions`."""

    decisions: Tally
    spans: BatchSpanProcessor | None
    """None: spans are not exported by us."""
    logs: LogQueue | None
    """None: log records are not exported."""
    seams: Callable[[], list[Seam]]
    operations: Operations
    still_running: StillRunning | None
    """None if still-running spans are off."""

    def observe(self, meter: Meter) -> None:
        """Let ``meter`` read all counters at each collection."""
        counted: dict[str, Callable[[], Counts]] = {
            conventions.SPANS_STARTED: self._started,
            conventions.SEAMS: self._places,
            conventions.STILL_RUNNING_LEFT_OUT: self._left_out,
            **self.operations.counts(),
        }
        spans = self.spans
        if spans is not None:
            counted |= {
                conventions.SPANS_PROCESSED: lambda: _processed(spans),
                conventions.SPANS_EXPORTED: lambda: _exported(spans),
                conventions.QUEUE_SIZE: lambda: [(spans.waiting, {})],
                conventions.QUEUE_CAPACITY: lambda: [(spans.queue_size, {})],
            }
        logs = self.logs
        if logs is not None:
            counted |= {
                conventions.LOGS_PROCESSED: lambda: _processed(logs),
                conventions.LOGS_EXPORTED: lambda: _exported(logs),
            }
        create = {
            "counter": meter.create_observable_counter,
            "updowncounter": meter.create_observable_up_down_counter,
            "gauge": meter.create_observable_gauge,
        }
        for name, count in counted.items():
            kind, unit, meaning, _ = conventions.METRICS[name]
            create[kind](name, [_observer(count)], unit, meaning)

    def _started(self) -> Counts:
        for count, decision in (
            (self.decisions.sampled, Decision.RECORD_AND_SAMPLE),
            (self.decisions.dropped, Decision.DROP),
        ):
            yield count, {conventions.SAMPLING_RESULT: decision.name}

    def _left_out(self) -> Counts:
        if self.still_running is not None and self.still_running.left_out:
            yield self.still_running.left_out, {}

    def _places(self) -> Counts:
        """Patched places by state, without the reason."""
        states = Counter((seam.seam, seam.state.partition(":")[0]) for seam in self.seams())
        for (seam, state), count in states.items():
            yield count, {conventions.SEAM: seam, conventions.SEAM_STATE: state}


def _processed(queue: ExportQueue[Any]) -> Counts:
    yield queue.taken, {}
    if queue.overflowed:
        yield queue.overflowed, {conventions.ERROR_TYPE: _QUEUE_FULL}


def _exported(queue: ExportQueue[Any]) -> Counts:
    yield queue.sent, {}
    for kind, count in list(queue.failed.items()):
        yield count, {conventions.ERROR_TYPE: kind}


def _observer(count: Callable[[], Counts]) -> Callable[[CallbackOptions], Iterable[Observation]]:
    return lambda _options: [Observation(value, attributes) for value, attributes in count()]
