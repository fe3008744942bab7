"""For the Cinder that is not traced but has, for its frames, the room that tracing would give it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from otel_cinder.patching.patch_set import PatchSet
from otel_cinder.patching.stack_room import call_with_room


def _load_app(
    wrapped: Callable[..., Any], _instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    application = wrapped(*args, **kwargs)
    return lambda environ, start_response: call_with_room(application, environ, start_response)


def _process_incoming(
    wrapped: Callable[..., Any], _instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    return call_with_room(wrapped, *args, **kwargs)


patches = PatchSet()
patches.wrap("http", "oslo_service.wsgi:Loader.load_app", _load_app)
patches.wrap("rpc", "oslo_messaging.rpc.server:RPCServer._process_incoming", _process_incoming)
