"""The configurations as they are: what the programs say of them, and what the docs say."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.integration.processes import run
from tests.pipeline.programs import CHECKOUT, collector_binary, jaeger_binary

ROLES = ("all-in-one", "agent", "gateway")
CONFIGURATIONS = sorted(
    file for folder in ("collector", "jaeger") for file in (CHECKOUT / folder).glob("*.yaml")
)
STORAGES = ("memory", "badger")


def validated(argv: list[str | Path], folder: Path) -> subprocess.CompletedProcess[str]:
    """Let a program check a configuration, with the settings that have no default."""
    env = {
        "OTELCOL_GATEWAY_ENDPOINT": "gateway.example:4317",
        "OTELCOL_LOGS_ENDPOINT": "logs.example:4317",
        "OTELCOL_QUEUE_DIRECTORY": str(folder / "queue"),
        "JAEGER_BADGER_DIRECTORY": str(folder / "badger"),
    }
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("files", [*((role,) for role in ROLES), ("gateway", "gateway-logs")])
def test_collector_takes_its_configurations(files: tuple[str, ...], tmp_path: Path) -> None:
    """The collector that we build finds nothing wrong with any of its files."""
    argv: list[str | Path] = [collector_binary(), "validate"]
    for name in files:
        argv += ["--config", CHECKOUT / "collector" / f"{name}.yaml"]
    done = validated(argv, tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("more", [(), ("tls",)])
def test_jaeger_takes_its_configurations(
    storage: str, more: tuple[str, ...], tmp_path: Path
) -> None:
    """Jaeger finds nothing wrong with either storage, with and without TLS."""
    argv: list[str | Path] = [jaeger_binary(), "validate"]
    for name in (storage, *more):
        argv += ["--config", CHECKOUT / "jaeger" / f"{name}.yaml"]
    done = validated(argv, tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("component", ["memory_limiter", "otlp_grpc", "span_metrics"])
def test_unknown_component_is_refused(component: str, tmp_path: Path) -> None:
    """A component whose name is not known fails the validation, and is named."""
    text = (CHECKOUT / "collector" / "all-in-one.yaml").read_text()
    assert component in text
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(text.replace(component, f"{component}_of_ours"))
    done = validated([collector_binary(), "validate", "--config", wrong], tmp_path)
    assert done.returncode != 0
    assert f'unknown type: "{component}_of_ours"' in done.stderr


def test_build_has_what_is_in_use_and_no_more() -> None:
    """Each component that we build is in some configuration, or the build has one too many."""
    kinds = ("receivers", "processors", "connectors", "exporters", "extensions")
    known = yaml.safe_load(run([collector_binary(), "components"]))
    used = {
        (kind, name.partition("/")[0])
        for role in ROLES
        for kind in kinds
        for name in _load(role).get(kind, {})
    }
    built = {(kind, each["name"]) for kind in kinds for each in known[kind]}
    assert used == built


def test_redaction_is_the_same_wherever_data_comes_in() -> None:
    """The agent masks what the collector for one host masks."""
    one_host, agent = (_load(role)["processors"] for role in ("all-in-one", "agent"))
    for processor in ("redaction", "transform/texts"):
        assert one_host[processor] == agent[processor]


def test_what_is_made_of_spans_is_the_same_everywhere() -> None:
    """A gateway counts spans, and draws the map of services, as the collector for one host does."""
    one_host, gateway = (_load(role) for role in ("all-in-one", "gateway"))
    for connector in ("span_metrics", "service_graph"):
        assert one_host["connectors"][connector] == gateway["connectors"][connector]
    for processor in ("filter/ended", "transform/casts"):
        assert one_host["processors"][processor] == gateway["processors"][processor]
    counted = [each["service"]["pipelines"]["traces/counted"] for each in (one_host, gateway)]
    assert counted[0] == counted[1]


def test_nothing_listens_beyond_the_loopback_by_default() -> None:
    """Every address that a program listens on is one of the loopback unless it is told another."""
    listening = r"(?:endpoint|host): \"?(\$\{env:\w+_(?:ENDPOINT|HOST):-([^}]+)\})"
    found = [m for file in CONFIGURATIONS for m in re.findall(listening, file.read_text())]
    assert len(found) >= 20
    assert {default.partition(":")[0] for _, default in found} == {"127.0.0.1"}


@pytest.mark.parametrize("file", CONFIGURATIONS, ids=lambda file: file.stem)
def test_settings_are_documented(file: Path) -> None:
    """Each environment variable of a configuration is in the README beside it, with that default."""
    readme = (file.parent / "README.md").read_text()
    for name, given, default in re.findall(r"\$\{env:(\w+)(:-([^}]*))?\}", file.read_text()):
        (row,) = [line for line in readme.splitlines() if line.startswith(f"| `{name}` ")]
        shown = f"`{default}`" if default else "| none |" if given else "required"
        assert shown in row


def _load(role: str) -> dict[str, dict[str, object]]:
    loaded = yaml.safe_load((CHECKOUT / "collector" / f"{role}.yaml").read_text())
    assert isinstance(loaded, dict)
    return loaded
