"""Failures that Cinder handles itself, on real services: red is what failed for the user, only that.

`docs/handled-failures.md` has the decision for every place in Cinder; here is one of each kind.
"""

from collections.abc import Callable
from typing import Any

import pytest

from otel_cinder.reading.trace import SpanRecord, Trace
from tests.integration.configuration import BACKUP, HOST, PROJECT, SERVICES, Extent, Tracing
from tests.integration.glance import Glance
from tests.integration.operations import Operations, place
from tests.integration.processes import root_access, wait_until
from tests.integration.stack import CinderStack
from tests.integration.watch import Watch, errors
from tests.receiver import Receiver

pytestmark = pytest.mark.faults
DISK = "the disk is gone"
SECOND = f"{HOST}@two"
ENTRIES = ("server", "consumer")


@pytest.fixture(scope="module")
def stack(new_stack: Callable[..., CinderStack], receiver: Receiver, glance: Glance) -> CinderStack:
    """Cinder under eventlet with two backends, the image cache and a backup service, all traced."""
    root_access()
    extent = Extent(
        backends={"one": 1000, "two": 500},
        services=(*SERVICES, BACKUP),
        options={
            "glance_api_servers": glance.url,
            "backup_driver": "cinder.backup.drivers.posix.PosixBackupDriver",
            "cinder_internal_tenant_project_id": PROJECT,
            "cinder_internal_tenant_user_id": "cache",
            "scheduler_max_attempts": 2,
            "scheduler_default_filters": "AvailabilityZoneFilter,CapacityFilter,"
            "CapabilitiesFilter,IgnoreAttemptedHostsFilter",
        },
        backend_options={"image_volume_cache_enabled": "true"},
    )
    stack = new_stack("eventlet", extent)
    stack.start(Tracing(receiver.endpoint, services=extent.services), extent.services)
    return stack


@pytest.fixture(autouse=True)
def healed(stack: CinderStack) -> None:
    """Each test begins with drivers that work."""
    stack.heal()


def only(watch: Watch) -> Trace:
    """The trace of the only request."""
    (trace,) = watch.arrived()
    return trace


def handling(trace: Trace, method: str) -> SpanRecord:
    """The span in which a message was handled; of several the first."""
    names = (f"process {method}", method)
    return next(span for span in trace.spans if span.name in names and span.kind in ENTRIES)


def red(trace: Trace) -> set[str]:
    """The requests and messages of a trace that are errors."""
    return {span.name for span in errors([trace]) if span.kind in ENTRIES}


def failures(trace: Trace) -> list[tuple[str, Any, Any]]:
    """The resources that a trace says have failed: type, status and id."""
    return [
        tuple(event.attributes.get(f"cinder.resource.{name}") for name in ("type", "status", "id"))
        for span in trace.spans
        for event in span.events
        if event.name == "cinder.resource.error"
    ]


def lines(span: SpanRecord) -> str:
    """The log events of a span that have an exception."""
    lines = [event.attributes for event in span.events if event.name == "log"]
    return "\n".join(
        f"{one['log.level']} {one['log.message']} {', '.join(one.get('log.reason', ()))}"
        for one in lines
    )


# The user's request has failed


def test_busy_volume(stack: CinderStack, cinder: Operations, watch: Watch) -> None:
    """A volume that the backend says is busy stays: the deletion is an error, and says why."""
    volume = cinder.volume()
    stack.fail("3 clones", "delete_volume", error="VolumeIsBusy")
    watch.begin()
    cinder.delete("volumes", volume)
    cinder.wait("volumes", volume, "available")
    trace = only(watch)
    span = handling(trace, "cinder-volume/delete_volume")
    assert (span.status, span.status_message) == ("error", "VolumeIsBusy: 3 clones")
    assert failures(trace) == [("volume", "available", volume)]


def test_busy_snapshot(stack: CinderStack, cinder: Operations, watch: Watch) -> None:
    """The same for a snapshot, of which Cinder also tells the user."""
    snapshot = cinder.snapshot(cinder.volume())
    stack.fail("3 clones", "delete_snapshot", error="SnapshotIsBusy")
    watch.begin()
    cinder.delete("snapshots", snapshot)
    cinder.wait("snapshots", snapshot, "available")
    trace = only(watch)
    span = handling(trace, "cinder-volume/delete_snapshot")
    assert span.status_message == "SnapshotIsBusy: 3 clones"
    assert {event.name for event in span.events} >= {"cinder.user_message", "cinder.resource.error"}


