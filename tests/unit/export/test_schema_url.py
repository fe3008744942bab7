"""Which semantic conventions the exported data follows."""

from __future__ import annotations

import re
from typing import Any

import pytest
from opentelemetry._logs import LogRecord
from opentelemetry.context import Context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

import otel_cinder
from otel_cinder import conventions
from otel_cinder.spans.runtime import runtime
from tests.receiver import Receiver
from tests.unit.recording import Recorder
from tests.unit.sdk import EXPORTS_LOGS

WAIT = conventions.RPC_QUEUE_DURATION


def urls(groups: Any, scopes: str) -> set[tuple[str, str]]:
    """The schema URL of each resource, and of each of its scopes."""
    return {
        (group.schema_url, scope.schema_url) for group in groups for scope in getattr(group, scopes)
    }


def test_every_signal_names_its_conventions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans, metrics and log records carry the schema URL on resource and scope."""
    with Receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        monkeypatch.setenv("OTEL_LOGS_EXPORTER", "otlp")
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=lab")
        otel_cinder.instrument()
        runtime.start_span("a", Context()).end()
        runtime.measure(WAIT, 1, {}, Context())
        runtime.emit_log(LogRecord(timestamp=5, body="b"), Context())
        otel_cinder.uninstrument()
        (spans,), logs = receiver.requests, receiver.log_requests
        metrics = receiver.metric_requests[-1]
    both = {(conventions.SCHEMA_URL, conventions.SCHEMA_URL)}
    assert urls(spans.resource_spans, "scope_spans") == both
    # Exporters of an SDK that has none for log records leave it out of a scope.
    scopes = conventions.SCHEMA_URL if EXPORTS_LOGS else ""
    assert urls(metrics.resource_metrics, "scope_metrics") == {(conventions.SCHEMA_URL, scopes)}
    assert len(logs) == EXPORTS_LOGS
    assert all(urls(request.resource_logs, "scope_logs") == both for request in logs)


def test_providers_of_the_host_get_the_scopes_url() -> None:
    """On a provider that is not ours, the scope names the conventions."""
    spans, reader = Recorder(), InMemoryMetricReader()
    meters = MeterProvider([reader], shutdown_on_exit=False)
    otel_cinder.instrument(tracer_provider=spans.provider, meter_provider=meters)
    runtime.start_span("a", Context()).end()
    runtime.measure(WAIT, 1, {}, Context())
    otel_cinder.uninstrument()
    scope = spans["a"].instrumentation_scope
    data: Any = reader.get_metrics_data()
    (metrics,) = data.resource_metrics[0].scope_metrics
    assert scope is not None
    assert scope.schema_url == metrics.scope.schema_url == conventions.SCHEMA_URL


def test_url_is_of_the_documented_version() -> None:
    """The URL names the version of the conventions that the module is written for."""
    (version,) = re.findall(r"semantic conventions \((\d+\.\d+)\)", conventions.__doc__ or "")
    assert conventions.SCHEMA_URL == f"https://opentelemetry.io/schemas/{version}.0"
