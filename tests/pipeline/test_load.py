"""More than a collector can take: memory stays bounded, and what is not taken is refused or waits."""

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import psutil
import pytest

from tests.integration.processes import free_port, wait_until
from tests.pipeline.certificates import loopback
from tests.pipeline.otlp import Client, Sink, request, span
from tests.pipeline.programs import Collector

CLIENTS, BATCHES, BATCH = 4, 100, 512
LIMIT_MIB, SPIKE_MIB = 100, 25
# The program itself, and what Go has not given back to the system yet.
BESIDES_MIB = 120


@dataclass
class Sent:
    """Which spans were acknowledged, how many were refused, and how."""

    accepted: set[str] = field(default_factory=set)
    refused: int = 0
    reasons: set[str] = field(default_factory=set)


class Watch(threading.Thread):
    """The most memory that a process was seen with, in MiB."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.peak = 0.0
        self._process = psutil.Process(pid)
        self._stopping = threading.Event()

    def run(self) -> None:
        while not self._stopping.wait(0.02):
            self.peak = max(self.peak, self._process.memory_info().rss / (1 << 20))

    def stop(self) -> float:
        """Stop watching; return the peak."""
        self._stopping.set()
        self.join(10)
        return self.peak


def send(address: str) -> Sent:
    """Send batches one after the other, as they are, whatever becomes of them."""
    sent = Sent()
    client = Client(address)
    for _ in range(BATCHES):
        trace_id = os.urandom(16)
        spans = [span(trace_id, events=[{"log.message": "x" * 1000}], n=n) for n in range(BATCH)]
        try:
            client.export(request(spans))
        except grpc.RpcError as error:
            sent.refused += BATCH
            sent.reasons.add(f"{error.code().name}: {error.details()}")
        else:
            sent.accepted |= {each.span_id.hex() for each in spans}
    client.close()
    return sent


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    """The collector for one host, with little memory, whose Jaeger is away."""
    collector = Collector(
        "all-in-one",
        tmp_path,
        JAEGER_ENDPOINT=f"127.0.0.1:{free_port()}",
        MEMORY_LIMIT_MIB=LIMIT_MIB,
        MEMORY_SPIKE_MIB=SPIKE_MIB,
    )
    try:
        collector.start()
        yield collector
    finally:
        collector.kill()


def test_what_is_not_taken_is_refused_and_what_is_taken_arrives(collector: Collector) -> None:
    """Under a load beyond its memory a collector refuses some, and delivers all of the rest."""
    assert collector.process is not None
    watch = Watch(collector.process.pid)
    watch.start()
    with ThreadPoolExecutor(CLIENTS) as pool:
        results = list(pool.map(send, [collector.otlp_grpc] * CLIENTS))
    peak = watch.stop()
    accepted = set().union(*(each.accepted for each in results))
    refused = sum(each.refused for each in results)
    reasons = set().union(*(each.reasons for each in results))
    assert peak < LIMIT_MIB + BESIDES_MIB
    assert accepted
    assert refused
    assert len(accepted) + refused == CLIENTS * BATCHES * BATCH
    # Both the sender and the collector know: it is an error to be tried again.
    assert {reason.partition(":")[0] for reason in reasons} == {"UNAVAILABLE"}
    # And not for a full queue alone.
    assert any("high memory usage" in reason for reason in reasons)
    assert collector.count("otelcol_receiver_accepted_spans") == len(accepted)
    turned_away = ("otelcol_receiver_refused_spans", "otelcol_receiver_failed_spans")
    assert sum(collector.count(metric) for metric in turned_away) == refused

    sink = Sink(port=int(str(collector.settings["JAEGER_ENDPOINT"]).rpartition(":")[2]))
    sink.start()
    try:
        wait_until(lambda: len(sink.spans()) >= len(accepted), 180, "what was acknowledged")
        arrived = [each.span_id for each in sink.spans()]
    finally:
        sink.stop()
    print(peak, len(accepted), refused, reasons)
    assert set(arrived) == accepted
    assert len(arrived) == len(accepted)


FULL_BYTES = 600_000
# Longer than exporters wait for an answer by default, which is 5 s; and than it takes a server to
# hang up on a client that asks each ten seconds whether it is there, where that is not allowed.
STUCK = 50


def test_a_gateway_whose_queue_is_full_counts_and_stores_each_span_once(tmp_path: Path) -> None:
    """While its store is away and its queue is full a gateway holds spans back, and sends none again."""
    certificates = loopback(tmp_path)
    store = free_port()
    gateway = Collector(
        "gateway",
        tmp_path,
        certificates=certificates,
        JAEGER_ENDPOINT=f"127.0.0.1:{store}",
        QUEUE_BYTES=FULL_BYTES,
    )
    gateway.settings["GATEWAY_PEERS"] = f"[{gateway.peer}]"
    client = Client(gateway.otlp_grpc, certificates)
    sink = Sink(certificates, port=store)

    def taken() -> float:
        return gateway.count("otelcol_receiver_accepted_spans", receiver="otlp/peers")

    def counted() -> float:
        return gateway.counted("traces_span_metrics_calls_total").total()

    try:
        gateway.start()
        sent: set[str] = set()
        for _ in range(30):
            spans = [
                span(os.urandom(16), error="kept", events=[{"log.message": "x" * 1000}])
                for _ in range(BATCH)
            ]
            client.send(*spans)
            sent |= {each.span_id.hex() for each in spans}
        full = 0.9 * FULL_BYTES
        wait_until(
            lambda: gateway.count("otelcol_exporter_queue_size") >= full, 60, "the queue to fill"
        )
        since = time.monotonic()
        wait_until(lambda: time.monotonic() - since >= STUCK, 2 * STUCK, "exporters' patience")
        assert taken() < len(sent)  # some do wait
        sink.start()
        wait_until(lambda: len(sink.spans()) >= len(sent), 120, "what was sent")
        wait_until(lambda: taken() >= len(sent), 60, "the last answer")
        wait_until(lambda: counted() >= len(sent), 60, "the counts")
        arrived = [each.span_id for each in sink.spans()]
        print(len(sent), len(arrived), taken(), counted())
        assert set(arrived) == sent
        assert len(arrived) == len(sent)
        assert counted() == taken() == len(sent)
    finally:
        client.close()
        gateway.kill()
        sink.stop()
