"""A trace as a timeline in SVG: a bar a stage, in the colours of the page that it is in."""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape

from otel_cinder.reading.notes import Notes, Row
from otel_cinder.reading.story import duration_text

WIDTH = 1000
_LABELS = 380
_RIGHT = 64  # for the duration behind a bar that ends at the end
_LINE = 22
_ROWS = 50
"""Of one piece."""
_HEAD = 26
_INDENT = 10
_NARROWEST = 2.0
_LETTER, _WIDE_LETTER = 6.6, 12.4  # widths at 12 px, roughly: what does not fit is cut
COLOURS = 6


def timelines(notes: Notes, first: int = 1) -> str:
    """The timeline, in pieces that each fit on a printed page.

    Bars link to ``#stage-N``, from ``first`` on.
    """
    begins = range(0, len(notes.rows), _ROWS)
    return "\n".join(_piece(notes, begin, first) for begin in begins)


def _piece(notes: Notes, begin: int, first: int) -> str:
    rows = notes.rows[begin : begin + _ROWS]
    height = _HEAD + _LINE * len(rows) + 6
    label = escape(notes.story.words.say("timeline"), quote=True)
    head = (
        f'<svg class="timeline" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{label}" '
        'xmlns="http://www.w3.org/2000/svg">'
    )
    parts = [head, *_axis(notes, height)]
    for index, row in enumerate(rows):
        parts += _bar(notes, row, index, first + begin)
    return "\n".join([*parts, "</svg>"])


def colour_of(service: str, services: tuple[str, ...]) -> int:
    """The number of a service's colour."""
    return services.index(service) % COLOURS if service in services else 0


def _scale(notes: Notes) -> float:
    total = max(1, notes.story.trace.end_ns - notes.story.trace.start_ns)
    return (WIDTH - _LABELS - _RIGHT) / total


def _axis(notes: Notes, height: int) -> Iterator[str]:
    total = max(1, notes.story.trace.end_ns - notes.story.trace.start_ns)
    step = _step(total)
    for number in range(int(total // step) + 1):
        x = _LABELS + number * step * _scale(notes)
        yield f'<line class="tick" x1="{x:.1f}" y1="{_HEAD - 6}" x2="{x:.1f}" y2="{height}"/>'
        text = duration_text(round(number * step)) if number else "0"
        yield f'<text class="scale" x="{x:.1f}" y="14">{text}</text>'


def _step(total: int) -> float:
    """A round number of ns, of which four to nine make up the whole."""
    rough = total / 6
    magnitude = 10.0 ** math.floor(math.log10(rough)) if rough > 0 else 1.0
    return next(factor * magnitude for factor in (1, 2, 5, 10) if rough <= factor * magnitude)


def _bar(notes: Notes, row: Row, index: int, first: int) -> Iterator[str]:
    stage, scale, services = row.stage, _scale(notes), notes.story.trace.services
    y = _HEAD + index * _LINE
    longest = WIDTH - _LABELS - _RIGHT
    begin = min(longest - _NARROWEST, max(0.0, stage.offset_ns * scale))
    length = min(longest - begin, max(_NARROWEST, stage.duration_ns * scale))
    kind = "wait" if stage.kind == "wait" else f"service-{colour_of(stage.service, services)}"
    if stage.error or stage.tone == "bad":
        kind += " failed"
    duration = duration_text(stage.duration_ns)
    title = f"{row.description} · {stage.name} · {duration}"
    if stage.error:
        title += f" · {stage.error}"
    x = 4 + row.level * _INDENT
    label = cut(row.description, _LABELS - x - 12)
    yield f'<a href="#stage-{index + first}"><title>{escape(title)}</title>'
    yield f'<rect class="hit" x="0" y="{y}" width="{WIDTH}" height="{_LINE}"/>'
    yield f'<text class="label" x="{x}" y="{y + 15}">{escape(label)}</text>'
    yield (
        f'<rect class="bar {kind}" x="{_LABELS + begin:.1f}" y="{y + 4}" width="{length:.1f}" '
        f'height="{_LINE - 8}" rx="2"/>'
    )
    yield (
        f'<text class="duration" x="{_LABELS + begin + length + 5:.1f}" y="{y + 15}">'
        f"{escape(duration)}</text></a>"
    )


def cut(text: str, room: float) -> str:
    """As much of a text as fits into so many pixels at 12 px."""
    used = 0.0
    for index, letter in enumerate(text):
        used += _WIDE_LETTER if ord(letter) >= 0x2E80 else _LETTER
        if used > room:
            return text[: max(0, index - 1)] + "…"
    return text
