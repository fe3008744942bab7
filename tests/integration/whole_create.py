"""The trace of one POST /volumes, and the comparison of an actual one with it."""

import difflib
import re
from collections import Counter
from collections.abc import Iterable

from otel_cinder.reading.trace import SpanRecord, Trace, traces_of

ROOT = "POST /v3/{project_id}/volumes"

# One line a span, below its parent, in the order in which they began.
TREE = """\
POST /v3/{project_id}/volumes (server, cinder-api)
  volume_create_api (internal, cinder-api)
    ExtractVolumeRequestTask (internal, cinder-api)
    QuotaReserveTask (internal, cinder-api)
    EntryCreateTask (internal, cinder-api)
    QuotaCommitTask (internal, cinder-api)
    VolumeCastTask (internal, cinder-api)
      cast cinder-scheduler/create_volume (producer, cinder-api)
  process cinder-scheduler/create_volume (consumer, cinder-scheduler)
    volume_create_scheduler (internal, cinder-scheduler)
      ExtractSchedulerSpecTask (internal, cinder-scheduler)
      ScheduleCreateVolumeTask (internal, cinder-scheduler)
        cast cinder-volume/create_volume (producer, cinder-scheduler)
    process cinder-volume/create_volume (consumer, cinder-volume)
      volume_create_manager (internal, cinder-volume)
        ExtractVolumeRefTask (internal, cinder-volume)
        OnFailureRescheduleTask (internal, cinder-volume)
        ExtractVolumeSpecTask (internal, cinder-volume)
        NotifyVolumeActionTask (internal, cinder-volume)
        CreateVolumeFromSpecTask (internal, cinder-volume)
          SparseFileDriver.create_volume (internal, cinder-volume)
        CreateVolumeOnFinishTask (internal, cinder-volume)
"""
SPANS = len(TREE.splitlines())
TASKS = set(re.findall(r"\w+Task\b", TREE))

# What remains of it where only the API is traced.
API_TREE = "".join(TREE.splitlines(keepends=True)[:8])


def draw(trace: Trace) -> str:
    """Draw a trace as TREE is drawn; orphans stand beside the root and say so."""
    lines = []
    for depth, span in trace.walk():
        notes = [span.kind, span.service]
        if span.status == "error":
            notes.append(f"error: {span.status_message}")
        if span in trace.orphans and span.parent_id:
            notes.append(f"its parent {span.parent_id} is missing")
        lines.append(f"{'  ' * depth}{span.name} ({', '.join(notes)})\n")
    return "".join(lines)


def assert_whole_create(trace: Trace, parent_id: str = "", tree: str = TREE) -> None:
    """Hold a trace against the tree; parent_id is the caller's span, where it named one."""
    actual = draw(trace)
    if parent_id:
        actual = actual.replace(f", its parent {parent_id} is missing", "")
    if actual != tree:
        lines = (tree.splitlines(keepends=True), actual.splitlines(keepends=True))
        diff = "".join(difflib.unified_diff(*lines, "expected", "arrived", n=99))
        raise AssertionError(f"trace {trace.trace_id} is not that of a create:\n{diff}")
    for span in trace.spans:
        if span.kind == "consumer":
            linked = [trace.get(link.span_id) for link in span.links]
            cast = f"cast {span.name.removeprefix('process ')}"
            assert [each and each.name for each in linked] == [cast], f"{span.name}: {linked}"
        assert span.end_ns >= span.start_ns, f"{span.name} ended before it began"


def assert_no_span_twice(spans: Iterable[SpanRecord]) -> None:
    """Check that no span was exported twice and no id given twice."""
    counted = Counter((span.trace_id, span.span_id) for span in spans)
    assert not [ids for ids, count in counted.items() if count > 1]


def create_traces(spans: Iterable[SpanRecord]) -> list[Trace]:
    """Pick the traces that have a create's request in them."""
    return [trace for trace in traces_of(spans) if any(s.name == ROOT for s in trace.spans)]


def request_id(trace: Trace) -> str:
    """Return the id that the API's answer had too."""
    (request,) = [span for span in trace.spans if span.name == ROOT]
    return str(request.attributes.get("openstack.request_id"))
