"""When a message was sent: written anew at the moment in which the driver really publishes it.

A message is stamped where it is handed to oslo.messaging. Its driver may then wait for a connection,
and try for hours while the broker is away: the message is nowhere meanwhile, and in no queue. That
time is the cast's own, whose span has it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from opentelemetry import trace

from otel_cinder.core import carrier
from otel_cinder.core.patching import PatchSet, complain

_ENVELOPE: Final = "oslo.message"
"""Where the RabbitMQ driver has the message, context and all, as a text ..."""

_PLAIN: Final = f"_context_{carrier.TRACESTATE}"
"""... and where it has our key in a notification without an envelope."""


def patch(patches: PatchSet, seam: str) -> None:
    """Patch the drivers, once they are imported: RabbitMQ's publish and the fake driver's delivery.

    Both run in the context of the sender, whose span names the stamp.
    """

    def publish(
        wrapped: Callable[..., Any], _connection: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        try:
            args, kwargs = _replaced(args, kwargs, 1, "msg", _renewed_message)
        except Exception as error:
            complain(seam, error)
        return wrapped(*args, **kwargs)

    def deliver(
        wrapped: Callable[..., Any], _driver: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        try:
            args, kwargs = _replaced(args, kwargs, 1, "ctxt", _renewed_context)
        except Exception as error:
            complain(seam, error)
        return wrapped(*args, **kwargs)

    patches.wrap(seam, "oslo_messaging._drivers.impl_rabbit:Connection._publish", publish)
    patches.wrap(seam, "oslo_messaging._drivers.impl_fake:FakeDriver._send", deliver)


def _replaced(
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    index: int,
    name: str,
    renewed: Callable[[dict[str, Any]], dict[str, Any]],
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    found = args[index] if len(args) > index else kwargs.get(name)
    if not isinstance(found, dict):
        return args, kwargs
    new = renewed(found)
    if new is found:
        return args, kwargs
    if len(args) > index:
        return (*args[:index], new, *args[index + 1 :]), kwargs
    return args, {**kwargs, name: new}


def _renewed_message(message: dict[str, Any]) -> dict[str, Any]:
    return _renewed(message, _ENVELOPE if _ENVELOPE in message else _PLAIN)


def _renewed_context(context: dict[str, Any]) -> dict[str, Any]:
    return _renewed(context, carrier.TRACESTATE)


def _renewed(found: dict[str, Any], key: str) -> dict[str, Any]:
    """A copy with a new stamp; itself where there is nothing to renew."""
    text = found.get(key)
    sender = trace.get_current_span().get_span_context()
    if not (sender.is_valid and isinstance(text, str)):
        return found
    new = carrier.renew(text, sender)
    return found if new is text else {**found, key: new}
