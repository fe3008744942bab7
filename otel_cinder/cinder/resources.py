"""Attributes of volumes, snapshots and backups, from Cinder's versioned objects."""

from __future__ import annotations

from typing import Any, Final

from otel_cinder import conventions
from otel_cinder.cinder.attributes import add

KINDS: Final = {
    "Volume": "volume",
    "Snapshot": "snapshot",
    "Backup": "backup",
    "Group": "group",
    "GroupSnapshot": "group_snapshot",
    "VolumeMigration": "volume",  # what the migration of keys knows of one
}
"""Class of a resource -> ``cinder.resource.type``."""

_IDS: Final = {
    "volume": conventions.VOLUME_ID,
    "snapshot": conventions.SNAPSHOT_ID,
    "backup": conventions.BACKUP_ID,
}

_FIELDS: Final = {
    "project_id": conventions.PROJECT_ID,
    "user_id": conventions.USER_ID,
    "volume_id": conventions.VOLUME_ID,
    "group_id": conventions.GROUP_ID,
    "snapshot_id": conventions.SNAPSHOT_ID,
    "availability_zone": conventions.AVAILABILITY_ZONE,
    "host": conventions.HOST,
}

_OF_BACKUPS: Final = ("creating", "restoring", "deleting")
"""Statuses of a backup at which Cinder does something about it; others it only looks at."""


def field(resource: Any, name: str) -> Any:
    """A field of a versioned object, if it is there: it is not looked for in the database."""
    return vars(resource).get(f"_obj_{name}", vars(resource).get(name))


def kind_of(resource: Any) -> str:
    """``cinder.resource.type``."""
    return KINDS.get(type(resource).__name__, "resource")


def attributes_of(resource: Any, context: Any) -> dict[str, Any]:
    """Return a span's attributes for a resource, and for the request context of the work on it."""
    attributes: dict[str, Any] = {}
    kind = kind_of(resource)
    add(attributes, conventions.REQUEST_ID, getattr(context, "request_id", None))
    for name, attribute in _FIELDS.items():
        add(attributes, attribute, field(resource, name))
    if kind == "volume":
        # What it was made from, and is not about.
        attributes.pop(conventions.SNAPSHOT_ID, None)
        add(attributes, conventions.VOLUME_SIZE, field(resource, "size"))
        add(attributes, conventions.VOLUME_TYPE, field(resource, "volume_type_id"))
    else:
        # A backup's are those of its service.
        attributes.pop(conventions.HOST, None)
        attributes.pop(conventions.AVAILABILITY_ZONE, None)
    if field(resource, "status") == "restoring":
        add(attributes, conventions.VOLUME_ID, field(resource, "restore_volume_id"))
    if kind in _IDS:
        add(attributes, _IDS[kind], str(resource.id))
    return attributes


def interrupted(resource: Any) -> str:
    """The status in which a resource was left that is to be cleaned up, or ""."""
    status = str(field(resource, "status") or "")
    return "" if kind_of(resource) == "backup" and status not in _OF_BACKUPS else status


def is_resumed(status: str) -> bool:
    """True if Cinder resumes the work of that status; False if it gives the work up."""
    return status == "deleting"


def has_leftovers(backup: Any) -> bool:
    """Return whether a failed backup has left temporary volumes or snapshots."""
    return field(backup, "status") == "error" and bool(
        field(backup, "temp_volume_id") or field(backup, "temp_snapshot_id")
    )
