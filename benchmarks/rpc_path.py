"""A cast of create_volume over ``fake://`` and its dispatch, plain and with spans by hand.

Both run in one thread, one after the other: what a message costs is then that thread's CPU time,
and no poll of the fake driver's is in it.
"""

from __future__ import annotations

import time
from typing import Any

import oslo_messaging
from cinder.context import RequestContext
from cinder.rpc import RequestContextSerializer
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanKind, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from oslo_config import cfg

TOPIC = "cinder-scheduler"
METHOD = f"{TOPIC}/create_volume"
VOLUME_ID = "0b2c1c0e-8d3a-4a5c-9f50-6a3a5e0d7c11"

_W3C = TraceContextTextMapPropagator()

_MESSAGE = {
    "snapshot_id": None,
    "image_id": None,
    "backup_id": None,
    "request_spec": {
        "volume_id": VOLUME_ID,
        "volume_properties": {"size": 1, "status": "creating", "display_name": "benchmark"},
        "volume_type": {"id": "5a4c4f3e-2c52-4b0e-9d7c-0d3b0f0a0f55", "name": "__DEFAULT__"},
    },
    "filter_properties": {},
}


class _Scheduler:
    """An endpoint that does nothing."""

    target = oslo_messaging.Target(version="3.12")
    host = "node"

    def create_volume(self, context: Any, **arguments: Any) -> None:
        return None


class Path:
    """A client and a server on one fake transport, with Cinder's own serializer and context."""

    def __init__(self, serializer: RequestContextSerializer | None = None) -> None:
        serializer = serializer or RequestContextSerializer(None)
        # The global one: oslo.messaging registers some of its options there and nowhere else.
        cfg.CONF([], default_config_files=[])
        transport = oslo_messaging.get_rpc_transport(cfg.CONF, url="fake://")
        target = oslo_messaging.Target(topic=TOPIC, version="3.12")
        self._client = oslo_messaging.get_rpc_client(transport, target, serializer=serializer)
        listening = oslo_messaging.Target(topic=TOPIC, server="node", version="3.12")
        self._server = oslo_messaging.get_rpc_server(
            transport, listening, [_Scheduler()], executor="threading", serializer=serializer
        )
        self._listener = self._server._create_listener()._poll_style_listener
        self.context = RequestContext(
            user_id="a11ce000000000000000000000000001",
            project_id="c1de0000000000000000000000000001",
            is_admin=True,
            roles=["admin", "member", "reader"],
            auth_token="not-a-token",
        )

    def cast(self) -> None:
        """Put one message on the queue."""
        self._client.cast(self.context, "create_volume", **_MESSAGE)

    def take(self) -> list[Any]:
        """Take one message off the queue, untimed: this is the driver's own work."""
        taken: list[Any] = self._listener.poll(timeout=1)
        return taken

    def dispatch(self, incoming: list[Any]) -> None:
        """Handle a message as the server's worker does."""
        self._server._process_incoming(incoming)


class _Injecting(RequestContextSerializer):  # type: ignore[misc]
    def serialize_context(self, context: RequestContext) -> dict[str, Any]:
        carrier: dict[str, Any] = super().serialize_context(context)
        _W3C.inject(carrier)
        return carrier


class Floor(Path):
    """The same, whose caller opens the PRODUCER span and whose worker opens the CONSUMER span."""

    def __init__(self, tracer: Tracer) -> None:
        super().__init__(_Injecting(None))
        self._tracer = tracer

    def cast(self) -> None:
        with self._tracer.start_as_current_span(
            f"cast {METHOD}",
            kind=SpanKind.PRODUCER,
            attributes={
                "messaging.system": "fake",
                "messaging.destination.name": TOPIC,
                "messaging.destination.template": TOPIC,
                "messaging.operation.name": "cast",
                "messaging.operation.type": "send",
                "rpc.system.name": "oslo.messaging",
                "rpc.method": METHOD,
                "openstack.request_id": self.context.request_id,
                "openstack.project_id": self.context.project_id,
                "openstack.user_id": self.context.user_id,
                "cinder.volume.id": VOLUME_ID,
                "cinder.volume.source": "blank",
                "cinder.schedule.attempt": 1,
            },
        ):
            super().cast()

    def dispatch(self, incoming: list[Any]) -> None:
        (message,) = incoming
        carrier = message.ctxt
        context = _W3C.extract(carrier, Context())
        remote = trace.get_current_span(context).get_span_context()
        with self._tracer.start_as_current_span(
            f"process {METHOD}",
            context=context,
            kind=SpanKind.CONSUMER,
            links=[Link(remote)],
            attributes={
                "messaging.system": "fake",
                "messaging.destination.name": TOPIC,
                "messaging.destination.template": TOPIC,
                "messaging.operation.name": "process",
                "messaging.operation.type": "process",
                "rpc.system.name": "oslo.messaging",
                "rpc.method": METHOD,
                "openstack.request_id": carrier["request_id"],
                "openstack.project_id": carrier["project_id"],
                "openstack.user_id": carrier["user_id"],
                "cinder.volume.id": VOLUME_ID,
                "cinder.volume.source": "blank",
                "cinder.schedule.attempt": 1,
            },
        ) as span:
            # Stands in for the time since the cast, which a message by hand would have to carry.
            span.set_attribute("cinder.rpc.queue.duration", round(time.time() % 1, 6))
            super().dispatch(incoming)
