"""Exporters and the queue, from the standard variables."""

from __future__ import annotations

import pytest

from otel_cinder.export import exporters
from otel_cinder.export.signals import LOGS, METRICS, SPANS, Signal
from tests.unit import scripts
from tests.unit.sdk import needs_log_export


def test_defaults(caplog: pytest.LogCaptureFixture) -> None:
    """Without a variable: OTLP to localhost:4318 and the SDK's own sizes."""
    queue = exporters.spans({})
    assert queue.endpoint == "http://localhost:4318"
    assert (queue.queue_size, queue._batch_size, queue._delay) == (2048, 512, 5.0)
    assert not exporters.disabled(SPANS, {})
    assert caplog.messages == []


def test_sizes_are_honoured() -> None:
    """The OTEL_BSP_* variables are; a batch is never larger than the queue."""
    queue = exporters.spans(
        {
            "OTEL_BSP_MAX_QUEUE_SIZE": "100",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "200",
            "OTEL_BSP_SCHEDULE_DELAY": "250",
        }
    )
    assert (queue.queue_size, queue._batch_size, queue._delay) == (100, 100, 0.25)


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5", "1e3"])
def test_bad_sizes_are_warned_of(value: str, caplog: pytest.LogCaptureFixture) -> None:
    """A size that is no positive whole number: its default, and one warning."""
    queue = exporters.spans({"OTEL_BSP_MAX_QUEUE_SIZE": value})
    assert queue.queue_size == 2048
    assert caplog.messages == [
        (
            f"Set OTEL_BSP_MAX_QUEUE_SIZE to a positive whole number: {value!r} is none, so the "
            "default 2048 is used."
        )
    ]


@pytest.mark.parametrize(
    ("environ", "off"),
    [
        ({"OTEL_SDK_DISABLED": "true"}, True),
        ({"OTEL_SDK_DISABLED": "TRUE "}, True),
        ({"OTEL_SDK_DISABLED": "false"}, False),
        ({"OTEL_%s_EXPORTER": "none"}, True),
        ({"OTEL_%s_EXPORTER": " "}, False),
        ({"OTEL_%s_EXPORTER": "console"}, False),
        ({"OTEL_%s_EXPORTER": "none,console"}, False),
    ],
)
@pytest.mark.parametrize("signal", [SPANS, METRICS], ids=lambda signal: signal.noun)
def test_disabled(signal: Signal, environ: dict[str, str], off: bool) -> None:
    """The SDK's switches apply to spans and metrics."""
    environ = {name.replace("%s", signal.word): value for name, value in environ.items()}
    assert exporters.disabled(signal, environ) is off


