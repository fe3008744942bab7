"""The commands of `otel-cinder`; each lives in a module of its own and is added here."""

from __future__ import annotations

import click

from otel_cinder import __version__
from otel_cinder.cli.demo.command import demo
from otel_cinder.cli.doctor import doctor
from otel_cinder.cli.live.command import live
from otel_cinder.cli.report.command import report
from otel_cinder.cli.run.command import run
from otel_cinder.cli.show import show


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="otel-cinder")
def cli() -> None:
    """OpenTelemetry traces of OpenStack Cinder."""


cli.add_command(demo)
cli.add_command(live)
cli.add_command(show)
cli.add_command(report)
cli.add_command(run)
cli.add_command(doctor)
