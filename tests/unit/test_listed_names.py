"""The list in `docs/reference.md`, with which tests on real services compare every trace."""

from types import SimpleNamespace
from typing import Any

import pytest

from otel_cinder.reading.records import LogLine
from otel_cinder.reading.trace import EventRecord, SpanRecord
from tests.integration.names import unlisted
from tests.metric_points import MetricPoint

FLOW = {"taskflow.flow.name": "f"}
TASK = {"taskflow.task.name": "t"}
SQL = {"db.system.name": "mysql"}
DRIVER = {"code.function.name": "cinder.volume.drivers.lvm.LVMVolumeDriver.create_volume"}


def found(**arrived: Any) -> list[str]:
    """Return the names of these spans, metrics and logs that are not listed."""
    receiver: Any = SimpleNamespace(
        **{name: lambda name=name: arrived.get(name, []) for name in ("spans", "metrics", "logs")}
    )
    return unlisted(receiver)


def span(name: str, attributes: dict[str, Any], **more: Any) -> SpanRecord:
    """Return a span as it might have arrived."""
    return SpanRecord("1", "2", None, name, attributes=attributes, **more)


@pytest.mark.parametrize(
    ("name", "attributes"),
    [
        ("POST /v3/{project_id}/volumes", {}),
        ("POST /v3/{project_id}/volumes/{id}/action os-attach", {}),
        ("GET", {}),
        ("volume_create_api", FLOW),
        ("QuotaReserveTask", TASK),
        ("revert QuotaReserveTask", TASK),
        ("retry Times", {"taskflow.retry.name": "r"}),
        ("cast cinder-volume/create_volume", {}),
        ("cinder-volume/initialize_connection", {}),
        ("LVMVolumeDriver.create_volume", DRIVER),
        ("execute lvcreate", {}),
        ("INSERT volumes", SQL),
        ("SHOW", SQL),
        ("still running LVMVolumeDriver.create_volume", {"cinder.still_running": True}),
    ],
)
def test_a_listed_name(name: str, attributes: dict[str, Any]) -> None:
    """Names that are on the list are not reported."""
    assert found(spans=[span(name, attributes)]) == []


@pytest.mark.parametrize(
    ("name", "attributes"),
    [
        ("anything", {}),
        ("anything", DRIVER),
        ("downloadimage", {}),
        ("GETX", {}),
        ("INSERT volumes", {}),
        ("cast.x", {}),
        ("casts cinder-volume/create_volume", {}),
        ("revert QuotaReserveTask", FLOW),
        ("retry Times", TASK),
    ],
)
def test_a_name_that_is_not_listed(name: str, attributes: dict[str, Any]) -> None:
    """One word is not yet a flow's or a task's name."""
    assert found(spans=[span(name, attributes)]) == [f"span {name}"]


def test_unlisted_names() -> None:
    """Attributes wherever they stand, events, metrics and their units and attributes."""
    spans = [
        span("GET", {"cinder.made_up": 1}, resource={"resource.made_up": 1}),
        span("GET", {}, events=(EventRecord("made.up", 0, {"event.made_up": 1}),)),
    ]
    metrics = [
        MetricPoint("made.up", "s", "counter", "cinder-api"),
        MetricPoint("taskflow.task.duration", "ms", "histogram", "a", attributes={"id": "7"}),
    ]
    assert found(spans=spans, metrics=metrics, logs=[LogLine("line", attributes={"b": 2})]) == [
        "attribute b of log line",
        "attribute cinder.made_up of GET",
        "attribute event.made_up of made.up",
        "attribute id of metric taskflow.task.duration",
        "attribute resource.made_up of GET",
        "event made.up of GET",
        "metric made.up",
        "unit ms of metric taskflow.task.duration",
    ]
