"""Log records on their way to a real OTLP receiver."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.trace import SpanContext, TraceFlags

import otel_cinder
from otel_cinder.spans.runtime import runtime
from otel_cinder.spans.service import SERVICE, Service
from tests.receiver import Receiver
from tests.unit import scripts
from tests.unit.sdk import needs_log_export

pytestmark = needs_log_export

EMITTED = """
from opentelemetry._logs import LogRecord
def log(body):
    runtime.emit_log(LogRecord(body=body, timestamp=1))
"""
"""After scripts.EXPORTED: ``log(body)``."""


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A collector, to which this process exports log records, too."""
    with Receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        monkeypatch.setenv("OTEL_LOGS_EXPORTER", "otlp")
        yield receiver


def to(receiver: Receiver, **more: str) -> dict[str, str]:
    """The environment of a process that exports there."""
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
        "OTEL_LOGS_EXPORTER": "otlp",
        **more,
    }


def record(body: str, context: Context | None = None) -> LogRecord:
    return LogRecord(
        timestamp=5,
        context=context,
        severity_text="WARNING",
        severity_number=SeverityNumber.WARN,
        body=body,
        attributes={"log.logger": "cinder.volume.manager"},
    )


def test_records_arrive_whole(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Body, severity, attributes, ids, time, the service's resource and our scope."""
    monkeypatch.setattr("socket.gethostname", lambda: "h")
    otel_cinder.instrument()
    assert runtime.logs_exported
    span = trace.NonRecordingSpan(SpanContext(0xABC, 0xD, False, TraceFlags(1)))
    context = trace.set_span_in_context(span, Context({SERVICE: Service("cinder-volume", "h@l")}))
    runtime.emit_log(record("no space left", context), context)
    otel_cinder.uninstrument()
    (line,) = receiver.logs()
    assert (line.body, line.severity, line.time_ns) == ("no space left", "WARNING", 5)
    assert line.attributes == {"log.logger": "cinder.volume.manager"}
    assert (line.trace_id, line.span_id) == (f"{0xABC:032x}", f"{0xD:016x}")
    assert (line.service, line.resource["service.instance.id"]) == ("cinder-volume", "h@l")
    assert line.scope == "otel_cinder"


def test_records_without_a_trace_arrive(receiver: Receiver) -> None:
    """Outside of every span a record has no ids."""
    otel_cinder.instrument()
    runtime.emit_log(record("started", Context()), Context())
    otel_cinder.uninstrument()
    (line,) = receiver.logs()
    assert (line.body, line.trace_id, line.span_id) == ("started", "", "")


def test_logs_are_off_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without OTEL_LOGS_EXPORTER nothing is queued, and no thread started."""
    with Receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        otel_cinder.instrument()
        assert not runtime.logs_exported
        runtime.emit_log(record("a"), Context())
        assert runtime._process is None
        otel_cinder.uninstrument()
        assert receiver.attempts == 0


def test_nothing_leaves_once_stopped(receiver: Receiver) -> None:
    """After uninstrument() nothing is asked for, nor taken."""
    otel_cinder.instrument()
    otel_cinder.uninstrument()
    assert not runtime.logs_exported
    runtime.emit_log(record("a"), Context())
    assert runtime._process is None


def test_record_that_cannot_be_encoded_costs_no_other(receiver: Receiver) -> None:
    """Of three records, the one with a lone surrogate is lost."""
    otel_cinder.instrument()
    for body in ("a", "\ud800", "b"):
        runtime.emit_log(record(body), Context())
    otel_cinder.uninstrument()
    assert [line.body for line in receiver.logs()] == ["a", "b"]


@pytest.mark.parametrize("eventlet", [False, True], ids=["threads", "eventlet"])
@pytest.mark.parametrize("how", ["pass", "import os; os._exit(0)"])
def test_every_way_out_exports(receiver: Receiver, how: str, eventlet: bool) -> None:
    """The end of the script and os._exit export logged lines, also in a forked child."""
    ran = scripts.run(
        scripts.EVENTLET if eventlet else "",
        scripts.EXPORTED,
        EMITTED,
        """
        import os
        log("parent")
        child = os.fork()
        if not child:
            log("child")
            os._exit(0)
        os.waitpid(child, 0)
        """,
        how,
        env=to(receiver),
    )
    assert sorted(line.body for line in receiver.logs()) == ["child", "parent"], ran.stderr
    assert ran.stderr == ""


def test_eventlet_loses_none(receiver: Receiver) -> None:
    """Under eventlet, greenthreads and tpool's threads log 2000 lines: all arrive."""
    scripts.run(
        scripts.EVENTLET,
        scripts.EXPORTED,
        EMITTED,
        """
        from eventlet import tpool
        def many():
            for i in range(50):
                log("a")
        for _ in range(20):
            eventlet.spawn(many)
            tpool.execute(many)
            eventlet.sleep(0.01)
        """,
        env=to(receiver, OTEL_BLRP_SCHEDULE_DELAY="100"),
    )
    assert len(receiver.logs()) == 2000


def test_console_prints_records() -> None:
    """OTEL_LOGS_EXPORTER=console writes them to stdout."""
    ran = scripts.run(
        scripts.EXPORTED,
        EMITTED,
        "log('seen on the console'); flush()",
        env={"OTEL_LOGS_EXPORTER": "console", "OTEL_METRICS_EXPORTER": "none"},
    )
    assert '"body": "seen on the console"' in ran.stdout
