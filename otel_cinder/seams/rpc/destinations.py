"""The destinations of messages, as attributes of the messaging conventions."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Final

from otel_cinder import conventions

_SYSTEMS: Final = {
    "rabbit": "rabbitmq",
    "kombu": "rabbitmq",
    "fake": "fake",
    "kafka": "kafka",
    "amqp": "amqp",
    "proton": "amqp",
}
"""Start of the driver's class name, or of its URL's scheme -> ``messaging.system``."""

_ANY_SYSTEM: Final = "oslo.messaging"
"""``messaging.system`` where the broker is not known; the conventions require one."""

_NAME_LIMIT: Final = 128
"""Characters of a method's name, which comes from the message and may be anything."""


def destination(transport: Any, target: Any) -> Mapping[str, str]:
    """Return where a message goes, as oslo.messaging's RabbitMQ driver routes it.

    By exchange and topic, topic.server for one server, and an exchange of its own for a fan-out.
    """
    topic, fanout = str(target.topic), bool(target.fanout)
    key = f"{topic}.{target.server}" if target.server and not fanout else topic
    exchange = target.exchange or _default_exchange(transport)
    return _place(system(transport), str(exchange), topic, key, fanout, True)


def source(transport: Any, target: Any, *, fanout: bool) -> Mapping[str, str]:
    """Return where a message came from. Its server listens on the topic and on its own part of it, and
    does not know by which a message came: the topic it is.
    """
    if target is None:
        return {}
    topic, exchange = str(target.topic), target.exchange or _default_exchange(transport)
    return _place(system(transport), str(exchange), topic, topic, fanout, False)


def published(transport: Any, exchange: Any, topic: str, *, sends: bool) -> Mapping[str, str]:
    """Return where a notification goes, or came from: topic and priority are its routing key."""
    broker = system(transport)
    attributes = {conventions.MESSAGING_SYSTEM: broker}
    if broker == "rabbitmq":
        if sends:
            attributes[conventions.MESSAGING_ROUTING_KEY] = topic
        exchange = exchange or _default_exchange(transport)
        topic = f"{exchange}:{topic}" if exchange else topic
    attributes[conventions.MESSAGING_DESTINATION] = topic
    attributes[conventions.MESSAGING_TEMPLATE] = topic
    return attributes


@functools.lru_cache(maxsize=1024)
def _place(
    broker: str, exchange: str, topic: str, key: str, fanout: bool, sends: bool
) -> Mapping[str, str]:
    """Cached: there are a few hundred places. Callers do not change the result."""
    template = _without_host(key)
    attributes = {conventions.MESSAGING_SYSTEM: broker}
    if broker == "rabbitmq":
        of = exchange
        if fanout:
            exchange, of = f"{topic}_fanout", f"{_without_host(topic)}_fanout"
        if sends:
            attributes[conventions.MESSAGING_ROUTING_KEY] = key
        if exchange:
            key, template = f"{exchange}:{key}", f"{of}:{template}"
    attributes[conventions.MESSAGING_DESTINATION] = key
    attributes[conventions.MESSAGING_TEMPLATE] = template
    return attributes


def _default_exchange(transport: Any) -> str:
    return getattr(getattr(transport, "_driver", None), "_default_exchange", "") or ""


def _without_host(key: str) -> str:
    """A host or a cluster in a topic is the deployment's: a template leaves it out."""
    base = topic_name(key)
    return base if key == base else f"{base}.{{host}}"


def topic_name(topic: Any) -> str:
    """``cinder-volume.host@lvm`` -> ``cinder-volume``: names carry no hosts."""
    return str(topic or "rpc").partition(".")[0]


def called(topic: str, message: Any) -> str:
    """``cinder-volume/create_volume``; the topic alone where the message names no method."""
    method = message.get("method") if isinstance(message, dict) else None
    if isinstance(method, str) and len(method) <= _NAME_LIMIT and method.isidentifier():
        return f"{topic}/{method}"
    return topic


def system(transport: Any) -> str:
    """The broker behind a transport: by its driver's class, or by the scheme of its URL."""
    driver = getattr(transport, "_driver", None)
    scheme = getattr(getattr(driver, "_url", None), "transport", None)
    return _broker(type(driver).__name__, scheme if isinstance(scheme, str) else "")


@functools.lru_cache(maxsize=64)
def _broker(driver: str, scheme: str) -> str:
    scheme = scheme.partition("+")[0]
    for name in (driver.lower(), scheme):
        for start, broker in _SYSTEMS.items():
            if name.startswith(start):
                return broker
    return scheme or _ANY_SYSTEM
