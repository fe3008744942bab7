"""RPC over oslo.messaging, with its own servers and clients on ``fake://``."""

from __future__ import annotations

import queue
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import oslo_messaging
import pytest
from opentelemetry import baggage, trace
from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import Span, SpanContext, SpanKind, StatusCode, TraceFlags, TraceState
from oslo_config import cfg
from oslo_messaging._drivers import common as driver_common

import otel_cinder
from otel_cinder.patching import internal_errors
from otel_cinder.seams.rpc import destinations, messages
from otel_cinder.settings import Settings
from otel_cinder.spans import carrier, local_root
from tests.receiver import Receiver
from tests.unit.recording import Recorder, exception_of

REMOTE_TRACE = "0af7651916cd43dd8448eb211c80319c"
REMOTE_SPAN = "b7ad6b7169203331"
TRACEPARENT = f"00-{REMOTE_TRACE}-{REMOTE_SPAN}-01"


class Endpoint:
    """Answers, fails, and remembers the context and span of each message."""

    target = oslo_messaging.Target(version="3.0")
    host = "node-1@lvm"

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def _take(self, context: dict[str, Any]) -> None:
        self._wire.handled.put((context, trace.get_current_span().get_span_context()))

    def create_volume(self, context: dict[str, Any], **_kwargs: Any) -> str:
        self._take(context)
        return "created"

    def report_state(self, context: dict[str, Any]) -> None:
        self._take(context)

    def initialize_connection(self, context: dict[str, Any]) -> None:
        self._take(context)
        raise ValueError("no target, auth_password=hunter2")

    @oslo_messaging.expected_exceptions(LookupError)
    def get_volume(self, context: dict[str, Any]) -> None:
        raise KeyError("not found")

    def get_pools(self, context: dict[str, Any]) -> None:
        self._take(context)

    def sends_on(self, context: dict[str, Any], attempts: int) -> None:
        """As a scheduler does that finds a backend which then fails, so often."""
        again = self._wire.client("cinder-volume")
        again.cast(context, "fails_and_asks_again", attempts=attempts)

    def fails_and_asks_again(self, context: dict[str, Any], attempts: int) -> None:
        self._wire.client("cinder-scheduler").cast(context, "create_volume", **retried(attempts))

    def asks_another(self, context: dict[str, Any]) -> str:
        answer: str = self._wire.client("cinder-volume").call(context, "create_volume")
        self._take(context)
        return answer


class Wire:
    """A fake broker with servers on it."""

    def __init__(self) -> None:
        self.transport = oslo_messaging.get_rpc_transport(cfg.CONF, "fake://")
        self.handled: queue.Queue[tuple[dict[str, Any], SpanContext]] = queue.Queue()
        self._servers: list[Any] = []

    def serve(self, topic: str, server: str = "node-1") -> Any:
        target = oslo_messaging.Target(topic=topic, server=server)
        made = oslo_messaging.get_rpc_server(self.transport, target, [Endpoint(self)])
        made.start()
        self._servers.append(made)
        return made

    def client(self, topic: str, **prepared: Any) -> Any:
        client = oslo_messaging.get_rpc_client(
            self.transport, oslo_messaging.Target(topic=topic, version="3.0")
        )
        return client.prepare(timeout=prepared.pop("timeout", 10), **prepared)

    def next_handled(self) -> tuple[dict[str, Any], SpanContext]:
        return self.handled.get(timeout=10)

    def stop(self) -> None:
        for server in self._servers:
            server.stop()
            server.wait()
        self.transport.cleanup()


@pytest.fixture
def wire() -> Iterator[Wire]:
    """A broker with cinder-volume and cinder-scheduler on it."""
    wire = Wire()
    yield wire
    wire.stop()


@pytest.fixture
def volume(wire: Wire) -> Wire:
    """The broker with a cinder-volume on it."""
    wire.serve("cinder-volume")
    return wire


def settle(wire: Wire, spans: Recorder, count: int) -> None:
    """Wait until so many spans have ended: a cast has no answer."""
    deadline = time.monotonic() + 10
    while len(spans) < count and time.monotonic() < deadline:
        time.sleep(0.005)
    assert len(spans) == count, spans.names


def quiet(spans: Recorder) -> None:
    """Give a span that should not be there the time to end."""
    time.sleep(0.1)
    assert spans.names == []


def hex_of(span: Any) -> tuple[str, str]:
    return f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"


