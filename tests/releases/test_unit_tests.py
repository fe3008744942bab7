"""The unit tests of what touches the libraries, with the oldest of them and with pre-releases."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
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


def test_they_pass_with_the_oldest_libraries(tmp_path: Path) -> None:
    """On the oldest Python, with each library that a user installs at pyproject.toml's floor."""
    constraints = tmp_path / "floors.txt"
    constraints.write_text("".join(f"{floor}\n" for floor in floors()))
    unit_tests_pass("3.10", tmp_path, "--constraint", constraints)


@pytest.mark.xfail(reason="a library may not be ready yet", strict=False)
def test_they_pass_with_pre_releases(tmp_path: Path) -> None:
    """Tells what is to come; may fail."""
    unit_tests_pass("3.13", tmp_path, "--prerelease", "allow")


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


def unit_tests_pass(python: str, folder: Path, *arguments: object) -> None:
    """Run the unit tests on the checkout, in a virtualenv that is installed like this."""
    program = python_of(python) or missing(f"Python {python} is not here.")
    virtualenv = Virtualenv(folder / "venv", program)
    virtualenv.install("--editable", f"{CHECKOUT}[dev]", *arguments)
    done = subprocess.run(
        [virtualenv.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *SELECTED],
        cwd=CHECKOUT,
        env=clean_environment(),
        check=False,
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr
