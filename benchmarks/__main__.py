"""``python -m benchmarks [flow] [rpc] [http] [create] [memory] [collector] [live] [--quick]``: exit status 1 over a bound."""

from __future__ import annotations

import argparse
import importlib
import sys
import warnings

from rich.console import Console

NAMES = ("flow", "rpc", "http", "create", "memory", "collector", "live")


def main() -> int:
    """Run the benchmarks that are named, all by default."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--quick", action="store_true", help="fewer rounds, wider intervals")
    chosen = parser.parse_args()
    for name in set(chosen.names).difference(NAMES):
        parser.error(f"there is no benchmark {name!r}; there are {', '.join(NAMES)}")
    warnings.simplefilter("ignore")  # eventlet's and oslo's, of what Cinder uses
    # Wide enough for the tables where the output is a file.
    console = Console(width=None if sys.stdout.isatty() else 110)
    passed = True
    for name in chosen.names or NAMES:
        # Late: the create benchmark needs none of what the others patch.
        report = importlib.import_module(f"benchmarks.{name}").benchmark(quick=chosen.quick)
        report.print(console)
        passed = passed and report.passed
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
