"""The Procfile, with which `make pipeline` runs the pipeline in a terminal."""

import os
import re
import signal
import sys
from pathlib import Path

import psutil
import pytest

from tests.integration.processes import Process, server_binary, wait_until
from tests.pipeline.composed import DEFAULT, Ports
from tests.pipeline.programs import CHECKOUT, HTTP, collector_binary, jaeger_binary

CONFIGURATIONS = ("collector/all-in-one.yaml", "jaeger/memory.yaml", "Procfile")
HONCHO = Path(sys.executable).with_name("honcho")
ANSWERING = {
    "collector": (13133, "/"),
    "jaeger": (13134, "/status"),
    "prometheus": (9090, "/-/ready"),
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "TERM"])
def test_the_programs_run_until_they_are_ended_together(
    tmp_path: Path, number: signal.Signals
) -> None:
    """All three come up, on the ports that their files say, and none is left after the end."""
    ports = Ports()
    text = "".join((CHECKOUT / name).read_text() for name in CONFIGURATIONS)
    env = {
        **ports.settings(dict(DEFAULT.findall(text))),
        "PATH": f"{server_binary('prometheus', 'prometheus').parent}:{os.environ['PATH']}",
        "OTELCOL": str(collector_binary()),
        "JAEGER": str(jaeger_binary()),
        "PROMETHEUS_DATA": str(tmp_path / "prometheus"),
    }
    log = tmp_path / "log"
    process = Process("honcho", ["env", "--chdir", CHECKOUT, HONCHO, "start"], log, env)
    try:
        for name, (port, path) in ANSWERING.items():
            url = f"http://{ports.address(port)}{path}"
            wait_until(lambda url=url: _answers(url), 60, f"{name}; the log: {log}")
        family = process.family()
        assert len(family) > len(ANSWERING)
        os.kill(process.pid, number)
        assert process.wait(30) == 128 + number
        assert psutil.wait_procs(family, timeout=30)[1] == []
    finally:
        process.kill()
    ended = dict(re.findall(r"(\w+)\.1 stopped \(rc=(-?\d+)\)", log.read_text()))
    assert set(ended) == set(ANSWERING)
    # What has not ended after five seconds, as on a busy machine, honcho kills.
    assert set(ended.values()) <= {"0", "-9"}


def _answers(url: str) -> bool:
    try:
        return HTTP.get(url, timeout=5).ok
    except OSError:
        return False
