"""A program in a terminal of its own: its screen as a person would see it, keys, other sizes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

import pyte


class _Screen(pyte.Screen):
    """Shows what is dim in the colour of dim text, which pyte leaves out."""

    def select_graphic_rendition(self, *attributes: int, **more: bool) -> None:
        super().select_graphic_rendition(*(90 if a == 2 else a for a in attributes), **more)


class Terminal:
    """A pseudo-terminal with a program in it, and what pyte makes of its output."""

    def __init__(
        self,
        command: Sequence[str | Path],
        environment: Mapping[str, str],
        size: tuple[int, int] = (120, 50),
        folder: Path | None = None,
    ) -> None:
        self._screen = _Screen(*size)
        self._stream = pyte.ByteStream(self._screen)
        self._lock = threading.Lock()
        self.raw = b""
        self._master, slave = pty.openpty()
        self._set_size(size)
        self.settings_before = termios.tcgetattr(slave)
        self._slave = slave
        # readline, which pytest loads, tells each child the size of the terminal that pytest runs in.
        inherited = {k: v for k, v in os.environ.items() if k not in {"COLUMNS", "LINES"}}
        self.process = subprocess.Popen(
            list(map(str, command)),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**inherited, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **environment},
            cwd=folder,
            start_new_session=True,
            preexec_fn=_take_terminal,  # noqa: PLW1509
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._slave)
        self._reader.join(10)
        os.close(self._master)

    @property
    def lines(self) -> list[str]:
        """The screen's lines, without what is blank at their ends."""
        with self._lock:
            return [line.rstrip() for line in self._screen.display]

    @property
    def text(self) -> str:
        """The whole screen."""
        return "\n".join(self.lines)

    def cells(self) -> list[list[tuple[str, str, bool]]]:
        """Each line's characters with their colour, and whether they are bold."""
        with self._lock:
            lines = [self._screen.buffer[row] for row in range(self._screen.lines)]
            return [
                [(line[c].data, line[c].fg, line[c].bold) for c in range(self._screen.columns)]
                for line in lines
            ]

    @property
    def settings(self) -> list[object]:
        """The terminal's settings now."""
        return termios.tcgetattr(self._slave)

    def press(self, keys: str) -> None:
        """Press keys."""
        os.write(self._master, keys.encode())

    def resize(self, columns: int, lines: int) -> None:
        """Make the terminal larger or smaller."""
        with self._lock:
            self._screen.resize(lines, columns)
        self._set_size((columns, lines))
        self.process.send_signal(signal.SIGWINCH)

    def wait_for(self, predicate: Callable[[str], bool], timeout: float = 60) -> str:
        """Wait until the screen is as wanted; returns it. Raises AssertionError with the last one."""
        deadline = time.monotonic() + timeout
        while not predicate(self.text):
            assert time.monotonic() < deadline, self.text
            time.sleep(0.05)
        return self.text

    def wait_for_text(self, *wanted: str, timeout: float = 60) -> str:
        """Wait until all of these are on the screen."""
        return self.wait_for(lambda text: all(each in text for each in wanted), timeout)

    def ended(self, timeout: float = 30) -> int:
        """Wait for the program's end; its exit status."""
        return self.process.wait(timeout)

    def _set_size(self, size: tuple[int, int]) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # the other side is closed
            while data := os.read(self._master, 65536):
                with self._lock:
                    self.raw += data
                    self._stream.feed(data)


def heed_signals() -> None:
    """Be ended by Ctrl-C and a hangup. For a new process, before its program begins.

    A shell lets what it starts in the background ignore the one, `nohup` the other, and so all that
    these start.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def _take_terminal() -> None:
    """Be the program that the terminal's keys are for."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    heed_signals()
