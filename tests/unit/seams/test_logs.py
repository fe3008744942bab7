"""Log lines as span events, and the trace's ids on each record, with real oslo.log."""

from __future__ import annotations

import inspect
import json
import logging
import pickle
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from oslo_context.context import RequestContext
from oslo_log import log as oslo_log
from taskflow import engines, task
from taskflow.listeners.logging import DynamicLoggingListener
from taskflow.patterns import linear_flow

import otel_cinder
from otel_cinder.spans.runtime import end_span, runtime
from otel_cinder.spans.service import SERVICE, Service
from tests.receiver import Receiver
from tests.unit import scripts
from tests.unit.recording import Recorder
from tests.unit.sdk import needs_log_export

CINDER = "cinder.volume.manager"
LOG = oslo_log.getLogger(CINDER)

Instrument = Callable[..., Recorder]


class Fails(task.Task):  # type: ignore[misc]
    """A task that fails."""

    def execute(self) -> None:
        raise ValueError("no")


class Kept(logging.Handler):
    """Keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture(autouse=True)
def written() -> Iterator[list[logging.LogRecord]]:
    """The records that reached the handlers, from DEBUG on."""
    handler, root = Kept(), logging.getLogger()
    level = root.level
    root.setLevel(logging.DEBUG)
    root.addHandler(handler)
    yield handler.records
    root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> list[tuple[LogRecord, Any]]:
    """The records that would leave as OTLP; requested before the fixture that instruments."""
    records: list[tuple[LogRecord, Any]] = []
    monkeypatch.setenv("OTEL_LOGS_EXPORTER", "otlp")
    monkeypatch.setattr(runtime, "emit_log", lambda *args: records.append(args))
    return records


def lines(span: ReadableSpan) -> list[Event]:
    return [event for event in span.events if event.name == "log"]


def messages(span: ReadableSpan) -> list[Any]:
    return [(event.attributes or {})["log.message"] for event in lines(span)]


def ids(record: logging.LogRecord) -> tuple[Any, ...]:
    names = ("otelTraceID", "otelSpanID", "otelTraceSampled", "otelServiceName")
    return tuple(getattr(record, name, None) for name in names)


# Events


def test_line_is_an_event_of_the_current_span(spans: Recorder) -> None:
    """A line says its message, level, logger and short place, at the time when it was written."""
    with spans.tracer.start_as_current_span("request"):
        LOG.info("Volume %s: %d GiB", "v-1", 3)
    span = spans["request"]
    (event,) = lines(span)
    attributes = dict(event.attributes or {})
    assert span.start_time <= event.timestamp + 1000 <= span.end_time + 1000
    assert re.fullmatch(r"test_logs\.py:\d+", str(attributes.pop("log.source")))
    assert attributes == {
        "log.message": "Volume v-1: 3 GiB",
        "log.level": "INFO",
        "log.logger": CINDER,
    }


def test_message_is_among_a_lines_first_words(spans: Recorder) -> None:
    """Viewers sort an event's fields: level, logger and message come before all that explains it."""
    with spans.tracer.start_as_current_span("request"):
        try:
            raise ValueError("bad")
        except ValueError:
            LOG.exception("Failed.", resource={"type": "volume", "id": "v-1"})
    (event,) = lines(spans["request"])
    assert sorted(event.attributes or {}) == [
        "log.level",
        "log.logger",
        "log.message",
        "log.reason",
        "log.resource",
        "log.source",
    ]


def test_keyword_arguments_of_oslo_log(spans: Recorder) -> None:
    """oslo.log's adapters, which take more keywords than logging does, end up here as well."""
    with spans.tracer.start_as_current_span("request"):
        LOG.warning("made", resource={"type": "volume", "id": "v-1"})
    assert messages(spans["request"]) == ["made"]


def test_exception_is_recorded(spans: Recorder) -> None:
    """LOG.exception adds the exception's class and message, without its secrets."""
    with spans.tracer.start_as_current_span("request"):
        try:
            raise ValueError("bad password=hunter2")
        except ValueError:
            LOG.exception("Failed.")
    (event,) = lines(spans["request"])
    assert (event.attributes or {})["log.reason"] == ("ValueError: bad password=***",)


def test_cause_of_an_exception_is_recorded(spans: Recorder) -> None:
    """The causes of a logged exception are recorded too, without their secrets."""
    with spans.tracer.start_as_current_span("request"):
        try:
            try:
                raise OSError("token=hunter2")
            except OSError as error:
                raise ValueError("bad response") from error
        except ValueError:
            LOG.exception("Failed.")
    (event,) = lines(spans["request"])
    said = (event.attributes or {})["log.reason"]
    assert said == ("ValueError: bad response", "OSError: token=***")


