"""`otel-cinder show`: a trace in the terminal."""

from __future__ import annotations

import sys
from typing import Any

import click
from rich.console import Console

from otel_cinder.cli.difference import draw_difference
from otel_cinder.cli.table import UNLIMITED, draw_table
from otel_cinder.cli.traces import load, pair_of, takes_source, told_in
from otel_cinder.cli.tree import draw
from otel_cinder.reading.diff import difference_of
from otel_cinder.reading.story import Story


@click.command()
@takes_source
@click.option(
    "--format",
    "form",
    type=click.Choice(["tree", "table"]),
    default="tree",
    show_default=True,
    help="A line a span, or notes in two columns.",
)
@click.option(
    "--no-colour", "--no-color", "plain", is_flag=True, help="No colours; NO_COLOR says the same."
)
def show(source: str, form: str, plain: bool, lang: str | None, **given: Any) -> None:
    """Show a trace in the terminal.

    SOURCE is a file of OTLP/JSON lines, as the collector's file exporter writes it, or of Jaeger's
    JSON; `-` for standard input; or, with --jaeger or --tempo, the id of a trace, a request (req-…),
    a volume, a snapshot or a backup.
    """
    console = console_of(plain)
    words = told_in(lang, console.encoding)
    traces = load(source, given)
    if given["other"]:
        this, other = pair_of(traces, load(given["other"], {**given, "wanted": None}))
        draw_difference(difference_of(Story(this, words), Story(other, words)), console)
        return
    for index, trace in enumerate(traces):
        if index:
            console.print()
        (draw if form == "tree" else draw_table)(trace, console, words)


def console_of(plain: bool) -> Console:
    """The console: as wide as a terminal; not a terminal has no end, so that nothing is cut."""
    width = None if sys.stdout.isatty() else UNLIMITED
    return Console(highlight=False, no_color=plain or None, width=width)
