"""The broker of `otel-cinder demo --transport-url`: looked at before, tidied up after.

Cinder's queues have fixed names (`cinder-scheduler`), whatever its control_exchange is, so two
deployments in one virtual host would take each other's messages. The demo keeps out of a virtual
host in which Cinder's queues exist.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from otel_cinder.cli.demo.problem import Problem

_CONNECT_TIMEOUT_S = 5.0
_TOPICS = ("cinder-scheduler", "cinder-volume", "cinder-backup")


class Broker:
    """A RabbitMQ virtual host; raises Problem when it can't be reached or isn't free."""

    def __init__(self, transport_url: str, host: str, backend: str, exchange: str) -> None:
        # kombu comes with oslo.messaging; neither is needed without --transport-url.
        self._kombu = importlib.import_module("kombu")
        self._amqp = importlib.import_module("amqp.exceptions")
        self._errors: tuple[type[Exception], ...] = (
            OSError,
            self._amqp.AMQPError,
            importlib.import_module("kombu.exceptions").KombuError,
        )
        self._url = _amqp_url(transport_url)
        self._exchange = exchange
        volume_host = f"{host}@{backend}"
        self._served = {
            "cinder-scheduler": "cinder-scheduler",
            "cinder-volume": f"cinder-volume.{volume_host}",
        }
        self._queues = (
            *_TOPICS,
            f"cinder-scheduler.{host}",
            f"cinder-volume.{volume_host}",
            f"cinder-volume.{volume_host}.{host}",
        )
        for name in _TOPICS:
            if self._consumers(name) is not None:
                raise Problem(
                    f"the virtual host of --transport-url already has Cinder's queue {name}: give "
                    "the demo one of its own (rabbitmqctl add_vhost …)"
                )

    def is_served(self, service: str) -> bool:
        """Return whether ``service``, the scheduler or the volume service, listens."""
        return bool(self._consumers(self._served[service]))

    def tidy(self) -> None:
        """Delete what the demo's services declared; queues with an expiry go without that."""
        # The broker may have gone meanwhile; then there is nothing left to do.
        with contextlib.suppress(Problem, *self._errors), self._channel() as channel:
            for queue in self._queues:
                channel.queue_delete(queue)
            for topic in _TOPICS:
                channel.exchange_delete(f"{topic}_fanout")
            channel.exchange_delete(self._exchange)

    def _consumers(self, queue: str) -> int | None:
        """Return the number of the queue's consumers; None if there is no such queue."""
        not_found: type[Exception] = self._amqp.NotFound
        try:
            with self._channel() as channel:
                return int(channel.queue_declare(queue, passive=True).consumer_count)
        except not_found:
            return None
        except self._errors as error:
            raise Problem(f"the broker of --transport-url refuses: {_short(error)}") from None

    @contextlib.contextmanager
    def _channel(self) -> Iterator[Any]:
        connection = self._kombu.Connection(self._url, connect_timeout=_CONNECT_TIMEOUT_S)
        try:
            try:
                channel = connection.channel()
            except self._errors as error:
                raise Problem(
                    f"cannot reach the broker of --transport-url at {connection.host}: "
                    f"{_short(error)}"
                ) from None
            yield channel
        finally:
            with contextlib.suppress(*self._errors):
                connection.release()


def _amqp_url(transport_url: str) -> str:
    """oslo.messaging's URL as kombu's: hosts, each with its user, become alternatives."""
    # Not by oslo.messaging's own parser: that imports eventlet into the demo's process.
    scheme, _, rest = transport_url.partition("://")
    hosts, _, vhost = rest.partition("?")[0].partition("/")
    urls = [urlsplit(f"amqp://{host}") for host in hosts.split(",")]
    try:
        usable = scheme in ("rabbit", "kombu") and all(
            url.hostname and (url.port or 5672) for url in urls
        )
    except ValueError:
        usable = False
    if not usable:
        raise Problem("--transport-url must look like rabbit://USER:PASSWORD@HOST:5672/VHOST")
    return ";".join(
        f"amqp://{url.username or 'guest'}:{url.password or 'guest'}"
        f"@{url.hostname}:{url.port or 5672}/{quote(unquote(vhost) or '/', safe='')}"
        for url in urls
    )


def _short(error: Exception) -> str:
    # AMQP's own errors keep the broker's words apart from their codes.
    said = getattr(error, "reply_text", None) or getattr(error, "strerror", None) or str(error)
    return " ".join(str(said).split()).rstrip(".") or type(error).__name__
