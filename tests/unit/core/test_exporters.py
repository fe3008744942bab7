"""Exporters and the queue, from the standard variables."""

from __future__ import annotations

import pytest

from otel_cinder.core import exporters
from tests.unit import scripts


def test_defaults(caplog: pytest.LogCaptureFixture) -> None:
    """Without a variable: OTLP to localhost:4318 and the SDK's own sizes."""
    made = exporters.processor({})
    assert made._endpoint == "http://localhost:4318"
    assert (made._queue_size, made._batch_size, made._delay) == (2048, 512, 5.0)
    assert not exporters.disabled({})
    assert caplog.messages == []


def test_sizes_are_honoured() -> None:
    """The OTEL_BSP_* variables are; a batch is never larger than the queue."""
    made = exporters.processor(
        {
            "OTEL_BSP_MAX_QUEUE_SIZE": "100",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "200",
            "OTEL_BSP_SCHEDULE_DELAY": "250",
        }
    )
    assert (made._queue_size, made._batch_size, made._delay) == (100, 100, 0.25)


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5", "1e3"])
def test_bad_sizes_are_warned_of(value: str, caplog: pytest.LogCaptureFixture) -> None:
    """A size that is no positive whole number: its default, and one warning."""
    made = exporters.processor({"OTEL_BSP_MAX_QUEUE_SIZE": value})
    assert made._queue_size == 2048
    assert caplog.messages == [
        (
            f"OTEL_BSP_MAX_QUEUE_SIZE={value!r} is not a positive whole number, so its default "
            "2048 is used."
        )
    ]


@pytest.mark.parametrize(
    ("environ", "off"),
    [
        ({"OTEL_SDK_DISABLED": "true"}, True),
        ({"OTEL_SDK_DISABLED": "TRUE "}, True),
        ({"OTEL_SDK_DISABLED": "false"}, False),
        ({"OTEL_TRACES_EXPORTER": "none"}, True),
        ({"OTEL_TRACES_EXPORTER": " "}, False),
        ({"OTEL_TRACES_EXPORTER": "console"}, False),
        ({"OTEL_TRACES_EXPORTER": "none,console"}, False),
    ],
)
def test_disabled(environ: dict[str, str], off: bool) -> None:
    """What the SDK's switches mean."""
    assert exporters.disabled(environ) is off


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
    ],
)
def test_endpoint_in_messages(environ: dict[str, str], endpoint: str) -> None:
    """The warnings name the place where the spans really go."""
    assert exporters.processor(environ)._endpoint == endpoint


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
    assert exporters._protocol(environ) == protocol


def test_unknown_protocol_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """A protocol that there is not: http/protobuf, and a warning with what to set."""
    assert exporters._protocol({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}) == "http/protobuf"
    assert caplog.messages == [
        (
            "OTEL_EXPORTER_OTLP_PROTOCOL='http/json' is not supported, so http/protobuf is used; "
            "set it to http/protobuf or grpc."
        )
    ]


def test_grpc_is_refused_under_eventlet() -> None:
    """Where eventlet has patched, grpc is refused with a warning, and never imported."""
    ran = scripts.run(
        scripts.EVENTLET,
        """
        import json, os, sys
        from otel_cinder.core import exporters
        print(json.dumps([exporters._protocol(os.environ), "grpc" in sys.modules]))
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
    ("name", "kind"),
    [
        ("otlp", "OTLPSpanExporter"),
        ("console", "ConsoleSpanExporter"),
        ("otlp_proto_http", "OTLPSpanExporter"),
    ],
)
def test_exporters_by_name(name: str, kind: str) -> None:
    """`otlp` and `console`, and any exporter that is installed as an entry point."""
    made = exporters._exporter(name, "http/protobuf")()
    assert type(made).__name__ == kind
    made.shutdown()


def test_grpc_exporter() -> None:
    """With protocol grpc the exporter is gRPC's."""
    made = exporters._exporter("otlp", "grpc")()
    assert "grpc" in type(made).__module__
    made.shutdown()


def test_unknown_exporter_is_said() -> None:
    """An exporter that is not installed is one warning, and the process lives on."""
    ran = scripts.run(
        scripts.EXPORTED,
        "span('a'); flush(); span('b'); flush(); print('\"alive\"')",
        env={"OTEL_TRACES_EXPORTER": "zipkins"},
    )
    assert ran.said == "alive"
    assert ran.stderr.strip() == (
        "otel-cinder exports less than it was told to because an exporter could not be made "
        "(ValueError: OTEL_TRACES_EXPORTER names 'zipkins', which is not installed); check "
        "OTEL_TRACES_EXPORTER and OTEL_EXPORTER_OTLP_*."
    )
