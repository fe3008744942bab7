"""Cinder with notifications switched on: who is told what, in the trace and on the wire."""

import json
from collections.abc import Callable

import pytest

from otel_cinder.reading.trace import SpanRecord
from tests.integration.broker import Broker
from tests.integration.configuration import API, SCHEDULER, VOLUME, Extent, Tracing
from tests.integration.operations import Operations
from tests.integration.processes import wait_until
from tests.integration.stack import CinderStack
from tests.integration.totals import totals
from tests.integration.watch import Watch
from tests.integration.wiretap import context_of
from tests.receiver import Receiver

QUEUE = "notifications.info"


@pytest.fixture(scope="module")
def stack(new_stack: Callable[..., CinderStack], receiver: Receiver) -> CinderStack:
    """Cinder under eventlet, which tells the world, all of it traced."""
    stack = new_stack("eventlet", Extent(notifications="messagingv2"))
    stack.start(Tracing(receiver.endpoint))
    return stack


def told(broker: Broker, stack: CinderStack) -> dict[str, tuple[str, str]]:
    """Read what lies in the queue: each event's trace and span ids, by its type."""
    payloads = {}
    with broker.connection(stack.name) as connection:
        channel = connection.default_channel
        while (raw := channel.basic_get(QUEUE, no_ack=True)) is not None:
            message = json.loads(json.loads(raw.body)["oslo.message"])
            parent = context_of(message).get("traceparent", "")
            _, trace_id, span_id, _ = parent.split("-") if parent else ("", "", "", "")
            payloads[message["event_type"]] = (trace_id, span_id)
    return payloads


def notified(spans: list[SpanRecord]) -> dict[str, tuple[str, str]]:
    """Pick the spans of notifications: their ids by the type of the event."""
    return {
        str(span.attributes["oslo_messaging.notification.event_type"]): (
            span.trace_id,
            span.span_id,
        )
        for span in spans
        if span.name.startswith("notify ")
    }


def test_notifications_of_a_create_are_in_its_trace(
    cinder: Operations, watch: Watch, broker: Broker, receiver: Receiver
) -> None:
    """Each notification has a span where it was sent, which the message on the wire names."""
    receiver.clear()
    cinder.volume(metadata={"who": "tenant"})
    (trace,) = watch.whole("create_with_notifications", API, SCHEDULER, VOLUME)
    sent = notified(list(trace.spans))
    assert {"volume.create.start", "volume.create.end"} <= sent.keys()
    assert sent == told(broker, cinder.stack)
    for span in trace.spans:
        if span.name.startswith("notify "):
            assert not {"tested", "tenant", "metadata"} & set(map(str, span.attributes.values()))
            assert span.attributes["messaging.destination.name"] == f"openstack:{QUEUE}"


def test_notifications_are_not_among_the_casts(
    cinder: Operations, stack: CinderStack, receiver: Receiver
) -> None:
    """They are counted by their own name, so that no alert waits for somebody to take them up."""
    cinder.volume()

    def counted() -> dict[tuple[object, ...], int]:
        counted = totals(receiver.metrics(), "messaging.operation.name", "rpc.method")
        sent = "messaging.client.sent.messages"
        return {key[1:]: count for key, count in counted.items() if key[0] == sent}

    wait_until(lambda: counted().get(("notify", None), 0) >= 2, 30, f"{counted()}")
    assert all(method for operation, method in counted() if operation == "cast")
