"""The local root span, and failures that are not raised."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import Span, Status, StatusCode

from otel_cinder import conventions
from otel_cinder.spans import local_root
from otel_cinder.spans.failures import record_failure
from otel_cinder.spans.local_root import LocalRoot, Reason
from tests.unit.recording import Recorder

EVENT = conventions.RESOURCE_ERROR_EVENT


@contextmanager
def inside(span: Span, *, is_http: bool = False) -> Iterator[LocalRoot]:
    """Work that came in by ``span``, which is current."""
    root = LocalRoot(span, is_http=is_http)
    context = local_root.enter(trace.set_span_in_context(span), root)
    token = otel_context.attach(context)
    try:
        yield root
    finally:
        otel_context.detach(token)
        span.end()


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def status_of(recorder: Recorder, name: str) -> tuple[StatusCode, str | None]:
    status = recorder[name].status
    return status.status_code, status.description


def test_failure_marks_the_span_at_work_and_the_message(recorder: Recorder) -> None:
    """The task and the message's span are errors, with the event on both; spans between are not."""
    with inside(recorder.tracer.start_span("process")):
        with (
            recorder.tracer.start_as_current_span("flow"),
            recorder.tracer.start_as_current_span("task"),
        ):
            local_root.fail(EVENT, {"x": "y"}, LookupError("none"))
    for name in ("task", "process"):
        assert status_of(recorder, name) == (StatusCode.ERROR, "LookupError: none")
        (event,) = recorder[name].events
        assert event.name == EVENT
        assert event.attributes == {"x": "y", "error.type": "LookupError", "cinder.reason": "none"}
        assert recorder[name].attributes == {"error.type": "LookupError"}
    assert recorder["flow"].status.status_code is StatusCode.UNSET


def test_failure_in_the_message_itself_is_recorded_once(recorder: Recorder) -> None:
    """If the message's span is the current one, it has the event once."""
    with inside(recorder.tracer.start_span("process")):
        local_root.fail(EVENT, {}, LookupError("none"))
    assert len(recorder["process"].events) == 1


def test_response_decides_about_the_request(recorder: Recorder) -> None:
    """A request's own span gets the event and no status; a task below it is an error."""
    with inside(recorder.tracer.start_span("POST"), is_http=True):
        local_root.fail(EVENT, {}, LookupError("none"))
        with recorder.tracer.start_as_current_span("task"):
            local_root.fail(EVENT, {}, LookupError("none"))
    assert status_of(recorder, "POST") == (StatusCode.UNSET, None)
    assert [event.name for event in recorder["POST"].events] == [EVENT]
    assert not recorder["POST"].attributes
    assert recorder["task"].status.status_code is StatusCode.ERROR


def test_answer_of_5xx_stays_as_it_is(recorder: Recorder) -> None:
    """A request answered with a 5xx is an error for that reason, and keeps its own description."""
    span = recorder.tracer.start_span("POST")
    with inside(span, is_http=True):
        span.set_status(Status(StatusCode.ERROR, "500"))
        local_root.fail(EVENT, {}, LookupError("none"))
    assert status_of(recorder, "POST") == (StatusCode.ERROR, "500")


def test_first_class_stays(recorder: Recorder) -> None:
    """A failure after the first is a consequence: the status names the first class."""
    with inside(recorder.tracer.start_span("process")):
        local_root.fail(EVENT, {}, LookupError("none"))
        local_root.fail(EVENT, {}, ValueError("later"))
        local_root.fail(EVENT, {}, Reason(local_root.UNKNOWN, "a text"))
    assert status_of(recorder, "process") == (StatusCode.ERROR, "LookupError: none")
    assert recorder["process"].attributes == {"error.type": "LookupError"}
    assert len(recorder["process"].events) == 3


@pytest.mark.parametrize(
    ("reasons", "status"),
    [
        ([None, "a text", LookupError("none")], "LookupError: none"),
        ([None, "a text"], "unknown: a text"),
        (["a text", "another"], "unknown: a text"),
        ([None], "unknown: no reason given"),
    ],
)
def test_better_reason_takes_the_place(recorder: Recorder, reasons: list[Any], status: str) -> None:
    """A class beats a text, and a text beats nothing."""
    with inside(recorder.tracer.start_span("process")):
        for reason in reasons:
            local_root.fail(EVENT, {}, reason)
    assert status_of(recorder, "process") == (StatusCode.ERROR, status)