def test_idle_service_reports(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service exports metrics as soon as it listens, before its first message."""
    with Receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "100")
        otel_cinder.instrument()
        wire.serve("nova-compute")
        wire.serve("cinder-volume")
        deadline = time.monotonic() + 30
        while not receiver.metrics() and time.monotonic() < deadline:
            time.sleep(0.02)
        otel_cinder.uninstrument()
        measured = {
            (point.service, point.resource["service.instance.id"])
            for point in receiver.metrics()
            if point.name == "otel.sdk.span.started"
        }
        assert measured == {("cinder-volume", f"node-1@lvm:{socket.gethostname()}")}
        assert receiver.spans() == []


# Whole traces


def test_golden_nested_call_and_cast(wire: Wire, spans: Recorder, golden: Any) -> None:
    """A call whose handling calls another service, and a cast: each hop is below the one before."""
    wire.serve("cinder-volume")
    wire.serve("cinder-scheduler")
    with spans.tracer.start_as_current_span("request"):
        wire.client("cinder-scheduler").call({"request_id": "req-1"}, "asks_another")
        wire.client("cinder-volume").cast({"project_id": "p"}, "create_volume")
    settle(wire, spans, 7)
    golden("nested_rpc", spans, parallel=True)


# Where a handling is in the trace


@contextmanager
def request_of(spans: Recorder, name: str = "request") -> Iterator[Span]:
    """A request with a flow in it, in which messages are sent."""
    with spans.tracer.start_as_current_span(name) as span:
        root = local_root.LocalRoot(span, is_http=True)
        token = otel_context.attach(local_root.enter(otel_context.get_current(), root))
        with spans.tracer.start_as_current_span("flow"):
            yield span
        otel_context.detach(token)


def retried(attempts: int) -> dict[str, Any]:
    """The arguments of a create that was scheduled so often."""
    return {
        "volume_id": "v-1",
        "filter_properties": {"retry": {"num_attempts": attempts}},
    }


def test_handling_is_below_the_request_that_sent_it(volume: Wire, spans: Recorder) -> None:
    """A cast deep in a request is handled right below it, and linked; the cast's id is said."""
    with request_of(spans) as request:
        volume.client("cinder-volume").cast({}, "create_volume")
    settle(volume, spans, 4)
    sent = spans["cast cinder-volume/create_volume"]
    taken = spans["process cinder-volume/create_volume"]
    assert sent.parent.span_id == spans["flow"].context.span_id
    assert taken.parent.span_id == request.get_span_context().span_id
    assert taken.parent.is_remote
    assert [link.context.span_id for link in taken.links] == [sent.context.span_id]
    assert taken.attributes["cinder.rpc.cast.span_id"] == f"{sent.context.span_id:016x}"
    assert "cinder.rpc.queue.duration" in taken.attributes


def test_golden_handlings_are_placed_below_who_sent_them(
    wire: Wire, spans: Recorder, golden: Any
) -> None:
    """Each service is one deeper; a call and its handling nest; another attempt is a sibling."""
    wire.serve("cinder-volume")
    wire.serve("cinder-scheduler")
    with request_of(spans):
        wire.client("cinder-scheduler").cast({}, "sends_on", attempts=2)
        settle(wire, spans, 6)
        wire.client("cinder-volume").call({}, "get_pools")
    settle(wire, spans, 10)
    golden("placed_rpc", spans, parallel=True)


def test_setting_restores_the_cast_as_the_parent(
    wire: Wire, instrumented: Callable[..., Recorder]
) -> None:
    """With OTEL_CINDER_MESSAGE_PARENT=cast the standard's parent is back, whatever the sender says."""
    environ = {"OTEL_CINDER_MESSAGE_PARENT": "cast"}
    spans = instrumented(under_cast=Settings.from_environ(environ).under_cast)
    wire.serve("cinder-volume")
    with request_of(spans):
        wire.client("cinder-volume").cast({}, "create_volume")
    settle(wire, spans, 4)
    taken = spans["process cinder-volume/create_volume"]
    sent = spans["cast cinder-volume/create_volume"]
    assert taken.parent.span_id == sent.context.span_id
    assert "cinder.rpc.cast.span_id" not in taken.attributes


@pytest.mark.parametrize("method", ["create_volume", "get_pools"])
@pytest.mark.parametrize(
    "more",
    [
        "",
        ":1111111111111111",
        ":0000000000000000:1111111111111111",
        ":xyz:1",
        ":f",
        ":1:2",
        ":a:b:c",
    ],
)
def test_sender_that_names_no_request_is_the_parent(
    volume: Wire, spans: Recorder, more: str, method: str
) -> None:
    """An older otel-cinder's message, and one that is malformed, has the standard parent."""
    context = stamped(1)
    context["tracestate"] += more
    volume.client("cinder-volume").cast(context, method)
    settle(volume, spans, 1)
    span = spans[f"process cinder-volume/{method}"]
    parent = None if more == ":f" else int(REMOTE_SPAN, 16)
    assert (span.parent and span.parent.span_id) == parent


def test_request_that_another_span_has_written_is_not_believed(
    volume: Wire, spans: Recorder
) -> None:
    """A peer that passed our member on is the parent itself."""
    context = stamped(1, writer="00000000deadbeef")
    context["tracestate"] += ":1111111111111111:2222222222222222"
    volume.client("cinder-volume").cast(context, "create_volume")
    settle(volume, spans, 1)
    span = spans["process cinder-volume/create_volume"]
    assert f"{span.parent.span_id:016x}" == REMOTE_SPAN


def test_request_of_another_trace_is_not_named(volume: Wire, spans: Recorder) -> None:
    """What is sent in a span that is of another trace than the request is handled below its cast."""
    with request_of(spans), spans.tracer.start_as_current_span("other", Context()):
        volume.client("cinder-volume").cast({}, "create_volume")
    settle(volume, spans, 5)
    taken = spans["process cinder-volume/create_volume"]
    assert taken.parent.span_id == spans["cast cinder-volume/create_volume"].context.span_id


# What a message is about


def test_resources_of_a_message_are_on_both_sides_and_on_the_request(
    volume: Wire, spans: Recorder
) -> None:
    """The volume is named on the cast, where it is handled, and on the request that sent it."""
    about = {"versioned_object.data": {"id": "v-1", "size": 1, "provider_auth": "CHAP a b"}}
    with spans.tracer.start_as_current_span("request") as span:
        inside = local_root.enter(
            otel_context.get_current(), local_root.LocalRoot(span, is_http=True)
        )
        token = otel_context.attach(inside)
        volume.client("cinder-volume").cast({}, "create_volume", volume=about)
        otel_context.detach(token)
    settle(volume, spans, 3)
    for name in ("request", "cast cinder-volume/create_volume"):
        attributes = dict(spans[name].attributes or {})
        assert (attributes["cinder.volume.id"], attributes["cinder.volume.size"]) == ("v-1", 1)
    handled = dict(spans["process cinder-volume/create_volume"].attributes or {})
    assert handled["cinder.volume.id"] == "v-1"


def test_handling_is_the_way_in(volume: Wire, spans: Recorder) -> None:
    """Attributes found while a message is handled are added to those of its span."""
    seen = queue.Queue[Any]()

    def create_volume(_self: Any, _context: Any, **_kwargs: Any) -> None:
        local_root.enrich({"cinder.volume.size": 2, "cinder.volume.host": "h@lvm#pool"})
        seen.put(local_root.current())

    original, Endpoint.create_volume = Endpoint.create_volume, create_volume  # type: ignore[method-assign, assignment]
    try:
        about = {"versioned_object.data": {"id": "v-1", "size": 1}}
        with spans.tracer.start_as_current_span("request"):
            volume.client("cinder-volume").cast({}, "create_volume", volume=about)
        settle(volume, spans, 3)
    finally:
        Endpoint.create_volume = original  # type: ignore[method-assign]
    handled = dict(spans["process cinder-volume/create_volume"].attributes or {})
    assert handled["cinder.volume.size"] == 1
    assert handled["cinder.volume.host"] == "h@lvm#pool"
    assert not seen.get(timeout=10).is_http


# Casts and calls


def test_cast_is_a_producer_and_its_handling_a_consumer(volume: Wire, spans: Recorder) -> None:
    """Names, kinds, attributes, parent and link of the two spans of a cast."""
    with spans.tracer.start_as_current_span("request"):
        volume.client("cinder-volume").cast(
            {"request_id": "req-7", "user_id": "u", "auth_token": "secret"}, "create_volume"
        )
    settle(volume, spans, 3)
    sent, taken = (
        spans["cast cinder-volume/create_volume"],
        spans["process cinder-volume/create_volume"],
    )
    assert (sent.kind, taken.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    assert sent.parent.span_id == spans["request"].context.span_id
    assert taken.parent.span_id == sent.context.span_id
    assert taken.parent.is_remote
    assert [link.context.span_id for link in taken.links] == [sent.context.span_id]
    both = {
        "messaging.system": "fake",
        "messaging.destination.name": "cinder-volume",
        "messaging.destination.template": "cinder-volume",
        "rpc.system.name": "oslo.messaging",
        "rpc.method": "cinder-volume/create_volume",
        "openstack.request_id": "req-7",
        "openstack.user_id": "u",
    }
    assert dict(sent.attributes) == {
        **both,
        "messaging.operation.name": "cast",
        "messaging.operation.type": "send",
    }
    waited = dict(taken.attributes)
    assert 0 <= waited.pop("cinder.rpc.queue.duration") < 5
    assert waited == {
        **both,
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
    }


def test_call_is_a_client_and_its_handling_a_server(volume: Wire, spans: Recorder) -> None:
    """Both spans of a call bear the same name; the answer comes back."""
    with spans.tracer.start_as_current_span("request"):
        assert volume.client("cinder-volume").call({}, "create_volume") == "created"
    settle(volume, spans, 3)
    name = "cinder-volume/create_volume"
    server, client = sorted(spans.all(name), key=lambda span: span.kind is SpanKind.CLIENT)
    assert (server.kind, client.kind) == (SpanKind.SERVER, SpanKind.CLIENT)
    assert server.parent.span_id == client.context.span_id
    assert client.attributes["messaging.operation.name"] == "call"
    assert server.attributes["messaging.operation.name"] == "process"
    assert client.start_time <= server.start_time <= server.end_time


def test_fan_out_is_linked_only(wire: Wire, spans: Recorder) -> None:
    """Each server's handling of a fan-out begins a trace of its own that is linked to the sender's."""
    wire.serve("cinder-volume", "node-1")
    wire.serve("cinder-volume", "node-2")
    with spans.tracer.start_as_current_span("request"):
        wire.client("cinder-volume", fanout=True).cast({}, "create_volume")
    settle(wire, spans, 4)
    sent = spans["cast cinder-volume/create_volume"]
    assert sent.attributes["cinder.rpc.fanout"] is True
    taken = spans.all("process cinder-volume/create_volume")
    assert len(taken) == 2
    for span in taken:
        assert span.parent is None
        assert [hex(link.context.span_id) for link in span.links] == [hex(sent.context.span_id)]
        assert span.attributes["cinder.rpc.fanout"] is True
    traces = {span.context.trace_id for span in [sent, *taken]}
    assert len(traces) == 3


def test_name_holds_no_host(wire: Wire, spans: Recorder) -> None:
    """A topic with a host in it is in the attributes, and its template has no host."""
    topic = "cinder-volume.node-1@lvm"
    wire.serve(topic)
    with spans.tracer.start_as_current_span("request"):
        wire.client(topic).cast({}, "create_volume")
    settle(wire, spans, 3)
    for name in ("cast cinder-volume/create_volume", "process cinder-volume/create_volume"):
        assert spans[name].attributes["messaging.destination.name"] == topic
        assert spans[name].attributes["messaging.destination.template"] == "cinder-volume.{host}"


def test_handling_is_current_in_the_endpoint(volume: Wire, spans: Recorder) -> None:
    """In the endpoint's method the CONSUMER span is current."""
    with spans.tracer.start_as_current_span("request"):
        volume.client("cinder-volume").cast({}, "create_volume")
    _, current = volume.next_handled()
    settle(volume, spans, 3)
    assert current.span_id == spans["process cinder-volume/create_volume"].context.span_id


# What is on the wire


def test_context_of_the_caller_is_not_changed(volume: Wire, spans: Recorder) -> None:
    """The dictionary that the caller passes has no new key afterwards."""
    context = {"request_id": "req-1"}
    with spans.tracer.start_as_current_span("request"):
        volume.client("cinder-volume").call(context, "create_volume")
    assert context == {"request_id": "req-1"}


def test_keys_are_removed_before_the_endpoint_sees_them(volume: Wire, spans: Recorder) -> None:
    """The endpoint gets the context that was sent, without traceparent and tracestate."""
    with spans.tracer.start_as_current_span("request"):
        volume.client("cinder-volume").cast({"request_id": "req-1"}, "create_volume")
    context, _ = volume.next_handled()
    assert context == {"request_id": "req-1"}


def test_keys_are_removed_from_every_fan_out(wire: Wire, spans: Recorder) -> None:
    """On fake:// all servers share one dictionary; each of them still finds the sender."""
    wire.serve("cinder-volume", "node-1")
    wire.serve("cinder-volume", "node-2")
    with spans.tracer.start_as_current_span("request"):
        wire.client("cinder-volume", fanout=True).cast({"a": 1}, "create_volume")
    assert [wire.next_handled()[0] for _ in range(2)] == [{"a": 1}, {"a": 1}]


def test_only_the_two_w3c_keys_travel(spans: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Traceparent names the PRODUCER span, tracestate holds our mark; baggage stays at home."""
    transport = oslo_messaging.get_rpc_transport(cfg.CONF, "fake://")
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(transport._driver, "send", lambda _t, ctxt, *_a, **_k: sent.append(ctxt))
    client = oslo_messaging.get_rpc_client(transport, oslo_messaging.Target(topic="cinder-volume"))
    before = time.time_ns() // 1000
    with spans.tracer.start_as_current_span("request"):
        token = otel_context.attach(baggage.set_baggage("secret", "1"))
        client.cast({"request_id": "req-1"}, "create_volume")
        otel_context.detach(token)
    trace_id, span_id = hex_of(spans["cast cinder-volume/create_volume"])
    (context,) = sent
    assert set(context) == {"request_id", "traceparent", "tracestate"}
    assert context["traceparent"] == f"00-{trace_id}-{span_id}-01"
    key, _, mark = context["tracestate"].partition("=")
    writer, _, stamp = mark.partition(":")
    assert (key, writer) == ("otelcinder", span_id)
    assert before <= int(stamp) <= time.time_ns() // 1000


def test_untraced_service_passes_nothing_on(volume: Wire) -> None:
    """Without instrument() messages go through as they are."""
    volume.client("cinder-volume").cast({"traceparent": TRACEPARENT}, "create_volume")
    context, current = volume.next_handled()
    assert context == {"traceparent": TRACEPARENT}
    assert not current.is_valid


def test_peers_tracestate_is_kept(volume: Wire, spans: Recorder) -> None:
    """Members of other vendors travel on; ours is taken out."""
    volume.client("cinder-volume").call(
        {
            "traceparent": TRACEPARENT,
            "tracestate": f"otelcinder={REMOTE_SPAN}:1,vendor=a",
        },
        "create_volume",
    )
    settle(volume, spans, 1)
    assert dict(spans["cinder-volume/create_volume"].context.trace_state) == {"vendor": "a"}


def test_unsampled_parent_is_carried_without_a_span(
    wire: Wire, instrumented: Callable[..., Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trace that is not sampled makes no spans on either side and travels with flag 00."""
    recorded = instrumented()
    wire.serve("cinder-volume")
    taken: list[dict[str, Any]] = []
    extract = carrier.extract

    def look(keys: dict[str, Any]) -> Any:
        taken.append(keys)
        return extract(keys)

    monkeypatch.setattr(carrier, "extract", look)
    context = SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(0))
    with trace.use_span(trace.NonRecordingSpan(context)):
        wire.client("cinder-volume").call({}, "create_volume")
    _, current = wire.next_handled()
    assert taken[0]["traceparent"] == f"00-{1:032x}-{2:016x}-00"
    assert (current.trace_id, current.trace_flags) == (1, 0)
    quiet(recorded)


def test_unsampled_message_makes_no_span(volume: Wire, spans: Recorder) -> None:
    """A message whose traceparent has flag 00 is handled without a span, in its trace."""
    volume.client("cinder-volume").call({"traceparent": TRACEPARENT[:-1] + "0"}, "create_volume")
    _, current = volume.next_handled()
    assert f"{current.trace_id:032x}" == REMOTE_TRACE
    assert not current.trace_flags.sampled
    quiet(spans)


def test_always_off_makes_no_spans(wire: Wire, instrumented: Callable[..., Recorder]) -> None:
    """With a sampler that takes nothing, neither side records."""
    recorded = instrumented(ALWAYS_OFF)
    wire.serve("cinder-volume")
    with recorded.tracer.start_as_current_span("request"):
        assert wire.client("cinder-volume").call({}, "create_volume") == "created"
    quiet(recorded)


# Messages of strangers


def test_message_without_context_begins_a_trace(volume: Wire, spans: Recorder) -> None:
    """A message of an untraced service is a root, without a link or a wait."""
    volume.client("cinder-volume").cast({}, "create_volume")
    settle(volume, spans, 1)
    span = spans["process cinder-volume/create_volume"]
    assert span.parent is None
    assert span.links == ()
    assert "cinder.rpc.queue.duration" not in span.attributes


def test_message_of_a_traced_peer_continues_its_trace(volume: Wire, spans: Recorder) -> None:
    """A traceparent that another implementation wrote names the parent."""
    volume.client("cinder-volume").cast({"traceparent": TRACEPARENT}, "create_volume")
    settle(volume, spans, 1)
    span = spans["process cinder-volume/create_volume"]
    assert (f"{span.parent.trace_id:032x}", f"{span.parent.span_id:016x}") == (
        REMOTE_TRACE,
        REMOTE_SPAN,
    )
    assert "cinder.rpc.queue.duration" not in span.attributes


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "garbage",
        "00-00000000000000000000000000000000-0000000000000000-01",
        TRACEPARENT + "-extra",
        "ff" + TRACEPARENT[2:],
        "00-" + "x" * 32 + "-" + "y" * 16 + "-01",
        "0" * 100_000,
        "'; drop table volumes; --",
        "\x00\n\r",
        17,
        None,
        ["00", "01"],
        {"a": 1},
    ],
    ids=lambda value: repr(value)[:24],
)
def test_bad_traceparent_begins_a_trace(volume: Wire, spans: Recorder, traceparent: Any) -> None:
    """A malformed, oversized or hostile traceparent counts as none, and is taken out all the same."""
    answer = volume.client("cinder-volume").call(
        {"traceparent": traceparent, "a": 1}, "create_volume"
    )
    assert answer == "created"
    context, _ = volume.next_handled()
    assert context == {"a": 1}
    settle(volume, spans, 1)
    assert spans["cinder-volume/create_volume"].parent is None


