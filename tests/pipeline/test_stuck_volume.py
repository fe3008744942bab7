"""A volume that is stuck, on real Cinder: in Jaeger and Prometheus while it hangs, and after its end."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from otel_cinder import conventions
from otel_cinder.reading.trace import SpanRecord, Trace
from tests.boards import alerts, panels
from tests.integration.broker import Broker
from tests.integration.configuration import VOLUME, Extent, Tracing
from tests.integration.database import Database
from tests.integration.installation import Installation
from tests.integration.operations import Operations
from tests.integration.processes import wait_until
from tests.integration.stack import CinderStack
from tests.integration.whole_create import ROOT
from tests.pipeline.programs import Collector, Jaeger, Prometheus

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

HANGS = "SparseFileDriver.create_volume"
CHAIN = [
    "process cinder-volume/create_volume",
    "volume_create_manager",
    "CreateVolumeFromSpecTask",
    HANGS,
]
GRACE_S = 2
"""Seconds that Cinder waits at a stop for what it is at work with."""


class Road:
    """Cinder that tells what takes two seconds, and what a devstack has behind it."""

    def __init__(self, folder, stack: CinderStack) -> None:
        self.stack = stack
        self.jaeger = Jaeger("memory", folder)
        self.collector = Collector("all-in-one", folder, JAEGER_ENDPOINT=self.jaeger.otlp_grpc)
        self.prometheus = Prometheus(folder, cinder=[self.collector.prometheus], pipeline={})
        self.programs = (self.jaeger, self.collector, self.prometheus)
        env = {"OTEL_CINDER_STILL_RUNNING": "2"}
        self.tracing = Tracing(self.collector.otlp_http, env=env)

    def start(self) -> None:
        """Start everything, Cinder last."""
        for program in self.programs:
            program.start()
        self.stack.start(self.tracing)

    def close(self) -> None:
        """End everything."""
        self.stack.close()
        for program in self.programs:
            program.kill()


@pytest.fixture(scope="module")
def road(
    tmp_path_factory: pytest.TempPathFactory,
    installation: Installation,
    broker: Broker,
    database: Database,
) -> Iterator[Road]:
    """All of it, running."""
    folder = tmp_path_factory.mktemp("stuck")
    cinder = folder / "cinder"
    cinder.mkdir()
    extent = Extent(options={"graceful_shutdown_timeout": GRACE_S})
    stack = CinderStack("stuck", "eventlet", installation, broker, database, cinder, extent)
    road = Road(folder, stack)
    try:
        road.start()
        yield road
    finally:
        road.close()


@dataclass(frozen=True)
class Stuck:
    """A volume whose create hangs in the driver."""

    id: str
    jaeger: Jaeger

    def traces(self) -> list[Trace]:
        """Return what Jaeger finds by the volume's id, the earliest first."""
        return self.jaeger.search(VOLUME, {conventions.VOLUME_ID: self.id})

    def told(self) -> list[SpanRecord]:
        """Return the still-running spans that show the driver's call."""
        return [
            span
            for trace in self.traces()
            for span in trace.spans
            if span.name == f"still running {HANGS}"
        ]


@pytest.fixture
def stuck(road: Road) -> Iterator[Stuck]:
    """A volume that is stuck, once Jaeger can tell so."""
    if VOLUME not in road.stack.services:
        road.stack.start(road.tracing, (VOLUME,))
    road.stack.slow_down(600)
    stuck = Stuck(Operations(road.stack).create(), road.jaeger)
    wait_until(lambda: bool(stuck.told()), 60, "Jaeger to find the still-running span")
    yield stuck
    road.stack.heal()


def assert_shown(stuck: Stuck) -> None:
    """The trace has the still-running span in its place, with its chain, tasks and stack."""
    trace, *_ = stuck.traces()
    (span,) = (each for each in trace.spans if each.shows)
    parent = trace.parent(span)
    assert parent is not None
    assert parent.name == "cast cinder-volume/create_volume"
    assert list(span.attributes[conventions.OPEN_SPANS]) == CHAIN
    assert list(span.attributes[conventions.TASKS_TO_COME]) == ["CreateVolumeOnFinishTask"]
    frames = str(span.attributes[conventions.STACKTRACE]).splitlines()
    assert any(frame.endswith("create_volume") for frame in frames), frames
    # Those of its ancestors that are open are the parents of what has ended below them.
    ended = {each.name for each in trace.orphans}
    assert ended == set(span.attributes[conventions.TASKS_DONE])


def test_stuck_volume_is_found_by_each_of_the_searches(road: Road, stuck: Stuck) -> None:
    """While it hangs: by its id, as still running, on the board, by the alert; and it isn't counted."""
    assert_shown(stuck)
    assert stuck.id in {
        span.attributes.get(conventions.VOLUME_ID)
        for trace in road.jaeger.search(VOLUME, {conventions.STILL_RUNNING: "true"})
        for span in trace.spans
        if span.shows
    }
    (panel,) = (each for each in panels("cinder-glance") if "running now" in each["title"])
    running, oldest = (target["expr"] for target in panel["targets"])
    alert, _, bound = alerts()["CinderOperationRunsLong"].rpartition(" > ")
    assert float(bound.rstrip(")\n")) == 600

    def found(expression: str) -> list[float]:
        return [
            float(series["value"][1])
            for series in road.prometheus.query(expression)
            if series["metric"].get("rpc_method") == "cinder-volume/create_volume"
        ]

    wait_until(lambda: any(age > 2 for age in found(oldest)), 60, "the board to show it")
    assert found(running) == [1]
    assert found(f"{alert} > 2)")[0] > 2
    counted = road.collector.counted("traces_span_metrics_calls_total", "span_name")
    assert counted["cast cinder-volume/create_volume",]
    assert not [name for (name,) in counted if name.startswith("still running")]


def test_killed_service_leaves_how_far_it_came(road: Road, stuck: Stuck) -> None:
    """After kill -9 the volume's id finds the still-running span; once it's cleaned up, that too."""
    road.stack.kill(VOLUME)
    assert_shown(stuck)
    road.stack.heal()
    road.stack.start(road.tracing, (VOLUME,))
    cleaned = "clean up volume"
    wait_until(lambda: len(stuck.traces()) == 2, 60, cleaned)
    assert [trace.root and trace.root.name for trace in stuck.traces()] == [ROOT, cleaned]
    assert_shown(stuck)


def test_stopped_service_leaves_errors(road: Road, stuck: Stuck) -> None:
    """After SIGTERM all that was open is in its place in Jaeger, as an error, and no orphan is left."""
    road.stack.terminate((VOLUME,))
    road.stack.wait_ended(60, (VOLUME,))

    def cut() -> list[str]:
        return [
            span.name
            for trace in stuck.traces()
            for _, span in trace.walk()
            if span.attributes.get(conventions.ERROR_TYPE) == conventions.STOPPED
            and span.status == "error"
        ]

    wait_until(lambda: len(cut()) >= len(CHAIN), 60, "what was cut off")
    assert cut() == CHAIN
    (trace,) = stuck.traces()
    assert trace.is_whole
