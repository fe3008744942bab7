"""Failures that Cinder has handled: a resource's error status, a message to the user, a reschedule.

Where no backend fits, say, ``ScheduleCreateVolumeTask`` sets the volume's status, writes the user a
message and ends in success, like its flow. What it did is all that tells of the failure.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Final, NamedTuple

from opentelemetry import trace

from otel_cinder.core import clock, conventions, entry
from otel_cinder.core.entry import Reason
from otel_cinder.core.patching import PatchSet, complain
from otel_cinder.core.runtime import runtime

SEAM: Final = "handled"

_RESOURCES: Final = (
    "cinder.objects.volume:Volume",
    "cinder.objects.snapshot:Snapshot",
    "cinder.objects.backup:Backup",
    "cinder.objects.group:Group",
    "cinder.objects.group_snapshot:GroupSnapshot",
)

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
"""Why Cinder is setting a status right now, where a function was told that calls ``save()``."""

_ORDERED: Final = object()
"""For a reason: somebody has asked for that status. Nothing failed."""

Arguments = tuple[Any, ...]
StatusToSave = Callable[[Any], str | None]
ErrorStatus = Callable[[Mapping[str, Any]], str]
FailedResource = Callable[[Any], tuple[str, str, str | None]]
UserMessage = Callable[[Mapping[str, Any]], tuple[dict[str, str], bool]]
AttemptMade = Callable[[Any], dict[str, Any]]
Rows = list[tuple[Any, Mapping[str, Any]]]


def patch(
    patches: PatchSet,
    status_to_save: StatusToSave,
    error_status: ErrorStatus,
    failed_resource: FailedResource,
    user_message: UserMessage,
    attempt_made: AttemptMade,
) -> None:
    """Patch the places where Cinder writes down that something has failed.

    Args:
        status_to_save: the error status that an object is about to save; "" if another, None if
            its status has not changed.
        error_status: the error status among fields that are about to be written, or "".
        failed_resource: type, id and own account of an object.
        user_message: attributes from what a message to the user is made of; whether of an error.
        attempt_made: attributes from the scheduler's notes on a volume.
    """
    statuses = _Statuses(status_to_save, error_status, failed_resource)
    for target in _RESOURCES:
        patches.wrap(SEAM, f"{target}.save", statuses.save)
    # Beside the objects: what the managers write to the database by themselves.
    patches.when_imported("cinder.db", lambda: _patch_database(patches, statuses))
    patches.wrap(
        SEAM, "cinder.objects.base:CinderPersistentObject.conditional_update", statuses.swap
    )
    patches.wrap(SEAM, "cinder.volume.flows.common:error_out", _error_out)
    manager = "cinder.scheduler.manager:SchedulerManager"
    patches.wrap(SEAM, f"{manager}._set_volume_state_and_notify", statuses.set_volume)
    patches.wrap(SEAM, f"{manager}._set_snapshot_state_and_notify", _set_snapshot)
    patches.wrap(SEAM, "cinder.backup.manager:BackupManager.reset_status", _reset_status)
    told = _Told(user_message, attempt_made)
    patches.wrap(SEAM, "cinder.message.api:API.create", told.create_message)
    patches.wrap(
        SEAM,
        "cinder.volume.flows.manager.create_volume:OnFailureRescheduleTask._reschedule",
        told.reschedule,
    )


def _patch_database(patches: PatchSet, statuses: _Statuses) -> None:
    """Where Cinder's modules look the functions up: older releases copy it to the package."""
    copied = hasattr(sys.modules["cinder.db"], "volume_update")
    module = "cinder.db" if copied else "cinder.db.api"
    patches.wrap(SEAM, f"{module}:volume_update", statuses.update_volume)
    patches.wrap(SEAM, f"{module}:volumes_update", statuses.update_volumes)


class _Failure(NamedTuple):
    """A resource whose failure is to be told."""

    attributes: dict[str, str]
    reason: Reason
    counts: bool


