"""The command line of `otel-cinder doctor`, with argparse: see the package's docstring."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from otel_cinder.doctor import report
from otel_cinder.doctor.examination import Examination, Examined
from otel_cinder.doctor.findings import status_of

_PROC = Path("/proc")

_DESCRIPTION = """\
Look at each Cinder service that runs on this host, and say why nothing arrives and what to do first.
It changes nothing and shows no value of a secret. Run it as root, or as the user that the services
run as. Exit status: 0 (nothing to mend), 1 (something to mend), 2 (could not look)."""


_NONE = (
    "Start a service, run this as root, or name a virtualenv with --venv PATH: no Cinder service is "
    "seen here."
)


def main(arguments: Sequence[str], program: str = "otel-cinder doctor") -> int:
    """Run the command, and return its exit status."""
    options = _parser(program).parse_args(arguments)
    examination = Examination(endpoint=not options.no_endpoint, send_trace=options.send_trace)
    examined = _examine(examination, options)
    if not examined:
        print(_NONE, file=sys.stderr)
        return 2
    text = report.json_of(examined) if options.json else report.text_of(examined)
    encoding = sys.stdout.encoding or "ascii"
    print(text.encode(encoding, "replace").decode(encoding))
    return status_of([finding for service in examined for finding in service.findings])


def _examine(examination: Examination, options: argparse.Namespace) -> list[Examined]:
    if options.venv:
        return [examination.of_virtualenv(path.absolute(), os.environ) for path in options.venv]
    if not (_PROC / "stat").exists():
        return []  # not Linux
    return examination.of_processes(_PROC, options.pid)


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=program, description=_DESCRIPTION)
    parser.add_argument(
        "--venv",
        type=Path,
        action="append",
        metavar="PATH",
        help="look at this virtualenv, before anything is switched on there; the settings are "
        "those of this shell and of etc/otel-cinder.conf",
    )
    parser.add_argument(
        "--pid", type=int, action="append", default=[], help="look at this process only; repeatable"
    )
    parser.add_argument(
        "--no-endpoint", action="store_true", help="send nothing, not even empty exports"
    )
    parser.add_argument(
        "--send-trace", action="store_true", help="send a span, and print the id of its trace"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser
