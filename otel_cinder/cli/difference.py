"""Two traces side by side in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

from otel_cinder.cli.plain_text import fitted
from otel_cinder.reading.diff import Difference

if TYPE_CHECKING:
    from rich.console import Console

_STYLES = {"good": "green", "bad": "red", "plain": ""}
_WIDEST = 64


def draw_difference(difference: Difference, console: Console) -> None:
    """Print the stages of both, their durations, and below each stage how it differs."""
    say = difference.words.say
    heads = [say(head) for head in ("stage", "diff_this", "diff_other")]
    width = min(_WIDEST, max(20, console.width - 2 * _column(difference) - 2))
    _print(Text(f"{say('diff_title')}: {difference.title}", style="bold"), console)
    _print(_line(difference, heads[0], heads[1], heads[2], width, "bold"), console)
    for pair in difference.pairs:
        style = _STYLES[pair.tone]
        indented = "  " * pair.level + pair.description
        _print(_line(difference, indented, pair.this, pair.other, width, style), console)
        for said in pair.differences:
            _print(Text(f"{'  ' * pair.level}  · {said}", style=style or "dim"), console)


def _line(difference: Difference, left: str, this: str, other: str, width: int, style: str) -> Text:
    column = _column(difference)
    text = Text(left, style=style, no_wrap=True)
    text.truncate(width, overflow="ellipsis", pad=True)
    for cell in (this, other):
        text.append(" " * max(0, column - cell_len(cell)) + cell)
    return text


def _column(difference: Difference) -> int:
    say = difference.words.say
    return 2 + max(8, cell_len(say("diff_this")), cell_len(say("diff_other")))


def _print(text: Text, console: Console) -> None:
    text.plain = fitted(text.plain, console.encoding)
    text.truncate(console.width, overflow="ellipsis")
    text.rstrip()
    console.print(text, soft_wrap=True, highlight=False)
