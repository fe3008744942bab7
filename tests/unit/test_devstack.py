"""The devstack plugin, run as devstack runs it, with stubs of exactly the functions that it calls."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = ROOT / "devstack" / "plugin.sh"

STUBS = """
set -o errexit -o pipefail
function define_plugin { :; }
function echo_summary { echo "$@"; }
function die { shift; echo "$@" >&2; exit 1; }
function warn { shift; echo "$@" >&2; }
function get_python_exec_prefix { echo "$FOLDER/bin"; }
function is_service_enabled { [[ ",$ENABLED," == *",$1,"* || $1 == cinder ]]; }
SYSTEMD_DIR=$FOLDER/systemd
source {settings}
"""
"""Stand-ins for devstack's own functions. `sudo`, `pip` and `make` are programs on PATH."""

PROGRAMS = {
    "sudo": '#!/bin/sh\nexec "$@"\n',
    "pip": '#!/bin/sh\necho "pip $*" >> "$FOLDER/calls"\n',
    "make": '#!/bin/sh\necho "make $*" >> "$FOLDER/calls"\n',
}


class Devstack:
    """A folder with programs, units and a record of the calls."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        for name, text in PROGRAMS.items():
            program = folder / "bin" / name
            program.write_text(text)
            program.chmod(0o755)

    def run(self, *phases: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the plugin's phases one after the other, as stack.sh, unstack.sh or clean.sh do."""
        stubs = STUBS.replace("{settings}", str(PLUGIN.with_name("settings")))
        source = "".join(f"source {PLUGIN} {phase}\n" for phase in phases)
        defaults = {"DEVSTACK_SERIES": "2025.1", "GLOBAL_VENV": "True", "ENABLED": "c-api,c-vol"}
        path = f"{self.folder}/bin:/usr/bin:/bin"
        return subprocess.run(
            [shutil.which("bash") or "bash", "-c", stubs + source],
            env={"PATH": path, "FOLDER": str(self.folder), **defaults, **variables},
            text=True,
            capture_output=True,
            check=False,
        )

    @property
    def calls(self) -> list[str]:
        """How pip and make were called."""
        file = self.folder / "calls"
        return file.read_text().splitlines() if file.exists() else []

    @property
    def drop_ins(self) -> dict[str, str]:
        """Text of the drop-ins by their path below systemd's folder."""
        units = self.folder / "systemd"
        return {str(p.relative_to(units)): p.read_text() for p in units.glob("*/*")}


@pytest.fixture
def devstack(tmp_path: Path) -> Devstack:
    """A devstack that has nothing of otel-cinder."""
    return Devstack(tmp_path)


def test_stack_installs_and_switches_on(devstack: Devstack) -> None:
    """The release's file is installed without dependencies, and each enabled service is switched on."""
    done = devstack.run("stack pre-install", "stack install", "stack post-config", "stack extra")
    assert done.returncode == 0, done.stderr
    file = ROOT / "requirements" / "2025.1.txt"
    assert devstack.calls == [f"pip install --no-deps -r {file} {ROOT}"]
    output = (
        "[Service]\nEnvironment=OTEL_CINDER_ENABLED=true\n"
        "Environment=OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318\n"
    )
    assert devstack.drop_ins == {
        "devstack@c-api.service.d/otel-cinder.conf": output,
        "devstack@c-vol.service.d/otel-cinder.conf": output,
    }


@pytest.mark.parametrize(
    ("variables", "file"),
    [
        ({"DEVSTACK_SERIES": "2027.1"}, ROOT / "requirements" / "2026.2.txt"),
        ({"OTEL_CINDER_REQUIREMENTS": "/mine.txt"}, "/mine.txt"),
    ],
    ids=["a newer devstack", "a file of one's own"],
)
def test_which_file_is_installed(
    devstack: Devstack, variables: dict[str, str], file: object
) -> None:
    """A devstack that is ahead gets the newest file; local.conf may name another."""
    assert devstack.run("stack install", **variables).returncode == 0
    assert devstack.calls == [f"pip install --no-deps -r {file} {ROOT}"]


@pytest.mark.parametrize("script", ["unstack", "clean"])
def test_it_is_undone(devstack: Devstack, script: str) -> None:
    """unstack switches off and stops the pipeline; clean removes the package as well."""
    stacked = devstack.run(
        "stack install", "stack post-config", "stack extra", OTEL_CINDER_PIPELINE="jaeger"
    )
    assert stacked.returncode == 0, stacked.stderr
    before = devstack.calls
    assert before[1:] == [f"make -C {ROOT} up"]
    assert devstack.run(script, OTEL_CINDER_PIPELINE="jaeger").returncode == 0
    assert devstack.drop_ins == {}
    removed = ["pip uninstall -y otel-cinder"] if script == "clean" else []
    assert devstack.calls == [*before, f"make -C {ROOT} down", *removed]


@pytest.mark.parametrize("script", ["unstack", "clean"])
def test_undoing_nothing_succeeds(devstack: Devstack, script: str) -> None:
    """unstack.sh and clean.sh run also where stack.sh has failed early."""
    assert devstack.run(script).returncode == 0


@pytest.mark.parametrize("script", ["unstack", "clean"])
def test_a_pipeline_that_cannot_be_stopped_is_told(devstack: Devstack, script: str) -> None:
    """Without docker, all else is undone, and one line says that the pipeline was not stopped."""
    assert devstack.run("stack install", "stack post-config").returncode == 0
    (devstack.folder / "bin" / "make").write_text("#!/bin/sh\nexit 2\n")
    undone = devstack.run(script, OTEL_CINDER_PIPELINE="jaeger")
    assert (undone.returncode, undone.stderr) == (0, "the pipeline was not stopped\n")
    assert devstack.drop_ins == {}
    assert ("pip uninstall -y otel-cinder" in devstack.calls) is (script == "clean")


def test_unknown_pipeline_is_refused(devstack: Devstack) -> None:
    """A word other than jaeger or none stops the stack, with a message that says what to set."""
    done = devstack.run("stack extra", OTEL_CINDER_PIPELINE="yes")
    assert done.returncode == 1
    assert "Set OTEL_CINDER_PIPELINE to jaeger or none: it is yes" in done.stderr


def test_shellcheck_has_no_complaint() -> None:
    """The plugin's files are clean shell."""
    program = Path(sys.executable).with_name("shellcheck")
    files = [PLUGIN, PLUGIN.with_name("settings")]
    done = subprocess.run([program, *files], text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout
