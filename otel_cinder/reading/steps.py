"""The stages of an operation while it is under way: the story's stages, and what is still to come.

The thirteen tasks of a volume's create are known beforehand, with the two waits of its messages between
them. Other operations grow as their stages come.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from otel_cinder.reading.operations import Operation, Usual, of_wait, unanswered
from otel_cinder.reading.story import (
    GOOD,
    PLAIN,
    WAIT,
    LogNote,
    Stage,
    Story,
    error_of,
    logs_as_notes,
)
from otel_cinder.reading.trace import STILL_RUNNING, SpanRecord, Trace
from otel_cinder.reading.words import Words

PENDING, RUNNING, ON_ITS_WAY, NOT_RUN = "PENDING", "RUNNING", "ON ITS WAY", "NOT RUN"
"""States beside those that a span has: an outcome that has not arrived, and one that never will."""


@dataclass(frozen=True)
class Part:
    """What one service does of a create."""

    service: str
    flow: str
    tasks: tuple[str, ...]


CREATE: Final = (
    Part(
        "cinder-api",
        "volume_create_api",
        (
            "ExtractVolumeRequestTask",
            "QuotaReserveTask",
            "EntryCreateTask",
            "QuotaCommitTask",
            "VolumeCastTask",
        ),
    ),
    Part(
        "cinder-scheduler",
        "volume_create_scheduler",
        ("ExtractSchedulerSpecTask", "ScheduleCreateVolumeTask"),
    ),
    Part(
        "cinder-volume",
        "volume_create_manager",
        (
            "ExtractVolumeRefTask",
            "OnFailureRescheduleTask",
            "ExtractVolumeSpecTask",
            "NotifyVolumeActionTask",
            "CreateVolumeFromSpecTask",
            "CreateVolumeOnFinishTask",
        ),
    ),
)
"""The parts of a create, in order (cinder/volume/flows, cinder/scheduler/flows)."""

_REQUEST: Final = "POST /v3/{project_id}/volumes"
_METHOD: Final = "create_volume"
_PART_OF_FLOW = {part.flow: index for index, part in enumerate(CREATE)}
_PART_OF_TASK = {task: index for index, part in enumerate(CREATE) for task in part.tasks}
# In flows of other operations there are tasks of the same names.
_TELLING = frozenset(
    "ExtractVolumeRequestTask VolumeCastTask ScheduleCreateVolumeTask ExtractSchedulerSpecTask "
    "OnFailureRescheduleTask CreateVolumeFromSpecTask".split()
)
_LONGEST_S: Final = 1e9
"""What says to be older is no age."""

_LEVELS = {"request": 0, "wait": 0, "message": 0, "flow": 1, "task": 1, "step": 2}


@dataclass(frozen=True)
class Step:
    """A row: a stage that has been, is, or is still to come. Times are in ns."""

    words: str
    name: str
    level: int
    state: str
    tone: str = PLAIN
    service: str = ""
    duration_ns: int | None = None
    stage: Stage | None = None
    error: str = ""
    notes: tuple[str, ...] = ()
    """What is to be said in any case."""
    more: tuple[str, ...] = ()
    """Filters that let every backend pass."""
    logs: tuple[LogNote, ...] = ()
    usual_ns: int | None = None
    """If it takes longer than usual: how long it usually takes."""


@dataclass
class _Visit:
    """One service's part of one attempt."""

    part: int
    stages: list[Stage] = field(default_factory=list)

    def task(self, name: str) -> Stage | None:
        """The stage of a task in this visit."""
        tasks = (s for s in self.stages if s.kind == "task" and s.span.shows is None)
        return next((s for s in tasks if s.name == name), None)

    @property
    def last_task(self) -> int:
        """The place of the last planned task that was seen, or -1."""
        tasks = CREATE[self.part].tasks
        return max((i for i, name in enumerate(tasks) if self.task(name)), default=-1)

    @property
    def head(self) -> Stage | None:
        """The stage of the request, or of the message's handling."""
        kinds = ("request",) if self.part == 0 else ("message",)
        return next(
            (s for s in self.stages if s.kind in kinds and s.span.kind in ("server", "consumer")),
            None,
        )

    @property
    def is_rescheduled(self) -> bool:
        """Return whether it gave its attempt up and asked the scheduler again."""
        events = (event.name for stage in self.stages for event in stage.span.events)
        return self.part == 2 and (
            "cinder.reschedule" in events or any(s.span.kind == "producer" for s in self.stages)
        )

    @property
    def has_failed(self) -> bool:
        """Return whether one of its tasks failed or was reverted, or the whole did."""
        return any(
            stage.state in ("FAILURE", "REVERTED", "REVERT_FAILURE") or stage.span.status == "error"
            for stage in self.stages
            if stage.kind in ("flow", "task", "message", "request")
        )


