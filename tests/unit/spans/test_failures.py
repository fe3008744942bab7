"""Exceptions on spans."""

from __future__ import annotations

import builtins
import sys
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import StatusCode
from oslo_messaging._drivers import common as oslo_messaging
from taskflow.types.failure import Failure

from otel_cinder import redaction
from otel_cinder.spans import failures
from otel_cinder.spans.failures import message_of, record_failure, record_lost
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
    """A remote exception has its own class and frames."""
    span = failed(raised("m"), error_type="Remote", stacktrace="File x\npassword=hunter2")["s"]
    assert span.attributes["error.type"] == "Remote"
    assert span.status.description == "Remote: m"
    assert exception_of(span)["exception.stacktrace"] == "File x\npassword=***"


def test_exception_that_was_never_raised() -> None:
    """Without a traceback the frames are empty."""
    assert exception_of(failed(VolumeNotFound("m"))["s"])["exception.stacktrace"] == ""


def test_exception_that_cannot_be_printed() -> None:
    """An exception whose __str__ raises is still recorded."""

    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    assert exception_of(failed(Broken())["s"])["exception.message"] == "<unprintable Broken>"


def test_unrecorded_span_costs_nothing() -> None:
    """A span that does not record is not asked for anything."""
    record_failure(trace.INVALID_SPAN, ValueError("x"))


def test_remote_exceptions_have_the_names_that_they_were_raised_by() -> None:
    """oslo.messaging rebuilds a remote exception in a class, and module, with `_Remote` behind it."""
    from otel_cinder.spans.failures import class_of

    kind = type("NotFound_Remote", (Exception,), {"__module__": "cinder.exception_Remote"})
    assert class_of(kind()) == ("cinder.exception", "NotFound")
    assert class_of(ValueError()) == ("builtins", "ValueError")


# What it came of

FROM = "The above exception was the direct cause of the following exception:"
MEANWHILE = "During handling of the above exception, another exception occurred:"


def open_lock(path: str = "/var/lib/array/lun-7/lock") -> None:
    """Fail as the operating system does."""
    open(path)


def create_lun(secret: str = "") -> None:
    """Fail as a driver does that says where it comes from."""
    try:
        open_lock()
    except OSError as error:
        raise VolumeNotFound(f"create failed{secret}") from error


def create_volume() -> None:
    """Fail as most drivers do: in an except clause, with another exception."""
    try:
        create_lun()
    except VolumeNotFound:
        raise ValueError("bad response")


def caught(function: Any, *args: Any) -> BaseException:
    try:
        function(*args)
    except BaseException as error:
        return error
    raise AssertionError("it has not failed")


def told(error: BaseException, **kwargs: str) -> tuple[list[str], str]:
    """The causes, and the stack trace."""
    event = exception_of(failed(error, **kwargs)["s"])
    return list(event.get("cinder.cause", ())), event["exception.stacktrace"]


def in_order(text: str, *parts: str) -> bool:
    for part in parts:
        _, separator, text = text.partition(part)
        if not separator:
            return False
    return True


def test_cause_is_recorded() -> None:
    """The cause of an exception is in the event, and in the stack trace before it."""
    causes, stacktrace = told(caught(create_lun))
    assert causes == [
        "FileNotFoundError: [Errno 2] No such file or directory: '/var/lib/array/lun-7/lock'"
    ]
    assert in_order(
        stacktrace,
        "Traceback (most recent call last):",
        "in open_lock",
        "FileNotFoundError: [Errno 2] No such file",
        FROM,
        "Traceback (most recent call last):",
        "in create_lun",
    )
    assert "VolumeNotFound: create failed" not in stacktrace


def test_whole_chain_is_recorded() -> None:
    """The nearest is first in the list, and last in the stack trace, where Python has it."""
    causes, stacktrace = told(caught(create_volume))
    assert [cause.partition(":")[0] for cause in causes] == ["VolumeNotFound", "FileNotFoundError"]
    assert in_order(stacktrace, "FileNotFoundError:", FROM, "VolumeNotFound: create failed")
    assert in_order(stacktrace, FROM, MEANWHILE, "in create_volume")


def test_exception_without_a_cause_records_none() -> None:
    """Frames alone, and no list, where nothing was beneath."""
    causes, stacktrace = told(raised("m"))
    assert causes == []
    assert "Traceback" not in stacktrace


def test_suppressed_cause_is_not_recorded() -> None:
    """`from None` is honoured."""

    def deny() -> None:
        try:
            open_lock()
        except OSError:
            raise ValueError("bad response") from None

    assert told(caught(deny))[0] == []


def test_circle_ends() -> None:
    """A chain that comes back to itself is recorded once around."""
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    causes, stacktrace = told(first)
    assert causes == ["ValueError: second"]
    assert stacktrace.count(FROM) == 1


def test_long_chain_is_bounded() -> None:
    """Of a thousand causes those at both ends are recorded, within the stack trace's limit."""

    def fall(depth: int) -> None:
        try:
            if depth:
                fall(depth - 1)
            else:
                open_lock()
        except Exception as error:
            raise ValueError(f"{depth} {'x' * 300}") from error

    error = ValueError("0")
    for number in range(1, 1000):
        above = ValueError(f"{number} {'x' * 300}")
        above.__cause__, error = error, above
    causes, stacktrace = told(error)
    assert len(causes) == 8
    assert causes[0].startswith("ValueError: 998 ")
    assert causes[4] == "… 56 more"
    assert all(len(cause) <= 256 for cause in causes)
    assert len(stacktrace) <= redaction.STACKTRACE_LIMIT
    causes, stacktrace = told(caught(fall, 6))
    assert causes[-1].startswith("FileNotFoundError")
    assert "FileNotFoundError" in stacktrace
    assert len(stacktrace) <= redaction.STACKTRACE_LIMIT
    assert "in fall" in stacktrace.rpartition(FROM)[2], "its own frames have room as well"


