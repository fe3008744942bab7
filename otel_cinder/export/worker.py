"""Worker: works in a real thread of the operating system, in rounds."""

from __future__ import annotations

import abc
import collections
import contextlib
import time
from _queue import Empty, SimpleQueue
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry.instrumentation.utils import suppress_instrumentation

from otel_cinder import redaction
from otel_cinder.export import interrupts, thread_start
from otel_cinder.export.failure_log import failure_log
from otel_cinder.export.native_thread import LogSilencer, threads_are_green, unpatched

_HURRY_S: Final = 0.05
"""Seconds between two rounds in a process that is about to end."""


class Worker(abc.ABC):
    """Does its work in a native thread: after each delay, and on demand.

    Args:
        noun: name of its items, for messages.
        delay: seconds between two rounds of work.
    """

    def __init__(self, noun: str, delay: float) -> None:
        self._event = unpatched("threading").Event
        self._start_thread = unpatched("_thread").start_new_thread
        self._noun = noun
        self._delay = delay
        self._silencer = LogSilencer(unpatched("_thread").get_ident)
        # Not an Event: a signal handler that flushes may interrupt the very thread that is waking
        # the worker, and would wait for the lock inside for ever. This one has none.
        self._wakes: SimpleQueue[None] = SimpleQueue()
        self._woken = False
        self._asked: collections.deque[tuple[Any, float]] = collections.deque()
        self._deadline = 0.0
        """End of the longest wait for this round, by the monotonic clock."""
        self._starting = False
        self._started = False
        self._stopping = False
        self._ended = self._event()
        self._is_green = threads_are_green()
        self._watched = not self._is_green
        """True if the thread's messages will be logged."""

    @abc.abstractmethod
    def _begin(self) -> None:
        """Make ready, in the thread."""

    @abc.abstractmethod
    def _work(self, *, asked: bool) -> None:
        """Do one round of work, in the thread; ``asked``: True if a caller waits for it."""

    @abc.abstractmethod
    def _end(self) -> None:
        """Let go of everything, in the thread."""

    @abc.abstractmethod
    def _load(self) -> None:
        """Import everything that the thread needs, in the thread that starts it."""

    def start(self) -> None:
        """Start the thread, if it does not run yet; or queue its start behind another one's."""
        if not self._started and not self._starting:
            self._starting = True
            thread_start.in_turn(self._start)

    def _start(self) -> None:
        try:
            if not self._started:
                self._load()
                # Not a threading.Thread: under eventlet the patched module would register those of
                # the unpatched one (Cinder joins the two), and remove them with KeyErrors.
                self._start_thread(self._run, ())
                self._started = True
        finally:
            self._starting = False

    def ask(self, seconds: float = 0.0) -> Any:
        """Ask for a round of work, which may take ``seconds`` if that helps.

        Returns an event, set at its end; None if there is no thread.
        """
        if not self._started or self._ended.is_set():
            return None
        done = self._event()
        self._asked.append((done, time.monotonic() + seconds))
        self._wake()
        if self._ended.is_set():
            done.set()
        return done

    def ask_to_end(self, seconds: float = 0.0) -> Any:
        """Ask for a last round of work. Returns an event, set at the thread's end, or None."""
        self._deadline = time.monotonic() + seconds
        self._stopping = True
        if not self._started:
            return None
        self._wake()
        return self._ended

    def hurry(self) -> None:
        """Work without delay from now on: the process may be ended at any moment."""
        self._delay = min(self._delay, _HURRY_S)

    def withdraw(self) -> None:
        """Release the loggers from a thread that hangs, or is the parent's."""
        self._silencer.withdraw()

    def _pause(self) -> float:
        """Seconds until the next round of work."""
        return self._delay

    def _is_to_sleep_on(self) -> bool:
        """True if the pause goes on although the thread was woken, unless a caller waits."""
        return False

    def _wake(self) -> None:
        self._woken = True
        self._wakes.put(None)

    def _watch(self) -> None:
        """Make sure that the thread's messages are logged."""
        self._watched = failure_log.watch()

    def _write_failures(self) -> None:
        """Log the thread's messages here; under eventlet, leave that to the hub."""
        if not self._is_green:
            failure_log.write()

    def _run(self) -> None:
        interrupts.refuse()
        self._silencer.begin()
        self._silencer.may_hear = not self._is_green
        try:
            # The context of the request that happened to start the thread is not ours.
            otel_context.attach(otel_context.Context())
            with suppress_instrumentation():
                self._work_until_stopped()
        except Exception as error:
            self._stopping = True
            failure_log.add(
                "otel-cinder exports no more %s because of %s: %s; Cinder is not affected. "
                "Please report it.",
                self._noun,
                type(error).__name__,
                redaction.masked(error),
            )
        finally:
            self._silencer.withdraw()
            self._write_failures()
            self._ended.set()
            while self._asked:
                self._asked.popleft()[0].set()

    def _work_until_stopped(self) -> None:
        self._begin()
        while True:
            self._write_failures()
            self._sleep()
            requests = [self._asked.popleft() for _ in range(len(self._asked))]
            stopping = self._stopping
            self._deadline = max([self._deadline, *(until for _, until in requests)])
            try:
                self._work(asked=stopping or bool(requests))
            finally:
                self._write_failures()
                for done, _ in requests:
                    done.set()
            if stopping:
                self._end()
                return
            if failure_log.late:
                self._watched = False  # the next `put` starts the hub's timer again

    def _sleep(self) -> None:
        until = time.monotonic() + self._pause()
        with contextlib.suppress(Empty):
            while True:
                self._wakes.get(timeout=max(until - time.monotonic(), 0))
                while not self._wakes.empty():
                    self._wakes.get_nowait()
                if self._stopping or self._asked or not self._is_to_sleep_on():
                    break
        self._woken = False
