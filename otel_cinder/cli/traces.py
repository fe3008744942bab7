"""What `show` and `report` have in common: where traces come from, and in which language they are told."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from otel_cinder.cli.plain_text import can_write
from otel_cinder.reading.sources import SourceError, is_id, read, with_id
from otel_cinder.reading.trace import Trace
from otel_cinder.reading.words import LANGUAGES, Words, language_of, words

_MOST = 20
"""Traces that are shown at once."""

Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS = (
    click.argument("source"),
    click.option(
        "--jaeger", metavar="URL", help="SOURCE is an id: ask Jaeger here (http://HOST:16686)."
    ),
    click.option(
        "--tempo", metavar="URL", help="SOURCE is an id: ask Tempo here (http://HOST:3200)."
    ),
    click.option(
        "--header",
        "headers",
        multiple=True,
        metavar="'NAME: VALUE'",
        help="A header for Jaeger or Tempo: a token, a tenant. May be repeated.",
    ),
    click.option(
        "--days",
        default=7.0,
        show_default=True,
        type=click.FloatRange(min=0, min_open=True),
        help="How far back Jaeger or Tempo searches.",
    ),
    click.option(
        "--timeout",
        default=30.0,
        show_default=True,
        type=click.FloatRange(min=0, min_open=True),
        help="Seconds to wait for each answer of Jaeger or Tempo.",
    ),
    click.option(
        "--id",
        "wanted",
        metavar="ID",
        help="Of the traces in SOURCE those of this trace, request, volume, snapshot or backup.",
    ),
    click.option(
        "--diff",
        "other",
        metavar="OTHER",
        help="Compare with the same operation in OTHER, which is a file or an id as SOURCE is.",
    ),
    click.option(
        "--lang",
        type=click.Choice(LANGUAGES),
        help="English or Chinese; by default as the locale says.",
    ),
)


def takes_source(command: Command) -> Command:
    """Give a command the argument SOURCE and the options about it."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def load(source: str, given: dict[str, Any]) -> list[Trace]:
    """The traces that the options ask for; ends the program with a sentence where there are none."""
    try:
        return _load(source, given)
    except SourceError as error:
        fail(str(error), 2 if error.found else 1)


def fail(sentence: str, status: int = 2) -> NoReturn:
    """End the program with one sentence: 1 if there is nothing to show, 2 if it could not look."""
    click.echo(f"otel-cinder: {sentence}.", err=True)
    sys.exit(status)


def told_in(language: str | None, encoding: str) -> Words:
    """The words of the wanted language, or of the locale's, if the encoding has its letters."""
    chosen = words(language or language_of())
    if can_write(chosen.say("title"), encoding):
        return chosen
    if language:
        fail(f"Choose a UTF-8 locale, or --lang en: {encoding} has no Chinese letters")
    return words("en")


def pair_of(these: Sequence[Trace], those: Sequence[Trace]) -> tuple[Trace, Trace]:
    """The two traces to compare: the first of these, and of those the one that began alike."""
    this = max(these, key=len)
    name = this.tops()[0].name
    alike = [trace for trace in those if trace.tops()[0].name == name]
    return this, max(alike or those, key=len)


def _load(source: str, given: dict[str, Any]) -> list[Trace]:
    traces = _found(source, given)
    wanted = given.get("wanted")
    if wanted:
        traces = with_id(traces, wanted)
        if not traces:
            raise SourceError(f"Check the id: {source} has no trace of {wanted}", found=False)
    if len(traces) > _MOST:
        click.echo(
            f"otel-cinder: {source} has {len(traces)} traces; the last {_MOST} follow, and --id "
            "chooses.",
            err=True,
        )
    return traces[-_MOST:]


def _found(source: str, given: dict[str, Any]) -> list[Trace]:
    if given.get("jaeger") and given.get("tempo"):
        raise SourceError("Give --jaeger or --tempo: one of them is asked")
    is_file = source == "-" or os.path.exists(source)  # noqa: PTH110 - a name may be no path at all
    if (given.get("jaeger") or given.get("tempo")) and not is_file:
        return _asked(source, given)
    if not is_file and is_id(source):
        raise SourceError(
            f"Add --jaeger URL or --tempo URL: {source} is an id, and there is no file of that name"
        )
    if is_file and source != "-" and Path(source).is_dir():
        raise SourceError(f"Name a file: {source} is a folder")
    records = read(source)
    if records.bad_lines:
        click.echo(
            f"otel-cinder: {records.bad_lines} line(s) of {source} are left out: they are cut short, or "
            "no OTLP/JSON.",
            err=True,
        )
    return records.traces()


def _asked(source: str, given: dict[str, Any]) -> list[Trace]:
    # `requests` takes a while to import.
    from otel_cinder.reading.backends import Asking, Jaeger, Tempo

    headers = {}
    for header in given.get("headers") or ():
        name, colon, value = header.partition(":")
        if not colon or not name.strip():
            raise SourceError("Write --header as 'NAME: VALUE': a colon is missing")
        headers[name.strip()] = value.strip()
    asking = Asking(headers, given.get("timeout", 30.0), given.get("days", 7.0))
    if given.get("jaeger"):
        return Jaeger(given["jaeger"], asking).traces(source)
    return Tempo(given["tempo"], asking).traces(source)
