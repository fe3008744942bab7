"""Failures of operations on real services, and their traces."""

import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

import oslo_messaging
import pytest
from oslo_config import cfg

from otel_cinder.reading.trace import SpanRecord
from tests.integration.arrivals import settle
from tests.integration.broker import Broker
from tests.integration.configuration import (
    API,
    BACKEND,
    BACKEND_FOLDER,
    HOST,
    PROJECT,
    SCHEDULER,
    VOLUME,
    Extent,
    Tracing,
)
from tests.integration.operations import Operations, place
from tests.integration.stack import CinderStack
from tests.integration.watch import Watch, errors
from tests.receiver import Receiver

pytestmark = pytest.mark.faults
DISK = "the disk is gone"
CLEAN_UP = "clean up volume"
NEWER = {"PYTHONPATH": f"{BACKEND_FOLDER}:{Path(__file__).parent / 'newer'}"}


@pytest.fixture(scope="module")
def stack(new_stack: Callable[..., CinderStack], receiver: Receiver) -> CinderStack:
    """Cinder under eventlet with two backends, impatient, all of it traced."""
    extent = Extent(
        backends={"one": 1000, "two": 500},
        options={
            "rpc_response_timeout": 5,
            "scheduler_max_attempts": 2,
            # Without the last of these, the same backend is tried again and again.
            "scheduler_default_filters": "AvailabilityZoneFilter,CapacityFilter,"
            "CapabilitiesFilter,IgnoreAttemptedHostsFilter",
        },
    )
    stack = new_stack("eventlet", extent)
    stack.start(Tracing(receiver.endpoint))
    return stack


@pytest.fixture(autouse=True)
def healed(stack: CinderStack) -> None:
    """Each test begins with drivers that work."""
    stack.heal()


def test_no_valid_backend(cinder: Operations, watch: Watch) -> None:
    """A volume that fits nowhere is in error, and so is the trace, in the scheduler."""
    volume = cinder.create(size=5000)
    cinder.wait("volumes", volume, "error")
    (trace,) = watch.traces("no_valid_backend")
    assert trace.is_whole
    assert trace.services == (API, SCHEDULER)
    assert {span.service for span in errors([trace])} == {SCHEDULER}


def test_quota_exceeded(cinder: Operations, watch: Watch) -> None:
    """A volume too many is refused with 413, and the trace says by which task."""
    quota = f"os-quota-sets/{PROJECT}"
    cinder.ask("PUT", quota, {"quota_set": {"volumes": 0}}, 200)
    watch.begin()
    cinder.create(expect=413)
    (trace,) = watch.traces("quota_exceeded")
    cinder.ask("PUT", quota, {"quota_set": {"volumes": -1}}, 200)
    assert trace.is_whole
    assert trace.services == (API,)
    assert "QuotaReserveTask" in {span.name for span in errors([trace])}
    assert trace.root is not None
    assert trace.root.attributes["http.response.status_code"] == 413


def test_invalid_input(cinder: Operations, watch: Watch) -> None:
    """A volume smaller than its snapshot is refused with 400, and the trace says by which task."""
    snapshot = cinder.snapshot(cinder.volume(size=2))
    watch.begin()
    cinder.create(size=1, snapshot_id=snapshot, expect=400)
    (trace,) = watch.traces("invalid_input")
    assert trace.is_whole
    assert trace.services == (API,)
    assert "ExtractVolumeRequestTask" in {span.name for span in errors([trace])}
    assert trace.root is not None
    assert trace.root.status == "unset"


def test_reschedule(stack: CinderStack, cinder: Operations, watch: Watch) -> None:
    """A volume that one backend can't make is made by the other, in one trace."""
    stack.fail(DISK, backend="one")
    volume = cinder.volume()
    assert cinder.row("volumes", volume, "host") == (place("two"),)
    (trace,) = watch.traces("reschedule")
    assert trace.is_whole
    assert set(trace.services) == {API, SCHEDULER, VOLUME}
    handled = [s for s in trace.spans if s.name == "process cinder-volume/create_volume"]
    assert len(handled) == 2
    failed = [s for s in errors([trace]) if s.name == "CreateVolumeFromSpecTask"]
    assert len(failed) == 1
    assert DISK in failed[0].status_message


