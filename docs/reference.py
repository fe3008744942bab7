"""Writes docs/reference.md from otel_cinder/conventions.py: `make docs`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from otel_cinder import conventions

PAGE = Path(__file__).with_name("reference.md")

HEAD = """\
# Every span, attribute, event, metric and setting

`make docs` writes this page from `otel_cinder/conventions.py`. The [glossary](glossary.md) explains the terms: seam, local root span, cast, call.
"""


METRICS = """\
All of them are exported, whether a trace is sampled or not. No attribute of theirs is an id or a host.
Exemplars name the trace. Durations are in seconds. An instrument keeps 2000 sets of attributes apart;
everything beyond them counts under `otel.metric.overflow`.
"""


def table(title: str, columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table under its heading; the first column is code."""
    lines = [f"## {title}", "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    # GitHub reads <word> as a tag, even in a table; in code it's text.
    lines += [f"| `{name}` | {' | '.join(others)} |" for name, *others in rows]
    return "\n".join(lines) + "\n"


def metrics() -> Iterator[tuple[str, ...]]:
    """A row for each metric."""
    for name, metric in conventions.METRICS.items():
        attributes = ", ".join(f"`{attribute}`" for attribute in metric.attributes)
        yield name, metric.kind, f"`{metric.unit}`", metric.meaning, attributes


def page() -> str:
    """The whole page."""
    return "\n".join(
        [
            HEAD,
            table("Spans", ("name", "kind, and what it covers"), conventions.SPANS.items()),
            table("Attributes", ("attribute", "what it says"), conventions.ATTRIBUTES.items()),
            table("Events", ("event", "what it says"), conventions.EVENTS.items()),
            table("Metrics", ("metric", "instrument", "unit", "what it says", "by"), metrics()),
            METRICS,
            table("Settings", ("variable", "what it sets"), conventions.SETTINGS.items()),
            STANDARD,
        ]
    )


STANDARD = """\
## OpenTelemetry's own settings

otel-cinder obeys the standard variables of the SDK and its OTLP exporter, with these exceptions:

- It ignores the timeouts of single exports (`OTEL_BSP_EXPORT_TIMEOUT` and the like), `OTEL_CONFIG_FILE`, `OTEL_PYTHON_ID_GENERATOR` and `OTEL_EXPERIMENTAL_RESOURCE_DETECTORS`.
- `OTEL_PROPAGATORS` applies to HTTP. Messages always carry the W3C headers.

The most common ones:

| variable | what it does here |
|---|---|
| `OTEL_EXPORTER_OTLP_ENDPOINT` | default `http://localhost:4318`, for gRPC `http://localhost:4317` |
| `OTEL_EXPORTER_OTLP_PROTOCOL` | default `http/protobuf`. `grpc` needs `pip install otel-cinder[grpc]`, and works only without eventlet; under eventlet it is refused with a warning. |
| `OTEL_EXPORTER_OTLP_HEADERS`, `_CERTIFICATE`, `_CLIENT_KEY`, `_CLIENT_CERTIFICATE`, `_TIMEOUT`, `_COMPRESSION` | as the SDK's exporter documents them. The timeout is in seconds, 60 at most. Without `_CERTIFICATE`, `REQUESTS_CA_BUNDLE` is used. |
| `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY` | obeyed by OTLP over HTTP |
| `OTEL_TRACES_EXPORTER` | `otlp` (default), `console`, `none`, or any installed exporter. You can name several, separated by commas; then no failed batch is kept for another try. |
| `OTEL_TRACES_SAMPLER`, `OTEL_TRACES_SAMPLER_ARG` | one of the SDK's own samplers. It decides once for each trace, where the trace enters Cinder, and everything after follows. An unknown name or a wrong ratio causes a warning, and every trace is recorded. |
| `OTEL_BSP_MAX_QUEUE_SIZE`, `OTEL_BSP_MAX_EXPORT_BATCH_SIZE`, `OTEL_BSP_SCHEDULE_DELAY` | defaults: 2048 spans, 512 spans, 5000 ms. A queue holds 32 MiB at most, a batch 3 MiB. |
| `OTEL_METRICS_EXPORTER`, `OTEL_METRIC_EXPORT_INTERVAL` | `otlp` (default), `console`, `none`. Exported every 60000 ms, and once more at a graceful stop. |
| `OTEL_LOGS_EXPORTER` | `none` (default): log lines become events of their spans. `otlp`: they are exported as log records instead, with their trace ids. |
| `OTEL_BLRP_MAX_QUEUE_SIZE`, `OTEL_BLRP_MAX_EXPORT_BATCH_SIZE`, `OTEL_BLRP_SCHEDULE_DELAY` | defaults: 2048 records, 512 records, 1000 ms. The limits in bytes are those of spans. |
| `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES` | take precedence over what otel-cinder finds out. If another process of the service has the same `service.instance.id`, a number is added. |
| `OTEL_PYTHON_EXCLUDED_URLS`, `OTEL_PYTHON_WSGI_EXCLUDED_URLS` | requests that start no trace. `/healthcheck` starts one only with `OTEL_CINDER_PERIODIC=true`. |
| `OTEL_PYTHON_DISABLED_INSTRUMENTATIONS` | keeps this package off if it contains `otel_cinder` |
| `OTEL_SDK_DISABLED` | `true`: nothing is exported |
"""

if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
