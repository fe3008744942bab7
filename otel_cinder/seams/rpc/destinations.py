"""Where a message goes, in the words of the messaging conventions."""

from __future__ import annotations

from typing import Any, Final

from otel_cinder.core import conventions

_SYSTEMS: Final = {"rabbit": "rabbitmq", "fake": "fake", "kafka": "kafka", "proton": "amqp"}
"""Start of the driver's class name -> ``messaging.system``."""


def destination(transport: Any, target: Any) -> dict[str, str]:
    """Where a message goes, as oslo.messaging's RabbitMQ driver routes it.

    By exchange and topic, topic.server for one server, and an exchange of its own for a fan-out.
    """
    key = str(target.topic)
    if target.server and not target.fanout:
        key = f"{key}.{target.server}"
    return _place(transport, target, key, fanout=bool(target.fanout), sends=True)


def source(transport: Any, target: Any, *, fanout: bool) -> dict[str, str]:
    """Where a message came from. Its server listens on the topic and on its own part of it, and
    does not know by which a message came: the topic it is.
    """
    if target is None:
        return {}
    return _place(transport, target, str(target.topic), fanout=fanout, sends=False)


def _place(transport: Any, target: Any, key: str, *, fanout: bool, sends: bool) -> dict[str, str]:
    broker = system(transport)
    base = topic_name(key)
    # A host in it is the deployment's: the template leaves it out.
    template = base if key == base else f"{base}.{{host}}"
    attributes = {conventions.MESSAGING_SYSTEM: broker}
    if broker == "rabbitmq":
        driver = getattr(transport, "_driver", None)
        exchange = target.exchange or getattr(driver, "_default_exchange", "") or ""
        if fanout:
            exchange = f"{target.topic}_fanout"
        if sends:
            attributes[conventions.MESSAGING_ROUTING_KEY] = key
        key, template = (f"{exchange}:{name}" if exchange else name for name in (key, template))
    attributes[conventions.MESSAGING_DESTINATION] = key
    attributes[conventions.MESSAGING_TEMPLATE] = template
    return attributes


def topic_name(topic: Any) -> str:
    """``cinder-volume.host@lvm`` -> ``cinder-volume``: names carry no hosts."""
    return str(topic or "rpc").partition(".")[0]


def system(transport: Any) -> str:
    """The broker behind a transport, by its driver."""
    name = type(getattr(transport, "_driver", None)).__name__.lower()
    return next((said for start, said in _SYSTEMS.items() if name.startswith(start)), name)
