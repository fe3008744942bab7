"""Notifications of oslo.messaging, with its own notifiers and listeners on ``fake://``."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from typing import Any

import oslo_messaging
import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanContext, SpanKind, StatusCode
from oslo_config import cfg

import otel_cinder
from otel_cinder.spans import local_root
from tests.unit.recording import Recorder
from tests.unit.seams.test_measurements import Meters

EVENT = "volume.create.start"
CONTEXT = {"request_id": "req-7", "project_id": "p", "user_id": "u"}
PAYLOAD = {"display_name": "the tenant's", "volume_id": "v-1", "auth_password": "hunter2"}


class Serializer(oslo_messaging.NoOpSerializer):
    """Names the user, from the fields that oslo.messaging keeps of the context."""

    def serialize_context(self, _context: Any) -> dict[str, str]:
        return dict(CONTEXT)


class Listener:
    """Remembers each notification and its span; gives back those that a test chooses."""

    def __init__(self) -> None:
        self.told: queue.Queue[tuple[dict[str, Any], SpanContext]] = queue.Queue()
        self.gives_back = 0

    def info(self, context: Any, *_said: Any) -> str | None:
        self.told.put((context, trace.get_current_span().get_span_context()))
        if self.gives_back:
            self.gives_back -= 1
            raise ValueError("later, auth_password=hunter2")
        return None


class BatchListener(Listener):
    """Gets several notifications at once."""

    def info(self, messages: list[dict[str, Any]], *_: Any) -> None:
        for message in messages:
            super().info(message["ctxt"])


class World:
    """A fake broker with a notifier, and listeners on it."""

    def __init__(self, driver: str = "messagingv2") -> None:
        self.transport = oslo_messaging.get_notification_transport(cfg.CONF, "fake://")
        self.notifier = oslo_messaging.Notifier(
            self.transport,
            publisher_id="volume.node@lvm",
            driver=driver,
            topics=["notifications"],
            serializer=Serializer(),
        )
        self._servers: list[Any] = []

    def listen(self, listener: Listener, **options: Any) -> None:
        make = oslo_messaging.get_notification_listener
        if isinstance(listener, BatchListener):
            make = oslo_messaging.get_batch_notification_listener
        target = oslo_messaging.Target(topic="notifications")
        server = make(
            self.transport,
            [target],
            [listener],
            executor="threading",
            allow_requeue=True,
            **options,
        )
        server.start()
        self._servers.append(server)

    def tell(self, event: str = EVENT) -> None:
        self.notifier.info({}, event, dict(PAYLOAD))

    def stop(self) -> None:
        for server in self._servers:
            server.stop()
            server.wait()
        self.transport.cleanup()


@pytest.fixture
def world() -> Iterator[World]:
    """A broker with a notifier."""
    world = World()
    yield world
    world.stop()


def settle(spans: Recorder, count: int) -> None:
    deadline = time.monotonic() + 30
    while len(spans) < count and time.monotonic() < deadline:
        time.sleep(0.005)
    assert len(spans) == count, spans.names


def test_a_notification_is_handled_below_the_request_that_sent_it(
    world: World, spans: Recorder
) -> None:
    """As a cast is: not below the task, deep in a request, that told of it, but linked to that."""
    world.listen(Listener())
    with spans.tracer.start_as_current_span("request") as request:
        root = local_root.LocalRoot(request, is_http=True)
        token = otel_context.attach(local_root.enter(otel_context.get_current(), root))
        with spans.tracer.start_as_current_span("task"):
            world.tell()
        otel_context.detach(token)
    settle(spans, 4)
    sent, taken = spans[f"notify notifications/{EVENT}"], spans[f"process notifications/{EVENT}"]
    assert sent.parent.span_id == spans["task"].context.span_id
    assert taken.parent.span_id == request.get_span_context().span_id
    assert [link.context.span_id for link in taken.links] == [sent.context.span_id]
    assert taken.attributes["cinder.rpc.cast.span_id"] == f"{sent.context.span_id:016x}"


def test_a_notification_is_a_producer_and_its_handling_a_consumer(
    world: World, spans: Recorder
) -> None:
    """Names, kinds, attributes, parent and link of both spans."""
    listener = Listener()
    world.listen(listener)
    with spans.tracer.start_as_current_span("request"):
        world.tell()
    settle(spans, 3)
    sent, taken = spans[f"notify notifications/{EVENT}"], spans[f"process notifications/{EVENT}"]
    assert (sent.kind, taken.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    assert sent.parent.span_id == spans["request"].context.span_id
    assert taken.parent.span_id == sent.context.span_id
    assert [link.context.span_id for link in taken.links] == [sent.context.span_id]
    assert listener.told.get(timeout=30)[1] == taken.context
    both = {
        "messaging.system": "fake",
        "messaging.destination.name": "notifications.info",
        "messaging.destination.template": "notifications.info",
        "messaging.message.id": sent.attributes["messaging.message.id"],
        "oslo_messaging.notification.event_type": EVENT,
        "oslo_messaging.notification.priority": "INFO",
        "openstack.request_id": "req-7",
        "openstack.project_id": "p",
        "openstack.user_id": "u",
    }
    assert dict(sent.attributes) == {
        **both,
        "messaging.operation.name": "notify",
        "messaging.operation.type": "send",
    }
    waited = dict(taken.attributes)
    assert 0 <= waited.pop("cinder.rpc.queue.duration") < 5
    assert waited == {
        **both,
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
    }


def test_payload_is_not_recorded(world: World, spans: Recorder) -> None:
    """Neither a notification's payload nor the publisher's name is on a span."""
    world.listen(Listener())
    with spans.tracer.start_as_current_span("request"):
        world.tell()
    settle(spans, 3)
    values = [value for span in spans for value in (span.attributes or {}).values()]
    assert not set(values) & {*PAYLOAD.values(), "volume.node@lvm"}
    assert not [event for span in spans for event in span.events]


def test_keys_are_removed_before_the_listener_sees_them(world: World, spans: Recorder) -> None:
    """The listener gets the context that was sent."""
    listener = Listener()
    world.listen(listener)
    with spans.tracer.start_as_current_span("request"):
        world.tell()
    assert listener.told.get(timeout=30)[0] == CONTEXT
    settle(spans, 3)


def test_notification_outside_of_a_trace_is_not_traced(world: World, spans: Recorder) -> None:
    """Notifications outside of requests make no span, neither where sent nor where handled."""
    listener = Listener()
    world.listen(listener)
    world.tell()
    context, current = listener.told.get(timeout=30)
    assert context == CONTEXT
    assert not current.is_valid
    assert spans.names == []


@pytest.mark.parametrize("driver", ["noop", "log"])
def test_driver_that_sends_nothing_makes_no_span(spans: Recorder, driver: str) -> None:
    """Where notifications are off, or go to the log, none is sent."""
    world = World(driver)
    with spans.tracer.start_as_current_span("request"):
        world.tell()
    world.stop()
    assert spans.names == ["request"]


def test_disabled_seam_leaves_notifications_alone(
    world: World, instrumented: Callable[..., Recorder]
) -> None:
    """With `notifications` among the disabled seams they go untraced, and messages do not."""
    recorded = instrumented(disabled_seams=frozenset({"notifications"}))
    listener = Listener()
    world.listen(listener)
    with recorded.tracer.start_as_current_span("request"):
        world.tell()
    assert listener.told.get(timeout=30)[0] == CONTEXT
    assert recorded.names == ["request"]


def test_unsampled_trace_is_carried_without_a_span(
    world: World, instrumented: Callable[..., Recorder]
) -> None:
    """A trace that is not sampled makes no spans, and is the listener's all the same."""
    recorded = instrumented(ALWAYS_OFF)
    listener = Listener()
    world.listen(listener)
    with recorded.tracer.start_as_current_span("request") as span:
        world.tell()
    _, current = listener.told.get(timeout=30)
    assert current.trace_id == span.get_span_context().trace_id
    assert not current.trace_flags.sampled
    assert recorded.names == []


