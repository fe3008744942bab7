"""Every operation of Cinder's API that the tests run, and how each is waited for."""

import time
import uuid
from typing import Any

import requests

from tests.integration.configuration import HOST
from tests.integration.stack import CinderStack

# What nova would say of the host that a volume is to be attached to.
CONNECTOR = {"host": "compute", "ip": "192.0.2.1", "initiator": "iqn.2026-01.org:compute"}


class Operations:
    """Ask a Cinder for operations; each method returns what the API said at once.

    `answers` has every answer so far, so that a test finds the traces of its own requests.
    """

    def __init__(self, stack: CinderStack) -> None:
        self.stack = stack
        self.answers: list[requests.Response] = []

    def ask(self, method: str, path: str, body: object = None, expect: int = 202) -> Any:
        """Ask for something, check the status and return the answer's body."""
        answer = self.stack.request(method, path, body)
        self.answers.append(answer)
        assert answer.status_code == expect, f"{method} {path}: {answer.text}"
        return answer.json() if answer.content else None

    def act(self, kind: str, ident: str, action: str, value: object = None) -> Any:
        """POST an action of a resource."""
        return self.ask("POST", f"{kind}/{ident}/action", {action: value})

    # Volumes

    def create(self, size: int = 1, expect: int = 202, **more: object) -> str:
        """POST a volume; return its id, empty where it was refused."""
        body = {"volume": {"name": "tested", "size": size, **more}}
        answer = self.ask("POST", "volumes", body, expect)
        return str(answer["volume"]["id"]) if expect == 202 else ""

    def volume(self, size: int = 1, **more: object) -> str:
        """Make a volume that is available; return its id."""
        volume_id = self.create(size, **more)
        self.wait("volumes", volume_id, "available")
        return volume_id

    def delete(self, kind: str, ident: str) -> None:
        """DELETE a volume, snapshot or backup."""
        self.ask("DELETE", f"{kind}/{ident}")

    def snapshot(self, volume_id: str) -> str:
        """Make a snapshot that is available; return its id."""
        body = {"snapshot": {"volume_id": volume_id, "name": "tested"}}
        snapshot_id = str(self.ask("POST", "snapshots", body)["snapshot"]["id"])
        self.wait("snapshots", snapshot_id, "available")
        return snapshot_id

    def extend(self, volume_id: str, size: int) -> None:
        """Make a volume longer; the size is in GiB."""
        self.act("volumes", volume_id, "os-extend", {"new_size": size})

    def retype(self, volume_id: str, to: str, policy: str) -> None:
        """Give a volume another type."""
        wanted = {"new_type": to, "migration_policy": policy}
        self.act("volumes", volume_id, "os-retype", wanted)

    def migrate(self, volume_id: str, backend: str) -> None:
        """Move a volume to another backend, by copying."""
        wanted = {"host": place(backend), "force_host_copy": False, "lock_volume": False}
        self.act("volumes", volume_id, "os-migrate_volume", wanted)

    def upload(self, volume_id: str) -> str:
        """Make an image of a volume; return its id."""
        wanted = {"image_name": "uploaded", "disk_format": "qcow2", "container_format": "bare"}
        answer = self.act("volumes", volume_id, "os-volume_upload_image", wanted)
        return str(answer["os-volume_upload_image"]["image_id"])

    def manage(self, name: str, backend: str) -> str:
        """Take over a file; return the volume's id."""
        body = {"volume": {"host": place(backend), "ref": {"source-name": name}, "name": "managed"}}
        return str(self.ask("POST", "manageable_volumes", body)["volume"]["id"])

    def volume_type(self, name: str, **specs: str) -> str:
        """Make a volume type with these extra specs; return its id."""
        body = {"volume_type": {"name": name, "extra_specs": specs}}
        return str(self.ask("POST", "types", body, 200)["volume_type"]["id"])

    # Attachments

    def attach(self, volume_id: str, expect: int = 200) -> str:
        """Attach a volume to a host; return the attachment's id."""
        body = {"attachment": {"volume_uuid": volume_id, "connector": CONNECTOR, "mode": "rw"}}
        answer = self.ask("POST", "attachments", body, expect)
        return str(answer["attachment"]["id"]) if expect == 200 else ""

    def reserve(self, volume_id: str) -> str:
        """Reserve a volume for a host that is not known yet; return the attachment's id."""
        body = {"attachment": {"volume_uuid": volume_id, "instance_uuid": str(uuid.uuid4())}}
        return str(self.ask("POST", "attachments", body, 200)["attachment"]["id"])

    def connect(self, attachment_id: str) -> None:
        """Attach the volume that was reserved to a host."""
        body = {"attachment": {"connector": CONNECTOR}}
        self.ask("PUT", f"attachments/{attachment_id}", body, 200)

    def complete(self, attachment_id: str) -> None:
        """Say that the host has the volume."""
        self.ask("POST", f"attachments/{attachment_id}/action", {"os-complete": None}, 204)

    def detach(self, attachment_id: str) -> None:
        """Take the volume from the host."""
        self.ask("DELETE", f"attachments/{attachment_id}", None, 200)

    # Backups

    def backup(self, volume_id: str) -> str:
        """Make a backup that is available; return its id."""
        body = {"backup": {"volume_id": volume_id, "name": "tested"}}
        backup_id = str(self.ask("POST", "backups", body)["backup"]["id"])
        self.wait("backups", backup_id, "available")
        return backup_id

    def restore(self, backup_id: str, volume_id: str) -> None:
        """Write a backup back into a volume."""
        self.ask("POST", f"backups/{backup_id}/restore", {"restore": {"volume_id": volume_id}})

    # Groups

    def group_type(self, name: str) -> str:
        """Make a type of generic groups; return its id."""
        return str(
            self.ask("POST", "group_types", {"group_type": {"name": name}})["group_type"]["id"]
        )

    def group(self, group_type: str, volume_type: str) -> str:
        """Make a group that is available; return its id."""
        body = {
            "group": {"name": "tested", "group_type": group_type, "volume_types": [volume_type]}
        }
        group_id = str(self.ask("POST", "groups", body)["group"]["id"])
        self.wait("groups", group_id, "available")
        return group_id

    def group_snapshot(self, group: str) -> str:
        """Make snapshots of all of a group; return the id that they have together."""
        body = {"group_snapshot": {"name": "tested", "group_id": group}}
        answer = self.ask("POST", "group_snapshots", body)
        snapshot_id = str(answer["group_snapshot"]["id"])
        self.wait("group_snapshots", snapshot_id, "available")
        return snapshot_id

    # Waiting, by the database so that nothing more is traced

    def row(self, kind: str, ident: str, *columns: str) -> tuple[Any, ...]:
        """Return these columns of a resource, deleted or not."""
        statement = f"SELECT {', '.join(columns)} FROM {{name}}.{kind} WHERE id = %s"
        (row,) = self.stack.query(statement, (ident,))
        return row

    def wait(self, kind: str, ident: str, status: str, timeout: float = 60, **more: object) -> None:
        """Wait until a resource has this status, and whatever else; an error ends it at once."""
        wanted = (status, *more.values())
        deadline = time.monotonic() + timeout
        while (row := self.row(kind, ident, "status", *more)) != wanted:
            failed = str(row[0]).startswith("error") and row[0] != status
            if failed or time.monotonic() > deadline:
                raise AssertionError(f"{kind} {ident}: {row}, not {wanted}")
            time.sleep(0.1)


def place(backend: str) -> str:
    """Return what Cinder calls the host of a backend's only pool."""
    return f"{HOST}@{backend}#{backend}"
