"""Metrics: one table of instruments, and the queue that measurements take to them.

Cinder's threads only put what they have measured into a queue. The SDK's instruments live in the
export thread, one provider a service, so none of the SDK's locks is ever taken in a thread of
Cinder's, and none is held when the process forks.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import math
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.metrics import Meter
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import SpanContext

from otel_cinder import conventions, redaction
from otel_cinder.export.delivery import Load
from otel_cinder.export.failure_log import failure_log
from otel_cinder.export.native_thread import unpatched
from otel_cinder.export.queues import ExportQueue
from otel_cinder.export.signals import METRICS
from otel_cinder.version import __version__

BOUNDARIES_S: Final = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10),
    *(30, 60, 120, 300, 600),
)
"""Upper bounds of every histogram's buckets, in seconds: those of the semantic conventions for
durations, and more up to ten minutes, the time of a volume from an image."""

SETS_LIMIT: Final = 2000
"""Sets of attributes that an instrument keeps apart, by the specification. Older SDKs have no such
limit."""

QUEUE_SIZE: Final = 10_000
"""Measurements that may wait for the export thread."""

_ROUND_S: Final = 5.0
"""Seconds after which measurements leave the queue at the latest: often enough for its room, seldom
enough for a service that has little to do."""

_VALUE_LIMIT: Final = 256
"""Characters of an attribute's value that are kept."""

_POINT_BYTES: Final = 300
"""Approximate size of a data point in a request; most are histograms'."""

Record = Callable[[float, Mapping[str, Any], Context], None]


_EMPTY: Final = Context()

Measurement = tuple[Any, str, float, Mapping[str, Any], SpanContext]
"""Service, name, value, attributes, and the span in which it was measured. A plain tuple: the
named one takes five times as long to make. The attributes must not be changed any more."""


class Instruments:
    """The instruments of `conventions.METRICS` on one meter, each made when it is first used."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._records: dict[str, Record] = {}

    def record(
        self, name: str, value: float, attributes: Mapping[str, Any], context: Context
    ) -> None:
        """Record ``value`` with the instrument ``name``.

        Raises KeyError for an unknown name, ValueError for a value that is NaN or infinite.
        """
        record = self._records.get(name)
        if record is None:
            record = self._records.setdefault(name, _Limited(_instrument(self._meter, name)))
        record(value, attributes, context)


class _Limited:
    """Records with an instrument, and keeps the sets of attributes safe, and not too many."""

    def __init__(self, record: Any) -> None:
        self._record = record
        self._sets: dict[frozenset[tuple[str, Any]], dict[str, Any]] = {}

    def __call__(self, value: float, attributes: Mapping[str, Any], context: Context) -> None:
        if not math.isfinite(value):  # it would spoil a sum for good
            raise ValueError(f"{value} is no measurement")
        try:
            key = frozenset(attributes.items())
        except TypeError:  # a list among the values
            attributes = _safe(attributes)
            key = frozenset(attributes.items())
        safe = self._sets.get(key)
        if safe is None:
            safe = {conventions.OVERFLOW: True}
            if len(self._sets) < SETS_LIMIT:
                safe = self._sets[key] = _safe(attributes)
        self._record(value, safe, context)


def _safe(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Make attributes safe to encode: a single bad one would lose all metrics, in each export."""
    return {
        name: value
        if isinstance(value, (bool, int, float))
        else redaction.identifier(value, _VALUE_LIMIT)
        for name, value in attributes.items()
        if value is not None and not (isinstance(value, float) and not math.isfinite(value))
    }


def _instrument(meter: Meter, name: str) -> Any:
    """The method that records a value with the instrument ``name``."""
    kind, unit, meaning, _ = conventions.METRICS[name]
    if kind == "histogram":
        return meter.create_histogram(
            name, unit, meaning, explicit_bucket_boundaries_advisory=BOUNDARIES_S
        ).record
    if kind == "counter":
        return meter.create_counter(name, unit, meaning).add
    if kind == "updowncounter":
        return meter.create_up_down_counter(name, unit, meaning).add
    return meter.create_gauge(name, unit, meaning).set


