"""Asking Jaeger and Tempo; a real Jaeger is asked in tests/pipeline.

There is no Tempo to run. traces/create.tempo.json is what the encoder of Tempo 2.10.8 makes of
create.jsonl; its other answers are made as its documentation has them.
"""

from __future__ import annotations

import threading
from typing import Any

import pytest

from otel_cinder.reading.backends import Asking, Jaeger, Tempo
from otel_cinder.reading.sources import SourceError
from tests.unit.answering import NOWHERE, Answer, answering
from tests.unit.reading.recorded import TRACES, recorded
from tests.unit.reading.test_sources import batches

TRACE_ID = "ab" * 16
VOLUME = "22f8a629-337d-4ef4-9a5f-aa9a698a3de3"


def test_tempo_is_asked_by_traceql_and_by_id() -> None:
    """A search over all attributes that may hold the id, then each trace, whose ids are base64."""
    trace = recorded("create")
    paths: list[str] = []

    def answer(path: str, query: dict[str, list[str]], headers: Any) -> Answer:
        paths.append(path)
        assert headers["X-Scope-OrgID"] == "one"
        if path == "/tempo/api/search":
            (question,) = query["q"]
            assert f'span.cinder.volume.id = "{VOLUME}" || ' in question
            assert int(query["end"][0]) - int(query["start"][0]) == 7 * 86_400  # Tempo's bound
            return 200, {"traces": [{"traceID": trace.trace_id.lstrip("0")}]}
        return 200, (TRACES / "create.tempo.json").read_bytes()

    with answering(answer) as url:
        (read,) = Tempo(f"{url}/tempo/", Asking({"X-Scope-OrgID": "one"})).traces(VOLUME)
    assert read.spans == trace.spans
    assert paths == ["/tempo/api/search", f"/tempo/api/traces/{trace.trace_id}"]


@pytest.mark.parametrize(
    ("status", "content", "sentence"),
    [
        (401, b"no org id", "Add --header .*refused the request .HTTP 401."),
        (422, b"trace exceeds max size", "Raise max_bytes_per_trace of Tempo.*HTTP 422: trace exc"),
    ],
)
def test_tempos_own_refusals_have_their_sentences(
    status: int, content: bytes, sentence: str
) -> None:
    """Without a tenant, and a trace larger than it returns."""
    with answering(lambda *_: (status, content)) as url:
        with pytest.raises(SourceError, match=sentence):
            Tempo(url, Asking()).traces(TRACE_ID)


def test_an_older_jaeger_is_asked_by_its_older_api() -> None:
    """Without /api/v3 there is /api/traces."""
    data = {"data": [{"spans": [], "processes": {}}]}
    span = {"traceID": TRACE_ID, "spanID": "1", "startTime": 1, "operationName": "x"}
    data["data"][0]["spans"] = [span]

    with answering(lambda path, *_: (200, data) if "v3" not in path else (404, b"")) as url:
        (trace,) = Jaeger(url, Asking()).traces(TRACE_ID)
    assert len(trace) == 1


def test_a_hiccup_is_asked_again() -> None:
    """HTTP 503 is tried again."""
    times: list[str] = []

    def answer(path: str, *_: object) -> Answer:
        times.append(path)
        return (503, {}) if len(times) < 3 else (200, {"result": {"resourceSpans": batches()}})

    with answering(answer) as url:
        assert len(Jaeger(url, Asking()).traces(TRACE_ID)) == 1
    assert len(times) == 3


@pytest.mark.parametrize(
    ("status", "content", "sentence"),
    [
        (404, {}, "Check the id, or wait some seconds"),
        (401, {}, "Add --header 'Authorization: …'.*refused the request .HTTP 401."),
        (403, {}, "HTTP 403"),
        (302, {}, "Give --jaeger the final address.*sends elsewhere"),
        (400, b"range exceeds 168h", "Try fewer --days.*HTTP 400: range exceeds 168h"),
        (500, b"NaN \x1b[31m", r"Look into the log of Jaeger.*HTTP 500 .NaN \[31m"),
        (503, {}, "HTTP 503"),
        (200, b"<html>", "is something else"),
        (200, {"what": 1}, "is something else"),
        (200, [], "is something else"),
        (200, {"result": {}}, "is something else"),
    ],
)
def test_each_refusal_has_its_sentence(status: int, content: Any, sentence: str) -> None:
    """Not found, not allowed, elsewhere, broken, not Jaeger: advice first, in one sentence."""
    with answering(lambda *_: (status, content)) as url:
        with pytest.raises(SourceError, match=sentence) as raised:
            Jaeger(url, Asking()).traces(TRACE_ID)
        if not (status == 404):
            assert url in str(raised.value)
    assert raised.value.found is (status != 404)


def test_unreachable_backends_have_their_sentence() -> None:
    """A port on which nothing listens, and a URL that is none."""
    with pytest.raises(SourceError, match=f"nothing answers at {NOWHERE}"):
        Jaeger(NOWHERE, Asking()).traces(TRACE_ID)
    for url in ("jaeger:16686", "ftp://x", "http://", ""):
        with pytest.raises(SourceError, match="Give --tempo a URL"):
            Tempo(url, Asking())


def test_a_slow_backend_is_not_waited_for() -> None:
    """--timeout bounds the wait, and is named."""
    stop = threading.Event()

    def answer(*_: object) -> Answer:
        stop.wait(20)
        return 200, {}

    with answering(answer) as url:
        with pytest.raises(SourceError, match=r"longer --timeout.*within 0\.3 s"):
            Jaeger(url, Asking(timeout_s=0.3)).traces(TRACE_ID)
        stop.set()


def test_passwords_are_not_shown() -> None:
    """A URL with a password is named without it."""
    with pytest.raises(SourceError) as raised:
        Jaeger("http://user:secret@127.0.0.1:1", Asking()).traces(TRACE_ID)
    assert "secret" not in str(raised.value)
    assert "http://127.0.0.1:1" in str(raised.value)


def test_a_jaeger_without_the_volume_says_how_far_it_looked() -> None:
    """A search names --days."""

    def answer(path: str, *_: object) -> Answer:
        return 200, {"data": ["cinder-api", "other"] if path.endswith("services") else []}

    with answering(answer) as url:
        with pytest.raises(SourceError, match=r"in the last 2 days \(--days\)"):
            Jaeger(url, Asking(days=2)).traces(VOLUME)
