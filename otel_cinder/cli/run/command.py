"""`otel-cinder run`: run a command, then show what it did to Cinder."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click
from rich.console import Console

from otel_cinder.cli.listening import listens, start
from otel_cinder.cli.report.command import write_notes
from otel_cinder.cli.run.arrivals import (
    Answers,
    Asking,
    Listening,
    Source,
    answers_of,
    await_end,
    has_ended,
)
from otel_cinder.cli.run.child import Child, MissingPackageError, NotRunError, Told
from otel_cinder.cli.run.marking import FAILED, MARKED, STARTED
from otel_cinder.cli.show import FORMS, console_of, draws
from otel_cinder.cli.traces import asks_a_backend, backend_of, fail, speaks, told_in
from otel_cinder.reading.notes import notes_of
from otel_cinder.reading.sources import Records, SourceError, take
from otel_cinder.reading.story import Story, name_of, one_line
from otel_cinder.reading.trace import Trace
from otel_cinder.reading.words import Words

_NOT_RUN = 125
"""Exit status when this program could not begin, as of `env`, `nohup` and `timeout`."""
_MOST_NAMES = 3


class _Command(click.Command):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.exit_code = _NOT_RUN  # type: ignore[misc]
            raise


@click.command(cls=_Command, context_settings={"allow_interspersed_args": False})
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@listens
@asks_a_backend("Instead of listening, ask {name} here ({url}).")
@click.option(
    "--wait",
    "seconds",
    default=60.0,
    show_default=True,
    type=click.FloatRange(min=0),
    help="Seconds to wait for the end of Cinder's work, once the command has ended.",
)
@draws
@click.option(
    "-o", "--output", metavar="FILE", help="Also write notes, as `report` does: .html or .md."
)
@speaks
def run(
    command: Sequence[str],
    listen: tuple[str, int],
    seconds: float,
    form: str,
    plain: bool,
    output: str | None,
    lang: str | None,
    **given: Any,
) -> None:
    """Run COMMAND, then show what it did to Cinder.

        otel-cinder run -- openstack volume create --size 1 vol-1

    COMMAND is a client in Python, such as openstack or cinder, in its own virtualenv. Its requests
    carry a traceparent. Cinder's services decide whether they record them, and send spans to --listen,
    or to the Jaeger or Tempo that is asked. Input and output are the command's, and so is the exit
    status: 125, 126 and 127 may also mean that it was not run. The trace goes to standard error.
    """
    console = console_of(plain, error=True)
    said = told_in(lang, console.encoding, _NOT_RUN)
    signal.signal(signal.SIGTERM, _leave)
    with tempfile.TemporaryDirectory(prefix="otel-cinder-run-") as folder:
        try:
            child = Child(command, Path(folder))
        except MissingPackageError as error:
            fail(said.sentence("run_package", package=error), _NOT_RUN)
        with _source(listen, child.trace_id, given, said) as source:
            try:
                status = child.run(os.environ)
            except NotRunError as error:
                fail(said.sentence(error.phrase, **error.given), error.status)
            with suppress(KeyboardInterrupt):
                _Afterwards(child, source, said, console).show(seconds, form, output)
    sys.exit(status)


def _leave(signum: int, _frame: FrameType | None) -> NoReturn:
    # As an exception, so that the folder is removed on the way out.
    raise SystemExit(128 + signum)


@contextmanager
def _source(
    address: tuple[str, int], trace_id: str, given: dict[str, Any], said: Words
) -> Iterator[Source]:
    """Where the trace's spans come from, ready before the command is started."""
    try:
        backend = backend_of(given)
        if backend is not None:
            backend.records("0" * 31 + "1")  # which says what is wrong with it, before it is needed
    except SourceError as error:
        fail(said.sentence(error.sentence, **error.given), _NOT_RUN)
    if backend is not None:
        yield Asking(backend, trace_id)
        return
    listening = Listening(address, trace_id)
    start(listening, address, "run_port", said, _NOT_RUN)
    with listening:
        yield listening


class _Afterwards:
    """What follows the command: the wait, the drawing, and what is to be said of them."""

    def __init__(self, child: Child, source: Source, said: Words, console: Console) -> None:
        self._child = child
        self._source = source
        self._said = said
        self._console = console

    def show(self, seconds: float, form: str, output: str | None) -> None:
        """Show the trace as far as it comes within so many seconds, and say what is missing."""
        told = self._child.told()
        if not told.records.spans:
            self._say(_no_request(told), command=self._child.program, why=one_line(told.why))
            return
        answers = answers_of(told, self._child.trace_id)
        records = self._await(answers, seconds)
        trace = self._whole(told, records or Records())
        FORMS[form](trace, self._console, self._said)
        if records is not None:
            self._say_what_is_missing(records, answers, seconds)
        if output:
            try:
                write_notes([notes_of(Story(trace, self._said))], output)
            except OSError as error:
                self._say(
                    "cannot_write", option="--output", file=output, why=error.strerror or error
                )

    def _await(self, answers: Answers, seconds: float) -> Records | None:
        """What has come until the end, the limit, or Ctrl-C; None if it can't be asked for."""
        latest = Records()

        def tell(records: Records) -> None:
            nonlocal latest
            latest = records
            if status is not None:
                status.update(self._waiting(records))

        shown = self._console.status(self._waiting(latest)) if self._console.is_terminal else None
        with shown or nullcontext() as status:
            try:
                await_end(self._source, answers, seconds, tell)
            except KeyboardInterrupt:
                pass
            except SourceError as error:
                self._say(error.sentence, **error.given)
                return None
        return latest

    def _waiting(self, records: Records) -> str:
        return self._said.sentence("run_waiting", count=len(records.spans))

    def _whole(self, told: Told, records: Records) -> Trace:
        """The trace, from the command down."""
        whole = Records([*told.records.spans, *records.spans], records.logs)
        take(self._child.root(), whole)
        (trace,) = (each for each in whole.traces() if each.trace_id == self._child.trace_id)
        return trace

    def _say_what_is_missing(self, records: Records, answers: Answers, seconds: float) -> None:
        trace = Trace(records.spans)
        given: dict[str, object] = {"seconds": f"{seconds:g}", "id": self._child.trace_id}
        given |= {"where": self._source.where, "left_out": answers.left_out}
        if answers.left_out and not answers.recorded:
            self._say("run_left_out", **given)
        elif not trace:
            sentence = self._source.nothing_came if answers.recorded else self._source.untraced
            self._say(sentence, **given)
        elif not has_ended(trace, answers):
            names = [one_line(name_of(span)) for span in trace.unfinished()][:_MOST_NAMES]
            comma = self._said.say("comma")
            what = comma.join(names) or self._said.sentence("run_a_request")
            self._say("run_not_ended", **given, what=what)
        elif answers.left_out:
            self._say("run_some_left_out", **given)

    def _say(self, sentence: str, /, **given: object) -> None:
        click.echo(f"otel-cinder: {self._said.sentence(sentence, **given)}", err=True)


def _no_request(told: Told) -> str:
    """Why there is nothing to show."""
    if FAILED in told.stages:
        return "run_not_marked"
    if MARKED in told.stages:
        return "run_no_request"
    return "run_no_client" if STARTED in told.stages else "run_no_python"
