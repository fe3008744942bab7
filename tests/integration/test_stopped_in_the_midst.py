"""A service that stops while it works: what was open arrives as an error."""

from collections.abc import Callable

import pytest

from otel_cinder import conventions
from otel_cinder.reading.trace import SpanRecord
from tests.integration.arrivals import settle
from tests.integration.configuration import VOLUME, Extent, Mode, Tracing
from tests.integration.operations import Operations
from tests.integration.stack import CinderStack
from tests.receiver import Receiver

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

GRACE_S = 3
"""Seconds that Cinder waits for what it is at work with."""


@pytest.fixture(scope="module", params=["eventlet", "threading"])
def stack(
    request: pytest.FixtureRequest, new_stack: Callable[..., CinderStack], receiver: Receiver
) -> CinderStack:
    """Cinder that gives what runs three seconds to end."""
    mode: Mode = request.param
    stack = new_stack(mode, Extent(options={"graceful_shutdown_timeout": GRACE_S}))
    stack.start(Tracing(receiver.endpoint, env={"OTEL_CINDER_STILL_RUNNING": "2"}))
    return stack


HANGS = "SparseFileDriver.create_volume"


def chain(spans: list[SpanRecord]) -> list[str]:
    """Names of the open spans around the driver's call, once a still-running span has told them.

    On a busy machine the API's own work may be told before.
    """
    chains = (
        [str(name) for name in span.attributes.get(conventions.OPEN_SPANS, ())] for span in spans
    )
    return next((names for names in chains if names[-1:] == [HANGS]), [])


def test_stop_ends_open_spans_as_errors(
    stack: CinderStack, cinder: Operations, receiver: Receiver
) -> None:
    """SIGTERM while a driver hangs: message, flow, task and driver arrive, each once, as errors."""
    receiver.clear()
    stack.slow_down(600)
    volume = cinder.create()
    assert receiver.wait_for(lambda spans: bool(chain(spans)), 30)
    wanted = chain(receiver.spans())
    stack.terminate((VOLUME,))
    stack.wait_ended(60, (VOLUME,))
    stack.heal()
    cut = [
        span
        for span in settle(receiver)
        if span.attributes.get("error.type") == conventions.STOPPED
    ]
    assert sorted(span.name for span in cut) == sorted(wanted)
    assert {span.status for span in cut} == {"error"}
    assert volume in {span.attributes.get("cinder.volume.id") for span in cut}
