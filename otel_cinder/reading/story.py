"""The story of a trace: what to say of each of its spans, in words, apart from how it is drawn.

for stage in Story(trace, words("en")).stages:
print(stage.words, stage.state, stage.error)
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from otel_cinder.reading.records import LogLine
from otel_cinder.reading.source_code import Place, place_of, summary_of
from otel_cinder.reading.trace import STILL_RUNNING, EventRecord, SpanRecord, Trace
from otel_cinder.reading.words import Words, words

GOOD, WARN, BAD, PLAIN, WAIT = "good", "warn", "bad", "plain", "wait"
"""How an outcome is to be taken."""

_STATE_TONES = {"SUCCESS": GOOD, "REVERTED": WARN, "FAILURE": BAD, "REVERT_FAILURE": BAD}
_STATE_KEYS = ("taskflow.task.state", "taskflow.retry.state", "taskflow.flow.state")
_UUID_KEYS = ("taskflow.task.uuid", "taskflow.retry.uuid", "taskflow.flow.uuid")
_LOUD = frozenset({"ERROR", "CRITICAL"})
_WHEN = ("before", "after")
_EXIT_CODE = "process.exit.code"
_OBJECT_SPANS = {"clean up": "clean_up", "migrate key of": "migrate_key", "set": "set_to_error"}


@dataclass(frozen=True)
class LogNote:
    """A line that Cinder logged in a stage."""

    time_ns: int
    level: str
    message: str
    place: Place | None
    logger: str = ""


@dataclass(frozen=True)
class Note:
    """Something else that happened in a stage: a filter's verdict, a reschedule, an error status."""

    kind: str
    """``filter``, ``choice``, ``resource_error``, ``reschedule``, ``user_message``, ``log``, ``running``
    for where the work is, or ``around`` for what that is in and what comes after."""
    text: str
    tells: bool = True
    """False for a filter that let every backend pass."""


@dataclass(frozen=True)
class Stage:
    """A row of the notes: a span, or the wait of a message in its queue; times are in ns."""

    kind: str
    """``request``, ``flow``, ``task``, ``message``, ``wait`` or ``step``."""
    span: SpanRecord
    depth: int
    words: str
    name: str
    service: str
    host: str
    joins: bool
    """Whether its service is another than its parent's."""
    offset_ns: int
    duration_ns: int
    states: tuple[str, ...] = ()
    state: str = ""
    tone: str = PLAIN
    error: str = ""
    notes: tuple[Note, ...] = ()
    logs: tuple[LogNote, ...] = ()
    results: tuple[str, ...] = ()
    """Keys, or ``key = value`` where values were recorded."""
    details: Mapping[str, str] = field(default_factory=dict)
    place: Place | None = None
    uuid: str = ""


