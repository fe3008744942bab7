"""OTLP over gRPC: a client that sends spans of the tests' own, and a sink for whatever is sent."""

import os
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import Any

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc as logs_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as traces_grpc
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    Gauge,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from otel_cinder.reading.trace import SpanRecord, spans_of
from tests.pipeline.certificates import Certificates

GRPC_WAITS = 30  # seconds


def attributes(values: Mapping[str, Any]) -> list[KeyValue]:
    """Return attributes as OTLP has them."""
    return [KeyValue(key=key, value=_value(value)) for key, value in values.items()]


def span(
    trace_id: bytes,
    name: str = "work",
    *,
    seconds: float = 0.01,
    error: str = "",
    events: Iterable[Mapping[str, Any]] = (),
    event_name: str = "log",
    **values: Any,
) -> Span:
    """Return a span that ended just now; `__` in the names of attributes stands for a dot."""
    end = time.time_ns()
    return Span(
        trace_id=trace_id,
        span_id=os.urandom(8),
        name=name,
        kind=Span.SPAN_KIND_INTERNAL,
        start_time_unix_nano=end - int(seconds * 1e9),
        end_time_unix_nano=end,
        status=Status(code=Status.STATUS_CODE_ERROR, message=error) if error else None,
        attributes=attributes({key.replace("__", "."): each for key, each in values.items()}),
        events=[
            Span.Event(name=event_name, time_unix_nano=end, attributes=attributes(each))
            for each in events
        ],
    )


def request(
    spans: Iterable[Span], service: str = "cinder-volume", **resource: str
) -> traces.ExportTraceServiceRequest:
    """Return what exports these spans of a service."""
    described = Resource(attributes=attributes({"service.name": service, **resource}))
    scoped = [ScopeSpans(spans=spans)]
    return traces.ExportTraceServiceRequest(
        resource_spans=[ResourceSpans(resource=described, scope_spans=scoped)]
    )


def gauge(
    name: str, of: Mapping[str, Any], resource: Mapping[str, Any] = MappingProxyType({})
) -> metrics.ExportMetricsServiceRequest:
    """Return what exports one point with these attributes."""
    point = NumberDataPoint(as_int=1, time_unix_nano=time.time_ns(), attributes=attributes(of))
    scoped = [ScopeMetrics(metrics=[Metric(name=name, gauge=Gauge(data_points=[point]))])]
    described = Resource(attributes=attributes({"service.name": "cinder-volume", **resource}))
    return metrics.ExportMetricsServiceRequest(
        resource_metrics=[ResourceMetrics(resource=described, scope_metrics=scoped)]
    )


def record(body: str, **values: Any) -> logs.ExportLogsServiceRequest:
    """Return what exports one log record."""
    text = AnyValue(string_value=body)
    scoped = [ScopeLogs(log_records=[LogRecord(body=text, attributes=attributes(values))])]
    return logs.ExportLogsServiceRequest(resource_logs=[ResourceLogs(scope_logs=scoped)])


class Client:
    """A client of one address, with a certificate where one is given."""

    def __init__(self, address: str, certificates: Certificates | None = None) -> None:
        if certificates is None:
            self._channel = grpc.insecure_channel(address)
        else:
            self._channel = grpc.secure_channel(address, _credentials(certificates))
        self._traces = traces_grpc.TraceServiceStub(self._channel)
        self._logs = logs_grpc.LogsServiceStub(self._channel)
        self._metrics = metrics_grpc.MetricsServiceStub(self._channel)

    def send(self, *spans: Span) -> None:
        """Export these spans; grpc.RpcError says that they were not taken."""
        self.export(request(spans))

    def export(self, exported: traces.ExportTraceServiceRequest) -> None:
        """Export spans; grpc.RpcError says that they were not taken."""
        answer = self._traces.Export(exported, timeout=GRPC_WAITS)
        assert not answer.partial_success.rejected_spans

    def export_logs(self, exported: logs.ExportLogsServiceRequest) -> None:
        """Export log records; grpc.RpcError says that they were not taken."""
        self._logs.Export(exported, timeout=GRPC_WAITS)

    def export_metrics(self, exported: metrics.ExportMetricsServiceRequest) -> None:
        """Export metrics; grpc.RpcError says that they were not taken."""
        self._metrics.Export(exported, timeout=GRPC_WAITS)

    def close(self) -> None:
        """Hang up."""
        self._channel.close()


class Sink:
    """A gRPC endpoint that keeps what is sent to it; on any free port by default.

    One that does not take anything answers so that there is no use in trying again.
    """

    def __init__(
        self, certificates: Certificates | None = None, port: int = 0, *, takes: bool = True
    ) -> None:
        self._lock = threading.Lock()
        self._traces: list[traces.ExportTraceServiceRequest] = []
        self.logs: list[logs.ExportLogsServiceRequest] = []
        self._server = grpc.server(ThreadPoolExecutor(4))
        if takes:
            traces_grpc.add_TraceServiceServicer_to_server(_Traces(self), self._server)
            logs_grpc.add_LogsServiceServicer_to_server(_Logs(self), self._server)
        if certificates is None:
            port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        else:
            own = ((certificates.key.read_bytes(), certificates.cert.read_bytes()),)
            trusted = certificates.ca.read_bytes()
            required = grpc.ssl_server_credentials(own, trusted, require_client_auth=True)
            port = self._server.add_secure_port(f"127.0.0.1:{port}", required)
        self.address = f"127.0.0.1:{port}"

    def start(self) -> None:
        """Listen."""
        self._server.start()

    def stop(self) -> None:
        """Hang up."""
        self._server.stop(0).wait()

    def take(self, exported: traces.ExportTraceServiceRequest) -> None:
        """Keep these."""
        with self._lock:
            self._traces.append(exported)

    def spans(self) -> list[SpanRecord]:
        """Return all spans that came."""
        with self._lock:
            came = list(self._traces)
        return [each for exported in came for each in spans_of(exported)]


class _Traces(traces_grpc.TraceServiceServicer):
    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def Export(self, request: Any, context: Any) -> traces.ExportTraceServiceResponse:
        self._sink.take(request)
        return traces.ExportTraceServiceResponse()


class _Logs(logs_grpc.LogsServiceServicer):
    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def Export(self, request: Any, context: Any) -> logs.ExportLogsServiceResponse:
        self._sink.logs.append(request)
        return logs.ExportLogsServiceResponse()


def _credentials(certificates: Certificates) -> grpc.ChannelCredentials:
    parts = (certificates.ca, certificates.key, certificates.cert)
    return grpc.ssl_channel_credentials(
        *(part.read_bytes() if part.is_file() else None for part in parts)
    )


def _value(value: Any) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, (list, tuple)):
        return AnyValue(array_value=ArrayValue(values=[_value(each) for each in value]))
    return AnyValue(string_value=str(value))
