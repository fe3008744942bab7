"""Attributes of API requests, and of the messages that follow from them."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from typing import Any, Final

from otel_cinder import conventions, redaction
from otel_cinder.cinder.attributes import add

_PATTERN: Final = re.compile(r"\{(\w+):[^{}]*(?:\{[^{}]*\}[^{}]*)*\}")
"""A route's variable with a regular expression: ``{project_id:[0-9a-f\\-]+}``."""

_OLD_STYLE: Final = re.compile(r":\((\w+)\)|(?<=/):(\w+)")
"""Routes' other way to write a variable: ``/volumes/:(id)``, ``/volumes/:id``."""

_VERSION: Final = re.compile(r"/v\d{1,2}$")
"""The path at which Cinder mounts its API. A prefix before it is the deployment's choice, or comes
from a proxy's header, which any client may write."""

_SCHEDULER: Final = "cinder-scheduler"

_BODY_LIMIT: Final = 128 * 1024
"""Bytes of a request's body that are read for its attributes; Cinder's own limit is lower."""


def request_attributes(
    environ: Mapping[str, Any], *, whole: bool = True
) -> tuple[str | None, dict[str, Any]]:
    """Name and attributes of an API request, from the values of Cinder's middleware in ``environ``.

    The name is None where no route matched (404s, and what keystone refused before the router).

    Args:
        whole: whether all is wanted; else only what names the request, without an id in it.
    """
    attributes: dict[str, Any] = {}
    context = environ.get("cinder.context")
    for key, attribute in _CONTEXT.items():
        add(attributes, attribute, getattr(context, key, None))
    route = getattr(environ.get("routes.route"), "routepath", None)
    if not isinstance(route, str):
        return None, attributes
    version = _VERSION.search(str(environ.get("SCRIPT_NAME") or ""))
    template = (version[0] if version else "") + _template(route)
    attributes[conventions.HTTP_ROUTE] = template
    name = f"{redaction.http_method(environ)} {template}"
    try:
        routing = environ["wsgiorg.routing_args"][1]
        # Of one key, as Cinder wants it: a body that it refuses may have any number.
        body = _body(environ) if whole or routing.get("action") == "action" else {}
        action = _action(routing, body) if len(body) == 1 else None
        if whole:
            named = _id_in_path(template)
            if named is not None:
                attribute, nested = named
                add(attributes, attribute, routing.get(nested) or routing.get("id"))
            for parameters in body.values() if len(body) == 1 else ():
                if isinstance(parameters, dict):
                    _add_parameters(attributes, parameters, creates=template.endswith("/volumes"))
    except (AttributeError, KeyError, IndexError, TypeError):
        action = None
    if action:
        attributes[conventions.ACTION] = action
        name = f"{name} {action}"
    return name, attributes


@functools.lru_cache(maxsize=1024)
def _template(route: str) -> str:
    """One of Cinder's routes, of which there are some hundreds, without what a variable matches."""
    template = _OLD_STYLE.sub(
        lambda match: f"{{{match[1] or match[2]}}}", _PATTERN.sub(r"{\1}", route)
    )
    # The format suffix that Routes appends to each resource: /volumes.{format}
    return "/" + template.lstrip("/").removesuffix(".{format}").removesuffix("{.format}")


def message_attributes(
    topic: str, context: Mapping[str, Any], message: Mapping[str, Any]
) -> dict[str, Any]:
    """The user and the resources, from a message's serialized request context and arguments."""
    attributes = context_attributes(context)
    args = message.get("args")
    if isinstance(args, dict):
        _add_subject(attributes, args)
        if message.get("method") == "create_volume" and conventions.VOLUME_ID in attributes:
            _add_source(attributes, args)
            _add_attempt(attributes, topic, args)
    return attributes


def is_rescheduled(topic: str, attributes: Mapping[str, Any]) -> bool:
    """True for a message, by its attributes, that asks the scheduler for another attempt."""
    return topic == _SCHEDULER and attributes.get(conventions.ATTEMPT, 1) > 1


def context_attributes(context: Mapping[str, Any]) -> dict[str, Any]:
    """The request, project and user, from a serialized request context."""
    attributes: dict[str, Any] = {}
    for key, attribute in _CONTEXT.items():
        add(attributes, attribute, context.get(key))
    return attributes


