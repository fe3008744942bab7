"""Interrupted work at a service's start, with Cinder's own managers on SQLite."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import futurist
import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

from otel_cinder.seams import interrupted as seam
from otel_cinder.spans.service import SERVICE
from tests.unit.recording import Recorder
from tests.unit.seams.cinder_objects import PROJECT, Cinder, Notifier, events, told, work

pytestmark = pytest.mark.filterwarnings("ignore")  # Cinder's, and its libraries'

HOST = "node-1@lvm"


@pytest.fixture
def manager(cinder: Cinder, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A volume manager whose driver does nothing."""
    manager = object.__new__(cinder.volume_manager.VolumeManager)
    manager.host, manager.cluster, manager.db = HOST, None, cinder.db
    manager.driver = SimpleNamespace(clear_download=lambda *_: None)
    monkeypatch.setattr("cinder.rpc.get_notifier", Notifier)
    return manager


@pytest.fixture
def backups(cinder: Cinder, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A backup manager."""
    manager = object.__new__(cinder.backup.manager.BackupManager)
    manager.host, manager.db = "node-1", cinder.db
    manager.volume_rpcapi = SimpleNamespace(
        delete_volume=lambda *_: None, delete_snapshot=lambda *_: None
    )
    monkeypatch.setattr("cinder.rpc.get_notifier", Notifier)
    return manager


@pytest.fixture
def pool(manager: Any) -> Iterator[Any]:
    """The manager's threads."""
    from oslo_config import cfg

    with futurist.ThreadPoolExecutor(1) as pool:
        manager._tpe = pool
        manager._tp = SimpleNamespace(spawn_n=pool.submit)  # which is eventlet's below Cinder 29
        cfg.CONF.set_override("volume_service_inithost_offload", True)
        yield pool
        cfg.CONF.clear_override("volume_service_inithost_offload")


def a_backup(cinder: Cinder, **fields: Any) -> Any:
    backup = cinder.objects.Backup(
        cinder.context, user_id="u", project_id=PROJECT, host="node-1", **fields
    )
    backup.create()
    return cinder.objects.Backup.get_by_id(cinder.context, backup.id)


def status(span: ReadableSpan) -> tuple[StatusCode, str | None]:
    return span.status.status_code, span.status.description


def context_is_clean() -> bool:
    return not otel_context.get_current()


def test_interrupted_create(cinder: Cinder, manager: Any, spans: Recorder) -> None:
    """A volume that was being created is put into error: a trace of its own, with the reason."""
    volume = cinder.volume(size=3, host=f"{HOST}#pool", user_id="user", display_name="mine")
    assert manager._do_cleanup(cinder.context, volume) is False
    assert cinder.status(volume) == "error"
    (span,) = spans
    assert (span.name, span.kind, span.parent) == ("clean up volume", SpanKind.INTERNAL, None)
    assert status(span) == (
        StatusCode.ERROR,
        "Interrupted: its service ended while it was creating",
    )
    assert told(span) == [("volume", "error", "Interrupted")]
    attributes = dict(span.attributes or {})
    assert attributes == {
        "cinder.interrupted": "creating",
        "cinder.volume.id": volume.id,
        "cinder.volume.size": 3,
        "cinder.volume.type": "t",
        "cinder.volume.host": f"{HOST}#pool",
        "openstack.project_id": PROJECT,
        "openstack.user_id": "user",
        "openstack.request_id": cinder.context.request_id,
        "error.type": "Interrupted",
    }
    assert context_is_clean()


def test_interrupted_delete(
    cinder: Cinder, manager: Any, spans: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deletion that goes on is in the trace, and no error; it belongs to the manager's service."""
    seen: list[Any] = []

    def delete(_manager: Any, *_args: Any, **_kwargs: Any) -> None:
        seen.append(trace.get_current_span())
        seen.append(otel_context.get_value(SERVICE))

    monkeypatch.setattr(cinder.volume_manager.VolumeManager, "delete_volume", delete)
    volume = cinder.volume(status="deleting")
    assert manager._do_cleanup(cinder.context, volume) is True
    span = spans["clean up volume"]
    assert seen[0].get_span_context() == span.context
    assert seen[1] == ("cinder-volume", HOST)
    assert status(span) == (StatusCode.UNSET, None)
    assert not span.events
    assert (span.attributes or {})["cinder.interrupted"] == "deleting"


def test_interrupted_delete_that_fails(
    cinder: Cinder, manager: Any, spans: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deletion that fails again is an error by what it fails at, and Cinder gets that."""

    def delete(_manager: Any, *_args: Any, **_kwargs: Any) -> None:
        raise LookupError("no such array")

    monkeypatch.setattr(cinder.volume_manager.VolumeManager, "delete_volume", delete)
    with pytest.raises(LookupError, match="no such array"):
        manager._do_cleanup(cinder.context, cinder.volume(status="deleting"))
    assert status(spans["clean up volume"]) == (StatusCode.ERROR, "LookupError: no such array")


@pytest.mark.parametrize("fails", [False, True])
def test_delete_that_is_handed_to_a_thread(
    cinder: Cinder,
    manager: Any,
    pool: Any,
    spans: Recorder,
    monkeypatch: pytest.MonkeyPatch,
    fails: bool,
) -> None:
    """With volume_service_inithost_offload the span goes along, and ends with the deletion."""
    seen: list[Any] = []

    def delete(_manager: Any, *_args: Any, **_kwargs: Any) -> None:
        seen.append(trace.get_current_span().is_recording())
        if fails:
            raise LookupError("no such array")

    monkeypatch.setattr(cinder.volume_manager.VolumeManager, "delete_volume", delete)
    assert manager._do_cleanup(cinder.context, cinder.volume(status="deleting")) is True
    pool.shutdown()
    assert seen == [True]
    description = "LookupError: no such array" if fails else None
    assert spans["clean up volume"].status.description == description
    assert context_is_clean()


def test_thread_that_can_not_be_had(
    cinder: Cinder, manager: Any, pool: Any, spans: Recorder
) -> None:
    """Where the pool refuses, its error passes, and the span ends with it."""
    pool.shutdown()
    with pytest.raises(RuntimeError):
        manager._do_cleanup(cinder.context, cinder.volume(status="deleting"))
    assert spans["clean up volume"].status.status_code is StatusCode.ERROR


def test_other_work_for_threads(manager: Any, pool: Any, spans: Recorder) -> None:
    """Other work in a manager's threads is left alone."""
    done: list[Any] = []
    manager._add_to_threadpool(lambda *args, **kwargs: done.append((args, kwargs)), 1, two=2)
    pool.shutdown()
    assert done == [((1,), {"two": 2})]
    assert not list(spans)


def test_interrupted_upload(cinder: Cinder, manager: Any, spans: Recorder) -> None:
    """A volume is as good as ever, but the upload is not done: an error, although none is set."""
    volume = cinder.volume(status="uploading")
    manager._do_cleanup(cinder.context, volume)
    assert cinder.status(volume) == "available"
    assert told(spans["clean up volume"]) == [("volume", "uploading", "Interrupted")]
    assert spans["clean up volume"].status.status_code is StatusCode.ERROR


def test_cleanup_that_was_asked_for(cinder: Cinder, manager: Any, spans: Recorder) -> None:
    """By the API's workers/cleanup each resource has its span; the request to do it has not failed."""
    first, second = cinder.volume(), cinder.volume()
    with work(spans, method="cinder-volume/do_cleanup"):
        manager._do_cleanup(cinder.context, first)
        manager._do_cleanup(cinder.context, second)
    assert spans.children(spans["process"]) == ["clean up volume"] * 2
    assert spans["process"].status.status_code is StatusCode.UNSET
    ids = [(span.attributes or {})["cinder.volume.id"] for span in spans.all("clean up volume")]
    assert ids == [first.id, second.id]


def test_scheduler_cleans_up(cinder: Cinder, spans: Recorder) -> None:
    """A volume that a scheduler was choosing a backend for is the scheduler's to put into error."""
    scheduler = object.__new__(cinder.scheduler.manager.SchedulerManager)
    scheduler.host = "node-1"
    volume = cinder.volume()
    scheduler._do_cleanup(cinder.context, volume)
    assert told(spans["clean up volume"]) == [("volume", "error", "Interrupted")]


@pytest.mark.parametrize("what", ["VolumeManager", "BackupManager"])
def test_start_itself_is_not_traced(
    cinder: Cinder, spans: Recorder, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """A start makes no span; spans of its work belong to the starting service."""
    seen: list[Any] = []

    class Stopped(Exception):
        pass

    def stop(*_args: Any, **_kwargs: Any) -> None:
        seen.append(otel_context.get_value(SERVICE))
        raise Stopped

    if what == "VolumeManager":
        manager = object.__new__(cinder.volume_manager.VolumeManager)
        manager.driver = SimpleNamespace(supported=True)
        monkeypatch.setattr(manager, "_init_host", stop, raising=False)
    else:
        manager = object.__new__(cinder.backup.manager.BackupManager)
        monkeypatch.setattr(manager, "setup_backup_backend", stop, raising=False)
    manager.host = HOST
    with pytest.raises(Stopped):
        manager.init_host()
    service = "cinder-volume" if what == "VolumeManager" else "cinder-backup"
    assert seen == [(service, HOST)]
    assert not list(spans)
    assert context_is_clean()


def test_export_that_fails_at_a_start(cinder: Cinder, spans: Recorder) -> None:
    """A volume in use whose export can't be made again is put into error: a trace of its own."""
    volume = cinder.volume(status="in-use")
    try:
        raise LookupError("no target")
    except LookupError:
        assert volume.conditional_update({"status": "error"}, {"status": "in-use"})
    (span,) = spans
    assert span.name == "set volume to error"
    assert status(span) == (StatusCode.ERROR, "LookupError: no target")


# Backups


def test_interrupted_backup(cinder: Cinder, backups: Any, spans: Recorder) -> None:
    """A backup that was being made is in error, with Cinder's own reason."""
    volume = cinder.volume(status="available")
    backup = a_backup(cinder, volume_id=volume.id, status="creating")
    backups._cleanup_one_backup(cinder.context, backup)
    (span,) = spans
    assert (span.name, span.parent) == ("clean up backup", None)
    assert told(span) == [("backup", "error", "Interrupted")]
    (event,) = events(span, "cinder.resource.error")
    assert event["cinder.reason"] == "incomplete backup reset on manager restart"
    attributes = span.attributes or {}
    assert attributes["cinder.backup.id"] == backup.id
    assert attributes["cinder.volume.id"] == volume.id


def test_interrupted_restore(cinder: Cinder, backups: Any, spans: Recorder) -> None:
    """The volume that was being restored is in error, and it is the one that the span names."""
    volume = cinder.volume(status="restoring-backup")
    backup = a_backup(
        cinder, volume_id=str(uuid.uuid4()), restore_volume_id=volume.id, status="restoring"
    )
    backups._cleanup_one_backup(cinder.context, backup)
    (span,) = spans
    assert told(span) == [("volume", "error_restoring", "Interrupted")]
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes or {})["cinder.volume.id"] == volume.id


@pytest.mark.parametrize("status", ["error", "error_deleting"])
def test_backup_that_is_only_looked_at(
    cinder: Cinder, backups: Any, spans: Recorder, status: str
) -> None:
    """A backup that has failed long ago is no trace at each start."""
    backup = a_backup(cinder, volume_id="v", status=status)
    backups._cleanup_one_backup(cinder.context, backup)
    backups._cleanup_temp_volumes_snapshots_for_one_backup(cinder.context, backup)
    assert not list(spans)


def test_leftovers_of_a_backup(cinder: Cinder, backups: Any, spans: Recorder) -> None:
    """Leftovers of a failed backup are deleted in a trace; within a message, in the message's."""
    volume = cinder.volume()
    fields = {"volume_id": "v", "status": "error", "temp_volume_id": volume.id}
    first, second = a_backup(cinder, **fields), a_backup(cinder, **fields)
    backups._cleanup_temp_volumes_snapshots_for_one_backup(cinder.context, first)
    with work(spans):
        backups._cleanup_temp_volumes_snapshots_for_one_backup(cinder.context, second)
    assert first.temp_volume_id is second.temp_volume_id is None
    assert sorted(spans.names) == ["clean up backup", "process"]
    assert spans["clean up backup"].status.status_code is StatusCode.UNSET


# Keys


@pytest.mark.parametrize("fails", [False, True])
def test_migration_of_keys(
    cinder: Cinder, spans: Recorder, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """A volume's key that is migrated at a start is a trace, and an error where that fails."""
    from cinder.keymgr import migration
    from cinder.volume.volume_migration import VolumeMigration

    def key(_migrator: Any, _user: str) -> str:
        if fails:
            raise LookupError("no Barbican")
        return "k"

    volume = cinder.volume(user_id="user")
    item = VolumeMigration.from_volume(volume, cinder.context)
    migrator = object.__new__(migration.KeyMigrator)
    migrator.admin_context = cinder.context
    monkeypatch.setattr(migration.KeyMigrator, "_get_barbican_key_id", key)
    if fails:
        with pytest.raises(LookupError):
            migrator._update_encryption_key_id(item)
    else:
        migrator._update_encryption_key_id(item)
    (span,) = spans
    assert span.name == "migrate key of volume"
    assert (span.attributes or {})["cinder.volume.id"] == volume.id
    assert (span.status.status_code is StatusCode.ERROR) == fails


# What must not be


def test_unsampled_cleanup(database: Cinder, instrumented: Callable[..., Recorder]) -> None:
    """If the sampler drops it, the work is done without a span."""
    spans = instrumented(ALWAYS_OFF)
    manager = object.__new__(database.volume_manager.VolumeManager)
    manager.host = HOST
    volume = database.volume()
    manager._do_cleanup(database.context, volume)
    assert database.status(volume) == "error"
    assert not list(spans)


@pytest.mark.complains
def test_our_own_errors_do_not_reach_cinder(
    cinder: Cinder, manager: Any, backups: Any, spans: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If all our code fails, Cinder still cleans up."""

    def broken(*_args: Any, **_kwargs: Any) -> Any:
        raise RuntimeError("ours")

    def stop(*_args: Any, **_kwargs: Any) -> None:
        raise LookupError

    first, second, third = cinder.volume(), cinder.volume(), cinder.volume(status="uploading")
    monkeypatch.setattr(seam, "_tell", broken)
    manager._do_cleanup(cinder.context, third)
    monkeypatch.setattr("otel_cinder.cinder.resources.attributes_of", broken)
    manager._do_cleanup(cinder.context, first)
    monkeypatch.setattr("otel_cinder.cinder.resources.interrupted", broken)
    manager._do_cleanup(cinder.context, second)
    assert cinder.status(first) == cinder.status(second) == "error"
    monkeypatch.setattr("otel_cinder.cinder.resources.has_leftovers", broken)
    backups._cleanup_temp_volumes_snapshots_for_one_backup(
        cinder.context, a_backup(cinder, volume_id="v", status="error")
    )
    monkeypatch.setattr(type(manager), "_init_host", stop)
    manager.driver = SimpleNamespace(supported=True)
    monkeypatch.setattr("otel_cinder.cinder.services.service_of", broken)
    with pytest.raises(LookupError):
        manager.init_host()
    assert context_is_clean()
