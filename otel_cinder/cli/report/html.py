"""Notes as one HTML file: it loads nothing, and needs no scripts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape
from importlib import resources

from otel_cinder import __version__
from otel_cinder.cli.report.timeline import colour_of, timelines
from otel_cinder.reading.diff import Difference
from otel_cinder.reading.notes import Item, Notes, Row

_LANGUAGES = {"en": "en", "zh": "zh-Hans"}
# Nothing is to be fetched or run, whatever a trace has brought in.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def to_html(all_notes: Iterable[Notes], difference: Difference | None = None) -> str:
    """The notes on each trace as one page; before them how two of them differ, if given."""
    pages = list(all_notes)
    words = pages[0].story.words if pages else None
    language = _LANGUAGES.get(words.language, "en") if words else "en"
    title = f"{pages[0].title} · {pages[0].story.trace.trace_id[:8]}" if pages else ""
    style = resources.files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    body = list(_difference(difference)) if difference else []
    first = 1
    for notes in pages:
        body += _article(notes, first)
        first += len(notes.rows)
    return "\n".join(
        [
            "<!DOCTYPE html>",
            f'<html lang="{language}">',
            '<head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="referrer" content="no-referrer">',
            f'<meta name="generator" content="otel-cinder {escape(__version__)}">',
            f"<title>{escape(title)}</title>",
            f"<style>\n{style}</style></head>",
            "<body>",
            *body,
            "</body></html>\n",
        ]
    )


def _article(notes: Notes, first: int) -> Iterator[str]:
    say = notes.story.words.say
    yield f"<article>\n<h1>{escape(notes.title)}</h1>"
    yield '<dl class="summary">'
    for label, text in notes.summary:
        outcome = label == say("outcome")
        kind = f' class="outcome-{_outcome(notes)}"' if outcome else ""
        yield f"<dt>{escape(label)}</dt><dd{kind}>{escape(text)}</dd>"
    yield "</dl>"
    yield f"<h2>{escape(say('timeline'))}</h2>"
    yield f'<div class="scroll">{timelines(notes, first)}</div>'
    yield from _legend(notes)
    yield f"<h2>{escape(say('stages'))}</h2>"
    yield '<table class="notes"><thead><tr>'
    for head in ("columns_description", "columns_detail"):
        yield f'<th scope="col">{escape(say(head))}</th>'
    yield "</tr></thead><tbody>"
    for number, row in enumerate(notes.rows, first):
        yield from _row(row, number)
    yield "</tbody></table>"
    made = say("made_by", version=__version__, trace=notes.story.trace.trace_id)
    yield f"<footer>{escape(made)}</footer>\n</article>"


def _outcome(notes: Notes) -> str:
    if notes.story.final_error:
        return "bad"
    return "warn" if notes.story.any_error else "good"


def _legend(notes: Notes) -> Iterator[str]:
    services = notes.story.trace.services
    yield '<ul class="legend">'
    entries = [(f"service-{colour_of(name, services)}", name) for name in services if name]
    if any(row.stage.kind == "wait" for row in notes.rows):
        entries.append(("wait", notes.story.words.say("waits")))
    if notes.story.any_error:
        entries.append(("failed", notes.story.words.say("failed")))
    for kind, text in entries:
        square = f'<svg viewBox="0 0 10 10"><rect class="{kind}" width="10" height="10"/></svg>'
        yield f"<li>{square}{escape(text)}</li>"
    yield "</ul>"


def _row(row: Row, number: int) -> Iterator[str]:
    tone = f" {row.stage.tone}" if row.stage.tone in ("bad", "warn") else ""
    yield f'<tr id="stage-{number}" class="kind-{row.stage.kind} level-{row.level}{tone}">'
    yield f'<td>{escape(row.description)}</td><td><ul class="items">'
    yield from map(_item, row.items)
    yield "</ul></td></tr>"


def _item(item: Item) -> str:
    text = f'<span class="text tone-{item.tone}">{escape(item.text)}</span>'
    if item.kind == "source":
        text = _linked(text, item.link)
    if item.source:
        text += f'<span class="where-logged">{_linked(escape(item.source), item.link)}</span>'
    return f'<li class="{item.kind}"><span class="label">{escape(item.label)}</span>{text}</li>'


def _linked(text: str, link: str) -> str:
    return f'<a href="{escape(link, quote=True)}">{text}</a>' if link else text


def _difference(difference: Difference) -> Iterator[str]:
    say = difference.words.say
    yield f"<article>\n<h1>{escape(say('diff_title'))}: {escape(difference.title)}</h1>"
    yield '<table class="difference"><thead><tr>'
    for head in ("stage", "diff_this", "diff_other", "diff_column"):
        yield f'<th scope="col">{escape(say(head))}</th>'
    yield "</tr></thead><tbody>"
    for pair in difference.pairs:
        said = "<br>".join(map(escape, pair.differences))
        cells = (escape(pair.description), escape(pair.this), escape(pair.other))
        yield f'<tr class="level-{pair.level}">{"".join(f"<td>{cell}</td>" for cell in cells)}'
        yield f'<td class="tone-{pair.tone}">{said}</td></tr>'
    yield "</tbody></table>\n</article>"
