"""Failures that Cinder has handled: error statuses, messages to the user, reschedules."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from otel_cinder import conventions, redaction
from otel_cinder.cinder.attributes import add
from otel_cinder.cinder.resources import KINDS, field

_MIGRATION_ERROR: Final = "migration_error"
"""A volume whose ``migration_status`` is ``error``: its migration failed, the volume may be fine."""


def error_status(values: Mapping[str, Any]) -> str:
    """The error status among the fields of a volume, say, that are about to be written; or "".

    `migration_error` where it is that of the volume's migration alone.
    """
    status = values.get("status")
    if isinstance(status, str) and (status == "error" or status.startswith("error_")):
        # To be deleted is what becomes of a volume that could not be managed: no new failure.
        return "" if status == "error_managing_deleting" else status
    migration = values.get("migration_status")  # a column, maybe, whose == gives an expression
    return _MIGRATION_ERROR if isinstance(migration, str) and migration == "error" else ""


def status_to_save(resource: Any) -> str | None:
    """The error status that ``resource.save()`` is about to write; "" if one that is no error.

    None, at next to no cost, if no status has changed: so it is in most cases.
    """
    # The set itself: obj_what_changed() copies it, and looks into every object below.
    changed = getattr(resource, "_changed_fields", None)
    if changed is None:
        changed = resource.obj_what_changed()
    if "status" not in changed and "migration_status" not in changed:
        return None
    names = [name for name in ("status", "migration_status") if name in changed]
    return error_status({name: getattr(resource, name) for name in names})


class Resource(NamedTuple):
    """A versioned object whose failure may have to be recorded."""

    kind: str
    """``cinder.resource.type``; empty for objects of no interest."""
    id: str
    account: str | None
    """The object's own reason, if it has one."""
    ids: frozenset[str]
    """Its own id, and the ids of the objects that it belongs to."""


_BELONGS_TO: Final = ("volume_id", "group_id", "group_snapshot_id")
"""Fields with the id of an object's owner."""


def failed_resource(resource: Any) -> Resource:
    """Return the fields of a versioned object that a failure's event needs."""
    kind = KINDS.get(resource.obj_name(), "")
    reason = None
    if kind == "backup" and "fail_reason" in resource.obj_what_changed():
        reason = resource.fail_reason
    around = (field(resource, name) for name in _BELONGS_TO)
    resource_id = str(resource.id)
    return Resource(
        kind, resource_id, reason or None, frozenset([resource_id, *filter(None, around)])
    )


def failed_service(service: Any) -> tuple[str, str]:
    """Host of a service, or name of a cluster, and the status of its replication."""
    host = field(service, "host") or field(service, "name")
    return redaction.identifier(host), str(field(service, "replication_status") or "unknown")


def replication_has_failed(service: Any) -> bool:
    """Return whether a service or cluster is about to be saved whose replication has just failed."""
    changed = getattr(service, "_changed_fields", ())
    return "replication_status" in changed and _replication_error(service)


def _replication_error(resource: Any) -> bool:
    return field(resource, "replication_status") in ("error", "failover-error")


def concerns(operation: str, resource: Any) -> bool | None:
    """Return whether an operation on a whole backend has failed by what it did to one of its resources.

    None for all other operations, which are about single resources. A failover gives up what is not
    replicated, as it is meant to: that fails nothing.
    """
    if operation.rpartition("/")[2] not in ("failover", "failover_host"):
        return None
    return _replication_error(resource)


def not_deleted(operation: str, status: object) -> str:
    """The status that a resource has again which a message was to delete: it is busy; else ""."""
    deletes = operation.rpartition("/")[2].startswith("delete_")
    return str(status) if deletes and status in ("available", "in-use") else ""


def is_settled(status: object) -> bool:
    """True for a status in which a resource stays, unlike ``downloading``."""
    return isinstance(status, str) and not status.endswith(("ing", "backing-up", "-backup"))


def user_message(arguments: Mapping[str, Any]) -> tuple[dict[str, str], bool]:
    """Return a user message's attributes, and True if it is about an error.

    Args:
        arguments: those of ``message.api.API.create``.
    """
    attributes: dict[str, str] = {}
    level = str(arguments.get("level", "ERROR"))
    add(attributes, conventions.MESSAGE_LEVEL, level)
    fields = sys.modules.get("cinder.message.message_field")
    action = arguments.get("action")
    if fields is not None:
        detail_id = fields.translate_detail_id(arguments.get("exception"), arguments.get("detail"))
        add(attributes, conventions.MESSAGE_DETAIL_ID, str(detail_id))
        text = redaction.text(fields.translate_detail(detail_id), 128)
        if text:
            attributes[conventions.MESSAGE_TEXT] = text
        if action:  # one of a list of Cinder's own
            named = redaction.masked(fields.translate_action(action[0]), 128)
            attributes[conventions.MESSAGE_ACTION] = named
    return attributes, level.upper() == "ERROR"


def attempt_made(filter_properties: Any) -> dict[str, Any]:
    """Return the number and host of the failed attempt, as the scheduler has noted them."""
    attributes: dict[str, Any] = {}
    retry = (filter_properties or {}).get("retry") or {}
    add(attributes, conventions.ATTEMPT, retry.get("num_attempts"))
    # The volume's own host has been emptied by now. "hosts" is the older name.
    backends = retry.get("backends") or retry.get("hosts") or [None]
    add(attributes, conventions.HOST, backends[-1])
    return attributes
