"""A trace as text: one line a span with its id, kind and times, then the attributes that matter."""

from __future__ import annotations

import re
from collections.abc import Iterable

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MEASURED = frozenset({"cinder.rpc.queue.duration", "code.file.path", "code.line.number"})
"""Attributes that say how long something really took, or where it is; their values are left out."""


def draw(spans: Iterable[ReadableSpan], *, parallel: bool = False) -> str:
    """Draw the traces that ``spans`` make.

    ``parallel``: threads raced, so siblings are put in order of name, without ids and times.
    """
    everything = list(spans)
    begin = min((span.start_time or 0 for span in everything), default=0)
    known = {span.context.span_id for span in everything}
    lines: list[str] = []

    def key(span: ReadableSpan) -> tuple[object, ...]:
        return (span.name, span.attributes) if parallel else (span.start_time,)

    def add(span: ReadableSpan, depth: int) -> None:
        indent = "    " * depth
        title = f"{indent}{span.name} [{span.kind.name}]"
        if not parallel:
            start, end = ((t or 0) - begin for t in (span.start_time, span.end_time))
            title += f" #{span.context.span_id} {start // 1_000_000}..{end // 1_000_000} ms"
        if span.status.status_code is not StatusCode.UNSET:
            title += f" {span.status.status_code.name}: {span.status.description}"
        lines.append(title)
        for name, value in sorted((span.attributes or {}).items()):
            lines.append(f"{indent}  . {name} = {'<measured>' if name in _MEASURED else value}")
        for link in span.links:
            lines.append(f"{indent}  -> link to #{link.context.span_id}")
        for event in span.events:
            attributes = event.attributes or {}
            lines.append(
                f"{indent}  ! {event.name} {attributes.get('exception.type')}: "
                f"{attributes.get('exception.message')}"
            )
        below = [s for s in everything if s.parent and s.parent.span_id == span.context.span_id]
        for child in sorted(below, key=key):
            add(child, depth + 1)

    roots = [span for span in everything if not span.parent or span.parent.span_id not in known]
    for root in sorted(roots, key=key):
        add(root, 0)
    return _number_uuids("\n".join(lines) + "\n")


def _number_uuids(text: str) -> str:
    """The uuids, which are different in each run, as ``<uuid 1>``, ``<uuid 2>``, ..."""
    seen: dict[str, int] = {}
    return _UUID.sub(lambda m: f"<uuid {seen.setdefault(m[0], len(seen) + 1)}>", text)
