"""Shows and writes the demo's trace."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from rich.console import Console

from otel_cinder.cli.demo.problem import Problem
from otel_cinder.cli.tree import draw
from otel_cinder.doctor.tested import series_of
from otel_cinder.reading.receiver import to_json_line
from otel_cinder.reading.trace import Trace

if TYPE_CHECKING:
    from otel_cinder.cli.demo.options import Options

_PICTURE_WIDTH = 128
_NEXT_STEPS = """\
To see your own Cinder's requests, in devstack for example, in the virtualenv that Cinder runs in:
  pip install --no-deps -r https://raw.githubusercontent.com/otel-cinder/otel-cinder/main/requirements/{series}.txt otel-cinder
  (the file of this Cinder's release; there is one for each from zed to 2026.2)
and in the environment of cinder-api, cinder-scheduler and cinder-volume:
  OTEL_CINDER_ENABLED=true
  OTEL_EXPORTER_OTLP_ENDPOINT={collector}"""


def story(trace: Trace, volume: str, status: str, options: Options, out: Console) -> None:
    """Print what was done, the trace, and what to do next."""
    where = "over RabbitMQ" if options.transport_url else "in one process"
    out.print(f"Cinder {where} made volume {volume}, {status}.\n", soft_wrap=True)
    draw(trace, out)
    collector = options.endpoint if options.pipeline else "http://COLLECTOR:4318"
    series = series_of(metadata.version("cinder"))
    out.print(f"\n{_NEXT_STEPS.format(series=series, collector=collector)}", soft_wrap=True)
    hints = []
    if not options.endpoint:
        hints.append("--pipeline shows it in Jaeger")
        hints.append("--endpoint http://COLLECTOR:4318 sends this trace there")
    if not options.transport_url:
        hints.append("--transport-url rabbit://USER:PASS@HOST/VHOST runs it over a broker")
    if hints:
        out.print(f"With the demo, {'; '.join(hints)}.", soft_wrap=True)


def links(pages: Mapping[str, str], out: Console) -> None:
    """Print the pages to open, by what they show."""
    out.print("\nIn the browser:")
    width = max(map(len, pages))
    for what, url in pages.items():
        # As it is, in one line, so that a terminal makes a link of it.
        out.print(f"  {what:{width}}  {url}", soft_wrap=True, markup=False)


def write_spans(path: Path, requests: Iterable[ExportTraceServiceRequest], trace_id: str) -> None:
    """Write the trace's spans as OTLP/JSON, one export a line; raises Problem."""
    wanted = bytes.fromhex(trace_id)
    lines = (to_json_line(kept) for request in requests if (kept := _only(request, wanted)))
    _write(path, "".join(f"{line}\n" for line in lines))


def write_picture(path: Path, trace: Trace) -> None:
    """Write the tree as SVG, as a wide terminal would show it; raises Problem."""
    console = Console(
        record=True,
        width=_PICTURE_WIDTH,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        legacy_windows=False,
    )
    console.print("[bold green]$[/] otel-cinder demo\n", highlight=False)
    draw(trace, console)
    # A fixed id, so that a new picture differs only where the trace does.
    svg = console.export_svg(title="otel-cinder demo", unique_id="otel-cinder-demo")
    # Without the web fonts that rich refers to: a picture in a README loads nothing.
    _write(path, re.sub(r"@font-face\s*\{[^}]*\}\s*", "", svg))


def _only(request: ExportTraceServiceRequest, trace_id: bytes) -> ExportTraceServiceRequest | None:
    """The part of an export that belongs to a trace; None when nothing does."""
    part = ExportTraceServiceRequest()
    for group in request.resource_spans:
        scopes = [
            (scoped, spans)
            for scoped in group.scope_spans
            if (spans := [span for span in scoped.spans if span.trace_id == trace_id])
        ]
        if not scopes:
            continue
        kept = part.resource_spans.add(resource=group.resource, schema_url=group.schema_url)
        for scoped, spans in scopes:
            kept.scope_spans.add(scope=scoped.scope, schema_url=scoped.schema_url, spans=spans)
    return part if part.resource_spans else None


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Problem(f"cannot write {path}: {error.strerror}") from None
