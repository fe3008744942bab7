"""A terminal's screens as one moving SVG: each line once for as long as it is seen.

It loads nothing and needs no script. Where nothing moves, it is the last screen.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from rich.cells import cell_len

Run = tuple[str, str, bool]
"""Text, colour, whether it is bold."""

Row = tuple[Run, ...]


@dataclass(frozen=True)
class Frame:
    """A screen, and when it was seen first, in seconds."""

    at: float
    rows: tuple[Row, ...]


_CELL, _LINE, _SIZE = 8.0, 18, 13.3
_MARGIN, _TITLE = 16, 40
_HOLD_S = 4.0
_DARK = {
    "default": "#d5dae3", "black": "#d5dae3", "brightblack": "#7d8797", "red": "#ff7b72",
    "green": "#56d364", "brown": "#e3b341", "blue": "#79c0ff", "magenta": "#d2a8ff",
    "cyan": "#56d4dd", "white": "#f0f3f6", "back": "#0d1117", "edge": "#30363d",
}  # fmt: skip
_LIGHT = {
    "default": "#24292f", "black": "#24292f", "brightblack": "#6e7781", "red": "#cf222e",
    "green": "#116329", "brown": "#7d4e00", "blue": "#0969da", "magenta": "#8250df",
    "cyan": "#0b6e7d", "white": "#24292f", "back": "#ffffff", "edge": "#d0d7de",
}  # fmt: skip
_FONT = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono','Liberation Mono',monospace"


def picture(frames: Sequence[Frame], columns: int, title: str) -> str:
    """The frames as an SVG."""
    lasts = frames[-1].at - frames[0].at + _HOLD_S
    height = max(len(frame.rows) for frame in frames)
    size = (columns * _CELL + 2 * _MARGIN, height * _LINE + _TITLE + _MARGIN)
    names: dict[str, str] = {}
    body = [
        _line(row, index, _class_of(spans, lasts, names), is_last=spans[-1][1] >= lasts)
        for index, row, spans in _seen(frames, lasts)
    ]
    rules = "".join(
        f".{name}{{animation:{name} {lasts:.1f}s step-end infinite}}@keyframes {name}{{{moments}}}"
        for moments, name in names.items()
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size[0]:.0f} {size[1]:.0f}" '
        f'role="img" aria-label="{escape(title)}">\n<style>{_styles()}{rules}</style>\n'
        f'<rect class="back" x=".5" y=".5" width="{size[0] - 1:.0f}" height="{size[1] - 1:.0f}" rx="8"/>\n'
        f'<text class="title" x="{size[0] / 2:.0f}" y="25" text-anchor="middle">{escape(title)}</text>\n'
        + "\n".join(body)
        + "\n</svg>\n"
    )


def _seen(
    frames: Sequence[Frame], lasts: float
) -> Iterable[tuple[int, Row, list[tuple[float, float]]]]:
    """Each line of text with its place and the times, in seconds, between which it was there."""
    seen: dict[tuple[int, Row], list[tuple[float, float]]] = {}
    start = frames[0].at
    ends = [frame.at - start for frame in frames[1:]] + [lasts]
    for frame, end in zip(frames, ends, strict=True):
        for index, row in enumerate(frame.rows):
            if not "".join(text for text, _, _ in row).strip():
                continue
            times = seen.setdefault((index, row), [])
            begin = frame.at - start
            if times and times[-1][1] == begin:
                times[-1] = times[-1][0], end
            else:
                times.append((begin, end))
    return [(index, row, times) for (index, row), times in seen.items()]


def _class_of(spans: list[tuple[float, float]], lasts: float, names: dict[str, str]) -> str:
    """The class of what is seen at these times; none for what is always seen."""
    if spans == [(0.0, lasts)]:
        return ""
    moments = [] if spans[0][0] == 0 else ["0%{visibility:hidden}"]
    for begin, end in spans:
        moments.append(f"{begin / lasts:.2%}{{visibility:visible}}")
        if end < lasts:
            moments.append(f"{end / lasts:.2%}{{visibility:hidden}}")
    return names.setdefault("".join(moments), f"a{len(names)}")


def _line(row: Row, index: int, name: str, *, is_last: bool) -> str:
    text = "".join(part for part, _, _ in row)
    y = _TITLE + index * _LINE + 13
    inner = "".join(_part(*run) for run in row)
    attributes = f' class="{name}"' if name else ""
    if name and not is_last:
        attributes += ' visibility="hidden"'
    return (
        f'<text{attributes} x="{_MARGIN}" y="{y}" textLength="{cell_len(text) * _CELL:g}">'
        f"{inner}</text>"
    )


def _part(text: str, colour: str, bold: bool) -> str:
    names = " ".join(filter(None, [colour if colour != "default" else "", "bold" if bold else ""]))
    return f'<tspan class="{names}">{escape(text)}</tspan>' if names else escape(text)


def _styles() -> str:
    def colours(of: dict[str, str]) -> str:
        return "".join(f".{name}{{fill:{colour}}}" for name, colour in of.items() if name[0] != "e")

    return (
        f"text{{font:{_SIZE}px {_FONT};white-space:pre;fill:{_DARK['default']}}}"
        f".bold{{font-weight:bold}}.title{{fill:{_DARK['brightblack']}}}{colours(_DARK)}"
        f".back{{stroke:{_DARK['edge']}}}"
        f"@media(prefers-color-scheme:light){{text{{fill:{_LIGHT['default']}}}"
        f".title{{fill:{_LIGHT['brightblack']}}}{colours(_LIGHT)}.back{{stroke:{_LIGHT['edge']}}}}}"
    )


def runs(cells: Iterable[tuple[str, str, bool]]) -> Row:
    """Cells of a line, each with its colour, as runs; blanks at its end are left out."""
    grouped = [
        ("".join(cell[0] for cell in group), colour, bold)
        for (colour, bold), group in itertools.groupby(cells, key=lambda cell: cell[1:])
    ]
    while grouped and not grouped[-1][0].strip():
        grouped.pop()
    if grouped:
        text, colour, bold = grouped[-1]
        grouped[-1] = text.rstrip(), colour, bold
    return tuple(grouped)
