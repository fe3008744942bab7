"""Starts one worker at a time, and cleans up after imports that a fork has cut off.

A worker's thread must not import: under eventlet the locks of Python's imports may be eventlet's,
and a fork meanwhile leaves a child with locks that are never released. So the host's thread that
starts a worker imports for it. An imported module may log, and so start another worker: its turn
comes when the first has been started.
"""

from __future__ import annotations

import collections
import os
import sys
from collections.abc import Callable
from typing import Any, Final

from otel_cinder.export.native_thread import unpatched
from otel_cinder.import_hooks import imported


class _Turns:
    """The workers of one process that wait for their start."""

    def __init__(self) -> None:
        self.lock = unpatched("threading").Lock()
        self.waiting: collections.deque[Callable[[], None]] = collections.deque()
        self.thread = 0
        """Ident of the importing thread, as Python's imports know it; 0: none."""


_turns: Final[dict[int, _Turns]] = {}
"""By process: a child has turns of its own, because a fork could leave a lock locked."""


def in_turn(start: Callable[[], None]) -> None:
    """Call ``start`` now, or let the thread that is calling another one call it. Never waits."""
    turns = _of_this_process()
    turns.waiting.append(start)
    while turns.waiting and turns.lock.acquire(blocking=False):
        turns.thread = _importing_thread()
        try:
            while turns.waiting:
                turns.waiting.popleft()()
        finally:
            turns.thread = 0
            turns.lock.release()


def _of_this_process() -> _Turns:
    pid = os.getpid()
    turns = _turns.get(pid)
    if turns is None:
        turns = _turns.setdefault(pid, _Turns())
        for other in [known for known in _turns if known != pid]:
            parents = _turns.pop(other, None)
            if parents is not None and parents.thread not in (0, _importing_thread()):
                _forget_imports_of(parents.thread)
    return turns


def _bootstrap() -> Any:
    return sys.modules["_frozen_importlib"]


def _importing_thread() -> int:
    """The current thread, as the owner of an import's lock is known."""
    ident: int = _bootstrap()._thread.get_ident()
    return ident


def _forget_imports_of(thread: int) -> None:
    """Forget the imports that a thread of the parent's had not finished at the fork.

    That thread does not exist in the child. Another import of these modules would wait for ever.
    """
    locks = getattr(_bootstrap(), "_module_locks", {})
    for name, reference in list(locks.items()):
        if getattr(reference(), "owner", None) == thread:
            locks.pop(name, None)
            if name in sys.modules and not imported(name):
                del sys.modules[name]