def result_attributes(result: Any) -> dict[str, Any]:
    """Return the volume's id from a task's result: `EntryCreateTask` gives it."""
    attributes: dict[str, Any] = {}
    if isinstance(result, dict) and "volume_id" in result:
        add(attributes, conventions.VOLUME_ID, result["volume_id"])
    return attributes


def attachment_attributes(attachment: Any) -> dict[str, Any]:
    """Return the attributes of a new attachment."""
    attributes: dict[str, Any] = {}
    add(attributes, conventions.ATTACHMENT_ID, getattr(attachment, "id", None))
    return attributes


_CONTEXT: Final = {
    "request_id": conventions.REQUEST_ID,
    "global_request_id": conventions.GLOBAL_REQUEST_ID,
    "project_id": conventions.PROJECT_ID,
    "user_id": conventions.USER_ID,
}
"""Attribute of Cinder's request context, and key of its dictionary, -> ours."""

_IN_PATH: Final = {
    "volumes": conventions.VOLUME_ID,
    "snapshots": conventions.SNAPSHOT_ID,
    "backups": conventions.BACKUP_ID,
    "attachments": conventions.ATTACHMENT_ID,
    "groups": conventions.GROUP_ID,
    "group_snapshots": conventions.GROUP_SNAPSHOT_ID,
}
"""Collection in a route -> the attribute of the ``id`` behind it."""

_SUBJECTS: Final = (
    ("snapshot", "volume_id", conventions.VOLUME_ID),
    ("backup", "volume_id", conventions.VOLUME_ID),
    ("request_spec", "volume_id", conventions.VOLUME_ID),
    ("volume_id", "", conventions.VOLUME_ID),
    ("volume", "id", conventions.VOLUME_ID),
    ("vref", "id", conventions.VOLUME_ID),
    ("snapshot_id", "", conventions.SNAPSHOT_ID),
    ("snapshot", "id", conventions.SNAPSHOT_ID),
    ("backup_id", "", conventions.BACKUP_ID),
    ("backup", "id", conventions.BACKUP_ID),
    ("attachment_id", "", conventions.ATTACHMENT_ID),
    ("attachment", "id", conventions.ATTACHMENT_ID),
    ("group_id", "", conventions.GROUP_ID),
    ("group", "id", conventions.GROUP_ID),
    ("group_snapshot", "group_id", conventions.GROUP_ID),
    ("group_snapshot_id", "", conventions.GROUP_SNAPSHOT_ID),
    ("group_snapshot", "id", conventions.GROUP_SNAPSHOT_ID),
    ("image_meta", "id", conventions.IMAGE_ID),
    ("new_size", "", conventions.VOLUME_NEW_SIZE),
)
"""RPC argument, its field (empty: the argument itself), and what that is. The last one counts."""

_SOURCES: Final = (
    ("snapshot", "snapshot_id"),
    ("volume", "source_volid"),
    ("image", "image_id"),
    ("image", "imageRef"),
    ("backup", "backup_id"),
)
"""Source of a volume, and the key that has its id."""