class Story:
    """What is to be told of a trace, stage by stage, in one language."""

    def __init__(self, trace: Trace, told_in: Words | None = None) -> None:
        self.trace = trace
        self.words = told_in or words()
        self._told: dict[str, str] = {}

    @property
    def title(self) -> str:
        """What was asked for: ``Create a volume``."""
        tops = self.trace.tops()
        # Before the first span has ended, what is still running knows more than a part of it.
        telling = (s for s in tops if s.kind in ("server", "consumer") or s.shows is not None)
        first = next(telling, tops[0] if tops else None)
        return _operation(first, self.words) if first else ""

    @property
    def stages(self) -> list[Stage]:
        """The stages from top to bottom, each message's wait before its handling."""
        return [stage for depth, span in self.trace.walk() for stage in self._stages(depth, span)]

    def outcome(self, span: SpanRecord) -> tuple[str, str]:
        """The state that a span ended in, and how that is to be taken."""
        return outcome(span, self.words)

    def error(self, span: SpanRecord) -> str:
        """Why it failed, or what is wrong with its place in the trace; empty if nothing is."""
        told = [error_of(span)]
        if self.trace.parent(span) is None and span.parent_id is not None:
            told.append(self.words.say("orphan", parent=span.parent_id))
        return " · ".join(filter(None, told))

    def notes(self, span: SpanRecord) -> tuple[Note, ...]:
        """What happened in a span, except what a span below it in the same service tells as well."""
        if span.shows is not None:
            return _running_notes(span.attributes, self.words)
        return tuple(filter(None, (_note(event, self.words) for event in self._events(span))))

    def logs(self, span: SpanRecord) -> tuple[LogNote, ...]:
        """The lines that were logged in a span."""
        return tuple(
            _log(event, span.resource) for event in self._events(span) if event.name == "log"
        )

    @property
    def final_error(self) -> str:
        """What the trace failed by in the end; empty if a later attempt succeeded.

        A command or a request that was answered with an error has failed; otherwise the last message
        decides.
        """
        tops = self.trace.tops()
        if tops and (_refused(tops[0]) or tops[0].attributes.get(_EXIT_CODE)):
            return self.any_error or outcome(tops[0], self.words)[0]
        handled = [span for span in self.trace.spans if span.kind == "consumer"]
        last = (handled or list(tops))[-1:]
        failed = bool(last) and last[0].status == "error"
        return error_of(last[0]) or self.any_error or "ERROR" if failed else ""

    @property
    def any_error(self) -> str:
        """The first error in the trace, overcome or not."""
        # Why a command has failed is said below it.
        spans = sorted(self.trace.spans, key=lambda span: _EXIT_CODE in span.attributes)
        errors = [error_of(span) for span in spans]
        # An answer's status, 500, says less than what it came of.
        return next((error for error in errors if error and not error.isdigit()), "")

    def _events(self, span: SpanRecord) -> list[EventRecord]:
        if not span.events:
            return []
        below = [event for child in self.below(span) for event in child.events]
        told = {(event.name, repr(event.attributes)) for event in below}
        own = [event for event in span.events if (event.name, repr(event.attributes)) not in told]
        # Jaeger does not keep their order.
        return sorted(own, key=lambda event: event.time_ns)

    def below(self, span: SpanRecord) -> Iterator[SpanRecord]:
        """All spans below a span in the same service."""
        seen = {span.span_id}  # parents may go in a circle
        waiting = list(self.trace.children(span))
        while waiting:
            child = waiting.pop()
            if child.service == span.service and child.span_id not in seen:
                seen.add(child.span_id)
                yield child
                waiting += self.trace.children(child)

    def _stages(self, depth: int, span: SpanRecord) -> Iterator[Stage]:
        waited = waited_ns(span)
        if waited is not None and span.kind in ("consumer", "server"):
            yield self._wait(depth, span, waited)
        parent = self.trace.parent(span)
        state, tone = self.outcome(span)
        yield Stage(
            kind=_kind(span),
            span=span,
            depth=depth,
            words=stage_words(span, self.words),
            name=one_line(name_of(span)) or "(no name)",
            service=one_line(span.service),
            host=_host(span),
            joins=parent is None or parent.service != span.service,
            offset_ns=span.start_ns - self.trace.start_ns,
            duration_ns=span.duration_ns,
            states=_states(span),
            state=state,
            tone=tone,
            error=self.error(span),
            notes=self.notes(span),
            logs=self.logs(span),
            results=_results(span),
            details=self._details(span),
            place=place_of(span.attributes, span.resource),
            uuid=next((str(span.attributes[k]) for k in _UUID_KEYS if k in span.attributes), ""),
        )

    def _details(self, span: SpanRecord) -> dict[str, str]:
        return {
            key: one_line(str(span.attributes[key]))
            for key in self.words.details
            if key in span.attributes
        }

    def _wait(self, depth: int, span: SpanRecord, waited: int) -> Stage:
        rabbit = span.attributes.get("messaging.system") == "rabbitmq"
        sender = self.trace.cast(span) or self.trace.parent(span)
        return Stage(
            kind="wait",
            span=span,
            depth=depth,
            words=self.words.say("waits_rabbitmq" if rabbit else "waits"),
            name=self.words.say("wait_name" if span.kind == "consumer" else "call_wait_name"),
            service=one_line(sender.service if sender else span.service),
            host="",
            joins=False,
            offset_ns=max(0, span.start_ns - waited - self.trace.start_ns),
            duration_ns=waited,
            state="",
            tone=WAIT,
            details={
                key: one_line(str(span.attributes[key]))
                for key in ("messaging.destination.name",)
                if key in span.attributes
            },
        )


