"""Metrics as plain data, as they arrived over OTLP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from otel_cinder.reading.trace import _attributes, _named

if TYPE_CHECKING:
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
        ExportMetricsServiceRequest,
    )
    from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

# Indexed by the numbers of opentelemetry/proto/metrics/v1/metrics.proto.
_TEMPORALITIES = ("unspecified", "delta", "cumulative")


@dataclass(frozen=True)
class MetricPoint:
    """One point of one metric, for one set of attributes."""

    name: str
    unit: str
    kind: str
    """``histogram``, ``counter``, ``updowncounter`` or ``gauge``, as `conventions.METRICS` has it."""
    service: str
    resource: Mapping[str, Any] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    value: float | None = None
    """Of all but histograms."""
    count: int | None = None
    """Of histograms; the next ones, too."""
    sum: float | None = None
    bounds: tuple[float, ...] = ()
    buckets: tuple[int, ...] = ()
    temporality: str = "unspecified"
    """``cumulative``, ``delta``; a gauge has none."""
    exemplar_trace_ids: tuple[str, ...] = ()
    """Lower-case hex."""


def points_of(request: ExportMetricsServiceRequest) -> list[MetricPoint]:
    """The points of one OTLP export, in the order in which they were written."""
    return [
        point
        for group in request.resource_metrics
        for scoped in group.scope_metrics
        for metric in scoped.metrics
        for point in _points(metric, _attributes(group.resource.attributes))
    ]


def _points(metric: Metric, resource: Mapping[str, Any]) -> Iterator[MetricPoint]:
    field_name = metric.WhichOneof("data")
    if field_name not in ("gauge", "sum", "histogram"):
        return  # exponential histograms and summaries, which nothing here makes
    data: Any = getattr(metric, field_name)
    kind: str = field_name
    if field_name == "sum":
        kind = "counter" if data.is_monotonic else "updowncounter"
    for point in data.data_points:
        seen: dict[str, Any] = {}
        if field_name == "histogram":
            seen = {
                "count": point.count,
                "sum": point.sum,
                "bounds": tuple(point.explicit_bounds),
                "buckets": tuple(point.bucket_counts),
            }
        else:
            seen["value"] = getattr(point, point.WhichOneof("value") or "as_int")
        yield MetricPoint(
            name=metric.name,
            unit=metric.unit,
            kind=kind,
            service=str(resource.get("service.name", "")),
            resource=resource,
            attributes=_attributes(point.attributes),
            temporality=_named(_TEMPORALITIES, getattr(data, "aggregation_temporality", 0)),
            exemplar_trace_ids=tuple(
                exemplar.trace_id.hex() for exemplar in point.exemplars if exemplar.trace_id
            ),
            **seen,
        )
