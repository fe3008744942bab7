"""Traces of real Cinder, recorded by the demo and by the tests with failing backends."""

from __future__ import annotations

from pathlib import Path

from otel_cinder.reading.otlp_json import from_json_line
from otel_cinder.reading.trace import Trace, spans_of

TRACES = Path(__file__).parent / "traces"


def recorded(name: str) -> Trace:
    """The trace in traces/<name>.jsonl."""
    lines = (TRACES / f"{name}.jsonl").read_text().splitlines()
    return Trace(span for line in lines for span in spans_of(from_json_line(line)))
