"""Writes docs/reference.md from otel_cinder/conventions.py: `make docs`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from otel_cinder import conventions

PAGE = Path(__file__).with_name("reference.md")

HEAD = """\
# Every span, attribute, event, metric and setting

This page is written from `otel_cinder/conventions.py` by `make docs`.
"""


METRICS = """\
All of them are exported whether a trace is sampled or not, and none has an id or a host among its
attributes; exemplars name the trace. Durations are in seconds. An instrument keeps 2000 sets of
attributes apart; what comes after that counts under `otel.metric.overflow`.
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

The standard variables of the SDK and its OTLP exporter are honoured, but for the exports' own timeouts (`OTEL_BSP_EXPORT_TIMEOUT` and its like), `OTEL_CONFIG_FILE`, `OTEL_PYTHON_ID_GENERATOR` and `OTEL_EXPERIMENTAL_RESOURCE_DETECTORS`; `OTEL_PROPAGATORS` holds for HTTP, messages carry W3C's headers. Those that are used most:

| variable | here |
|---|---|
| `OTEL_EXPORTER_OTLP_ENDPOINT` | default `http://localhost:4318`, by gRPC `http://localhost:4317` |
| `OTEL_EXPORTER_OTLP_PROTOCOL` | default `http/protobuf`; `grpc` needs `pip install otel-cinder[grpc]` and works only where eventlet is not in use, and is refused with a warning where it is |
| `OTEL_EXPORTER_OTLP_HEADERS`, `_CERTIFICATE`, `_CLIENT_KEY`, `_CLIENT_CERTIFICATE`, `_TIMEOUT`, `_COMPRESSION` | as the SDK's exporter documents them: the timeout is in seconds, 60 at most; `REQUESTS_CA_BUNDLE` counts where `_CERTIFICATE` is not set |
| `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY` | honoured by OTLP over HTTP |
| `OTEL_TRACES_EXPORTER` | `otlp` (default), `console`, `none`, any installed exporter; several with commas, and then nothing is kept for another try |
| `OTEL_TRACES_SAMPLER`, `OTEL_TRACES_SAMPLER_ARG` | one of the SDK's own samplers; asked once per trace, where it enters Cinder; everything after follows that decision. A name or ratio that is none is warned of, and every trace recorded |
| `OTEL_BSP_MAX_QUEUE_SIZE`, `OTEL_BSP_MAX_EXPORT_BATCH_SIZE`, `OTEL_BSP_SCHEDULE_DELAY` | defaults 2048 spans, 512 spans, 5000 ms; a queue holds 32 MiB at most, a batch 3 MiB |
| `OTEL_METRICS_EXPORTER`, `OTEL_METRIC_EXPORT_INTERVAL` | `otlp` (default), `console`, `none`; every 60000 ms, and once more at a graceful stop |
| `OTEL_LOGS_EXPORTER` | `none` (default: log lines become events of their spans), `otlp`: they are exported as log records instead, with their trace ids |
| `OTEL_BLRP_MAX_QUEUE_SIZE`, `OTEL_BLRP_MAX_EXPORT_BATCH_SIZE`, `OTEL_BLRP_SCHEDULE_DELAY` | defaults 2048 records, 512 records, 1000 ms; bytes as for spans |
| `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES` | win over what is found out; a `service.instance.id` that another process of the service has, too, gets a number |
| `OTEL_PYTHON_EXCLUDED_URLS`, `OTEL_PYTHON_WSGI_EXCLUDED_URLS` | requests that start no trace; `/healthcheck` starts none anyway, but with `OTEL_CINDER_PERIODIC=true` |
| `OTEL_PYTHON_DISABLED_INSTRUMENTATIONS` | `otel_cinder` in it keeps this package off |
| `OTEL_SDK_DISABLED` | `true`: nothing is exported |
"""

if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
