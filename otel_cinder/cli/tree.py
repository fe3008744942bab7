"""A trace as a tree in the terminal: first into plain lines, then onto the console."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.text import Text

from otel_cinder.reading.trace import EventRecord, SpanRecord, Trace

if TYPE_CHECKING:
    from rich.console import Console

_WIDE = 110  # columns from which service names are whole and bars are drawn
_BAR, _SHORTEST_BAR = 28, 12
_NARROWEST_NAME = 16
_COLOURS = ("cyan", "magenta", "bright_blue", "yellow", "bright_green", "white")
_STYLES = {"good": "green", "warn": "yellow", "bad": "bold red", "plain": "dim", "wait": "dim"}
_STATE_STYLES = {"SUCCESS": "good", "REVERTED": "warn", "FAILURE": "bad", "REVERT_FAILURE": "bad"}
_STATE_KEYS = ("taskflow.task.state", "taskflow.retry.state", "taskflow.flow.state")
_MARKERS = {"server": "◂", "consumer": "◂", "client": "▸", "producer": "▸"}
_WHEN = ("before", "after")
_LOUD = frozenset({"ERROR", "CRITICAL"})
_ASCII = str.maketrans(
    {"├": "|", "└": "`", "│": "|", "─": "-", "◂": "<", "▸": ">", "━": "=", "…": ".", "µ": "u"}
    | {"✗": "x", "·": "-"}
)


@dataclass(frozen=True)
class Line:
    """One span as it is drawn; ``begin`` and ``end`` are its place in the trace, from 0 to 1."""

    guides: str
    below: str
    name: str
    service: str
    joins: bool
    duration: str
    state: str
    style: str
    error: str
    notes: tuple[str, ...]
    begin: float
    end: float


def draw(trace: Trace, console: Console) -> None:
    """Print the trace, as wide as the console; colours and bars only where they can be seen."""
    for text in _texts(trace, console.width):
        if not console.encoding.lower().startswith("utf"):
            text.plain = text.plain.translate(_ASCII).encode("ascii", "replace").decode()
        text.truncate(console.width)
        console.print(text, soft_wrap=True, highlight=False)


def lines_of(trace: Trace) -> list[Line]:
    """The trace's lines from top to bottom."""
    lines: list[Line] = []
    open_levels: list[bool] = []  # per depth: whether a later sibling follows
    walk = list(trace.walk())
    for index, (depth, span) in enumerate(walk):
        follows = _has_later_sibling(walk, index)
        del open_levels[max(0, depth - 1) :]
        stem = "".join("│ " if is_open else "  " for is_open in open_levels)
        marker = _MARKERS.get(span.kind, "─")
        if depth:
            guides = f"{stem}{'├' if follows else '└'}{marker} "
            stem += "│ " if follows else "  "
            open_levels.append(follows)
        else:
            guides = "" if marker == "─" else f"{marker} "
        has_children = index + 1 < len(walk) and walk[index + 1][0] > depth
        lines.append(_line(trace, span, guides, stem + ("│ " if has_children else "  ")))
    return lines


def _notes(trace: Trace, span: SpanRecord) -> tuple[str, ...]:
    """Return notes from the span's events, except those that a span below it in the same service has."""
    if not span.events:
        return ()
    below = [e for child in _below(trace, span) for e in child.events]
    told = {(e.name, repr(e.attributes)) for e in below}
    events = [e for e in span.events if (e.name, repr(e.attributes)) not in told]
    return tuple(filter(None, map(_note, events)))


def _below(trace: Trace, span: SpanRecord) -> Iterator[SpanRecord]:
    for child in trace.children(span):
        if child.service == span.service:
            yield child
            yield from _below(trace, child)


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


def _has_later_sibling(walk: list[tuple[int, SpanRecord]], index: int) -> bool:
    depth = walk[index][0]
    for later, _ in walk[index + 1 :]:
        if later <= depth:
            return later == depth
    return False


def _line(trace: Trace, span: SpanRecord, guides: str, below: str) -> Line:
    parent = trace.parent(span)
    state, style = _state(span)
    total = max(1, trace.end_ns - trace.start_ns)
    error = _error(span)
    if parent is None and span.parent_id is not None:
        error = " · ".join(filter(None, (error, f"its parent {span.parent_id} did not arrive")))
    return Line(
        guides=guides,
        below=below,
        name=_one_line(span.name) or "(no name)",
        service=_one_line(span.service),
        joins=parent is None or parent.service != span.service,
        duration=duration_text(span.duration_ns),
        state=state,
        style=style,
        error=error,
        notes=_notes(trace, span),
        begin=(span.start_ns - trace.start_ns) / total,
        end=(max(span.start_ns, span.end_ns) - trace.start_ns) / total,
    )