@pytest.mark.parametrize(
    "tracestate",
    [
        "",
        "garbage",
        "=,=,=",
        "otelcinder=",
        f"otelcinder={REMOTE_SPAN}",
        f"otelcinder={REMOTE_SPAN}:",
        f"otelcinder={REMOTE_SPAN}:not-a-number",
        f"otelcinder={REMOTE_SPAN}:-5",
        f"otelcinder={REMOTE_SPAN}:1e9",
        f"otelcinder={REMOTE_SPAN}:²",
        f"otelcinder={REMOTE_SPAN}:::::",
        f"otelcinder={REMOTE_SPAN}:" + "9" * 400,
        f"otelcinder={REMOTE_SPAN}:0",
        f"otelcinder={REMOTE_SPAN}:" + "0" * 16,
        f"otelcinder={REMOTE_SPAN}:" + "9" * 16,
        f"otelcinder={REMOTE_SPAN}:{10**19}",
        f"otelcinder={REMOTE_SPAN}:1600000000000000",
        f"otelcinder={REMOTE_SPAN}:4000000000000000",
        "a=" + "b" * 100_000,
        ",".join(f"k{i}=v" for i in range(10_000)),
        "\x00\n",
        17,
        None,
        ["a=b"],
    ],
    ids=lambda value: repr(value)[:40],
)
def test_bad_tracestate_does_not_hurt_the_trace(
    volume: Wire, spans: Recorder, tracestate: Any
) -> None:
    """A malformed, oversized or hostile tracestate is dropped; the traceparent still counts."""
    answer = volume.client("cinder-volume").call(
        {"traceparent": TRACEPARENT, "tracestate": tracestate}, "create_volume"
    )
    assert answer == "created"
    context, _ = volume.next_handled()
    assert context == {}
    settle(volume, spans, 1)
    span = spans["cinder-volume/create_volume"]
    assert f"{span.parent.span_id:016x}" == REMOTE_SPAN
    assert len(TraceState.to_header(span.context.trace_state)) <= 512
    assert "cinder.rpc.queue.duration" not in span.attributes
    assert "cinder.rpc.clock_skew" not in span.attributes


