"""Spans made by hand: the trace of a volume create, and odd ones."""

from __future__ import annotations

from typing import Any

from otel_cinder.cli.trace import SpanRecord

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
        """Record a cast and its handling by ``service``; returns the latter."""
        method = f"{service}/create_volume"
        cast = self.add(
            parent, f"cast {method}", parent.service, begin, begin + 1.2, kind="producer"
        )
        waited = {"cinder.rpc.queue.duration": 0.0021}
        name = f"process {method}"
        return self.add(cast, name, service, begin + 2.1, end, kind="consumer", attributes=waited)


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
    """A flow in which the driver fails, and what is reverted for it."""
    record = Recorder()
    service = "cinder-volume"
    flow = record.add(
        None,
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
    record.add(
        flow,
        "CreateVolumeFromSpecTask",
        service,
        5,
        30,
        attributes=failure,
        status="error",
        status_message="VolumeBackendAPIException: no space\nleft on the backend",
    )
    reverted = {"taskflow.task.state": "REVERTED"}
    record.add(flow, "revert OnFailureRescheduleTask", service, 31, 49, attributes=reverted)
    return record.spans