@pytest.mark.parametrize(
    ("environ", "off"),
    [
        ({}, True),
        ({"OTEL_LOGS_EXPORTER": "none"}, True),
        pytest.param({"OTEL_LOGS_EXPORTER": "otlp"}, False, marks=needs_log_export),
        ({"OTEL_LOGS_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "true"}, True),
    ],
)
def test_logs_are_off_unless_asked_for(environ: dict[str, str], off: bool) -> None:
    """Log records are exported only if OTEL_LOGS_EXPORTER names an exporter."""
    assert exporters.disabled(LOGS, environ) is off
    assert exporters.logs_are_wanted(environ) is not off


def test_logs_need_a_recent_sdk(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With an SDK that is too old for log records: one sentence, and none are exported."""
    monkeypatch.setattr(exporters, "sdk_version", "1.38.0")
    assert not exporters.logs_are_wanted({})
    assert caplog.messages == []
    assert not exporters.logs_are_wanted({"OTEL_LOGS_EXPORTER": "otlp"})
    assert caplog.messages == [
        (
            "Install opentelemetry-sdk 1.39 or newer to export log records: OTEL_LOGS_EXPORTER is "
            "ignored because 1.38.0 is too old for it."
        )
    ]


@needs_log_export
def test_logs_of_the_host_are_its_own() -> None:
    """Ours exports no logs if the host has set a logger provider, which exports them."""
    ran = scripts.run(
        """
        import json, os
        from opentelemetry import _logs
        from opentelemetry.sdk._logs import LoggerProvider
        from otel_cinder.export import exporters
        before = exporters.logs_are_wanted(os.environ)
        _logs.set_logger_provider(LoggerProvider(shutdown_on_exit=False))
        print(json.dumps([before, exporters.logs_are_wanted(os.environ)]))
        """,
        env={"OTEL_LOGS_EXPORTER": "otlp"},
    )
    assert ran.said == [True, False]


@pytest.mark.parametrize(
    ("environ", "endpoint"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:1"}, "http://a:1"),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:1",
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://b:2/v1/traces",
            },
            "http://b:2/v1/traces",
        ),
        ({"OTEL_TRACES_EXPORTER": "console"}, "console"),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://b:2"}, "http://localhost:4318"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "http://localhost:4317"),
    ],
)
def test_endpoint_in_messages(environ: dict[str, str], endpoint: str) -> None:
    """The warnings name the place where the spans really go."""
    assert exporters.spans(environ).endpoint == endpoint


@pytest.mark.parametrize(
    ("environ", "protocol"),
    [
        ({}, "http/protobuf"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "grpc"),
        (
            {
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
            },
            "http/protobuf",
        ),
    ],
)
def test_protocol(environ: dict[str, str], protocol: str) -> None:
    """The traces' own variable comes first; http/protobuf is the default."""
    assert exporters.protocol(SPANS, environ) == protocol


def test_unknown_protocol_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """A protocol that there is not: http/protobuf, and one warning, for all signals."""
    exporters._warn_once.cache_clear()
    for signal in (SPANS, METRICS, LOGS):
        protocol = exporters.protocol(signal, {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"})
        assert protocol == "http/protobuf"
    assert caplog.messages == [
        (
            "OTEL_EXPORTER_OTLP_PROTOCOL='http/json' is not supported, so http/protobuf is used; "
            "set it to http/protobuf or grpc."
        )
    ]


def test_grpc_is_refused_under_eventlet() -> None:
    """Under eventlet grpc is refused with one warning, and never imported."""
    ran = scripts.run(
        scripts.EVENTLET,
        """
        import json, os, sys
        from otel_cinder.export import exporters
        from otel_cinder.export.signals import LOGS, METRICS, SPANS
        protocols = {exporters.protocol(signal, os.environ) for signal in (SPANS, METRICS, LOGS)}
        print(json.dumps([*protocols, "grpc" in sys.modules]))
        """,
        env={"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
    )
    assert ran.said == ["http/protobuf", False]
    assert ran.stderr.strip() == (
        "OTEL_EXPORTER_OTLP_PROTOCOL=grpc is refused because gRPC hangs under eventlet, so "
        "http/protobuf is used; set it to http/protobuf and the endpoint to the collector's HTTP "
        "port (4318)."
    )


@pytest.mark.parametrize(
    ("signal", "name", "kind"),
    [
        (SPANS, "otlp", "OtlpHttpExporter"),
        (SPANS, "console", "ConsoleSpanExporter"),
        (SPANS, "otlp_proto_http", "OtlpHttpExporter"),
        (METRICS, "otlp", "OtlpHttpExporter"),
        (METRICS, "console", "ConsoleMetricExporter"),
        (LOGS, "otlp", "OtlpHttpExporter"),
        pytest.param(LOGS, "console", "ConsoleLogRecordExporter", marks=needs_log_export),
    ],
)
def test_exporters_by_name(signal: Signal, name: str, kind: str) -> None:
    """`otlp` and `console`, and any exporter that is installed as an entry point."""
    exporter = exporters.factory(signal, name, "http/protobuf")()
    assert type(exporter).__name__ == kind
    exporter.shutdown()


@pytest.mark.parametrize("signal", [SPANS, METRICS, LOGS], ids=lambda signal: signal.noun)
def test_grpc_exporter(signal: Signal) -> None:
    """With protocol grpc the exporter is gRPC's."""
    exporter = exporters.factory(signal, "otlp", "grpc")()
    assert "grpc" in type(exporter).__module__
    exporter.shutdown()


@pytest.mark.parametrize("name", ["", "TRACES_"])
def test_provided_credentials_go_by_the_sdks_exporter(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a package provides a session with credentials, the SDK's exporter is used with it."""
    monkeypatch.setenv(f"OTEL_PYTHON_EXPORTER_OTLP_HTTP_{name}CREDENTIAL_PROVIDER", "ours")
    make = exporters.factory(SPANS, "otlp", "http/protobuf")
    assert make.__name__ == "OTLPSpanExporter"


def test_reader_is_no_exporter(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader among the entry points, as prometheus', is refused: it would never be read."""

    class Reader:
        def load(self) -> type:
            return type("PrometheusMetricReader", (), {})

    monkeypatch.setattr(exporters, "entry_points", lambda **_: [Reader()])
    with pytest.raises(ValueError, match="OTEL_METRICS_EXPORTER names 'prometheus', which sends"):
        exporters.factory(METRICS, "prometheus", "http/protobuf")


def test_metrics_interval() -> None:
    """OTEL_METRIC_EXPORT_INTERVAL is honoured, in ms; a minute is the default."""

    def made(environ: dict[str, str]) -> float:
        return exporters.metrics(environ, lambda _: None, lambda: None, lambda _: None)._interval

    assert made({}) == 60
    assert made({"OTEL_METRIC_EXPORT_INTERVAL": "1500"}) == 1.5


def test_log_queue_sizes() -> None:
    """The OTEL_BLRP_* variables are honoured."""
    environ = {
        "OTEL_BLRP_MAX_QUEUE_SIZE": "100",
        "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE": "10",
        "OTEL_BLRP_SCHEDULE_DELAY": "250",
    }
    queue = exporters.logs(environ, lambda _: None)
    assert (queue.queue_size, queue._batch_size, queue._delay) == (100, 10, 0.25)


def test_unknown_exporter_is_reported() -> None:
    """An exporter that is not installed is one warning, and the process lives on."""
    ran = scripts.run(
        scripts.EXPORTED,
        "span('a'); flush(); span('b'); flush(); print('\"alive\"')",
        env={"OTEL_TRACES_EXPORTER": "zipkins", "OTEL_METRICS_EXPORTER": "none"},
    )
    assert ran.said == "alive"
    assert ran.stderr.strip() == (
        "Check OTEL_TRACES_EXPORTER and OTEL_EXPORTER_OTLP_*. otel-cinder could not create an "
        "exporter, so its spans are not exported; Cinder is not affected. "
        "(ValueError: OTEL_TRACES_EXPORTER names 'zipkins', which is "
        "not installed)"
    )


# Messages


@pytest.mark.parametrize(
    ("environ", "where"),
    [
        ({}, "to http://localhost:4318 (http/protobuf)"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "to http://localhost:4317 (grpc)"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://user:S3cretW0rd@c.example/otlp?key=S3cret"},
            "to https://***@c.example/otlp (http/protobuf)",
        ),
        ({"OTEL_TRACES_EXPORTER": "console"}, "to console"),
        ({"OTEL_TRACES_EXPORTER": "none"}, "nowhere (OTEL_TRACES_EXPORTER=none)"),
    ],
)
def test_destination(environ: dict[str, str], where: str) -> None:
    """The destination of spans names the protocol, and no credentials."""
    assert exporters.destination(exporters.SPANS, environ) == where


@pytest.mark.parametrize(
    ("environ", "warning"),
    [
        (
            {"OTEL_SDK_DISABLED": "1"},
            "Set OTEL_SDK_DISABLED=true to switch the export off: '1' counts as false.",
        ),
        (
            {"OTEL_CONFIG_FILE": "/etc/otel.yaml"},
            (
                "Set OTEL_EXPORTER_OTLP_ENDPOINT and its like for otel-cinder: it does not read the "
                "file that OTEL_CONFIG_FILE names."
            ),
        ),
    ],
)
def test_variable_without_its_effect(
    environ: dict[str, str], warning: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A switch that OpenTelemetry takes for off, and a file that is not read, cause warnings."""
    exporters.check(environ)
    assert caplog.messages == [warning]


@pytest.mark.parametrize("value", ["", "true", "TRUE", "false", "0", "no", "off"])
def test_switch_with_its_effect(value: str, caplog: pytest.LogCaptureFixture) -> None:
    """No warning if OTEL_SDK_DISABLED has its usual meaning."""
    exporters.check({"OTEL_SDK_DISABLED": value, "OTEL_CONFIG_FILE": ""})
    assert caplog.messages == []
