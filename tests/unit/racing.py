"""Threads that do the same at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable


def race(work: Callable[[], object], threads: int = 20) -> None:
    """Call ``work`` in so many threads, which all begin at once; return when they have ended."""
    barrier = threading.Barrier(threads)

    def run() -> None:
        barrier.wait(10)
        work()

    racing = [threading.Thread(target=run) for _ in range(threads)]
    for thread in racing:
        thread.start()
    for thread in racing:
        thread.join(10)
