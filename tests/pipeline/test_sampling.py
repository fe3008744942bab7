"""A gateway's decisions: which traces it keeps, when it decides, and that it keeps whole traces."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_cinder.reading.trace import Trace
from tests.integration.processes import wait_until
from tests.pipeline.certificates import Certificates, loopback
from tests.pipeline.otlp import Client, Sink, span
from tests.pipeline.programs import Collector, Jaeger

SLOW_MS = 2_000
# Far less than the ten minutes for which a trace without a reason waits.
AT_ONCE = 60


class Gateways:
    """Two gateways that keep no trace without a reason, and the Jaeger behind them."""

    def __init__(self, folder, certificates: Certificates) -> None:
        self.jaeger = Jaeger("memory", folder, certificates=certificates)
        self.collectors = [
            Collector(
                "gateway",
                folder,
                name=f"gateway-{number}",
                certificates=certificates,
                JAEGER_ENDPOINT=self.jaeger.otlp_grpc,
                SAMPLING_PERCENTAGE=0,
                SLOW_MS=SLOW_MS,
            )
            for number in range(2)
        ]
        peers = ", ".join(collector.peer for collector in self.collectors)
        for collector in self.collectors:
            collector.settings["GATEWAY_PEERS"] = f"[{peers}]"
        self.clients = [Client(each.otlp_grpc, certificates) for each in self.collectors]

    def start(self) -> None:
        """Start all three."""
        for program in (self.jaeger, *self.collectors):
            program.start()

    def close(self) -> None:
        """End all three."""
        for client in self.clients:
            client.close()
        for program in (self.jaeger, *self.collectors):
            program.kill()

    def count(self, metric: str) -> float:
        """Add up what both say of themselves."""
        return sum(collector.count(metric) for collector in self.collectors)

    def waiting(self) -> float:
        """Return how many spans have come to where it is decided."""
        return self.count("otelcol_processor_tail_sampling_new_trace_id_received")

    def stored(self, trace_id: bytes) -> int:
        """Return how many spans of a trace Jaeger has."""
        return len(self.jaeger.spans(trace_id.hex()))


@pytest.fixture(scope="module")
def gateways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateways]:
    """Two gateways as a region has them."""
    folder = tmp_path_factory.mktemp("gateways")
    certificates = loopback(folder)
    gateways = Gateways(folder, certificates)
    try:
        gateways.start()
        yield gateways
    finally:
        gateways.close()


REASONS = {
    "an error": {"error": "no valid backend was found"},
    "a second attempt": {"cinder__schedule__attempt": 2},
    "a still-running span": {"cinder__still_running": True},
    "a slow span": {"seconds": SLOW_MS / 1000 + 1},
    "a long wait in the queue": {"cinder__rpc__queue__duration": SLOW_MS / 1000 + 1},
}
NO_REASONS = {
    "nothing": {},
    "a first attempt": {"cinder__schedule__attempt": 1},
    "a quick span": {"seconds": SLOW_MS / 1000 / 2},
    "a short wait in the queue": {"cinder__rpc__queue__duration": SLOW_MS / 1000 / 2},
}


@pytest.mark.parametrize("reason", REASONS)
def test_a_late_reason_keeps_the_whole_trace_at_once(gateways: Gateways, reason: str) -> None:
    """Spans from long before the reason are kept with it at once, and so are later spans."""
    trace_id, other = os.urandom(16), os.urandom(16)
    client = gateways.clients[0]
    before = gateways.waiting()
    client.send(span(trace_id), span(trace_id), span(other))
    wait_until(lambda: gateways.waiting() == before + 2, AT_ONCE, "the traces to wait")
    assert gateways.stored(trace_id) == 0
    client.send(span(trace_id, **REASONS[reason]))
    wait_until(lambda: gateways.stored(trace_id) == 3, AT_ONCE, reason)
    client.send(span(trace_id))
    wait_until(lambda: gateways.stored(trace_id) == 4, AT_ONCE, "what followed")
    assert gateways.stored(other) == 0


def test_without_a_reason_nothing_is_kept(gateways: Gateways) -> None:
    """A trace that is only near to a reason is let go; of nothing, the share is nothing."""
    traces = {what: os.urandom(16) for what in NO_REASONS}
    for what, trace_id in traces.items():
        gateways.clients[0].send(span(trace_id, **NO_REASONS[what]))
    last = os.urandom(16)
    gateways.clients[0].send(span(last, error="the last one"))
    wait_until(lambda: gateways.stored(last) == 1, AT_ONCE, "the last one")
    assert {what: gateways.stored(trace_id) for what, trace_id in traces.items()} == dict.fromkeys(
        NO_REASONS, 0
    )


def test_no_trace_is_split_over_gateways(gateways: Gateways) -> None:
    """Spans of 400 traces that come in by both doors, one by one, meet on one gateway each."""
    trace_ids = [os.urandom(16) for _ in range(400)]
    before = [
        each.count("otelcol_processor_tail_sampling_new_trace_id_received")
        for each in gateways.collectors
    ]
    for round_ in range(4):
        for client in gateways.clients:
            error = "at last" if round_ == 3 else ""
            client.send(*(span(trace_id, error=error) for trace_id in trace_ids))
    complete = 4 * 2

    def whole() -> bool:
        return all(gateways.stored(trace_id) == complete for trace_id in trace_ids)

    wait_until(whole, 120, "all spans of all traces")
    received = [
        each.count("otelcol_processor_tail_sampling_new_trace_id_received") - earlier
        for each, earlier in zip(gateways.collectors, before, strict=True)
    ]
    assert sum(received) == len(trace_ids)  # each trace is known to one of them only
    assert min(received) > 100
    spans = [gateways.jaeger.spans(trace_id.hex()) for trace_id in trace_ids]
    assert all(len(Trace(each)) == complete for each in spans)  # and no span came twice


def test_traces_too_many_are_counted_as_given_up(tmp_path: Path) -> None:
    """A gateway forgets the oldest where more wait than it may hold; it says how many, by and by."""
    certificates = loopback(tmp_path)
    sink = Sink(certificates)
    gateway = Collector(
        "gateway",
        tmp_path,
        certificates=certificates,
        JAEGER_ENDPOINT=sink.address,
        SAMPLING_PERCENTAGE=0,
        WAITING_TRACES=5,
        DECISION_WAIT="5s",
    )
    gateway.settings["GATEWAY_PEERS"] = f"[{gateway.peer}]"
    client = Client(gateway.otlp_grpc, certificates)

    def count(name: str) -> float:
        return gateway.count(f"otelcol_processor_tail_sampling_{name}")

    def given_up() -> float:
        return count("sampling_trace_removal_age_count") - count("global_count_traces_sampled")

    try:
        sink.start()
        gateway.start()
        # One that is kept takes room for a moment, too: the others are not to be there yet.
        client.send(*(span(os.urandom(16), error="kept") for _ in range(4)))
        wait_until(lambda: count("global_count_traces_sampled") == 4, AT_ONCE, "what is kept")
        client.send(*(span(os.urandom(16)) for _ in range(20)))
        wait_until(lambda: given_up() == 15, AT_ONCE, "those that find no room")
        decided = "otelcol_processor_tail_sampling_global_count_traces_sampled"
        wait_until(
            lambda: gateway.count(decided, decision="not_sampled") == 5, AT_ONCE, "the others"
        )
        assert given_up() == 15
    finally:
        client.close()
        gateway.kill()
        sink.stop()


def test_a_gateway_that_was_away_gets_its_traces(gateways: Gateways) -> None:
    """Spans for an absent gateway wait for it; the other gateway's traces are not delayed."""
    trace_ids = [os.urandom(16) for _ in range(50)]
    away = gateways.collectors[1]
    away.stop()
    for trace_id in trace_ids:
        gateways.clients[0].send(span(trace_id, error="kept"))
    before = len(trace_ids) // 5  # so few by chance in one of 10^6 runs
    wait_until(lambda: _stored(gateways, trace_ids) >= before, AT_ONCE, "what is the other's")
    assert _stored(gateways, trace_ids) < len(trace_ids)
    away.start()
    wait_until(lambda: _stored(gateways, trace_ids) == len(trace_ids), AT_ONCE, "the rest")
    assert all(gateways.stored(trace_id) == 1 for trace_id in trace_ids)


def _stored(gateways: Gateways, trace_ids: list[bytes]) -> int:
    return sum(gateways.stored(trace_id) > 0 for trace_id in trace_ids)