def test_tracestate_alone_is_removed(volume: Wire, spans: Recorder) -> None:
    """A tracestate without a traceparent means nothing and does not reach the endpoint."""
    volume.client("cinder-volume").call({"tracestate": "a=b"}, "create_volume")
    context, _ = volume.next_handled()
    assert context == {}


@pytest.mark.complains
def test_context_that_is_no_dictionary_goes_through(volume: Wire, spans: Recorder) -> None:
    """A caller whose context is not a dictionary is served, without a trace on the wire."""
    with spans.tracer.start_as_current_span("request"):
        volume.client("cinder-volume").cast(["odd"], "create_volume")
    context, _ = volume.next_handled()
    assert context == ["odd"]
    assert not internal_errors._logged


# The wait in the queue


def stamped(seconds_ago: float, writer: str = REMOTE_SPAN) -> dict[str, str]:
    micros = int((time.time() - seconds_ago) * 1e6)
    return {"traceparent": TRACEPARENT, "tracestate": f"otelcinder={writer}:{micros}"}


def test_wait_in_the_queue_is_recorded(volume: Wire, spans: Recorder) -> None:
    """A message sent 2 s ago has waited for 2 s."""
    volume.client("cinder-volume").cast(stamped(2), "create_volume")
    settle(volume, spans, 1)
    attributes = spans["process cinder-volume/create_volume"].attributes
    assert attributes["cinder.rpc.queue.duration"] == pytest.approx(2, abs=0.5)
    assert "cinder.rpc.clock_skew" not in attributes