def test_requeued_notification_is_an_error(world: World, spans: Recorder) -> None:
    """A listener's exception is the error of that span; the next notification succeeds."""
    listener = Listener()
    listener.gives_back = 1
    world.listen(listener)
    with spans.tracer.start_as_current_span("request"):
        world.tell()
    settle(spans, 4)
    first, second = spans.all(f"process notifications/{EVENT}")
    assert first.status.status_code is StatusCode.ERROR
    assert first.attributes["error.type"] == "requeue"
    assert second.status.status_code is StatusCode.UNSET
    assert first.parent == second.parent
    assert "hunter2" not in repr([dict(event.attributes) for event in first.events])


def test_batch_is_linked_to_all_of_it(world: World, spans: Recorder) -> None:
    """A listener that takes up several at once has one span, linked to each that was sent."""
    with spans.tracer.start_as_current_span("request"):
        for _ in range(3):
            world.tell()
    world.tell()
    world.listen(BatchListener(), batch_size=4, batch_timeout=30)
    settle(spans, 5)
    taken = spans["process notifications"]
    sent = spans.all(f"notify notifications/{EVENT}")
    assert taken.parent is None
    assert [hex(link.context.span_id) for link in taken.links] == [
        hex(span.context.span_id) for span in sent
    ]
    assert dict(taken.attributes) == {
        "messaging.system": "fake",
        "messaging.destination.name": "notifications.info",
        "messaging.destination.template": "notifications.info",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.batch.message_count": 4,
    }


