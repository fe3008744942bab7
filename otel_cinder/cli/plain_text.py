"""Text for terminals: in lines as wide as they are, with the signs that they have."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

_ASCII = str.maketrans(
    {"├": "|", "└": "`", "│": "|", "─": "-", "◂": "<", "▸": ">", "━": "=", "…": ".", "µ": "u"}
    | {"✗": "x", "·": "-", "→": ">", "█": "#", "✓": "+", "▶": ">", "○": "o", "↑": "up", "↓": "down"}
)
_SIGNS = "├└│─━✗…µ→✓▶○↑↓"
_ANY_CONSOLE = Console()  # Text.wrap() asks for one, and needs it to justify only


def fitted(text: str, encoding: str) -> str:
    """The text with signs that ``encoding`` has; ``?`` for letters that it has not."""
    if can_write(_SIGNS, encoding):
        return text if can_write(text, encoding) else _replaced(text, encoding)
    return _replaced(text.translate(_ASCII), encoding)


def print_line(text: Text, console: Console) -> None:
    """Print a text as one line, with the signs that the console has."""
    text.plain = fitted(text.plain, console.encoding)
    text.rstrip()
    console.print(text, soft_wrap=True, highlight=False)


def folded(text: Text, width: int, indent: str, least: int = 1) -> Iterator[Text]:
    """A text in indented lines of ``width`` columns; wide characters count as two.

    Where fewer than ``least`` columns are left, they are not indented.
    """
    room = width - len(indent)
    if room < least:
        room, indent = max(1, width), ""
    for line in text.wrap(_ANY_CONSOLE, room, overflow="fold"):
        line.rstrip()
        yield Text(indent) + line


def can_write(text: str, encoding: str) -> bool:
    """Return whether an encoding has all of these characters; one that is not known has none."""
    try:
        text.encode(encoding)
    except (UnicodeError, LookupError):
        return False
    return True


def _replaced(text: str, encoding: str) -> str:
    try:
        return text.encode(encoding, "replace").decode(encoding)
    except LookupError:
        return text.encode("ascii", "replace").decode()