def _state(span: SpanRecord) -> tuple[str, str]:
    """Return the span's outcome, and the colour for it."""
    for key in _STATE_KEYS:
        if span.attributes.get(key):
            state = _one_line(str(span.attributes[key]))
            failed = span.status == "error" and state == "SUCCESS"
            return state, "bad" if failed else _STATE_STYLES.get(state, "plain")
    code = span.attributes.get("http.response.status_code", span.attributes.get("http.status_code"))
    if isinstance(code, int):
        return f"HTTP {code}", "bad" if code >= 500 else "warn" if code >= 400 else "good"
    attempt = span.attributes.get("cinder.schedule.attempt")
    if span.kind == "consumer" and isinstance(attempt, int) and attempt > 1:
        return f"attempt {attempt}", "bad" if span.status == "error" else "warn"
    if span.status == "error":
        return "ERROR", "bad"
    waited = span.attributes.get("cinder.rpc.queue.duration")
    if isinstance(waited, (int, float)) and math.isfinite(waited):
        return f"wait {duration_text(int(waited * 1e9))}", "wait"
    return "", "plain"


def _error(span: SpanRecord) -> str:
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
    return _one_line(": ".join(filter(None, (short, message))))


def _note(event: EventRecord) -> str:
    """Return the note for an event; empty for an event that the tree does not show."""
    said = {key: _one_line(str(value)) for key, value in event.attributes.items()}
    match event.name:
        case "cinder.scheduler.filter":
            before, after = (said.get(f"cinder.scheduler.hosts_{when}") for when in _WHEN)
            name = said.get("cinder.scheduler.filter", "a filter")
            return "" if before == after else f"{name} left {after} of {before} backends"
        case "cinder.scheduler.choice":
            return f"chose {said.get('cinder.volume.host', 'a backend')}"
        case "cinder.resource.error":
            kind, status = (said.get(f"cinder.resource.{key}", "?") for key in ("type", "status"))
            return f"put the {kind} into status {status}"
        case "cinder.reschedule":
            number = said.get("cinder.schedule.attempt", "?")
            return f"gave attempt {number} up and asked the scheduler again"
        case "cinder.user_message":
            return f"told the user: {said.get('cinder.user_message.text', '?')}"
        case "log" if said.get("log.level") in _LOUD:
            return f"{said['log.level']} {said.get('log.message', '')}"
    return ""


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _texts(trace: Trace, width: int) -> list[Text]:
    lines = lines_of(trace)
    wide = width >= _WIDE
    # Narrow terminals get `scheduler` for `cinder-scheduler`; the header has the whole names.
    services = [line.service if wide else line.service.removeprefix("cinder-") for line in lines]
    shown = [name if line.joins else "" for name, line in zip(services, lines, strict=True)]
    service_width = max(map(len, shown), default=0)
    state_width = max((len(line.state) for line in lines), default=0)
    duration_width = max((len(line.duration) for line in lines), default=0)
    wanted = max((len(line.guides) + len(line.name) for line in lines), default=0)
    gap = "  " if wide else " "
    others = service_width + state_width + duration_width + 3 * len(gap)
    bar_width = 0
    if wide:
        others += len(gap)
        bar_width = max(_SHORTEST_BAR, min(_BAR, width - others - wanted))
    name_width = max(_NARROWEST_NAME, min(wanted, width - others - bar_width))
    colours = {name: _COLOURS[index % len(_COLOURS)] for index, name in enumerate(trace.services)}
    texts = [_header(trace)]
    for line, service in zip(lines, shown, strict=True):
        colour = colours.get(line.service, "white")
        text = Text(line.guides, style="dim", no_wrap=True)
        text.append(line.name, style=f"not dim {colour}")
        text.truncate(name_width, overflow="ellipsis", pad=True)
        text.append(gap + service.ljust(service_width), style=f"not dim bold {colour}")
        text.append(gap + line.state.ljust(state_width), style=f"not dim {_STYLES[line.style]}")
        text.append(gap + line.duration.rjust(duration_width), style="not dim")
        if wide:
            text.append(gap + _bar(line, bar_width), style=f"not dim {colour}")
        text.rstrip()
        texts.append(text)
        if line.error:
            error = Text(line.below, style="dim", no_wrap=True)
            error.append(f"✗ {line.error}", style="not dim red")
            error.truncate(width, overflow="ellipsis")
            texts.append(error)
        for told in line.notes:
            note = Text(f"{line.below}· {told}", style="dim", no_wrap=True)
            note.truncate(width, overflow="ellipsis")
            texts.append(note)
    return texts


def _header(trace: Trace) -> Text:
    count = len(trace)
    text = Text.assemble(
        ("trace ", "bold"),
        trace.trace_id,
        f" · {count} span{'' if count == 1 else 's'} · ",
        duration_text(trace.end_ns - trace.start_ns),
    )
    if trace.orphans:
        text.append(f" · {len(trace.orphans)} without a parent", style="yellow")
    return text


def _bar(line: Line, width: int) -> str:
    begin = min(width - 1, max(0, int(line.begin * width)))
    end = min(width, max(begin + 1, round(line.end * width)))
    return " " * begin + "━" * (end - begin)
