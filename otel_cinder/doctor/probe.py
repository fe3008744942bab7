"""The probe: it runs in the inspected virtualenv's own Python, as the service's user.

It is handed over as text (``python -c``), so that it also tells of a virtualenv in which otel-cinder
is missing. A request comes as JSON on stdin, and one line of JSON with the facts goes to stdout. Only
here are OpenTelemetry and Cinder imported, all of them late. Nothing of Cinder is started, and nothing
is written.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import importlib
import json
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

_PACKAGES = ("otel-cinder", "cinder", "oslo.messaging", "taskflow", "eventlet", "opentelemetry-sdk")

_KNOWN_MODULES = (
    "opentelemetry.environment_variables",
    "opentelemetry.sdk.environment_variables",
    "opentelemetry.instrumentation.environment_variables",
    "opentelemetry.util.http",
)

_FREE = ("OTEL_PYTHON_", "OTEL_INSTRUMENTATION_", "OTEL_SEMCONV_", "OTEL_EXPERIMENTAL_")
"""Families of names to which any package may add."""

_OTHERS = {"oslo_messaging": "messages", "taskflow": "flows"}
"""Other instrumentations that otel-cinder makes room for, and the work that they trace."""

_CINDER = (
    "oslo_messaging",
    "oslo_service.wsgi",
    "cinder.objects",
    "cinder.scheduler.manager",
    "cinder.volume.manager",
    "cinder.backup.manager",
    "cinder.image.image_utils",
)

Request = dict[str, Any]
Facts = dict[str, Any]


class _Warnings(logging.Handler):
    """Keeps the warnings that otel-cinder would log."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.setFormatter(logging.Formatter("%(message)s"))
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))

    def take(self) -> list[str]:
        texts, self.texts = list(dict.fromkeys(self.texts)), []
        return texts


def facts_of(request: Request) -> Facts:
    """All facts. If a part fails, the facts hold its error, and the others go on."""
    facts: Facts = {"errors": {}, "python": sys.version.split()[0]}
    parts: list[tuple[str, Callable[[Request, Facts], None]]] = [
        ("packages", _packages),
        ("settings", _settings),
        ("names", _names),
    ]
    if request["endpoint"]:
        parts.append(("endpoint", _endpoint))
    if request["seams"]:
        parts.append(("seams", _seams))
    for name, part in parts:
        try:
            part(request, facts)
        except Exception as error:
            module = getattr(error, "name", None) if isinstance(error, ImportError) else None
            facts["errors"][name] = [_told(error), module]
        if name == "packages" and "otel-cinder" not in facts["packages"]:
            break
    return facts


def _packages(_request: Request, facts: Facts) -> None:
    """Versions, missing requirements of otel-cinder, and the time of its installation."""
    facts["packages"] = {name: v for name in _PACKAGES if (v := _version(name))}
    if "otel-cinder" not in facts["packages"]:
        return
    own = metadata.distribution("otel-cinder")
    record: Any = next((f for f in own.files or () if f.name == "RECORD"), None)
    if record is not None:
        facts["installed"] = Path(record.locate()).stat().st_mtime
    facts["missing"] = list(_missing(own.requires or ()))


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _missing(requires: Any) -> Iterator[str]:
    for line in requires:
        requirement, _, marker = line.partition(";")
        match = re.match(r"([\w.-]+)\s*\(?(?:>=\s*([\w.]+))?", requirement.strip())
        if not match or "extra" in marker:
            continue
        there = _version(match[1])
        if there is None:
            yield f"{match[1]} is missing"
        elif match[2] and _numbers(there) < _numbers(match[2]):
            yield f"{match[1]} {there} is older than {match[2]}"


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version.partition("+")[0])]


def _settings(_request: Request, facts: Facts) -> None:
    """The settings in effect, the file's included, and otel-cinder's warnings."""
    from otel_cinder import notices, settings, settings_file

    kept = _listen()
    before = settings.enabled(os.environ)
    path = settings_file.find()
    if path is not None:
        facts["file"] = str(path)
        with contextlib.suppress(OSError):
            facts["file_changed"] = path.stat().st_mtime
        settings_file.read_into(os.environ, path)
    _learn_secrets()
    facts["enabled"] = settings.enabled(os.environ)
    facts["by_file"] = facts["enabled"] and not before
    facts["said"] = settings.ENABLED in os.environ
    facts["sdk_disabled"] = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    facts["disabled"] = settings.instrumentation_disabled(os.environ)
    facts["others"] = list(_others(settings.disabled_instrumentations(os.environ)))
    settings.Settings.from_environ(os.environ)
    if facts["enabled"]:
        facts["idle"] = list(_idle())
    notices.tell()
    facts["warnings"] = [_masked(text) for text in kept.take()]


def _idle() -> Iterator[str]:
    """The standard settings by which no trace is exported; the others' mistakes are warned of."""
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, DEFAULT_OFF

    from otel_cinder.export import exporters
    from otel_cinder.export.signals import SPANS
    from otel_cinder.spans import sampling

    exporters.check(os.environ)
    sampler, _ = sampling.configured(os.environ)
    if sampler in (ALWAYS_OFF, DEFAULT_OFF):
        yield "OTEL_TRACES_SAMPLER"
    if not exporters.configured(SPANS, os.environ):
        yield "OTEL_TRACES_EXPORTER"


def _others(disabled: frozenset[str]) -> Iterator[list[str]]:
    from otel_cinder.settings import ALL_INSTRUMENTATIONS

    if ALL_INSTRUMENTATIONS in disabled:
        return
    for point in metadata.entry_points(group="opentelemetry_instrumentor"):
        module = point.value.partition(":")[0].rpartition(".")[2]
        if module in _OTHERS and point.name not in disabled:
            yield [point.name, _OTHERS[module]]


@functools.cache
def _listen() -> _Warnings:
    kept = _Warnings()
    log = logging.getLogger("otel_cinder")
    log.addHandler(kept)
    log.propagate = False
    return kept


def _learn_secrets() -> None:
    """Mask the values of headers from now on, in case an error repeats them."""
    from otel_cinder import redaction

    values: set[str] = set()
    for name, value in os.environ.items():
        if name.startswith("OTEL_") and name.endswith("_HEADERS"):
            pairs = [part.partition("=")[2].strip() for part in value.split(",")]
            values.update(
                word for pair in (value, *pairs) for word in (pair, pair.rpartition(" ")[2])
            )
    redaction.add_known_values(values - {""})


def _told(error: BaseException) -> str:
    """An error's class and masked text; without the text if masking fails."""
    kind = type(error).__name__
    if isinstance(error, ImportError):
        return f"{kind}: {error}"
    try:
        return f"{kind}: {_masked(str(error))}"
    except Exception:  # the package itself is broken
        return kind


def _masked(text: str) -> str:
    from otel_cinder import redaction

    return str(redaction.masked(text, 600))


def _names(_request: Request, facts: Facts) -> None:
    """``OTEL_*`` variables that OpenTelemetry does not know, each with the nearest known name."""
    known = _known_names()
    facts["unknown"] = [
        [name, near]
        for name in sorted(os.environ)
        if name.startswith("OTEL_") and not name.startswith("OTEL_CINDER_") and name not in known
        if (near := _nearest(name, known)) is not None
    ]


def _nearest(name: str, known: set[str]) -> str | None:
    """The nearest name; empty: none is near; None: the name may be another package's."""
    is_free = name.startswith(_FREE)
    matches = difflib.get_close_matches(name.upper(), known, 1, 0.93 if is_free else 0.8)
    if matches and not name.startswith(f"{matches[0]}_"):  # Kubernetes' operator adds such names
        return matches[0]
    return None if is_free else ""


def _known_names() -> set[str]:
    modules = {*_KNOWN_MODULES}
    for point in metadata.entry_points(group="opentelemetry_environment_variables"):
        modules.add(point.value.partition(":")[0])
    known = {"OTEL_CONFIG_FILE", "OTEL_EXPERIMENTAL_CONFIG_FILE", "OTEL_SEMCONV_STABILITY_OPT_IN"}
    for module in modules:
        with contextlib.suppress(Exception):  # an optional package
            values = vars(importlib.import_module(module)).values()
            known |= {v for v in values if isinstance(v, str) and v.startswith("OTEL_")}
    return known


def _seams(_request: Request, facts: Facts) -> None:
    """Patch the installed libraries in this process, and report the places that do not fit."""
    from opentelemetry.metrics import NoOpMeterProvider
    from opentelemetry.trace import NoOpTracerProvider

    import otel_cinder
    from otel_cinder.instrumentor import SEAMS, CinderInstrumentor
    from otel_cinder.settings import Settings

    otel_cinder.instrument(
        tracer_provider=NoOpTracerProvider(),
        meter_provider=NoOpMeterProvider(),
        settings=Settings(still_running=float("inf")),
    )
    unimportable: dict[str, str] = {}
    for module in (*_CINDER, *(trigger for trigger, *_ in SEAMS.values())):
        unimportable |= _import(module)
    waiting: set[str] = set()
    while new := _waited_for(CinderInstrumentor().status()) - waiting:
        waiting |= new
        for module in new:
            _import(module)
    rows = CinderInstrumentor().status()
    facts["places"] = {
        "fit": sum(row.state == "on" for row in rows),
        "not_imported": sum(row.state == "waiting" for row in rows),
        "skipped": [
            [row.target, row.seam, row.state.partition(": ")[2]]
            for row in rows
            if row.state.startswith("skipped")
        ],
    }
    facts["unimportable"] = unimportable


def _waited_for(rows: Any) -> set[str]:
    return {row.target.partition(":")[0] for row in rows if row.state == "waiting"}


def _import(module: str) -> dict[str, str]:
    """Import a module; if that fails, its name and the error."""
    try:
        importlib.import_module(module)
        if module == "cinder.objects":  # as each service does first; the managers need it
            sys.modules[module].register_all()
    except (Exception, SystemExit) as error:
        return {module: _told(error)}
    return {}


def _endpoint(request: Request, facts: Facts) -> None:
    """Export an empty batch of each signal, or one span, as the service would."""
    from otel_cinder import notices
    from otel_cinder.export import exporters
    from otel_cinder.export.failure_log import failure_log
    from otel_cinder.export.signals import LOGS, METRICS, SPANS

    kept = _listen()
    vars(exporters)["threads_are_green"] = lambda: request["green"]
    facts["exports"] = []
    for signal in (SPANS, METRICS, LOGS):
        if not exporters.disabled(signal, os.environ):
            batch = _batch(signal, request["send_trace"], facts)
            facts["exports"] += [
                {
                    "signal": signal.noun,
                    "where": exporters.endpoint(signal, os.environ),
                    **_export(signal, name, batch),
                }
                for name in exporters.configured(signal, os.environ)
            ]
    failure_log.write()
    notices.tell()
    facts["warnings"] = facts.get("warnings", []) + [_masked(text) for text in kept.take()]


def _export(signal: Any, name: str, batch: Any) -> dict[str, str]:
    from otel_cinder.export import exporters
    from otel_cinder.export.results import SettingError, Verdict, one_line

    try:
        by = exporters.protocol(signal, os.environ)
        exporter = exporters.factory(signal, name, by, os.environ)()
        if not hasattr(exporter, "deliver"):
            return {"state": "unseen", "what": f"the exporter {name} is not otel-cinder's own"}
        result = exporter.deliver(batch)
        exporter.shutdown()
    except SettingError as error:
        return {"state": "failed", "advice": str(error)}
    except Exception as error:
        raw = f"{type(error).__name__}: {one_line(error)}"
        return {
            "state": "failed",
            "advice": f"Correct OTEL_{signal.word}_EXPORTER, or install what it names",
            "raw": raw,
        }
    if result.verdict is Verdict.TAKEN and not result.advice:
        return {"state": "taken"}
    advice = result.advice + (signal.or_else if result.answered else "")
    return {"state": "failed", "advice": advice, "what": result.what, "raw": result.raw}


def _batch(signal: Any, send_trace: bool, facts: Facts) -> Any:
    if signal.word == "METRICS":
        return SimpleNamespace(resource_metrics=[])
    if signal.word == "TRACES" and send_trace:
        return [_span(facts)]
    return []


def _span(facts: Facts) -> Any:
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON

    named = Resource({"service.name": "otel-cinder-doctor"})
    provider = TracerProvider(
        sampler=ALWAYS_ON,
        resource=named.merge(OTELResourceDetector().detect()),
        shutdown_on_exit=False,
    )
    span: Any = provider.get_tracer("otel_cinder.doctor").start_span("doctor")
    span.end()
    facts["trace_id"] = f"{span.get_span_context().trace_id:032x}"
    return span


def main() -> None:
    """Answer one request."""
    warnings.simplefilter("ignore")
    logging.raiseExceptions = False
    logging.lastResort = None
    request = json.load(sys.stdin)
    # Not before: the .pth file would have switched tracing on.
    os.environ.pop("OTEL_CINDER_ENABLED", None)
    os.environ.update(request["environ"])
    answer = os.dup(1)
    os.dup2(2, 1)  # for packages that print on import
    text = json.dumps(facts_of(request))
    with os.fdopen(answer, "w") as stdout:
        stdout.write(text)
    sys.stderr.flush()
    os._exit(0)  # without the host's exit handlers


if __name__ == "__main__":
    main()