def test_line_names_the_handled_exception(spans: Recorder) -> None:
    """A warning from an except clause says what it is about, though Cinder does not; no other does."""
    with spans.tracer.start_as_current_span("request"):
        try:
            raise OSError("no such export")
        except OSError:
            LOG.info("Detaching.")
            LOG.warning("Failed to detach, ignoring.")
        LOG.error("Something else.")
    said = [dict(event.attributes or {}) for event in lines(spans["request"])]
    reasons = [one.get("log.reason") for one in said]
    assert reasons == [None, ("OSError: no such export",), None]


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({}, False),
        ({"log_level": logging.WARNING}, False),
        ({"log_level": logging.DEBUG}, True),
        ({"disabled_seams": frozenset({"flows"})}, True),
    ],
    ids=str,
)
def test_taskflows_lines_about_states_are_left_out(
    instrumented: Callable[..., Recorder], settings: dict[str, Any], kept: bool
) -> None:
    """TaskFlow's own listener, as Cinder uses it, says what the spans say: only DEBUG records it."""
    spans = instrumented(**settings)
    flow = linear_flow.Flow("f").add(Fails("a"))
    engine = engines.load(flow)
    with (
        spans.tracer.start_as_current_span("request"),
        DynamicLoggingListener(engine, log=logging.getLogger(CINDER)),
        pytest.raises(ValueError, match="no"),
    ):
        engine.run()
    said = [message for span in spans for message in messages(span)]
    assert any("transitioned into state" in message for message in said) is kept


@needs_log_export
def test_taskflows_lines_about_states_leave_as_records(
    exported: list[tuple[LogRecord, Any]], spans: Recorder
) -> None:
    """With OTEL_LOGS_EXPORTER all that is logged leaves."""
    engine = engines.load(linear_flow.Flow("f").add(Fails("a")))
    with (
        DynamicLoggingListener(engine, log=logging.getLogger(CINDER)),
        pytest.raises(ValueError, match="no"),
    ):
        engine.run()
    assert any("transitioned into state" in str(record.body) for record, _ in exported)


@pytest.mark.parametrize(
    ("resource", "said"),
    [
        ({"type": "volume", "id": "v-1"}, "volume-v-1"),
        ({"name": "volume-v-1"}, "volume-v-1"),
        ({"name": "password=hunter2"}, "password=***"),
        ({"id": "v-1"}, None),
    ],
)
def test_line_names_its_resource(spans: Recorder, resource: dict[str, str], said: Any) -> None:
    """A line says which resource it is about where Cinder has told oslo.log."""
    with spans.tracer.start_as_current_span("request"):
        LOG.error("Unable to delete busy volume.", resource=resource)
    (event,) = lines(spans["request"])
    assert (event.attributes or {}).get("log.resource") == said


def test_secrets_are_masked_and_lines_bounded(spans: Recorder) -> None:
    """Secrets are masked, and a line has 512 characters at most."""
    with spans.tracer.start_as_current_span("request"):
        LOG.info("connection: %s", {"auth_password": "hunter2", "target": "iqn"})
        LOG.info("x" * 10_000)
    first, second = messages(spans["request"])
    assert "hunter2" not in first
    assert "iqn" in first
    assert len(second) == 512


def test_level_is_honoured(instrumented: Instrument) -> None:
    """Lines below OTEL_CINDER_LOG_LEVEL are no events."""
    spans = instrumented(log_level=logging.WARNING)
    with spans.tracer.start_as_current_span("request"):
        LOG.info("not this")
        LOG.warning("this")
    assert messages(spans["request"]) == ["this"]


def test_debug_is_off_by_default(spans: Recorder) -> None:
    """A debug line is no event unless it is asked for."""
    with spans.tracer.start_as_current_span("request"):
        LOG.debug("not this")
    assert messages(spans["request"]) == []


def test_lines_beyond_64_are_counted(spans: Recorder) -> None:
    """A span takes 64 lines, and then only counts them."""
    with spans.tracer.start_as_current_span("request"):
        for number in range(65):
            LOG.info("line %d", number)
    span = spans["request"]
    assert messages(span) == [f"line {number}" for number in range(64)]
    assert (span.attributes or {})["log.dropped"] == 1


