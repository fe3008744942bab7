"""Fixtures of the doctor's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.doctor.proc import Proc


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    """A ``/proc`` without processes."""
    return Proc(tmp_path / "proc")