def test_keys_are_removed_from_each_of_a_batch(world: World, spans: Recorder) -> None:
    """No listener to batches sees a key of ours."""
    listener = BatchListener()
    with spans.tracer.start_as_current_span("request"):
        for _ in range(2):
            world.tell()
    world.listen(listener, batch_size=2, batch_timeout=30)
    assert [listener.told.get(timeout=30)[0] for _ in range(2)] == [CONTEXT] * 2
    settle(spans, 4)


def test_notification_that_cannot_be_sent_is_an_error_of_its_own(
    world: World, spans: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """oslo.messaging keeps the failure from Cinder; the notification's span alone is an error."""

    def send(*_args: Any, **_kwargs: Any) -> None:
        raise oslo_messaging.MessageDeliveryFailure("no broker, auth_password=hunter2")

    monkeypatch.setattr(world.transport._driver, "send_notification", send)
    with spans.tracer.start_as_current_span("request"):
        world.tell()
    sent = spans[f"notify notifications/{EVENT}"]
    assert sent.attributes["error.type"] == "MessageDeliveryFailure"
    assert sent.status.description == "MessageDeliveryFailure: no broker, auth_password=***"
    assert spans["request"].status.status_code is StatusCode.UNSET


@pytest.mark.parametrize("event", ["", "a b", "x" * 200, None, 7, "id=\n"])
def test_event_that_is_no_name_is_in_no_name(world: World, spans: Recorder, event: Any) -> None:
    """Only well-formed event types become part of a span's name."""
    world.listen(Listener())
    with spans.tracer.start_as_current_span("request"):
        world.tell(event)
    settle(spans, 3)
    assert set(spans.names) == {"request", "notify notifications", "process notifications"}


def test_own_error_does_not_hurt_the_notification(
    world: World, spans: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A context that is not a dictionary is sent as it is."""
    listener = Listener()
    world.listen(listener)
    with spans.tracer.start_as_current_span("request"):
        world.transport._send_notification(
            oslo_messaging.Target(topic="notifications.info"),
            ["odd"],
            {"event_type": EVENT, "priority": "INFO", "payload": {}},
            version=2.0,
        )
    assert listener.told.get(timeout=30)[0] == ["odd"]
    settle(spans, 1)


def test_yields_to_the_oslo_messaging_instrumentation(world: World, spans: Recorder) -> None:
    """Where opentelemetry-instrumentation-oslo-messaging is on, no span is doubled."""
    peer = pytest.importorskip("opentelemetry.instrumentation.oslo_messaging")
    instrumentor = peer.OsloMessagingInstrumentor()
    instrumentor.instrument(tracer_provider=spans.provider)
    try:
        world.listen(Listener())
        with spans.tracer.start_as_current_span("request"):
            world.tell()
        settle(spans, 3)
    finally:
        instrumentor.uninstrument()
    assert "otel_cinder" not in [span.instrumentation_scope.name for span in spans]


def test_uninstrumented_notifier_sends_as_before(world: World, spans: Recorder) -> None:
    """After uninstrument() nothing is added to a notification and no span is made."""
    listener = Listener()
    world.listen(listener)
    otel_cinder.uninstrument()
    with spans.tracer.start_as_current_span("request"):
        world.tell()
    assert listener.told.get(timeout=30)[0] == CONTEXT
    assert spans.names == ["request"]


@pytest.fixture(params=[True, False], ids=["sampled", "unsampled"])
def meters(request: pytest.FixtureRequest) -> Iterator[Meters]:
    """Instrumented, with measurements that can be read."""
    yield Meters(sampled=request.param)
    otel_cinder.uninstrument()


def test_notifications_are_measured_apart_from_messages(meters: Meters, world: World) -> None:
    """Sent, taken up and how long both took, by topic and priority; never by an RPC's method."""
    world.listen(Listener())
    with meters.recorder.tracer.start_as_current_span("request"):
        world.tell()
    deadline = time.monotonic() + 30
    while "messaging.process.duration" not in meters.read() and time.monotonic() < deadline:
        time.sleep(0.01)
    measured = meters.read()
    place = {"messaging.system": "fake", "messaging.destination.template": "notifications.info"}
    sent = {**place, "messaging.operation.name": "notify"}
    handled = {**place, "messaging.operation.name": "process"}
    assert measured["messaging.client.sent.messages"] == [(sent, 1)]
    assert measured["messaging.client.operation.duration"] == [(sent, 1)]
    assert measured["messaging.client.consumed.messages"] == [(handled, 1)]
    assert measured["messaging.process.duration"] == [(handled, 1)]
    assert "cinder.rpc.queue.duration" not in measured
