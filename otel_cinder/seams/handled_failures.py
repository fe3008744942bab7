"""Failures that Cinder has handled: a resource's error status, a message to the user, a reschedule.

Where no backend fits, say, ``ScheduleCreateVolumeTask`` sets the volume's status, writes the user a
message and ends in success, like its flow. What it did is all that tells of the failure.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, Final, NamedTuple

from opentelemetry import context as otel_context
from opentelemetry import trace

from otel_cinder import conventions
from otel_cinder.cinder import outcomes
from otel_cinder.patching.internal_errors import log_internal_error
from otel_cinder.patching.patch_set import PatchSet
from otel_cinder.spans import clock, local_root
from otel_cinder.spans.calls import attach, detach
from otel_cinder.spans.local_root import LocalRoot, Reason
from otel_cinder.spans.runtime import end_span, runtime

SEAM: Final = "handled"

_RESOURCES: Final = (
    "cinder.objects.volume:Volume",
    "cinder.objects.snapshot:Snapshot",
    "cinder.objects.backup:Backup",
    "cinder.objects.group:Group",
    "cinder.objects.group_snapshot:GroupSnapshot",
)

_SERVICES: Final = ("cinder.objects.service:Service", "cinder.objects.cluster:Cluster")

_IDS: Final = {
    "volume": conventions.VOLUME_ID,
    "snapshot": conventions.SNAPSHOT_ID,
    "backup": conventions.BACKUP_ID,
    "group": conventions.GROUP_ID,
    "group_snapshot": conventions.GROUP_SNAPSHOT_ID,
}

_UNSAVED: Final = "unsaved"
"""For a status: the database did not take the new one."""

_SET_VOLUME: Final = ("method", "updates", "context", "ex", "request_spec")
_SET_SNAPSHOT: Final = ("method", "snapshot", "state", "context", "ex")
_CREATE_MESSAGE: Final = (
    "context",
    "action",
    "resource_type",
    "resource_uuid",
    "exception",
    "detail",
    "level",
)
_RESCHEDULE: Final = ("context", "cause", "request_spec", "filter_properties")

_reason: Final[ContextVar[object]] = ContextVar("otel_cinder_reason", default=None)
"""The reason that a caller of ``save()`` was given for the status that it sets."""

_ORDERED: Final = object()
"""As a reason: a user has asked for that status. Nothing failed."""

Arguments = tuple[Any, ...]
Rows = list[tuple[Any, Mapping[str, Any]]]


def patch(patches: PatchSet) -> None:
    """Patch the places where Cinder writes down that something has failed."""
    for target in _RESOURCES:
        patches.wrap(SEAM, f"{target}.save", _save)
    for target in _SERVICES:
        patches.wrap(SEAM, f"{target}.save", _save_service)
    # Beside the objects: what the managers write to the database by themselves.
    patches.when_imported("cinder.db", lambda: _patch_database(patches))
    patches.wrap(SEAM, "cinder.objects.base:CinderPersistentObject.conditional_update", _swap)
    patches.wrap(SEAM, "cinder.volume.flows.common:error_out", _error_out)
    volumes = "cinder.volume.manager:VolumeManager"
    patches.wrap(SEAM, f"{volumes}._clear_db", _clear)
    patches.wrap(SEAM, f"{volumes}.thaw_host", _thaw)
    manager = "cinder.scheduler.manager:SchedulerManager"
    patches.wrap(SEAM, f"{manager}._set_volume_state_and_notify", _set_volume)
    patches.wrap(SEAM, f"{manager}._set_snapshot_state_and_notify", _set_snapshot)
    patches.wrap(SEAM, "cinder.backup.manager:BackupManager.reset_status", _reset_status)
    patches.wrap(SEAM, "cinder.message.api:API.create", _create_message)
    patches.wrap(
        SEAM,
        "cinder.volume.flows.manager.create_volume:OnFailureRescheduleTask._reschedule",
        _reschedule,
    )


def _patch_database(patches: PatchSet) -> None:
    """Patch the module in which Cinder looks the functions up: older releases copy them to the package."""
    copied = hasattr(sys.modules["cinder.db"], "volume_update")
    module = "cinder.db" if copied else "cinder.db.api"
    patches.wrap(SEAM, f"{module}:volume_update", _update_volume)
    patches.wrap(SEAM, f"{module}:volumes_update", _update_volumes)


class _Failure(NamedTuple):
    """A resource whose failure is to be recorded."""

    attributes: dict[str, str]
    reason: Reason
    counts: bool
    """True if the resource is in an error status now."""
    own: bool
    """True if the message is about it."""


def _save(
    wrapped: Callable[..., Any], resource: Any, args: Arguments, kwargs: dict[str, Any]
) -> Any:
    """Save an object's changes; a change of its status may be a failure."""
    status = failure = None
    try:
        status = outcomes.status_to_save(resource)
        if status is not None:
            # Before, because a failing save would pass for the reason.
            failure = _look(resource, status)
    except Exception as error:
        log_internal_error(SEAM, error)
    if failure is not None:
        return _then_tell([failure], wrapped, args, kwargs)
    try:
        return wrapped(*args, **kwargs)
    except Exception as error:
        if status is not None:
            _not_saved(resource, error)
        raise