def test_no_backend_left(stack: CinderStack, cinder: Operations, watch: Watch) -> None:
    """A volume that no backend can make is in error after the last attempt, in one trace."""
    for backend in stack.extent.backends:
        stack.fail(DISK, backend=backend)
    volume = cinder.create()
    cinder.wait("volumes", volume, "error")
    (trace,) = watch.traces("no_backend_left")
    assert trace.is_whole
    failed = [s for s in errors([trace]) if s.name == "CreateVolumeFromSpecTask"]
    assert len(failed) == 2
    assert SCHEDULER in {span.service for span in errors([trace])}


def test_driver_fails_to_extend(stack: CinderStack, cinder: Operations, watch: Watch) -> None:
    """An operation without a flow that fails in the driver marks the message's span."""
    volume = cinder.volume()
    stack.fail(DISK, "extend_volume")
    watch.begin()
    cinder.extend(volume, 2)
    cinder.wait("volumes", volume, "error_extending")
    (trace,) = watch.traces("driver_fails_to_extend")
    assert trace.is_whole
    assert "process cinder-volume/extend_volume" in {span.name for span in errors([trace])}


def test_driver_fails_to_attach(stack: CinderStack, cinder: Operations, watch: Watch) -> None:
    """A call that fails in the driver is an error on both of its sides, and a 500."""
    volume = cinder.volume()
    stack.fail(DISK, "initialize_connection")
    watch.begin()
    cinder.attach(volume, expect=500)
    (trace,) = watch.traces("driver_fails_to_attach")
    assert trace.is_whole
    failed = {(span.name, span.kind) for span in errors([trace])}
    assert {
        ("cinder-volume/attachment_update", "client"),
        ("cinder-volume/attachment_update", "server"),
    } <= failed


def test_rpc_timeout(stack: CinderStack, cinder: Operations, watch: Watch) -> None:
    """A call that is answered too late is an error of the caller's, and what comes of it later is
    in the same trace."""
    volume = cinder.volume()
    watch.begin()
    stack.suspend(VOLUME)
    try:
        cinder.attach(volume, expect=500)
    finally:
        stack.resume(VOLUME)
    cinder.wait("volumes", volume, "attaching")
    (trace,) = watch.traces("rpc_timeout")
    assert trace.is_whole
    (call,) = [span for span in trace.spans if span.kind == "client"]
    assert (call.status, call.attributes["error.type"]) == ("error", "MessagingTimeout")
    assert call.duration_ns > 5e9
    (handled,) = trace.children(call)
    assert (handled.service, handled.status) == (VOLUME, "unset")
    assert handled.start_ns > call.end_ns


def test_scheduler_refuses_the_version(
    stack: CinderStack, cinder: Operations, watch: Watch, receiver: Receiver
) -> None:
    """Where an API is newer than the scheduler, the trace of a volume that stays as it is says so."""
    stack.restart(Tracing(receiver.endpoint, env=NEWER), [API])
    volume = cinder.create()
    (trace,) = watch.traces("scheduler_refuses_the_version")
    stack.restart(Tracing(receiver.endpoint), [API])
    assert cinder.row("volumes", volume, "status") == ("creating",)
    assert trace.is_whole
    assert trace.services == (API, SCHEDULER)
    (refused,) = errors([trace])
    assert refused.kind == "consumer"
    assert refused.attributes["error.type"] == "UnsupportedVersion"
    assert refused.attributes["cinder.volume.id"] == volume


@pytest.mark.parametrize("service", [SCHEDULER, VOLUME])
def test_unsupported_version(
    stack: CinderStack, watch: Watch, broker: Broker, service: str
) -> None:
    """Messages of a version that a service does not know are errors of the sender's trace."""
    trace_id = secrets.token_hex(16)
    context = {
        "traceparent": f"00-{trace_id}-{'f00d' * 4}-01",
        "request_id": "req-c1de0000-0000-0000-0000-000000000001",
    }
    server = f"{HOST}@{BACKEND}" if service == VOLUME else None
    target = oslo_messaging.Target(topic=service, server=server, version="99.0")
    transport = oslo_messaging.get_rpc_transport(cfg.CONF, broker.url(stack.name))
    try:
        client = oslo_messaging.get_rpc_client(transport, target, timeout=10)
        client.cast(context, "create_volume")
        with pytest.raises(oslo_messaging.RemoteError, match=r"99\.0"):
            client.call(context, "create_volume")
    finally:
        transport.cleanup()
    name = f"unsupported_version_{service.removeprefix('cinder-')}"
    (trace,) = watch.traces(name, trace_ids=[trace_id])
    assert sorted(span.kind for span in trace.spans) == ["consumer", "server"]
    assert {span.service for span in trace.spans} == {service}
    assert {span.attributes["error.type"] for span in errors([trace])} == {"UnsupportedVersion"}
    assert len(errors([trace])) == 2