def test_warnings_and_errors_have_room_of_their_own(spans: Recorder) -> None:
    """After 64 lines a span takes 16 warnings or worse, then 16 errors or worse."""
    with spans.tracer.start_as_current_span("request"):
        for number in range(100):
            LOG.info("line %d", number)
        for number in range(20):
            LOG.warning("warning %d", number)
        for number in range(20):
            LOG.error("error %d", number)
        LOG.info("the end")
        LOG.critical("the end")
    span = spans["request"]
    assert messages(span) == [
        *(f"line {number}" for number in range(64)),
        *(f"warning {number}" for number in range(16)),
        *(f"error {number}" for number in range(16)),
    ]
    attributes = span.attributes or {}
    # 36 and 1 at INFO, 4 warnings, 4 errors and a critical one.
    assert (attributes["log.dropped"], attributes["log.dropped.warnings"]) == (46, 9)


def test_error_after_many_lines(spans: Recorder) -> None:
    """The one line that matters is there, however many came before it."""
    with spans.tracer.start_as_current_span("request"):
        for number in range(1000):
            LOG.info("copied %d", number)
        LOG.error("LUN pool 7 has no free extents")
    span = spans["request"]
    assert messages(span)[-1] == "LUN pool 7 has no free extents"
    assert "log.dropped.warnings" not in (span.attributes or {})


def test_all_lines_leave_room_for_other_events(spans: Recorder) -> None:
    """However much is logged, a failure's event pushes no line out, and none pushes it out."""
    with spans.tracer.start_as_current_span("request") as span:
        span.add_event("cinder.scheduler.filter")
        for level in (logging.INFO, logging.WARNING, logging.ERROR):
            for _ in range(100):
                LOG.log(level, "line")
        for _ in range(20):
            span.add_event("exception")
    events = spans["request"].events
    assert len(events) == 96 + 21
    assert events[0].name == "cinder.scheduler.filter"


def test_line_waits_for_another_thread_at_its_span(spans: Recorder) -> None:
    """A span that another thread is just writing to takes the lines once that one is through."""
    with spans.tracer.start_as_current_span("request") as span:
        lock = vars(span)["_lock"]
        lock.acquire()
        timer = threading.Timer(0.001, lock.release)
        timer.start()
        for _ in range(60):
            LOG.error("no free extents")
        timer.join(60)
        LOG.error("afterwards")
    assert messages(spans["request"]) == ["no free extents"] * 60 + ["afterwards"]


def test_finalizer_that_logs_in_the_midst_of_its_spans_work(spans: Recorder) -> None:
    """A line that this thread writes while it holds the span is added later, without blocking."""
    with spans.tracer.start_as_current_span("request") as span:
        with vars(span)["_lock"]:
            LOG.error("from a finalizer")
        LOG.error("afterwards")
    events = lines(spans["request"])
    assert messages(spans["request"]) == ["from a finalizer", "afterwards"]
    assert events[0].timestamp <= events[1].timestamp


def test_late_line_without_a_successor_comes_with_the_end(spans: Recorder) -> None:
    """A span that we end takes late lines, with the time at which they were written."""
    span = runtime.start_span("request", otel_context.get_current())
    token = otel_context.attach(trace.set_span_in_context(span))
    with vars(span)["_lock"]:
        LOG.error("from a finalizer")
    otel_context.detach(token)
    end_span(span)
    (line,) = lines(spans["request"])
    assert messages(spans["request"]) == ["from a finalizer"]
    assert span.start_time <= line.timestamp <= span.end_time  # type: ignore[attr-defined]


def test_late_lines_are_bounded_and_counted(spans: Recorder) -> None:
    """Of lines that wait, a span keeps as many as it takes, and counts the rest."""
    span = runtime.start_span("request", otel_context.get_current())
    token = otel_context.attach(trace.set_span_in_context(span))
    with vars(span)["_lock"]:
        for _ in range(200):
            LOG.error("line")
    otel_context.detach(token)
    end_span(span)
    assert messages(spans["request"]) == ["line"] * 96
    assert (spans["request"].attributes or {})["log.dropped"] == 104


def test_each_span_has_its_own_64(spans: Recorder) -> None:
    """Each span has its own count, and none without dropped lines."""
    for name in ("one", "two"):
        with spans.tracer.start_as_current_span(name):
            for number in range(60):
                LOG.info("line %d", number)
    assert [len(lines(spans[name])) for name in ("one", "two")] == [60, 60]
    assert "log.dropped" not in (spans["one"].attributes or {})


