"""Operations under way: what is kept, what is dropped, when they are over, what is slower than usual."""

from __future__ import annotations

from dataclasses import replace

import pytest

from otel_cinder.reading.operations import Operations, Usual
from otel_cinder.reading.records import LogLine
from otel_cinder.reading.trace import LinkRecord, SpanRecord
from tests.unit.reading.recorded import recorded

SECOND = 1_000_000_000


class Clock:
    """A clock that is set by hand, in s."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def span(trace: int, number: int = 1, parent: int | None = None, **more: object) -> SpanRecord:
    """A span of a trace."""
    return SpanRecord(
        trace_id=f"{trace:032x}",
        span_id=f"{trace:08x}{number:08x}",
        parent_id=None if parent is None else f"{trace:08x}{parent:08x}",
        **{"name": "work", "service": "cinder-api", **more},  # type: ignore[arg-type]
    )


def test_the_oldest_that_are_over_go_first() -> None:
    """Beyond the bound the oldest ones go, and are counted; what still runs stays."""
    operations = Operations(most_spans=100, clock=Clock())
    operations.add_spans([span(1, 2, parent=1)], 10)  # its parent has not come: it runs
    for number in range(2, 302):
        operations.add_spans([span(number)], 10)
        assert len(operations) <= 100
    left = [operation.trace_id for operation in operations]
    assert left[0] == f"{1:032x}"
    assert left[-1] == f"{301:032x}"
    assert operations.operations_dropped == operations.dropped == 301 - len(left)
    assert operations.spans_seen == 301


def test_what_still_runs_goes_when_there_is_nothing_else() -> None:
    """Bounds hold also where nothing ever ends."""
    operations = Operations(most_spans=50, clock=Clock())
    for number in range(500):
        operations.add_spans([span(number, 2, parent=1)], 10)
    assert len(operations) <= 50
    assert operations.dropped >= 450


def test_bytes_are_bounded_too() -> None:
    """Few large spans count as much as many small ones."""
    operations = Operations(most_bytes=10_000, clock=Clock())
    for number in range(50):
        operations.add_spans([span(number)], 1_000)
    assert len(operations) <= 10


def test_one_operation_cannot_take_everything() -> None:
    """The oldest spans of an endless trace go, and its log lines."""
    operations = Operations(clock=Clock())
    operations.add_spans([span(1, number, parent=1) for number in range(2, 6002)], 1)
    line = LogLine("text", trace_id=f"{1:032x}", span_id="1")
    operations.add_logs([line] * 5000, 1)
    [operation] = operations
    assert operation.size == 8000
    assert operations.dropped == 3000


def test_log_lines_join_their_spans_and_others_are_not_kept() -> None:
    """A line may come before its span; one without a trace belongs to no operation."""
    operations = Operations(clock=Clock())
    lines = [LogLine("mine", trace_id=f"{1:032x}", span_id=span(1).span_id), LogLine("nobody's")]
    operations.add_logs(lines, 2)
    assert list(operations) == []
    operations.add_spans([span(1)], 1)
    [operation] = operations
    [event] = operation.trace().spans[0].events
    assert event.attributes["log.message"] == "mine"
    assert operation.loose_logs() == []


@pytest.mark.parametrize("name", ["create", "reschedule", "attach_fails", "quota_exceeded"])
def test_a_request_of_real_cinder_is_over_with_its_last_span_and_not_before(name: str) -> None:
    """However its spans come, an operation runs until all that was sent has been taken up and has ended."""
    spans = sorted(recorded(name).spans, key=lambda each: each.end_ns)
    clock = Clock()
    operations = Operations(clock=clock)
    for number, each in enumerate(spans, 1):
        operations.add_spans([each], 1)
        [operation] = operations
        assert operation.is_over(clock.now) is (number == len(spans)), each.name


def test_nobody_waits_forever_for_a_parent() -> None:
    """A parent that is lost keeps an operation open for a minute after its last span."""
    clock = Clock()
    operations = Operations(clock=clock)
    operations.add_spans([span(1, 2, parent=1)], 1)
    [operation] = operations
    assert not operation.is_over(clock.now + 59)
    assert operation.is_over(clock.now + 61)


def test_a_message_that_no_service_takes_up_keeps_it_open() -> None:
    """A cast waits as long as it waits; the handling that is linked to it ends that."""
    clock = Clock()
    operations = Operations(clock=clock)
    cast = span(1, 2, parent=1, kind="producer", name="cast cinder-volume/x")
    operations.add_spans([span(1), cast], 2)
    [operation] = operations
    assert not operation.is_over(clock.now + 1e6)
    links = (LinkRecord(cast.trace_id, cast.span_id),)
    operations.add_spans([span(1, 3, parent=1, kind="consumer", links=links)], 1)
    assert operation.is_over(clock.now)


def test_fan_outs_and_notifications_wait_for_nobody() -> None:
    """What is sent to whoever listens is not missed."""
    operations = Operations(clock=Clock())
    event = {"oslo_messaging.notification.event_type": "volume.create.start"}
    sent = [
        span(1, 2, parent=1, kind="producer", attributes={"cinder.rpc.fanout": True}),
        span(1, 3, parent=1, kind="producer", attributes=event),
    ]
    operations.add_spans([span(1), *sent], 3)
    [operation] = operations
    assert operation.is_over(1000.0)


def test_a_request_below_somebody_elses_span_is_a_whole_one() -> None:
    """Nova's span is in another place: the request that it made is not waiting for it."""
    operations = Operations(clock=Clock())
    operations.add_spans([span(1, 2, parent=1, kind="server")], 1)
    [operation] = operations
    assert operation.is_over(1000.0)


def test_slower_is_more_than_twice_the_median_of_the_last_ones() -> None:
    """Three are needed to say so; small differences are not worth a word."""
    usual = Usual()
    second = SECOND
    assert [usual.add("task", second) for _ in range(3)] == [None] * 3
    assert usual.add("task", 2 * second) is None
    assert usual.add("task", 3 * second) == second
    assert usual.slower("other", 100 * second) is None
    for _ in range(40):
        usual.add("task", 10 * second)
    assert usual.slower("task", 15 * second) is None
    for _ in range(3):
        usual.add("quick", 1_000)
    assert usual.slower("quick", 1_000_000) is None


def test_failures_are_not_taken_for_usual() -> None:
    """A stage that fails at once does not make the next one slow."""
    operations = Operations(clock=Clock())
    failed = {"status": "error", "start_ns": 0, "end_ns": 1_000}
    operations.add_spans([span(number, **failed) for number in range(1, 6)], 1)
    [late] = operations.add_spans([span(9, end_ns=10 * SECOND)], 1)
    assert late.slower == {}


def test_a_still_running_span_that_comes_again_is_one_operation() -> None:
    """What is open is over when its own span has come."""
    clock = Clock()
    operations = Operations(clock=clock)
    own = span(1, 5)
    shows = span(
        1,
        6,
        name="still running work",
        attributes={"cinder.still_running": True},
        links=(LinkRecord(own.trace_id, own.span_id),),
    )
    [operation] = operations.add_spans([shows], 1)
    assert not operation.is_over(clock.now + 1e6)
    operations.add_spans([replace(own, end_ns=1)], 1)
    assert operation.is_over(clock.now)
