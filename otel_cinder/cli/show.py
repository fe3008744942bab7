"""`otel-cinder show`: a trace in the terminal."""

from __future__ import annotations

import sys
from typing import Any

import click
from rich.console import Console

from otel_cinder.cli.difference import draw_difference
from otel_cinder.cli.table import UNLIMITED, draw_table
from otel_cinder.cli.traces import load, options, pair_of, takes_source, told_in
from otel_cinder.cli.tree import draw
from otel_cinder.reading.diff import difference_of
from otel_cinder.reading.story import Story

FORMS = {"tree": draw, "table": draw_table}
"""What draws a trace, by --format."""

colours = click.option(
    "--no-colour", "--no-color", "plain", is_flag=True, help="No colours; NO_COLOR says the same."
)
"""Give a command the option about colours."""

draws = options(
    click.option(
        "--format",
        "form",
        type=click.Choice(list(FORMS)),
        default="tree",
        show_default=True,
        help="A line a span, or notes in two columns.",
    ),
    colours,
)
"""Give a command the options about drawing."""


@click.command()
@takes_source
@draws
def show(source: str, form: str, plain: bool, lang: str | None, **given: Any) -> None:
    """Show a trace in the terminal.

    SOURCE is a file of OTLP/JSON lines, as the collector's file exporter writes it, or of Jaeger's
    JSON; `-` for standard input; or, with --jaeger or --tempo, the id of a trace, a request (req-…),
    a volume, a snapshot or a backup.
    """
    console = console_of(plain)
    words = told_in(lang, console.encoding)
    traces = load(source, given, words)
    if given["other"]:
        this, other = pair_of(traces, load(given["other"], {**given, "wanted": None}, words))
        draw_difference(difference_of(Story(this, words), Story(other, words)), console)
        return
    for index, trace in enumerate(traces):
        if index:
            console.print()
        FORMS[form](trace, console, words)


def console_of(plain: bool, *, error: bool = False) -> Console:
    """Standard output or error as a console: as wide as a terminal.

    Not a terminal has no end, so that nothing is cut.
    """
    width = None if (sys.stderr if error else sys.stdout).isatty() else UNLIMITED
    return Console(highlight=False, no_color=plain or None, width=width, stderr=error)