def test_threads_share_a_spans_64(spans: Recorder) -> None:
    """Threads that write into one span at once fill it exactly, and lose no line uncounted."""
    with spans.tracer.start_as_current_span("request"):
        threads = [
            threading.Thread(target=lambda: [LOG.info("line") for _ in range(32)]) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    span = spans["request"]
    assert len(lines(span)) == 64
    assert (span.attributes or {})["log.dropped"] == 64


def test_arguments_that_do_not_fit(
    spans: Recorder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line whose arguments don't fit is recorded as its template, and Cinder gets no error."""
    monkeypatch.setattr(logging, "raiseExceptions", False)
    with spans.tracer.start_as_current_span("request"):
        for template in ("%s and %s", "%d", "%(name)s"):
            LOG.info(template, "argument")
    assert messages(spans["request"]) == ["%s and %s", "%d", "%(name)s"]


def test_stack_of_a_line_that_does_not_fit_ends_at_the_caller(
    spans: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    """logging says who wrote a line that it can't format: the stack goes on into no frame of ours."""
    logger = logging.getLogger("cinder.test_stack")
    logger.propagate = False
    logger.addHandler(logging.StreamHandler())
    with spans.tracer.start_as_current_span("request"):
        logger.error("pid of first child is %(foo)s", 1)
    output = capsys.readouterr().err
    stack = output.partition("Call stack:\n")[2].partition("Message: ")[0].splitlines()
    assert stack[-1].strip() == 'logger.error("pid of first child is %(foo)s", 1)'
    assert f'File "{__file__}"' in stack[-2]
    assert "otel_cinder" not in output


def test_line_names_its_caller(spans: Recorder, written: list[logging.LogRecord]) -> None:
    """A record's file, function and stack are those of its caller."""
    logging.getLogger(CINDER).warning("here", stack_info=True)
    (record,) = written
    assert (record.pathname, record.funcName) == (__file__, "test_line_names_its_caller")
    assert "otel_cinder" not in (record.stack_info or "")


@pytest.mark.parametrize(
    ("owner", "name"),
    [(logging.Logger, "callHandlers"), (RequestContext, "get_logging_values")],
)
def test_patched_methods_are_functions_by_their_names(
    spans: Recorder, owner: Any, name: str
) -> None:
    """They are pickled, inspected and called by keywords as the originals are."""
    attribute = getattr(owner, name)
    assert pickle.loads(pickle.dumps(attribute)) is attribute
    assert inspect.signature(attribute) == inspect.signature(attribute.__wrapped__)
    assert (attribute.__qualname__, attribute.__module__) == (
        f"{owner.__qualname__}.{name}",
        owner.__module__,
    )
    record = logging.makeLogRecord({"name": CINDER, "levelno": logging.INFO})
    arguments = {"self": logging.getLogger(CINDER), "record": record}
    attribute(**arguments if owner is logging.Logger else {"self": RequestContext()})


def test_argument_that_can_not_be_printed(spans: Recorder) -> None:
    """An argument whose __str__ raises leaves the template."""

    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("no")

    logger = logging.getLogger("cinder.quiet")
    logger.propagate = False
    logger.addHandler(logging.NullHandler())
    with spans.tracer.start_as_current_span("request"):
        logger.info("%s", Broken())
    assert messages(spans["request"]) == ["%s"]


def test_line_within_a_line_is_left_out(spans: Recorder, written: list[logging.LogRecord]) -> None:
    """A line that an argument's __str__ logs is no event, but is logged, with its ids."""

    class Chatty:
        def __str__(self) -> str:
            LOG.info("inner")
            return "outer"

    with spans.tracer.start_as_current_span("request"):
        LOG.info("%s", Chatty())
    assert messages(spans["request"]) == ["outer"]
    inner = [record for record in written if record.msg == "inner"]
    assert inner
    assert {record.otelTraceID for record in inner} == {f"{1:032x}"}  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["otel_cinder.export.queues", "opentelemetry.sdk", "otel_cinder"])
def test_our_own_lines_are_left_out(spans: Recorder, name: str) -> None:
    """Lines of otel-cinder and OpenTelemetry are no events of Cinder's spans."""
    with spans.tracer.start_as_current_span("request"):
        logging.getLogger(name).warning("ours")
    assert messages(spans["request"]) == []


def test_loggers_of_like_names_are_not_ours(spans: Recorder) -> None:
    """A logger whose name only begins like ours is somebody else's."""
    with spans.tracer.start_as_current_span("request"):
        logging.getLogger("opentelemetryish").warning("theirs")
    assert messages(spans["request"]) == ["theirs"]


def test_filtered_lines_are_left_out(spans: Recorder, written: list[logging.LogRecord]) -> None:
    """A line that a logger's filter drops is no event."""
    logger = logging.getLogger("cinder.filtered")
    logger.addFilter(lambda record: "drop" not in record.getMessage())
    with spans.tracer.start_as_current_span("request"):
        logger.info("drop this")
        logger.info("keep this")
    assert messages(spans["request"]) == ["keep this"] == [r.msg for r in written]


def test_lone_surrogates_are_replaced(spans: Recorder) -> None:
    """A line that can't be encoded does not take the batch of spans with it."""
    with spans.tracer.start_as_current_span("request"):
        LOG.info("name \ud800")
    assert messages(spans["request"]) == ["name ?"]


@pytest.mark.complains
def test_span_of_another_kind_is_survived(
    spans: Recorder, written: list[logging.LogRecord]
) -> None:
    """A recording span that takes no attribute of ours costs the event, not the line."""

    class Bare(trace.NonRecordingSpan):
        __slots__ = ()

        def is_recording(self) -> bool:
            return True

        def __getattribute__(self, name: str) -> Any:
            if name == "__dict__":
                raise AttributeError(name)
            return super().__getattribute__(name)

    with trace.use_span(Bare(trace.SpanContext(1, 2, is_remote=False))):
        LOG.info("line")
    assert "line" in [record.msg for record in written]


# Ids on records


def test_record_has_the_ids_of_its_span(spans: Recorder, written: list[logging.LogRecord]) -> None:
    """Each record says trace, span and service, under the contrib package's names."""
    service = otel_context.set_value(SERVICE, Service("cinder-volume", "h@lvm"))
    token = otel_context.attach(service)
    try:
        with spans.tracer.start_as_current_span("request") as span:
            LOG.debug("below the level")
        span_context = span.get_span_context()
    finally:
        otel_context.detach(token)
    (record,) = written
    assert ids(record)[:3] == (
        f"{span_context.trace_id:032x}",
        f"{span_context.span_id:016x}",
        True,
    )


def test_record_names_the_service_at_work(
    monkeypatch: pytest.MonkeyPatch, written: list[logging.LogRecord]
) -> None:
    """otelServiceName is the service whose request it is; the process's own outside of any."""
    monkeypatch.setattr("sys.argv", ["/usr/bin/cinder-scheduler"])
    otel_cinder.instrument()
    try:
        LOG.info("outside")
        token = otel_context.attach(
            otel_context.set_value(SERVICE, Service("cinder-volume", "h@lvm"))
        )
        LOG.info("inside")
        otel_context.detach(token)
    finally:
        otel_cinder.uninstrument()
    named = {r.msg: ids(r)[3] for r in written if r.name == CINDER}
    assert named == {"outside": "cinder-scheduler", "inside": "cinder-volume"}


def test_operator_names_the_service(
    monkeypatch: pytest.MonkeyPatch, written: list[logging.LogRecord]
) -> None:
    """OTEL_SERVICE_NAME goes before the detected name, as on spans."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "block-storage")
    otel_cinder.instrument()
    LOG.info("line")
    otel_cinder.uninstrument()
    assert ids(written[-1])[3] == "block-storage"


@pytest.mark.complains
def test_ids_survive_errors(
    spans: Recorder, written: list[logging.LogRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service whose name can't be found out is nameless, and a format string does not fail."""
    monkeypatch.setattr(runtime, "tracer_provider", None)
    monkeypatch.setattr(runtime, "identify", lambda _service: 1 / 0)
    LOG.info("line")
    assert [ids(record) for record in written if record.msg == "line"] == [("0", "0", False, "")]


def test_record_outside_of_spans_has_zeros(
    spans: Recorder, written: list[logging.LogRecord]
) -> None:
    """Outside of a trace the ids are "0", as the contrib package writes them."""
    LOG.info("line")
    (record,) = written
    assert ids(record)[:3] == ("0", "0", False)
    assert not list(spans)


def test_unsampled_span_takes_no_line(
    instrumented: Instrument, written: list[logging.LogRecord]
) -> None:
    """In a trace that is not sampled a line is no event; its record has the ids, and says so."""
    spans = instrumented(sampler=ALWAYS_OFF)
    with spans.tracer.start_as_current_span("request") as span:
        LOG.info("line")
    (record,) = written
    assert ids(record)[0] == f"{span.get_span_context().trace_id:032x}"
    assert ids(record)[2] is False


def test_ids_that_are_there_are_left(spans: Recorder, written: list[logging.LogRecord]) -> None:
    """Ids that the contrib package has set stay."""
    logging.getLogger(CINDER).info("line", extra={"otelTraceID": "theirs"})
    assert ids(written[0]) == ("theirs", None, None, None)


def test_context_gives_the_ids_to_oslo_log(spans: Recorder) -> None:
    """Cinder's request context has the ids among its logging values; that is what JSON shows."""
    context = RequestContext(overwrite=False)
    with spans.tracer.start_as_current_span("request") as span:
        values = context.get_logging_values()
    assert values["otelTraceID"] == f"{span.get_span_context().trace_id:032x}"
    assert values["otelTraceSampled"] is True
    assert context.get_logging_values()["otelSpanID"] == "0"


def test_nothing_is_left_after_uninstrument(
    spans: Recorder, written: list[logging.LogRecord]
) -> None:
    """After uninstrument() a record is as it was, and no line becomes an event."""
    patched = logging.Logger.callHandlers, RequestContext.get_logging_values
    otel_cinder.uninstrument()
    with spans.tracer.start_as_current_span("request"):
        LOG.info("line")
        values = RequestContext(overwrite=False).get_logging_values()
    assert ids(written[0]) == (None, None, None, None)
    assert messages(spans["request"]) == []
    assert "otelTraceID" not in values
    assert logging.Logger.callHandlers is not patched[0]
    assert logging.Logger.callHandlers.__module__ == "logging"
    assert RequestContext.get_logging_values is not patched[1]


# OTLP


@needs_log_export
def test_line_is_exported_instead_of_recorded(
    exported: list[tuple[LogRecord, Any]], spans: Recorder
) -> None:
    """With OTEL_LOGS_EXPORTER a line leaves as a log record with the trace's ids, and no event."""
    with spans.tracer.start_as_current_span("request") as span:
        current = otel_context.get_current()
        LOG.warning("password=%s", "hunter2")
    ((record, context),) = exported
    where = span.get_span_context()
    assert (record.trace_id, record.span_id) == (where.trace_id, where.span_id)
    assert record.trace_flags == where.trace_flags
    assert context == current
    assert record.body == "password=***"
    assert (record.severity_number, record.severity_text) == (SeverityNumber.WARN, "WARNING")
    assert record.observed_timestamp >= record.timestamp > span.start_time - 10_000_000  # type: ignore[attr-defined, operator]
    assert (record.attributes or {})["log.logger"] == CINDER
    assert (record.attributes or {})["code.file.path"] == __file__
    assert messages(spans["request"]) == []


@needs_log_export
def test_line_outside_of_spans_is_exported(
    exported: list[tuple[LogRecord, Any]], spans: Recorder
) -> None:
    """Lines outside of requests are exported too, from the same level on."""
    LOG.debug("not this")
    LOG.info("this")
    logging.getLogger("otel_cinder").warning("nor this")
    assert [(record.body, record.trace_id) for record, _ in exported] == [("this", 0)]


@needs_log_export
def test_exported_exception_has_its_frames(
    exported: list[tuple[LogRecord, Any]], spans: Recorder
) -> None:
    """An exception is exported with its frames, which events leave to the span's own failure."""
    try:
        raise ValueError("bad")
    except ValueError:
        LOG.exception("Failed.")
    ((record, _),) = exported
    attributes = record.attributes or {}
    assert attributes["exception.type"] == "builtins.ValueError"
    assert "test_exported_exception_has_its_frames" in str(attributes["exception.stacktrace"])


@needs_log_export
def test_exported_exception_has_its_cause(
    exported: list[tuple[LogRecord, Any]], spans: Recorder
) -> None:
    """An exported exception's frames begin with those of its cause, as in Cinder's own log."""
    try:
        try:
            raise OSError("no such device")
        except OSError as error:
            raise ValueError("bad response") from error
    except ValueError:
        LOG.exception("Failed.")
    ((record, _),) = exported
    attributes = record.attributes or {}
    assert attributes["cinder.cause"] == ["OSError: no such device"]
    assert "OSError: no such device\n\nThe above exception was the direct cause" in str(
        attributes["exception.stacktrace"]
    )


@needs_log_export
def test_exported_attributes_are_texts_and_whole_numbers(
    exported: list[tuple[LogRecord, Any]], spans: Recorder
) -> None:
    """No number that a caller puts on its record, NaN maybe, is an attribute."""
    with spans.tracer.start_as_current_span("request"):
        LOG.info("weight %f", float("nan"), weight=float("nan"), extra={"load": float("inf")})
    ((record, _),) = exported
    assert record.body == "weight nan"
    assert {type(value) for value in (record.attributes or {}).values()} <= {str, int}


@needs_log_export
@pytest.mark.parametrize(
    ("level", "number"),
    [
        (5, SeverityNumber.TRACE),
        (10, SeverityNumber.DEBUG),
        (21, SeverityNumber.INFO),
        (40, SeverityNumber.ERROR),
        (50, SeverityNumber.FATAL),
    ],
)
def test_severities(
    exported: list[tuple[LogRecord, Any]],
    instrumented: Instrument,
    level: int,
    number: SeverityNumber,
) -> None:
    """oslo.log's levels, TRACE and AUDIT among them, have the numbers of OpenTelemetry."""
    instrumented(log_level=1)
    logging.getLogger().setLevel(1)
    logging.getLogger(CINDER).log(level, "line")
    assert [record.severity_number for record, _ in exported] == [number]


@needs_log_export
@pytest.mark.parametrize("eventlet", [False, True], ids=["threads", "eventlet"])
def test_lines_arrive_over_otlp(tmp_path: Any, eventlet: bool) -> None:
    """With OTEL_LOGS_EXPORTER=otlp the collector gets all lines, those of a trace with its ids."""
    with Receiver() as receiver:
        scripts.run(
            scripts.EVENTLET if eventlet else "",
            configuration(tmp_path),
            scripts.EXPORTED,
            scripts.PATIENT,
            CONFIGURED,
            """
            from opentelemetry import trace
            LOG.info("outside")
            LOG.debug("below the level")
            request = runtime.start_span("request", otel_context.get_current())
            with trace.use_span(request, end_on_exit=True):
                LOG.warning("inside, password=hunter2")
            flush()
            """,
            env={
                "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
                "OTEL_LOGS_EXPORTER": "otlp",
                "OTEL_SERVICE_NAME": "cinder-volume",
                "OTEL_CINDER_LOG_LEVEL": "INFO",
            },
        )
        (span,) = receiver.spans()
        exported_lines = {
            line.body: line
            for line in receiver.logs()
            if line.attributes.get("log.logger") == CINDER
        }
    assert set(exported_lines) == {"outside", "inside, password=***"}
    inside, outside = exported_lines["inside, password=***"], exported_lines["outside"]
    assert (inside.trace_id, inside.span_id) == (span.trace_id, span.span_id)
    assert outside.trace_id.strip("0") == ""
    assert (inside.severity, inside.service) == ("WARNING", "cinder-volume")
    assert not span.events


# oslo.log as Cinder sets it up

CONFIGURED = """
import json, logging, sys
from oslo_config import cfg
from oslo_log import log
conf = cfg.ConfigOpts()
log.register_options(conf)
conf(["--config-file", sys.argv[1] if len(sys.argv) > 1 else PATH], project="cinder")
log.setup(conf, "cinder")
from oslo_context.context import RequestContext
LOG = log.getLogger("cinder.volume.manager")
def lines():
    LOG.info("without a context")
    RequestContext(request_id="req-1", user_id="u", project_id="p")
    LOG.info("with a context")
"""
TRACE = f"{1:032x}"

CONTEXT_FORMAT = (
    "%(asctime)s.%(msecs)03d %(process)d %(levelname)s %(name)s "
    "[%(global_request_id)s %(request_id)s trace=%(otelTraceID)s %(user_identity)s] "
    "%(instance)s%(message)s"
)
DEFAULT_FORMAT = (
    "%(asctime)s.%(msecs)03d %(process)d %(levelname)s %(name)s "
    "[- trace=%(otelTraceID)s] %(instance)s%(message)s"
)
IDENTITY_FORMAT = (
    "%(user)s %(project)s %(domain)s %(system_scope)s %(user_domain)s %(project_domain)s "
    "trace=%(otelTraceID)s"
)


def configuration(path: Any, **options: str) -> str:
    file = path / "cinder.conf"
    file.write_text("[DEFAULT]\n" + "".join(f"{k} = {v}\n" for k, v in options.items()))
    return f"PATH = {str(file)!r}"


IN_SPAN = """
with spans.tracer.start_as_current_span("request"):
    lines()
"""


def test_format_strings_name_the_trace(tmp_path: Any) -> None:
    """Both of oslo.log's format strings can name the trace, with and without a context."""
    path = configuration(
        tmp_path,
        logging_context_format_string=CONTEXT_FORMAT,
        logging_default_format_string=DEFAULT_FORMAT,
    )
    ran = scripts.run(path, scripts.RECORDED, CONFIGURED, IN_SPAN, "LOG.info('after')")
    first, second, third = ran.stdout.splitlines()
    assert f"[- trace={TRACE}] without a context" in first
    assert f"req-1 trace={TRACE} u p - - - -] with a context" in second
    assert "req-1 trace=0 u p - - - -] after" in third


def test_identity_format_names_the_trace(tmp_path: Any) -> None:
    """logging_user_identity_format can name it too, and is what survives without otel-cinder."""
    path = configuration(tmp_path, logging_user_identity_format=IDENTITY_FORMAT)
    ran = scripts.run(path, scripts.RECORDED, CONFIGURED, IN_SPAN)
    assert f"req-1 u p - - - - trace={TRACE}] with a context" in ran.stdout.splitlines()[1]
    ran = scripts.run(path, CONFIGURED, "lines()")
    assert "req-1 u p - - - - trace=-] with a context" in ran.stdout.splitlines()[1]


def test_devstacks_format_string_names_the_trace(tmp_path: Any) -> None:
    """devstack's own format has no identity: with it behind the request's id, the trace is there."""
    identity = {"logging_user_identity_format": "trace=%(otelTraceID)s"}
    # As devstack writes it, and `sed 's/%(request_id)s/%(request_id)s %(user_identity)s/'`.
    line = (
        "%(color)s%(levelname)s %(name)s [%(global_request_id)s %(request_id)s %(user_identity)s "
        "%(project_name)s %(user_name)s%(color)s] %(instance)s%(color)s%(message)s"
    )
    path = configuration(tmp_path, logging_context_format_string=line, **identity)
    ran = scripts.run(path, scripts.RECORDED, CONFIGURED, IN_SPAN)
    assert f"req-1 trace={TRACE} " in ran.stdout
    assert "req-1 trace=- " in scripts.run(path, CONFIGURED, "lines()").stdout


def test_format_string_without_otel_cinder_loses_lines(tmp_path: Any) -> None:
    """The identity format is the one in the docs: without us, the others fail at each line."""
    path = configuration(tmp_path, logging_context_format_string=CONTEXT_FORMAT)
    ran = scripts.run(path, CONFIGURED, "lines()")
    assert "Formatting field not found in record: 'otelTraceID'" in ran.stderr
    assert "] with a context" not in ran.stdout


def test_json_names_the_trace(tmp_path: Any) -> None:
    """oslo.log's JSON has the ids in its context."""
    path = configuration(tmp_path, use_json="true")
    ran = scripts.run(path, scripts.RECORDED, CONFIGURED, IN_SPAN)
    answer = json.loads(ran.stdout.splitlines()[1])
    assert answer["context"]["otelTraceID"] == TRACE


GREEN = """
import json
from eventlet import tpool
def both():
    with spans.tracer.start_as_current_span("request"):
        LOG.info("green")
        tpool.execute(LOG.info, "native")
        threads = [eventlet.spawn(LOG.info, f"spawned {i}") for i in range(3)]
        [t.wait() for t in threads]
        for _ in range(20):
            tpool.execute(LOG.info, "more")
            LOG.info("more")
        for _ in range(30):
            LOG.info("last")
both()
(span,) = spans
print(json.dumps([[e.attributes["log.message"] for e in span.events], span.attributes["log.dropped"]]))
"""


@pytest.mark.parametrize("setup", ["", CONFIGURED], ids=["logging", "oslo.log"])
def test_greenthreads_and_tpool_share_a_span(tmp_path: Any, setup: str) -> None:
    """Under eventlet a tpool thread's lines are on the span too, and nothing hangs."""
    path = configuration(tmp_path)
    log = (
        ""
        if setup
        else "import logging; logging.basicConfig(level=20); LOG = logging.getLogger('x')"
    )
    ran = scripts.run(scripts.EVENTLET, path, scripts.RECORDED, setup, log, GREEN)
    names, dropped = ran.said
    assert names[:5] == ["green", "native", "spawned 0", "spawned 1", "spawned 2"]
    assert (len(names), dropped) == (64, 11)


def test_signal_handler_may_log(spans: Recorder) -> None:
    """A signal handler can log, whatever it interrupts, without blocking."""
    import signal

    before = signal.signal(signal.SIGALRM, lambda *_args: LOG.info("signal"))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        with spans.tracer.start_as_current_span("request"):
            for _ in range(2000):
                LOG.info("line")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(lines(spans["request"])) == 64
    assert runtime.settings.log_level == logging.INFO
