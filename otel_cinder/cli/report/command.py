"""`otel-cinder report`: notes on a trace as a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from otel_cinder.cli.report.html import to_html
from otel_cinder.cli.report.markdown import to_markdown
from otel_cinder.cli.traces import fail, load, pair_of, takes_source, told_in
from otel_cinder.reading.diff import Difference, difference_of
from otel_cinder.reading.notes import Notes, notes_of
from otel_cinder.reading.story import Story

_FORMATS = {"html": to_html, "markdown": to_markdown}
_SUFFIXES = {".html": "html", ".htm": "html", ".md": "markdown", ".markdown": "markdown"}


@click.command()
@takes_source
@click.option(
    "--format",
    "form",
    type=click.Choice(sorted(_FORMATS)),
    help="By default, the extension of --output decides, or else Markdown.",
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    default="-",
    help="File to write; by default, standard output.",
)
def report(source: str, form: str | None, output: str, lang: str | None, **given: Any) -> None:
    """Write notes on a trace, to keep or to attach to a bug report.

    Markdown, or one HTML file with a timeline that loads nothing and prints well. SOURCE is as for
    `show`.
    """
    words = told_in(lang, "utf-8")
    traces = load(source, given, words)
    difference = None
    if given["other"]:
        pair = pair_of(traces, load(given["other"], {**given, "wanted": None}, words))
        difference = difference_of(*(Story(trace, words) for trace in pair))
        traces = list(pair)
    notes = [notes_of(Story(trace, words)) for trace in traces]
    try:
        write_notes(notes, output, form, difference)
    except OSError as error:
        fail(
            words.sentence(
                "cannot_write", option="--output", file=output, why=error.strerror or error
            )
        )


def write_notes(
    notes: Sequence[Notes],
    output: str,
    form: str | None = None,
    difference: Difference | None = None,
) -> None:
    """Write notes to a file, or to standard output for ``-``; raises OSError.

    The form is Markdown, if neither it nor the file's name says otherwise.
    """
    chosen = form or _SUFFIXES.get(Path(output).suffix.lower(), "markdown")
    content = _FORMATS[chosen](notes, difference).encode("utf-8", "replace")
    with click.open_file(output, "wb") as file:
        file.write(content)