def outcome(span: SpanRecord, told_in: Words | None = None) -> tuple[str, str]:
    """The state that a span ended in, and how that is to be taken: one of the tones."""
    said = told_in or words()
    if span.shows is not None:
        return said.say("still_running"), WARN
    for key in _STATE_KEYS:
        if span.attributes.get(key):
            state = one_line(str(span.attributes[key]))
            failed = span.status == "error" and state == "SUCCESS"
            return state, BAD if failed else _STATE_TONES.get(state, PLAIN)
    code = span.attributes.get("http.response.status_code", span.attributes.get("http.status_code"))
    if isinstance(code, int):
        return f"HTTP {code}", BAD if code >= 500 else WARN if code >= 400 else GOOD
    attempt = span.attributes.get("cinder.schedule.attempt")
    if span.kind == "consumer" and isinstance(attempt, int) and attempt > 1:
        return said.say("attempt", number=attempt), BAD if span.status == "error" else WARN
    if span.status == "error":
        return "ERROR", BAD
    waited = waited_ns(span)
    if waited is not None:
        return said.say("wait", duration=duration_text(waited)), WAIT
    return "", PLAIN


def _refused(span: SpanRecord) -> bool:
    """Return whether a request was answered with an error, its own or the caller's."""
    code = span.attributes.get("http.response.status_code", span.attributes.get("http.status_code"))
    return span.kind == "server" and (
        span.status == "error" or (isinstance(code, int) and code >= 400)
    )


def error_of(span: SpanRecord) -> str:
    """The error's type and message, if the span has one."""
    if span.status != "error":
        return ""
    kind, message = span.attributes.get("error.type"), span.status_message
    for event in span.events:
        if event.name == "exception":
            kind = kind or event.attributes.get("exception.type")
            message = message or str(event.attributes.get("exception.message") or "")
    kind = str(kind or "")
    short = kind.rpartition(".")[2]
    if kind:
        # A status description often begins with the type already.
        message = message.removeprefix(f"{kind}: ").removeprefix(f"{short}: ")
    return one_line(": ".join(filter(None, (short, message))))


def waited_ns(span: SpanRecord) -> int | None:
    """How long its message was in the queue, in ns; None where that is not known."""
    waited = span.attributes.get("cinder.rpc.queue.duration")
    if isinstance(waited, (int, float)) and math.isfinite(waited) and abs(waited) < 1e9:
        return max(0, round(waited * 1e9))
    return None


def duration_text(nanoseconds: int) -> str:
    """A duration in at most six characters."""
    seconds = max(0, nanoseconds) / 1e9
    for limit, scale, form in (
        (0.9995e-3, 1e6, "{:.0f} µs"),
        (9.95e-3, 1e3, "{:.1f} ms"),
        (0.9995, 1e3, "{:.0f} ms"),
        (9.995, 1, "{:.2f} s"),
        (99.95, 1, "{:.1f} s"),
        (6000, 1, "{:.0f} s"),
    ):
        if seconds < limit:
            return form.format(seconds * scale)
    return f"{min(seconds / 3600, 9999):.0f} h"


def one_line(text: str) -> str:
    """Text without line breaks and control characters, so that it cannot draw elsewhere."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def name_of(span: SpanRecord) -> str:
    """Return a span's name; of a still-running span, the name of the span that it shows."""
    return span.name if span.shows is None else span.name.removeprefix("still running ")


def stage_words(span: SpanRecord, said: Words) -> str:
    """What a span's stage is for; its name where no table knows it and no source says more."""
    name = one_line(name_of(span))
    attributes = span.attributes
    if any(event.name == "cinder.reschedule" for event in span.events) and "revert" in name:
        return said.say("reschedule")
    if name.startswith("revert "):
        bare = name.removeprefix("revert ").removeprefix("retry ")
        return said.say("revert", what=_task_words(bare, span, said))
    if name.startswith("retry ") and "taskflow.retry.name" in attributes:
        return said.say("retry", what=name.removeprefix("retry "))
    if "taskflow.task.state" in attributes or "taskflow.task.name" in attributes:
        return _task_words(name, span, said)
    if name in said.flows:
        return said.flows[name]
    if name in said.phrases and span.kind == "internal" and name.endswith(" image"):
        return said.say(name)
    return _other_words(name, span, said) or name


def _other_words(name: str, span: SpanRecord, said: Words) -> str:
    attributes = span.attributes
    if "http.request.method" in attributes or "http.method" in attributes:
        return said.say("request" if span.kind == "server" else "client_request")
    message = _message_words(name, span, said)
    if message:
        return message
    if "db.system.name" in attributes:
        return said.say("sql")
    for prefix in ("execute ", "privsep "):
        if name.startswith(prefix):
            return said.say(prefix.strip(), what=name.removeprefix(prefix))
    for prefix, phrase in _OBJECT_SPANS.items():
        if name.startswith(f"{prefix} "):
            what = name.removeprefix(f"{prefix} ").removesuffix(" to error")
            return said.say(phrase, what=said.phrases.get(what, what))
    is_call = "code.function.name" in attributes or span.shows is not None
    if span.kind == "internal" and is_call and "." in name:
        method = name.rpartition(".")[2]
        return said.drivers.get(method) or said.say("driver", what=method)
    return ""


