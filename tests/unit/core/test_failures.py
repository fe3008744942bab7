"""Exceptions on spans."""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.trace import StatusCode

from otel_cinder.core.failures import record_failure
from tests.unit.recording import Recorder, exception_of


class VolumeNotFound(Exception):
    """As Cinder's."""


def failed(error: BaseException, **kwargs: str) -> Recorder:
    recorded = Recorder()
    with recorded.tracer.start_as_current_span("s") as span:
        record_failure(span, error, **kwargs)
    return recorded


def raised(message: str) -> VolumeNotFound:
    try:
        raise VolumeNotFound(message)
    except VolumeNotFound as error:
        return error


def test_failure_is_status_type_and_one_event() -> None:
    """Status, error.type and exactly one exception event, with module, message and frames."""
    span = failed(raised("volume 1 could not be found"))["s"]
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "VolumeNotFound: volume 1 could not be found"
    assert dict(span.attributes) == {"error.type": "VolumeNotFound"}
    event = exception_of(span)
    assert set(event) == {"exception.type", "exception.message", "exception.stacktrace"}
    assert event["exception.type"] == f"{__name__}.VolumeNotFound"
    assert event["exception.message"] == "volume 1 could not be found"
    assert "in raised" in event["exception.stacktrace"]


def test_secrets_are_masked_everywhere() -> None:
    """A secret in the message is in none of the three places."""
    span = failed(raised("password=hunter2"))["s"]
    assert "password=***" in span.status.description
    assert "hunter2" not in span.to_json()


def test_error_type_and_stacktrace_can_be_given() -> None:
    """A remote exception is told by its own class and frames."""
    span = failed(raised("m"), error_type="Remote", stacktrace="File x\npassword=hunter2")["s"]
    assert span.attributes["error.type"] == "Remote"
    assert span.status.description == "Remote: m"
    assert exception_of(span)["exception.stacktrace"] == "File x\npassword=***"


def test_exception_that_was_never_raised() -> None:
    """Without a traceback the frames are empty."""
    assert exception_of(failed(VolumeNotFound("m"))["s"])["exception.stacktrace"] == ""


def test_exception_that_cannot_be_printed() -> None:
    """An exception whose __str__ raises is recorded all the same."""

    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    assert exception_of(failed(Broken())["s"])["exception.message"] == "<unprintable Broken>"


def test_unrecorded_span_costs_nothing() -> None:
    """A span that does not record is not asked for anything."""
    record_failure(trace.INVALID_SPAN, ValueError("x"))


def test_remote_exceptions_have_the_names_that_they_were_raised_by() -> None:
    """oslo.messaging rebuilds a remote exception in a class, and module, with `_Remote` behind it."""
    from otel_cinder.core.failures import class_of

    kind = type("NotFound_Remote", (Exception,), {"__module__": "cinder.exception_Remote"})
    assert class_of(kind()) == ("cinder.exception", "NotFound")
    assert class_of(ValueError()) == ("builtins", "ValueError")