def is_create(trace: Trace) -> bool:
    """Return whether an operation is the create of a volume, as far as is known."""
    for span in trace.spans:
        method, _, route = span.name.partition(" ")
        if method == "POST" and route.endswith("}/volumes"):
            return True
        names = {span.name, *_open_names(span)}
        if not names.isdisjoint(_PART_OF_FLOW) or not names.isdisjoint(_TELLING):
            return True
        if str(span.attributes.get("rpc.method", "")).endswith(f"/{_METHOD}"):
            return True
    return False


def title_of(story: Story) -> str:
    """What an operation is: by its request, or as long as that goes on, by what is known of it."""
    if is_create(story.trace):
        return story.words.requests["POST volumes"]
    return story.title


def steps_of(
    operation: Operation, words: Words, usual: Usual, now: float | None = None
) -> list[Step]:
    """The rows of an operation as it is now, by the monotonic clock."""
    moment = time.monotonic() if now is None else now
    return list(_Steps(operation, words, usual, moment).rows())


class _Steps:
    def __init__(self, operation: Operation, words: Words, usual: Usual, now: float) -> None:
        self._operation = operation
        self._story = operation.story(words)
        self._trace = self._story.trace
        self._words = words
        self._usual = usual
        self._now = now
        self._is_over = operation.is_over(now)
        self._open = self._open_work()
        # What is in what, and what comes after, is seen in the rows of a create.
        self._left_out = ("log", "around") if is_create(self._trace) else ("log",)

    def rows(self) -> Iterator[Step]:
        """All of them, with the log lines of what has not come at the last one."""
        stages = sorted(self._story.stages, key=lambda stage: stage.offset_ns)
        rows = list(self._create(stages) if is_create(self._trace) else self._other(stages))
        loose = () if self._is_over else logs_as_notes(self._operation.loose_logs())
        running = [i for i, row in enumerate(rows) if row.state == RUNNING]
        at = running[-1] if running else len(rows) - 1
        for index, row in enumerate(rows):
            yield replace(row, logs=(*row.logs, *loose)) if index == at and loose else row

    def _open_work(self) -> dict[str, int]:
        """By the name of what is open: for how long, in ns, as still-running spans have it."""
        found: dict[str, int] = {}
        for span in self._trace.spans:
            ages = span.attributes.get(f"{STILL_RUNNING}.seconds")
            names = list(_open_names(span))
            if not names or not isinstance(ages, (list, tuple)):
                continue
            since = self._since(span)
            for name, age in zip(names, ages, strict=False):
                if isinstance(age, (int, float)) and 0 <= age < _LONGEST_S:
                    found[name] = round(age * 1e9) + since
        return found

    def _since(self, span: SpanRecord) -> int:
        """How long ago a still-running span came, in ns."""
        return round((self._now - self._operation.arrived.get(span.span_id, self._now)) * 1e9)

    def _other(self, stages: list[Stage]) -> Iterator[Step]:
        yield from (self._step(stage) for stage in stages if self._is_shown(stage))
        for cast in () if self._is_over else unanswered(self._trace):
            yield self._waiting(cast, self._age(cast.end_ns))

    def _create(self, stages: list[Stage]) -> Iterator[Step]:
        visits = _visits(stages)
        for index, visit in enumerate(visits):
            is_last = index == len(visits) - 1
            yield from self._visited(visit, is_last=is_last)
        yield from self._to_come(visits)

    def _visited(self, visit: _Visit, *, is_last: bool) -> Iterator[Step]:
        """A service's part: its stages in their places, and those of its tasks that have not come."""
        part = CREATE[visit.part]
        head = visit.head
        stages = [s for s in visit.stages if s is not head and self._is_shown(s)]
        waits = [s for s in stages if s.kind == "wait" and head and s.span is head.span]
        yield from (self._step(stage) for stage in waits)
        if visit.part and not waits:
            yield self._planned_wait(visit.part, None, "", WAIT)  # how long is known at its end
        yield self._step(head) if head else self._planned_head(visit.part, RUNNING)
        stages = [s for s in stages if s not in waits]
        places = {id(task): i for i, name in enumerate(part.tasks) if (task := visit.task(name))}
        next_task = 0
        for stage in stages:
            place = places.get(id(stage))
            if place is not None:
                for missing in part.tasks[next_task:place]:
                    yield from self._missing(missing, visit)
                next_task = place + 1
            elif stage.span.shows is not None:
                for name in part.tasks[next_task:]:
                    if name in self._open:
                        for missing in part.tasks[next_task : part.tasks.index(name)]:
                            yield from self._missing(missing, visit)
                        if name != stage.name:
                            yield self._planned_task(name, RUNNING, self._open[name])
                        next_task = part.tasks.index(name) + 1
            yield self._step(stage)
        yield from self._rest(visit, part.tasks[next_task:], is_last=is_last)

    def _rest(self, visit: _Visit, tasks: tuple[str, ...], *, is_last: bool) -> Iterator[Step]:
        """The tasks of a part that come after the last one seen."""
        if visit.has_failed or (visit.head and visit.head.span.shows is None):
            for name in tasks:
                yield from self._missing(name, visit)
            return
        if not is_last:
            for name in tasks:
                yield from self._missing(name, visit)
            return
        for index, name in enumerate(tasks):
            is_first = index == 0 and not any(
                other in self._open for other in CREATE[visit.part].tasks
            )
            if name in self._open:
                yield self._planned_task(name, RUNNING, self._open[name])
            elif is_first and not self._is_over:
                ends = [s.span.end_ns for s in visit.stages if s.kind == "task"]
                yield self._planned_task(name, RUNNING, self._age(max(ends)) if ends else None)
            elif self._is_over:
                yield from self._missing(name, visit)
            else:
                yield self._planned_task(name, PENDING)

    def _missing(self, name: str, visit: _Visit) -> Iterator[Step]:
        """A task whose span has not come, though a later one's has, or the end of all."""
        if visit.has_failed and CREATE[visit.part].tasks.index(name) > visit.last_task:
            yield self._planned_task(name, NOT_RUN)
        elif not self._is_over:
            yield self._planned_task(name, ON_ITS_WAY)

    def _to_come(self, visits: list[_Visit]) -> Iterator[Step]:
        """The parts that nothing has come of."""
        last = visits[-1] if visits else None
        part = last.part + 1 if last else 0
        state = PENDING
        if last and last.has_failed:
            if not last.is_rescheduled:
                if last.part < len(CREATE) - 1 and (self._is_over or last.head):
                    state = NOT_RUN
            else:
                part = 1
        elif self._is_over:
            return
        for index in range(part, len(CREATE)):
            if index and state == PENDING:
                known = sum(visit.part == index for visit in visits)
                yield self._planned_wait(index, self._cast(CREATE[index].service, known), state)
            yield self._planned_head(index, state)
            # Of a part that is never reached, its name is enough.
            if state == PENDING:
                yield from (self._planned_task(name, state) for name in CREATE[index].tasks)

    def _cast(self, service: str, number: int) -> SpanRecord | None:
        """The message that has service take its part for the ``number``-th time, from 0, if it was sent."""
        casts = [s for s in self._trace.spans if s.kind == "producer" and _topic(s) == service]
        return casts[number] if number < len(casts) else None

    def _planned_wait(
        self, part: int, cast: SpanRecord | None, state: str, tone: str = PLAIN
    ) -> Step:
        if cast is not None and not self._is_over:
            return self._waiting(cast, self._age(cast.end_ns))
        return Step(
            words=self._words.say("waits"),
            name=self._words.say("wait_name"),
            level=0,
            state=state,
            tone=tone,
            service=CREATE[part - 1].service,
        )

    def _waiting(self, cast: SpanRecord, age: int) -> Step:
        say = self._words.say
        rabbit = cast.attributes.get("messaging.system") == "rabbitmq"
        sign = say("live_no_sign", service=_topic(cast) or "?")
        return Step(
            words=say("waits_rabbitmq" if rabbit else "waits"),
            name=say("wait_name"),
            level=0,
            state=RUNNING,
            service=cast.service,
            duration_ns=age,
            notes=(sign,),
            usual_ns=self._usual.slower(of_wait(f"process {_message(cast)}"), age),
        )

    def _planned_head(self, part: int, state: str) -> Step:
        service = CREATE[part].service
        if part == 0:
            words, name = self._words.say("request"), _REQUEST
        else:
            what = self._words.methods[_METHOD]
            words = self._words.say("process", topic=service, what=what)
            name = f"process {service}/{_METHOD}"
        age = self._open.get(name) if state == RUNNING else None
        return Step(words, name, 0, state, service=service, duration_ns=age)

    def _planned_task(self, name: str, state: str, age: int | None = None) -> Step:
        return Step(
            words=self._words.tasks[name],
            name=name,
            level=1,
            state=state,
            service=CREATE[_PART_OF_TASK[name]].service,
            duration_ns=age,
            usual_ns=self._usual.slower(name, age) if age else None,
        )

    def _step(self, stage: Stage) -> Step:
        """A stage of the story as a row."""
        span, level = stage.span, _LEVELS.get(stage.kind, 2)
        if stage.name in _PART_OF_TASK:
            level = 1
        if stage.kind == "message" and span.kind in ("producer", "client"):
            level = 2
        key = of_wait(span.span_id) if stage.kind == "wait" else span.span_id
        usual = self._operation.slower.get(key)
        state, duration, tone = stage.state, stage.duration_ns, stage.tone
        if span.shows is not None and stage.kind != "wait":
            state, tone = RUNNING, PLAIN
            duration += self._since(span)
            usual = self._usual.slower(stage.name, duration)
        elif stage.kind == "message" and tone == WAIT:
            state, tone = "", GOOD
        elif stage.kind == "message" and span.status != "error":
            tone = GOOD  # another attempt, which is no failure of its own
        error = stage.error if self._is_over else error_of(span)
        error = "" if error.isdigit() else error  # a status, which the state says
        return Step(
            words=stage.words,
            name=stage.name,
            level=level,
            state=state,
            tone=tone,
            service=stage.service,
            duration_ns=duration,
            stage=stage,
            error="" if self._is_told_below(span, error) else error,
            notes=tuple(n.text for n in stage.notes if n.tells and n.kind not in self._left_out),
            more=tuple(n.text for n in stage.notes if not n.tells),
            logs=stage.logs,
            usual_ns=usual,
        )

    def _is_told_below(self, span: SpanRecord, error: str) -> bool:
        """Return whether an error stands where it happened, or where what is undone had failed."""
        if not error:
            return False
        if span.name.startswith("revert "):
            others = [s for s in self._trace.spans if s.service == span.service and s is not span]
            return any(error_of(s) == error and not s.name.startswith("revert ") for s in others)
        return any(error_of(s) == error for s in self._story.below(span))

    def _is_shown(self, stage: Stage) -> bool:
        """Flows and casts have nothing to say that their tasks and messages do not, if all is well."""
        if stage.kind != "flow" and stage.span.kind != "producer":
            return True
        tells = stage.logs or any(note.tells for note in stage.notes)
        error = error_of(stage.span)
        return bool(tells) or (bool(error) and not self._is_told_below(stage.span, error))

    def _age(self, moment_ns: int) -> int:
        """For how long something has lasted since then, in ns; by the wall clock, as spans are."""
        return max(0, time.time_ns() - moment_ns)


