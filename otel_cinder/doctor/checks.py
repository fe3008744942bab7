"""The checks: each is a small function that takes one service, as seen, and returns findings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from otel_cinder import settings
from otel_cinder.activation import advice_on_import
from otel_cinder.doctor import tested
from otel_cinder.doctor.cinder_conf import Configuration
from otel_cinder.doctor.findings import Finding, Level
from otel_cinder.doctor.processes import Process
from otel_cinder.doctor.uwsgi import Options
from otel_cinder.doctor.virtualenv import Facts

_MARGIN_S: Final = 2.0
"""Tolerance between a process's start, by Linux's clock, and the times of files."""

_AUTO: Final = "opentelemetry/instrumentation/auto_instrumentation"
"""The folder that `opentelemetry-instrument` puts into PYTHONPATH."""


@dataclass(frozen=True)
class Sight:
    """All that was seen of one service, or of a virtualenv in which none runs."""

    facts: Facts
    """The facts of `otel_cinder.doctor.probe`; empty if the probe could not run."""
    configuration: Configuration = field(default_factory=lambda: Configuration({}, ()))
    process: Process | None = None
    uwsgi: Options | None = None
    unseen: tuple[str, ...] = ()
    """Sentences about the parts that could not be read."""

    @property
    def installed(self) -> bool:
        """True if otel-cinder is in the virtualenv."""
        return "otel-cinder" in self.facts.get("packages", {})

    @property
    def environ_is_known(self) -> bool:
        """True if the settings that were looked at are the service's."""
        return self.process is None or self.process.environ is not None

    @property
    def on(self) -> bool | None:
        """True if tracing is switched on; None: that can't be seen."""
        if self.facts and not self.installed:
            return False
        if self.facts.get("enabled"):
            return not self.facts["disabled"]
        if self.environ_is_known or self.process is None:
            return False if "enabled" in self.facts else None
        # A WSGI server's workers begin with their first request.
        traced = self.process.traced()
        return None if self.process.is_wsgi and not traced else traced


def could_look(sight: Sight) -> Iterator[Finding]:
    """Everything that the other checks need can be seen."""
    for sentence in (*sight.unseen, *sight.configuration.unread):
        yield Finding("access", _ACCESS, sentence, Level.UNSEEN)
    process = sight.process
    if process is None or process.environ is not None or process.elsewhere:
        return
    what = f"the environment can't be read: {process.hidden}"
    if process.has_title:
        traced = process.traced()
        proof = ", but a socket shows that it is traced" if traced else ""
        level = Level.NOTE if traced else Level.UNSEEN
        yield Finding("access", _IN_SHELL, what + proof, level)
    else:
        yield Finding("access", _ACCESS, what, Level.UNSEEN)


_IN_SHELL: Final = (
    "To check its variables and its endpoint, set the same variables in a shell, and run this there "
    "with --venv"
)

_ACCESS: Final = "Run this as root, or as the user that the service runs as"


def package(sight: Sight) -> Iterator[Finding]:
    """The package is in the virtualenv, with all that it needs."""
    if not sight.facts:
        return
    if not sight.installed:
        series = tested.series_of(sight.facts.get("packages", {}).get("cinder", ""))
        then = ", and restart the service" if sight.process else ""
        yield Finding(
            "package",
            "Install it there: pip install --no-deps -r "
            f"https://raw.githubusercontent.com/otel-cinder/otel-cinder/main/requirements/{series}.txt "
            f"otel-cinder{then}",
            "otel-cinder is not in the virtualenv",
        )
    for missing in sight.facts.get("missing", ()):
        advice = "Install what requirements/ lists for this OpenStack release"
        yield Finding("package", advice, f"otel-cinder cannot work: {missing}")
    for part, (text, module) in sight.facts["errors"].items():
        advice = advice_on_import(ImportError(name=module)) if module else "Please report it"
        if not (module and sight.facts.get("missing")):
            level = Level.MEND if module else Level.UNSEEN
            yield Finding(
                "package", advice.removesuffix("."), f"the check of {part} failed", level, text
            )


def switched_on(sight: Sight) -> Iterator[Finding]:
    """Tracing is switched on for the service; for a virtualenv alone, it need not be."""
    if sight.process is None or not sight.installed:
        return
    if sight.facts.get("disabled"):
        yield Finding(
            "switch",
            "Take otel_cinder out of OTEL_PYTHON_DISABLED_INSTRUMENTATIONS",
            "this variable switches otel-cinder off",
        )
    elif sight.on is False:
        is_set = sight.facts.get("said") and sight.environ_is_known
        yield Finding(
            "switch",
            f"Set {settings.ENABLED}=true for this service, and restart it",
            f"{settings.ENABLED} does not say yes" if is_set else "tracing is not switched on",
        )


def restarted(sight: Sight) -> Iterator[Finding]:
    """The service was started after the last change of its installation and settings."""
    process = sight.process
    if process is None or not sight.installed:
        return
    changed = {"otel-cinder was installed": sight.facts.get("installed", 0.0)}
    if "file_changed" in sight.facts:
        changed[f"{sight.facts['file']} was changed"] = sight.facts["file_changed"]
    if sight.uwsgi is not None and any(name.startswith("OTEL_") for name in sight.uwsgi.environ):
        changed |= {f"{path} was changed": path.stat().st_mtime for path in sight.uwsgi.files}
    later = [what for what, when in changed.items() if when > process.started + _MARGIN_S]
    if later:
        what = f"it has been running since before {' and '.join(later)}"
        yield Finding("restart", "Restart the service", what)


def settings_are_right(sight: Sight) -> Iterator[Finding]:
    """otel-cinder's own warnings about names, values and lines of its file."""
    for text in dict.fromkeys(sight.facts.get("warnings", ())):
        yield Finding("settings", text.removesuffix("."), "")
    for name, near in sight.facts.get("unknown", ()):
        advice = f"Correct the name of {name}, probably to {near}" if near else f"Take {name} out"
        what = "OpenTelemetry has no such variable, so it has no effect"
        yield Finding("settings", advice, what, Level.MEND if near else Level.NOTE)


def export_is_on(sight: Sight) -> Iterator[Finding]:
    """Nothing switches the export of spans off."""
    if sight.facts.get("sdk_disabled"):
        yield Finding(
            "export",
            "Take OTEL_SDK_DISABLED=true out, and restart the service",
            "with it, nothing is exported",
        )
    for name in sight.facts.get("idle", ()):
        yield Finding("export", f"Correct {name}", "as it is set, no trace is exported")


def seams(sight: Sight) -> Iterator[Finding]:
    """The places to patch are there in the installed releases."""
    places = sight.facts.get("places")
    if places is None:
        return
    if "cinder" not in sight.facts["packages"] and "cinder.objects" in sight.facts["unimportable"]:
        advice = "Name the virtualenv in which Cinder is installed"
        yield Finding("seams", advice, "Cinder is not in this one")
        return
    for target, seam, why in places["skipped"]:
        advice = f"Check the release of {target.partition('.')[0].partition(':')[0]}"
        what = f"{target} does not fit, so {seam} spans will be missing"
        yield Finding("seams", advice, what, raw=why)
    if not places["fit"]:
        advice = "Install what requirements/ lists for this OpenStack release"
        yield Finding("seams", advice, "no place could be patched")
    for module, why in sight.facts["unimportable"].items():
        what = f"{module} can't be imported, so its places were not looked at"
        yield Finding("seams", "Look at the error", what, Level.UNSEEN, why)


def versions(sight: Sight) -> Iterator[Finding]:
    """The versions are among those that otel-cinder was tried with."""
    packages = sight.facts.get("packages", {})
    for name, (first, last) in tested.MAJORS.items():
        major = int(packages.get(name, "0").partition(".")[0] or 0)
        if major and not first <= major <= (last or major):
            tried = f"{first} to {last}" if last else f"{first} and newer"
            what = f"{name} {packages[name]} is here, and otel-cinder was tried with {tried}"
            yield Finding("versions", "Look whether all places fit", what, Level.NOTE)


def other_tracers(sight: Sight) -> Iterator[Finding]:
    """No other tracer makes spans that otel-cinder then leaves to it."""
    for section, option, library, what in _OWN_TRACING:
        if sight.configuration.is_on(section, option):
            advice = f"Set [{section}] {option} = false if otel-cinder is to make these spans"
            reason = f"{library}'s own tracing is on, so otel-cinder leaves {what} to it"
            yield Finding("other tracers", advice, reason, Level.NOTE)
    environ = (sight.process.environ if sight.process else None) or {}
    if _AUTO in environ.get("PYTHONPATH", ""):
        for name, what in sight.facts.get("others", ()):
            advice = f"Add {name} to OTEL_PYTHON_DISABLED_INSTRUMENTATIONS if otel-cinder is to make these spans"
            reason = f"opentelemetry-instrument switches {name} on, so otel-cinder leaves the {what} to it"
            yield Finding("other tracers", advice, reason, Level.NOTE)


_OWN_TRACING: Final = (
    ("oslo_messaging_tracing", "tracing_enabled", "oslo.messaging", "the messages"),
    ("oslo_middleware_tracing", "enabled", "oslo.middleware", "the requests"),
)


def formats(sight: Sight) -> Iterator[Finding]:
    """The format strings of the log need no field that only a traced process has."""
    needing = sight.configuration.formats_with_ids()
    if not needing or (sight.facts.get("by_file") and sight.on):
        return
    lost = "this service loses every log line" if sight.on is False else None
    yield Finding(
        "formats",
        "Put the trace's id into logging_user_identity_format instead of " + " and ".join(needing),
        f"with these, {lost or 'each program that is not traced (cinder-manage) loses every log line'}",
    )


def uwsgi_threads(sight: Sight) -> Iterator[Finding]:
    """Python's threads run under uWSGI; the export needs one."""
    if sight.uwsgi is not None and sight.uwsgi.known and not sight.uwsgi.threads_are_enabled:
        yield Finding(
            "uwsgi",
            "Add enable-threads = true to uWSGI's configuration, and restart it",
            "without it no other thread than the request's runs, so nothing is exported; Cinder "
            "needs it, too",
        )


def endpoint(sight: Sight) -> Iterator[Finding]:
    """The endpoint takes each signal."""
    alike: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for export in sight.facts.get("exports", ()):
        if export["state"] != "taken":
            key = tuple(
                export.get(name, "") for name in ("state", "advice", "what", "raw", "where")
            )
            alike.setdefault(key, []).append(export)
    for (state, advice, what, raw, where), exports in alike.items():
        nouns = " and ".join(dict.fromkeys(export["signal"] for export in exports))
        problem = f"{nouns} can't be exported to {where}" + (f" because {what}" if what else "")
        if state == "unseen":
            yield Finding("endpoint", "Look into the service's log", what, Level.UNSEEN)
        else:
            yield Finding("endpoint", advice, problem, raw=raw)


CHECKS: Final[tuple[Callable[[Sight], Iterator[Finding]], ...]] = (
    could_look,
    package,
    switched_on,
    restarted,
    settings_are_right,
    export_is_on,
    endpoint,
    seams,
    versions,
    other_tracers,
    formats,
    uwsgi_threads,
)


def findings_of(sight: Sight) -> list[Finding]:
    """All findings about one service."""
    return [finding for check in CHECKS for finding in check(sight)]
