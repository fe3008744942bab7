"""The line that each process logs once: it is traced, the number of places, and where its data goes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

from opentelemetry import metrics, trace
from opentelemetry.sdk import environment_variables as env
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from otel_cinder import conventions
from otel_cinder.export import exporters
from otel_cinder.export.signals import LOGS, METRICS, SPANS
from otel_cinder.spans.configuration import Configuration
from otel_cinder.spans.service import Service
from otel_cinder.version import __version__


def text(configuration: Configuration, service: Service | None) -> str:
    """The line: service, number of patched places, destinations."""
    name = configuration.resource(service).attributes.get(conventions.SERVICE_NAME, "")
    host = f" ({service.instance})" if service and service.instance else ""
    return (
        f"otel-cinder {__version__} traces {name!s}{host}: "
        f"{_places(configuration)}; {_destinations(configuration)}."
    )


def _places(configuration: Configuration) -> str:
    states = Counter(seam.state.partition(":")[0] for seam in configuration.seams())
    parts = [f"{states['on']} places patched"]
    if states["skipped"]:
        parts.append(f"{states['skipped']} that do not fit left out")
    if states["waiting"]:
        parts.append(f"{states['waiting']} wait for modules that are not imported")
    return ", ".join(parts)


def _destinations(configuration: Configuration) -> str:
    if os.environ.get(env.OTEL_SDK_DISABLED, "").strip().lower() == "true":
        return f"nothing is exported because {env.OTEL_SDK_DISABLED}=true"
    ends: dict[str, list[str]] = {}
    for what, where in (
        ("spans", _of_spans(configuration)),
        ("metrics", _of_metrics(configuration)),
    ):
        ends.setdefault(where, []).append(what)
    if configuration.logs_exported:
        ends.setdefault(exporters.destination(LOGS, os.environ), []).append("log records")
    parts = [f"{' and '.join(what)} go {where}" for where, what in ends.items()]
    return "; ".join([*parts, *_remarks(configuration)])


def _of_spans(configuration: Configuration) -> str:
    if configuration.tracer_provider is not None:
        return "to the TracerProvider that instrument() was given"
    if configuration.providers.tracer_provider() is not None:
        return "to the TracerProvider that the host has set"
    return exporters.destination(SPANS, os.environ)


def _of_metrics(configuration: Configuration) -> str:
    if configuration.meter_provider is not None:
        return "to the MeterProvider that instrument() was given"
    if configuration.providers.meter_provider() is not None:
        return "to the MeterProvider that the host has set"
    if configuration.foreign_tracer_provider() is not None:
        return "nowhere (there is no MeterProvider)"
    return exporters.destination(METRICS, os.environ)


def _remarks(configuration: Configuration) -> Iterator[str]:
    """The sampler, and the reason if a global provider is not used."""
    if configuration.foreign_tracer_provider() is not None:
        return
    idle = ", which records no trace" if configuration.sampler is ALWAYS_OFF else ""
    yield f"the sampler is {configuration.sampler_name}{idle}"
    for provider in (trace.get_tracer_provider(), metrics.get_meter_provider()):
        why = configuration.providers.why_not(provider)
        if why:
            yield f"the global {type(provider).__name__} is left alone because {why}"
