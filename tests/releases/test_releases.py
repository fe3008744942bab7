"""The Cinder of each OpenStack release, as its constraints pin it, with what `requirements` adds.

CI installs two of them, `make matrix` all. With ``ARGS='-k zed'`` it is one.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from otel_cinder.reading.receiver import from_json_line
from otel_cinder.reading.trace import Trace, spans_of, traces_of
from requirements.installing import Virtualenv, python_of
from requirements.releases import RELEASES, Release
from tests.integration.installation import build_wheel, clean_environment
from tests.integration.processes import missing

IN_CI = {"2024.1", "2026.2"}
"""One in the middle and the newest. The oldest needs a Python that CI may not have."""

GOLDEN = Path(__file__).parent / "golden" / "create.txt"

pytestmark = pytest.mark.timeout(900)


class Installed(NamedTuple):
    """A release's Cinder with otel-cinder beside it, and what was there before."""

    release: Release
    virtualenv: Virtualenv
    before: list[str]
    complaints: list[str]
    """The output of `pip check` before."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout's wheel."""
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the demo draws with and what it serves Cinder 29 with."""
    folder = tmp_path_factory.mktemp("terminal")
    newest = Virtualenv(folder / "venv", python_of("3.11") or missing("Python 3.11 is not here."))
    newest.install("--target", folder / "site", "click", "rich", "waitress")
    return folder / "site"


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(
            release,
            id=release.series,
            marks=[] if release.series in IN_CI else [pytest.mark.nightly],
        )
        for release in RELEASES
    ],
)
def installed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, wheel: Path
) -> Iterator[Installed]:
    """The release's Cinder, and then what its file adds, as the file's first line says."""
    release: Release = request.param
    python = python_of(release.python) or missing(f"Python {release.python} is not here.")
    virtualenv = Virtualenv(tmp_path_factory.mktemp(release.series), python)
    virtualenv.install("--no-deps", "--requirement", release.before)
    before, complaints = virtualenv.freeze(), virtualenv.check()
    virtualenv.install("--no-deps", "--requirement", release.added, wheel)
    return Installed(release, virtualenv, before, complaints)


def test_nothing_moves(installed: Installed) -> None:
    """Cinder's packages are as before, and only the file's packages are new."""
    after = [line for line in installed.virtualenv.freeze() if "otel-cinder" not in line]
    assert set(installed.before) <= set(after)
    named = re.findall("^[a-z].*", installed.release.added.read_text(), re.MULTILINE)
    assert {line.replace("_", "-").lower() for line in set(after) - set(installed.before)} == {
        *named
    }


def test_the_file_tells_what_pip_check_says(installed: Installed) -> None:
    """`pip check` complains of what the file names, and of nothing else."""
    told = re.findall(r"#   (\S+) \S+ wants ([\w-]+)", installed.release.added.read_text())
    said = [
        re.findall(r"`([\w-]+)` requires `([\w-]+)", line)[0]
        for line in installed.virtualenv.check()
        if line not in installed.complaints
    ]
    assert sorted(said) == sorted(told)


def test_a_create_is_one_trace(
    installed: Installed, terminal: Path, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """Every release makes the same spans, attributes and events, and lacks none of our seams."""
    spans = tmp_path / "spans.jsonl"
    demo = subprocess.run(
        [installed.virtualenv.python, "-m", "otel_cinder.cli", "demo", "--keep", "--spans", spans],
        cwd=tmp_path,
        env=clean_environment() | {"PYTHONPATH": str(terminal), "TMPDIR": str(tmp_path)},
        check=False,
        text=True,
        capture_output=True,
    )
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert f"/requirements/{installed.release.series}.txt otel-cinder\n" in demo.stdout
    [trace] = traces_of(
        span for line in spans.read_text().splitlines() for span in spans_of(from_json_line(line))
    )
    if pytestconfig.getoption("--update-goldens"):
        GOLDEN.write_text(shape(trace))
    assert shape(trace) == GOLDEN.read_text()
    [log] = tmp_path.glob("*/cinder.log")
    assert " traces cinder-" in log.read_text()
    assert "unpatched" not in log.read_text()


def test_the_doctor_has_nothing_to_mend(installed: Installed, tmp_path: Path) -> None:
    """As it is installed, every place fits, and no requirement is missing or untried."""
    words = ["-m", "otel_cinder", "doctor", "--no-endpoint", "--venv", installed.virtualenv.folder]
    doctor = subprocess.run(
        [installed.virtualenv.python, *words],
        cwd=tmp_path,
        env=clean_environment(),
        check=False,
        text=True,
        capture_output=True,
    )
    assert (doctor.returncode, doctor.stderr) == (0, "")
    assert f"cinder {installed.release.cinder}, " in doctor.stdout
    assert doctor.stdout.endswith(" places fit\n\nNothing to mend.\n")


def shape(trace: Trace) -> str:
    """Return the names in a trace: a span's, its attributes' and its events'."""
    return "".join(
        f"{span.name}\n"
        + "".join(f"  {name}\n" for name in sorted(span.attributes))
        + "".join(f"  * {name}\n" for name in sorted({event.name for event in span.events}))
        for span in sorted(trace.spans, key=lambda span: span.name)
    )
