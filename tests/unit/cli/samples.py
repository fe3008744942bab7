"""Spans made by hand: the trace of a volume create, and odd ones."""

from __future__ import annotations

from typing import Any

from otel_cinder.reading.trace import EventRecord, LinkRecord, SpanRecord

TRACE_ID = "5f" * 16
_MS = 1_000_000
_START = 1_800_000_000_000_000_000


class Recorder:
    """Makes spans with ids that count up from 1 and times in ms since the trace began."""

    def __init__(self) -> None:
        self.spans: list[SpanRecord] = []

    def add(
        self,
        parent: SpanRecord | None,
        name: str,
        service: str,
        begin: float,
        end: float,
        **more: Any,
    ) -> SpanRecord:
        """Record a span below ``parent``."""
        span = SpanRecord(
            trace_id=TRACE_ID,
            span_id=f"{len(self.spans) + 1:016x}",
            parent_id=parent.span_id if parent else None,
            name=name,
            service=service,
            start_ns=_START + round(begin * _MS),
            end_ns=_START + round(end * _MS),
            **more,
        )
        self.spans.append(span)
        return span

    def flow(
        self, parent: SpanRecord, name: str, begin: float, tasks: dict[str, float]
    ) -> SpanRecord:
        """Record a flow with its tasks, which take so many ms each; returns the last task."""
        end = begin + sum(tasks.values())
        state = {"taskflow.flow.state": "SUCCESS"}
        flow = self.add(parent, name, parent.service, begin, end + 1, attributes=state)
        task = flow
        for task_name, length in tasks.items():
            state = {"taskflow.task.state": "SUCCESS"}
            task = self.add(
                flow, task_name, parent.service, begin, begin + length, attributes=state
            )
            begin += length
        return task

    def cast(self, parent: SpanRecord, service: str, begin: float, end: float) -> SpanRecord:
        """Record a cast in ``parent``, and its handling by ``service``; returns the latter."""
        method = f"{service}/create_volume"
        cast = self.add(
            parent, f"cast {method}", parent.service, begin, begin + 1.2, kind="producer"
        )
        waited = {"cinder.rpc.queue.duration": 0.0021}
        return self.add(
            self._local_root(parent),
            f"process {method}",
            service,
            begin + 2.1,
            end,
            kind="consumer",
            attributes=waited,
            links=(LinkRecord(TRACE_ID, cast.span_id),),
        )

    def _local_root(self, span: SpanRecord) -> SpanRecord:
        """The request or message that ``span`` is part of."""
        while span.kind not in ("server", "consumer"):
            span = next(each for each in self.spans if each.span_id == span.parent_id)
        return span


def volume_create() -> list[SpanRecord]:
    """The 21 spans of a `POST /volumes` that went well."""
    record = Recorder()
    root = record.add(
        None,
        "POST /v3/{project_id}/volumes",
        "cinder-api",
        0,
        120,
        kind="server",
        attributes={"http.response.status_code": 202},
    )
    api = ("ExtractVolumeRequestTask", "QuotaReserveTask", "EntryCreateTask", "QuotaCommitTask")
    last = record.flow(root, "volume_create_api", 20, dict.fromkeys((*api, "VolumeCastTask"), 15))
    handled = record.cast(last, "cinder-scheduler", 90, 300)
    tasks = {"ExtractSchedulerSpecTask": 0.04, "ScheduleCreateVolumeTask": 180}
    last = record.flow(handled, "volume_create_scheduler", 100, tasks)
    handled = record.cast(last, "cinder-volume", 275, 1120)
    tasks = {
        "ExtractVolumeRefTask": 9.5,
        "OnFailureRescheduleTask": 0.03,
        "ExtractVolumeSpecTask": 0.06,
        "NotifyVolumeActionTask": 3,
        "CreateVolumeFromSpecTask": 790,
        "CreateVolumeOnFinishTask": 16,
    }
    record.flow(handled, "volume_create_manager", 290, tasks)
    return record.spans


def failed_create() -> list[SpanRecord]:
    """A failing driver, the reverts, and a scheduler that finds no other backend."""
    record = Recorder()
    service = "cinder-volume"
    reason = "VolumeBackendAPIException: no space\nleft on the backend"
    gave_up = EventRecord("cinder.reschedule", _START, {"cinder.schedule.attempt": 1})
    failed: dict[str, Any] = {"status": "error", "status_message": reason}
    consumed = record.add(
        None,
        "process cinder-volume/create_volume",
        service,
        0,
        52,
        kind="consumer",
        attributes={"cinder.schedule.attempt": 1, "cinder.rpc.queue.duration": 0.003},
        events=(gave_up,),
        **failed,
    )
    flow = record.add(
        consumed,
        "volume_create_manager",
        service,
        0,
        50,
        attributes={"taskflow.flow.state": "REVERTED"},
        status="error",
    )
    failure = {
        "taskflow.task.state": "FAILURE",
        "error.type": "cinder.exception.VolumeBackendAPIException",
    }
    record.add(flow, "CreateVolumeFromSpecTask", service, 5, 30, attributes=failure, **failed)
    reverted = {"taskflow.task.state": "REVERTED"}
    revert = record.add(
        flow,
        "revert OnFailureRescheduleTask",
        service,
        31,
        49,
        attributes=reverted,
        events=(gave_up,),
        **failed,
    )
    second = record.add(
        revert,
        "process cinder-scheduler/create_volume",
        "cinder-scheduler",
        40,
        60,
        kind="consumer",
        attributes={"cinder.schedule.attempt": 2},
        status="error",
        status_message="NoValidBackend: No valid backend was found.",
    )
    record.add(
        second,
        "ScheduleCreateVolumeTask",
        "cinder-scheduler",
        41,
        59,
        attributes={"taskflow.task.state": "SUCCESS"},
        status="error",
        status_message="NoValidBackend: No valid backend was found.",
        events=_no_backend(),
    )
    return record.spans


def _no_backend() -> tuple[EventRecord, ...]:
    """The scheduler's event when no backend is left."""
    filters = [
        EventRecord(
            "cinder.scheduler.filter",
            _START,
            {
                "cinder.scheduler.filter": name,
                "cinder.scheduler.hosts_before": before,
                "cinder.scheduler.hosts_after": after,
            },
        )
        for name, before, after in (("AvailabilityZoneFilter", 1, 1), ("CapacityFilter", 1, 0))
    ]
    return (
        *filters,
        EventRecord("log", _START, {"log.level": "INFO", "log.message": "not shown"}),
        EventRecord("log", _START, {"log.level": "ERROR", "log.message": "Failed to schedule"}),
        EventRecord(
            "cinder.resource.error",
            _START,
            {"cinder.resource.type": "volume", "cinder.resource.status": "error"},
        ),
        EventRecord(
            "cinder.user_message",
            _START,
            {"cinder.user_message.text": "Could not find any available weighted backend."},
        ),
    )
