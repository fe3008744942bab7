"""The command line, `otel-cinder`; nothing else in the package imports it."""

from __future__ import annotations

import io
import signal
import sys


def main() -> None:
    """Run the command line; exits 2 with one sentence when its extra is not installed.

    `doctor` runs without the extra.
    """
    # A letter that a terminal or a file has not becomes `?`, and does not end the command.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    interrupted = signal.getsignal(signal.SIGINT)
    if interrupted is signal.default_int_handler:
        # Imports take a second. Until they are done, Ctrl-C ends the process without a traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.argv[1:2] == ["doctor"]:
        from otel_cinder.doctor.command import main as doctor

        sys.exit(doctor(sys.argv[2:]))
    try:
        # click and rich come with an extra, which services that are only traced do without.
        import click  # noqa: F401
        import rich  # noqa: F401
    except ImportError:
        print(
            "otel-cinder: the command line needs click and rich: pip install click rich",
            file=sys.stderr,
        )
        raise SystemExit(2) from None
    from otel_cinder.cli.commands import cli

    signal.signal(signal.SIGINT, interrupted)
    cli(prog_name="otel-cinder")
