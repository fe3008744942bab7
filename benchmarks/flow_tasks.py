"""A flow of five no-ops, made and named as Cinder makes volume_create_api, plain and by hand.

The floor's tasks open their spans themselves. What a span says is written out there, as someone
who instruments one flow by hand would write it.
"""

from __future__ import annotations

import functools
from typing import Any

import taskflow.engines
from cinder.flow_utils import CinderTask
from opentelemetry.trace import Tracer
from taskflow.patterns import linear_flow

NAME = "volume_create_api"
UUID = "0b2c1c0e-8d3a-4a5c-9f50-6a3a5e0d7c11"

_INPUTS = {
    "context": None,
    "raw_size": 1,
    "name": "benchmark",
    "raw_volume_type": None,
    "raw_availability_zone": "nova",
    "metadata": {},
    "optional_args": {"is_quota_committed": False},
}


class ExtractVolumeRequestTask(CinderTask):
    default_provides = frozenset({"availability_zones", "size", "volume_type", "volume_type_id"})

    def execute(self, raw_size: Any, raw_volume_type: Any, raw_availability_zone: Any) -> Any:
        return {"availability_zones": [], "size": 1, "volume_type": None, "volume_type_id": None}


class QuotaReserveTask(CinderTask):
    default_provides = frozenset({"reservations"})

    def execute(self, context: Any, size: Any, volume_type_id: Any, optional_args: Any) -> Any:
        return {"reservations": []}


class EntryCreateTask(CinderTask):
    default_provides = frozenset({"volume_properties", "volume_id", "volume"})

    def execute(self, context: Any, size: Any, name: Any, metadata: Any) -> Any:
        return {"volume_properties": {}, "volume_id": UUID, "volume": None}


class QuotaCommitTask(CinderTask):
    def execute(self, context: Any, reservations: Any, optional_args: Any) -> Any:
        return {}


class VolumeCastTask(CinderTask):
    def execute(self, context: Any, volume_id: Any, volume_properties: Any) -> None:
        return None


PLAIN = (
    ExtractVolumeRequestTask,
    QuotaReserveTask,
    EntryCreateTask,
    QuotaCommitTask,
    VolumeCastTask,
)


def engine(tasks: tuple[type[CinderTask], ...] = PLAIN) -> Any:
    """Make the flow and load it into an engine, anew for each request as Cinder does."""
    flow = linear_flow.Flow(NAME)
    for task in tasks:
        flow.add(task(addons=["volume:create"]) if task is tasks[1] else task())
    return taskflow.engines.load(flow, store=_INPUTS)


class Floor:
    """The same flow, whose caller and tasks open the same six spans by hand with the SDK."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._tasks = tuple(_by_hand(task, tracer) for task in PLAIN)

    def run(self) -> None:
        """Make the flow and run it in a span."""
        made = engine(self._tasks)
        attributes = {"taskflow.flow.name": NAME, "taskflow.flow.uuid": UUID}
        with self._tracer.start_as_current_span(NAME, attributes=attributes) as span:
            made.run()
            span.set_attribute("taskflow.flow.state", "SUCCESS")
            span.set_attribute("taskflow.flow.states", ["PENDING", "RUNNING", "SUCCESS"])


def _by_hand(plain: type[CinderTask], tracer: Tracer) -> type[CinderTask]:
    name = plain.__name__
    body = plain.execute
    attributes: dict[str, Any] = {
        "taskflow.task.uuid": UUID,
        "code.function.name": f"{plain.__module__}.{name}.execute",
        "code.file.path": body.__code__.co_filename,
        "code.line.number": body.__code__.co_firstlineno,
    }
    if plain.default_provides:
        attributes["taskflow.task.provides"] = sorted(plain.default_provides)

    @functools.wraps(body)  # TaskFlow reads what a task requires off its signature
    def execute(self: Any, **arguments: Any) -> Any:
        with tracer.start_as_current_span(
            name, attributes={**attributes, "taskflow.task.name": self.name}
        ) as span:
            result = body(self, **arguments)
            span.set_attribute("taskflow.task.state", "SUCCESS")
            return result

    return type(name, (plain,), {"execute": execute, "__module__": plain.__module__})
