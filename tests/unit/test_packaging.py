"""What a package index gets: a wheel and a source distribution."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE_DATE_EPOCH = "1800000000"
SELECTED = ("tests/unit/test_project.py", "tests/unit/test_devstack.py", "tests/unit/reading")
"""Tests that read files of the checkout, and tests that import the package."""


def run(*words: object, cwd: Path = ROOT, umask: int = 0o022, **environ: str) -> str:
    """Run a Python module in ``cwd`` and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", *map(str, words)],
        cwd=cwd,
        env={**os.environ, "SOURCE_DATE_EPOCH": SOURCE_DATE_EPOCH, **environ},
        umask=umask,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both files, built from the checkout."""
    folder = tmp_path_factory.mktemp("dist")
    run("hatchling", "build", "--directory", folder)
    return folder


@pytest.fixture(scope="module")
def unpacked(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, unpacked."""
    folder = tmp_path_factory.mktemp("sdist")
    [file] = built.glob("*.tar.gz")
    with tarfile.open(file) as archive:
        archive.extractall(folder, filter="data")
    [root] = folder.iterdir()
    return root


def test_the_package_index_accepts_both(built: Path) -> None:
    """Metadata and README are as an index wants them; a warning counts as a failure."""
    files = sorted(built.iterdir())
    said = run("twine", "check", "--strict", *files, COLUMNS="1000", NO_COLOR="1")
    assert [file.suffix for file in files] == [".whl", ".gz"]
    assert said.count("PASSED") == 2


def test_both_can_be_built_again_byte_by_byte(built: Path, unpacked: Path, tmp_path: Path) -> None:
    """From the source distribution, elsewhere and under another umask, come the same files."""
    again = {"TZ": "Asia/Shanghai", "PYTHONHASHSEED": "7", "LC_ALL": "C"}
    run("hatchling", "build", "--directory", tmp_path, cwd=unpacked, umask=0o077, **again)
    first = {file.name: file.read_bytes() for file in built.iterdir()}
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == first


def test_tests_run_from_the_source_distribution(unpacked: Path) -> None:
    """It has the files that its tests read, and they try its own code."""
    where = run("otel_cinder", "--help", cwd=unpacked)
    assert "doctor" in where
    code = "import otel_cinder, pathlib, pytest, sys; print(otel_cinder.__file__)"
    asked = [sys.executable, "-c", code]
    imported = subprocess.run(asked, cwd=unpacked, check=True, text=True, capture_output=True)
    assert Path(imported.stdout.strip()).is_relative_to(unpacked)
    assert " passed" in run("pytest", "-q", "-p", "no:cacheprovider", *SELECTED, cwd=unpacked)
    assert run("pytest", "-q", "--collect-only", "tests", cwd=unpacked)