def _open_names(span: SpanRecord) -> tuple[str, ...]:
    names = span.attributes.get(f"{STILL_RUNNING}.spans")
    return tuple(map(str, names)) if isinstance(names, (list, tuple)) else ()


def _message(span: SpanRecord) -> str:
    """Topic and method of a message."""
    return str(span.attributes.get("rpc.method") or span.name.partition(" ")[2])


def _topic(span: SpanRecord) -> str:
    return _message(span).partition("/")[0]


def _visits(stages: list[Stage]) -> list[_Visit]:
    """The parts of a create in the order of its attempts, each with its stages.

    Within a host the times are right; between hosts the order of the parts is surer than their clocks.
    """
    found: dict[tuple[str, str], list[_Visit]] = {}
    for stage in stages:
        where = stage.span.service, _instance(stage.span)
        of_host = found.setdefault(where, [])
        part = _part(stage)
        if part is not None and _begins_anew(of_host, part, stage):
            of_host.append(_Visit(part))
        if not of_host:
            of_host.append(_Visit(-1))
        visit = of_host[-1]
        if visit.part < 0 and part is not None:
            visit.part = part
        visit.stages.append(stage)
    return _in_order([visit for visits in found.values() for visit in visits])


def _begins_anew(visits: list[_Visit], part: int, stage: Stage) -> bool:
    """Return whether a stage is the first one of another part, or of another attempt."""
    if not visits:
        return False
    visit = visits[-1]
    if visit.part < 0:
        return False
    if visit.part != part:
        return True
    is_head = stage.kind == "wait" or stage.span.kind == "consumer"
    if is_head:
        return visit.last_task >= 0 and not (visit.head and visit.head.span is stage.span)
    if stage.kind != "task" or stage.name not in CREATE[part].tasks:
        return False
    return CREATE[part].tasks.index(stage.name) <= visit.last_task


