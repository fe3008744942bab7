"""Each check's findings, without false ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from otel_cinder.doctor import checks, processes, tested
from otel_cinder.doctor.checks import Sight, findings_of
from otel_cinder.doctor.cinder_conf import Configuration
from otel_cinder.doctor.findings import Finding, Level, status_of
from otel_cinder.doctor.processes import Process
from otel_cinder.doctor.uwsgi import Options
from requirements.releases import RELEASES
from tests.unit.doctor.proc import BOOT, Proc

HEALTHY = {
    "errors": {},
    "packages": {"otel-cinder": "0.1.0", "cinder": "29.0.0", "taskflow": "6.5.0"},
    "installed": BOOT + 50,
    "missing": [],
    "enabled": True,
    "by_file": False,
    "said": True,
    "disabled": False,
    "sdk_disabled": False,
    "warnings": [],
    "unknown": [],
    "others": [["oslo_messaging", "messages"]],
    "places": {"fit": 87, "not_imported": 0, "skipped": []},
    "unimportable": {},
    "exports": [{"signal": "spans", "where": "http://c:4318", "state": "taken"}],
}


@pytest.fixture
def process(proc: Proc) -> Process:
    """A service that was started 100 s after the machine."""
    proc.add(7, ["/v/bin/cinder-volume"], {"OTEL_CINDER_ENABLED": "true"})
    [process] = processes.find(proc.folder)
    return process


def found(process: Process | None, **facts: Any) -> list[tuple[str, Level]]:
    """The checks that find something about a service, of which this is seen."""
    findings = findings_of(Sight({**HEALTHY, **facts}, process=process))
    return [(finding.check, finding.level) for finding in findings]


def test_healthy_service_has_no_findings(process: Process) -> None:
    """Nor has a virtualenv in which nothing is switched on yet."""
    assert found(process) == []
    assert found(None, enabled=False, said=False) == []


FAILED = {"signal": "spans", "where": "x", "state": "failed", "advice": "Do", "what": "no"}


@pytest.mark.parametrize(
    ("facts", "check", "level"),
    [
        ({"packages": {"cinder": "26.1"}}, "package", Level.MEND),
        ({"missing": ["wrapt is missing"]}, "package", Level.MEND),
        ({"errors": {"endpoint": ["ImportError: x", "google.protobuf"]}}, "package", Level.MEND),
        ({"errors": {"names": ["KeyError: x", None]}}, "package", Level.UNSEEN),
        ({"enabled": False}, "switch", Level.MEND),
        ({"disabled": True}, "switch", Level.MEND),
        ({"installed": BOOT + 200}, "restart", Level.MEND),
        ({"file": "/etc/x", "file_changed": BOOT + 200}, "restart", Level.MEND),
        ({"warnings": ["Set X to y: z."]}, "settings", Level.MEND),
        ({"unknown": [["OTEL_X", "OTEL_Y"]]}, "settings", Level.MEND),
        ({"unknown": [["OTEL_X", ""]]}, "settings", Level.NOTE),
        ({"sdk_disabled": True}, "export", Level.MEND),
        ({"idle": ["OTEL_TRACES_EXPORTER"]}, "export", Level.MEND),
        ({"exports": [FAILED]}, "endpoint", Level.MEND),
        ({"exports": [{**FAILED, "state": "unseen"}]}, "endpoint", Level.UNSEEN),
        (
            {"places": {"fit": 80, "skipped": [["a.b:c", "rpc", "AttributeError: c"]]}},
            "seams",
            Level.MEND,
        ),
        ({"places": {"fit": 0, "skipped": []}}, "seams", Level.MEND),
        ({"unimportable": {"cinder.objects": "ImportError: x"}}, "seams", Level.UNSEEN),
        (
            {"packages": {"otel-cinder": "0"}, "unimportable": {"cinder.objects": "x", "y": "z"}},
            "seams",
            Level.MEND,
        ),
        ({"packages": {"otel-cinder": "0", "cinder": "30.0.0"}}, "versions", Level.NOTE),
        ({"packages": {"otel-cinder": "0", "oslo.messaging": "13.1"}}, "versions", Level.NOTE),
    ],
)
def test_each_fact_is_found(
    process: Process, facts: dict[str, Any], check: str, level: Level
) -> None:
    """Each problem causes exactly one finding."""
    assert found(process, **facts) == [(check, level)]


def test_signals_that_fail_alike_are_one_finding(process: Process) -> None:
    """Signals with the same failure share a finding; another failure gets its own."""
    sight = Sight(
        {
            **HEALTHY,
            "exports": [FAILED, {**FAILED, "signal": "metrics"}, {**FAILED, "raw": "y"}],
        },
        process=process,
    )
    assert [finding.sentence for finding in checks.endpoint(sight)] == [
        "Do: spans and metrics can't be exported to x because no.",
        "Do: spans can't be exported to x because no (y).",
    ]


def test_missing_package_names_the_release(process: Process) -> None:
    """The file to install is that of the Cinder that is there."""
    [finding] = findings_of(Sight({**HEALTHY, "packages": {"cinder": "26.3.0"}}, process=process))
    assert "requirements/2025.1.txt otel-cinder" in finding.advice


NEEDING = Configuration({("DEFAULT", "logging_default_format_string"): "%(otelTraceID)s"}, ())


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"enabled": True}, "each program that is not traced (cinder-manage) loses every log line"),
        ({"enabled": False}, "this service loses every log line"),
        ({"enabled": True, "by_file": True}, None),
    ],
)
def test_formats_need_a_traced_process(
    process: Process, facts: dict[str, Any], said: str | None
) -> None:
    """A file switches tracing on for every program that reads the formats."""
    sight = Sight({**HEALTHY, **facts}, NEEDING, process=process)
    assert [f.what.partition("these, ")[2] for f in checks.formats(sight)] == (
        [said] if said else []
    )


def test_other_instrumentations_count_only_if_they_are_started(process: Process) -> None:
    """An installed package that nothing switches on makes no spans."""
    auto = "/v/lib/python3.11/site-packages/opentelemetry/instrumentation/auto_instrumentation"
    started = replace(process, environ={"PYTHONPATH": f"{auto}:/x"})
    assert found(started) == [("other tracers", Level.NOTE)]


def test_uwsgi_without_threads_is_found(process: Process) -> None:
    """Python's threads don't run there."""
    module = ("module", "cinder.wsgi.api")
    for pairs, count in (((module,), 1), ((module, ("enable-threads", "true")), 0), ((), 0)):
        sight = Sight(HEALTHY, process=process, uwsgi=Options(pairs, (), ()))
        assert len(findings_of(sight)) == count


def test_environment_that_is_hidden_is_no_fault(process: Process, proc: Proc) -> None:
    """It could not be looked at; if a title hides it and a socket shows the trace, all is well."""
    hidden = replace(process, environ=None, hidden="PermissionError: no")
    assert ("access", Level.UNSEEN) in found(hidden)
    for pid, sockets, expected in (
        (20, [4711], [("access", Level.NOTE)]),
        (21, [], [("access", Level.UNSEEN), ("switch", Level.MEND)]),
    ):
        proc.add(pid, ["cinder-api: master process [/v/bin/cinder-api]"], {}, sockets=sockets)
        [titled] = processes.find(proc.folder, [pid])
        assert found(titled, enabled=False) == expected


def test_hidden_wsgi_server_may_wait_for_its_first_request(proc: Proc) -> None:
    """No socket yet is no proof that tracing is off."""
    proc.add(20, ["cinder-apiuWSGI master"], {})
    [titled] = processes.find(proc.folder)
    assert found(titled, enabled=False) == [("access", Level.UNSEEN)]
    assert found(titled, enabled=True) == [("access", Level.UNSEEN)]


def test_virtualenv_that_cannot_be_asked_is_the_only_finding(process: Process) -> None:
    """Unseen parts cause no guesses."""
    sight = Sight({}, process=process, unseen=("its Python can't be found",))
    assert [finding.level for finding in findings_of(sight)] == [Level.UNSEEN]


def test_exit_status_says_the_worst() -> None:
    """A problem gives status 1, an unreadable part 2, a note 0."""
    each = {level: Finding("c", "a", "w", level) for level in Level}
    assert status_of([]) == status_of([each[Level.NOTE]]) == 0
    assert status_of([each[Level.UNSEEN], each[Level.NOTE]]) == 2
    assert status_of(list(each.values())) == 1


def test_tested_versions_are_those_of_the_requirements() -> None:
    """The wheel has no requirements/, so their releases are listed again."""
    majors = [int(release.cinder.partition(".")[0]) for release in RELEASES]
    assert tested.MAJORS["cinder"] == (min(majors), max(majors))
    assert [tested.series_of(release.cinder) for release in RELEASES] == [
        release.series for release in RELEASES
    ]
    assert tested.series_of("30.0") == tested.series_of("") == "RELEASE"
    project = (Path(__file__).parents[3] / "pyproject.toml").read_text()
    assert f'"taskflow>={tested.MAJORS["taskflow"][0]}.0"' in project
