"""Times of spans and events while the wall clock is set. No test can set the real one."""

from __future__ import annotations

import logging
import pathlib
import time
from collections.abc import Callable
from typing import Any

import pytest
import webob
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import Span
from taskflow import engines
from taskflow.patterns import linear_flow

from otel_cinder.spans import clock, local_root
from otel_cinder.spans.failures import record_failure
from otel_cinder.spans.local_root import LocalRoot
from otel_cinder.spans.runtime import end_span, runtime
from tests.unit.recording import Recorder
from tests.unit.seams.applications import Api, load
from tests.unit.seams.atoms import Succeeds

BACK_NS = -30_000_000_000
AHEAD_NS = 3_600_000_000_000


class WallClock:
    """A wall clock that can be set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.off_ns = 0
        real_ns, real = time.time_ns, time.time
        for place in ("opentelemetry.sdk.trace", "opentelemetry.trace", "otel_cinder.spans.clock"):
            monkeypatch.setattr(f"{place}.time_ns", lambda: real_ns() + self.off_ns, raising=False)
        # By which logging stamps its records.
        monkeypatch.setattr("time.time_ns", lambda: real_ns() + self.off_ns)
        monkeypatch.setattr("time.time", lambda: real() + self.off_ns / 1e9)


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> WallClock:
    return WallClock(monkeypatch)


def began(span: ReadableSpan) -> int:
    assert span.start_time is not None
    return span.start_time


def ended(span: ReadableSpan) -> int:
    assert span.end_time is not None
    return span.end_time


def took_s(span: ReadableSpan) -> float:
    return (ended(span) - began(span)) / 1e9


@pytest.mark.parametrize("off_ns", [BACK_NS, AHEAD_NS])
def test_span_has_its_true_duration(spans: Recorder, wall: WallClock, off_ns: int) -> None:
    """A clock that is set while a span is open makes it neither longer nor shorter."""
    before = time.monotonic()
    span = runtime.start_span("create", Context())
    wall.off_ns = off_ns
    end_span(span)
    assert 0 <= took_s(spans["create"]) <= time.monotonic() - before


def test_root_starts_by_the_wall_clock(spans: Recorder) -> None:
    """A trace lies where the clocks of other hosts have it."""
    before = time.time_ns()
    end_span(runtime.start_span("create", Context()))
    assert before <= began(spans["create"]) <= time.time_ns()


def test_child_lies_within_its_parent(spans: Recorder, wall: WallClock) -> None:
    """A child does not start before its parent, even if the clock was set back."""
    parent = runtime.start_span("parent", Context())
    wall.off_ns = BACK_NS
    child = runtime.start_span("child", trace.set_span_in_context(parent, Context()))
    grandchild = runtime.start_span("grandchild", trace.set_span_in_context(child, Context()))
    for span in (grandchild, child, parent):
        end_span(span)
    chain = [spans[name] for name in ("parent", "child", "grandchild")]
    starts = [began(span) for span in chain]
    ends = [ended(span) for span in reversed(chain)]
    assert [*starts, *ends] == sorted([*starts, *ends])


def test_next_trace_is_by_the_clock_as_it_is_set(spans: Recorder, wall: WallClock) -> None:
    """A root that starts after the clock was set starts by the clock."""
    end_span(runtime.start_span("first", Context()))
    wall.off_ns = BACK_NS
    end_span(runtime.start_span("second", Context()))
    assert began(spans["first"]) - began(spans["second"]) > -BACK_NS / 2


def test_start_that_is_given(spans: Recorder, wall: WallClock) -> None:
    """A span may start before it is made, and still ends by the clock."""
    received = time.time_ns() - 2_000_000_000
    span = runtime.start_span("process", Context(), start_time=received)
    wall.off_ns = BACK_NS
    end_span(span)
    assert began(spans["process"]) == received
    assert took_s(spans["process"]) >= 2


def test_events_lie_within_their_span(spans: Recorder, wall: WallClock) -> None:
    """A log line, an exception and a failure that was handled have times within the span."""
    span = runtime.start_span("process", Context())
    context = local_root.enter(trace.set_span_in_context(span), LocalRoot(span, is_http=False))
    token = otel_context.attach(context)
    logger = logging.getLogger("cinder.volume.manager")
    logger.warning("before")
    wall.off_ns = BACK_NS
    logger.warning("after")
    record_failure(span, LookupError("none"))
    local_root.fail("cinder.resource.error", {}, LookupError("none"))
    otel_context.detach(token)
    end_span(span)
    found = spans["process"]
    times = [event.timestamp for event in found.events]
    assert [event.name for event in found.events] == [
        "log",
        "log",
        "exception",
        "cinder.resource.error",
    ]
    assert times == sorted(times)
    assert began(found) <= times[0]
    assert times[-1] <= ended(found)


def test_flow_and_its_tasks(spans: Recorder, wall: WallClock) -> None:
    """Flows and tasks keep time like all others."""

    class SetsTheClock(Succeeds):
        def execute(self) -> None:
            wall.off_ns = BACK_NS

    engines.run(linear_flow.Flow("flow").add(SetsTheClock("a.First"), Succeeds("a.Second")))
    flow, first, second = (spans[name] for name in ("flow", "First", "Second"))
    times = [began(flow), began(first), ended(first), began(second), ended(second), ended(flow)]
    assert times == sorted(times)


@pytest.mark.parametrize("streams", [False, True])
def test_request(spans: Recorder, wall: WallClock, tmp_path: pathlib.Path, streams: bool) -> None:
    """A request's span, which the middleware of another package ends, keeps time as well."""

    def handle(_request: webob.Request) -> webob.Response:
        wall.off_ns = BACK_NS
        if streams:
            return webob.Response(app_iter=(part for part in [b"part"]))
        return webob.Response("ok")

    webob.Request.blank("/v3/aaaa/volumes").get_response(load(Api(handle), tmp_path)).body
    (span,) = spans
    assert 0 <= took_s(span) < -BACK_NS / 1e9
    assert "end" not in vars(span)


def test_spans_that_are_not_recorded(instrumented: Callable[..., Recorder]) -> None:
    """A span that is not sampled is left as it is."""
    instrumented(sampler=ALWAYS_OFF)
    span = runtime.start_span("create", Context())
    clock.add_event(span, "log", {})
    end_span(span)
    assert set(vars(span)) == {"_context"}


def test_span_of_another_sdk() -> None:
    """A span that takes no attribute of ours keeps its own time."""

    class Closed(trace.NonRecordingSpan):
        ended: Any = "not yet"

        def __setattr__(self, name: str, value: Any) -> None:
            if name.startswith("_otel_cinder"):
                raise AttributeError(name)
            super().__setattr__(name, value)

        def is_recording(self) -> bool:
            return True

        def end(self, end_time: int | None = None) -> None:
            self.ended = end_time

    class Another(trace.NoOpTracer):
        def start_span(self, *_args: Any, **_kwargs: Any) -> Span:
            return Closed(trace.INVALID_SPAN_CONTEXT)

    span: Any = clock.start(Another(), "create", Context())
    clock.add_event(span, "log", {})
    clock.end(span)
    assert span.ended is None


def test_host_sees_an_ordinary_span(instrumented: Callable[..., Recorder]) -> None:
    """A span's clock is not exported."""
    recorder = instrumented()
    end_span(runtime.start_span("create", Context()))
    (span,) = recorder
    assert "ahead" not in span.to_json()
    assert isinstance(recorder.provider, TracerProvider)
