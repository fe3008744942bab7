"""Failures that Cinder handles itself, with its own objects, flows and managers on SQLite."""

from __future__ import annotations

import importlib
import pathlib
import uuid
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import webob
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased
from opentelemetry.trace import SpanContext, StatusCode

import otel_cinder
from otel_cinder import conventions
from otel_cinder.instrumentor import CinderInstrumentor
from otel_cinder.seams import handled_failures as seam
from otel_cinder.spans import local_root
from tests.unit.recording import Recorder
from tests.unit.scripts import run
from tests.unit.seams.applications import Api, load
from tests.unit.seams.cinder_objects import (
    ERROR,
    PROJECT,
    Cinder,
    Notifier,
    events,
    told,
    untouched,
    work,
)

pytestmark = pytest.mark.filterwarnings("ignore")  # Cinder's, and its libraries'

MESSAGE = conventions.USER_MESSAGE_EVENT


# Statuses


def test_error_out_gives_the_reason(cinder: Cinder, spans: Recorder, measured: list[Any]) -> None:
    """A volume that is put into error marks the task and its message, with error_out's reason."""
    volume = cinder.volume()
    with work(spans), spans.tracer.start_as_current_span("task"):
        cinder.flows.common.error_out(volume, reason=LookupError("no backend"))
    assert cinder.status(volume) == "error"
    for name in ("task", "process"):
        assert spans[name].status.description == "LookupError: no backend"
        assert events(spans[name], ERROR) == [
            {
                "cinder.resource.type": "volume",
                "cinder.resource.id": volume.id,
                "cinder.resource.status": "error",
                "error.type": "LookupError",
                "cinder.reason": "no backend",
            }
        ]
    assert measured == [
        {
            "cinder.resource.type": "volume",
            "cinder.resource.status": "error",
            "error.type": "LookupError",
        }
    ]


def test_reason_does_not_outlive_error_out(cinder: Cinder, spans: Recorder) -> None:
    """The reason given to error_out does not apply to a later failure."""
    with work(spans):
        cinder.flows.common.error_out(cinder.volume(), reason="first")
        volume = cinder.volume()
        volume.status = "error"
        volume.save()
    assert [event["cinder.reason"] for event in events(spans["process"], ERROR)] == [
        "first",
        "no reason given",
    ]
    assert seam._reason.get() is None


def test_status_set_while_an_exception_is_handled(cinder: Cinder, spans: Recorder) -> None:
    """The exception in the except clause is the reason, also if Cinder does not name it."""
    volume = cinder.volume()
    with work(spans):
        try:
            raise LookupError("gone")
        except LookupError:
            volume.status = "error_deleting"
            volume.save()
    assert told(spans["process"]) == [("volume", "error_deleting", "LookupError")]


def test_no_status_no_failure(cinder: Cinder, spans: Recorder, measured: list[Any]) -> None:
    """Saving other fields, or a status that is no error, marks nothing."""
    volume = cinder.volume()
    with work(spans):
        volume.host = "node-1@lvm#pool"
        volume.save()
        volume.status = "available"
        volume.migration_status = "success"
        volume.save()
        volume.save()
    assert cinder.status(volume) == "available"
    untouched(spans)
    assert measured == []


def test_volume_that_is_in_error_already(cinder: Cinder, spans: Recorder) -> None:
    """Saving other fields of a volume in error is no new failure."""
    volume = cinder.volume(status="error")
    with work(spans):
        volume.host = "node-1@lvm#pool"
        volume.save()
    untouched(spans)


def test_one_failure_is_recorded_once(cinder: Cinder, spans: Recorder, measured: list[Any]) -> None:
    """The same status, saved again in the same message, even by another object, is no new failure."""
    volume = cinder.volume()
    with work(spans):
        cinder.flows.common.error_out(volume, reason=LookupError("none"))
        cinder.flows.common.error_out(volume)
        cinder.flows.common.error_out(cinder.objects.Volume.get_by_id(cinder.context, volume.id))
    assert told(spans["process"]) == [("volume", "error", "LookupError")]
    assert len(measured) == 1


def test_second_failure_after_a_recovery(
    cinder: Cinder, spans: Recorder, measured: list[Any]
) -> None:
    """A volume that has recovered in between fails twice."""
    volume = cinder.volume()
    with work(spans):
        for status in ("error", "available", "error"):
            volume.status = status
            volume.save()
    assert len(events(spans["process"], ERROR)) == len(measured) == 2


def test_failed_migration(cinder: Cinder, spans: Recorder, measured: list[Any]) -> None:
    """A migration's error has its own name: the volume itself may be available."""
    volume = cinder.volume(status="maintenance", migration_status="migrating")
    with work(spans):
        volume.update({"migration_status": "error", "status": "available"})
        volume.save()
    assert told(spans["process"]) == [("volume", "migration_error", "unknown")]
    assert len(measured) == 1


