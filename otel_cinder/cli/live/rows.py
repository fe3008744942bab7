"""The rows of an operation, as lines of text: in the view, and at the end of `--once`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone

from rich.cells import cell_len
from rich.text import Text

from otel_cinder.cli.plain_text import folded
from otel_cinder.cli.table import STYLES
from otel_cinder.reading.steps import NOT_RUN, ON_ITS_WAY, PENDING, RUNNING, Step
from otel_cinder.reading.story import LogNote, duration_text
from otel_cinder.reading.words import Words

TELLING, SHORT, WHOLE = 0, 1, 2
"""How much is told of a row: what tells of trouble or of a choice; all, a line each; all of it."""

SIGNS = {PENDING: "○", RUNNING: "▶", ON_ITS_WAY: "…", NOT_RUN: "○"}
_STATE_STYLES = {PENDING: "dim", RUNNING: "bold cyan", ON_ITS_WAY: "dim", NOT_RUN: "dim"}
_TONE_SIGNS = {"good": "✓", "warn": "✗", "bad": "✗", "wait": " ", "plain": "✓"}
_ERRORS = ("ERROR", "CRITICAL")
_LOUD = {"ERROR": "red", "CRITICAL": "red", "WARNING": "yellow"}
_STATE_WIDTH, _DURATION_WIDTH, _NAME_WIDTH = 10, 7, 26
_WITH_NAMES = 104  # columns from which a row also has the name of its task
_LONGEST = 1000
_LEAST_ROOM = 10  # columns, for what is indented


def clock_text(nanoseconds: int) -> str:
    """A time in ns since the epoch as the clock shows it here; empty if it is no time."""
    try:
        moment = datetime.fromtimestamp(nanoseconds / 1e9, tz=timezone.utc).astimezone()
    except (OverflowError, ValueError, OSError):
        return ""
    return moment.strftime("%H:%M:%S.%f")[:-3]


def state_text(step: Step, words: Words) -> str:
    """A row's state, as it is shown."""
    own = {ON_ITS_WAY: "live_on_its_way", NOT_RUN: "live_not_run"}
    return words.say(own[step.state]) if step.state in own else step.state


def row_lines(step: Step, words: Words, width: int, detail: int = WHOLE) -> Iterator[Text]:
    """A row and what happened in it: ``WHOLE``, ``SHORT`` or ``TELLING``."""
    yield _row(step, words, width)
    indent = " " * (4 + 2 * step.level)
    for text in details(step, words, detail):
        if detail == WHOLE:
            yield from folded(text, width, indent, least=_LEAST_ROOM)
            continue
        line = Text(indent) + text
        line.truncate(width, overflow="ellipsis")
        yield line


def details(step: Step, words: Words, detail: int = WHOLE) -> Iterator[Text]:
    """What happened in a row: its failure first, then what else is to be said, then its log lines."""
    if step.error:
        yield Text(f"✗ {step.error[:_LONGEST]}", style="red")
    if step.usual_ns is not None:
        usual = duration_text(step.usual_ns)
        yield Text(f"· {words.say('live_slower', usual=usual)}", style="yellow")
    for note in step.notes:
        yield Text(f"· {note[:_LONGEST]}", style="cyan")
    for note in step.more if detail > TELLING else ():
        yield Text(f"· {note[:_LONGEST]}", style="dim")
    yield from (_log(line) for line in step.logs if detail > TELLING or line.level in _ERRORS)


def _log(line: LogNote) -> Text:
    text = Text(f"{line.level} ", style=_LOUD.get(line.level, "dim"))
    text.append(line.message[:_LONGEST], style="dim")
    if line.place:
        text.append(f" ({line.place})", style="dim")
    return text


def _row(step: Step, words: Words, width: int) -> Text:
    style = _STATE_STYLES.get(step.state, STYLES[step.tone])
    sign = SIGNS.get(step.state, _TONE_SIGNS[step.tone])
    duration = "" if step.duration_ns is None else duration_text(step.duration_ns)
    has_name = width >= _WITH_NAMES
    room = width - _STATE_WIDTH - _DURATION_WIDTH - 2
    if has_name:
        room -= _NAME_WIDTH + 2
    text = Text("  " * step.level, no_wrap=True)
    text.append(f"{sign} ", style=style)
    is_dim = (step.state in SIGNS and step.state != RUNNING) or step.tone == "wait"
    text.append(step.words, style="dim" if is_dim else "" if step.level else "bold")
    text.truncate(max(8, room), overflow="ellipsis", pad=True)
    if has_name:
        name = Text(f"  {step.name}", style="dim")
        name.truncate(_NAME_WIDTH + 2, overflow="ellipsis", pad=True)
        text.append_text(name)
    shown = Text(f" {state_text(step, words)}", style=style)
    shown.truncate(_STATE_WIDTH + 1, overflow="ellipsis", pad=True)
    text.append_text(shown)
    text.append(" " * max(1, _DURATION_WIDTH + 1 - cell_len(duration)) + duration)
    text.truncate(width)
    return text