def test_exception_that_passed_stays(recorder: Recorder) -> None:
    """A span that an exception has passed through keeps it."""
    with inside(recorder.tracer.start_span("process")) as root:
        record_failure(root.span, LookupError("none"))
        local_root.fail(EVENT, {}, ValueError("later"))
    assert status_of(recorder, "process") == (StatusCode.ERROR, "LookupError: none")


def test_error_without_a_word_is_explained(recorder: Recorder) -> None:
    """A status without a description gets one."""
    with inside(recorder.tracer.start_span("process")) as root:
        root.span.set_status(Status(StatusCode.ERROR))
        local_root.fail(EVENT, {}, LookupError("none"))
    assert status_of(recorder, "process") == (StatusCode.ERROR, "LookupError: none")


def test_handled_exception_is_the_reason(recorder: Recorder) -> None:
    """Without a reason, it is the exception that is being handled; a text takes its class."""
    with inside(recorder.tracer.start_span("process")):
        try:
            raise LookupError("none")
        except LookupError:
            assert local_root.why() == ("LookupError", "none")
            assert local_root.why("a text") == ("LookupError", "a text")


def test_last_failure_is_the_reason(recorder: Recorder) -> None:
    """Once it is handled, the last failure inside is still known."""
    with inside(recorder.tracer.start_span("process")) as root:
        root.failure = ("VolumeBackendAPIException", "no space")
        assert local_root.why() == ("VolumeBackendAPIException", "no space")
        assert local_root.why("a text") == ("VolumeBackendAPIException", "a text")
        local_root.fail(EVENT, {}, LookupError("none"))
        assert local_root.why(otherwise="a text") == ("LookupError", "none")


def test_missing_reason_is_recorded_as_missing() -> None:
    """Without a known reason, the default or the caller's own text is recorded."""
    assert local_root.why() == ("unknown", "no reason given")
    assert local_root.why(otherwise="sorry") == ("unknown", "sorry")
    assert local_root.why("a text") == ("unknown", "a text")


def test_remote_exceptions_go_by_their_own_name() -> None:
    """oslo.messaging makes up a class for what another service raised."""
    remote = type("VolumeNotFound_Remote", (Exception,), {})
    assert local_root.why(remote("gone")).error_type == "VolumeNotFound"


def test_secrets_are_masked(recorder: Recorder) -> None:
    """Neither the status nor the event shows a password that is in the reason."""
    with inside(recorder.tracer.start_span("process")) as root:
        local_root.fail(EVENT, {}, ValueError("auth_password=hunter2"))
        local_root.fail(EVENT, {}, "auth_password=hunter2")
        assert "hunter2" not in str(root.failure)
    assert "hunter2" not in recorder["process"].to_json()
    assert "auth_password=***" in recorder["process"].to_json()


def test_unsampled_work_is_left_alone() -> None:
    """Spans that are not recorded get nothing; the reason is still known."""
    recorder = Recorder(ALWAYS_OFF)
    with inside(recorder.tracer.start_span("process")):
        assert local_root.fail(EVENT, {}, LookupError("none")) == ("LookupError", "none")
        local_root.enrich({"x": "y"})
    assert len(recorder) == 0


def test_untraced_work_is_left_alone() -> None:
    """Without any span there is nothing to mark."""
    assert local_root.current() is None
    assert local_root.fail(EVENT, {}, "a text") == ("unknown", "a text")
    local_root.enrich({"x": "y"})


def test_ended_span_is_left_alone(recorder: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    """A failure after the message's end, in a thread it left behind, is not on its span."""
    with inside(recorder.tracer.start_span("process")) as root:
        span, root.span = root.span, recorder.tracer.start_span("ended")
        root.span.end()
        local_root.fail(EVENT, {}, LookupError("none"))
        root.span = span
    assert status_of(recorder, "ended") == (StatusCode.UNSET, None)
    assert caplog.messages == []


def test_enriching_overrides_nothing(recorder: Recorder) -> None:
    """Later attributes are added to the local root, and never replace the request's own."""
    span = recorder.tracer.start_span("process", attributes={"asked": 1})
    token = otel_context.attach(
        local_root.enter(
            trace.set_span_in_context(span), LocalRoot(span, {"asked": 1}, is_http=False)
        )
    )
    with recorder.tracer.start_as_current_span("task"):
        local_root.enrich({"asked": 2, "found": 1})
        local_root.enrich({"found": 2})
    otel_context.detach(token)
    span.end()
    assert recorder["process"].attributes == {"asked": 1, "found": 1}
    assert not recorder["task"].attributes
