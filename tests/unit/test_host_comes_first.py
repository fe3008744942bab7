"""If otel-cinder fails anywhere, the host's function is still called once, with the same result."""

from __future__ import annotations

import concurrent.futures
import functools
import importlib
import itertools
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import futurist
import pytest
from opentelemetry import context as otel_context
from opentelemetry.trace import Tracer
from oslo_concurrency import processutils
from taskflow import engines, task
from taskflow.exceptions import WrappedFailure
from taskflow.patterns import linear_flow

import otel_cinder
from otel_cinder.instrumentor import CinderInstrumentor
from otel_cinder.patching import internal_errors
from otel_cinder.settings import Settings
from tests.unit.breaking import Breaking, Odd, breaks
from tests.unit.recording import Recorder
from tests.unit.test_instrumentor import PRESENT

with warnings.catch_warnings():  # Cinder's policies say on import what is deprecated
    warnings.simplefilter("ignore")
    from cinder import objects

    objects.register_all()
    from cinder.scheduler import base_filter
    from cinder.volume import driver
    from cinder.volume import manager as volume_manager

pytestmark = pytest.mark.complains

OTHERS = ("requests:",)
"""Left out: the wrappers of opentelemetry-instrumentation-requests."""

RESULT = [object()]


class HostError(Exception):
    """Cinder's."""


class Host:
    """Replaces a function of the host."""

    def __init__(self) -> None:
        self.calls = 0
        self.error: BaseException | None = None

    def function(self) -> Callable[..., Any]:
        """The function that is called."""

        def host(*_args: Any, **_kwargs: Any) -> Any:
            self.calls += 1
            if self.error is not None:
                raise self.error.with_traceback(None)
            return RESULT

        return host


def owner_of(target: str) -> tuple[Any, str]:
    """The object that a place is an attribute of, and its name."""
    module, _, path = target.partition(":")
    *parents, attribute = path.split(".")
    return functools.reduce(getattr, parents, sys.modules[module]), attribute


@pytest.fixture(scope="module")
def targets() -> list[str]:
    """All places that are patched where a function of the host's was."""
    for name in PRESENT:
        importlib.import_module(name)
    otel_cinder.instrument(tracer_provider=Recorder().provider, settings=Settings(clients=True))
    places = [row.target for row in CinderInstrumentor().status() if row.state == "on"]
    otel_cinder.uninstrument()
    assert len(places) > 50
    return [target for target in places if not target.startswith(OTHERS)]


def outcome(host: Host, call: Callable[[], Any]) -> tuple[Any, Any]:
    """How often the host was called, and the result: its own or ours, value or error."""
    before, host.calls = otel_context.get_current(), 0
    try:
        came: Any = call()
    except BaseException as error:
        came = error
    same = came is host.error or came == RESULT or getattr(came, "_app", None) is RESULT
    if not same and type(came).__name__ == "generator":
        came.close()
        same = True
    assert otel_context.get_current() == before
    return host.calls, True if same else came


ARGUMENTS: dict[str, Callable[[], tuple[Any, ...]]] = {
    "odd": lambda: (Odd(), Odd(), Odd(), Odd()),
    "none": lambda: (None, None, None, None),
    "few": lambda: (),
    "mocks": lambda: (mock.MagicMock(), {"request_id": "r"}, mock.MagicMock(), mock.MagicMock()),
    "texts": lambda: ("a", {"b": "c"}, {"status": "error", "method": "x"}, []),
}


COUNTS = {
    "logging:Logger.callHandlers": 1,
    "oslo_context.context:RequestContext.get_logging_values": 0,
}
"""The number of arguments, after the instance, if a replacement takes no others."""

ERRORS = (None, HostError("no"), KeyboardInterrupt())


