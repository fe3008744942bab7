"""Every operation of Cinder on real services, and the whole trace of each."""

from collections.abc import Callable

import pytest

from tests.integration.configuration import (
    API,
    BACKUP,
    SCHEDULER,
    SERVICES,
    VOLUME,
    Extent,
    Tracing,
)
from tests.integration.glance import Glance
from tests.integration.operations import Operations, place
from tests.integration.processes import root_access
from tests.integration.stack import CinderStack
from tests.integration.watch import Watch
from tests.receiver import Receiver

MIB = 1 << 20


@pytest.fixture(scope="module")
def stack(new_stack: Callable[..., CinderStack], receiver: Receiver, glance: Glance) -> CinderStack:
    """Cinder under eventlet with two backends and a backup service, all of it traced."""
    root_access()
    extent = Extent(
        backends={"one": 1000, "two": 500},
        services=(*SERVICES, BACKUP),
        options={
            "glance_api_servers": glance.url,
            "backup_driver": "cinder.backup.drivers.posix.PosixBackupDriver",
        },
    )
    stack = new_stack("eventlet", extent)
    stack.start(Tracing(receiver.endpoint, services=extent.services), extent.services)
    return stack


@pytest.fixture(scope="module")
def type_of_two(stack: CinderStack) -> str:
    """A volume type that only the second backend can provide."""
    Operations(stack).volume_type("on-two", volume_backend_name="two")
    return "on-two"


def test_create(cinder: Operations, watch: Watch) -> None:
    """A blank volume is made in the backend with the most room."""
    volume = cinder.volume()
    assert cinder.row("volumes", volume, "host") == (place("one"),)
    watch.whole("create", API, SCHEDULER, VOLUME)


def test_create_from_snapshot(cinder: Operations, watch: Watch) -> None:
    """A volume is made from a snapshot."""
    snapshot = cinder.snapshot(cinder.volume())
    watch.begin()
    volume = cinder.volume(snapshot_id=snapshot)
    assert cinder.row("volumes", volume, "snapshot_id") == (snapshot,)
    watch.whole("create_from_snapshot", API, SCHEDULER, VOLUME)


def test_create_from_volume(cinder: Operations, watch: Watch) -> None:
    """A volume is made from another one."""
    source = cinder.volume()
    watch.begin()
    volume = cinder.volume(source_volid=source)
    assert cinder.row("volumes", volume, "source_volid") == (source,)
    watch.whole("create_from_volume", API, SCHEDULER, VOLUME)


def test_create_from_image(cinder: Operations, watch: Watch, glance: Glance) -> None:
    """A volume is made from an image of Glance's, bootable and with the image's data."""
    image = glance.add_image("tested", b"bootable" * MIB)
    volume = cinder.volume(imageRef=image)
    assert cinder.row("volumes", volume, "bootable") == (1,)
    path = cinder.stack.folder / "volumes" / "one" / f"volume-{volume}"
    with path.open("rb") as file:
        assert file.read(8) == b"bootable"
    watch.whole("create_from_image", API, SCHEDULER, VOLUME)


def test_upload(cinder: Operations, watch: Watch, glance: Glance) -> None:
    """An image is made of a volume."""
    volume = cinder.volume()
    watch.begin()
    image = cinder.upload(volume)
    cinder.wait("volumes", volume, "available")
    assert glance.image(image)["status"] == "active"
    watch.whole("upload", API, VOLUME)


def test_delete(cinder: Operations, watch: Watch) -> None:
    """A volume is deleted."""
    volume = cinder.volume()
    watch.begin()
    cinder.delete("volumes", volume)
    cinder.wait("volumes", volume, "deleted")
    watch.whole("delete", API, SCHEDULER, VOLUME)  # which hears of the room


def test_extend(cinder: Operations, watch: Watch) -> None:
    """A volume grows."""
    volume = cinder.volume()
    watch.begin()
    cinder.extend(volume, 2)
    cinder.wait("volumes", volume, "available", size=2)
    watch.whole("extend", API, SCHEDULER, VOLUME)


def test_snapshot(cinder: Operations, watch: Watch) -> None:
    """A snapshot is made and deleted."""
    volume = cinder.volume()
    watch.begin()
    snapshot = cinder.snapshot(volume)
    cinder.delete("snapshots", snapshot)
    cinder.wait("snapshots", snapshot, "deleted")
    watch.whole("snapshot", API, SCHEDULER, VOLUME)


def test_attach_and_detach(cinder: Operations, watch: Watch) -> None:
    """A volume is attached to a host and detached again, by calls that wait for the answer."""
    volume = cinder.volume()
    watch.begin()
    attachment = cinder.attach(volume)
    cinder.complete(attachment)
    assert cinder.row("volumes", volume, "status") == ("in-use",)
    cinder.detach(attachment)
    assert cinder.row("volumes", volume, "status") == ("available",)
    traces = watch.whole("attach_and_detach", API, VOLUME)
    kinds = {span.kind for trace in traces for span in trace.spans}
    assert {"client", "server"} <= kinds