def _task_words(name: str, span: SpanRecord, said: Words) -> str:
    function = str(span.attributes.get("code.function.name", ""))
    module = function.split(".")[-3:-2]
    event = str(span.attributes.get("taskflow.task.name", "")).rpartition(", ")[2]
    keys = (f"{name} {event}", f"{'.'.join(module)}.{name}", name)
    found = next((said.tasks[key] for key in keys if key in said.tasks), "")
    return found or one_line(summary_of(function)) or name


def _message_words(name: str, span: SpanRecord, said: Words) -> str:
    if "oslo_messaging.notification.event_type" in span.attributes:
        phrase = "notify" if span.kind == "producer" else "process_notification"
        return said.say(phrase, what=name.rpartition("/")[2])
    rpc = str(span.attributes.get("rpc.method", ""))
    if not rpc and span.kind in ("producer", "consumer") and "/" in name:
        rpc = name.partition(" ")[2]
    topic, _, method = one_line(rpc).partition("/")
    phrases = {"producer": "cast", "consumer": "process", "client": "call", "server": "serve"}
    if not topic or span.kind not in phrases:
        return ""
    return said.say(phrases[span.kind], topic=topic, what=said.methods.get(method, method or "?"))


def _operation(span: SpanRecord, said: Words) -> str:
    """What a root span was asked for."""
    attributes = span.attributes
    action = str(attributes.get("cinder.action", ""))
    if action in said.actions:
        return said.actions[action]
    method, _, route = one_line(span.name).partition(" ")
    if span.shows is not None:
        method = one_line(str(attributes.get("http.request.method", "")))
        route = one_line(str(attributes.get("http.route", "")))
    if route.startswith("/"):
        bare = re.sub(r"\{[^}]*\}", "*", re.sub(r"^/v\d[^/]*/(\{[^}]*\}/)?", "", route))
        return said.requests.get(f"{method} {bare}", f"{method} {route}")
    rpc = str(attributes.get("rpc.method", "")).rpartition("/")[2]
    if rpc in said.methods:
        text = said.methods[rpc]
        return text[:1].upper() + text[1:]
    return stage_words(span, said)


def _kind(span: SpanRecord) -> str:
    attributes = span.attributes
    if span.shows is not None and "." in name_of(span).partition(" ")[0]:
        return "step"  # a driver's call, told with what is known of its message
    if "taskflow.flow.state" in attributes or "taskflow.flow.name" in attributes:
        return "flow"
    if any(key in attributes for key in _STATE_KEYS):
        return "task"
    if "http.request.method" in attributes and span.kind == "server":
        return "request"
    if span.kind in ("producer", "consumer") or "rpc.method" in attributes:
        return "message"
    return "step"


def _states(span: SpanRecord) -> tuple[str, ...]:
    """The states that a flow or an atom went through (TaskFlow, "States")."""
    flow = span.attributes.get("taskflow.flow.states")
    if isinstance(flow, (list, tuple)) and flow:
        return tuple(one_line(str(state)) for state in flow)
    for key in _STATE_KEYS[:2]:
        state = one_line(str(span.attributes.get(key, "")))
        if state in ("REVERTED", "REVERT_FAILURE"):
            return "REVERTING", state
        if state:
            return "PENDING", "RUNNING", state
    return ()


def _results(span: SpanRecord) -> tuple[str, ...]:
    if span.attributes.get("taskflow.task.state") != "SUCCESS":
        return ()  # these are the keys that it was to provide
    values = span.attributes.get("taskflow.task.results")
    if values:
        return (one_line(str(values)),)
    keys = span.attributes.get("taskflow.task.provides")
    return tuple(one_line(str(key)) for key in keys) if isinstance(keys, (list, tuple)) else ()


def _host(span: SpanRecord) -> str:
    return one_line(
        str(span.resource.get("service.instance.id", span.resource.get("host.name", "")))
    )


def _log(event: EventRecord, resource: Mapping[str, Any]) -> LogNote:
    said = event.attributes
    return LogNote(
        event.time_ns,
        one_line(str(said.get("log.level", ""))),
        one_line(str(said.get("log.message", ""))),
        place_of(said, resource),
        one_line(str(said.get("log.logger", ""))),
    )


