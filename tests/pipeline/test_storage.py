"""Data that survives a restart: in Jaeger, and in an agent's queue."""

import os
from pathlib import Path

import grpc
import pytest

from tests.integration.processes import free_port, wait_until
from tests.pipeline.certificates import loopback
from tests.pipeline.otlp import Client, Sink, span
from tests.pipeline.programs import Collector, Jaeger


@pytest.mark.parametrize(("storage", "remembers"), [("badger", True), ("memory", False)])
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_trace_after_a_restart(tmp_path: Path, storage: str, remembers: bool, end: str) -> None:
    """Badger has what it acknowledged, even after kill -9; memory forgets."""
    jaeger = Jaeger(storage, tmp_path)
    trace_id = os.urandom(16)
    try:
        jaeger.start()
        client = Client(jaeger.otlp_grpc)
        client.send(span(trace_id), span(trace_id))
        client.close()
        getattr(jaeger, end)()
        jaeger.start()
        assert len(jaeger.spans(trace_id.hex())) == (2 if remembers else 0)
    finally:
        jaeger.kill()


def test_an_agents_queue_is_bounded_and_outlives_a_kill(tmp_path: Path) -> None:
    """Without a gateway an agent takes what its queue holds, and after kill -9 it still has that."""
    certificates = loopback(tmp_path)
    port = free_port()
    agent = Collector(
        "agent",
        tmp_path,
        certificates=certificates,
        GATEWAY_ENDPOINT=f"127.0.0.1:{port}",
        QUEUE_BYTES=4 << 20,
    )
    taken: set[str] = set()
    gateway = Sink(certificates, port)
    try:
        agent.start()
        client = Client(agent.otlp_grpc)
        with pytest.raises(grpc.RpcError, match="sending queue is full"):
            for _ in range(1000):
                spans = [span(os.urandom(16), text="x" * 1000) for _ in range(100)]
                client.send(*spans)
                taken |= {each.span_id.hex() for each in spans}
        agent.kill()
        client.close()
        assert len(taken) > 2000
        agent.start()
        gateway.start()
        wait_until(lambda: len(gateway.spans()) >= len(taken), 60, "what was taken")
        assert {each.span_id for each in gateway.spans()} == taken
    finally:
        agent.kill()
        gateway.stop()


def test_a_spoilt_queue_is_put_aside(tmp_path: Path) -> None:
    """An agent that finds its queue's file spoilt renames it, begins a new one, and works."""
    certificates = loopback(tmp_path)
    port = free_port()
    agent = Collector(
        "agent", tmp_path, certificates=certificates, GATEWAY_ENDPOINT=f"127.0.0.1:{port}"
    )
    gateway = Sink(certificates, port)
    client = Client(agent.otlp_grpc)
    new = os.urandom(16)
    try:
        agent.start()
        client.send(span(os.urandom(16), text="x" * 10_000))
        wait_until(lambda: agent.count("otelcol_exporter_queue_size") > 0, 60, "the queue")
        agent.kill()
        (file,) = (agent.folder / "queue").glob("*_traces")
        content = file.read_bytes()
        key = b"qmv0"  # of the queue's head; its tree has it behind those of what waits
        assert key in content
        file.write_bytes(content.replace(key, b"!" + key[1:]))
        agent.start()
        assert len(list(file.parent.glob(f"{file.name}.*.backup"))) == 1
        gateway.start()
        client.send(span(new))
        wait_until(lambda: bool(gateway.spans()), 60, "a span through the new queue")
        assert {each.trace_id for each in gateway.spans()} == {new.hex()}
    finally:
        client.close()
        agent.kill()
        gateway.stop()
