"""Notes as a table in the terminal: two columns, description and detail, a row a stage."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

from otel_cinder.cli.plain_text import folded, print_line
from otel_cinder.reading.notes import Item, Notes, Row, notes_of
from otel_cinder.reading.story import Story
from otel_cinder.reading.trace import Trace
from otel_cinder.reading.words import Words

if TYPE_CHECKING:
    from rich.console import Console

UNLIMITED = 1_000_000
"""The width of what is no terminal: nothing is wrapped or cut."""

_NARROW = 72  # columns below which details go under their description
_WIDEST_DESCRIPTION = 46
_GAP = _INDENT = "  "
STYLES = {"good": "green", "warn": "yellow", "bad": "bold red", "wait": "dim", "plain": ""}
"""Of a stage, by its tone."""


def draw_table(trace: Trace, console: Console, words: Words | None = None) -> None:
    """Print the notes on a trace, as wide as the console."""
    notes = notes_of(Story(trace, words))
    for text in _texts(notes, console):
        print_line(text, console)


def _texts(notes: Notes, console: Console) -> Iterator[Text]:
    yield from _wrapped(Text(notes.title, style="bold"), console, console.width, "")
    for label, text in notes.summary:
        line = _labelled(notes, label, text)
        yield from _wrapped(line, console, console.width, _INDENT)
    yield Text("")
    stacked = console.width < _NARROW
    width = _width_of_descriptions(notes, console)
    if not stacked:
        say = notes.story.words.say
        head = _columns(
            [Text(say("columns_description"), style="bold")],
            [Text(say("columns_detail"), style="bold")],
            width,
        )
        yield from head
    rule = "─" * min(console.width, _NARROW if console.width >= UNLIMITED else console.width)
    for row in notes.rows:
        yield Text(rule, style="dim")
        yield from _stacked(notes, row, console) if stacked else _beside(notes, row, console, width)


def _width_of_descriptions(notes: Notes, console: Console) -> int:
    """The columns of the first of the two: those of the longest one where nothing is wrapped."""
    if console.width >= UNLIMITED:
        return max(
            (cell_len(_INDENT * row.level + row.description) for row in notes.rows), default=0
        )
    return min(_WIDEST_DESCRIPTION, console.width * 2 // 5)


def _stacked(notes: Notes, row: Row, console: Console) -> Iterator[Text]:
    yield from _wrapped(_description(row), console, console.width, "")
    for item in row.items:
        yield from _wrapped(_detail(notes, item), console, console.width, _INDENT)


def _beside(notes: Notes, row: Row, console: Console, width: int) -> Iterator[Text]:
    indent = _INDENT * row.level
    left = list(_wrapped(_description(row), console, width, indent))
    room = max(1, console.width - width - len(_GAP))
    right = [
        text for item in row.items for text in _wrapped(_detail(notes, item), console, room, "")
    ]
    yield from _columns(left, right, width)


def _columns(left: list[Text], right: list[Text], width: int) -> Iterator[Text]:
    for index in range(max(len(left), len(right))):
        text = left[index].copy() if index < len(left) else Text("")
        text.append(" " * max(0, width - cell_len(text.plain)) + _GAP, style="not bold")
        yield text + right[index] if index < len(right) else text


def _description(row: Row) -> Text:
    tone = row.stage.tone if row.stage.tone in ("warn", "bad") else "plain"
    return Text(
        row.description, style="dim" if row.stage.kind == "wait" else STYLES[tone] or "bold"
    )


def _labelled(notes: Notes, label: str, said: str, style: str = "") -> Text:
    before, _, after = notes.story.words.phrases["labelled"].partition("{label}")
    colon = after.partition("{text}")[0]
    return Text.assemble((f"{before}{label}{colon}", "dim"), (said, style))


def _detail(notes: Notes, item: Item) -> Text:
    text = _labelled(notes, item.label, item.text, STYLES[item.tone])
    if item.source:
        text.append(f" ({item.source})", style="dim")
    return text


def _wrapped(text: Text, console: Console, width: int, indent: str) -> Iterator[Text]:
    """The lines of a text, each with an indentation; wide characters count as two columns."""
    if console.width >= UNLIMITED:
        yield Text(indent) + text
        return
    yield from folded(text, width, indent)
