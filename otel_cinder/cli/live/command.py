"""`otel-cinder live`: requests as they run, in one terminal, without a collector."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from otel_cinder.cli.listening import listens, start
from otel_cinder.cli.live.intake import Intake
from otel_cinder.cli.live.lines import Lines
from otel_cinder.cli.live.rows import row_lines
from otel_cinder.cli.live.terminal import Terminal, leaving
from otel_cinder.cli.live.view import View, Wanted
from otel_cinder.cli.plain_text import fitted, print_line
from otel_cinder.cli.show import colours, console_of
from otel_cinder.cli.traces import fail, speaks, told_in
from otel_cinder.reading.operations import Operation, Operations
from otel_cinder.reading.steps import steps_of
from otel_cinder.reading.words import Words

_TICK_S = 0.25
_REDRAW_S = 0.1


@click.command()
@listens
@click.option("--volume", default="", metavar="ID", help="Only what is about this volume.")
@click.option("--request", default="", metavar="ID", help="Only this request (req-…).")
@click.option("--errors", is_flag=True, help="Only requests in which something failed.")
@click.option(
    "--once",
    is_flag=True,
    help="End after the next of these requests has ended, with status 1 if it failed. Requests that "
    "only read (GET) do not count.",
)
@click.option(
    "--forward",
    metavar="URL",
    help="Pass everything on to this OTLP/HTTP endpoint, such as a collector, as it came.",
)
@click.option(
    "--save",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Add spans and log records to this file, as OTLP/JSON lines: for `otel-cinder show`.",
)
@speaks
@colours
def live(**given: Any) -> None:
    """Show every request to Cinder while it runs, stage by stage.

    Listens for OTLP over HTTP and needs no collector. It prints the variables that Cinder's services
    need, then shows the requests as they come, and the chosen one as its stages: what is done, what
    runs, for how long and in which call, and what is still to come.

    \b
    Keys:
      up, down   choose a request, or scroll
      enter      give the chosen request the whole screen, and back
      f          follow the newest request
      e          failures only, and back
      /          filter by volume, request, service or words; Esc clears it
      n          save notes on the chosen request as Markdown, in this folder
      q          quit

    Without a terminal, it prints one line a stage as it ends: otel-cinder live | tee create.log
    """
    console = console_of(given["plain"])
    words = told_in(given["lang"], console.encoding)
    if given["forward"] and not given["forward"].startswith(("http://", "https://")):
        fail(words.sentence("no_url", option="--forward", url=given["forward"]))
    intake = _intake(given["listen"], words, given["forward"], given["save"])
    wanted = Wanted(given["volume"], given["request"], given["errors"])
    with leaving():
        try:
            status = _run(intake, console, words, wanted, once=given["once"])
        except KeyboardInterrupt:
            status = 130
        except BrokenPipeError:
            # Who read this is gone; what Python has still to write must not fail at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            status = 1  # as newer releases of rich do
        finally:
            intake.stop()
    sys.exit(status)


def _intake(
    address: tuple[str, int], words: Words, forward: str | None, save: Path | None
) -> Intake:
    """An endpoint that listens; ends the program with a sentence if it cannot."""
    try:
        intake = Intake(address, words, forward, save)
    except OSError as error:
        fail(
            words.sentence("cannot_write", option="--save", file=save, why=error.strerror or error)
        )
    start(intake, address, "live_port", words)
    return intake


def variables(endpoint: str) -> list[str]:
    """What Cinder's services need in their environment."""
    # Of an address that means all of this host's, its name is what others know.
    for host in ("0.0.0.0", "[::]"):  # noqa: S104 - see above
        endpoint = endpoint.replace(f"//{host}:", f"//{socket.gethostname()}:")
    return [
        "OTEL_CINDER_ENABLED=true",
        f"OTEL_EXPORTER_OTLP_ENDPOINT={endpoint}",
        "OTEL_CINDER_STILL_RUNNING=1",
    ]


def _run(intake: Intake, console: Console, words: Words, wanted: Wanted, *, once: bool) -> int:
    operations = Operations()
    needed = variables(intake.endpoint)
    err = Console(stderr=True, highlight=False, no_color=console.no_color or None)
    said = [
        words.say("live_listens", endpoint=intake.endpoint),
        words.say("live_set"),
        *(f"  {variable}" for variable in needed),
        words.say("live_why_still_running"),
    ]
    for line in said:
        err.print(fitted(line, err.encoding), soft_wrap=True, markup=False)
    watch = _Once(operations, wanted) if once else None
    if console.is_terminal and not console.is_dumb_terminal and sys.stdout.isatty():
        _show(
            intake,
            operations,
            console,
            View(operations, words, wanted, needed, lambda: intake.overrun),
            watch,
        )
        if watch and watch.ended:
            _print_rows(watch.ended, operations, console, words)
    else:
        _print(intake, operations, Lines(operations, words, wanted, console), watch)
    return 1 if watch and watch.ended and watch.ended.story(words).final_error else 0


def _show(
    intake: Intake, operations: Operations, console: Console, view: View, watch: _Once | None
) -> None:
    """The view, until `q` or the end of the request that is waited for."""
    with Terminal(console) as terminal:
        drawn_at = -_REDRAW_S
        while not view.is_done:
            pause = _REDRAW_S if not intake.is_read else _TICK_S
            for key in terminal.keys(0.0 if not intake.is_read else pause, intake.woken):
                view.press(key)
                drawn_at = -_REDRAW_S
            touched = intake.read_into(operations)
            for notice in intake.notices():
                view.say(notice)
            if watch and watch.has_ended(touched):
                return
            if time.monotonic() - drawn_at >= _REDRAW_S:
                terminal.draw(view.lines(*terminal.size))
                drawn_at = time.monotonic()


def _print(intake: Intake, operations: Operations, lines: Lines, watch: _Once | None) -> None:
    """Lines, until Ctrl-C or the end of the request that is waited for."""
    while True:
        if intake.is_read and select.select([intake.woken], [], [], _TICK_S)[0]:
            with contextlib.suppress(BlockingIOError):
                os.read(intake.woken, 4096)
        touched = intake.read_into(operations)
        lines.tell(touched)
        for notice in intake.notices():
            lines.say(notice)
        if watch and watch.has_ended(touched):
            return


class _Once:
    """Waits for the end of the next request that does more than read."""

    def __init__(self, operations: Operations, wanted: Wanted) -> None:
        self._operations = operations
        self._wanted = wanted
        self._waiting: dict[str, Operation] = {}
        self.ended: Operation | None = None

    def has_ended(self, touched: Iterable[Operation]) -> bool:
        """Take what has come; say whether such a request has ended."""
        self._waiting.update((operation.trace_id, operation) for operation in touched)
        now = time.monotonic()
        for trace_id, operation in list(self._waiting.items()):
            if not operation.is_over(now):
                continue
            del self._waiting[trace_id]
            if not operation.only_reads and self._wanted.has(operation):
                self.ended = operation
                return True
        return False


def _print_rows(
    operation: Operation, operations: Operations, console: Console, words: Words
) -> None:
    """The stages of an operation, to stay on the screen."""
    for step in steps_of(operation, words, operations.usual):
        for line in row_lines(step, words, console.width):
            print_line(line, console)
