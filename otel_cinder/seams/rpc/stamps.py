"""When a message was sent: written anew at the moment in which the driver really publishes it.

A message is stamped where it is handed to oslo.messaging. Its driver may then wait for a connection,
and try for hours while the broker is away: the message is nowhere meanwhile, and in no queue. That
time is the cast's own, whose span has it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from opentelemetry import trace

from otel_cinder.patching.internal_errors import log_internal_error
from otel_cinder.patching.patch_set import PatchSet
from otel_cinder.spans import carrier

_ENVELOPE: Final = "oslo.message"
"""The attribute in which the RabbitMQ driver has the message, context and all, as a text ..."""

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
            args, kwargs = _renewed(args, kwargs, "msg", (_ENVELOPE, _PLAIN))
        except Exception as error:
            log_internal_error(seam, error)
        return wrapped(*args, **kwargs)

    def deliver(
        wrapped: Callable[..., Any], _driver: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        try:
            args, kwargs = _renewed(args, kwargs, "ctxt", (carrier.TRACESTATE,))
        except Exception as error:
            log_internal_error(seam, error)
        return wrapped(*args, **kwargs)

    patches.wrap(seam, "oslo_messaging._drivers.impl_rabbit:Connection._publish", publish)
    patches.wrap(seam, "oslo_messaging._drivers.impl_fake:FakeDriver._send", deliver)


def _renewed(
    args: tuple[Any, ...], kwargs: dict[str, Any], name: str, keys: tuple[str, ...]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments, in which a copy of the second one, a dictionary, has a new stamp if it must."""
    found = args[1] if len(args) > 1 else kwargs.get(name)
    if not isinstance(found, dict):
        return args, kwargs
    for key in keys:
        text = found.get(key)
        if isinstance(text, str) and carrier.is_stale(text):
            sender = trace.get_current_span().get_span_context()
            new = {**found, key: carrier.renew(text, sender)}
            if len(args) > 1:
                return (args[0], new, *args[2:]), kwargs
            return args, {**kwargs, name: new}
    return args, kwargs