class _Statuses:
    """Resources that are put into an error status."""

    def __init__(
        self, status_to_save: StatusToSave, error_status: ErrorStatus, describe: FailedResource
    ) -> None:
        self._status_to_save = status_to_save
        self._error_status = error_status
        self._describe = describe

    def save(
        self, wrapped: Callable[..., Any], resource: Any, args: Arguments, kwargs: dict[str, Any]
    ) -> Any:
        """Save an object's changes; if its status is one of them, it may tell of a failure."""
        failure = None
        try:
            status = self._status_to_save(resource)
            if status is not None:
                # Before, because a failing save would pass for the reason.
                failure = self._look(resource, status)
        except Exception as error:
            complain(SEAM, error)
        return _then_tell([failure] if failure else [], wrapped, args, kwargs)

    def swap(
        self, wrapped: Callable[..., Any], resource: Any, args: Arguments, kwargs: dict[str, Any]
    ) -> Any:
        """Compare and swap: a status that is only written if the resource is in a certain state."""
        swapped = wrapped(*args, **kwargs)
        try:
            status = self._error_status(args[0] if args else kwargs["values"])
            failure = self._look(resource, status) if status and swapped else None
        except Exception as error:
            complain(SEAM, error)
            return swapped
        if failure is not None:
            _tell(failure)
        return swapped

    def update_volume(
        self, wrapped: Callable[..., Any], _db: Any, args: Arguments, kwargs: dict[str, Any]
    ) -> Any:
        """Update a volume's row. Its own ``save()`` comes here too, and has been told of then."""
        asked = _named(("context", "volume_id", "values"), args, kwargs)
        failures = self._written(lambda: [(asked["volume_id"], asked["values"])])
        return _then_tell(failures, wrapped, args, kwargs)

    def update_volumes(
        self, wrapped: Callable[..., Any], _db: Any, args: Arguments, kwargs: dict[str, Any]
    ) -> Any:
        """Update the rows of a group's volumes, as the group's driver has said of each."""
        asked = _named(("context", "values_list"), args, kwargs)
        failures = self._written(lambda: [(row["id"], row) for row in asked["values_list"]])
        return _then_tell(failures, wrapped, args, kwargs)

    def _written(self, rows: Callable[[], Rows]) -> list[_Failure]:
        """The failures among volumes' ids and what is about to be written of them. Never raises."""
        try:
            way_in = entry.current()
            # Of a request, it's the administrator's os-reset_status.
            if way_in is None or way_in.is_http:
                return []
            statuses = [(str(volume), self._error_status(values)) for volume, values in rows()]
            found = [_failure("volume", *told, None) for told in statuses if told[1]]
            return [failure for failure in found if failure is not None]
        except Exception as error:
            complain(SEAM, error)
            return []

    def set_volume(
        self, wrapped: Callable[..., Any], _manager: Any, args: Arguments, kwargs: dict[str, Any]
    ) -> Any:
        """Fail to find a backend for a volume, which may go on with the status that it had."""
        failure = None
        try:
            asked = _named(_SET_VOLUME, args, kwargs)
            state = asked["updates"]["volume_state"]
            error = self._error_status(state)
            status = error or str(state.get("status") or "unchanged")
            volume_id = str(asked["request_spec"].get("volume_id") or "")
            failure = _failure("volume", volume_id, status, asked["ex"], counts=bool(error))
        except Exception as problem:
            complain(SEAM, problem)
        return _then_tell([failure] if failure else [], wrapped, args, kwargs)

    def _look(self, resource: Any, status: str) -> _Failure | None:
        kind, resource_id, account = self._describe(resource)
        if not kind:
            return None
        if not status:
            way_in = entry.current()
            if way_in is not None:  # it has recovered, and may fail again
                way_in.failed = {told for told in way_in.failed if told[:2] != (kind, resource_id)}
            return None
        return _failure(kind, resource_id, status, account)


def _failure(
    kind: str, resource_id: str, status: str, given: object, *, counts: bool = True
) -> _Failure | None:
    """What is to be told of a resource; None if nothing is, or it has been already."""
    because = _reason.get()
    if because is _ORDERED:
        return None
    way_in = entry.current()
    reason = entry.why(given if because is None else because)
    if way_in is not None:
        if way_in.is_http and reason.error_type == entry.UNKNOWN:
            return None  # nothing failed: the request is to set this very status
        told = (kind, resource_id, status)
        if told in way_in.failed:
            return None
        way_in.failed.add(told)
    attributes = {
        conventions.RESOURCE_TYPE: kind,
        conventions.RESOURCE_ID: resource_id,
        conventions.RESOURCE_STATUS: status,
    }
    return _Failure(attributes, reason, counts)


def _then_tell(
    failures: list[_Failure], wrapped: Callable[..., Any], args: Arguments, kwargs: dict[str, Any]
) -> Any:
    """Let Cinder write the statuses down, and tell of them even if that fails."""
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
        entry.fail(conventions.RESOURCE_ERROR_EVENT, failure.attributes, failure.reason)
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
        complain(SEAM, error)


def _error_out(
    wrapped: Callable[..., Any], _instance: Any, args: Arguments, kwargs: dict[str, Any]
) -> Any:
    """``error_out(resource, reason)`` saves the resource, by which the reason is no longer known."""
    return _because(
        _named(("resource", "reason"), args, kwargs).get("reason"), wrapped, args, kwargs
    )


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


class _Told:
    """What the user, or the scheduler, is told of a failure."""

    def __init__(self, user_message: UserMessage, attempt_made: AttemptMade) -> None:
        self._user_message = user_message
        self._attempt_made = attempt_made

    def create_message(
        self, wrapped: Callable[..., Any], _api: Any, args: Arguments, kwargs: dict[str, Any]
    ) -> Any:
        """Leave the user a message."""
        try:
            asked = _named(_CREATE_MESSAGE, args, kwargs)
            attributes, is_error = self._user_message(asked)
            if is_error:
                text = attributes.get(conventions.MESSAGE_TEXT, "")
                # Where nothing better is known, what the user is told has to do.
                reason = entry.why(asked.get("exception"), text)
                entry.fail(conventions.USER_MESSAGE_EVENT, attributes, reason)
            else:
                span = trace.get_current_span()
                if span.is_recording():
                    clock.add_event(span, conventions.USER_MESSAGE_EVENT, attributes)
        except Exception as error:
            complain(SEAM, error)
        return wrapped(*args, **kwargs)

    def reschedule(
        self, wrapped: Callable[..., Any], _task: Any, args: Arguments, kwargs: dict[str, Any]
    ) -> Any:
        """Send a volume back to the scheduler. The cast is a span of its own, and no failure."""
        try:
            asked = _named(_RESCHEDULE, args, kwargs)
            cause = getattr(asked.get("cause"), "exception", None)  # in TaskFlow's Failure
            attributes = self._attempt_made(asked.get("filter_properties"))
            entry.fail(conventions.RESCHEDULE_EVENT, attributes, cause)
        except Exception as error:
            complain(SEAM, error)
        return wrapped(*args, **kwargs)


def _named(names: tuple[str, ...], args: Arguments, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call by the names that the function has for them."""
    return {**dict(zip(names, args, strict=False)), **kwargs}
