"""Waiting for spans: for so many of them, or until no more come."""

import time

from otel_cinder.reading.trace import SpanRecord
from tests.receiver import Receiver

# The services export every 200 ms; a loaded machine may be late by some of that.
QUIET_SECONDS = 1.5


def arrived(receiver: Receiver, count: int, timeout: float = 20) -> list[SpanRecord]:
    """Wait for so many spans, then for stragglers; return all that came, fewer or more."""
    receiver.wait_for(lambda spans: len(spans) >= count, timeout)
    return settle(receiver)


def settle(receiver: Receiver, timeout: float = 20) -> list[SpanRecord]:
    """Wait until no more spans come; return all that came."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if not _more_than(receiver, len(receiver.spans())):
            break
    return receiver.spans()


def _more_than(receiver: Receiver, count: int) -> bool:
    # In slices: a pause of the whole machine is part of only one.
    return any(
        receiver.wait_for(lambda spans: len(spans) > count, QUIET_SECONDS / 10) for _ in range(10)
    )