def _note(event: EventRecord, told_in: Words) -> Note | None:
    """The note for an event; None for an event that is no note."""
    said = {key: one_line(str(value)) for key, value in event.attributes.items()}
    match event.name:
        case "cinder.scheduler.filter":
            return _filter_note(said, event.attributes, told_in)
        case "cinder.scheduler.choice":
            host = said.get("cinder.volume.host") or told_in.say("some_backend")
            weight = said.get("cinder.scheduler.weight")
            phrase = "chose_weight" if weight else "chose"
            return Note("choice", told_in.say(phrase, host=host, weight=weight))
        case "cinder.resource.error":
            kind, status = (said.get(f"cinder.resource.{key}", "?") for key in ("type", "status"))
            kind, reason = told_in.phrases.get(kind, kind), said.get("cinder.reason")
            phrase = "resource_error_why" if reason else "resource_error"
            text = told_in.say(phrase, kind=kind, status=status, reason=reason)
            return Note("resource_error", text)
        case "cinder.reschedule":
            number = said.get("cinder.schedule.attempt", "?")
            return Note("reschedule", told_in.say("gave_up", attempt=number))
        case "cinder.user_message":
            text = said.get("cinder.user_message.text", "?")
            return Note("user_message", told_in.say("told", text=text))
        case "log" if said.get("log.level") in _LOUD:
            return Note("log", f"{said['log.level']} {said.get('log.message', '')}")
    return None


def _running_notes(said: Mapping[str, Any], told_in: Words) -> tuple[Note, ...]:
    """Where the work of a still-running span is, inside of what, and what is still to come."""

    def names(key: str) -> list[str]:
        value = said.get(f"{STILL_RUNNING}.{key}")
        return [one_line(str(name)) for name in value] if isinstance(value, (list, tuple)) else []

    frames = str(said.get("code.stacktrace") or "").splitlines()
    waits_for = one_line(str(said.get(f"{STILL_RUNNING}.waits_for") or ""))
    notes = []
    if frames:
        place = one_line(frames[0].rpartition("/")[2])
        notes.append(Note("running", told_in.say("running_at", place=place)))
    if names("spans")[:-1]:
        inside = ", ".join(names("spans")[-2::-1])
        notes.append(Note("around", told_in.say("running_inside", spans=inside)))
    if waits_for:
        notes.append(Note("running", told_in.say("running_waits", whom=waits_for)))
    if said.get(f"{STILL_RUNNING}.blocks_hub") is True:
        notes.append(Note("running", told_in.say("running_blocks")))
    if names("tasks_to_come"):
        tasks = ", ".join(names("tasks_to_come"))
        notes.append(Note("around", told_in.say("running_to_come", tasks=tasks)))
    return tuple(notes)


def _filter_note(said: Mapping[str, str], raw: Mapping[str, Any], told_in: Words) -> Note:
    before, after = (said.get(f"cinder.scheduler.hosts_{when}", "?") for when in _WHEN)
    name = said.get("cinder.scheduler.filter") or told_in.say("some_filter")
    rejected = raw.get("cinder.scheduler.hosts_rejected")
    if isinstance(rejected, (list, tuple)) and rejected:
        hosts = one_line(", ".join(map(str, rejected)))
        text = told_in.say("rejected", name=name, before=before, after=after, hosts=hosts)
    else:
        text = told_in.say("filter", name=name, before=before, after=after)
    return Note("filter", text, tells=before != after)


def logs_as_notes(lines: Iterable[LogLine]) -> tuple[LogNote, ...]:
    """Log records whose span has not arrived, as a stage has its log lines."""
    return tuple(_log(_event(line), line.resource) for line in lines)


def with_logs(spans: Iterable[SpanRecord], logs: Iterable[LogLine]) -> list[SpanRecord]:
    """Spans, with the log records that came beside them as events of the spans they belong to."""
    by_span: dict[tuple[str, str], list[EventRecord]] = {}
    for line in logs:
        by_span.setdefault((line.trace_id, line.span_id), []).append(_event(line))
    return [
        replace(span, events=(*span.events, *more)) if more else span
        for span in spans
        for more in [by_span.get((span.trace_id, span.span_id), [])]
    ]


def _event(line: LogLine) -> EventRecord:
    attributes = {
        **line.attributes,
        "log.level": line.severity,
        "log.message": line.body,
        "log.logger": line.attributes.get("log.logger", line.scope),
    }
    return EventRecord("log", line.time_ns, attributes)
