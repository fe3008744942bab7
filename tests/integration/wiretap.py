"""Reading what one Cinder service sends another, as the broker carries it."""

import json
import time
from typing import Any

import kombu

from tests.integration.broker import Broker

EXCHANGE = "openstack"  # oslo.messaging's default control_exchange, which Cinder keeps


class Wiretap:
    """A queue of our own beside the one that a topic's server reads."""

    def __init__(self, broker: Broker, vhost: str, topic: str) -> None:
        self._connection = broker.connection(vhost)
        channel = self._connection.default_channel
        self._queue = kombu.Queue(exclusive=True, channel=channel)
        self._queue.declare()
        channel.queue_bind(self._queue.name, EXCHANGE, topic)

    def read(self, count: int, timeout: float = 20) -> list[dict[str, Any]]:
        """Wait for so many creates; each is the context and arguments that were sent.

        The volume service's word about its capabilities takes the same way now and then.
        """
        messages: list[dict[str, Any]] = []
        deadline = time.monotonic() + timeout
        while len(messages) < count:
            raw = self._queue.get(no_ack=True)
            if raw is not None:
                message = json.loads(json.loads(raw.body)["oslo.message"])
                if message["method"] == "create_volume":
                    messages.append(message)
            elif time.monotonic() > deadline:
                raise TimeoutError(f"{len(messages)} of {count} messages came by")
            else:
                time.sleep(0.05)
        return messages

    def close(self) -> None:
        """Drop the queue with its connection."""
        self._connection.release()


def context_of(message: dict[str, Any]) -> dict[str, Any]:
    """Return the RPC context that a message carries."""
    prefix = "_context_"
    return {key.removeprefix(prefix): message[key] for key in message if key.startswith(prefix)}
