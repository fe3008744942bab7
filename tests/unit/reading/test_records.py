"""Metrics and log records as plain data."""

from __future__ import annotations

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from otel_cinder.reading.records import LogLine, logs_of
from tests.metric_points import MetricPoint, points_of


def said(**values: str) -> list[KeyValue]:
    return [KeyValue(key=k, value=AnyValue(string_value=v)) for k, v in values.items()]


def test_points_of_every_kind() -> None:
    """Sums are counters or up-down counters, gauges have no temporality; others are left out."""
    request = ExportMetricsServiceRequest()
    group = request.resource_metrics.add()
    group.resource.attributes.add(key="service.name", value=AnyValue(string_value="cinder-api"))
    metrics = group.scope_metrics.add().metrics
    counter = metrics.add(name="c", unit="{message}").sum
    counter.is_monotonic, counter.aggregation_temporality = True, 2
    counter.data_points.add(as_int=3, attributes=said(a="b"))
    counter.data_points.add(as_int=4)
    change = metrics.add(name="u").sum
    change.aggregation_temporality = 1
    change.data_points.add(as_double=-1.5)
    metrics.add(name="g").gauge.data_points.add(as_int=7)
    metrics.add(name="e").exponential_histogram.data_points.add(count=1)
    histogram = metrics.add(name="h", unit="s").histogram
    histogram.aggregation_temporality = 2
    point = histogram.data_points.add(count=2, sum=1.5)
    point.explicit_bounds.append(1)
    point.bucket_counts.extend([1, 1])
    point.exemplars.add(trace_id=b"\x01" * 16)
    point.exemplars.add()
    assert points_of(request)[0] == MetricPoint(
        name="c",
        unit="{message}",
        kind="counter",
        service="cinder-api",
        resource={"service.name": "cinder-api"},
        attributes={"a": "b"},
        value=3,
        temporality="cumulative",
    )
    shown = [(p.name, p.kind, p.temporality, p.value, p.count) for p in points_of(request)[1:]]
    assert shown == [
        ("c", "counter", "cumulative", 4, None),
        ("u", "updowncounter", "delta", -1.5, None),
        ("g", "gauge", "unspecified", 7, None),
        ("h", "histogram", "cumulative", None, 2),
    ]
    points = points_of(request)[-1]
    assert (points.sum, points.bounds, points.buckets) == (1.5, (1,), (1, 1))
    assert points.exemplar_trace_ids == ("01" * 16,)


def test_log_lines() -> None:
    """A record is shown whole; absent ids are empty."""
    request = ExportLogsServiceRequest()
    group = request.resource_logs.add()
    group.resource.attributes.add(key="service.name", value=AnyValue(string_value="cinder-api"))
    scoped = group.scope_logs.add()
    scoped.scope.name = "otel_cinder"
    scoped.log_records.add(
        body=AnyValue(string_value="a"),
        severity_text="INFO",
        time_unix_nano=5,
        attributes=said(k="v"),
        trace_id=b"\x01" * 16,
        span_id=b"\x02" * 8,
    )
    scoped.log_records.add()
    whole, empty = logs_of(request)
    assert whole == LogLine(
        body="a",
        severity="INFO",
        service="cinder-api",
        resource={"service.name": "cinder-api"},
        attributes={"k": "v"},
        trace_id="01" * 16,
        span_id="02" * 8,
        time_ns=5,
        scope="otel_cinder",
    )
    assert (empty.body, empty.trace_id, empty.span_id) == (None, "", "")
