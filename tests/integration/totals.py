"""Metrics as they add up over a service's workers."""

from collections import Counter
from collections.abc import Callable, Iterable

from tests.integration.processes import wait_until
from tests.metric_points import MetricPoint
from tests.receiver import Receiver


def totals(points: Iterable[MetricPoint], *by: str) -> Counter[tuple[object, ...]]:
    """Count each metric's measurements, by these of its attributes; all but the name may be None.

    The points are cumulative: of each worker the last one counts.
    """
    last: dict[object, tuple[tuple[object, ...], float]] = {}
    for point in points:
        worker = point.resource.get("service.instance.id")
        attributes = frozenset((name, str(value)) for name, value in point.attributes.items())
        key = (point.name, *(point.attributes.get(name) for name in by))
        count = point.count if point.count is not None else point.value or 0
        last[point.service, worker, point.name, attributes] = (key, count)
    added: Counter[tuple[object, ...]] = Counter()
    for key, count in last.values():
        added[key] += int(count)
    return added


def wait_for_totals(
    receiver: Receiver, satisfied: Callable[[list[MetricPoint]], bool], timeout: float = 20
) -> list[MetricPoint]:
    """Wait until the points that arrived satisfy; return them all, or say that they did not."""
    wait_until(lambda: satisfied(receiver.metrics()), timeout, "the metrics")
    return receiver.metrics()