def test_busy_volume_of_a_group(stack: CinderStack, cinder: Operations, watch: Watch) -> None:
    """A group is deleted although one of its volumes is busy, which stays in the backend: an error."""
    volume_type = cinder.volume_type("busy-in-group")
    group = cinder.group(cinder.group_type("busy"), volume_type)
    volume = cinder.volume(group_id=group, volume_type="busy-in-group")
    stack.fail("3 clones", "delete_volume", error="VolumeIsBusy")
    watch.begin()
    cinder.act("groups", group, "delete", {"delete-volumes": True})
    cinder.wait("groups", group, "deleted")
    trace = only(watch)
    span = handling(trace, "cinder-volume/delete_group")
    assert span.status_message == "VolumeIsBusy: 3 clones"
    assert failures(trace) == [("volume", "available", volume)]


def test_group_from_a_group(stack: CinderStack, cinder: Operations, watch: Watch) -> None:
    """A group whose volumes the driver could not copy is available in the end: an error."""
    volume_type = cinder.volume_type("copied-in-group")
    source = cinder.group(cinder.group_type("copied"), volume_type)
    cinder.volume(group_id=source, volume_type="copied-in-group")
    stack.fail(DISK, "create_cloned_volume")
    watch.begin()
    body = {"create-from-src": {"name": "copy", "source_group_id": source}}
    copy = str(cinder.ask("POST", "groups/action", body)["group"]["id"])
    # On the way it is in error, for a moment.
    wait_until(
        lambda: cinder.row("groups", copy, "status") == ("available",), 60, "the group's copy"
    )
    span = handling(only(watch), "cinder-volume/create_group_from_src")
    assert span.status == "error"
    assert DISK in span.status_message


def freeze(cinder: Operations, action: str) -> None:
    """Freeze or thaw the second backend. An answer that is no JSON says what the driver said."""
    answer = cinder.stack.request("PUT", f"os-services/{action}", {"host": SECOND})
    cinder.answers.append(answer)
    assert answer.status_code == 200, answer.text


def test_thaw(stack: CinderStack, cinder: Operations, watch: Watch) -> None:
    """A backend that can't be thawed stays frozen, which Cinder only answers: an error."""
    freeze(cinder, "freeze")
    stack.fail(DISK, "thaw_backend", "two", error="VolumeDriverException")
    watch.begin()
    freeze(cinder, "thaw")
    stack.heal()
    # For Cinder's API it is no longer frozen; for its scheduler it is, until it is thawed.
    trace = only(watch)
    for action in ("freeze", "thaw"):
        freeze(cinder, action)
    span = handling(trace, "cinder-volume/thaw_host")
    assert (span.status, DISK in span.status_message) == ("error", True)
    assert failures(trace) == [("service", "frozen", SECOND)]


def test_failover(stack: CinderStack, cinder: Operations, watch: Watch) -> None:
    """A driver that can't fail over: the backend's replication is in error, and so is the message."""
    query = "SELECT replication_status FROM {name}.services WHERE host = %s"
    update = "UPDATE {name}.services SET replication_status = %s, disabled = 0 WHERE host = %s"
    stack.query(update, ("enabled", SECOND))
    try:
        cinder.ask("PUT", "os-services/failover_host", {"host": SECOND})
        wait_until(
            lambda: stack.query(query, (SECOND,)) == [("failover-error",)], 30, "the failover"
        )
    finally:
        stack.query(update, ("disabled", SECOND))
    trace = only(watch)
    assert handling(trace, "cinder-volume/failover").status == "error"
    assert failures(trace) == [("service", "failover-error", SECOND)]


def test_retype_without_a_backend(cinder: Operations, watch: Watch) -> None:
    """A volume that can't have its new type has its old one: the scheduler's message is an error."""
    cinder.volume_type("nowhere", volume_backend_name="three")
    volume = cinder.volume()
    watch.begin()
    cinder.retype(volume, "nowhere", "never")
    cinder.wait("volumes", volume, "available")
    trace = only(watch)
    assert red(trace) == {"process cinder-scheduler/retype"}
    assert {failure[:2] for failure in failures(trace)} == {("volume", "available")}


# Something beside the user's request has failed


def test_copy_for_the_image_cache(
    stack: CinderStack, cinder: Operations, watch: Watch, glance: Glance
) -> None:
    """A volume is made from an image, and its copy for the cache fails: no message is an error."""
    image = glance.add_image("uncached", b"uncached" * (1 << 17))
    stack.fail(DISK, "create_cloned_volume")
    watch.begin()
    volume = cinder.volume(imageRef=image)
    trace = only(watch)
    assert red(trace) == set()
    (failure,) = failures(trace)
    assert failure[:2] == ("volume", "error")
    assert failure[2] != volume
    copy = next(span for span in errors([trace]) if span.name.endswith("create_cloned_volume"))
    assert DISK in copy.status_message
    # Nothing above the flow that made the copy is an error.
    flows = [span for span in trace.spans if span.name == "volume_create_manager"]
    assert [span.status for span in flows] == ["unset", "error"]
    outer = next(s for s in trace.children(flows[0]) if s.name == "CreateVolumeFromSpecTask")
    assert outer.status == "unset"