def test_secrets_of_causes_are_masked() -> None:
    """A secret in a cause's message, or its note, is nowhere."""

    def fail() -> None:
        try:
            create_lun(", password=hunter2")
        except VolumeNotFound as error:
            raise ValueError("bad response") from error

    error = caught(fail)
    error.__cause__.__notes__ = ["token=hunter2", 3]  # type: ignore[union-attr]
    span = failed(error)["s"]
    assert "hunter2" not in span.to_json()
    assert exception_of(span)["cinder.cause"][0] == (
        "VolumeNotFound: create failed, password=***\ntoken=***\n3"
    )


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python has groups since 3.11")
def test_exception_group_has_its_members() -> None:
    """Each exception of a group is recorded, with its causes."""
    kind = vars(builtins)["ExceptionGroup"]
    group = kind("two tasks", [caught(create_lun), KeyError("volume")])
    causes, stacktrace = told(caught(lambda: (_ for _ in ()).throw(group)))
    assert [cause.partition(":")[0] for cause in causes] == [
        "VolumeNotFound",
        "KeyError",
        "FileNotFoundError",
    ]
    assert stacktrace.count("is one of the following group") == 2


def test_exception_that_makes_trouble() -> None:
    """A cause that can't be printed is named; attributes that raise cost the causes alone."""

    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    class Worse(Exception):
        @property
        def exceptions(self) -> Any:
            raise RuntimeError("no")

        @property
        def traceback(self) -> Any:
            raise RuntimeError("no")

    error = ValueError("m")
    error.__cause__ = Broken()
    (event,) = told(error)[0]
    assert event.endswith("Broken: <unprintable Broken>")
    worse = Worse("m")
    worse.__cause__ = error
    assert told(worse) == ([], "")


def back(error: BaseException, allowed: list[str]) -> BaseException:
    """An exception as it comes back by RPC over a broker, by oslo.messaging's own functions."""
    sent = oslo_messaging.serialize_remote_exception((type(error), error, error.__traceback__))
    found: BaseException = oslo_messaging.deserialize_remote_exception(sent, allowed)
    return found


@pytest.mark.parametrize("allowed", [[__name__], []], ids=["rebuilt", "RemoteError"])
def test_remote_exception(allowed: list[str]) -> None:
    """Another service's exception has its message alone, and its causes and frames beside it."""
    remote = back(caught(create_lun), allowed)
    assert message_of(remote) == (
        "create failed" if allowed else "Remote error: VolumeNotFound create failed"
    )
    causes, stacktrace = told(remote)
    assert causes == [
        "FileNotFoundError: [Errno 2] No such file or directory: '/var/lib/array/lun-7/lock'"
    ]
    assert in_order(stacktrace, "in open_lock", FROM, "in create_lun", "in another process")


def test_remote_exception_of_pythons_own() -> None:
    """A built-in class can't be rebuilt; its message is still separated from the traceback."""
    remote = back(caught(create_volume), ["builtins"])
    assert message_of(remote) == "bad response"
    causes, _ = told(remote)
    assert [cause.partition(":")[0] for cause in causes] == ["VolumeNotFound", "FileNotFoundError"]


def test_secrets_in_a_remote_traceback() -> None:
    """A traceback from elsewhere has messages in it, and is masked."""
    remote = back(caught(create_lun, ", password=hunter2"), [__name__])
    span = failed(remote)["s"]
    assert "hunter2" not in span.to_json()
    assert "password=***" in exception_of(span)["exception.stacktrace"]


def test_failure_that_lost_its_traceback() -> None:
    """The frames that TaskFlow has kept replace the exception's own."""
    failure = Failure.from_exception(caught(create_lun))
    failure.exception.__traceback__ = None
    causes, stacktrace = told(failure.exception, stacktrace=failure.traceback_str)
    assert len(causes) == 1
    assert in_order(stacktrace, FROM, "in create_lun")


def test_texts_are_all_that_is_left() -> None:
    """An exception that is known by texts only is recorded like any other."""
    recorded = Recorder()
    with recorded.tracer.start_as_current_span("s") as span:
        said = record_lost(
            span, "a.b.Gone", "password=hunter2", "frames", ["builtins.OSError: password=hunter2"]
        )
    assert said == ("Gone", "password=***")
    assert exception_of(recorded["s"]) == {
        "exception.type": "a.b.Gone",
        "exception.message": "password=***",
        "exception.stacktrace": "frames",
        "cinder.cause": ("OSError: password=***",),
    }
    assert recorded["s"].status.description == "Gone: password=***"
    assert dict(recorded["s"].attributes) == {"error.type": "Gone"}


def test_python_writes_the_same_between() -> None:
    """The words between two exceptions are those of Python's tracebacks."""
    import traceback

    text = "".join(traceback.format_exception(caught(create_volume)))
    assert failures._RAISED_FROM in text
    assert failures._RAISED_MEANWHILE in text
    assert failures._HEADER in text
