"""`otel-cinder doctor`: hands its arguments on to the code that needs no click."""

from __future__ import annotations

import sys

import click

from otel_cinder.doctor.command import main


@click.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    short_help="Find out why nothing arrives.",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def doctor(arguments: tuple[str, ...]) -> None:
    """Find out why nothing arrives."""
    sys.exit(main(arguments))
