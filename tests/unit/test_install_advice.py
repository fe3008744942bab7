"""Install commands in docs and messages never install or change a Cinder."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXTRA = re.compile(r"otel-cinder\[([\w,]+)\]")
FOR_ITS_OWN_VIRTUALENV = "demo/bin/pip install 'otel-cinder[demo]'"
CLIENTS_AND_EXPORTERS = re.compile(r"opentelemetry-")
COMMAND_LINE = re.compile(r"(click|requests|rich|opentelemetry-instrumentation-requests)\b")


def told() -> dict[str, set[str]]:
    """The extras that messages and pages name, by the file that does."""
    files = [
        *ROOT.glob("otel_cinder/**/*.py"),
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("README*.md"),
        ROOT / "docs" / "reference.py",
    ]
    commands: dict[str, set[str]] = {}
    for file in files:
        text = file.read_text().replace(FOR_ITS_OWN_VIRTUALENV, "")
        names = {name for named in EXTRA.findall(text) for name in named.split(",")}
        if names:
            commands[str(file.relative_to(ROOT))] = names
    return commands


def test_extras_in_messages_bring_no_cinder() -> None:
    """An extra that a message or a page names brings exporters, instrumentations or the commands."""
    names = {name for extras in told().values() for name in extras}
    assert names == {"cli", "clients", "grpc"}, told()
    for name in names:
        required = [
            requirement
            for requirement in metadata.requires("otel-cinder") or ()
            if f"extra == '{name}'" in requirement.replace('"', "'")
        ]
        allowed = COMMAND_LINE if name == "cli" else CLIENTS_AND_EXPORTERS
        assert required, name
        assert all(allowed.match(requirement) for requirement in required), required


def test_nothing_that_every_operator_installs_is_pinned() -> None:
    """Without an extra there are lower bounds only, and no Cinder."""
    required = [r for r in metadata.requires("otel-cinder") or () if "extra ==" not in r]
    assert required
    for requirement in required:
        assert not re.search(r"[<=~]=|[<!]", requirement.replace(">=", "")), requirement
        assert not requirement.startswith("cinder")


def test_demo_brings_its_cinder_into_a_virtualenv_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without Cinder, the demo's advice begins with a new virtualenv."""
    from otel_cinder.cli.demo import cinder_conf
    from otel_cinder.cli.demo.problem import Problem

    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    with pytest.raises(
        Problem, match=r"python3 -m venv demo && " + re.escape(FOR_ITS_OWN_VIRTUALENV)
    ):
        cinder_conf.cinder_etc()
