"""Runs our commands in this process, with any click that we allow."""

from __future__ import annotations

import inspect
from typing import Any

from click.testing import CliRunner

# Until 8.1, click puts both streams into one unless it is told not to; later it can't be told.
_SEPARATE: dict[str, Any] = (
    {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}
)


def runner() -> CliRunner:
    """A runner whose results have what was written to each stream."""
    return CliRunner(**_SEPARATE)
