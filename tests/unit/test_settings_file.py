"""`otel-cinder.conf`, which replaces environment variables, and the code that finds it."""

from __future__ import annotations

import pkgutil
from pathlib import Path

import pytest

from tests.unit import scripts
from tests.unit.test_activation import LINE, QUIET

START = (Path(scripts.ROOT) / "otel_cinder.start").read_text()

ENTRY_POINTS = [line for line in START.splitlines() if line and not line.startswith("#")]

DOORS = {
    "pth": f"exec({LINE!r})",
    "start": f"import pkgutil; pkgutil.resolve_name({ENTRY_POINTS[0]!r})()",
}
"""The lines that Pythons below 3.15, and from 3.15 on, run at their start."""

each_door = pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)

IMPORTED = """
import json, os, sys
import oslo_messaging
from otel_cinder.instrumentor import CinderInstrumentor
print(json.dumps([CinderInstrumentor().is_instrumented_by_opentelemetry,
                  os.environ.get("OTEL_SERVICE_NAMESPACE"), os.environ.get("OTEL_A")]))
"""


def begin(prefix: Path, door: str) -> str:
    """Start as in a virtualenv below ``prefix``."""
    return f"{QUIET}\nimport sys; sys.prefix = {str(prefix)!r}\n{door}"


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """A virtualenv's folder, with a file that switches on."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "otel-cinder.conf").write_text(
        "# what the services are to be told\n"
        "OTEL_CINDER_ENABLED=true\n"
        "export OTEL_SERVICE_NAMESPACE = 'region one'\n"
        "OTEL_A=of the file\n"
    )
    return tmp_path


def test_start_file_names_one_entry_point() -> None:
    """Python 3.15 wants lines of `package.module:callable`, and calls it without arguments."""
    [entry_point] = ENTRY_POINTS
    assert pkgutil.resolve_name(entry_point).__module__ == "otel_cinder.startup"


@each_door
def test_file_switches_cinder_on_and_the_environment_wins(prefix: Path, door: str) -> None:
    """Its lines are as if they were variables; a variable that is set stays as it is."""
    ran = scripts.run(
        begin(prefix, door), "import cinder", IMPORTED, env={"OTEL_A": "of the environment"}
    )
    assert ran.said == [True, "region one", "of the environment"]
    assert f"otel-cinder reads its settings from {prefix}/etc/otel-cinder.conf" not in ran.stderr


@each_door
def test_file_leaves_other_services_alone(prefix: Path, door: str) -> None:
    """A service of the same virtualenv that is not Cinder is not traced, and gets no variables."""
    ran = scripts.run(begin(prefix, door), IMPORTED)
    assert ran.said == [False, None, None]
    assert ran.stderr == ""


@each_door
def test_variable_wins_over_the_file(prefix: Path, door: str) -> None:
    """With OTEL_CINDER_ENABLED=false nothing is imported, also if the file switches tracing on."""
    ran = scripts.run(
        begin(prefix, f"import os; os.environ['OTEL_CINDER_ENABLED'] = 'false'\n{door}"),
        "import sys; print(int('otel_cinder.activation' in sys.modules))",
    )
    assert ran.said == 0


@each_door
def test_variable_switches_on_and_the_file_says_the_rest(prefix: Path, door: str) -> None:
    """With OTEL_CINDER_ENABLED=true in the environment, the endpoint may come from the file."""
    (prefix / "etc" / "otel-cinder.conf").write_text("OTEL_A=of the file\n")
    ran = scripts.run(
        begin(prefix, f"import os; os.environ['OTEL_CINDER_ENABLED'] = 'true'\n{door}"), IMPORTED
    )
    assert ran.said == [True, None, "of the file"]


@each_door
def test_without_variable_and_file_nothing_is_imported(tmp_path: Path, door: str) -> None:
    """Programs that are not traced don't pay for otel-cinder."""
    ran = scripts.run(
        begin(tmp_path, door),
        "import sys; print(int('otel_cinder.activation' in sys.modules or 'pathlib' in sys.modules))",
    )
    assert ran.said == 0


def test_mistakes_are_reported_without_the_text(prefix: Path) -> None:
    """A line that is no setting has no effect; it may be a secret, so only its number is logged."""
    (prefix / "etc" / "otel-cinder.conf").write_text("OTEL_CINDER_ENABLED=true\nhunter2\nPATH=/\n")
    ran = scripts.run(begin(prefix, DOORS["pth"]), "import cinder", IMPORTED)
    assert ran.said[0] is True
    for number in (2, 3):
        assert f"Correct line {number} of {prefix}/etc/otel-cinder.conf" in ran.stderr
    assert "hunter2" not in ran.stderr


def test_file_that_cannot_be_read_is_reported(prefix: Path) -> None:
    """Cinder starts as usual; one line names the file and the user that must be able to read it."""
    (prefix / "etc" / "otel-cinder.conf").write_bytes(b"OTEL_A=\xff\n")
    ran = scripts.run(begin(prefix, DOORS["pth"]), "import cinder", IMPORTED)
    assert ran.said == [False, None, None]
    assert f"Let the user that Cinder runs as read {prefix}/etc/otel-cinder.conf" in ran.stderr
