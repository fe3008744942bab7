"""Passing exports on: again where that may help, never more in memory than the bound."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_cinder.reading import forwarder as module
from otel_cinder.reading.endpoint import Export
from otel_cinder.reading.forwarder import Forwarder
from tests.receiver import Receiver


@pytest.fixture
def collector() -> Iterator[Receiver]:
    """What exports are passed on to."""
    with Receiver() as collector:
        yield collector


def export(name: str = "span") -> Export:
    """An export of one span."""
    message = ExportTraceServiceRequest()
    scoped = message.resource_spans.add().scope_spans.add()
    scoped.spans.add(trace_id=b"\1" * 16, span_id=b"\2" * 8, name=name)
    body = message.SerializeToString()
    return Export("/v1/traces", message, body, body, {"Content-Type": "application/x-protobuf"})


def test_it_tries_again_what_may_be_tried_again(
    collector: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collector that is busy gets it later, and no problem is told."""
    monkeypatch.setattr(module, "_PAUSE_S", 0.05)
    problems: list[str] = []
    well = threading.Event()
    collector.respond(503)
    forwarder = Forwarder(collector.endpoint, problems.append, well.set, tries=10_000)
    forwarder.pass_on(export())
    assert collector.wait_for(lambda _: collector.attempts >= 2, timeout=30)
    collector.respond()
    assert well.wait(30)
    assert forwarder.drain(30)
    assert problems == []
    assert [span.name for span in collector.spans()] == ["span"]


def test_it_does_not_insist_where_it_is_refused(collector: Receiver) -> None:
    """A refusal is told once, and the next export has its turn."""
    problems: list[str] = []
    collector.respond(401)
    forwarder = Forwarder(collector.endpoint, problems.append)
    forwarder.pass_on(export())
    assert forwarder.drain(30)
    assert collector.attempts == 1
    assert problems == [f"{collector.endpoint}/v1/traces: HTTP 401 Unauthorized"]


def test_what_waits_is_bounded_and_its_sender_never_waits(
    collector: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a collector that hangs the oldest exports go, and each is told."""
    one = export()
    monkeypatch.setattr(module, "_MOST_BYTES", 3 * len(one.sent))
    problems: list[str] = []
    collector.respond(hang_seconds=60)
    forwarder = Forwarder(collector.endpoint, problems.append)
    forwarder.pass_on(one)
    assert collector.wait_for(lambda _: collector.attempts == 1, timeout=30)
    for _ in range(10):
        forwarder.pass_on(one)
    assert problems == [f"{collector.endpoint}: slower than what arrives"] * 7
