"""Notes as Markdown, with tables as GitHub, GitLab and Gitea draw them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from otel_cinder import __version__
from otel_cinder.reading.diff import Difference
from otel_cinder.reading.notes import Item, Notes, Row

_SPECIAL = re.compile(r"([\\`*_\[\]|~#])")


def to_markdown(all_notes: Iterable[Notes], difference: Difference | None = None) -> str:
    """The notes on each trace, one after the other; before them how two of them differ, if given."""
    parts = list(_difference(difference)) if difference else []
    for notes in all_notes:
        parts += [*_notes(notes), ""]
    return "\n".join(parts).rstrip() + "\n"


def _notes(notes: Notes) -> Iterator[str]:
    say = notes.story.words.say
    yield f"# {escaped(notes.title)}\n"
    for label, text in notes.summary:
        yield "- " + say("labelled", label=escaped(label), text=escaped(text))
    yield f"\n| {escaped(say('columns_description'))} | {escaped(say('columns_detail'))} |"
    yield "| --- | --- |"
    for row in notes.rows:
        yield f"| {_description(row)} | {'<br>'.join(_item(notes, item) for item in row.items)} |"
    made = say("made_by", version=__version__, trace=notes.story.trace.trace_id)
    yield f"\n{escaped(made)}"


def _description(row: Row) -> str:
    # No-break spaces, which alone indent in a table.
    indent = "&nbsp;&nbsp;" * row.level
    text = escaped(row.description)
    return indent + (text if row.stage.kind == "wait" else f"**{text}**")


def _item(notes: Notes, item: Item) -> str:
    text = escaped(item.text)
    if item.kind == "source" and item.link:
        text = f"[{text}]({item.link})"
    elif item.kind in ("error", "states") and item.tone == "bad":
        text = f"**{text}**"
    if item.source:
        source = escaped(item.source)
        text += f" ([{source}]({item.link}))" if item.link else f" ({source})"
    return notes.story.words.say("labelled", label=escaped(item.label), text=text)


def _difference(difference: Difference) -> Iterator[str]:
    say = difference.words.say
    yield f"# {escaped(say('diff_title'))}: {escaped(difference.title)}\n"
    heads = ("stage", "diff_this", "diff_other", "diff_column")
    yield "| " + " | ".join(escaped(say(head)) for head in heads) + " |"
    yield "| --- | ---: | ---: | --- |"
    for pair in difference.pairs:
        indent = "&nbsp;&nbsp;" * pair.level
        cells = (indent + escaped(pair.description), escaped(pair.this), escaped(pair.other))
        yield f"| {' | '.join(cells)} | {'<br>'.join(map(escaped, pair.differences))} |"
    yield ""


def escaped(text: str) -> str:
    """Text as Markdown that shows just it: no markup, no HTML, no end of a cell."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # A bare address would become a link.
    return _SPECIAL.sub(r"\\\1", text).replace("://", "&#58;//")
