"""The stages of an operation while it is under way, from spans of real Cinder as they come."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from otel_cinder.reading.operations import Operation, Operations
from otel_cinder.reading.records import LogLine
from otel_cinder.reading.steps import (
    CREATE,
    NOT_RUN,
    ON_ITS_WAY,
    PENDING,
    RUNNING,
    Step,
    steps_of,
    title_of,
)
from otel_cinder.reading.trace import LinkRecord, SpanRecord
from otel_cinder.reading.words import words
from tests.unit.reading.recorded import recorded

TASKS = [task for part in CREATE for task in part.tasks]
SAID = words("en")


def so_far(name: str, upto: str | None = None, instance: str = "") -> tuple[Operations, Operation]:
    """A recorded trace up to the end of the span ``upto``, in the order in which spans end."""
    operations = Operations()
    for span in sorted(recorded(name).spans, key=lambda each: each.end_ns):
        operations.add_spans([span], 1)
        if span.name == upto:
            break
    [operation] = operations
    return operations, operation


def rows(name: str, upto: str | None = None) -> list[Step]:
    """The rows of such a trace."""
    operations, operation = so_far(name, upto)
    return steps_of(operation, SAID, operations.usual)


def states(steps: list[Step]) -> dict[str, str]:
    """State by name, of the last row of each name."""
    return {step.name: step.state for step in steps}


def is_wait(step: Step) -> bool:
    """Return whether a row is the wait of a message."""
    return step.name == SAID.say("wait_name")


def test_the_plan_is_that_of_real_cinder() -> None:
    """A recorded create has these flows and tasks, in this order, and no others."""
    spans = recorded("create").spans
    assert [s.name for s in spans if "taskflow.task.name" in s.attributes] == TASKS
    flows = [s.name for s in spans if "taskflow.flow.name" in s.attributes]
    assert flows == [part.flow for part in CREATE]
    assert len(TASKS) == 13


@pytest.mark.parametrize("done", range(1, 14))
def test_thirteen_tasks_and_two_waits_at_any_moment(done: int) -> None:
    """What is done, what runs, what is still to come: always all of it, in order."""
    steps = rows("create", upto=TASKS[done - 1])
    tasks = [step for step in steps if step.name in TASKS]
    assert [step.name for step in tasks] == TASKS
    assert [step.state for step in tasks[:done]] == ["SUCCESS"] * done
    last_of_part = TASKS[done - 1] in [part.tasks[-1] for part in CREATE]
    rest = [step.state for step in tasks[done:]]
    expected = [PENDING] * len(rest)
    if rest and not last_of_part:
        expected[0] = RUNNING
    assert rest == expected
    assert len([step for step in steps if is_wait(step)]) == 2


def test_a_message_that_was_sent_waits_until_there_is_a_sign_of_its_service() -> None:
    """Between two services the wait runs, and says of whom nothing was heard."""
    steps = rows("create", upto="VolumeCastTask")
    first, second = [step for step in steps if is_wait(step)]
    assert (first.state, second.state) == (RUNNING, PENDING)
    assert first.notes == ("no sign of cinder-scheduler yet",)
    assert first.duration_ns is not None


def test_what_runs_has_its_duration() -> None:
    """It runs since the task before it ended."""
    operations, operation = so_far("create", "QuotaReserveTask")
    end = max(span.end_ns for span in operation.trace().spans)
    [running] = [
        s for s in steps_of(operation, SAID, operations.usual) if s.name == "EntryCreateTask"
    ]
    assert running.duration_ns is not None
    assert abs(running.duration_ns - (time.time_ns() - end)) < 60e9


def still_running(operation: Operation, seconds: float) -> SpanRecord:
    """What cinder-volume tells of a create whose driver is at work."""
    cast = next(s for s in operation.trace().spans if s.name == "cast cinder-volume/create_volume")
    names = [
        "process cinder-volume/create_volume",
        "volume_create_manager",
        "CreateVolumeFromSpecTask",
        "RBDDriver.create_volume",
    ]
    return SpanRecord(
        trace_id=cast.trace_id,
        span_id="ab" * 8,
        parent_id=cast.span_id,
        name="still running RBDDriver.create_volume",
        service="cinder-volume",
        start_ns=cast.end_ns,
        end_ns=cast.end_ns + round(seconds * 1e9),
        attributes={
            "cinder.still_running": True,
            "cinder.still_running.spans": names,
            "cinder.still_running.seconds": [seconds + 2, seconds + 1.5, seconds + 1, seconds],
            "code.stacktrace": "/opt/cinder/volume/drivers/rbd.py:99 in create_volume",
        },
        links=(LinkRecord(cast.trace_id, "cd" * 8),),
    )


def test_a_still_running_span_tells_what_runs_and_its_innermost_call() -> None:
    """The task runs for as long as it says, with the driver's call and its line below; what comes is pending."""
    operations, operation = so_far("create", "process cinder-scheduler/create_volume")
    operations.add_spans([still_running(operation, 40)], 1)
    steps = steps_of(operation, SAID, operations.usual)
    found = states(steps)
    assert found["process cinder-volume/create_volume"] == RUNNING
    assert found["CreateVolumeFromSpecTask"] == RUNNING
    assert found["CreateVolumeOnFinishTask"] == PENDING
    assert found["ExtractVolumeRefTask"] == ON_ITS_WAY
    names = [step.name for step in steps]
    inner = steps[names.index("CreateVolumeFromSpecTask") + 1]
    assert (inner.name, inner.state) == ("RBDDriver.create_volume", RUNNING)
    assert "at rbd.py:99 in create_volume" in inner.notes
    task = steps[names.index("CreateVolumeFromSpecTask")]
    assert inner.duration_ns is not None
    assert task.duration_ns is not None
    assert 40e9 <= inner.duration_ns < task.duration_ns


