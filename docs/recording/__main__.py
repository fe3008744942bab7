"""Record `otel-cinder live` during creates of volumes in real Cinder: `python -m docs.recording FILE`."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from docs.recording.svg import Frame, picture, runs
from otel_cinder.cli.demo import cinder_conf
from otel_cinder.cli.demo.processes import Processes
from otel_cinder.cli.demo.run import Cinder, free_port
from otel_cinder.reading.receiver import Receiver
from tests.terminal import Terminal

ROOT = Path(__file__).parents[2]
_SIZE = (110, 36)
_EACH_S = 0.4
_LAST_S = 120.0
_TOO_LARGE = 500
_BACKENDS = """\
[DEFAULT]
enabled_backends = ssd,disk
scheduler_default_filters = CapacityFilter,CapabilitiesFilter,IgnoreAttemptedHostsFilter
[ssd]
volume_driver = docs.recording.driver.ObedientDriver
volume_backend_name = ssd
[disk]
volume_driver = docs.recording.driver.ObedientDriver
volume_backend_name = disk
"""


class Recording:
    """The screens of a terminal while something is done."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self.frames: list[Frame] = []

    def until(self, predicate: Callable[[str], bool], hold: float = 0.0) -> None:
        """Take screens until one is as wanted, and for ``hold`` seconds more."""
        deadline = time.monotonic() + _LAST_S
        found = None
        while found is None or time.monotonic() < found + hold:
            self._take()
            if found is None and predicate(self._terminal.text):
                found = time.monotonic()
            if time.monotonic() > deadline:
                raise SystemExit(f"what was waited for did not come:\n{self._terminal.text}")
            time.sleep(_EACH_S)

    def _take(self) -> None:
        rows = tuple(runs(line) for line in self._terminal.cells())
        if any(rows) and (not self.frames or self.frames[-1].rows != rows):
            self.frames.append(Frame(time.monotonic(), rows))


def record(path: Path) -> None:
    """Three creates as usual, one that is slow, one that is rescheduled, one that fails."""
    with tempfile.TemporaryDirectory(prefix="otel-cinder-recording-") as name:
        folder = Path(name)
        port, listen = free_port(0), free_port(0)
        environment = cinder_conf.environment(os.environ, f"http://127.0.0.1:{listen}")
        environment |= {"OTEL_CINDER_STILL_RUNNING": "1", "PYTHONPATH": str(ROOT)}
        cinder_conf.write(
            folder, transport_url="fake://", exchange="cinder", host="storage", port=port
        )
        (folder / "conf.d" / "backends.conf").write_text(_BACKENDS)
        processes = Processes(folder, environment)
        cinder = Cinder(port, processes, time.monotonic() + _LAST_S)
        try:
            arguments = [str(folder / "cinder.conf"), str(folder / "conf.d"), str(port)]
            module = "otel_cinder.cli.demo.one_process"
            processes.start("cinder", [sys.executable, "-m", module, *arguments])
            # What Cinder does before the recording begins is sent to somebody else.
            with Receiver(listen):
                cinder.wait(cinder.is_ready, "Cinder's scheduler to know its backends")
                cinder.wait_created(cinder.create("first", 1)[0])  # loads what others find ready
                time.sleep(1)
            path.write_text(picture(_frames(cinder, listen, folder), _SIZE[0], "otel-cinder live"))
        finally:
            processes.stop()


def _frames(cinder: Cinder, listen: int, folder: Path) -> list[Frame]:
    command = [
        Path(sys.executable).with_name("otel-cinder"),
        "live",
        "--listen",
        f"127.0.0.1:{listen}",
    ]
    with Terminal(command, {"COLORTERM": ""}, _SIZE, folder) as terminal:
        recording = Recording(terminal)
        recording.until(lambda text: "OTEL_CINDER_STILL_RUNNING" in text, hold=1.5)
        for number in range(1, 4):
            cinder.create(f"volume-{number}", 1)
            recording.until(_ended(number))
        cinder.create("slow", 1)
        recording.until(_ended(4), hold=2.5)
        cinder.create("rescheduled", 1)
        recording.until(_ended(5), hold=4)
        cinder.create("too large", _TOO_LARGE)
        recording.until(_ended(6), hold=4)
        terminal.press("q")
        terminal.ended()
    return recording.frames


def _ended(count: int) -> Callable[[str], bool]:
    return lambda text: f"requests {count} · running 0" in text


if __name__ == "__main__":
    record(Path(sys.argv[1]))