@functools.cache
def _provider_class() -> Any:
    # Late, as all of the SDK's metrics: not every process measures.
    from opentelemetry.sdk.metrics import MeterProvider

    lock = unpatched("threading").Lock

    class Provider(MeterProvider):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            # Of its own: the class's lock is eventlet's, or was held when this process was forked.
            self._all_metric_readers_lock = lock()
            self._all_metric_readers = weakref.WeakSet()
            super().__init__(*args, **kwargs)

        def _handle_fork(self) -> None:
            """Nothing: a child builds its own. The SDK would run a thread pool at each fork."""

    return Provider


def _reader(exporter: Any) -> Any:
    """A reader for ``exporter``, with its preferred temporality and aggregation."""
    from opentelemetry.sdk.metrics import Histogram
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.metrics.view import (
        ExplicitBucketHistogramAggregation,
        ExponentialBucketHistogramAggregation,
    )

    preferred = dict(getattr(exporter, "_preferred_aggregation", None) or {})
    if not isinstance(preferred.get(Histogram), ExponentialBucketHistogramAggregation):
        # The instruments advise the same, which the SDK heeds only since 1.31.
        preferred[Histogram] = ExplicitBucketHistogramAggregation(BOUNDARIES_S)
    return InMemoryMetricReader(getattr(exporter, "_preferred_temporality", None), preferred)


class _Service(NamedTuple):
    """A service's instruments, and their readers, one for each exporter."""

    instruments: Instruments
    readers: list[Any]


class MetricQueue(ExportQueue[Measurement]):
    """Takes measurements to their instruments, and collects these every ``interval`` seconds.

    Args:
        interval: seconds between two collections; a flush collects, too.
        resource: the resource of a service.
        prepare: called once the SDK's metrics are imported.
        observe: adds this process's own counters to the first service's meter.
    """

    def __init__(
        self,
        load_exporters: Sequence[Load],
        endpoint: str,
        *,
        interval: float,
        resource: Callable[[Any], Resource],
        prepare: Callable[[], None],
        observe: Callable[[Meter], None],
    ) -> None:
        super().__init__(
            METRICS,
            load_exporters,
            endpoint,
            queue_size=QUEUE_SIZE,
            batch_size=QUEUE_SIZE // 2,
            delay=min(interval, _ROUND_S),
            batches=_Metrics(),
        )
        self._interval = interval
        self._resource = resource
        self._prepare = prepare
        self._observe = observe
        self._seen: list[Any] = []
        self._services: dict[Any, _Service] = {}
        self._left_out: set[str] = set()
        self._due = math.inf

    def see(self, service: Any) -> None:
        """Start collecting for the process, under ``service`` if it is the first one seen."""
        if not self._seen and not self._stopping:
            self._seen.append(service)
            self.start_quietly()

    def _load(self) -> None:
        super()._load()
        importlib.import_module("opentelemetry.sdk.metrics.export")
        _provider_class()
        self._prepare()

    def _begin(self) -> None:
        super()._begin()
        self._due = time.monotonic() + self._interval

    def _pause(self) -> float:
        return min(super()._pause(), self._delay)

    def _work(self, *, asked: bool) -> None:
        self._record_all()
        now = time.monotonic()
        if asked or now >= self._due:
            self._due = now + self._interval
            self.delivery.abandon()  # the next collection includes it
            self._collect()
        while self.delivery.is_pending:
            if not self.delivery.attempt(asked=asked, deadline=self._deadline):
                return

    def _record_all(self) -> None:
        for service in self._seen:
            self._of(service)
        for _ in range(len(self._queue)):
            service, name, value, attributes, span = self._queue.popleft()
            try:
                context = trace.set_span_in_context(trace.NonRecordingSpan(span), _EMPTY)
                self._of(service).instruments.record(name, value, attributes, context)
            except Exception as error:
                if name not in self._left_out:
                    self._left_out.add(name)
                    failure_log.add(
                        "otel-cinder leaves out measurements of %s because of %s: %s; Cinder is "
                        "not affected. Please report it.",
                        name,
                        type(error).__name__,
                        redaction.masked(error),
                    )

    def _of(self, service: Any) -> _Service:
        known = self._services.get(service)
        if known is None:
            known = self._services[service] = self._make(service)
        return known

    def _make(self, service: Any) -> _Service:
        readers = [_reader(exporter) for exporter in self.delivery.exporters]
        # Its atexit hook would run behind our flush.
        provider = _provider_class()(readers, self._resource(service), shutdown_on_exit=False)
        meter = provider.get_meter(conventions.SCOPE, __version__, conventions.SCHEMA_URL)
        if not self._services:
            self._observe(meter)
        return _Service(Instruments(meter), readers)

    def _collect(self) -> None:
        deliveries = []
        for index, exporter in enumerate(self.delivery.exporters):
            collected = [
                service.readers[index].get_metrics_data() for service in self._services.values()
            ]
            batch = [
                of_resource for data in collected if data for of_resource in data.resource_metrics
            ]
            if batch:
                deliveries.append((exporter, batch))
        if deliveries:
            self.delivery.begin_each(deliveries)


class _Metrics:
    """Batches that are lists of the SDK's ``ResourceMetrics``; their data points count."""

    def request(self, batch: Sequence[Any]) -> Any:
        from opentelemetry.sdk.metrics.export import MetricsData

        return MetricsData(resource_metrics=batch)

    def count(self, batch: Sequence[Any]) -> int:
        return sum(
            len(metric.data.data_points)
            for of_resource in batch
            for of_scope in of_resource.scope_metrics
            for metric in of_scope.metrics
        )

    def size(self, batch: Sequence[Any]) -> int:
        return self.count(batch) * _POINT_BYTES

    def halves(self, batch: Sequence[Any]) -> list[Any]:
        metrics = _flat(batch)
        if len(metrics) == 1:
            metrics = [(*metrics[0][:2], half) for half in _halves_of(metrics[0][2])]
        half = len(metrics) // 2
        return [_grouped(metrics[:half]), _grouped(metrics[half:])] if half else [batch]

    def joined(self, batches: Sequence[Any]) -> Any:
        return _grouped([metric for batch in batches for metric in _flat(batch)])


_Placed = tuple[Any, Any, Any]
"""A resource's metrics, a scope's of these, and a metric of these."""


def _flat(batch: Sequence[Any]) -> list[_Placed]:
    return [
        (of_resource, of_scope, metric)
        for of_resource in batch
        for of_scope in of_resource.scope_metrics
        for metric in of_scope.metrics
    ]


def _grouped(metrics: Sequence[_Placed]) -> list[Any]:
    """One batch of these metrics. Each resource and scope occurs once: encoders drop a second one."""
    return [
        replace(
            of_resource,
            scope_metrics=[
                replace(of_scope, metrics=[metric for _, _, metric in some])
                for (_, of_scope, _), some in _runs(others, lambda placed: id(placed[1].scope))
            ],
        )
        for (of_resource, _, _), others in _runs(metrics, lambda placed: id(placed[0].resource))
    ]


def _runs(
    metrics: Sequence[_Placed], key: Callable[[_Placed], int]
) -> Iterator[tuple[_Placed, list[_Placed]]]:
    for _, run in itertools.groupby(metrics, key):
        placed = list(run)
        yield placed[0], placed


def _halves_of(metric: Any) -> list[Any]:
    points = metric.data.data_points
    half = len(points) // 2
    parts = [points[:half], points[half:]] if half else [points]
    return [replace(metric, data=replace(metric.data, data_points=part)) for part in parts]