def _save_service(
    wrapped: Callable[..., Any], service: Any, args: Arguments, kwargs: dict[str, Any]
) -> Any:
    """Save a service's changes, or a cluster's: how a failover has ended is written there."""
    failure = None
    try:
        root = local_root.current()
        if root is not None and not root.is_http:  # else its heartbeat, or a request's wish
            failed = outcomes.replication_has_failed(service)
            if failed or sys.exc_info()[1] is not None:
                failure = _failure("service", *outcomes.failed_service(service), None)
    except Exception as error:
        log_internal_error(SEAM, error)
    return _then_tell([failure] if failure else [], wrapped, args, kwargs)


def _clear(
    wrapped: Callable[..., Any], _manager: Any, args: Arguments, kwargs: dict[str, Any]
) -> Any:
    """``_clear_db(volume, status)``: give a volume up that can't be deleted.

    It gets that status, which tells. But a migration's volume is forgotten, and left behind.
    """
    failure = None
    try:
        volume = _named(("volume_ref", "status"), args, kwargs)["volume_ref"]
        if volume.is_migration_target():
            failure = _failure("volume", str(volume.id), "deleted", None, counts=False)
    except Exception as error:
        log_internal_error(SEAM, error)
    return _then_tell([failure] if failure else [], wrapped, args, kwargs)


def _swap(
    wrapped: Callable[..., Any], resource: Any, args: Arguments, kwargs: dict[str, Any]
) -> Any:
    """Compare and swap: a status that is only written if the resource is in a certain state."""
    swapped = wrapped(*args, **kwargs)
    try:
        status = outcomes.error_status(args[0] if args else kwargs["values"])
        failure = _look(resource, status) if status and swapped else None
    except Exception as error:
        log_internal_error(SEAM, error)
        return swapped
    if failure is not None:
        _tell(failure)
    return swapped


def _update_volume(
    wrapped: Callable[..., Any], _db: Any, args: Arguments, kwargs: dict[str, Any]
) -> Any:
    """Update a volume's row. Its own ``save()`` comes here too, and has been recorded by then."""
    arguments = _named(("context", "volume_id", "values"), args, kwargs)
    failures = _written(lambda: [(arguments["volume_id"], arguments["values"])])
    return _then_tell(failures, wrapped, args, kwargs)


def _update_volumes(
    wrapped: Callable[..., Any], _db: Any, args: Arguments, kwargs: dict[str, Any]
) -> Any:
    """Update the rows of a group's volumes, with the driver's result for each."""
    arguments = _named(("context", "values_list"), args, kwargs)
    failures = _written(lambda: [(row["id"], row) for row in arguments["values_list"]])
    return _then_tell(failures, wrapped, args, kwargs)


def _written(rows: Callable[[], Rows]) -> list[_Failure]:
    """The failures among volumes' ids and their new values. Never raises."""
    try:
        root = local_root.current()
        # Of a request, it's the administrator's os-reset_status.
        if root is None or root.is_http:
            return []
        failures = [_written_row(root, str(row), values) for row, values in rows()]
        return [failure for failure in failures if failure is not None]
    except Exception as error:
        log_internal_error(SEAM, error)
        return []


def _written_row(root: LocalRoot, volume_id: str, values: Mapping[str, Any]) -> _Failure | None:
    error = outcomes.error_status(values)
    status = error or outcomes.not_deleted(root.operation, values.get("status"))
    own = root.is_about([volume_id])
    if not status or not (error or own):
        return None
    return _failure("volume", volume_id, status, None, counts=bool(error), own=own)


