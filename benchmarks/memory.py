"""memory: what a process grows by while it makes 100,000 spans and the collector is away."""

from __future__ import annotations

import json
import subprocess
import sys

from benchmarks.estimates import Estimate
from benchmarks.verdicts import Check, Report

SPANS = 100_000
BOUND_MIB = 32.0


def benchmark(*, quick: bool = False) -> Report:  # quick enough as it is
    """Run `memory_process` in a process of its own and read what it found."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "benchmarks.memory_process", str(SPANS)],
        capture_output=True,  # what it warns of, that nothing answers, is what is wanted here
        check=False,
        text=True,
        timeout=300,
    )
    if done.returncode:
        raise RuntimeError(f"benchmarks.memory_process failed:\n{done.stderr[-4000:]}")
    sizes = json.loads(done.stdout)
    peak = sizes["peak_mib"] - sizes["before_mib"]
    report = Report(
        f"memory: {SPANS:,} sampled spans, nothing listens at the OTLP endpoint",
        ("", "RSS, MiB"),
        [
            ("before the first span", f"{sizes['before_mib']:.1f}"),
            ("with the exporter built", f"{sizes['warm_mib']:.1f}"),
            ("peak", f"{sizes['peak_mib']:.1f}"),
        ],
        [Check("peak added", Estimate(peak, peak, peak), BOUND_MIB, " MiB")],
    )
    report.notes.append(
        f"{sizes['dropped']:,} of them were dropped within the {sizes['seconds']:.1f} s that "
        f"making them took. The process then stopped in {sizes['stop_seconds']:.1f} s."
    )
    if sizes["spans"] != SPANS or not sizes["dropped"]:
        report.failed = True
        report.notes.append("Nothing was dropped: the collector was not away.")
    return report
