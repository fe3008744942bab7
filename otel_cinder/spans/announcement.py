"""The one line by which a process says that it is traced, and where that goes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from opentelemetry import metrics, trace
from opentelemetry.sdk import environment_variables as env
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from otel_cinder import conventions
from otel_cinder.export import exporters
from otel_cinder.export.queues import LOGS, METRICS, SPANS
from otel_cinder.version import __version__

if TYPE_CHECKING:
    from otel_cinder.spans.runtime import Runtime, Service


def text(runtime: Runtime, service: Service | None) -> str:
    """What is traced, by how many places, and where it goes."""
    name = runtime.resource(service).attributes.get(conventions.SERVICE_NAME, "")
    host = f" ({service[1]})" if service and service[1] else ""
    return (
        f"otel-cinder {__version__} traces {name!s}{host}: "
        f"{_places(runtime)}; {_destinations(runtime)}."
    )


def _places(runtime: Runtime) -> str:
    states = Counter(seam.state.partition(":")[0] for seam in runtime.seams())
    said = [f"{states['on']} places patched"]
    if states["skipped"]:
        said.append(f"{states['skipped']} that do not fit left out")
    if states["waiting"]:
        said.append(f"{states['waiting']} wait for modules that are not imported")
    return ", ".join(said)


def _destinations(runtime: Runtime) -> str:
    if os.environ.get(env.OTEL_SDK_DISABLED, "").strip().lower() == "true":
        return f"nothing is exported because {env.OTEL_SDK_DISABLED}=true"
    ends: dict[str, list[str]] = {}
    for what, where in (("spans", _of_spans(runtime)), ("metrics", _of_metrics(runtime))):
        ends.setdefault(where, []).append(what)
    if runtime.logs_exported:
        ends.setdefault(exporters.destination(LOGS, os.environ), []).append("log records")
    said = [f"{' and '.join(what)} go {where}" for where, what in ends.items()]
    return "; ".join([*said, *_remarks(runtime)])


def _of_spans(runtime: Runtime) -> str:
    if runtime.tracer_provider is not None:
        return "to the TracerProvider that instrument() was given"
    if runtime.providers.tracer_provider() is not None:
        return "to the TracerProvider that the host has set"
    return exporters.destination(SPANS, os.environ)


def _of_metrics(runtime: Runtime) -> str:
    if runtime.meter_provider is not None:
        return "to the MeterProvider that instrument() was given"
    if runtime.providers.meter_provider() is not None:
        return "to the MeterProvider that the host has set"
    if _has_a_tracer_provider(runtime):
        return "nowhere (there is no MeterProvider)"
    return exporters.destination(METRICS, os.environ)


def _has_a_tracer_provider(runtime: Runtime) -> bool:
    return bool(runtime.tracer_provider or runtime.providers.tracer_provider())


def _remarks(runtime: Runtime) -> Iterator[str]:
    """The sampler, and why a global provider is not used."""
    if _has_a_tracer_provider(runtime):
        return
    idle = ", which records no trace" if runtime.sampler is ALWAYS_OFF else ""
    yield f"the sampler is {runtime.sampler_name}{idle}"
    for provider in (trace.get_tracer_provider(), metrics.get_meter_provider()):
        why = runtime.providers.why_not(provider)
        if why:
            yield f"the global {type(provider).__name__} is left alone because {why}"