def test_image_cache_that_does_not_help(
    stack: CinderStack, cinder: Operations, watch: Watch, glance: Glance
) -> None:
    """A volume can't be copied from the cache, and is downloaded instead: no error."""
    image = glance.add_image("cached", b"cached" * (1 << 17))
    cinder.volume(imageRef=image)
    stack.fail(DISK, "create_cloned_volume")
    watch.begin()
    cinder.volume(imageRef=image)
    trace = only(watch)
    assert red(trace) == set()
    task = next(s for s in trace.spans if s.name == "CreateVolumeFromSpecTask")
    assert "image will be downloaded from Glance" in lines(task)
    assert DISK in lines(task)


def test_target_that_could_not_be_updated(
    stack: CinderStack, cinder: Operations, watch: Watch
) -> None:
    """A volume has grown, and only its target does not know yet: no error, but a line with why."""
    volume = cinder.volume()
    stack.fail("no session", "extend_volume", error="TargetUpdateFailed")
    watch.begin()
    cinder.extend(volume, 2)
    cinder.wait("volumes", volume, "available", size=2)
    trace = only(watch)
    assert red(trace) == set()
    events = lines(handling(trace, "cinder-volume/extend_volume"))
    assert (
        "WARNING Volume extended but failed to update target. TargetUpdateFailed: no session"
        in events
    )


def test_export_that_could_not_be_removed(
    stack: CinderStack, cinder: Operations, watch: Watch
) -> None:
    """An attachment is gone, whatever the backend says of its export: no error, but a line."""
    volume = cinder.volume()
    attachment = cinder.attach(volume)
    cinder.complete(attachment)
    stack.fail(DISK, "remove_export")
    watch.begin()
    cinder.detach(attachment)
    trace = only(watch)
    assert red(trace) == set()
    assert DISK in lines(handling(trace, "cinder-volume/attachment_delete"))
    assert cinder.row("volumes", volume, "status") == ("available",)


def test_retype_by_the_generic_way(stack: CinderStack, cinder: Operations, watch: Watch) -> None:
    """A driver fails to change the type, so Cinder moves the volume: no error, but a line."""
    cinder.volume_type("elsewhere", **{"sparse:colour": "red"})
    volume = cinder.volume()
    stack.fail(DISK, "retype")
    watch.begin()
    cinder.retype(volume, "elsewhere", "on-demand")
    cinder.wait("volumes", volume, "available", migration_status="success")
    trace = only(watch)
    assert red(trace) == set()
    events = lines(handling(trace, "cinder-volume/retype"))
    assert "falling back to generic mechanism" in events
    assert DISK in events


def test_source_of_a_migration_that_stays(
    stack: CinderStack, cinder: Operations, watch: Watch
) -> None:
    """A volume has moved, and its old place can't be deleted: that message is an error, no other."""
    volume = cinder.volume()
    stack.fail(DISK, "delete_volume", "one")
    watch.begin()
    cinder.migrate(volume, "two")
    cinder.wait("volumes", volume, "available", host=place("two"), migration_status="success")
    trace = only(watch)
    assert red(trace) == {"process cinder-volume/delete_volume"}
    span = handling(trace, "cinder-volume/delete_volume")
    assert DISK in span.status_message


def test_rest_of_a_reschedule(stack: CinderStack, cinder: Operations, watch: Watch) -> None:
    """The first backend can neither create nor delete the volume: the second attempt succeeds."""
    for method in ("create_volume", "delete_volume"):
        stack.fail(DISK, method, "one")
    watch.begin()
    cinder.volume()
    trace = only(watch)
    attempts = [s for s in trace.spans if s.name == "process cinder-volume/create_volume"]
    assert [span.status for span in attempts] == ["error", "unset"]
    # The deletion that is not minded is no second reason.
    assert {event.name for event in attempts[0].events} - {"log"} == {
        "cinder.user_message",
        "cinder.reschedule",
        "exception",
    }


def test_freeze(stack: CinderStack, cinder: Operations, watch: Watch) -> None:
    """A backend is frozen without its driver's consent: no error, but a line."""
    stack.fail(DISK, "freeze_backend", "two", error="VolumeDriverException")
    freeze(cinder, "freeze")
    trace = only(watch)
    stack.heal()
    freeze(cinder, "thaw")
    assert red(trace) == set()
    assert DISK in lines(handling(trace, "cinder-volume/freeze_host"))


def test_revert_by_the_generic_way(cinder: Operations, watch: Watch) -> None:
    """A driver that can't revert to a snapshot lets Cinder copy it: nothing has failed."""
    volume = cinder.volume()
    snapshot = cinder.snapshot(volume)
    watch.begin()
    cinder.act("volumes", volume, "revert", {"snapshot_id": snapshot})
    cinder.wait("volumes", volume, "available")
    trace = only(watch)
    assert red(trace) == set()
    assert failures(trace) == []
