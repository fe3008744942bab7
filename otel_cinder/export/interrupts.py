"""Signals: our threads take none, and those that end a process wait for its last export.

uWSGI's handlers, which are C's, call ``exit()`` wherever they run. In the midst of an exit that skips
what ``atexit`` has not done yet, our export too. In a thread that is not the main one, Python waits
for the main thread for ever.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import signal
import sys
from collections.abc import Callable
from typing import Any, Final

_ENDING: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
"""The likely one first: until it is held, it ends the process."""

_FAULTS: Final = frozenset(
    (
        signal.SIGABRT,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGILL,
        signal.SIGSEGV,
        signal.SIGSYS,
        signal.SIGTRAP,
    )
)
"""A thread's own."""

_SIGACTION_BYTES: Final = 1024
"""More than ``struct sigaction`` has anywhere."""

_C: Final = ctypes.CDLL(None)


def at_exit(call: Callable[[], None]) -> None:
    """Have ``call`` made when this process ends; under uWSGI twice, as early as can be.

    uWSGI calls its own hook before Python begins to end, which is when a second signal is likely.
    """
    atexit.register(call)
    uwsgi = sys.modules.get("uwsgi")
    if uwsgi is not None and not hasattr(uwsgi, "atexit"):
        vars(uwsgi)["atexit"] = call


def not_at_exit(call: Callable[[], None]) -> None:
    """Take ``call`` back."""
    atexit.unregister(call)
    uwsgi = sys.modules.get("uwsgi")
    if uwsgi is not None and getattr(uwsgi, "atexit", None) == call:
        del vars(uwsgi)["atexit"]


def refuse() -> None:
    """Have the current thread take no signals of the process: others are there for that."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - _FAULTS)


def hold() -> Callable[[], None]:
    """Hold the signals that end a process, if this is the main thread. Never raises.

    Gives what puts their handlers back, and has them handle what came meanwhile.
    """
    came: list[int] = []
    undo = contextlib.ExitStack()
    for number in _ENDING:
        # Another thread may set no handlers; nor can we where we could not put it back.
        with contextlib.suppress(Exception):
            undo.callback(_hold(number, came))

    def give_back() -> None:
        undo.close()
        for number in dict.fromkeys(came):
            signal.raise_signal(number)

    return give_back


def _hold(number: signal.Signals, came: list[int]) -> Callable[[], None]:
    # Python remembers the handler that was there when it began, and doesn't see what C code has
    # put there since. The C library does.
    action = ctypes.create_string_buffer(_SIGACTION_BYTES)
    exchange: Any = _C.sigaction
    if exchange(number, None, action):
        raise OSError(number)
    before = signal.signal(number, lambda number, _frame: came.append(number))

    def give_back() -> None:
        signal.signal(number, signal.SIG_DFL if before is None else before)
        exchange(number, action, None)

    return give_back
