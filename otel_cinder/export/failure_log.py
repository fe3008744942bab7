"""FailureLog: messages of the export threads, logged outside of any request.

With native threads, an export thread logs them itself. Under eventlet it must not, because the locks
of log handlers are eventlet's. There the hub looks for messages every two seconds, and starts a
greenthread that logs them.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import os
import sys
import time
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry.context import Context

from otel_cinder.export.native_thread import threads_are_green, unpatched

_LOG = logging.getLogger(__name__)

_LOOK_S: Final = 2.0
"""Seconds between two looks of the hub's."""

_LATE_S: Final = 10.0
"""Seconds after which a waiting message means that the hub was replaced by another."""


class FailureLog:
    """Messages that wait to be logged. One exists per interpreter, `failure_log`."""

    def __init__(self) -> None:
        self._waiting: collections.deque[tuple[float, str, tuple[Any, ...]]] = collections.deque()
        self._pid = 0
        self._timer: Any = None
        self._once: set[tuple[Any, ...]] = set()

    def add_once(self, message: str, *arguments: Any) -> None:
        """Add a message, unless this process has added it before."""
        self._see_to_process()
        if (message, *arguments) not in self._once:
            self._once.add((message, *arguments))
            self.add(message, *arguments)

    def add(self, message: str, *arguments: Any) -> None:
        """Add a message, to be logged soon. May be called in any thread."""
        self._see_to_process()
        self._waiting.append((time.monotonic(), message, arguments))

    def write(self) -> None:
        """Log the waiting messages, in the current thread, which must be allowed to log."""
        self._see_to_process()
        if not self._waiting:
            return
        token = otel_context.attach(Context())
        try:
            while self._waiting:
                with contextlib.suppress(Exception):  # a log handler that raises
                    _, message, arguments = self._waiting.popleft()
                    _LOG.warning(message, *arguments)
        finally:
            otel_context.detach(token)

    @property
    def late(self) -> bool:
        """True if a message has waited for so long that the hub does not seem to look."""
        first = next(iter(self._waiting), None)
        return first is not None and time.monotonic() - first[0] > _LATE_S

    def watch(self) -> bool:
        """Under eventlet, have the hub look from now on. False in a thread that has no hub."""
        if not threads_are_green():
            return True
        if not _has_hub():
            return False
        self._see_to_process()
        if self._timer is None or self.late:
            self._look_later()
        return True

    def stop(self) -> None:
        """Stop the hub's timer, and drop the waiting messages."""
        timer, self._timer = self._timer, None
        self._waiting.clear()
        self._once.clear()
        if timer is not None and self._pid == os.getpid() and _has_hub():
            timer.cancel()

    def _see_to_process(self) -> None:
        """In a child, forget the parent's messages, and the timer of its hub."""
        if self._pid != os.getpid():
            self._waiting.clear()
            self._once.clear()
            self._timer = None
            self._pid = os.getpid()

    def _look_later(self) -> None:
        hub = sys.modules["eventlet.hubs"].get_hub()
        timer: Any = hub.schedule_call_global(_LOOK_S, lambda: self._look(timer))
        self._timer = timer

    def _look(self, timer: Any) -> None:
        # In the hub's own greenlet, which must not wait for a log handler's lock.
        if timer is self._timer and self._pid == os.getpid():
            self._look_later()
            if self._waiting:
                sys.modules["eventlet.greenthread"].spawn_n(self.write)


def _has_hub() -> bool:
    """True in the main thread. A thread of tpool's has no hub, and asking for one would make it."""
    return bool(unpatched("_thread").get_ident() == unpatched("threading").main_thread().ident)


failure_log: Final = FailureLog()
