"""Shared by `show` and `report`: the source of traces, and the language."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from urllib.parse import unquote

import click

from otel_cinder.cli.plain_text import can_write
from otel_cinder.reading.sources import SourceError, is_id, read, with_id
from otel_cinder.reading.trace import Trace
from otel_cinder.reading.words import LANGUAGES, Words, language_of, words
from otel_cinder.settings import QUERY_HEADERS

if TYPE_CHECKING:
    from otel_cinder.reading.backends import Backend

_MOST = 20
"""Traces that are shown at once."""

Command = TypeVar("Command", bound=Callable[..., Any])


def options(*decorators: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Several options as one decorator, in the order of the help."""

    def decorate(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


speaks = click.option(
    "--lang",
    type=click.Choice(LANGUAGES),
    help="English or Chinese; by default as the locale says.",
)
"""Give a command the option about its language."""


def asks_a_backend(help_text: str) -> Callable[[Command], Command]:
    """Give a command the options about Jaeger and Tempo; ``help_text`` has places for name and URL."""
    return options(
        click.option(
            "--jaeger",
            metavar="URL",
            help=help_text.format(name="Jaeger", url="http://HOST:16686"),
        ),
        click.option(
            "--tempo", metavar="URL", help=help_text.format(name="Tempo", url="http://HOST:3200")
        ),
        click.option(
            "--header",
            "headers",
            multiple=True,
            metavar="'NAME: VALUE'",
            help="A header for Jaeger or Tempo: a token, a tenant. May be repeated. Other users of this "
            f"host can read it: {QUERY_HEADERS} takes NAME=VALUE,NAME=VALUE instead.",
        ),
        click.option(
            "--timeout",
            default=30.0,
            show_default=True,
            type=click.FloatRange(min=0, min_open=True),
            help="Seconds to wait for each answer of Jaeger or Tempo.",
        ),
    )


takes_source = options(
    click.argument("source"),
    asks_a_backend("SOURCE is an id: ask {name} here ({url})."),
    click.option(
        "--days",
        default=7.0,
        show_default=True,
        type=click.FloatRange(min=0, min_open=True),
        help="How far back Jaeger or Tempo searches.",
    ),
    click.option(
        "--id",
        "wanted",
        metavar="ID",
        help="Show only traces in SOURCE with this id of a trace, request, volume, snapshot or backup.",
    ),
    click.option(
        "--diff",
        "other",
        metavar="OTHER",
        help="Compare with the same operation in OTHER, a file or an id like SOURCE.",
    ),
    speaks,
)
"""Give a command the argument SOURCE and the options about it."""


def load(source: str, given: dict[str, Any], said: Words) -> list[Trace]:
    """The traces that the options ask for; ends the program with a sentence where there are none."""
    try:
        return _load(source, given, said)
    except SourceError as error:
        fail(said.sentence(error.sentence, **error.given), 2 if error.found else 1)


def fail(sentence: str, status: int = 2) -> NoReturn:
    """End the program with one sentence: 1 if there is nothing to show, 2 if it could not look."""
    click.echo(f"otel-cinder: {sentence}", err=True)
    sys.exit(status)


def backend_of(given: dict[str, Any]) -> Backend | None:
    """The backend that the options name, if they do; raises SourceError."""
    jaeger, tempo = given.get("jaeger"), given.get("tempo")
    if jaeger and tempo:
        raise SourceError("two_backends")
    if not (jaeger or tempo):
        return None
    # `requests` takes a while to import.
    from otel_cinder.reading.backends import Asking, Jaeger, Tempo

    asking = Asking(_headers(given), given.get("timeout", 30.0), given.get("days", 7.0))
    return Jaeger(jaeger, asking) if jaeger else Tempo(str(tempo), asking)


def _headers(given: dict[str, Any]) -> dict[str, str]:
    """The headers of the variable, and those of the command line, which prevail."""
    headers: dict[str, str] = {}
    # As OTEL_EXPORTER_OTLP_HEADERS is written (W3C Baggage, without properties).
    for part in filter(str.strip, os.environ.get(QUERY_HEADERS, "").split(",")):
        name, equals, value = part.partition("=")
        if not equals or not name.strip():
            raise SourceError("no_headers", variable=QUERY_HEADERS)
        headers[unquote(name).strip().lower()] = unquote(value).strip()
    for header in given.get("headers") or ():
        name, colon, value = header.partition(":")
        if not colon or not name.strip():
            raise SourceError("no_colon")
        headers[name.strip().lower()] = value.strip()
    return headers


def told_in(language: str | None, encoding: str, status: int = 2) -> Words:
    """The words of the wanted language, or of the locale's, if the encoding has its letters.

    Ends the program with this status if the wanted one can't be written.
    """
    chosen = words(language or language_of())
    if can_write(chosen.say("title"), encoding):
        return chosen
    if language:
        fail(words("en").sentence("no_letters", encoding=encoding), status)
    return words("en")


def pair_of(these: Sequence[Trace], those: Sequence[Trace]) -> tuple[Trace, Trace]:
    """The two traces to compare: the first of these, and of those the one that began alike."""
    this = max(these, key=len)
    name = this.tops()[0].name
    alike = [trace for trace in those if trace.tops()[0].name == name]
    return this, max(alike or those, key=len)


def _load(source: str, given: dict[str, Any], said: Words) -> list[Trace]:
    traces = _found(source, given, said)
    wanted = given.get("wanted")
    if wanted:
        traces = with_id(traces, wanted)
        if not traces:
            raise SourceError("not_in_file", found=False, source=source, wanted=wanted)
    if len(traces) > _MOST:
        _note(said.sentence("many_traces", source=source, count=len(traces), most=_MOST))
    return traces[-_MOST:]


def _found(source: str, given: dict[str, Any], said: Words) -> list[Trace]:
    backend = backend_of(given)
    is_file = source == "-" or os.path.exists(source)  # noqa: PTH110 - a name may be no path at all
    if backend is not None and not is_file:
        return backend.traces(source)
    if not is_file and is_id(source):
        raise SourceError("id_without_backend", source=source)
    if is_file and source != "-" and Path(source).is_dir():
        raise SourceError("folder", source=source)
    name = said.sentence("standard_input") if source == "-" else source
    records = read(source, name)
    if records.bad_lines:
        _note(said.sentence("bad_lines", count=records.bad_lines, source=name))
    return records.traces()


def _note(sentence: str) -> None:
    click.echo(f"otel-cinder: {sentence}", err=True)
