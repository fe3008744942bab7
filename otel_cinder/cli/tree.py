"""A trace as a tree in the terminal: first into plain lines, then onto the console."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

from otel_cinder.cli.plain_text import fitted
from otel_cinder.reading.story import Story, duration_text, name_of, one_line
from otel_cinder.reading.trace import SpanRecord, Trace
from otel_cinder.reading.words import Words

if TYPE_CHECKING:
    from rich.console import Console

_WIDE = 110  # columns from which service names are whole and bars are drawn
_BAR, _SHORTEST_BAR = 28, 12
_NARROWEST_NAME = 16
_COLOURS = ("cyan", "magenta", "bright_blue", "yellow", "bright_green", "white")
_STYLES = {"good": "green", "warn": "yellow", "bad": "bold red", "plain": "dim", "wait": "dim"}
_MARKERS = {"server": "◂", "consumer": "◂", "client": "▸", "producer": "▸"}


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


def draw(trace: Trace, console: Console, words: Words | None = None) -> None:
    """Print the trace, as wide as the console; colours and bars only where they can be seen."""
    story = Story(trace, words)
    for text in _texts(story, console.width):
        text.plain = fitted(text.plain, console.encoding)
        text.truncate(console.width)
        console.print(text, soft_wrap=True, highlight=False)


def lines_of(story: Story) -> list[Line]:
    """The trace's lines from top to bottom."""
    trace = story.trace
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
        lines.append(_line(story, span, guides, stem + ("│ " if has_children else "  ")))
    return lines


def _has_later_sibling(walk: list[tuple[int, SpanRecord]], index: int) -> bool:
    depth = walk[index][0]
    for later, _ in walk[index + 1 :]:
        if later <= depth:
            return later == depth
    return False


def _line(story: Story, span: SpanRecord, guides: str, below: str) -> Line:
    trace = story.trace
    parent = trace.parent(span)
    state, style = story.outcome(span)
    total = max(1, trace.end_ns - trace.start_ns)
    return Line(
        guides=guides,
        below=below,
        name=one_line(name_of(span)) or "(no name)",
        service=one_line(span.service),
        joins=parent is None or parent.service != span.service,
        duration=duration_text(span.duration_ns),
        state=state,
        style=style,
        error=story.error(span),
        notes=tuple(note.text for note in story.notes(span) if note.tells),
        begin=(span.start_ns - trace.start_ns) / total,
        end=(max(span.start_ns, span.end_ns) - trace.start_ns) / total,
    )


def _texts(story: Story, width: int) -> list[Text]:
    trace = story.trace
    lines = lines_of(story)
    wide = width >= _WIDE
    # Narrow terminals get `scheduler` for `cinder-scheduler`; the header has the whole names.
    services = [line.service if wide else line.service.removeprefix("cinder-") for line in lines]
    shown = [name if line.joins else "" for name, line in zip(services, lines, strict=True)]
    service_width = max(map(cell_len, shown), default=0)
    state_width = max((cell_len(line.state) for line in lines), default=0)
    duration_width = max((cell_len(line.duration) for line in lines), default=0)
    wanted = max((cell_len(line.guides) + cell_len(line.name) for line in lines), default=0)
    gap = "  " if wide else " "
    others = service_width + state_width + duration_width + 3 * len(gap)
    bar_width = 0
    if wide:
        others += len(gap)
        bar_width = max(_SHORTEST_BAR, min(_BAR, width - others - wanted))
    name_width = max(_NARROWEST_NAME, min(wanted, width - others - bar_width))
    colours = {name: _COLOURS[index % len(_COLOURS)] for index, name in enumerate(trace.services)}
    texts = [_header(story)]
    for line, service in zip(lines, shown, strict=True):
        colour = colours.get(line.service, "white")
        text = Text(line.guides, style="dim", no_wrap=True)
        text.append(line.name, style=f"not dim {colour}")
        text.truncate(name_width, overflow="ellipsis", pad=True)
        text.append(gap + _padded(service, service_width), style=f"not dim bold {colour}")
        text.append(gap + _padded(line.state, state_width), style=f"not dim {_STYLES[line.style]}")
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


def _padded(text: str, width: int) -> str:
    return text + " " * (width - cell_len(text))


def _header(story: Story) -> Text:
    trace, say = story.trace, story.words.say
    count = len(trace)
    text = Text.assemble(
        (f"{say('trace')} ", "bold"),
        trace.trace_id,
        f" · {say('one_span') if count == 1 else say('spans', count=count)} · ",
        duration_text(trace.end_ns - trace.start_ns),
    )
    if trace.orphans:
        text.append(f" · {say('without_parent', count=len(trace.orphans))}", style="yellow")
    return text


def _bar(line: Line, width: int) -> str:
    begin = min(width - 1, max(0, int(line.begin * width)))
    end = min(width, max(begin + 1, round(line.end * width)))
    return " " * begin + "━" * (end - begin)