def test_handling_begins_where_the_wait_ends(
    volume: Wire, spans: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the first tracer of a process takes to make, no time is in neither."""
    tracer = messages.runtime.tracer

    def slow(context: Any) -> Any:
        time.sleep(0.3)
        return tracer(context)

    monkeypatch.setattr(messages.runtime, "tracer", slow)
    sent = stamped(2)
    volume.client("cinder-volume").cast(sent, "create_volume")
    settle(volume, spans, 1)
    span = spans["process cinder-volume/create_volume"]
    stamp = int(sent["tracestate"].rpartition(":")[2]) * 1000
    waited = span.attributes["cinder.rpc.queue.duration"]
    assert span.start_time - stamp == pytest.approx(waited * 1e9, abs=10_000)
    assert span.end_time - span.start_time >= 300_000_000


def test_time_before_publishing_is_no_wait(volume: Wire, spans: Recorder) -> None:
    """The driver's time until it can send belongs to the cast, with each driver."""
    driver = volume.transport._driver
    send = driver.send

    def unreachable_for_a_while(*args: Any, **kwargs: Any) -> Any:
        time.sleep(1)
        return send(*args, **kwargs)

    driver.send = unreachable_for_a_while
    with spans.tracer.start_as_current_span("request"):
        volume.client("cinder-volume").cast({}, "create_volume")
    settle(volume, spans, 3)
    sent = spans["cast cinder-volume/create_volume"]
    handled = spans["process cinder-volume/create_volume"]
    published = sent.end_time / 1e9
    waited = handled.attributes["cinder.rpc.queue.duration"]
    assert sent.end_time - sent.start_time >= 1e9
    assert waited == pytest.approx(max(handled.start_time / 1e9 - published, 0), abs=0.5)


def test_negative_wait_is_clock_skew(volume: Wire, spans: Recorder) -> None:
    """A message from the future records how far the sender's clock is ahead, and no wait."""
    volume.client("cinder-volume").cast(stamped(-5), "create_volume")
    settle(volume, spans, 1)
    attributes = spans["process cinder-volume/create_volume"].attributes
    assert attributes["cinder.rpc.clock_skew"] == pytest.approx(5, abs=0.5)
    assert "cinder.rpc.queue.duration" not in attributes


def test_stale_mark_of_a_peer_is_ignored(volume: Wire, spans: Recorder) -> None:
    """A mark that another span wrote, which a peer passed on, is neither a wait nor a fan-out."""
    context = stamped(1000, writer="00000000deadbeef")
    context["tracestate"] += ":f"
    volume.client("cinder-volume").cast(context, "create_volume")
    settle(volume, spans, 1)
    span = spans["process cinder-volume/create_volume"]
    assert f"{span.parent.span_id:016x}" == REMOTE_SPAN
    assert "cinder.rpc.queue.duration" not in span.attributes
    assert "cinder.rpc.fanout" not in span.attributes
    assert not span.context.trace_state


# Failures


def test_failing_call_is_an_error_on_both_sides(volume: Wire, spans: Recorder) -> None:
    """Caller and handler both have error.type and one redacted event; the exception comes back."""
    with spans.tracer.start_as_current_span("request"), pytest.raises(ValueError, match="hunter2"):
        volume.client("cinder-volume").call({}, "initialize_connection")
    settle(volume, spans, 3)
    for span in spans.all("cinder-volume/initialize_connection"):
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description == "ValueError: no target, auth_password=***"
        assert span.attributes["error.type"] == "ValueError"
        assert exception_of(span)["exception.message"] == "no target, auth_password=***"


def test_failing_cast_is_an_error_of_the_handling(volume: Wire, spans: Recorder) -> None:
    """The PRODUCER span succeeds; the CONSUMER span is the error."""
    with spans.tracer.start_as_current_span("request"):
        volume.client("cinder-volume").cast({}, "initialize_connection")
    settle(volume, spans, 3)
    assert spans["cast cinder-volume/initialize_connection"].status.status_code is StatusCode.UNSET
    taken = spans["process cinder-volume/initialize_connection"]
    assert taken.attributes["error.type"] == "ValueError"


def test_expected_exception_is_unwrapped(volume: Wire, spans: Recorder) -> None:
    """An expected exception of the endpoint has its own class, not ExpectedException."""
    with spans.tracer.start_as_current_span("request"), pytest.raises(KeyError):
        volume.client("cinder-volume").call({}, "get_volume")
    settle(volume, spans, 3)
    for span in spans.all("cinder-volume/get_volume"):
        assert span.attributes["error.type"] == "KeyError"
        assert exception_of(span)["exception.type"] == "builtins.KeyError"


def test_unknown_method_is_an_error(volume: Wire, spans: Recorder) -> None:
    """A method that the server lacks ends as UnsupportedVersion or NoSuchMethod, with a span."""
    with (
        spans.tracer.start_as_current_span("request"),
        pytest.raises(oslo_messaging.rpc.dispatcher.NoSuchMethod),
    ):
        volume.client("cinder-volume").call({}, "no_such_method")
    settle(volume, spans, 3)
    assert {s.attributes["error.type"] for s in spans.all("cinder-volume/no_such_method")} == {
        "NoSuchMethod"
    }


def test_timeout_has_an_error_type(wire: Wire, spans: Recorder) -> None:
    """A call without an answer ends as MessagingTimeout."""
    with (
        spans.tracer.start_as_current_span("request"),
        pytest.raises(oslo_messaging.MessagingTimeout),
    ):
        wire.client("cinder-backup", timeout=0.2).call({}, "create_backup")
    span = spans["cinder-backup/create_backup"]
    assert span.kind is SpanKind.CLIENT
    assert span.attributes["error.type"] == "MessagingTimeout"


@pytest.mark.parametrize(("allowed", "kind"), [(["builtins"], ValueError), ([], Exception)])
def test_remote_exception_has_its_own_class(
    spans: Recorder, monkeypatch: pytest.MonkeyPatch, allowed: list[str], kind: type[Exception]
) -> None:
    """A remote error, ValueError_Remote or RemoteError, has error.type ValueError."""
    import sys

    try:
        raise ValueError("from afar")
    except ValueError:
        packed = driver_common.serialize_remote_exception(sys.exc_info())
    error = driver_common.deserialize_remote_exception(packed, allowed)
    transport = oslo_messaging.get_rpc_transport(cfg.CONF, "fake://")

    def send(*_args: Any, **_kwargs: Any) -> None:
        raise error

    monkeypatch.setattr(transport._driver, "send", send)
    client = oslo_messaging.get_rpc_client(transport, oslo_messaging.Target(topic="cinder-volume"))
    with spans.tracer.start_as_current_span("request"), pytest.raises(kind) as caught:
        client.call({}, "create_volume")
    assert caught.value is error
    assert spans["cinder-volume/create_volume"].attributes["error.type"] == "ValueError"


# Chatter


def test_chatter_without_parent_starts_nothing(volume: Wire, spans: Recorder) -> None:
    """Heartbeats make no trace of their own, neither where sent nor where handled."""
    volume.client("cinder-volume").call({}, "report_state")
    _, current = volume.next_handled()
    assert not current.is_valid
    quiet(spans)


def test_chatter_of_a_request_is_traced(volume: Wire, spans: Recorder) -> None:
    """A periodic method that a request sends is part of the request's trace."""
    with spans.tracer.start_as_current_span("request"):
        volume.client("cinder-volume").call({}, "report_state")
    settle(volume, spans, 3)
    assert spans.names.count("cinder-volume/report_state") == 2


def test_periodic_setting_traces_chatter(wire: Wire, instrumented: Callable[..., Recorder]) -> None:
    """With OTEL_CINDER_PERIODIC heartbeats begin traces of their own."""
    recorded = instrumented(periodic=True)
    wire.serve("cinder-volume")
    wire.client("cinder-volume").call({}, "report_state")
    settle(wire, recorded, 2)
    server, client = sorted(recorded, key=lambda span: span.kind is SpanKind.CLIENT)
    assert client.parent is None
    assert server.parent.span_id == client.context.span_id


# Peers


@pytest.fixture
def own_tracing(spans: Recorder, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """oslo.messaging's own tracing, enabled, with our recorder's provider."""
    client = pytest.importorskip("oslo_messaging._tracing.client")
    monkeypatch.setattr(client, "_TRACER", spans.provider.get_tracer("oslo.messaging"))
    cfg.CONF.set_override("tracing_enabled", True, "oslo_messaging_tracing")
    yield
    cfg.CONF.clear_override("tracing_enabled", "oslo_messaging_tracing")


@pytest.mark.usefixtures("own_tracing")
@pytest.mark.parametrize("how", ["call", "cast"])
def test_yields_to_oslo_messagings_own_tracing(volume: Wire, spans: Recorder, how: str) -> None:
    """With [oslo_messaging_tracing] enabled its two spans are there and ours are not."""
    with spans.tracer.start_as_current_span("request"):
        getattr(volume.client("cinder-volume"), how)({}, "create_volume")
    volume.next_handled()
    settle(volume, spans, 3)
    time.sleep(0.1)
    assert spans.names == ["request", "cinder-volume.create_volume", "create_volume receive"]
    assert {span.context.trace_id for span in spans} == {spans["request"].context.trace_id}


@pytest.mark.parametrize("how", ["call", "cast"])
def test_trace_is_whole_beside_osprofiler(volume: Wire, spans: Recorder, how: str) -> None:
    """While osprofiler traces a request, in a trace of its own, ours has both of a message's spans."""
    profiler = pytest.importorskip("osprofiler.profiler")
    profiler.init("secret")
    try:
        with spans.tracer.start_as_current_span("request"):
            getattr(volume.client("cinder-volume"), how)({}, "create_volume")
    finally:
        profiler.clean()
    settle(volume, spans, 3)
    sent, taken = (span for span in spans if span.name != "request")
    if sent.start_time > taken.start_time:
        sent, taken = taken, sent
    assert sent.parent.span_id == spans["request"].context.span_id
    assert taken.parent.span_id == sent.context.span_id


def test_worker_that_osprofiler_has_marked_is_traced(
    volume: Wire, spans: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads in which osprofiler has left its profiler go on to trace what they handle."""
    profiler = pytest.importorskip("osprofiler.profiler")
    monkeypatch.setattr(Endpoint, "create_volume", lambda *_, **__: profiler.init("secret"))
    with spans.tracer.start_as_current_span("request"):
        for _ in range(8):
            volume.client("cinder-volume").call({}, "create_volume")
    settle(volume, spans, 17)


def test_yields_to_the_oslo_messaging_instrumentation(volume: Wire, spans: Recorder) -> None:
    """Where opentelemetry-instrumentation-oslo-messaging is on, no span is doubled."""
    peer = pytest.importorskip("opentelemetry.instrumentation.oslo_messaging")
    instrumentor = peer.OsloMessagingInstrumentor()
    instrumentor.instrument(tracer_provider=spans.provider)
    try:
        with spans.tracer.start_as_current_span("request"):
            volume.client("cinder-volume").call({}, "create_volume")
        settle(volume, spans, 3)
    finally:
        instrumentor.uninstrument()
    scopes = [span.instrumentation_scope.name for span in spans]
    assert "otel_cinder" not in scopes
    assert len(spans) == 3


# Where messages go


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (
            {"exchange": "openstack", "topic": "cinder-scheduler"},
            ("openstack:cinder-scheduler", "openstack:cinder-scheduler", "cinder-scheduler"),
        ),
        (
            {"exchange": "openstack", "topic": "cinder-volume.h@lvm", "server": "h"},
            (
                "openstack:cinder-volume.h@lvm.h",
                "openstack:cinder-volume.{host}",
                "cinder-volume.h@lvm.h",
            ),
        ),
        (
            {"exchange": "openstack", "topic": "cinder-volume", "fanout": True},
            (
                "cinder-volume_fanout:cinder-volume",
                "cinder-volume_fanout:cinder-volume",
                "cinder-volume",
            ),
        ),
        (
            {"topic": "cinder-volume.kluster@lvm", "fanout": True},
            (
                "cinder-volume.kluster@lvm_fanout:cinder-volume.kluster@lvm",
                "cinder-volume.{host}_fanout:cinder-volume.{host}",
                "cinder-volume.kluster@lvm",
            ),
        ),
        ({"topic": "t"}, ("openstack:t", "openstack:t", "t")),
    ],
    ids=["topic", "server", "fanout", "cluster's fanout", "default exchange"],
)
def test_destination_on_rabbitmq(target: dict[str, Any], said: tuple[str, str, str]) -> None:
    """On RabbitMQ the destination is exchange and routing key, its template without the host."""
    rabbit = oslo_messaging.get_rpc_transport(cfg.CONF, "rabbit://guest:guest@127.0.0.1:1/")
    attributes = destinations.destination(rabbit, oslo_messaging.Target(**target))
    assert attributes == {
        "messaging.system": "rabbitmq",
        "messaging.destination.name": said[0],
        "messaging.destination.template": said[1],
        "messaging.rabbitmq.destination.routing_key": said[2],
    }


def test_system_is_the_drivers() -> None:
    """`messaging.system` tells the real broker."""
    rabbit = oslo_messaging.get_rpc_transport(cfg.CONF, "rabbit://guest:guest@127.0.0.1:1/")
    fake = oslo_messaging.get_rpc_transport(cfg.CONF, "fake://")
    assert destinations.system(rabbit) == "rabbitmq"
    assert destinations.system(fake) == "fake"


@pytest.mark.parametrize(
    ("driver", "url", "said"),
    [
        ("PulsarDriver", "pulsar+ssl", "pulsar"),
        ("Recycled", "kombu", "rabbitmq"),
        ("Driver", None, "oslo.messaging"),
        (None, None, "oslo.messaging"),
    ],
    ids=["another's", "by its scheme", "no URL", "no driver"],
)
def test_system_of_an_odd_transport(driver: str | None, url: str | None, said: str) -> None:
    """A foreign driver's system is its URL's scheme, never `nonetype`."""
    instance = None
    if driver is not None:
        instance = type(driver, (), {})()
        instance._url = SimpleNamespace(transport=url)
    assert destinations.system(SimpleNamespace(_driver=instance)) == said
    assert destinations.system(None) == "oslo.messaging"


@pytest.mark.parametrize(
    "message",
    [{}, {"method": None}, {"method": 7}, {"method": "x" * 1000}, {"method": "a b"}],
    ids=lambda message: repr(message)[:24],
)
def test_a_message_without_a_method_is_called_by_its_topic(
    volume: Wire, spans: Recorder, message: dict[str, Any]
) -> None:
    """If a message has no valid method, spans have the topic alone."""
    with spans.tracer.start_as_current_span("request"):
        volume.transport._send(oslo_messaging.Target(topic="cinder-volume"), {}, message)
    settle(volume, spans, 3)
    for name in ("cast cinder-volume", "process cinder-volume"):
        assert "rpc.method" not in dict(spans[name].attributes or {})


# Robustness


@pytest.mark.complains
def test_own_error_does_not_hurt_the_message(
    volume: Wire, spans: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If our own code breaks on either side, the message is delivered and answered."""

    def broken(*_args: Any, **_kwargs: Any) -> Any:
        raise RuntimeError("no span today")

    monkeypatch.setattr(messages.runtime, "start_span", broken)
    with spans.tracer.start_as_current_span("request"):
        assert volume.client("cinder-volume").call({}, "create_volume") == "created"


def test_no_context_stays_on_the_servers_threads(volume: Wire, spans: Recorder) -> None:
    """The worker that handled a traced message handles the next, untraced one in a new trace."""
    with spans.tracer.start_as_current_span("request"):
        volume.client("cinder-volume").call({}, "create_volume")
    volume.client("cinder-volume").call({}, "create_volume")
    settle(volume, spans, 4)
    last = list(spans)[-1]
    assert last.parent is None
    assert last.context.trace_id != spans["request"].context.trace_id


def test_uninstrumented_transport_sends_as_before(volume: Wire, spans: Recorder) -> None:
    """After uninstrument() nothing is added to a message and no span is made."""
    otel_cinder.uninstrument()
    with spans.tracer.start_as_current_span("request"):
        volume.client("cinder-volume").call({}, "create_volume")
    context, _ = volume.next_handled()
    assert context == {}
    assert spans.names == ["request"]