def _body(environ: Mapping[str, Any]) -> dict[str, Any]:
    """The request's JSON. webob has read it by now and left it seekable; empty if not."""
    if not environ.get("webob.is_body_seekable"):
        return {}
    try:
        body = environ["wsgi.input"]
        position = body.tell()
        try:
            body.seek(0)
            read = body.read(_BODY_LIMIT)
        finally:
            body.seek(position)
        document = json.loads(read) if read else {}
    except (AttributeError, KeyError, ValueError, OSError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


@functools.lru_cache(maxsize=1024)
def _id_in_path(template: str) -> tuple[str, str] | None:
    """The attribute of the first id in a path, and its name in a route of what is nested below."""
    above = next((part for part in template.split("/") if part in _IN_PATH), "")
    return (_IN_PATH[above], f"{above.removesuffix('s')}_id") if above else None


def _add_parameters(
    attributes: dict[str, Any], parameters: Mapping[str, Any], *, creates: bool
) -> None:
    """Add the attributes from a request's body, below its only key."""
    if creates:
        _add_size(attributes, parameters.get("size"))
        add(attributes, conventions.VOLUME_TYPE, parameters.get("volume_type"))
        add(attributes, conventions.AVAILABILITY_ZONE, parameters.get("availability_zone"))
        name = parameters.get("name", parameters.get("display_name"))
        if isinstance(name, str):
            attributes[conventions.VOLUME_NAME_LENGTH] = len(name)
        _add_source(attributes, parameters)
    else:
        add(
            attributes,
            conventions.VOLUME_ID,
            parameters.get("volume_id", parameters.get("volume_uuid")),
        )
        add(attributes, conventions.SNAPSHOT_ID, parameters.get("snapshot_id"))
        add(attributes, conventions.GROUP_ID, parameters.get("group_id"))
        add(attributes, conventions.VOLUME_NEW_SIZE, _whole(parameters.get("new_size")))
        add(attributes, conventions.VOLUME_TYPE, parameters.get("new_type"))


def _add_size(attributes: dict[str, Any], size: Any) -> None:
    """A size in GiB; Cinder's 0 means that it does not know it yet."""
    add(attributes, conventions.VOLUME_SIZE, _whole(size) or None)


def _whole(value: Any) -> Any:
    """A number that a client may have sent as text."""
    if isinstance(value, str):
        return int(value) if value.isdecimal() and len(value) < 10 else None
    return value


def _add_subject(attributes: dict[str, Any], args: Mapping[str, Any]) -> None:
    """Add the resources that an RPC is about, from its arguments."""
    for argument, field, attribute in _SUBJECTS:
        found = args.get(argument)
        if found is not None:  # a message has few of these arguments
            add(attributes, attribute, _fields(found).get(field) if field else found)
    volume = _fields(args.get("volume")) or _fields(args.get("vref"))
    volume = volume or _fields(_fields(args.get("backup")).get("volume"))
    volume = volume or _fields(_fields(args.get("snapshot")).get("volume"))
    if volume:
        _add_volume(attributes, volume)


def _add_volume(attributes: dict[str, Any], volume: Mapping[str, Any]) -> None:
    _add_size(attributes, volume.get("size"))
    add(attributes, conventions.VOLUME_TYPE, volume.get("volume_type_id"))
    kind = _fields(volume.get("volume_type"))
    add(attributes, conventions.VOLUME_TYPE, kind.get("name"))
    add(attributes, conventions.AVAILABILITY_ZONE, volume.get("availability_zone"))
    add(attributes, conventions.HOST, volume.get("host"))
    add(attributes, conventions.GROUP_ID, volume.get("group_id"))
    name = volume.get("display_name")
    if isinstance(name, str):
        attributes[conventions.VOLUME_NAME_LENGTH] = len(name)


def _add_source(attributes: dict[str, Any], asked: Mapping[str, Any]) -> None:
    parts = (asked, _fields(asked.get("request_spec")), _fields(asked.get("volume")))
    places = [part for part in parts if part]
    for source, key in _SOURCES:
        for place in places:
            source_id = place.get(key)
            if isinstance(source_id, str) and source_id:
                attributes[conventions.SOURCE] = source
                add(attributes, conventions.SOURCE_ID, source_id)
                # The same argument that names what the volume is made from: not its subject.
                if key == "snapshot_id":
                    attributes.pop(conventions.SNAPSHOT_ID, None)
                elif key == "backup_id":
                    attributes.pop(conventions.BACKUP_ID, None)
                return
    attributes[conventions.SOURCE] = "blank"


def _add_attempt(attributes: dict[str, Any], topic: str, args: Mapping[str, Any]) -> None:
    """Cinder counts when it schedules, so a message to the scheduler is one attempt behind."""
    retry = _fields(_fields(args.get("filter_properties")).get("retry"))
    made = retry.get("num_attempts")
    if isinstance(made, int):
        attributes[conventions.ATTEMPT] = made + (topic == _SCHEDULER)
    else:
        attributes[conventions.ATTEMPT] = 1


def _fields(value: Any) -> Mapping[str, Any]:
    """The fields of a serialized versioned object, or of a dictionary; empty for all else."""
    if not isinstance(value, dict):
        return {}
    data = value.get("versioned_object.data", value)
    return data if isinstance(data, dict) else {}


def _action(routing: Mapping[str, Any], body: Mapping[str, Any]) -> str | None:
    """The action of a ``POST …/action`` request: its body's only key, if the controller has it.

    A name that the controller does not know is the caller's invention and stays out of the span's
    name.
    """
    known = getattr(routing.get("controller"), "wsgi_actions", None)
    if routing.get("action") != "action" or len(body) != 1 or known is None:
        return None
    (name,) = body
    return name if name in known else None