def test_killed_in_a_create(
    stack: CinderStack, cinder: Operations, watch: Watch, receiver: Receiver
) -> None:
    """kill -9 in the midst of a create: what had ended is there, and the next trace is whole."""
    settle(receiver)
    receiver.clear()
    stack.slow_down(60)
    volume = cinder.create()
    # The last task before the one that takes so long.
    last = "NotifyVolumeActionTask"
    assert receiver.wait_for(lambda spans: last in {span.name for span in spans}, 20)
    stack.kill(VOLUME)
    stack.heal()
    stack.start(Tracing(receiver.endpoint), [VOLUME])
    cinder.wait("volumes", volume, "error")
    (trace,) = watch.traces("killed_in_a_create")
    assert set(trace.services) == {API, SCHEDULER, VOLUME}
    assert trace.root is not None
    assert {span.service for span in trace.orphans} == {VOLUME}
    assert last in {span.name for span in trace.orphans}
    # What the next cinder-volume made of it is a trace of its own.
    (cleaned,) = watch.traces("clean_up_after_a_create", [root(receiver, CLEAN_UP, volume)])
    assert cleaned.services == (VOLUME,)
    assert cleaned.root is not None
    instance = str(cleaned.root.resource["service.instance.id"])
    assert instance.partition(":")[0] == f"{HOST}@{BACKEND}"  # behind it, the machine
    assert cleaned.root.attributes["openstack.project_id"] == PROJECT
    watch.begin()
    cinder.volume()
    watch.whole("create_after_a_kill", API, SCHEDULER, VOLUME)


def test_killed_in_a_delete(
    stack: CinderStack, cinder: Operations, watch: Watch, receiver: Receiver
) -> None:
    """A deletion that kill -9 has cut off goes on at the next start, in a trace of its own."""
    volume = cinder.volume()
    stack.slow_down(60, "delete_volume")
    settle(receiver)
    receiver.clear()
    cinder.delete("volumes", volume)
    # The driver's call before the one that takes so long.
    before = "SparseFileDriver.remove_export"
    assert receiver.wait_for(lambda spans: before in {span.name for span in spans}, 20)
    stack.kill(VOLUME)
    stack.heal()
    stack.start(Tracing(receiver.endpoint), [VOLUME])
    cinder.wait("volumes", volume, "deleted")
    (trace,) = watch.traces("clean_up_after_a_delete", [root(receiver, CLEAN_UP, volume)])
    assert trace.is_whole
    assert not errors([trace])


def test_export_that_fails_at_a_start(
    stack: CinderStack, cinder: Operations, watch: Watch, receiver: Receiver
) -> None:
    """A volume in use that can't be exported again is set to error, in a trace of its own."""
    volume = cinder.volume()
    attachment = cinder.attach(volume)
    cinder.complete(attachment)
    stack.fail(DISK, "ensure_export")
    stack.restart(Tracing(receiver.endpoint), [VOLUME])
    assert cinder.row("volumes", volume, "status") == ("error",)
    (trace,) = watch.traces("export_at_a_start", [root(receiver, "set volume to error", volume)])
    assert trace.root is not None
    instance = str(trace.root.resource["service.instance.id"])
    assert instance.partition(":")[0] == f"{HOST}@{BACKEND}"  # behind it, the machine


def root(receiver: Receiver, name: str, volume: str) -> str:
    """Wait for a trace whose root has this name and is about this volume; return its id."""

    def found(spans: Sequence[SpanRecord]) -> list[str]:
        return [
            span.trace_id
            for span in spans
            if span.name == name
            and span.parent_id is None
            and span.attributes.get("cinder.volume.id") == volume
        ]

    assert receiver.wait_for(lambda spans: bool(found(spans)), 30)
    (trace_id,) = found(receiver.spans())
    return trace_id
