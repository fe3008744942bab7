"""What is installed for the tests of this folder, once a session, and the table of what was tried."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from requirements.installing import Virtualenv, python_of
from tests.integration.installation import build_wheel
from tests.integration.processes import missing
from tests.releases.installs import Install, Installed, installed
from tests.releases.table import Table


@pytest.fixture(scope="session")
def install(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Install], Installed]:
    """Returns a Cinder with the checkout's wheel, installed at the first call."""
    wheel = build_wheel(tmp_path_factory.mktemp("wheel"))
    return cache(lambda wanted: installed(wanted, tmp_path_factory.mktemp(wanted.name), wheel))


@pytest.fixture(scope="session")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the demo draws with and what it serves Cinder 29 with."""
    folder = tmp_path_factory.mktemp("terminal")
    newest = Virtualenv(folder / "venv", python_of("3.11") or missing("Python 3.11 is not here."))
    newest.install("--target", folder / "site", "click", "rich", "waitress")
    return folder / "site"


@pytest.fixture(scope="session")
def table(pytestconfig: pytest.Config) -> Iterator[Table]:
    """The rows of docs/releases.md, written at the end with --update-table."""
    table = Table()
    yield table
    if pytestconfig.getoption("--update-table"):
        table.write()
