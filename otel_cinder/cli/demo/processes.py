"""Cinder's processes: started quietly, watched, and gone at the end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from otel_cinder.cli.demo.problem import Problem

_GRACE_S = 8.0


class Processes:
    """Child processes that write what they print to ``folder/NAME.out``."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = dict(environment)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def run(self, name: str, command: Sequence[str], timeout: float) -> None:
        """Run a command to its end; raises Problem when it fails or takes too long."""
        self.start(name, command)
        try:
            status = self._running[name].wait(timeout)
        except subprocess.TimeoutExpired:
            raise Problem(f"{name} took longer than {timeout:.0f} s") from None
        del self._running[name]
        if status:
            raise Problem(f"{name} failed with exit status {status}")

    def start(self, name: str, command: Sequence[str]) -> None:
        """Start a process in a session of its own, where Ctrl-C does not reach it."""
        with (self._folder / f"{name}.out").open("ab") as output:
            self._running[name] = subprocess.Popen(
                [sys.executable, "-m", "otel_cinder.cli.demo.tethered", *command],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def check(self) -> None:
        """Raise Problem when a process has ended too early."""
        for name, process in self._running.items():
            status = process.poll()
            if status is not None:
                raise Problem(f"{name} ended early with exit status {status}")

    def stop(self) -> None:
        """End all processes and their children; after a grace period, by force."""
        # Impatience must not leave a process behind.
        previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            for process in self._running.values():
                if process.poll() is None:
                    process.terminate()
            deadline = time.monotonic() + _GRACE_S
            for process in self._running.values():
                try:
                    process.wait(max(0.0, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    continue
            for process in self._running.values():
                _kill_session(process)
            self._running.clear()
        finally:
            signal.signal(signal.SIGINT, previous)


def _kill_session(process: subprocess.Popen[bytes]) -> None:
    # Workers that outlived their parent are still in its process group.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def last_lines(folder: Path, count: int) -> list[str]:
    """The end of what Cinder logged and printed below ``folder``, errors before the rest."""
    lines: list[str] = []
    for path in sorted(folder.glob("*.out")) + sorted(folder.glob("*.log")):
        lines.extend(path.read_text(errors="replace").splitlines()[-200:])
    telling = [line for line in lines if " ERROR " in line or " CRITICAL " in line]
    return (telling or [line for line in lines if line.strip()])[-count:]
