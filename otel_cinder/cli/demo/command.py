"""The options of `otel-cinder demo`, and how it ends."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import click
from rich.console import Console

from otel_cinder.cli.demo.options import Options
from otel_cinder.cli.demo.pipeline import COLLECTOR, GRAFANA, JAEGER
from otel_cinder.cli.demo.problem import Problem
from otel_cinder.cli.demo.run import run
from otel_cinder.cli.show import console_of

_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)

_FILE = click.Path(path_type=Path)


@click.command()
@click.option("--size", default=1, show_default=True, type=click.IntRange(1, 1000), help="In GiB.")
@click.option("--name", default="demo", show_default=True, help="The volume's name.")
@click.option(
    "--endpoint",
    metavar="URL",
    help="Also send the spans to this OTLP/HTTP endpoint. With --pipeline, the default is "
    f"{COLLECTOR}.",
)
@click.option(
    "--pipeline",
    is_flag=True,
    help="Send everything to the pipeline on this host (make up, make pipeline), wait until Jaeger "
    "has the trace, and print the links to it.",
)
@click.option("--jaeger", metavar="URL", help=f"The pipeline's Jaeger, if it is not at {JAEGER}.")
@click.option(
    "--grafana", metavar="URL", help=f"The pipeline's Grafana, if it is not at {GRAFANA}."
)
@click.option(
    "--transport-url",
    metavar="URL",
    help="Run the services as separate processes over this broker: rabbit://USER:PASS@HOST/VHOST.",
)
@click.option(
    "--port",
    default=0,
    type=click.IntRange(0, 65535),
    help="Port of Cinder's API; 0 takes a free one.",
)
@click.option("--spans", type=_FILE, metavar="FILE", help="Write the trace as OTLP/JSON lines.")
@click.option("--svg", type=_FILE, metavar="FILE", help="Write the tree as an SVG picture.")
@click.option(
    "--timeout",
    default=120.0,
    show_default=True,
    type=click.FloatRange(1),
    help="Seconds to wait for Cinder and for the trace.",
)
@click.option("--keep", is_flag=True, help="Keep Cinder's configuration, database and log.")
def demo(**given: Any) -> None:
    """Create a volume in a real Cinder and show its trace.

    Cinder's API, scheduler and volume service run on this host in one process, without a
    broker, a database server or storage; everything is removed at the end.
    """
    try:
        with _left_by_signals():
            run(Options(**given), console_of(plain=False), Console(stderr=True, highlight=False))
    except Problem as problem:
        click.echo(f"otel-cinder: {problem}", err=True)
        sys.exit(problem.exit_status)


@contextlib.contextmanager
def _left_by_signals() -> Iterator[None]:
    """Let the first signal stop Cinder and remove its folder; others do not disturb that."""
    # What is ignored stays so: `nohup` ignores SIGHUP.
    before = {n: now for n in _SIGNALS if (now := signal.getsignal(n)) != signal.SIG_IGN}

    def leave(signum: int, _frame: FrameType | None) -> None:
        for number in before:
            signal.signal(number, signal.SIG_IGN)
        raise SystemExit(128 + signum)

    for number in before:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
