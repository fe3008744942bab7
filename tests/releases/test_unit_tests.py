"""The unit tests of what touches the libraries, with the oldest of them and with pre-releases."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from requirements.installing import Virtualenv, python_of
from tests.integration.installation import CHECKOUT, clean_environment
from tests.integration.processes import missing

SELECTED = [
    f"tests/unit/{name}"
    for name in (
        "cli",
        "export",
        "patching",
        "reading",
        "seams",
        "spans",
        "test_activation.py",
        "test_instrumentor.py",
    )
]

USERS_EXTRAS = ("cli", "clients", "demo", "grpc")

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(3600)]


Runs = dict[str, "Future[subprocess.CompletedProcess[str]]"]


@pytest.fixture(scope="module")
def runs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Runs]:
    """The runs that tests here ask for, at the same time: each is one process."""
    folder = tmp_path_factory.mktemp("unit-tests")
    constraints = folder / "floors.txt"
    constraints.write_text("".join(f"{floor}\n" for floor in floors()))
    installs = {
        test_they_pass_with_the_oldest_libraries.__name__: (
            "3.10",
            "--constraint",
            str(constraints),
        ),
        test_they_pass_with_pre_releases.__name__: ("3.13", "--prerelease", "allow"),
    }
    wanted = {getattr(item, "originalname", "") for item in request.session.items}
    with ThreadPoolExecutor() as pool:
        yield {
            name: pool.submit(unit_tests, folder / install[0], *install)
            for name, install in installs.items()
            if name in wanted
        }


def test_they_pass_with_the_oldest_libraries(request: pytest.FixtureRequest, runs: Runs) -> None:
    """On the oldest Python, with each library that a user installs at pyproject.toml's floor."""
    passed(runs[request.node.originalname])


@pytest.mark.xfail(reason="a library may not be ready yet", strict=False)
def test_they_pass_with_pre_releases(request: pytest.FixtureRequest, runs: Runs) -> None:
    """Tells what is to come; may fail."""
    passed(runs[request.node.originalname])


def floors() -> Iterator[str]:
    """Requirements of otel-cinder and its users' extras, as the oldest version that each allows.

    Not of Cinder and TaskFlow, which go together: the oldest Cinder's is the matrix's first row.
    """
    for line in metadata.requires("otel-cinder") or ():
        requirement = Requirement(line)
        is_users = requirement.marker is None or any(
            requirement.marker.evaluate({"extra": extra}) for extra in USERS_EXTRAS
        )
        floor = [said.version for said in requirement.specifier if said.operator == ">="]
        if is_users and floor and requirement.name not in ("cinder", "taskflow"):
            yield f"{requirement.name}=={floor[0]}"


def unit_tests(folder: Path, python: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the unit tests on the checkout, in a virtualenv that is installed like this.

    The folder's path is short: tests make sockets below it, whose paths have at most 107 bytes.
    """
    program = python_of(python) or missing(f"Python {python} is not here.")
    virtualenv = Virtualenv(folder / "venv", program)
    virtualenv.install("--editable", f"{CHECKOUT}[dev]", *arguments)
    return subprocess.run(
        [
            *(virtualenv.python, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *("--basetemp", folder / "tmp", *SELECTED),
        ],
        cwd=CHECKOUT,
        env=clean_environment(),
        check=False,
        text=True,
        capture_output=True,
    )


def passed(run: Future[subprocess.CompletedProcess[str]]) -> None:
    """Wait for a run's end, and fail with its output if it has failed."""
    done = run.result()
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr
