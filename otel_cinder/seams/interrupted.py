"""Work that a stop has interrupted: a service takes it up when it starts, or when it is asked to.

A service that was killed leaves volumes in ``creating`` or ``deleting``. At its next start Cinder puts
the first into an error status and deletes the others. No message tells it to, so each of these is a
trace of its own: work on a tenant's volume, snapshot or backup. What else happens at a start, the
driver's set-up above all, is not traced.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span

from otel_cinder import conventions
from otel_cinder.cinder import resources
from otel_cinder.cinder.services import service_of_manager
from otel_cinder.patching.internal_errors import log_internal_error
from otel_cinder.patching.patch_set import PatchSet
from otel_cinder.spans import local_root
from otel_cinder.spans.calls import attach, detach
from otel_cinder.spans.failures import record_failure
from otel_cinder.spans.local_root import LocalRoot, Reason
from otel_cinder.spans.runtime import end_span, runtime
from otel_cinder.spans.service import SERVICE

SEAM: Final = "handled"

INTERRUPTED: Final = "Interrupted"
"""``error.type`` of what was cut off by the end of its service."""

_JOB: Final = otel_context.create_key("otel-cinder-job")
"""Context key: the `_Job` at work."""

_BACKUPS: Final = "cinder.backup.manager:BackupManager"

Arguments = tuple[Any, ...]


def patch(patches: PatchSet) -> None:
    """Patch the places where the managers take up interrupted work."""
    for manager in ("cinder.volume.manager:VolumeManager", _BACKUPS):
        patches.wrap(SEAM, f"{manager}.init_host", _start)
    for manager in ("volume.manager:VolumeManager", "scheduler.manager:SchedulerManager"):
        patches.wrap(SEAM, f"cinder.{manager}._do_cleanup", _clean_up)
    patches.wrap(SEAM, f"{_BACKUPS}._cleanup_one_backup", _clean_up)
    temporaries = "_cleanup_temp_volumes_snapshots_for_one_backup"
    patches.wrap(SEAM, f"{_BACKUPS}.{temporaries}", _clean_up_leftovers)
    migrator = "cinder.keymgr.migration:KeyMigrator"
    patches.wrap(SEAM, f"{migrator}._update_encryption_key_id", _migrate_key)
    patches.when_imported("cinder.manager", lambda: _patch_thread_pools(patches))


def _patch_thread_pools(patches: PatchSet) -> None:
    """Patch the method that hands a long deletion to a thread: two classes have it since 2026.2."""
    for name in ("ThreadPoolManager", "SizedThreadPoolManager"):
        owner = getattr(sys.modules["cinder.manager"], name, None)
        if owner is not None and "_add_to_threadpool" in vars(owner):
            patches.wrap(SEAM, f"cinder.manager:{name}._add_to_threadpool", _hand_over)


def _start(
    wrapped: Callable[..., Any], manager: Any, args: Arguments, kwargs: dict[str, Any]
) -> Any:
    """``init_host``: what is traced of it belongs to the manager's service."""
    context = None
    try:
        context = _serving(manager)
    except Exception as error:
        log_internal_error(SEAM, error)
    token = attach(SEAM, context)
    try:
        return wrapped(*args, **kwargs)
    finally:
        detach(SEAM, token)


def _clean_up(
    wrapped: Callable[..., Any], manager: Any, args: Arguments, kwargs: dict[str, Any]
) -> Any:
    """``(context, resource)``: take up what was being done to a resource."""

    def begin() -> _Job | None:
        context, resource = _two(args, kwargs)
        status = resources.interrupted(resource)
        if not status:
            return None
        return _begin("clean up", _serving(manager), resource, context, status)

    return _work(begin, wrapped, args, kwargs)


def _clean_up_leftovers(
    wrapped: Callable[..., Any], manager: Any, args: Arguments, kwargs: dict[str, Any]
) -> Any:
    """``(context, backup)``: delete what a failed backup has left, if it has left anything."""

    def begin() -> _Job | None:
        context, backup = _two(args, kwargs)
        traced = trace.get_current_span().get_span_context().is_valid  # a message asks for it
        if traced or not resources.has_leftovers(backup):
            return None
        return _begin("clean up", _serving(manager), backup, context)

    return _work(begin, wrapped, args, kwargs)


def _migrate_key(
    wrapped: Callable[..., Any], migrator: Any, args: Arguments, kwargs: dict[str, Any]
) -> Any:
    """``(item)``: give a volume or backup a key of its own, in a thread that a start began."""

    def begin() -> _Job:
        item = args[0] if args else kwargs["item"]
        context = getattr(migrator, "admin_context", None)
        return _begin("migrate key of", otel_context.get_current(), item, context)

    return _work(begin, wrapped, args, kwargs)


def _work(
    begin: Callable[[], _Job | None],
    wrapped: Callable[..., Any],
    args: Arguments,
    kwargs: dict[str, Any],
) -> Any:
    """Call ``wrapped`` in the job that ``begin`` starts, if it starts one."""
    job = None
    try:
        job = begin()
    except Exception as error:
        log_internal_error(SEAM, error)
    return wrapped(*args, **kwargs) if job is None else job.run(wrapped, args, kwargs)


def _serving(manager: Any) -> Context:
    """The current context, in which the manager's service is at work. Never raises."""
    context = otel_context.get_current()
    try:
        service = service_of_manager(manager)
    except Exception as error:
        log_internal_error(SEAM, error)
        service = None
    return context if service is None else otel_context.set_value(SERVICE, service, context)


def _begin(what: str, context: Context, resource: Any, asked_with: Any, status: str = "") -> _Job:
    kind = resources.kind_of(resource)
    attributes = resources.attributes_of(resource, asked_with)
    if status:
        attributes[conventions.INTERRUPTED] = status
    span = runtime.start_span(f"{what} {kind}", context, attributes=attributes)
    root = LocalRoot(span, attributes, is_http=False)
    context = local_root.enter(context, root)
    if not status or resources.is_resumed(status):
        return _Job(span, context)
    # Where Cinder gives no reason for what it makes of it, this is the reason.
    root.failure = reason = Reason(INTERRUPTED, f"its service ended while it was {status}")
    given_up = {
        conventions.RESOURCE_TYPE: kind,
        conventions.RESOURCE_ID: str(resource.id),
        conventions.RESOURCE_STATUS: status,
    }
    return _Job(span, context, lambda: _tell(root, given_up, reason))


def _tell(root: LocalRoot, given_up: Mapping[str, str], reason: Reason) -> None:
    """Record work that was given up, such as an upload, unless an error status has recorded it."""
    if not root.failed:
        local_root.fail(conventions.RESOURCE_ERROR_EVENT, given_up, reason)


class _Job:
    """One piece of such work, in its span."""

    def __init__(
        self, span: Span, context: Context, tell: Callable[[], None] | None = None
    ) -> None:
        self._span = span
        self._context = otel_context.set_value(_JOB, self, context)
        self._tell = tell
        self.is_handed_over = False
        """True if a thread goes on with it, and ends the span."""

    def run(self, wrapped: Callable[..., Any], args: Arguments, kwargs: dict[str, Any]) -> Any:
        """Do the work, in the span, which ends unless a thread goes on."""
        try:
            return self._do(wrapped, args, kwargs)
        finally:
            if not self.is_handed_over:
                end_span(self._span)

    def go_on(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Do the rest, in a thread."""
        try:
            return self._do(function, args, kwargs)
        finally:
            end_span(self._span)

    def _do(self, wrapped: Callable[..., Any], args: Arguments, kwargs: dict[str, Any]) -> Any:
        token = attach(SEAM, self._context)
        try:
            result = wrapped(*args, **kwargs)
        except BaseException as error:
            try:
                record_failure(self._span, error)
            except Exception as problem:
                log_internal_error(SEAM, problem)
            raise
        else:
            try:
                if self._tell is not None:
                    self._tell()
            except Exception as error:
                log_internal_error(SEAM, error)
            return result
        finally:
            detach(SEAM, token)


def _hand_over(
    wrapped: Callable[..., Any], _manager: Any, args: Arguments, kwargs: dict[str, Any]
) -> Any:
    """``_add_to_threadpool(function, ...)``: the span goes along, and ends with the function."""
    job: Any = otel_context.get_value(_JOB)
    if job is None or not args:
        return wrapped(*args, **kwargs)
    job.is_handed_over = True
    try:
        return wrapped(functools.partial(job.go_on, args[0]), *args[1:], **kwargs)
    except BaseException:
        job.is_handed_over = False
        raise


def _two(args: Arguments, kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """Request context and resource, under each name that functions use for them."""
    context, resource = (*args, *kwargs.values())[:2]
    return context, resource