@pytest.mark.timeout(900)
def test_every_place_calls_the_host_once(
    targets: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a request, with any arguments, and with each call of ours failing in turn."""
    # What is complained of is a line, too, and one of the places is what handles lines.
    monkeypatch.setattr(internal_errors._LOG, "disabled", True)
    wrong, recorder = {}, Recorder()
    for target in targets:
        owner, attribute = owner_of(target)
        host = Host()
        with mock.patch.object(owner, attribute, host.function()):
            otel_cinder.instrument(
                tracer_provider=recorder.provider, settings=Settings(clients=True)
            )
            try:
                call = functools.partial(called, owner, attribute, COUNTS.get(target))
                for how, result in tried(host, call, recorder.tracer):
                    if result != (1, True):
                        wrong[f"{target} {how}"] = result
            finally:
                otel_cinder.uninstrument()
                internal_errors._logged.clear()
    assert wrong == {}


def called(owner: Any, attribute: str, count: int | None, kind: str, tracer: Tracer) -> Any:
    """The result of a place in a request, with arguments of this kind."""
    arguments = ARGUMENTS[kind]()
    if count is not None:
        arguments = (*arguments, Odd())[:count]
    if isinstance(owner, type):
        arguments = (Odd() if kind == "odd" else mock.Mock(), *arguments)
    with tracer.start_as_current_span("request", record_exception=False):
        return getattr(owner, attribute)(*arguments)


def tried(
    host: Host, called: Callable[[str, Tracer], Any], tracer: Tracer
) -> Iterator[tuple[str, Any]]:
    """The host's view: first with nothing broken, then with each of our calls broken in turn."""
    for kind, host.error in itertools.product(ARGUMENTS, ERRORS):
        call = functools.partial(called, kind, tracer)
        counted = Breaking()
        with counted:
            result = outcome(host, call)
        yield kind, result
        if isinstance(host.error, KeyboardInterrupt):
            continue  # in which nothing of ours does anything else than in an error
        for breaking in breaks(counted.calls):
            with breaking:
                result = outcome(host, call)
            yield f"{kind} {breaking.broken}", result


# Real work, which gets further


class Say(task.Task):
    """A task that records its calls."""

    def __init__(self, seen: list[Any], name: str, *, fails: bool = False) -> None:
        super().__init__(name=name, provides=f"{name}-result")
        self.seen = seen
        self.fails = fails

    def execute(self) -> str:
        self.seen.append(f"execute {self.name}")
        if self.fails:
            raise HostError(self.name)
        return self.name

    def revert(self, *_args: Any, **_kwargs: Any) -> None:
        self.seen.append(f"revert {self.name}")


def flow(seen: list[Any], engine: str = "serial", *, fails: bool = False) -> Any:
    """A flow of two tasks."""
    flow = linear_flow.Flow("flow").add(Say(seen, "one"), Say(seen, "two", fails=fails))
    return engines.run(flow, engine=engine)


def steps(seen: list[Any]) -> Any:
    """A flow whose engine is stepped through."""
    engine = engines.load(linear_flow.Flow("flow").add(Say(seen, "one")))
    return list(engine.run_iter())


class Array(driver.ProxyVD):  # type: ignore[misc]
    """A driver."""

    host = "node@one"

    def __init__(self, seen: list[Any]) -> None:
        self.seen = seen

    def create_volume(self, volume: Any) -> Any:
        self.seen.append(volume)
        return self.extend_volume(volume)

    def extend_volume(self, volume: Any) -> Any:
        return f"extended {volume}"

    def delete_volume(self, volume: Any) -> Any:
        self.seen.append(volume)
        raise HostError(volume)


def drive(seen: list[Any], method: str) -> Any:
    """A call of a manager on its driver."""
    manager = volume_manager.VolumeManager(Array(seen))
    return getattr(manager.driver, method)("volume")


def thread(seen: list[Any]) -> None:
    """A thread that notes that it ran."""
    thread = threading.Thread(target=seen.append, args=("ran",))
    thread.start()
    thread.join(10)


def submit(seen: list[Any]) -> Any:
    """Work for two kinds of pools."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pool.submit(seen.append, "ran").result(10)
    with futurist.ThreadPoolExecutor(1) as pool:
        return pool.submit(len, seen).result(10)


def line(seen: list[Any]) -> None:
    """A line with an exception, in a logger of its own."""
    logger = logging.getLogger("cinder.test_host")
    logger.propagate = False
    handler = logging.Handler()
    handler.emit = lambda record: seen.append(record.getMessage())  # type: ignore[method-assign]
    logger.handlers = [handler]
    try:
        raise HostError("no")
    except HostError:
        logger.exception("failed to delete %s", "volume-1")


class Even:
    """A filter, as the scheduler has them."""

    def filter_all(self, backends: Any, _properties: Any) -> Any:
        return (one for one in backends if one % 2 == 0)

    def run_filter_for_index(self, _index: int) -> bool:
        return True


def choose(_seen: list[Any]) -> Any:
    """A run of the scheduler's filters."""
    handler = base_filter.BaseFilterHandler(Even, "cinder.test")
    return handler.get_filtered_objects([Even], [1, 2, 3, 4], {})


WORK: dict[str, Callable[[list[Any]], Any]] = {
    "a flow": flow,
    "a flow that is reverted": functools.partial(flow, fails=True),
    "a flow in threads": functools.partial(flow, engine="parallel"),
    "a flow in steps": steps,
    "a driver's call": functools.partial(drive, method="create_volume"),
    "a driver's failure": functools.partial(drive, method="delete_volume"),
    "a command": lambda _seen: processutils.execute("echo", "out"),
    "a failing command": lambda _seen: processutils.execute("false"),
    "a thread": thread,
    "a pool": submit,
    "a line": line,
    "filters": choose,
}


@pytest.mark.filterwarnings("ignore:Using fork:DeprecationWarning")
@pytest.mark.parametrize("kind", WORK)
def test_work_is_done_if_any_call_breaks(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real work ends as it does untraced, whichever call of ours fails in it."""
    monkeypatch.setattr(internal_errors._LOG, "disabled", True)
    monkeypatch.setattr(
        volume_manager.VolumeManager, "__init__", lambda self, made: setattr(self, "driver", made)
    )
    expected = done(WORK[kind])
    recorder, wrong = Recorder(), {}
    otel_cinder.instrument(tracer_provider=recorder.provider)
    try:
        counted = Breaking()
        with recorder.tracer.start_as_current_span("request"):
            with counted:
                assert done(WORK[kind]) == expected
            for breaking in breaks(counted.calls):
                current = otel_context.get_current()
                with breaking:
                    result = done(WORK[kind])
                if result != expected or otel_context.get_current() != current:
                    wrong[breaking.broken] = result
                internal_errors._logged.clear()
    finally:
        otel_cinder.uninstrument()
    assert wrong == {}
    assert counted.calls > 2


def done(work: Callable[[list[Any]], Any]) -> Any:
    """The observed calls and their result."""
    seen: list[Any] = []
    try:
        return seen, work(seen)
    except (HostError, processutils.ProcessExecutionError, WrappedFailure) as error:
        return seen, type(error)
