"""Traces as text for the goldens: what is the same in every run, and nothing else."""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from otel_cinder.reading.trace import SpanRecord, Trace

GOLDENS = Path(__file__).parent / "golden"

# Beside Cinder's own, these say how a span ended.
SHOWN = (
    *("http.response.status_code", "error.type", "exception.type", "process.exit.code"),
    *("log.reason", "taskflow.flow.failed_task"),
)
SHOWN_PREFIX = "cinder."
# Measured, or different in each run.
HIDDEN = re.compile(
    r"cinder\.(rpc\.(queue\.duration|clock_skew|cast\.span_id)|still_running\.blocks_hub)$|.*(duration|seconds|_at|pid)$"
)
# What os-brick runs to find out what this host is and has, which another host has not.
PROBES = {
    *("execute cat", "execute blkid", "execute findmnt", "execute nvme"),
    *("privsep get_guid", "privsep get_system_uuid", "privsep create_hostnqn"),
}
# Much of what Cinder logs it logs once in each process.
HIDDEN_LEVELS = ("DEBUG", "INFO", "WARNING")
MASKS = (
    (re.compile(r"\breq-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "<request>"),
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "<id>"),
    (re.compile(r"\b[0-9a-f]{32}\b"), "<id>"),
    (re.compile(r"(/(?!v3\b)[\w.@#<>-]+){2,}/?"), "<path>"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)?"), "<time>"),
    (re.compile(r"\b127\.0\.0\.1:\d+\b"), "<address>"),
    (re.compile(r"\btmp\w{6,}"), "<tmp>"),
)


def draw(traces: Iterable[Trace]) -> str:
    """Draw traces one after the other, in the order in which they began."""
    return "\n".join("".join(_drawn_trace(trace)) for trace in traces)


def compare(name: str, traces: Iterable[Trace], update: bool) -> None:
    """Hold traces against golden/<name>.txt, or write it anew."""
    drawn = draw(traces)
    golden = GOLDENS / f"{name}.txt"
    if update:
        GOLDENS.mkdir(exist_ok=True)
        golden.write_text(drawn)
    assert golden.exists(), f"no {golden.name} yet: run pytest tests/integration --update-goldens"
    if drawn != golden.read_text():
        lines = golden.read_text().splitlines(keepends=True), drawn.splitlines(keepends=True)
        diff = "".join(difflib.unified_diff(*lines, golden.name, "arrived", n=99))
        raise AssertionError(f"the trace is another than that of {golden.name}:\n{diff}")


def _drawn_trace(trace: Trace) -> list[str]:
    lines: list[str] = []
    for block in _blocks(trace, trace.tops(), 0):
        lines += block
    return lines


def _blocks(trace: Trace, spans: Iterable[SpanRecord], depth: int) -> list[list[str]]:
    """Draw these siblings; of those alike that follow each other, only the first.

    How often somebody asked again while waiting is not the same in each run. Messages and
    requests are always drawn: each counts.
    """
    blocks: list[list[str]] = []
    for span in spans:
        if span.name in PROBES:
            continue
        block = _block(trace, span, depth)
        again = [block[0].rstrip("\n") + " (several)\n", *block[1:]]
        if span.kind == "internal" and len(block) <= len(_own_lines(trace, span, depth)):
            if blocks and blocks[-1] in (block, again):
                blocks[-1] = again
                continue
        blocks.append(block)
    return blocks


def _block(trace: Trace, span: SpanRecord, depth: int) -> list[str]:
    lines = _own_lines(trace, span, depth)
    for block in _blocks(trace, sorted(trace.children(span), key=_by_cause(trace)), depth + 1):
        lines += block
    return lines


def _by_cause(trace: Trace) -> Callable[[SpanRecord], tuple[bool, int]]:
    """Messages as they were cast, and last: when they are taken up differs from run to run."""

    def key(span: SpanRecord) -> tuple[bool, int]:
        cast = trace.cast(span)
        return (False, span.start_ns) if cast is None else (True, cast.start_ns)

    return key


def _own_lines(trace: Trace, span: SpanRecord, depth: int) -> list[str]:
    indent = "  " * depth
    notes = [span.kind, span.service]
    if span.status == "error":
        notes.append(f"error: {_masked(span.status_message)}")
    if span in trace.orphans:
        notes.append("its parent is missing")
    lines = [f"{indent}{_masked(span.name)} ({', '.join(notes)})\n"]
    attributes = _attributes(span.attributes)
    if attributes:
        lines.append(f"{indent}    . {attributes}\n")
    for link in span.links:
        if link.span_id == span.parent_id:
            continue  # as the conventions ask of a message's handling
        linked = [span.name for span in trace.spans if span.span_id == link.span_id]
        lines.append(f"{indent}    > {''.join(linked) or 'elsewhere'}\n")
    for event in span.events:
        level = event.attributes.get("log.level")
        if level in HIDDEN_LEVELS:
            continue
        parts = [text for text in (event.name, level, _attributes(event.attributes)) if text]
        line = f"{indent}    ! {' '.join(parts)}\n"
        if line != lines[-1]:
            lines.append(line)
    return lines


def _attributes(attributes: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name.removeprefix(SHOWN_PREFIX)}={_masked(value)}"
        for name, value in sorted(attributes.items())
        if (name in SHOWN or name.startswith(SHOWN_PREFIX)) and not HIDDEN.match(name)
    )


def _masked(value: object) -> str:
    if isinstance(value, float):
        return "<number>"
    text = str(value)
    for pattern, mask in MASKS:
        text = pattern.sub(mask, text)
    return " ".join(text.split())[:200]