def _in_order(visits: list[_Visit]) -> list[_Visit]:
    """API, then scheduler and volume service of each attempt; what is of none of them at its time."""
    known = [visit for visit in visits if visit.part >= 0]
    attempts: Mapping[int, list[_Visit]] = {
        part: sorted((v for v in known if v.part == part), key=lambda v: v.stages[0].offset_ns)
        for part in range(len(CREATE))
    }
    ordered = list(attempts[0])
    for number in range(max(len(attempts[1]), len(attempts[2]))):
        ordered += attempts[1][number : number + 1] + attempts[2][number : number + 1]
    for visit in visits:
        if visit.part < 0:
            # Another service's, such as an image service's: beside the part that it came with.
            before = [v for v in ordered if v.stages[0].offset_ns <= visit.stages[0].offset_ns]
            if before or ordered:
                home = (before or ordered)[-1]
                home.stages = sorted([*home.stages, *visit.stages], key=lambda s: s.offset_ns)
    return ordered


def _part(stage: Stage) -> int | None:
    """To which part of a create a stage belongs for sure."""
    if stage.kind == "flow":
        return _PART_OF_FLOW.get(stage.name)
    if stage.kind == "task":
        return _PART_OF_TASK.get(stage.name)
    if stage.kind == "request" and stage.name.endswith("}/volumes"):
        return 0
    if stage.span.kind == "consumer":
        services = [part.service for part in CREATE]
        topic = _topic(stage.span)
        return services.index(topic) if topic in services[1:] else None
    for name in _open_names(stage.span):
        if name in _PART_OF_FLOW or name in _PART_OF_TASK:
            return _PART_OF_FLOW.get(name, _PART_OF_TASK.get(name))
    return None


def _instance(span: SpanRecord) -> str:
    return str(span.resource.get("service.instance.id", span.resource.get("host.name", "")))
