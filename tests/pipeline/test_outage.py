"""The spans of creates during outages of the programs on their way."""

import threading
import time
from collections.abc import Iterator

import pytest

from tests.integration.broker import Broker
from tests.integration.configuration import Tracing
from tests.integration.database import Database
from tests.integration.installation import Installation
from tests.integration.processes import wait_until
from tests.integration.stack import CinderStack
from tests.integration.whole_create import SPANS, assert_whole_create
from tests.pipeline.certificates import loopback
from tests.pipeline.programs import Collector, Jaeger
from tests.pipeline.region import Create, create, settle

pytestmark = pytest.mark.faults

AWAY = 60  # seconds
# The services' exporter tries again for so long; by default only for ten seconds.
PATIENCE = {"OTEL_EXPORTER_OTLP_TIMEOUT": "60", "OTEL_METRIC_EXPORT_INTERVAL": "5000"}


class Road:
    """Cinder, an agent, a gateway that keeps all, and a Jaeger that remembers."""

    def __init__(self, folder, stack: CinderStack) -> None:
        self.stack = stack
        certificates = loopback(folder)
        self.jaeger = Jaeger("badger", folder, certificates=certificates)
        self.gateway = Collector(
            "gateway",
            folder,
            certificates=certificates,
            JAEGER_ENDPOINT=self.jaeger.otlp_grpc,
            SAMPLING_PERCENTAGE=100,
        )
        self.gateway.settings["GATEWAY_PEERS"] = f"[{self.gateway.peer}]"
        self.agent = Collector(
            "agent", folder, certificates=certificates, GATEWAY_ENDPOINT=self.gateway.otlp_grpc
        )
        self._programs = (self.jaeger, self.gateway, self.agent)

    def start(self) -> None:
        """Start everything, Cinder last."""
        for program in self._programs:
            program.start()
        self.stack.start(Tracing(self.agent.otlp_http, env=PATIENCE))

    def close(self) -> None:
        """End everything."""
        self.stack.close()
        for program in self._programs:
            program.kill()


@pytest.fixture
def road(
    tmp_path, installation: Installation, broker: Broker, database: Database
) -> Iterator[Road]:
    """All of it, running."""
    cinder = tmp_path / "cinder"
    cinder.mkdir()
    stack = CinderStack("outage", "eventlet", installation, broker, database, cinder)
    road = Road(tmp_path, stack)
    try:
        road.start()
        yield road
    finally:
        road.close()


class Load:
    """Creates, two at a time and each pair once the last is made, from `start()` until `stop()`."""

    def __init__(self, stack: CinderStack) -> None:
        self.creates: list[Create] = []
        self._stack = stack
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> list[Create]:
        """End; return all that was created."""
        self._stopping.set()
        self._thread.join(120)
        return self.creates

    def wait_for_more(self, count: int) -> None:
        """Wait until so many more were created."""
        wanted = len(self.creates) + count
        wait_until(lambda: len(self.creates) >= wanted, 120, f"{count} more creates")

    def _run(self) -> None:
        while not self._stopping.is_set():
            made = create(self._stack, 2, concurrency=2)
            settle(self._stack, made)
            self.creates += made


@pytest.mark.timeout(600)
def test_no_span_of_an_outage_is_lost(road: Road) -> None:
    """Jaeger is away for a minute of creates, the agent is killed in it: each span arrives."""
    load = Load(road.stack)
    load.start()
    try:
        load.wait_for_more(4)
        road.jaeger.stop()
        since = time.monotonic()
        load.wait_for_more(10)
        road.agent.kill()
        load.wait_for_more(2)  # the services have nobody to send to
        road.agent.start()
        load.wait_for_more(10)
        wait_until(lambda: time.monotonic() - since >= AWAY, 2 * AWAY, "a minute to pass")
        queued = road.gateway.count("otelcol_exporter_queue_size", exporter="otlp_grpc/jaeger")
        road.jaeger.start()
        load.wait_for_more(4)
    finally:
        creates = load.stop()
    assert queued > 0
    assert {each.status for each in creates} == {202}
    assert settle(road.stack, creates) == {"available"}

    missing = {each.trace_id: SPANS for each in creates}

    def all_there() -> bool:
        for trace_id in list(missing):
            missing[trace_id] = SPANS - len({s.span_id for s in road.jaeger.spans(trace_id)})
            if not missing[trace_id]:
                del missing[trace_id]
        return not missing

    try:
        wait_until(all_there, 120, "every span")
    except TimeoutError:
        raise AssertionError(f"of {len(creates)} creates, spans are missing: {missing}") from None
    for each in creates:
        trace = road.jaeger.trace(each.trace_id)
        assert trace is not None
        assert_whole_create(trace)