def test_attach_as_nova_does(cinder: Operations, watch: Watch) -> None:
    """A volume is reserved for a host that is not known yet: no message is sent, the id is known."""
    volume = cinder.volume()
    watch.begin()
    attachment = cinder.reserve(volume)
    cinder.connect(attachment)
    cinder.complete(attachment)
    reserved, *_ = watch.whole("attach_as_nova_does", API, VOLUME)
    assert reserved.services == (API,)
    assert reserved.root is not None
    assert reserved.root.attributes["cinder.attachment.id"] == attachment


def test_retype(cinder: Operations, watch: Watch) -> None:
    """A volume gets another type and stays where it is."""
    # Types alike would be no work for the driver; the scheduler leaves such a spec to it.
    blue = cinder.volume_type("anywhere", **{"sparse:colour": "blue"})
    volume = cinder.volume()
    watch.begin()
    cinder.retype(volume, "anywhere", "never")
    cinder.wait("volumes", volume, "available", host=place("one"))
    assert cinder.row("volumes", volume, "volume_type_id") == (blue,)
    watch.whole("retype", API, SCHEDULER, VOLUME)


def test_retype_with_migration(cinder: Operations, watch: Watch, type_of_two: str) -> None:
    """A volume gets a type of another backend, and is copied there."""
    volume = cinder.volume()
    watch.begin()
    cinder.retype(volume, type_of_two, "on-demand")
    cinder.wait("volumes", volume, "available", host=place("two"))
    watch.whole("retype_with_migration", API, SCHEDULER, VOLUME)


def test_migrate(cinder: Operations, watch: Watch) -> None:
    """A volume moves to another backend, copied by the host."""
    volume = cinder.volume()
    watch.begin()
    cinder.migrate(volume, "two")
    cinder.wait("volumes", volume, "available", host=place("two"), migration_status="success")
    watch.whole("migrate", API, SCHEDULER, VOLUME)


def test_backup(cinder: Operations, watch: Watch) -> None:
    """A volume is saved by the backup service, and the backup deleted."""
    volume = cinder.volume()
    watch.begin()
    backup = cinder.backup(volume)
    cinder.delete("backups", backup)
    cinder.wait("backups", backup, "deleted")
    watch.whole("backup", API, SCHEDULER, VOLUME, BACKUP)


def test_restore(cinder: Operations, watch: Watch) -> None:
    """A backup is written back into its volume, and into a new one."""
    volume = cinder.volume()
    backup = cinder.backup(volume)
    watch.begin()
    cinder.restore(backup, volume)
    cinder.wait("volumes", volume, "available")
    cinder.wait("backups", backup, "available")
    cinder.volume(backup_id=backup)
    watch.whole("restore", API, SCHEDULER, VOLUME, BACKUP)


def test_manage_and_unmanage(cinder: Operations, watch: Watch) -> None:
    """A file becomes a volume, and is left alone again."""
    folder = cinder.stack.folder / "volumes" / "one"
    (folder / "found").write_bytes(b"found")
    volume = cinder.manage("found", "one")
    cinder.wait("volumes", volume, "available", size=1)
    cinder.act("volumes", volume, "os-unmanage")
    cinder.wait("volumes", volume, "deleted")
    assert (folder / f"volume-{volume}").read_bytes() == b"found"
    watch.whole("manage_and_unmanage", API, SCHEDULER, VOLUME)


def test_group(cinder: Operations, watch: Watch) -> None:
    """A generic group is made and deleted."""
    group_type, volume_type = cinder.group_type("grouped"), cinder.volume_type("in-group")
    watch.begin()
    group = cinder.group(group_type, volume_type)
    cinder.act("groups", group, "delete", {"delete-volumes": False})
    cinder.wait("groups", group, "deleted")
    watch.whole("group", API, SCHEDULER, VOLUME)


def test_group_snapshot(cinder: Operations, watch: Watch) -> None:
    """All volumes of a group are snapshot at once, and the snapshots deleted."""
    group_type, volume_type = cinder.group_type("snapshot"), cinder.volume_type("in-snapshot")
    group = cinder.group(group_type, volume_type)
    cinder.volume(group_id=group, volume_type=volume_type)
    watch.begin()
    snapshot = cinder.group_snapshot(group)
    cinder.delete("group_snapshots", snapshot)
    cinder.wait("group_snapshots", snapshot, "deleted")
    traces = watch.whole("group_snapshot", API, VOLUME)
    assert all(trace.root.attributes["cinder.group.id"] == group for trace in traces if trace.root)
