"""The probe's findings about names and versions."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from otel_cinder.doctor import probe

REFERENCE = (Path(__file__).parents[3] / "docs" / "reference.md").read_text()


def unknown() -> list[list[str]]:
    """The names that it does not know."""
    facts: probe.Facts = {}
    probe._names({}, facts)
    return facts["unknown"]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPIONT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ("OTEL_TRACE_EXPORTER", "OTEL_TRACES_EXPORTER"),
        ("OTEL_SERVICENAME", "OTEL_SERVICE_NAME"),
        ("OTEL_exporter_otlp_headers", "OTEL_EXPORTER_OTLP_HEADERS"),
        ("OTEL_RESOURCE_ATTRIBUTES_POD_NAME", ""),
        ("OTEL_NODE_IP", ""),
    ],
)
def test_nearest_name_is_suggested(name: str, near: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slip of the pen has a neighbour; other names have none."""
    monkeypatch.setenv(name, "x")
    assert unknown() == [[name, near]]


def test_names_that_have_an_effect_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of the reference's, and those that any instrumentation may add."""
    names = set(re.findall(r"`(OTEL_[A-Z_]+[A-Z])`", REFERENCE))
    assert len(names) > 20
    for name in (*names, "OTEL_PYTHON_FLASK_EXCLUDED_URLS", "OTEL_PYTHON_LOG_CORRELATION"):
        monkeypatch.setenv(name, "x")
    assert unknown() == []
    assert "OTEL_CINDER_ENABLED" in os.environ  # which the settings warn of


@pytest.mark.parametrize(
    ("required", "missing"),
    [
        ("wrapt>=1.14", []),
        ("wrapt", []),
        ("wrapt (>=1.14)", []),
        ("no-such-package>=1", ["no-such-package is missing"]),
        ("no-such-package>=1; extra == 'cli'", []),
        ("wrapt>=999.1", ["wrapt VERSION is older than 999.1"]),
    ],
)
def test_requirements_are_compared(
    required: str, missing: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package's metadata sets the lowest versions; extras are not required."""
    version = str(probe._version("wrapt"))
    assert [
        requirement.replace(version, "VERSION") for requirement in probe._missing([required])
    ] == missing


def test_versions_are_numbers() -> None:
    """A pre-release counts by its numbers."""
    assert probe._numbers("0.51b0") == [0, 51, 0]
    assert probe._numbers("1.9") < probe._numbers("1.30.0+local.9") == [1, 30, 0]
