"""Processes that a test starts: each in a process group of its own, logged, and surely ended."""

import atexit
import contextlib
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import psutil
import pytest

# Debian keeps servers where an ordinary user's PATH does not look.
SERVER_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/usr/lib/rabbitmq/bin")

# Where no connection begins: the kernel gives those the ports above, also between a port's choice
# here and its use. The beginning is random, for other test runs on this host.
_FIRST, _LAST = 10_000, 32_767
_BEGIN = random.randint(_FIRST, _LAST)
_ports = itertools.chain(range(_BEGIN, _LAST + 1), range(_FIRST, _BEGIN))

_groups: set[int] = set()


def wait_until(condition: Callable[[], bool], timeout: float, what: str) -> None:
    """Poll until the condition holds; TimeoutError says what was waited for."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {timeout:.0f} s still waiting for {what}")
        time.sleep(0.05)


def free_port() -> int:
    """Return a TCP port on the loopback that nothing is bound to, each only once."""
    for port in _ports:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("No port below those of outgoing connections is left.")


def listens(port: int) -> bool:
    """Tell whether something accepts connections on this loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def server_binary(name: str, package: str) -> Path:
    """Find a server's program; without it the test is skipped, or in CI failed."""
    path = os.pathsep.join([*reversed(SERVER_FOLDERS), os.environ.get("PATH", "")])
    program = shutil.which(name, path=path)
    return Path(program) if program else missing(f"{name} is not installed (Debian: {package}).")


def root_access() -> None:
    """Make sure that Cinder's commands can be run as root."""
    if os.geteuid() == 0:
        return
    sudo = shutil.which("sudo")
    if not sudo or subprocess.run([sudo, "--non-interactive", "true"], check=False).returncode:
        missing("Commands of Cinder's run as root: be root, or let sudo ask for no password.")


def missing(sentence: str) -> NoReturn:
    """Skip the test with this sentence; in CI, where nothing may be missing, fail it."""
    if os.environ.get("CI") == "true":
        pytest.fail(sentence, pytrace=False)
    pytest.skip(sentence)


class Process:
    """One started program with its own process group, its output appended to one log file."""

    def __init__(
        self, name: str, argv: Sequence[str | Path], log: Path, env: Mapping[str, str]
    ) -> None:
        self.name = name
        self.log = log
        with log.open("ab") as output:
            self._popen = subprocess.Popen(  # the argument list is the tests' own
                [str(word) for word in argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(env),
                cwd=log.parent,  # not the checkout, which python and uwsgi might import from
                start_new_session=True,
            )
        _groups.add(self.pid)

    @property
    def pid(self) -> int:
        """The parent's (master's) process id, which is the group's id too."""
        return self._popen.pid

    def running(self) -> bool:
        """Tell whether the parent still runs."""
        return self._popen.poll() is None

    def family(self) -> list[psutil.Process]:
        """List the parent and its descendants that are alive, the parent first."""
        try:
            parent = psutil.Process(self.pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def workers(self) -> list[psutil.Process]:
        """List the parent's children, or the parent itself where it does the work."""
        return self.family()[1:] or self.family()

    def resident_bytes(self) -> int:
        """Sum the resident memory of the family.

        Pages that are shared over forks count in each process. So memory does not seem to grow by 66 MiB
        when the first full garbage collection of a worker writes to them, which copies them.
        """
        total = 0
        for process in self.family():
            with contextlib.suppress(psutil.Error):
                total += process.memory_info().rss
        return total

    def terminate(self) -> None:
        """Ask the parent to end, as an init system would, and do not wait."""
        if self.running():
            self._popen.send_signal(signal.SIGTERM)

    def terminate_all(self) -> None:
        """Ask parent and workers to end, all at once, as systemd does by default, and do not wait.

        Each has its signal before any of them runs on, and before the parent passes its own on.
        """
        family = self.family()
        self._send(family, signal.SIGSTOP)
        self._send(family, signal.SIGTERM)
        self._send(family[::-1], signal.SIGCONT)

    @staticmethod
    def _send(family: Sequence[psutil.Process], number: signal.Signals) -> None:
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def wait(self, timeout: float) -> int:
        """Wait until the parent has ended; return its exit status."""
        try:
            return self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{self.name} did not end within {timeout:.0f} s") from None

    def kill(self) -> None:
        """End the whole group at once, whatever state it is in."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait(10)
        _groups.discard(self.pid)


def run(argv: Sequence[str | Path], env: Mapping[str, str] | None = None) -> str:
    """Run a program to its end and return its output; a failure shows that output."""
    done = subprocess.run(
        [str(word) for word in argv],
        env=dict(env) if env else None,
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{argv[0]} failed:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    return done.stdout


@atexit.register
def _kill_leftovers() -> None:
    for group in _groups:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
