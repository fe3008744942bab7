"""`otel-cinder live` in a real terminal, with what real Cinder sends it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from otel_cinder.reading.sources import read
from otel_cinder.reading.steps import CREATE
from tests.terminal import Terminal

pytest.importorskip("cinder")

ROOT = Path(__file__).parents[2]
COMMAND = Path(sys.executable).with_name("otel-cinder")
TASKS = [task for part in CREATE for task in part.tasks]


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_create_in_real_cinder_is_seen_until_its_end(tmp_path: Path) -> None:
    """Each of the thirteen tasks ends on the screen; what was saved is the same trace."""
    port, saved = free_port(), tmp_path / "saved.jsonl"
    command = [COMMAND, "live", "--listen", f"127.0.0.1:{port}", "--save", saved]
    with Terminal(command, {"TMPDIR": str(tmp_path)}, (120, 60), tmp_path) as seen:
        seen.wait_for_text("otel-cinder live", "OTEL_CINDER_ENABLED=true")
        demo = subprocess.run(
            [COMMAND, "demo", "--endpoint", f"http://127.0.0.1:{port}"],
            env={**os.environ, "TMPDIR": str(tmp_path)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            text=True,
            timeout=150,
        )
        assert demo.returncode == 0, demo.stderr

        def is_done(text: str) -> bool:
            rows = [line for line in text.splitlines() if "SUCCESS" in line]
            ended = [task for task in TASKS if any(f" {task} " in row for row in rows)]
            return ended == TASKS and "chose otel-cinder-demo@sparse#sparse" in text

        text = seen.wait_for(is_done)
        assert "✓ ended without an error" in text
        assert "SparseFileDriver.create_v" in text
        seen.press("q")
        assert seen.ended() == 0
    [create] = [trace for trace in read(str(saved)).traces() if len(trace) == 22]
    assert create.trace_id in demo.stdout


@pytest.mark.nightly
def test_the_readmes_moving_picture_can_be_drawn_again(tmp_path: Path) -> None:
    """`make picture` records a create that is slow, one that is rescheduled and one that fails."""
    picture = tmp_path / "live.svg"
    subprocess.run(
        [sys.executable, "-m", "docs.recording", picture], cwd=ROOT, check=True, timeout=250
    )
    text = "\n".join("".join(line.itertext()) for line in ET.parse(picture).getroot())
    for wanted in (
        "PENDING",
        "slower than usual",
        "_sleep",
        "gave attempt 1 up and asked the scheduler again",
        "attempt 2",
        "CapacityFilter left 0 of 2 backends",
        "NoValidBackend",
    ):
        assert wanted in text
