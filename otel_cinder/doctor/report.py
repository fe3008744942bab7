"""The findings as text for people, and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from otel_cinder.doctor.examination import Examined
from otel_cinder.doctor.findings import Finding, Level, status_of

_HEADS = {
    Level.MEND: "To mend:",
    Level.UNSEEN: "Could not look:",
    Level.NOTE: "Good to know:",
}


def text_of(examined: Sequence[Examined]) -> str:
    """The examined services, then each finding once, with its services."""
    lines = ["Looked at:"]
    lines += [f"  {service.name}: {_state(service)}" for service in examined]
    for level, head in _HEADS.items():
        findings = _grouped(examined, level)
        if findings:
            lines += ["", head]
            lines += [
                line for finding, names in findings.items() for line in _lines(finding, names)
            ]
    if status_of(_all(examined)) == 0:
        lines += ["", "Nothing to mend."]
    lines += list(_traces(examined))
    return "\n".join(lines)


def _lines(finding: Finding, names: list[str]) -> list[str]:
    return [f"  - {finding.sentence}", f"      {', '.join(names)}"]


def _all(examined: Sequence[Examined]) -> list[Finding]:
    return [finding for service in examined for finding in service.findings]


def _grouped(examined: Sequence[Examined], level: Level) -> dict[Finding, list[str]]:
    grouped: dict[Finding, list[str]] = {}
    for service in examined:
        for finding in service.findings:
            if finding.level is level:
                grouped.setdefault(finding, []).append(service.name)
    return grouped


def _state(examined: Examined) -> str:
    """A few words: versions, places, destinations."""
    sight, facts = examined.sight, examined.sight.facts
    parts = []
    if sight.process is not None:
        parts.append({True: "switched on", False: "not switched on"}.get(sight.on, "unknown"))  # type: ignore[arg-type]
    packages = facts.get("packages", {})
    parts += [f"{name} {packages[name]}" for name in ("otel-cinder", "cinder") if name in packages]
    if "places" in facts:
        parts.append(f"{facts['places']['fit']} places fit")
    taken: dict[str, list[str]] = {}
    for export in facts.get("exports", ()):
        if export["state"] == "taken":
            taken.setdefault(export["where"], []).append(export["signal"])
    parts += [f"{where} takes {' and '.join(nouns)}" for where, nouns in taken.items()]
    return ", ".join(parts) or "unknown"


def _traces(examined: Sequence[Examined]) -> Iterator[str]:
    for trace_id, where in _sent(examined).items():
        yield ""
        yield f"Sent a trace to {where}. Look there, or in the store behind it, for the trace id:"
        yield f"  {trace_id}    (in Jaeger: http://JAEGER:16686/trace/{trace_id})"


def _sent(examined: Sequence[Examined]) -> dict[str, str]:
    """The ids of accepted traces, each with the endpoint that accepted it."""
    return {
        service.sight.facts["trace_id"]: export["where"]
        for service in examined
        if "trace_id" in service.sight.facts
        for export in service.sight.facts["exports"]
        if (export["signal"], export["state"]) == ("spans", "taken")
    }


def json_of(examined: Sequence[Examined]) -> str:
    """The same for programs: one object."""
    return json.dumps(
        {
            "status": status_of(_all(examined)),
            "looked_at": [_service(service) for service in examined],
            "sent_traces": _sent(examined),
        },
        indent=2,
    )


def _service(examined: Examined) -> dict[str, Any]:
    sight, process = examined.sight, examined.sight.process
    return {
        "name": examined.name,
        "pid": process.pid if process else None,
        "workers": list(process.workers) if process else [],
        "on": sight.on if process else None,
        "traced_now": process.traced() if process else None,
        "packages": sight.facts.get("packages", {}),
        "places": sight.facts.get("places"),
        "exports": sight.facts.get("exports", []),
        "findings": [
            {
                "check": finding.check,
                "level": finding.level.value,
                "advice": finding.advice,
                "what": finding.what,
                "raw": finding.raw,
            }
            for finding in examined.findings
        ],
    }
