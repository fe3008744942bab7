"""Open spans are in their trace while they run: real services, a threshold of two seconds."""

import threading
from collections.abc import Callable, Iterator

import pytest

from otel_cinder import conventions
from otel_cinder.reading.trace import SpanRecord, Trace, traces_of
from tests.integration import drawing
from tests.integration.configuration import API, MODES, VOLUME, Mode, Tracing
from tests.integration.operations import Operations
from tests.integration.stack import CinderStack
from tests.integration.whole_create import ROOT
from tests.receiver import Receiver

pytestmark = pytest.mark.timeout(600)

HELD_S = 120
"""Seconds for which a driver's call is held at most: until what is wanted has arrived."""

in_each_mode = pytest.mark.parametrize("stack", MODES, indirect=True)

FRAMES = {"slow": "sleep", "block": "block", "pool": "block", "command": "execute"}
"""How the driver is held -> the function in which that is."""


@pytest.fixture(scope="module")
def stack(
    request: pytest.FixtureRequest, new_stack: Callable[[Mode], CinderStack], receiver: Receiver
) -> CinderStack:
    """Cinder in one of its ways, which tells of what takes two seconds."""
    stack = new_stack(request.param)
    stack.start(Tracing(receiver.endpoint, env={"OTEL_CINDER_STILL_RUNNING": "2"}))
    return stack


@pytest.fixture(autouse=True)
def healed(stack: CinderStack, receiver: Receiver) -> Iterator[None]:
    """Begin with nothing that has arrived, end without orders."""
    receiver.clear()
    yield
    stack.heal()


def told(spans: list[SpanRecord]) -> list[SpanRecord]:
    """The still-running spans."""
    return [span for span in spans if conventions.STILL_RUNNING in span.attributes]


def running(receiver: Receiver, volume: str, name: str, timeout: float = 30) -> Trace:
    """Wait for the still-running span about a volume; return its trace as it is by then."""

    def found(spans: list[SpanRecord]) -> list[SpanRecord]:
        return [
            span
            for span in told(spans)
            if span.name == f"still running {name}"
            and span.attributes.get("cinder.volume.id") == volume
        ]

    assert receiver.wait_for(lambda spans: bool(found(spans)), timeout), told(receiver.spans())
    (span, *_) = found(receiver.spans())
    return next(t for t in traces_of(receiver.spans()) if t.trace_id == span.trace_id)


def first_frame(trace: Trace) -> str:
    """The innermost frame of the only still-running span."""
    (span,) = told(list(trace.spans))
    frames = str(span.attributes[conventions.STACKTRACE]).splitlines()
    # os-brick puts a function of its own in the place of time.sleep.
    return next(frame for frame in frames if "os_brick/utils.py" not in frame)


def compare(name: str, trace: Trace, receiver: Receiver, request: pytest.FixtureRequest) -> None:
    """Hold a trace that is still growing against its golden."""
    update = request.config.getoption("--update-goldens")

    def now() -> list[Trace]:
        return [t for t in traces_of(receiver.spans()) if t.trace_id == trace.trace_id]

    def is_as_wanted(_spans: list[SpanRecord]) -> bool:
        golden = drawing.GOLDENS / f"{name}.txt"
        return golden.exists() and drawing.draw(now()) == golden.read_text()

    receiver.wait_for(is_as_wanted, 2 if update else 20)
    drawing.compare(name, now(), update)


def in_a_thread(work: Callable[[], object]) -> threading.Thread:
    """Do something that is going to take a while."""
    thread = threading.Thread(target=work)
    thread.start()
    return thread


# Under uWSGI there is but the API.
@pytest.mark.parametrize("kind", FRAMES)
@pytest.mark.parametrize("stack", ["eventlet", "threading"], indirect=True)
def test_driver_that_hangs_is_in_the_trace_of_its_create(
    kind: str,
    stack: CinderStack,
    cinder: Operations,
    receiver: Receiver,
    request: pytest.FixtureRequest,
) -> None:
    """The chain to the driver, the tasks to come, the line at work; whether eventlet's hub waits."""
    stack.slow_down(HELD_S, kind=kind)
    volume = cinder.create()
    inner = "execute sh" if kind == "command" else "SparseFileDriver.create_volume"
    trace = running(receiver, volume, inner)
    (span,) = told(list(trace.spans))
    assert span not in trace.orphans
    assert first_frame(trace).endswith(f" in {FRAMES[kind]}"), first_frame(trace)
    if stack.mode == "eventlet":
        assert span.attributes[conventions.BLOCKS_HUB] is (kind == "block")
    else:
        assert conventions.BLOCKS_HUB not in span.attributes
    golden = f"still_running_{'command' if kind == 'command' else 'driver'}"
    compare(golden, trace, receiver, request)
    stack.heal()
    cinder.wait("volumes", volume, "available")
    compare(f"{golden}_ended", trace, receiver, request)


@in_each_mode
def test_attach_waits_for_a_service_that_is_stopped(
    stack: CinderStack, cinder: Operations, receiver: Receiver, request: pytest.FixtureRequest
) -> None:
    """The request tells whose answer it waits for, by which call; nothing is taken up."""
    volume = cinder.volume()
    receiver.clear()
    stack.suspend(VOLUME)
    try:
        asking = in_a_thread(lambda: cinder.attach(volume))
        trace = running(receiver, volume, "cinder-volume/attachment_update")
        compare("still_running_attach", trace, receiver, request)
    finally:
        stack.resume(VOLUME)
    asking.join()
    compare("still_running_attach_ended", trace, receiver, request)
    (span,) = told(list(trace.spans))
    assert str(span.attributes[conventions.WAITS_FOR]).startswith("cinder-volume/attachment_update")
    assert (span.service, span.parent_id) == (API, None)


@in_each_mode
def test_cast_that_nobody_takes_is_no_work_that_runs(
    stack: CinderStack, cinder: Operations, receiver: Receiver, request: pytest.FixtureRequest
) -> None:
    """A create that no volume service takes up ends with its cast, and nothing is still running."""
    stack.suspend(VOLUME)
    try:
        volume = cinder.create()
        cast = "cast cinder-volume/create_volume"
        assert receiver.wait_for(lambda spans: any(span.name == cast for span in spans), 30)
        assert not receiver.wait_for(lambda spans: bool(told(spans)), 4)
        (trace,) = (t for t in traces_of(receiver.spans()) if t.root and t.root.name == ROOT)
        compare("cast_nobody_takes", trace, receiver, request)
    finally:
        stack.resume(VOLUME)
    cinder.wait("volumes", volume, "available")
    compare("still_running_driver_ended", trace, receiver, request)


@in_each_mode
def test_slow_request_of_the_api_is_in_its_own_trace(
    stack: CinderStack, cinder: Operations, receiver: Receiver, request: pytest.FixtureRequest
) -> None:
    """A GET that waits for the database is told by its route, with its request's id."""
    volume = cinder.volume()
    receiver.clear()
    with stack.locked("volumes"):
        asking = in_a_thread(lambda: stack.get(f"volumes/{volume}"))
        trace = running(receiver, volume, "GET /v3/{project_id}/volumes/{id}")
        compare("still_running_get", trace, receiver, request)
    asking.join()
    compare("still_running_get_ended", trace, receiver, request)
    (span,) = told(list(trace.spans))
    assert str(span.attributes["openstack.request_id"]).startswith("req-")
    # Without eventlet the API is under uWSGI.
    assert (conventions.STACKTRACE in span.attributes) is (stack.mode == "eventlet")
    assert "DAMN" not in stack.logs()[API]  # as uWSGI says it when a worker crashes
