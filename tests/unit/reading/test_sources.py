"""Traces from files of every known kind."""

from __future__ import annotations

import base64
import gzip
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from otel_cinder.reading.sources import Records, SourceError, is_id, parse, read, take, with_id
from otel_cinder.reading.trace import SpanRecord, Trace
from tests.unit.reading.recorded import TRACES, recorded

CREATE = str(TRACES / "create.jsonl")


def rounded(trace: Trace) -> list[SpanRecord]:
    """The spans as Jaeger has them: times in µs, attributes sorted by name."""
    return sorted((_rounded(span) for span in trace.spans), key=lambda span: span.span_id)


def _rounded(span: SpanRecord) -> SpanRecord:
    start = span.start_ns // 1000 * 1000
    events = [replace(event, time_ns=event.time_ns // 1000 * 1000) for event in span.events]
    links = [link for link in span.links if link.span_id != span.parent_id]
    length = span.duration_ns // 1000 * 1000
    return replace(
        span, start_ns=start, end_ns=start + length, events=tuple(events), links=tuple(links)
    )


def test_the_collectors_lines_are_a_trace() -> None:
    """A file of OTLP/JSON lines gives the trace that was written."""
    (trace,) = read(CREATE).traces()
    assert trace.spans == recorded("create").spans


def test_jaegers_json_is_the_same_trace() -> None:
    """A real Jaeger's answer is the trace that was sent, except µs and parents given twice."""
    (trace,) = read(str(TRACES / "attach_fails.jaeger.json")).traces()
    assert rounded(trace) == rounded(recorded("attach_fails"))
    assert [span.status for span in trace.spans].count("error") == 4
    assert trace.is_whole


def test_lists_come_back_from_jaeger() -> None:
    """Jaeger has a list as JSON in a string."""
    spans = [
        {
            "traceID": "1f",
            "spanID": "a",
            "operationName": "x",
            "startTime": 1,
            "duration": 2,
            "processID": "p1",
            "tags": [
                {"key": "taskflow.task.provides", "type": "string", "value": '["a","b"]'},
                {"key": "cinder.cause", "type": "string", "value": "[broken"},
                {"key": "error", "type": "bool", "value": True},
            ],
        }
    ]
    records = Records()
    processes = {"p1": {"serviceName": "cinder-api", "tags": []}}
    take({"data": [{"spans": spans, "processes": processes}]}, records)
    (span,) = records.spans
    assert span.attributes["taskflow.task.provides"] == ["a", "b"]
    assert span.attributes["cinder.cause"] == "[broken"
    assert (span.trace_id, span.span_id) == ("1f".rjust(32, "0"), "a".rjust(16, "0"))
    assert (span.service, span.status) == ("cinder-api", "error")


def in_base64(data: Any) -> Any:
    """OTLP/JSON with ids in base64, as Tempo has them."""
    if isinstance(data, list):
        return [in_base64(each) for each in data]
    if not isinstance(data, dict):
        return data
    return {
        key: base64.b64encode(bytes.fromhex(value)).decode()
        if key in ("traceId", "spanId", "parentSpanId") and isinstance(value, str)
        else in_base64(value)
        for key, value in data.items()
    }


def batches() -> list[Any]:
    """All of the create's resourceSpans."""
    lines = Path(CREATE).read_text().splitlines()
    return [group for line in lines for group in json.loads(line)["resourceSpans"]]


@pytest.mark.parametrize(
    "whole",
    [
        {"batches": in_base64(batches())},
        {"trace": {"resourceSpans": in_base64(batches())}},
        {"result": {"resourceSpans": batches()}},
        {"resourceSpans": batches()},
    ],
    ids=["Tempo", "Tempo v2", "Jaeger v3", "one export"],
)
def test_answers_of_query_apis_are_read(whole: Any) -> None:
    """Saved answers of Tempo and Jaeger, and one export over many lines."""
    (trace,) = parse(json.dumps(whole, indent=1), "it").traces()
    assert trace.spans == recorded("create").spans


def test_standard_input_and_compressed_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`-` is standard input; gzip is unpacked."""
    file = tmp_path / "a.gz"
    file.write_bytes(gzip.compress(Path(CREATE).read_bytes()))
    assert len(read(str(file)).spans) == 22
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(Path(CREATE).read_bytes())))
    assert len(read("-").spans) == 22


def test_log_records_and_metrics_beside_the_spans() -> None:
    """A file exporter that writes all signals: logs join their spans, metrics are passed over."""
    span = recorded("create").spans[0]
    record = {
        "traceId": span.trace_id,
        "spanId": span.span_id,
        "timeUnixNano": "5",
        "severityText": "INFO",
        "body": {"stringValue": "as a record"},
    }
    lines = [
        Path(CREATE).read_text().strip(),
        json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}),
        json.dumps({"resourceMetrics": []}),
    ]
    records = parse("\n".join(lines), "it")
    assert records.other == 1
    (trace,) = records.traces()
    messages = [event.attributes.get("log.message") for event in trace.spans[0].events]
    assert "as a record" in messages


def test_a_line_cut_short_is_counted() -> None:
    """A file that is being written to may end within a line."""
    text = Path(CREATE).read_text()
    records = parse(text + text[:100], "it")
    assert (len(records.spans), records.bad_lines) == (22, 1)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "it is empty"),
        ("hello\nworld", "it is neither"),
        ("[1]", "it is neither"),
        ('{"data": [{"spans": [{}]}]}', "it is neither"),
        ('{"data": [{"spans": [{"traceID": "1", "spanID": "2", "startTime": "x"}]}]}', "neither"),
        ('{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "zz"}]}]}]}', "it is neither"),
        ('{"resourceSpans": []}', "it has no spans"),
        ('{"resourceMetrics": []}', "it has no spans"),
        ("[" * 100_000, "it is neither"),
    ],
)
def test_files_without_traces_are_reported(text: str, sentence: str) -> None:
    """One sentence for each way in which a file holds no trace."""
    with pytest.raises(SourceError, match=sentence):
        parse(text, "it")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """A file that is away, zstd, and gzip that is cut short."""
    with pytest.raises(SourceError, match="Check the path"):
        read(str(tmp_path / "none"))
    (tmp_path / "z").write_bytes(b"\x28\xb5\x2f\xfdrest")
    with pytest.raises(SourceError, match="zstd -d"):
        read(str(tmp_path / "z"))
    (tmp_path / "g").write_bytes(gzip.compress(b"x" * 1000)[:-9])
    with pytest.raises(SourceError, match="cut short"):
        read(str(tmp_path / "g"))


def test_traces_are_found_by_their_ids() -> None:
    """By the trace's id, the request's and the volume's."""
    traces = [recorded("create"), recorded("reschedule")]
    wanted = traces[1]
    assert wanted.root is not None
    ids = [wanted.root.attributes[key] for key in ("openstack.request_id", "cinder.volume.id")]
    for each in (wanted.trace_id, wanted.trace_id.upper(), *ids):
        assert is_id(each)
        assert with_id(traces, each) == [wanted]
    assert with_id(traces, "f" * 32) == []
    with pytest.raises(SourceError, match="none"):
        with_id(traces, 'req-" || true')
