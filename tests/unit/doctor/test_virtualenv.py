"""Running the probe with a virtualenv's Python, as the service's user."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from otel_cinder.doctor.virtualenv import ProbeError, Question

PYTHON = Path(sys.executable)


def question(python: Path = PYTHON, **environ: str) -> Question:
    """A question for a service of another user."""
    return Question.of(python, environ, (4711, 4712, (4713,)), green=False)


def test_secrets_of_others_are_not_passed_on() -> None:
    """Only variables that affect imports or the way to a collector are passed on."""
    kept = question(
        OTEL_A="1", PATH="/bin", https_proxy="p", NO_PROXY="n", OS_PASSWORD="secret", HOME="/h"
    )
    assert set(dict(kept.environ)) == {"OTEL_A", "PATH", "https_proxy", "NO_PROXY", "HOME"}


def test_root_asks_as_the_services_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """The virtualenv's code may be another's; a user without rights asks as itself."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert question()._privileges() == {"user": 4711, "group": 4712, "extra_groups": (4713,)}
    monkeypatch.setattr(os, "geteuid", lambda: 4714)
    assert question()._privileges() == {}


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("exit 3", "failed: exit status 3"),
        ("echo one >&2; echo two >&2", "failed: two"),
    ],
)
def test_failing_python_is_reported(
    source: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the last line of its stderr, or its exit status."""
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{source}\n")
    python.chmod(0o755)
    with pytest.raises(ProbeError, match=said):
        question(python).ask(seams=False, endpoint=False, send_trace=False)


def test_settings_of_the_service_do_not_switch_the_child_on(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The .pth file of the virtualenv sees that tracing is off; the facts are the service's."""
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    asked = question(OTEL_CINDER_ENABLED="true", PYTHONPATH=str(Path(__file__).parents[3]))
    facts = asked.ask(seams=False, endpoint=False, send_trace=False)
    assert facts["enabled"] is True
    assert facts["errors"] == {}
    assert "places" not in facts
    assert capfd.readouterr() == ("", "")
