"""The terminal: the whole screen for as long as `live` runs, keys as they are pressed, and both undone."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import tty
from codecs import getincrementaldecoder
from collections.abc import Iterator, Sequence
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Final

from rich.text import Text

from otel_cinder.cli.plain_text import fitted

if TYPE_CHECKING:
    from rich.console import Console
    from typing_extensions import Self

_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[0m\x1b[?25h\x1b[?1049l"
_TOGETHER: Final = "\x1b[?2026"
_ESCAPE: Final = "\x1b"
_REST_S: Final = 0.05
"""After so long an escape is the key, and not the beginning of another one."""

_NAMES: Final = {
    "[A": "up", "OA": "up", "[B": "down", "OB": "down",
    "[5~": "page up", "[6~": "page down",
    "[H": "home", "OH": "home", "[1~": "home", "[7~": "home",
    "[F": "end", "OF": "end", "[4~": "end", "[8~": "end",
}  # fmt: skip
_CHARACTERS: Final = {"\r": "enter", "\n": "enter", "\x7f": "backspace", "\x08": "backspace"}
_ENDING: Final = (signal.SIGTERM, signal.SIGHUP)


class Terminal:
    """Draws lines on the whole screen, and reads keys.

    Leaving puts the screen and the terminal's settings back: after an exception, Ctrl-C, SIGTERM and SIGHUP
    alike. Ctrl-Z suspends, with the terminal as it was.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._out = sys.stdout
        self._in = self._keyboard = sys.stdin.fileno() if sys.stdin.isatty() else -1
        self._settings: Any = None
        self._drawn: list[str] = []
        self._size = (0, 0)
        self._decoder = getincrementaldecoder("utf-8")("replace")
        self._pressed = ""
        self._is_suspending = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._begin()
        self._handle(signal.SIGTSTP, self._suspend)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._end()

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines, as they are now."""
        width, height = self._console.size
        return width, height

    def draw(self, lines: Sequence[Text]) -> None:
        """Show lines; writes those alone that are others than before."""
        if self._is_suspending:
            self._stop()
        size = self.size
        text = [self._rendered(line, size[0]) for line in lines]
        written = []
        if size != self._size:
            written.append("\x1b[0m\x1b[2J")
            self._drawn, self._size = [], size
        for row, line in enumerate(text):
            if row >= len(self._drawn) or self._drawn[row] != line:
                written.append(f"\x1b[{row + 1};1H{line}\x1b[0m\x1b[K")
        if len(text) < len(self._drawn):
            written.append(f"\x1b[{len(text) + 1};1H\x1b[J")
        self._drawn = text
        if written:
            # At one time, in terminals that can: no screen is seen half drawn.
            self._write(f"{_TOGETHER}h{''.join(written)}{_TOGETHER}l")

    def keys(self, timeout: float, woken: int) -> Iterator[str]:
        """Wait for keys, or until ``woken`` can be read; the keys that were pressed, by their names."""
        waiting = [woken] if self._in < 0 else [woken, self._in]
        ready, _, _ = select.select(waiting, [], [], timeout)
        if woken in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(woken, 4096)
        if self._in not in ready:
            return
        self._read()
        if self._pressed.endswith(_ESCAPE) and select.select([self._in], [], [], _REST_S)[0]:
            self._read()
        yield from self._names()

    def _read(self) -> None:
        try:
            data = os.read(self._in, 1024)
        except OSError:
            data = b""
        if not data:
            self._in = -1  # nobody is there any more
        self._pressed += self._decoder.decode(data)

    def _names(self) -> Iterator[str]:
        pressed, self._pressed = self._pressed, ""
        while pressed:
            key, pressed = pressed[0], pressed[1:]
            if key != _ESCAPE:
                yield _CHARACTERS.get(key, key)
                continue
            length = _sequence_length(pressed)
            if not length:
                yield "escape"
            elif pressed[:length] in _NAMES:
                yield _NAMES[pressed[:length]]
            pressed = pressed[length:]

    def _rendered(self, line: Text, width: int) -> str:
        shown = line.copy()
        shown.plain = fitted(shown.plain, self._console.encoding)
        shown.truncate(width)
        with self._console.capture() as captured:
            self._console.print(shown, end="", soft_wrap=True, highlight=False)
        return captured.get()

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()

    def _begin(self) -> None:
        if self._keyboard >= 0:
            self._settings = termios.tcgetattr(self._keyboard)
            tty.setcbreak(self._keyboard)
        self._write(_ENTER)
        self._drawn, self._size = [], (0, 0)

    def _end(self) -> None:
        with contextlib.suppress(OSError):  # a terminal that is gone needs nothing put back
            self._write(_LEAVE)
        if self._settings is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._keyboard, termios.TCSADRAIN, self._settings)
            self._settings = None

    def _handle(self, number: signal.Signals, handler: Any) -> None:
        self._before[number] = signal.signal(number, handler)

    def _suspend(self, _number: int, _frame: FrameType | None) -> None:
        self._is_suspending = True

    def _stop(self) -> None:
        self._is_suspending = False
        self._end()
        os.kill(os.getpid(), signal.SIGSTOP)  # it goes on here after SIGCONT
        self._begin()


@contextlib.contextmanager
def leaving() -> Iterator[None]:
    """Have SIGTERM and SIGHUP end the program by way of an exception, so that all is put back."""

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _sequence_length(text: str) -> int:
    """How long the sequence is that follows an escape; 0 if there is none (ECMA-48)."""
    if text[:1] == "O":
        return min(2, len(text))
    if text[:1] != "[":
        return 0
    for index, character in enumerate(text[1:], 2):
        if "@" <= character <= "~":
            return index
    return len(text)
