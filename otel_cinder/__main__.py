"""`python -m otel_cinder` is `otel-cinder`; its `doctor` needs only the standard library."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    if sys.argv[1:2] == ["doctor"]:
        from otel_cinder.doctor.command import main as doctor

        sys.exit(doctor(sys.argv[2:], "python -m otel_cinder doctor"))
    from otel_cinder.cli import main as cli

    cli()


if __name__ == "__main__":
    main()