def test_what_runs_longer_than_usual_is_said() -> None:
    """The median of the creates before is told while it still runs, and after it ended."""
    operations, operation = so_far("create", "process cinder-scheduler/create_volume")
    for name in ("CreateVolumeFromSpecTask", "RBDDriver.create_volume"):
        for _ in range(3):
            operations.usual.add(name, 50_000_000)
    operations.add_spans([still_running(operation, 40)], 1)
    found = {s.name: s.usual_ns for s in steps_of(operation, SAID, operations.usual)}
    assert found["CreateVolumeFromSpecTask"] == found["RBDDriver.create_volume"] == 50_000_000
    assert found["QuotaReserveTask"] is None


def test_a_reschedule_is_told_attempt_after_attempt() -> None:
    """The failed attempt with its undoing, then the scheduler and the volume service again."""
    steps = rows("reschedule")
    heads = [step.name for step in steps if step.level == 0 and not is_wait(step)]
    scheduler, volume = (
        f"process {s}/create_volume" for s in ("cinder-scheduler", "cinder-volume")
    )
    assert heads[1:] == [scheduler, volume, scheduler, volume]
    made = [s.state for s in steps if s.name == "CreateVolumeFromSpecTask"]
    assert made == ["FAILURE", "SUCCESS"]
    failed = next(s for s in steps if s.state == "FAILURE")
    notes = [note for step in steps for note in step.notes]
    assert "gave attempt 1 up and asked the scheduler again" in notes
    assert "told the user: Driver failed to create the volume." in failed.notes
    # The error is told once, where it happened.
    errors = [s.name for s in steps if "disk is gone" in s.error]
    assert "SparseFileDriver.create_volume" in errors
    assert volume not in errors


def test_after_a_reschedule_the_next_attempt_is_still_to_come() -> None:
    """As soon as the scheduler was asked again, both services' parts are pending once more."""
    operations, operation = so_far("reschedule", "revert OnFailureRescheduleTask")
    steps = steps_of(operation, SAID, operations.usual)
    assert [s.state for s in steps if s.name == "ScheduleCreateVolumeTask"] == ["SUCCESS", PENDING]
    assert [s.state for s in steps if is_wait(s)][-2:] == [RUNNING, PENDING]


def test_after_a_failure_nothing_is_pending() -> None:
    """What is not reached is not run, and of a service that is not reached its name is enough."""
    steps = rows("quota_exceeded")
    assert PENDING not in states(steps).values()
    assert states(steps)["EntryCreateTask"] == NOT_RUN
    assert states(steps)["process cinder-volume/create_volume"] == NOT_RUN
    assert "ExtractVolumeRefTask" not in states(steps)
    [failed] = [step for step in steps if step.state == "FAILURE"]
    assert failed.error.startswith("VolumeLimitExceeded")


def test_clocks_that_disagree_do_not_mix_the_services() -> None:
    """The scheduler's host is a second behind: its part still comes after the API's."""

    def behind(span: SpanRecord) -> SpanRecord:
        late = 1_000_000_000 if span.service == "cinder-scheduler" else 0
        return replace(span, start_ns=span.start_ns - late, end_ns=span.end_ns - late)

    operations = Operations()
    operations.add_spans([behind(span) for span in recorded("create").spans], 1)
    [operation] = operations
    steps = steps_of(operation, SAID, operations.usual)
    assert [step.name for step in steps if step.name in TASKS] == TASKS


def test_other_operations_grow_as_they_come() -> None:
    """An attachment that fails: each span as it ended, the failure where it happened."""
    operations, operation = so_far("attach_fails")
    steps = steps_of(operation, SAID, operations.usual)
    assert title_of(operation.story(SAID)) == "Create an attachment"
    assert all(step.state not in (PENDING, NOT_RUN) for step in steps)
    [failed] = [step for step in steps if step.error and "Driver" in step.name]
    assert failed.name == "SparseFileDriver.initialize_connection"


def test_log_lines_of_what_still_runs_are_seen() -> None:
    """A line of a span that has not come stands at what runs."""
    operations, operation = so_far("create", "QuotaReserveTask")
    line = LogLine("the quota is fine", "INFO", trace_id=operation.trace_id, span_id="ee" * 8)
    operations.add_logs([line], 1)
    steps = steps_of(operation, SAID, operations.usual)
    [running] = [step for step in steps if step.name == "EntryCreateTask"]
    assert [log.message for log in running.logs] == ["the quota is fine"]


def test_what_goes_on_is_not_called_an_orphan() -> None:
    """That a parent has not come yet is no error while the operation runs."""
    steps = rows("create", upto="ExtractVolumeRefTask")
    assert [step.error for step in steps if step.error] == []


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_planned_stage_has_words(language: str) -> None:
    """In each language what is to come is told as what has been."""
    told = words(language)
    operations, operation = so_far("create", "ExtractVolumeRequestTask")
    pending = steps_of(operation, told, operations.usual)
    whole, done = so_far("create")
    ended = {
        step.name: step.words for step in steps_of(done, told, whole.usual) if step.name in TASKS
    }
    assert {step.name: step.words for step in pending if step.name in TASKS} == ended


def test_spans_may_come_in_any_order() -> None:
    """Services export at different times: the end is the same, and no order breaks it."""
    orders: list[Callable[[SpanRecord], object]] = [
        lambda span: -span.end_ns,
        lambda span: span.service,
        lambda span: span.span_id,
    ]
    wanted = [(step.name, step.state) for step in rows("reschedule")]
    for order in orders:
        operations = Operations()
        for span in sorted(recorded("reschedule").spans, key=order):  # type: ignore[arg-type]
            operations.add_spans([span], 1)
            [operation] = operations
            steps = steps_of(operation, SAID, operations.usual)
        assert [(step.name, step.state) for step in steps] == wanted


ODD = [
    None,
    True,
    -1,
    2**63,
    float("nan"),
    float("inf"),
    "",
    "x\x1b[2J",
    ["a", 1, None],
    [],
    {"a": 1},
]


@pytest.mark.parametrize(
    "key",
    [
        "cinder.still_running",
        "cinder.still_running.spans",
        "cinder.still_running.seconds",
        "cinder.rpc.queue.duration",
        "rpc.method",
        "http.response.status_code",
        "taskflow.task.state",
    ],
)
def test_foreign_values_break_nothing(key: str) -> None:
    """Whatever stands in the attributes that decide, there are rows."""
    for value in ODD:
        operations, operation = so_far("create", "process cinder-scheduler/create_volume")
        operations.add_spans([still_running(operation, 1)], 1)
        odd = [replace(s, attributes={**s.attributes, key: value}) for s in operation.trace().spans]
        operations.add_spans(odd, 1)
        assert steps_of(operation, SAID, operations.usual)
