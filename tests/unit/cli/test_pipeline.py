"""The demo's messages about a pipeline; tests/pipeline has the real programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from otel_cinder.cli.demo.pipeline import BOARD, Pipeline
from otel_cinder.cli.demo.problem import Problem
from otel_cinder.reading.trace import Trace
from tests.unit.answering import NOWHERE, answering
from tests.unit.cli.samples import TRACE_ID, volume_create


def answering_with(answers: Mapping[str, Any]) -> AbstractContextManager[str]:
    """A server that answers these paths with JSON, and all others with 404."""
    return answering(lambda path, *_: (200, answers[path]) if path in answers else (404, {}))


@pytest.fixture
def trace() -> Trace:
    """The trace of a volume create."""
    return Trace(volume_create())


def test_the_trace_has_a_link_whether_there_is_a_grafana_or_not(trace: Trace) -> None:
    """Grafana is no part of `make pipeline`: without it, its link is left out."""
    pipeline = Pipeline("http://jaeger:16686/", NOWHERE)
    assert pipeline.links(trace) == {"the trace": f"http://jaeger:16686/trace/{TRACE_ID}"}


@pytest.mark.parametrize(
    ("database", "linked"), [("ok", True), ("failing", False)], ids=["up", "not ready"]
)
def test_a_grafana_that_answers_is_linked(trace: Trace, database: str, linked: bool) -> None:
    """Grafana's health answer decides."""
    with answering_with({"/api/health": {"database": database, "version": "13.1.4"}}) as grafana:
        links = Pipeline(NOWHERE, grafana).links(trace)
    assert (f"{grafana}/d/{BOARD}" in links.values()) is linked


def test_the_board_that_it_links_to_is_among_ours() -> None:
    """Grafana knows a board by the uid in its file."""
    files = (Path(__file__).parents[3] / "grafana" / "dashboards").glob("*.json")
    assert BOARD in {json.loads(file.read_text())["uid"] for file in files}


def test_nothing_is_asked_by_way_of_a_proxy(trace: Trace, monkeypatch: pytest.MonkeyPatch) -> None:
    """With http_proxy set, addresses on this host are still reached directly."""
    monkeypatch.setenv("http_proxy", NOWHERE)
    with answering_with({"/api/health": {"database": "ok"}}) as grafana:
        assert len(Pipeline(NOWHERE, grafana).links(trace)) == 2


def test_missing_spans_are_counted(trace: Trace) -> None:
    """The sentence has the number of missing spans, the address, and the log to read."""
    spans = [
        {"traceId": span.trace_id, "spanId": span.span_id, "name": span.name}
        for span in trace.spans[:3]
    ]
    answer = {"result": {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}}
    with answering_with({f"/api/v3/traces/{TRACE_ID}": answer}) as jaeger:
        with pytest.raises(Problem) as raised:
            Pipeline(jaeger, NOWHERE).wait_for(trace, timeout=0.1)
    assert raised.value.exit_status == 1
    missing = len(trace) - 3
    assert f"{missing} of its {len(trace)} spans are not in Jaeger at {jaeger}" in str(raised.value)
    assert "docker compose logs collector" in str(raised.value)


def test_a_jaeger_that_goes_away_has_none_of_it(trace: Trace) -> None:
    """A Jaeger that stops answering is waited for like one that has nothing yet."""
    with pytest.raises(Problem, match=f"{len(trace)} of its {len(trace)} spans"):
        Pipeline(NOWHERE, NOWHERE).wait_for(trace, timeout=0.1)