def _set_volume(
    wrapped: Callable[..., Any], _manager: Any, args: Arguments, kwargs: dict[str, Any]
) -> Any:
    """Fail to find a backend for a volume, which may go on with the status that it had."""
    failure = None
    try:
        arguments = _named(_SET_VOLUME, args, kwargs)
        state = arguments["updates"]["volume_state"]
        error = outcomes.error_status(state)
        status = error or str(state.get("status") or "unchanged")
        volume_id = str(arguments["request_spec"].get("volume_id") or "")
        failure = _failure("volume", volume_id, status, arguments["ex"], counts=bool(error))
    except Exception as problem:
        log_internal_error(SEAM, problem)
    return _then_tell([failure] if failure else [], wrapped, args, kwargs)


def _look(resource: Any, status: str) -> _Failure | None:
    kind, resource_id, account, ids = outcomes.failed_resource(resource)
    if not kind:
        return None
    root = local_root.current()
    own = root is None or _is_own(root, resource, ids)
    if status:
        return _failure(kind, resource_id, status, account, own=own)
    if root is None:
        return None
    # It has recovered, and may fail again.
    root.failed = {failure for failure in root.failed if failure[:2] != (kind, resource_id)}
    again = "" if root.is_http or not own else resource.status
    again = outcomes.not_deleted(root.operation, again)
    return _failure(kind, resource_id, again, account, counts=False) if again else None


def _is_own(root: LocalRoot, resource: Any, ids: Collection[str]) -> bool:
    of_backend = outcomes.concerns(root.operation, resource)
    return root.is_about(ids) if of_backend is None else of_backend


def _not_saved(resource: Any, error: Exception) -> None:
    """Record a resource that stays in a status which it was to leave. Never raises."""
    try:
        root = local_root.current()
        if root is None or root.is_http or not outcomes.is_settled(resource.status):
            return
        kind, resource_id, _, ids = outcomes.failed_resource(resource)
        own = _is_own(root, resource, ids)
        if kind:
            failure = _failure(kind, resource_id, _UNSAVED, error, counts=False, own=own)
            if failure is not None:
                _tell(failure)
    except Exception as problem:
        log_internal_error(SEAM, problem)


def _failure(
    kind: str,
    resource_id: str,
    status: str,
    given: object,
    *,
    counts: bool = True,
    own: bool = True,
) -> _Failure | None:
    """Return the failure to record for a resource; None if there is none, or it has been recorded."""
    because = _reason.get()
    if because is _ORDERED:
        return None
    root = local_root.current()
    reason = local_root.why(given if because is None else because, about=resource_id)
    if root is not None:
        if root.is_http and reason.error_type == local_root.UNKNOWN:
            return None  # nothing failed: the request is to set this very status
        failure = (kind, resource_id, status)
        if failure in root.failed:
            return None
        root.failed.add(failure)
    attributes = {
        conventions.RESOURCE_TYPE: kind,
        conventions.RESOURCE_ID: resource_id,
        conventions.RESOURCE_STATUS: status,
    }
    return _Failure(attributes, reason, counts, own)


def _then_tell(
    failures: list[_Failure], wrapped: Callable[..., Any], args: Arguments, kwargs: dict[str, Any]
) -> Any:
    """Let Cinder write the statuses, and record them even if that fails."""
    if not failures:
        return wrapped(*args, **kwargs)
    try:
        return wrapped(*args, **kwargs)
    finally:
        for failure in failures:
            _tell(failure)


def _tell(failure: _Failure) -> None:
    """Mark the spans and count. Never raises."""
    try:
        with _at_work(failure):
            local_root.fail(
                conventions.RESOURCE_ERROR_EVENT,
                failure.attributes,
                failure.reason,
                own=failure.own,
            )
        if failure.counts:
            runtime.measure(
                conventions.RESOURCE_ERRORS,
                1,
                {
                    conventions.RESOURCE_TYPE: failure.attributes[conventions.RESOURCE_TYPE],
                    conventions.RESOURCE_STATUS: failure.attributes[conventions.RESOURCE_STATUS],
                    conventions.ERROR_TYPE: failure.reason.error_type,
                },
            )
    except Exception as error:
        log_internal_error(SEAM, error)


