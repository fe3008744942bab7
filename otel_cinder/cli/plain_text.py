"""Text for terminals that have few signs."""

from __future__ import annotations

_ASCII = str.maketrans(
    {"├": "|", "└": "`", "│": "|", "─": "-", "◂": "<", "▸": ">", "━": "=", "…": ".", "µ": "u"}
    | {"✗": "x", "·": "-", "→": ">", "█": "#", "✓": "+", "▶": ">", "○": "o", "↑": "up", "↓": "down"}
)
_SIGNS = "├└│─━✗…µ→✓▶○↑↓"


def fitted(text: str, encoding: str) -> str:
    """The text with signs that ``encoding`` has; ``?`` for letters that it has not."""
    if can_write(_SIGNS, encoding):
        return text if can_write(text, encoding) else _replaced(text, encoding)
    return _replaced(text.translate(_ASCII), encoding)


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