def test_every_kind_of_resource(cinder: Cinder, spans: Recorder, measured: list[Any]) -> None:
    """Failures of snapshots, backups, groups and their snapshots have their own type."""
    objects = cinder.objects
    volume = cinder.volume()
    snapshot = objects.Snapshot(
        cinder.context, volume_id=volume.id, status="creating", volume_type_id="t"
    )
    backup = objects.Backup(
        cinder.context, volume_id=volume.id, status="creating", user_id="u", project_id=PROJECT
    )
    whose = {"user_id": "u", "project_id": PROJECT, "group_type_id": str(uuid.uuid4())}
    group = objects.Group(cinder.context, status="available", **whose)
    for failing in (snapshot, backup, group):
        failing.create()
    cinder.volume(group_id=group.id)  # an empty group has no snapshots
    group_snapshot = objects.GroupSnapshot(
        cinder.context, status="creating", group_id=group.id, **whose
    )
    group_snapshot.create()
    with work(spans):
        for resource in (snapshot, backup, group, group_snapshot):
            resource.status = "error"
            resource.save()
    types = ["snapshot", "backup", "group", "group_snapshot"]
    assert told(spans["process"]) == [(kind, "error", "unknown") for kind in types]
    assert [measurement["cinder.resource.type"] for measurement in measured] == types


def test_backup_says_why_itself(cinder: Cinder, spans: Recorder) -> None:
    """A backup's fail_reason is the reason where nothing else is."""
    from cinder.volume import volume_utils

    backup = cinder.objects.Backup(
        cinder.context, volume_id="v", status="creating", user_id="u", project_id=PROJECT
    )
    backup.create()
    with work(spans):
        volume_utils.update_backup_error(backup, "no target, password=hunter2")
    (event,) = events(spans["process"], ERROR)
    assert event["cinder.reason"] == "no target, password=***"
    assert "hunter2" not in spans["process"].to_json()


