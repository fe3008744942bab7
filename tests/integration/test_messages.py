"""Messages and notifications, by oslo.messaging's own RabbitMQ driver."""

import functools
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import oslo_messaging
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from oslo_config import cfg

import otel_cinder
from otel_cinder.spans import carrier
from tests.integration.broker import Broker
from tests.integration.processes import wait_until
from tests.integration.relay import Relay

pytestmark = pytest.mark.rabbitmq
TOPIC = "cinder-scheduler"
AWAY_S = 3.0


EVENT = "volume.create.start"


class Endpoint:
    """Takes up messages and notifications."""

    def __init__(self) -> None:
        self.taken: queue.Queue[dict[str, Any]] = queue.Queue()

    def create_volume(self, context: dict[str, Any]) -> None:
        self.taken.put(context)

    def info(self, context: dict[str, Any], *_said: Any) -> None:
        self.taken.put(context)


class Messages:
    """A sender that reaches the broker through a relay, a worker without one, and their spans."""

    def __init__(self, broker: Broker, relay: Relay) -> None:
        self._spans = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._spans))
        otel_cinder.instrument(tracer_provider=provider)
        self._tracer = provider.get_tracer("test")
        cfg.CONF([], default_config_files=[])
        self.endpoint = Endpoint()
        self._near = oslo_messaging.get_rpc_transport(cfg.CONF, broker.url())
        self._far = oslo_messaging.get_rpc_transport(
            cfg.CONF, f"rabbit://guest:guest@127.0.0.1:{relay.port}/"
        )
        target = oslo_messaging.Target(topic=TOPIC)
        self._client = oslo_messaging.get_rpc_client(self._far, target)
        self.start_worker()

    def start_worker(self) -> None:
        """Begin to take messages up."""
        target = oslo_messaging.Target(topic=TOPIC, server="node")
        listening = oslo_messaging.Target(topic="notifications")
        self._servers = [
            oslo_messaging.get_rpc_server(self._near, target, [self.endpoint]),
            oslo_messaging.get_notification_listener(self._near, [listening], [self.endpoint]),
        ]
        for server in self._servers:
            server.start()

    def stop_worker(self) -> None:
        """Take no message up any more; the queues stay."""
        for server in self._servers:
            server.stop()
            server.wait()

    def cast(self) -> None:
        """Cast in a trace, and wait as long as oslo.messaging does."""
        with self._tracer.start_as_current_span("request"):
            self._client.cast({"request_id": "req-1"}, "create_volume")

    def notify(self, driver: str) -> None:
        """Notify likewise, by a driver of oslo.messaging's."""
        notifier = oslo_messaging.Notifier(
            self._far, publisher_id="volume.node", driver=driver, topics=["notifications"]
        )
        with self._tracer.start_as_current_span("request"):
            notifier.info({}, EVENT, {})

    def next(self) -> tuple[ReadableSpan, ReadableSpan]:
        """Return the spans of the message that is taken up next: where sent, and where handled."""
        context = self.endpoint.taken.get(timeout=60)
        assert carrier.KEYS.isdisjoint(context)
        wait_until(lambda: len(self._spans.get_finished_spans()) == 3, 30, "the message's spans")
        by_kind = {span.kind: span for span in self._spans.get_finished_spans()}
        self._spans.clear()
        return by_kind[SpanKind.PRODUCER], by_kind[SpanKind.CONSUMER]

    def close(self) -> None:
        """End all of it."""
        self.stop_worker()
        for transport in (self._near, self._far):
            transport.cleanup()
        otel_cinder.uninstrument()


@pytest.fixture
def relay(broker: Broker) -> Iterator[Relay]:
    """The sender's way to the broker."""
    with Relay(broker.port) as relay:
        yield relay


@pytest.fixture
def messages(broker: Broker, relay: Relay) -> Iterator[Messages]:
    """oslo.messaging over RabbitMQ, traced."""
    messages = Messages(broker, relay)
    try:
        yield messages
    finally:
        messages.close()


@pytest.mark.parametrize(
    "send",
    [
        Messages.cast,
        functools.partial(Messages.notify, driver="messagingv2"),
        functools.partial(Messages.notify, driver="messaging"),
    ],
    ids=["cast", "notification", "notification without an envelope"],
)
def test_unsent_message_has_not_waited(
    messages: Messages, relay: Relay, send: Callable[[Messages], None]
) -> None:
    """While the broker is out of reach sending takes long, and the message waits in no queue."""
    send(messages)
    messages.next()
    relay.cut()
    sending = threading.Thread(target=send, args=(messages,))
    sending.start()
    time.sleep(AWAY_S)
    relay.open()
    sent, handled = messages.next()
    sending.join()
    took = (sent.end_time - sent.start_time) / 1e9
    waited = handled.attributes["cinder.rpc.queue.duration"]
    assert took >= AWAY_S
    assert waited < took - AWAY_S + 1
    # By the same clock: it was published at most when sending had ended.
    assert waited >= (handled.start_time - sent.end_time) / 1e9 - 0.05


def test_message_in_the_queue_has_waited(messages: Messages) -> None:
    """The time from the publish until a worker takes the message up is told as it is."""
    messages.stop_worker()
    messages.cast()
    published = time.time()
    time.sleep(1.5)
    messages.start_worker()
    _, handled = messages.next()
    waited = handled.attributes["cinder.rpc.queue.duration"]
    assert waited >= 1.5
    assert waited == pytest.approx(handled.start_time / 1e9 - published, abs=1)


def test_a_notification_on_rabbitmq(messages: Messages) -> None:
    """Its destination is exchange, topic and priority, on both sides."""
    messages.notify("messagingv2")
    sent, handled = messages.next()
    assert (sent.name, handled.name) == (
        f"notify notifications/{EVENT}",
        f"process notifications/{EVENT}",
    )
    assert handled.parent.span_id == sent.context.span_id
    for span in (sent, handled):
        assert span.attributes["messaging.system"] == "rabbitmq"
        assert span.attributes["messaging.destination.name"] == "openstack:notifications.info"
        assert span.attributes["messaging.destination.template"] == "openstack:notifications.info"
    routing = "messaging.rabbitmq.destination.routing_key"
    assert (sent.attributes[routing], handled.attributes.get(routing)) == (
        "notifications.info",
        None,
    )