@contextlib.contextmanager
def _at_work(failure: _Failure) -> Iterator[None]:
    """The current span; outside of a trace, a span of the failure's own.

    While a service starts, it may put a tenant's volume into an error status.
    """
    context = otel_context.get_current()
    if trace.get_current_span(context).get_span_context().is_valid:
        yield
        return
    kind, resource_id = (
        failure.attributes[name] for name in (conventions.RESOURCE_TYPE, conventions.RESOURCE_ID)
    )
    attribute = _IDS.get(kind)
    span = runtime.start_span(
        f"set {kind} to error", context, attributes={attribute: resource_id} if attribute else {}
    )
    token = attach(SEAM, trace.set_span_in_context(span, context))
    try:
        yield
    finally:
        detach(SEAM, token)
        end_span(span)


def _error_out(
    wrapped: Callable[..., Any], _instance: Any, args: Arguments, kwargs: dict[str, Any]
) -> Any:
    """``error_out(resource, reason)`` saves the resource, by which the reason is no longer known."""
    return _because(
        _named(("resource", "reason"), args, kwargs).get("reason"), wrapped, args, kwargs
    )


def _thaw(
    wrapped: Callable[..., Any], manager: Any, args: Arguments, kwargs: dict[str, Any]
) -> Any:
    """``thaw_host`` answers with False where the driver has failed, and that is all."""
    thawed = wrapped(*args, **kwargs)
    try:
        failure = None
        if thawed is False:
            failure = _failure("service", str(manager.host), "frozen", None, counts=False)
        if failure is not None:
            _tell(failure)
    except Exception as error:
        log_internal_error(SEAM, error)
    return thawed


def _set_snapshot(
    wrapped: Callable[..., Any], _manager: Any, args: Arguments, kwargs: dict[str, Any]
) -> Any:
    return _because(_named(_SET_SNAPSHOT, args, kwargs).get("ex"), wrapped, args, kwargs)


def _reset_status(
    wrapped: Callable[..., Any], _manager: Any, args: Arguments, kwargs: dict[str, Any]
) -> Any:
    return _because(_ORDERED, wrapped, args, kwargs)


def _because(
    reason: object, wrapped: Callable[..., Any], args: Arguments, kwargs: dict[str, Any]
) -> Any:
    token = _reason.set(reason)
    try:
        return wrapped(*args, **kwargs)
    finally:
        _reason.reset(token)


def _create_message(
    wrapped: Callable[..., Any], _api: Any, args: Arguments, kwargs: dict[str, Any]
) -> Any:
    """Leave the user a message."""
    try:
        arguments = _named(_CREATE_MESSAGE, args, kwargs)
        attributes, is_error = outcomes.user_message(arguments)
        if is_error:
            text = attributes.get(conventions.MESSAGE_TEXT, "")
            about = str(arguments.get("resource_uuid") or "")
            # Where nothing better is known, what the user is told has to do.
            reason = local_root.why(arguments.get("exception"), text, about)
            root = local_root.current()
            own = root is None or not about or root.is_http or root.is_about([about])
            local_root.fail(conventions.USER_MESSAGE_EVENT, attributes, reason, own=own)
        else:
            span = trace.get_current_span()
            if span.is_recording():
                clock.add_event(span, conventions.USER_MESSAGE_EVENT, attributes)
    except Exception as error:
        log_internal_error(SEAM, error)
    return wrapped(*args, **kwargs)


def _reschedule(
    wrapped: Callable[..., Any], _task: Any, args: Arguments, kwargs: dict[str, Any]
) -> Any:
    """Send a volume back to the scheduler. The cast is a span of its own, and no failure."""
    try:
        arguments = _named(_RESCHEDULE, args, kwargs)
        cause = getattr(arguments.get("cause"), "exception", None)  # in TaskFlow's Failure
        attributes = outcomes.attempt_made(arguments.get("filter_properties"))
        local_root.fail(conventions.RESCHEDULE_EVENT, attributes, cause)
    except Exception as error:
        log_internal_error(SEAM, error)
    return wrapped(*args, **kwargs)


def _named(names: tuple[str, ...], args: Arguments, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call by the names that the function has for them."""
    return {**dict(zip(names, args, strict=False)), **kwargs}
