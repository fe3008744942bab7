"""Notes on a trace: two columns, description and detail, a row a stage, for every format to write."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone

from otel_cinder.reading.story import PLAIN, Stage, Story, duration_text, one_line
from otel_cinder.reading.trace import Trace

_LEVELS = {"request": 0, "wait": 0, "message": 0, "flow": 1, "task": 2, "step": 3}

_MOST_REQUESTS = 4

_LABELS = {"task": "task", "flow": "flow", "message": "message", "request": "request_id"}


@dataclass(frozen=True)
class Item:
    """One line of a row's detail."""

    kind: str
    """``name``, ``when``, ``states``, ``results``, ``source``, ``details``, ``note``, ``error``, ``log``."""
    label: str
    text: str
    link: str = ""
    tone: str = PLAIN
    source: str = ""
    """File and line of a log line."""


@dataclass(frozen=True)
class Row:
    """A stage as notes have it."""

    stage: Stage
    level: int
    """How far it is indented, from 0."""
    description: str
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Notes:
    """All of it."""

    story: Story
    title: str
    summary: tuple[tuple[str, str], ...]
    """Labels and texts."""
    rows: tuple[Row, ...]


def notes_of(story: Story) -> Notes:
    """The notes on a trace."""
    told: dict[str, str] = {}
    rows = tuple(
        Row(stage, _level(stage), stage.words, tuple(_items(story, stage, told)))
        for stage in story.stages
    )
    return Notes(story, story.title, tuple(_summary(story)), rows)


def began_text(nanoseconds: int) -> str:
    """A time in ns since the epoch as date and time in UTC, to the ms; empty if it is no time."""
    try:
        moment = datetime.fromtimestamp(nanoseconds / 1e9, tz=timezone.utc)
    except (OverflowError, ValueError, OSError):
        return ""
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def ending(story: Story) -> str:
    """How the operation ended, in one sentence."""
    say = story.words.say
    if story.final_error:
        return say("ended_in_error", error=story.final_error)
    return say("recovered", error=story.any_error) if story.any_error else say("ended_well")


def _level(stage: Stage) -> int:
    if stage.depth == 0:
        return 0
    sends = stage.kind == "message" and stage.span.kind in ("producer", "client")
    return 3 if sends else _LEVELS.get(stage.kind, 3)


def _summary(story: Story) -> Iterator[tuple[str, str]]:
    say, trace = story.words.say, story.trace
    if not trace.spans:
        return
    first = trace.tops()[0].attributes
    yield say("outcome"), ending(story)
    began = say("began", time=began_text(trace.start_ns))
    took = say("took", duration=duration_text(trace.end_ns - trace.start_ns))
    yield say("when"), f"{began} · {took}"
    keys = ("openstack.user_id", "openstack.project_id", "openstack.request_id")
    users, projects, requests = (_values(trace, key) for key in keys)
    if users or projects:
        user, project = (next(iter(values), "?") for values in (users, projects))
        yield say("who"), say("asked_by", user=user, project=project)
    if requests:
        more = "…" if len(requests) > _MOST_REQUESTS else ""
        yield say("request_id"), say("comma").join(requests[:_MOST_REQUESTS]) + more
    path = one_line(str(first.get("url.path", "")))
    if path:
        yield "HTTP", f"{one_line(str(first.get('http.request.method', '')))} {path}"
    yield say("trace_id"), f"{trace.trace_id} · {_count(story)}"
    yield say("services"), ", ".join(filter(None, map(one_line, trace.services)))


def _values(trace: Trace, key: str) -> list[str]:
    """The values of an attribute, each once: a command may have sent several requests."""
    found = (span.attributes[key] for span in trace.spans if key in span.attributes)
    return list(dict.fromkeys(one_line(str(value)) for value in found))


def _count(story: Story) -> str:
    say, trace = story.words.say, story.trace
    count = say("one_span") if len(trace) == 1 else say("spans", count=len(trace))
    if trace.orphans:
        count += f" · {say('without_parent', count=len(trace.orphans))}"
    return count


def _items(story: Story, stage: Stage, told: dict[str, str]) -> Iterator[Item]:
    say = story.words.say
    where = " · ".join(filter(None, (stage.service, stage.host)))
    label = _LABELS.get(stage.kind, "step")
    yield Item("name", say(label), stage.name)
    if where:
        yield Item("where", say("where"), where)
    phrase = "wait_text" if stage.kind == "wait" else "when_text"
    offset, duration = duration_text(stage.offset_ns), duration_text(stage.duration_ns)
    yield Item("when", say("when"), say(phrase, offset=offset, duration=duration))
    if stage.states:
        yield Item("states", say("states"), " → ".join(stage.states), tone=stage.tone)
    elif stage.kind == "request" and stage.state:
        yield Item("states", say("http_answer"), stage.state, tone=stage.tone)
    if stage.results:
        yield Item("results", say("results"), ", ".join(stage.results))
    # What was said above already is not said again.
    new = {key: text for key, text in stage.details.items() if told.get(key) != text}
    told.update(new)
    if new:
        labels = story.words.details
        text = say("comma").join(
            say("detail", label=labels[key], text=text) for key, text in new.items()
        )
        yield Item("details", say("details"), text)
    if stage.place:
        yield Item("source", say("source"), str(stage.place), stage.place.link)
    if stage.uuid:
        yield Item("uuid", say("uuid"), stage.uuid)
    for note in stage.notes:
        if note.kind != "log":  # which is among the log lines
            yield Item("note", say("notes"), note.text)
    if stage.error:
        yield Item("error", say("failed"), stage.error, tone="bad")
    for line in stage.logs:
        tone = {"ERROR": "bad", "CRITICAL": "bad", "WARNING": "warn"}.get(line.level, PLAIN)
        link = line.place.link if line.place else ""
        source = str(line.place) if line.place else line.logger
        text = f"{line.level} {line.message}".strip()
        yield Item("log", say("log"), text, link, tone, source)