def test_failing_save_is_not_the_reason(
    cinder: Cinder, spans: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the database fails too, its exception passes, and the failure keeps its own reason."""
    volume = cinder.volume()
    gone = ConnectionError("the database is gone")

    def update(*_args: Any) -> None:
        raise gone

    monkeypatch.setattr(cinder.db, "volume_update", update)
    with work(spans), pytest.raises(ConnectionError) as raised:
        volume.status = "error"
        volume.save()
    assert raised.value is gone
    assert told(spans["process"]) == [("volume", "error", "unknown")]
    monkeypatch.undo()


def test_update_past_the_objects(cinder: Cinder, spans: Recorder, measured: list[Any]) -> None:
    """A status that a manager writes to the database directly is recorded too, once."""
    volume = cinder.volume(status="extending")
    with work(spans):
        cinder.db.volume_update(cinder.context, volume.id, {"size": 2})
        cinder.db.volume_update(cinder.context, volume.id, {"status": "error_extending"})
        volume.status = "error_extending"
        volume.save()
    assert told(spans["process"]) == [("volume", "error_extending", "unknown")]
    assert len(measured) == 1
    assert cinder.status(volume) == "error_extending"


def test_update_of_a_groups_volumes(cinder: Cinder, spans: Recorder, measured: list[Any]) -> None:
    """Only those of a group's volumes that the driver failed for are recorded."""
    first, second, third = (cinder.volume(status="deleting") for _ in range(3))
    with work(spans):
        rows = [
            {"id": first.id, "status": "error"},
            {"id": second.id, "status": "deleted"},
            {"id": third.id, "status": "error_deleting"},
        ]
        cinder.db.volumes_update(cinder.context, rows)
    ids = [row["cinder.resource.id"] for row in events(spans["process"], ERROR)]
    assert ids == [first.id, third.id]
    assert told(spans["process"]) == [
        ("volume", "error", "unknown"),
        ("volume", "error_deleting", "unknown"),
    ]
    assert len(measured) == 2
    assert cinder.status(third) == "error_deleting"


def test_compare_and_swap(cinder: Cinder, spans: Recorder, measured: list[Any]) -> None:
    """A status that is only written to a resource in a certain state counts if it was written."""
    volume = cinder.volume(status="reverting")
    with work(spans):
        assert not volume.update_single_status_where("error", "in-use")
        untouched(spans)
        assert volume.update_single_status_where("error", "reverting")
        volume.conditional_update({"status": "error_managing_deleting"}, {})
    assert told(spans["process"]) == [("volume", "error", "unknown")]
    assert len(measured) == 1


def test_status_that_a_request_sets(cinder: Cinder, spans: Recorder, measured: list[Any]) -> None:
    """An administrator's os-reset_status to error is a success."""
    volume = cinder.volume(status="available")
    with work(spans, "POST", is_http=True):
        cinder.db.volume_update(cinder.context, volume.id, {"status": "error"})
        cinder.db.volumes_update(cinder.context, [{"id": volume.id, "status": "error"}])
        volume.status = "error"
        volume.save()
    untouched(spans)
    assert measured == []


def test_backup_status_that_an_administrator_sets(
    cinder: Cinder, spans: Recorder, measured: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup's os-reset_status is a message to the backup service; a success, too."""
    manager = object.__new__(cinder.backup.manager.BackupManager)
    backup = cinder.objects.Backup(
        cinder.context, volume_id="v", status="available", service="s", user_id="u"
    )
    backup.project_id = PROJECT
    backup.create()
    monkeypatch.setattr(manager, "_is_our_backup", lambda _backup: True, raising=False)
    monkeypatch.setattr(
        manager, "_cleanup_temp_volumes_snapshots_for_one_backup", lambda *_: None, raising=False
    )
    monkeypatch.setattr("cinder.volume.volume_utils.notify_about_backup_usage", lambda *_a, **_k: 0)
    monkeypatch.setattr("cinder.rpc.get_notifier", Notifier)
    with work(spans):
        manager.reset_status(cinder.context, backup, "error")
    assert backup.status == "error"
    untouched(spans)
    assert measured == []


def test_request_that_fails_a_resource(
    cinder: Cinder, spans: Recorder, measured: list[Any]
) -> None:
    """A request's own span gets the event; the response's status decides if it is an error."""
    volume = cinder.volume()
    with work(spans, "DELETE", is_http=True):
        try:
            raise LookupError("no key")
        except LookupError:
            volume.update({"status": "error_deleting"})
            volume.save()
    assert told(spans["DELETE"]) == [("volume", "error_deleting", "LookupError")]
    assert spans["DELETE"].status.status_code is StatusCode.UNSET
    assert len(measured) == 1


@pytest.mark.parametrize("code", [202, 409, 500])
def test_answer_decides_over_a_real_request(
    cinder: Cinder, spans: Recorder, tmp_path: pathlib.Path, code: int
) -> None:
    """Behind the API's own middleware a request is an error by a 5xx alone, and has the event."""
    volume = cinder.volume()

    def handle(_request: webob.Request) -> webob.Response:
        cinder.flows.common.error_out(volume, LookupError("no broker"))
        return webob.Response(status=code)

    webob.Request.blank("/v3/f1/volumes").get_response(load(Api(handle), tmp_path))
    span = spans["GET /v3/{project_id}/volumes"]
    assert told(span) == [("volume", "error", "LookupError")]
    assert (span.status.status_code is StatusCode.ERROR) == (code == 500)
    assert (span.attributes or {}).get("error.type") == ("500" if code == 500 else None)


def test_unsampled_failures_count(
    database: Cinder, instrumented: Callable[..., Recorder], measured: list[Any]
) -> None:
    """Without a sampled span nothing is recorded, but each failure is counted, once."""
    spans = instrumented(ALWAYS_OFF)
    volume = database.volume()
    with work(spans):
        database.flows.common.error_out(volume, reason=LookupError("none"))
        database.flows.common.error_out(volume)
    assert len(spans) == 0
    assert [measurement["error.type"] for measurement in measured] == ["LookupError"]


def test_failures_outside_a_trace_count(
    cinder: Cinder, spans: Recorder, measured: list[Any]
) -> None:
    """A failure while a service starts is counted, and is a trace of its own."""
    volume = cinder.volume()
    cinder.flows.common.error_out(volume, reason=LookupError("none"))
    assert [measurement["error.type"] for measurement in measured] == ["LookupError"]
    (span,) = spans
    assert (span.name, span.parent) == ("set volume to error", None)
    assert span.status.description == "LookupError: none"
    assert told(span) == [("volume", "error", "LookupError")]
    assert (span.attributes or {})["cinder.volume.id"] == volume.id


def test_failure_in_an_unsampled_trace_starts_none(
    database: Cinder, instrumented: Callable[..., Recorder], measured: list[Any]
) -> None:
    """A trace that was not sampled stays unrecorded."""
    spans = instrumented(ParentBased(ALWAYS_ON))
    unsampled = trace.NonRecordingSpan(SpanContext(1, 2, is_remote=True))
    with trace.use_span(unsampled):
        database.flows.common.error_out(database.volume(), reason=LookupError("none"))
    assert len(spans) == 0
    assert len(measured) == 1


# What else a message does


def untouched_but_for(recorder: Recorder, name: str) -> None:
    """No span is an error, and only this one has a failure's event."""
    assert {span.status.status_code for span in recorder} == {StatusCode.UNSET}
    assert [span.name for span in recorder if events(span, ERROR)] == [name]
    assert not [span.name for span in recorder if (span.attributes or {}).get("error.type")]


def test_another_volume_that_fails(cinder: Cinder, spans: Recorder, measured: list[Any]) -> None:
    """A volume made beside the message's, for the image cache, fails: nothing of the message does."""
    volume, for_the_cache = cinder.volume(), cinder.volume()
    with work(spans, volume=volume.id), spans.tracer.start_as_current_span("task"):
        cinder.flows.common.error_out(for_the_cache, reason=LookupError("no room"))
    untouched_but_for(spans, "task")
    (event,) = events(spans["task"], ERROR)
    assert event["cinder.resource.id"] == for_the_cache.id
    assert event["cinder.reason"] == "no room"
    assert len(measured) == 1, "the cache's volume is in error"


def test_another_row_that_fails(cinder: Cinder, spans: Recorder) -> None:
    """The same, written to the database directly."""
    volume, another = cinder.volume(), cinder.volume()
    with work(spans, volume=volume.id):
        cinder.db.volume_update(cinder.context, another.id, {"status": "error"})
    untouched_but_for(spans, "process")


def test_message_about_another_volume(cinder: Cinder, spans: Recorder) -> None:
    """A user message about another volume does not make the message's span an error."""
    volume, for_the_cache = cinder.volume(), cinder.volume()
    with work(spans, volume=volume.id), spans.tracer.start_as_current_span("task"):
        cinder.messages.create(
            cinder.context,
            cinder.field.Action.CREATE_VOLUME_FROM_BACKEND,
            resource_uuid=for_the_cache.id,
            exception=LookupError("no room"),
        )
    assert {span.status.status_code for span in spans} == {StatusCode.UNSET}
    (event,) = events(spans["task"], MESSAGE)
    assert event["cinder.reason"] == "no room"


def test_failure_of_another_resource_is_no_later_reason(cinder: Cinder, spans: Recorder) -> None:
    """A volume that fails without a reason does not get the one of another volume."""
    volume, for_the_cache = cinder.volume(), cinder.volume()
    with work(spans, volume=volume.id) as span:
        local_root.remember(LookupError("no room"))
        cinder.flows.common.error_out(for_the_cache)
        cinder.flows.common.error_out(volume)
        assert span.is_recording()
    assert [event["cinder.reason"] for event in events(spans["process"], ERROR)] == [
        "no room",
        "no reason given",
    ]


def test_reason_is_the_resources_last_failure(cinder: Cinder, spans: Recorder) -> None:
    """Of several volumes that failed in the driver, each has its own reason."""
    first, second = cinder.volume(), cinder.volume()
    with work(spans):
        local_root.remember(LookupError("first"), [first.id])
        local_root.remember(LookupError("second"), [second.id])
        for volume in (first, second):
            volume.status = "error"
            volume.save()
    assert [event["cinder.reason"] for event in events(spans["process"], ERROR)] == [
        "first",
        "second",
    ]


def test_parts_fail_the_whole(cinder: Cinder, spans: Recorder) -> None:
    """A message is also about a snapshot of its volume and a volume of its group."""
    group = str(uuid.uuid4())
    volume, member = cinder.volume(), cinder.volume(group_id=group)
    snapshot = cinder.objects.Snapshot(
        cinder.context, volume_id=volume.id, status="deleting", volume_type_id="t"
    )
    snapshot.create()
    with work(spans, "cascade", volume=volume.id):
        snapshot.status = "error_deleting"
        snapshot.save()
    with work(spans, "group", group=group):
        member.status = "error"
        member.save()
    with work(spans, "rows", group=group):
        row = {"id": volume.id, "status": "error_deleting"}
        cinder.db.volumes_update(cinder.context, [row])
    assert {span.status.status_code for span in spans} == {StatusCode.ERROR}


# What is not deleted


BUSY = "VolumeIsBusy: deleting volume v that has snapshot"


@pytest.fixture
def volumes(cinder: Cinder, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A volume manager without a driver."""
    manager = object.__new__(cinder.volume_manager.VolumeManager)
    manager.host = "node-1@lvm"
    manager.cluster = None
    manager.db = cinder.db
    monkeypatch.setattr("cinder.rpc.get_notifier", Notifier)
    return manager


def test_busy_volume(cinder: Cinder, volumes: Any, spans: Recorder, measured: list[Any]) -> None:
    """A volume that is to be deleted and is busy is available again: the message is an error."""
    volume = cinder.volume(status="deleting")
    with work(spans, method="cinder-volume/delete_volume", volume=volume.id):
        try:
            raise cinder.exception.VolumeIsBusy(volume_name="v")
        except cinder.exception.VolumeIsBusy:
            volumes._clear_db(volume, "available")
    assert cinder.status(volume) == "available"
    assert spans["process"].status.description == BUSY
    assert told(spans["process"]) == [("volume", "available", "VolumeIsBusy")]
    assert measured == [], "it is in no error status"


def test_busy_volume_of_a_migration(cinder: Cinder, volumes: Any, spans: Recorder) -> None:
    """A migration's volume that is busy is forgotten, and left behind in the backend: an error."""
    volume = cinder.volume(status="deleting", migration_status="target:v")
    with work(spans, method="cinder-volume/delete_volume", volume=volume.id):
        try:
            raise cinder.exception.VolumeIsBusy(volume_name="v")
        except cinder.exception.VolumeIsBusy:
            volumes._clear_db(volume, "available")
    assert spans["process"].status.description == BUSY
    assert told(spans["process"]) == [("volume", "deleted", "VolumeIsBusy")]


def test_busy_volume_of_a_group(cinder: Cinder, spans: Recorder, measured: list[Any]) -> None:
    """A group's volume that is busy goes back to available, among others that are deleted."""
    busy, deleted = (cinder.volume(status="deleting") for _ in range(2))
    with work(spans, method="cinder-volume/delete_group", group="g"):
        local_root.remember(cinder.exception.VolumeIsBusy(volume_name="v"), [busy.id])
        rows = [{"id": busy.id, "status": "available"}, {"id": deleted.id, "status": "deleted"}]
        cinder.db.volumes_update(cinder.context, rows)
    assert told(spans["process"]) == [("volume", "available", "VolumeIsBusy")]
    assert spans["process"].status.description == BUSY
    assert measured == []


@pytest.mark.parametrize(
    ("method", "status"),
    [("create_volume", "available"), ("delete_volume", "deleted"), ("extend_volume", "in-use")],
)
def test_other_statuses_fail_nothing(
    cinder: Cinder, spans: Recorder, method: str, status: str
) -> None:
    """A created volume that is available, or a deleted one that is deleted, is no failure."""
    volume = cinder.volume()
    with work(spans, method=f"cinder-volume/{method}", volume=volume.id):
        volume.status = status
        volume.save()
        cinder.db.volume_update(cinder.context, volume.id, {"status": status})
    untouched(spans)


def test_temporary_volume_that_stays_is_beside_the_point(cinder: Cinder, spans: Recorder) -> None:
    """A volume that becomes available while another is deleted is no failure."""
    volume, another = cinder.volume(), cinder.volume()
    with work(spans, method="cinder-volume/delete_volume", volume=volume.id):
        another.status = "available"
        another.save()
        cinder.db.volume_update(cinder.context, another.id, {"status": "available"})
    untouched(spans)


# What could not be written down


def no_database(*_args: Any, **_kwargs: Any) -> None:
    raise ConnectionError("the database is gone")


def test_status_that_could_not_be_saved(
    cinder: Cinder, spans: Recorder, measured: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A volume that should be available and stays as it was is the message's failure."""
    volume = cinder.volume()
    monkeypatch.setattr(cinder.db, "volume_update", no_database)
    with work(spans, volume=volume.id), pytest.raises(ConnectionError):
        volume.status = "available"
        volume.save()
    monkeypatch.undo()
    assert told(spans["process"]) == [("volume", "unsaved", "ConnectionError")]
    assert spans["process"].status.description == "ConnectionError: the database is gone"
    assert measured == [], "it is in no error status"


@pytest.mark.parametrize("status", ["downloading", "creating", "backing-up", "restoring-backup"])
def test_passing_status_that_could_not_be_saved(
    cinder: Cinder, spans: Recorder, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    """Cinder goes on without a status that would soon be another; so nothing has failed."""
    volume = cinder.volume()
    monkeypatch.setattr(cinder.db, "volume_update", no_database)
    with work(spans, volume=volume.id), pytest.raises(ConnectionError):
        volume.status = status
        volume.save()
    monkeypatch.undo()
    untouched(spans)


# A whole backend


class _BackendDriver:
    """A driver whose every operation fails."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        def fail(*_args: Any, **_kwargs: Any) -> None:
            raise self._error

        return fail


@pytest.fixture
def service(cinder: Cinder, volumes: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The manager's service."""
    service = cinder.objects.Service(
        cinder.context,
        host="node-1@lvm",
        binary="cinder-volume",
        topic="cinder-volume",
        replication_status="enabled",
        report_count=0,
    )
    service.create()
    monkeypatch.setattr(volumes, "_get_service", lambda *_: service, raising=False)
    monkeypatch.setattr(volumes, "_get_my_volumes", lambda *_: cinder.listed, raising=False)
    monkeypatch.setattr(
        volumes, "_get_cluster_or_host_filters", lambda: {"host": "h"}, raising=False
    )
    cinder.listed = []
    return service


@pytest.mark.parametrize(
    ("error", "status"),
    [("InvalidReplicationTarget", "enabled"), ("VolumeDriverException", "failover-error")],
)
def test_failover_that_fails(
    cinder: Cinder, volumes: Any, service: Any, spans: Recorder, error: str, status: str
) -> None:
    """A failover that the driver refuses, or fails at, is the message's failure."""
    volumes.driver = _BackendDriver(getattr(cinder.exception, error)(reason="no such array"))
    with work(spans, method="cinder-volume/failover_host"):
        volumes.failover(cinder.context, "array-2")
    assert service.replication_status == status
    assert told(spans["process"]) == [("service", status, error)]
    (event,) = events(spans["process"], ERROR)
    assert event["cinder.resource.id"] == "node-1@lvm"
    assert spans["process"].status.status_code is StatusCode.ERROR


def test_failover_gives_up_unreplicated_volumes(
    cinder: Cinder, volumes: Any, service: Any, spans: Recorder, measured: list[Any]
) -> None:
    """Volumes that no other backend has are in error, as they are meant to: no failure."""
    volumes.driver = SimpleNamespace(failover_host=lambda *_a, **_k: ("array-2", [], []))
    volume = cinder.volume(status="available", replication_status="disabled", host="node-1@lvm")
    cinder.listed = [volume]
    with work(spans, method="cinder-volume/failover_host"):
        volumes.failover(cinder.context, "array-2")
    assert cinder.status(volume) == "error"
    assert service.replication_status == "failed-over"
    untouched_but_for(spans, "process")
    assert len(measured) == 1


def test_failover_of_a_volume_that_fails(
    cinder: Cinder, volumes: Any, service: Any, spans: Recorder
) -> None:
    """A replicated volume that the driver could not fail over is the message's failure."""
    volume = cinder.volume(status="available", replication_status="enabled", host="node-1@lvm")
    cinder.listed = [volume]
    update = {"volume_id": volume.id, "updates": {"replication_status": "failover-error"}}
    volumes.driver = SimpleNamespace(failover_host=lambda *_a, **_k: ("array-2", [update], []))
    with work(spans, method="cinder-volume/failover_host"):
        volumes.failover(cinder.context, "array-2")
    assert told(spans["process"]) == [("volume", "error", "unknown")]
    assert spans["process"].status.status_code is StatusCode.ERROR


def test_completed_failover_that_fails(
    cinder: Cinder, volumes: Any, service: Any, spans: Recorder
) -> None:
    """A member of a cluster whose driver fails to complete the failover."""
    error = cinder.exception.VolumeDriverException(message="no path")
    volumes.driver = _BackendDriver(error)
    with work(spans, method="cinder-volume/failover_completed"):
        local_root.remember(error)  # as the driver's span does
        volumes.failover_completed(cinder.context, {"active_backend_id": "array-2"})
    assert told(spans["process"]) == [("service", "error", "VolumeDriverException")]


def test_thaw_that_fails(cinder: Cinder, volumes: Any, service: Any, spans: Recorder) -> None:
    """A backend that stays frozen is the message's failure, though it is only answered."""
    error = cinder.exception.VolumeDriverException(message="no path")
    volumes.driver = _BackendDriver(error)
    with work(spans, method="cinder-volume/thaw_host"):
        local_root.remember(error)
        assert volumes.thaw_host(cinder.context) is False
        volumes.driver = SimpleNamespace(thaw_backend=lambda _context: None)
        assert volumes.thaw_host(cinder.context) is True
    assert told(spans["process"]) == [("service", "frozen", "VolumeDriverException")]


def test_services_heartbeat(cinder: Cinder, service: Any, spans: Recorder) -> None:
    """Saving a service outside of messages, or in a request, records nothing."""
    service.replication_status = "error"
    service.save()
    with work(spans, "PUT", is_http=True):
        service.replication_status = "failover-error"
        service.save()
    with work(spans):
        service.report_count += 1
        service.save()
    untouched(spans)


def test_secrets_in_the_reason(cinder: Cinder, spans: Recorder) -> None:
    """No part of the span shows a password that is in the reason."""
    with work(spans):
        cinder.flows.common.error_out(cinder.volume(), ValueError("auth_password=hunter2"))
    assert "auth_password=***" in spans["process"].to_json()
    assert "hunter2" not in spans["process"].to_json()


# The scheduler


class _Driver:
    """A scheduler driver that finds no backend."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def is_ready(self) -> bool:
        return True

    def __getattr__(self, name: str) -> Any:
        def fail(*_args: Any) -> None:
            raise self._error

        return fail


@pytest.fixture
def manager(cinder: Cinder, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A scheduler that finds no backend for anything."""
    manager = object.__new__(cinder.scheduler.manager.SchedulerManager)
    manager.driver = _Driver(cinder.exception.NoValidBackend(reason="too small"))
    manager.message_api = cinder.messages
    manager._startup_delay = False
    monkeypatch.setattr("cinder.rpc.get_notifier", Notifier)
    return manager


def test_create_that_finds_no_backend(
    cinder: Cinder, manager: Any, spans: Recorder, measured: list[Any]
) -> None:
    """The flow ends in success; its task and the message are errors, and say why, once each."""
    volume = cinder.volume()
    with work(spans):
        cinder.scheduler.flows.create_volume.get_flow(
            cinder.context, manager.driver, {"volume_id": volume.id}, {}, volume
        ).run()
    assert cinder.status(volume) == "error"
    assert spans["volume_create_scheduler"].attributes["taskflow.flow.state"] == "SUCCESS"  # type: ignore[index]
    for name in ("ScheduleCreateVolumeTask", "process"):
        description = spans[name].status.description
        assert description is not None
        assert description.startswith("NoValidBackend: No valid backend was found. too small")
        assert told(spans[name]) == [("volume", "error", "NoValidBackend")]
        (event,) = events(spans[name], MESSAGE)
        assert event.pop("cinder.reason") == "No valid backend was found. too small"
        assert event == {
            "cinder.user_message.action": "schedule allocate volume",
            "cinder.user_message.detail_id": "003",
            "cinder.user_message.text": "Could not find any available weighted backend.",
            "cinder.user_message.level": "ERROR",
            "error.type": "NoValidBackend",
        }
    assert len(measured) == 1


def test_retype_that_finds_no_backend(
    cinder: Cinder, manager: Any, spans: Recorder, measured: list[Any]
) -> None:
    """The message is an error; the volume has the status it had, and is not counted as in error."""
    volume = cinder.volume(status="retyping", previous_status="available")
    spec = {"volume_id": volume.id, "volume_type": {"id": "t"}}
    with work(spans):
        manager.retype(cinder.context, volume, request_spec=spec)
    assert cinder.status(volume) == "available"
    assert told(spans["process"]) == [("volume", "available", "NoValidBackend")]
    assert spans["process"].status.status_code is StatusCode.ERROR
    assert measured == []


def test_migration_that_finds_no_backend(
    cinder: Cinder, manager: Any, spans: Recorder, measured: list[Any]
) -> None:
    """A migration that is not to be is counted as one that failed."""
    volume = cinder.volume(status="available", migration_status="starting")
    with work(spans):
        manager.migrate_volume(
            cinder.context,
            volume,
            "node-2@lvm",
            False,
            request_spec={"volume_id": volume.id},
            filter_properties={},
        )
    assert told(spans["process"]) == [("volume", "migration_error", "NoValidBackend")]
    assert [measurement["cinder.resource.status"] for measurement in measured] == [
        "migration_error"
    ]


def test_manage_that_finds_no_backend(
    cinder: Cinder, manager: Any, spans: Recorder, measured: list[Any]
) -> None:
    """A volume that could not be managed is recorded with its status in the database."""
    volume = cinder.volume(status="managing", host="node-1@lvm")
    with work(spans):
        manager.manage_existing(cinder.context, volume, request_spec={"volume_id": volume.id})
    assert cinder.status(volume) == "error_managing"
    assert told(spans["process"]) == [("volume", "error_managing", "NoValidBackend")]
    assert len(measured) == 1


def test_snapshot_that_does_not_fit(
    cinder: Cinder, manager: Any, spans: Recorder, measured: list[Any]
) -> None:
    """A snapshot that the scheduler fails is recorded with its reason."""
    volume = cinder.volume()
    snapshot = cinder.objects.Snapshot(
        cinder.context, volume_id=volume.id, status="creating", volume_type_id="t"
    )
    snapshot.create()
    with work(spans):
        manager.create_snapshot(
            cinder.context, volume, snapshot, "node-1@lvm", request_spec={"volume_properties": {}}
        )
    assert told(spans["process"]) == [("snapshot", "error", "NoValidBackend")]
    assert len(measured) == 1


def test_unexpected_failure_passes_the_scheduler(
    cinder: Cinder, manager: Any, spans: Recorder
) -> None:
    """The manager raises the same exception object again."""
    error = RuntimeError("boom")
    manager.driver = _Driver(error)
    volume = cinder.volume(status="managing", host="node-1@lvm")
    with work(spans), pytest.raises(RuntimeError) as raised:
        manager.manage_existing(cinder.context, volume, request_spec={"volume_id": volume.id})
    assert raised.value is error
    assert told(spans["process"]) == [("volume", "error_managing", "RuntimeError")]


# Messages to the user


def test_message_from_the_request_context(cinder: Cinder, spans: Recorder) -> None:
    """A user message that takes its resource from the context is recorded once."""
    context = cinder.context.elevated()
    context.message_action = cinder.field.Action.BACKUP_CREATE
    context.message_resource_type = cinder.field.Resource.VOLUME_BACKUP
    context.message_resource_id = "b"
    with work(spans):
        cinder.messages.create_from_request_context(
            context, detail=cinder.field.Detail.BACKUP_SERVICE_DOWN
        )
    (event,) = events(spans["process"], MESSAGE)
    assert event["cinder.user_message.action"] == "create backup"
    assert event["cinder.user_message.detail_id"] == "018"
    assert spans["process"].status.description == "unknown: Backup service is down."


def test_message_that_is_no_error(cinder: Cinder, spans: Recorder) -> None:
    """A warning is an event of the span at work; nothing becomes an error by it."""
    with work(spans), spans.tracer.start_as_current_span("task"):
        cinder.messages.create(
            cinder.context,
            cinder.field.Action.BACKUP_CREATE,
            detail=cinder.field.Detail.INCREMENTAL_BACKUP_FORCES_FULL_BACKUP,
            level="WARNING",
        )
    (event,) = events(spans["task"], MESSAGE)
    assert event["cinder.user_message.level"] == "WARNING"
    assert {span.status.status_code for span in spans} == {StatusCode.UNSET}
    assert not spans["process"].events


def test_message_does_not_hide_the_failure(cinder: Cinder, spans: Recorder) -> None:
    """A message without an exception goes with the failure that is known."""
    volume = cinder.volume()
    with work(spans):
        cinder.flows.common.error_out(volume, LookupError("LUN 3 is full"))
        cinder.messages.create(
            cinder.context,
            cinder.field.Action.EXTEND_VOLUME,
            resource_uuid=volume.id,
            detail=cinder.field.Detail.DRIVER_FAILED_EXTEND,
        )
    (event,) = events(spans["process"], MESSAGE)
    assert event["cinder.reason"] == "LUN 3 is full"
    assert spans["process"].status.description == "LookupError: LUN 3 is full"


def test_unsampled_message(database: Cinder, instrumented: Callable[..., Recorder]) -> None:
    """Without a sampled span the message is written, and that is all."""
    spans = instrumented(ALWAYS_OFF)
    with work(spans):
        database.messages.create(database.context, database.field.Action.ATTACH_VOLUME)
    assert len(spans) == 0


# Rescheduling


class _SchedulerRpc:
    """Casts, in a span of its own."""

    def __init__(self, spans: Recorder, error: Exception | None = None) -> None:
        self._spans = spans
        self._error = error

    def create_volume(self, *_args: Any, **_kwargs: Any) -> None:
        with self._spans.tracer.start_as_current_span("cast"):
            if self._error:
                raise self._error


class _Manager:
    def driver_delete_volume(self, _volume: Any) -> None:
        raise LookupError("there is none")


def reschedule(cinder: Cinder, spans: Recorder, rpc: _SchedulerRpc, cause: Any) -> Any:
    """Revert a creation that has failed on its first backend."""
    task = cinder.flows.manager.create_volume.OnFailureRescheduleTask(
        cinder.context, None, _Manager(), rpc, do_reschedule=True
    )
    retry = {"num_attempts": 1, "hosts": ["a@lvm#p"], "backends": ["a@lvm#p"]}
    volume = cinder.volume(host="a@lvm#p")
    with work(spans), spans.tracer.start_as_current_span("revert"):
        return task.revert(
            cinder.context,
            None,
            {"CreateVolumeFromSpecTask": cause},
            volume,
            request_spec={},
            filter_properties={"retry": retry},
        )


def failed(error: Exception) -> Any:
    from taskflow.types.failure import Failure

    try:
        raise error
    except type(error):
        return Failure()


def test_reschedule(cinder: Cinder, spans: Recorder) -> None:
    """The reverting task and the message say which attempt failed, where and why; the cast is fine."""
    rpc = _SchedulerRpc(spans)
    assert reschedule(cinder, spans, rpc, failed(LookupError("LUN 3 is full"))) is True
    for name in ("revert", "process"):
        assert events(spans[name], conventions.RESCHEDULE_EVENT) == [
            {
                "cinder.schedule.attempt": 1,
                "cinder.volume.host": "a@lvm#p",
                "error.type": "LookupError",
                "cinder.reason": "LUN 3 is full",
            }
        ]
        assert spans[name].status.description == "LookupError: LUN 3 is full"
    assert spans["cast"].status.status_code is StatusCode.UNSET


def test_reschedule_that_fails(cinder: Cinder, spans: Recorder) -> None:
    """The exception of a failing cast passes; the first reason stays."""
    error = RuntimeError("no broker")
    rpc = _SchedulerRpc(spans, error)
    with pytest.raises(RuntimeError) as raised:
        reschedule(cinder, spans, rpc, failed(LookupError("LUN 3 is full")))
    assert raised.value is error
    assert spans["process"].status.description == "LookupError: LUN 3 is full"


# Guests


@pytest.mark.complains
def test_our_own_errors_do_not_reach_cinder(
    cinder: Cinder, spans: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If marking fails, statuses are still saved and messages written."""

    def broken(*_args: Any, **_kwargs: Any) -> Any:
        raise RuntimeError("ours")

    volume = cinder.volume()
    with work(spans):
        monkeypatch.setattr("otel_cinder.spans.local_root.fail", broken)
        cinder.flows.common.error_out(volume, reason="none")
        monkeypatch.setattr("otel_cinder.spans.local_root.why", broken)
        second = cinder.volume()
        cinder.flows.common.error_out(second, reason="none")
        cinder.db.volume_update(cinder.context, second.id, {"status": "error"})
        cinder.db.volumes_update(cinder.context, [{"id": second.id, "status": "error"}])
        assert second.conditional_update({"status": "error"}, {})
        cinder.messages.create(cinder.context, cinder.field.Action.ATTACH_VOLUME)
        assert reschedule(cinder, spans, _SchedulerRpc(spans), failed(LookupError("x")))
    assert cinder.status(volume) == cinder.status(second) == "error"


def test_uninstrument_leaves_the_originals(database: Cinder) -> None:
    """Each place holds the same object as before."""

    def places() -> dict[str, Any]:
        originals = {}
        for row in CinderInstrumentor().status():
            if row.seam != seam.SEAM:
                continue
            module, _, path = row.target.partition(":")
            owner: Any = importlib.import_module(module)
            *parents, name = path.split(".")
            for parent in parents:
                owner = getattr(owner, parent)
            originals[row.target] = vars(owner)[name]
        return originals

    otel_cinder.instrument(tracer_provider=Recorder().provider)
    rows = [row for row in CinderInstrumentor().status() if row.seam == seam.SEAM]
    assert {row.state for row in rows} == {"on"}
    during = places()
    otel_cinder.uninstrument()
    before = places()
    otel_cinder.instrument(tracer_provider=Recorder().provider)
    otel_cinder.uninstrument()
    assert before
    for target, original in places().items():
        assert original is before[target], target
        assert during[target] is not original, target


@pytest.mark.parametrize(
    ("service", "modules"),
    [
        ("api", ["cmd.api", "api.v3.router"]),
        ("uwsgi", ["wsgi.wsgi", "api.v3.router"]),
        ("scheduler", ["cmd.scheduler", "scheduler.manager", "scheduler.filter_scheduler"]),
        ("volume", ["cmd.volume", "volume.manager"]),
        ("backup", ["cmd.backup", "backup.manager"]),
    ],
)
def test_services_import_the_patched_places(service: str, modules: list[str]) -> None:
    """In a service's order of imports, all places are patched, without a log line."""
    ran = run(
        f"""
        import warnings; warnings.simplefilter("ignore")
        from otel_cinder import activation
        activation.activate()
        import importlib, json, logging, sys
        logging.basicConfig(level="WARNING")
        first, *others = {modules}
        importlib.import_module("cinder." + first)
        from cinder import objects
        objects.register_all()  # as its main() does
        for module in others:
            importlib.import_module("cinder." + module)
        from otel_cinder.instrumentor import CinderInstrumentor
        rows = [r for r in CinderInstrumentor().status() if r.seam in ("handled", "scheduler")]
        waiting = [r.target for r in rows if r.state == "waiting"]
        missed = [target for target in waiting if target.partition(":")[0] in sys.modules]
        print(json.dumps([{{r.target: r.state for r in rows}}, missed]))
        """,
        env={"OTEL_CINDER_ENABLED": "true", "OTEL_TRACES_EXPORTER": "none"},
    )
    names, missed = ran.said
    assert missed == []
    assert "otel-cinder" not in ran.stderr
    states = {target.partition("cinder.")[2]: state for target, state in names.items()}
    assert set(states.values()) <= {"on", "waiting"}
    import cinder.db

    database = "db" if hasattr(cinder.db, "volume_update") else "db.api"
    common = {
        "objects.volume:Volume.save",
        "objects.snapshot:Snapshot.save",
        "objects.backup:Backup.save",
        "objects.group:Group.save",
        "objects.group_snapshot:GroupSnapshot.save",
        "objects.base:CinderPersistentObject.conditional_update",
        f"{database}:volume_update",
        f"{database}:volumes_update",
        "message.api:API.create",
    }
    create = "volume.flows.common:error_out"
    manager = "scheduler.manager:SchedulerManager"
    choose = "scheduler.filter_scheduler:FilterScheduler"
    own = {
        "api": {create},
        "uwsgi": {create},
        "scheduler": {
            create,
            f"{manager}._set_volume_state_and_notify",
            f"{manager}._set_snapshot_state_and_notify",
            "scheduler.base_filter:BaseFilterHandler.get_filtered_objects",
            f"{choose}._choose_top_backend",
            f"{choose}._choose_top_backend_generic_group",
        },
        "volume": {
            create,
            "volume.flows.manager.create_volume:OnFailureRescheduleTask._reschedule",
        },
        "backup": {"backup.manager:BackupManager.reset_status"},
    }
    assert common | own[service] <= {name for name, state in states.items() if state == "on"}
