"""compose.yaml against all that can be had of it without an engine to run containers.

Its programs, with the commands, environment and files that it gives them, run in
tests/pipeline/test_demo_pipeline.py.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.pipeline.programs import built

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "compose.yaml"

# What each program of the pipeline is configured by: the variables in these are all it reads.
READ_BY = {
    "collector": ["collector/all-in-one.yaml"],
    "jaeger": ["jaeger/memory.yaml", "jaeger/badger.yaml"],
    "prometheus": [],
    "grafana": ["grafana/provisioning/**/*.yaml"],
}


@pytest.fixture(scope="session")
def compose_spec() -> Path:
    """The program that reads a compose file as `docker compose` does."""
    sources = ["tests/compose/go.mod", "tests/compose/go.sum", "tests/compose/main.go"]
    return built("compose", "compose-spec", sources)


def read(program: Path, file: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Read a compose file, with nothing but this set in the environment."""
    return subprocess.run(
        [program, file],
        cwd=file.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="session")
def project(compose_spec: Path) -> dict[str, Any]:
    """compose.yaml as `docker compose` reads it, defaults filled in."""
    done = read(compose_spec, COMPOSE)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="session")
def services(project: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The services by name."""
    return project["services"]


@pytest.mark.parametrize(
    ("good", "bad", "complaint"),
    [
        ("mem_limit:", "memory_limit:", ".memory_limit false schema"),
        ("start_period: 30s", "start_period: soon", 'invalid duration "soon"'),
        (
            "  - --storage.tsdb",
            "  - storage: --storage.tsdb",
            "services.prometheus.command.1 must be",
        ),
        ("- grafana:/var", "- graphs:/var", "refers to undefined volume graphs"),
        ("prometheus: {condition", "prom: {condition", 'depends on undefined service "prom"'),
        ("service_healthy", "service_well", "must be one of"),
    ],
)
def test_violations_of_the_specification_are_found(
    compose_spec: Path, tmp_path: Path, good: str, bad: str, complaint: str
) -> None:
    """The check that the next tests rest on can fail, by schema and by what does not fit together."""
    text = COMPOSE.read_text()
    assert good in text
    file = tmp_path / "compose.yaml"
    file.write_text(text.replace(good, bad))
    done = read(compose_spec, file)
    assert done.returncode == 1
    assert complaint in done.stderr


def test_it_follows_the_specification(services: dict[str, Any]) -> None:
    """`docker compose` can read it, and finds the four programs in it."""
    assert set(services) == set(READ_BY)


def test_ports_are_published_on_the_loopback_alone(services: dict[str, Any]) -> None:
    """Nothing of the pipeline can be reached from another host, and each port is another."""
    ports = [port for service in services.values() for port in service["ports"]]
    assert {port["host_ip"] for port in ports} == {"127.0.0.1"}
    published = [int(port["published"]) for port in ports]
    assert sorted(published) == [3000, 4317, 4318, 9090, 16686]
    assert published == [port["target"] for port in ports]


def test_a_port_can_be_another(compose_spec: Path) -> None:
    """Each published port has a variable of its own, as the comment in the file says."""
    names = re.findall(r"127\.0\.0\.1:\$\{(\w+_PORT):-\d+}:", COMPOSE.read_text())
    assert len(names) == 5
    chosen = {name: str(20000 + number) for number, name in enumerate(names)}
    done = read(compose_spec, COMPOSE, **chosen)
    ports = [
        p for service in json.loads(done.stdout)["services"].values() for p in service["ports"]
    ]
    assert sorted(int(port["published"]) for port in ports) == [20000 + n for n in range(5)]


def test_every_file_that_is_mounted_is_here_and_read_only(services: dict[str, Any]) -> None:
    """A container's files from this checkout exist, are tracked and are read-only."""
    mounts = [m for service in services.values() for m in service["volumes"] if m["type"] == "bind"]
    assert len(mounts) == 9
    for mount in mounts:
        source = Path(mount["source"])
        assert source.exists(), source
        assert source.is_relative_to(ROOT)
        assert mount["read_only"], source


def test_recorded_data_is_kept_in_volumes(project: dict[str, Any]) -> None:
    """Each program that stores something has a named volume, and no volume is left over."""
    used = {
        mount["source"]
        for service in project["services"].values()
        for mount in service["volumes"]
        if mount["type"] == "volume"
    }
    assert used == set(project["volumes"]) == {"jaeger", "prometheus", "grafana"}


def variables(patterns: list[str]) -> set[str]:
    """The environment variables that these configurations read."""
    text = "".join(file.read_text() for pattern in patterns for file in ROOT.glob(pattern))
    return set(re.findall(r"\$\{(?:env:)?([A-Z][A-Z0-9_]+)(?::-[^}]*)?}|\$([A-Z][A-Z0-9_]+)", text))


@pytest.mark.parametrize("name", READ_BY)
def test_every_variable_it_sets_is_read(services: dict[str, Any], name: str) -> None:
    """A variable that a configuration does not read would be a setting without effect."""
    # Go's runtime and Grafana itself read theirs, whatever the files say.
    given = {
        variable
        for variable in services[name].get("environment", {})
        if variable != "GOMEMLIMIT" and not variable.startswith("GF_")
    }
    read = {variable for pair in variables(READ_BY[name]) for variable in pair}
    assert given <= read


def test_programs_are_pinned_to_the_versions_that_the_tests_run(services: dict[str, Any]) -> None:
    """The collector's and Jaeger's images are of the releases that are built for the tests."""
    versions = {name: services[name]["image"].rpartition(":")[2] for name in services}
    assert all(re.fullmatch(r"v?\d+\.\d+\.\d+", version) for version in versions.values())
    manifest = yaml.safe_load((ROOT / "collector" / "builder-config.yaml").read_text())
    assert versions["collector"] == manifest["dist"]["version"]
    module = (ROOT / "jaeger" / "go.mod").read_text()
    [(released, counted)] = re.findall(r"Jaeger (\S+), whose module counts as v(\S+),", module)
    assert versions["jaeger"] == released
    assert f"github.com/jaegertracing/jaeger v{counted} " in module


def test_memory_is_bounded(services: dict[str, Any]) -> None:
    """Every program has a hard limit, and Go is told four fifths of it, if it can't tell itself."""
    for name, service in services.items():
        hard = int(service["mem_limit"])
        soft = service["environment"].get("GOMEMLIMIT") if "environment" in service else None
        if soft is None:
            assert name == "prometheus"
            continue
        assert int(soft.removesuffix("MiB")) * 2**20 == pytest.approx(0.8 * hard, rel=0.01)


def test_programs_that_need_another_wait_for_its_health(services: dict[str, Any]) -> None:
    """Whose image can tell how it is, is waited for until it is well; the collector's can't."""
    tells = {name for name, service in services.items() if "healthcheck" in service}
    assert tells == {"jaeger", "prometheus", "grafana"}
    for service in services.values():
        for needed, how in service.get("depends_on", {}).items():
            assert how["condition"] == f"service_{'healthy' if needed in tells else 'started'}"


def targets(folder: Path) -> dict[str, list[str]]:
    """Prometheus' targets by file, as a list of HOST:PORT."""
    return {
        file.name: [t for group in yaml.safe_load(file.read_text()) for t in group["targets"]]
        for file in folder.glob("*.yaml")
    }


def test_prometheus_scrapes_the_same_ports_as_without_containers(services: dict[str, Any]) -> None:
    """The targets under compose are those of this host, by the services' names."""
    composed, native = (targets(ROOT / "prometheus" / name) for name in ("compose", "targets"))
    assert native
    for file, addresses in native.items():
        assert [a.split(":")[1] for a in composed[file]] == [a.split(":")[1] for a in addresses]
        assert {a.split(":")[0] for a in composed[file]} <= set(services)
