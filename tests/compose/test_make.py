"""`make up` and `make down`, with a docker that only writes down what it is asked; and an old Go."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]

DOCKER = """\
#!/bin/sh
echo "$*" >> "$(dirname "$0")/asked"
case "$*" in
  {refuses}) exit 1 ;;
  "compose port "*) echo "127.0.0.1:$4" ;;
esac
"""


def make(target: str, folder: Path, refuses: str = "nothing") -> subprocess.CompletedProcess[str]:
    """Run make with a docker that refuses commands of this pattern."""
    docker = folder / "docker"
    docker.write_text(DOCKER.format(refuses=refuses))
    docker.chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    return subprocess.run(
        [shutil.which("make") or "make", "--no-print-directory", target],
        cwd=ROOT,
        env={"PATH": path, "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_without_docker_it_says_so_in_one_sentence(tmp_path: Path) -> None:
    """Where docker or its compose plugin is missing, nothing is tried, and there is another way."""
    done = make("up", tmp_path, refuses='"compose version"')
    assert done.returncode == 2
    [sentence, _] = done.stderr.splitlines()  # and what make itself says of the failure
    assert sentence.startswith("make: this needs docker with its compose plugin; `make pipeline`")
    assert (tmp_path / "asked").read_text() == "compose version\n"


def test_up_waits_until_all_are_well_and_prints_where_they_are(tmp_path: Path) -> None:
    """The addresses are those that docker has published, so they are right for other ports too."""
    done = make("up", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked[1] == "compose up --detach --wait"
    assert asked[2] == "compose exec -T prometheus wget -q -O /dev/null http://collector:13133/"
    assert done.stdout.splitlines()[1:] == [
        "Send OTLP to  http://127.0.0.1:4318, gRPC to 127.0.0.1:4317",
        "Traces        http://127.0.0.1:16686",
        "Dashboards    http://127.0.0.1:3000",
        "Prometheus    http://127.0.0.1:9090",
        "A first trace: make demo ARGS=--pipeline",
    ]


def test_a_program_that_does_not_come_up_is_no_success(tmp_path: Path) -> None:
    """Docker's own message is shown, and no address is printed."""
    done = make("up", tmp_path, refuses='"compose up"*')
    assert done.returncode == 2
    assert "http://" not in done.stdout


def test_down_keeps_recorded_data(tmp_path: Path) -> None:
    """Stopping removes no volume."""
    assert make("down", tmp_path).returncode == 0
    assert (tmp_path / "asked").read_text() == "compose down\n"


def test_a_go_that_is_too_old_is_named(tmp_path: Path) -> None:
    """Debian 12's Go can't read the modules' files; what is needed is said instead of what it says."""
    go = tmp_path / "go"
    go.write_text("#!/bin/sh\necho go version go1.19.8 linux/amd64\n")
    go.chmod(0o755)
    done = make("collector", tmp_path)  # whose HOME has no collector yet
    assert done.returncode == 2
    [sentence, _] = done.stderr.splitlines()
    assert sentence.startswith("make: otelcol-cinder is built with Go 1.25, or 1.21 and newer")
    assert sentence.endswith("here is go version go1.19.8 linux/amd64")
