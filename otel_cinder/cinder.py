"""What is known of Cinder itself: its objects, names and periodic messages. Nothing else knows it.

Imports nothing of Cinder and takes whatever it finds: attributes that a release lacks are left out.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from importlib import metadata
from typing import Any, Final

from otel_cinder.core import conventions, redaction
from otel_cinder.core.runtime import Service, process_name, worker_instance

API: Final = "cinder-api"

SERVICES: Final = frozenset({API, "cinder-scheduler", "cinder-volume", "cinder-backup"})
"""Binaries, which are also the topics that their RPC servers listen on."""

_CHATTER: Final = frozenset(
    {
        "notify_service_capabilities",
        "publish_service_capabilities",
        "report_state",
        "request_service_capabilities",
        "update_host_capabilities",
        "update_service_capabilities",
    }
)
"""RPC methods that the services send each other all day without being asked."""

_PATTERN: Final = re.compile(r"\{(\w+):[^{}]*(?:\{[^{}]*\}[^{}]*)*\}")
"""A route's variable with a regular expression: ``{project_id:[0-9a-f\\-]+}``."""

_OLD_STYLE: Final = re.compile(r":\((\w+)\)|(?<=/):(\w+)")
"""Routes' other way to write a variable: ``/volumes/:(id)``, ``/volumes/:id``."""

_ACTION_LIMIT: Final = 128 * 1024
"""Bytes of an ``/action`` body that are read to find the action's name; Cinder's own limit is less."""


def resource_attributes(service: Service | None) -> Mapping[str, str]:
    """``service.*`` of a service at work, or of this process where nothing says which is."""
    name, instance = service or (process_name(), "")
    attributes = {
        conventions.SERVICE_NAME: name,
        conventions.SERVICE_NAMESPACE: "cinder",
        conventions.SERVICE_INSTANCE: instance or worker_instance(),
    }
    with contextlib.suppress(metadata.PackageNotFoundError):  # a source tree on the path
        attributes[conventions.SERVICE_VERSION] = metadata.version("cinder")
    return attributes


def service_of(topic: str, endpoints: list[Any]) -> Service | None:
    """The service whose RPC server listens on ``topic``; None if it is not one of Cinder's.

    The instance is the manager's host (``host@backend`` for a volume service), which is stable
    over restarts and differs between the backends of one host.
    """
    name = topic.partition(".")[0]
    if name not in SERVICES:
        return None
    host = next((h for h in (getattr(e, "host", None) for e in endpoints) if h), "")
    return Service(name, str(host))


def is_chatter(method: str) -> bool:
    """Whether an RPC method is sent periodically, by nobody's request."""
    return method in _CHATTER


def request_name(environ: Mapping[str, Any]) -> tuple[str | None, dict[str, str]]:
    """Name and attributes of an API request, from what Cinder's middleware left in ``environ``.

    The name is None where no route matched (404s, and what keystone refused before the router).
    """
    attributes: dict[str, str] = {}
    _add_context(attributes, environ.get("cinder.context"))
    route = getattr(environ.get("routes.route"), "routepath", None)
    if not isinstance(route, str):
        return None, attributes
    prefix = environ.get("SCRIPT_NAME") or ""
    template = _OLD_STYLE.sub(
        lambda found: f"{{{found[1] or found[2]}}}", _PATTERN.sub(r"{\1}", route)
    )
    template = prefix + "/" + template.lstrip("/")
    # The format suffix that Routes appends to each resource: /volumes.{format}
    template = template.removesuffix(".{format}").removesuffix("{.format}")
    attributes[conventions.HTTP_ROUTE] = template
    name = f"{redaction.http_method(environ)} {template}"
    action = _action(environ)
    if action:
        attributes[conventions.ACTION] = action
        name = f"{name} {action}"
    return name, attributes


def message_attributes(context: Mapping[str, Any]) -> dict[str, str]:
    """Who asked, from an RPC message's serialized request context."""
    attributes: dict[str, str] = {}
    for key, attribute in _CONTEXT.items():
        value = context.get(key)
        if isinstance(value, str) and value:
            attributes[attribute] = redaction.text(value, 128)
    return attributes


_CONTEXT: Final = {
    "request_id": conventions.REQUEST_ID,
    "global_request_id": conventions.GLOBAL_REQUEST_ID,
    "project_id": conventions.PROJECT_ID,
    "user_id": conventions.USER_ID,
}
"""Attribute of Cinder's request context, and key of its dictionary, -> ours."""


def _add_context(attributes: dict[str, str], context: Any) -> None:
    for key, attribute in _CONTEXT.items():
        value = getattr(context, key, None)
        if isinstance(value, str) and value:
            attributes[attribute] = redaction.text(value, 128)


def _action(environ: Mapping[str, Any]) -> str | None:
    """The action of a ``POST …/action`` request: its body's only key, if the controller has it.

    webob has read the body by now and left it seekable. A name that the controller does not know
    is the caller's invention and stays out of the span's name.
    """
    try:
        routing = environ["wsgiorg.routing_args"][1]
        if routing.get("action") != "action" or not environ.get("webob.is_body_seekable"):
            return None
        known = getattr(routing.get("controller"), "wsgi_actions", None)
        body = environ["wsgi.input"]
        position = body.tell()
        try:
            body.seek(0)
            found = json.loads(body.read(_ACTION_LIMIT))
        finally:
            body.seek(position)
        (name,) = found
    except (AttributeError, KeyError, IndexError, TypeError, ValueError, OSError, RecursionError):
        return None
    return name if isinstance(name, str) and known is not None and name in known else None
