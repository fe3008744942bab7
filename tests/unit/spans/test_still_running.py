"""Still-running spans, which show open spans."""

from __future__ import annotations

import functools
import math
import sys
import time
import weakref
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, TraceFlags

from otel_cinder import conventions
from otel_cinder.export.failure_log import failure_log
from otel_cinder.export.queues import BatchSpanProcessor
from otel_cinder.settings import Settings
from otel_cinder.spans import clock, still_running
from otel_cinder.spans.open import OpenSpans
from otel_cinder.spans.still_running import StillRunning, rung, tell_more
from tests.receiver import Receiver
from tests.unit import scripts

FIRST_S = 10.0
REMOTE = SpanContext(7, 8, is_remote=True, trace_flags=TraceFlags(1))


class Told(BatchSpanProcessor):
    """Keeps the still-running spans."""

    def __init__(self) -> None:
        super().__init__([], "nowhere", queue_size=9, batch_size=9, delay=60)
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


class Looked:
    """Spans of a chosen age, and looks at them."""

    def __init__(self, sampler: Sampler | None = None) -> None:
        self.register = OpenSpans()
        self.provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        self.provider.add_span_processor(self.register)
        self.told = Told()
        draw = self.provider.id_generator.generate_span_id
        self.looks = StillRunning(self.register, self.told, draw, FIRST_S)

    def start(
        self, name: str, age: float, parent: Span | None = None, **more: Any
    ) -> still_running.Span:
        """A span that began ``age`` seconds ago."""
        context = Context() if parent is None else trace.set_span_in_context(parent, Context())
        begun = time.time_ns() - int(age * 1e9)
        tracer = self.provider.get_tracer("test")
        return clock.start(tracer, name, context, start_time=begun, **more)  # type: ignore[return-value]

    def look(self) -> list[str]:
        """The names of the spans that one look makes."""
        before = len(self.told.spans)
        self.looks._look(FIRST_S)
        return [span.name for span in self.told.spans[before:]]


@pytest.mark.parametrize(
    ("age", "times"),
    [(9.9, 0), (10, 1), (29, 1), (30, 2), (120, 3), (600, 4), (3599, 4), (3600, 5), (7200, 6)],
)
def test_still_running_spans_come_ever_more_seldom(age: float, times: int) -> None:
    """After the first time it comes at 30 s, 2 min, 10 min and then each hour."""
    assert rung(age, 10) == times


@pytest.mark.parametrize(("age", "times"), [(40, 0), (60, 1), (119, 1), (120, 2), (3600, 4)])
def test_later_first_time_leaves_the_earlier_ones_out(age: float, times: int) -> None:
    """Where a minute is waited for, there is nothing at 30 s."""
    assert rung(age, 60) == times


def test_innermost_open_span_is_shown_once() -> None:
    """A span of its own, as old as the open one and linked to it, below an ended span."""
    looked = Looked()
    parent = NonRecordingSpan(REMOTE)
    root = looked.start(
        "process cinder-volume/create_volume",
        21,
        parent,
        kind=SpanKind.CONSUMER,
        attributes={"cinder.volume.id": "v", "rpc.method": "m", "thread.id": 1},
    )
    task = looked.start("CreateVolumeFromSpecTask", 20.5, root)
    driver = looked.start("RBDDriver.create_volume", 20, task)
    assert looked.look() == ["still running RBDDriver.create_volume"]
    assert looked.look() == []
    (shown,) = looked.told.spans
    assert shown.context is not None
    assert shown.context.trace_id == REMOTE.trace_id
    assert shown.context.span_id not in {s.context.span_id for s in (root, task, driver)}
    assert shown.parent == REMOTE
    assert [link.context for link in shown.links] == [driver.context]
    assert shown.start_time == driver.start_time
    assert shown.end_time is not None
    assert shown.end_time - (shown.start_time or 0) >= 20e9
    assert shown.resource is driver.resource
    attributes = dict(shown.attributes or {})
    assert attributes.pop(conventions.STACKTRACE).startswith(f"{__file__}:")
    ages = attributes.pop(conventions.OPEN_SECONDS)
    assert [math.floor(age * 2) / 2 for age in ages] == [21, 20.5, 20]
    assert attributes == {
        "cinder.volume.id": "v",
        "rpc.method": "m",
        "cinder.still_running": True,
        "cinder.still_running.spans": [root.name, task.name, driver.name],
    }


def test_young_spans_are_not_shown() -> None:
    """Below the threshold there is nothing."""
    looked = Looked()
    spans = [looked.start("a", 9), looked.start("b", 1)]
    assert looked.look() == []
    assert len(spans) == 2


def test_operation_of_many_short_spans_is_shown() -> None:
    """An operation older than twice the threshold is shown, also if all spans inside are young."""
    looked = Looked()
    root = looked.start("root", 25)
    task = looked.start("task", 21, root)
    command = looked.start("execute rbd", 1, task)
    assert looked.look() == ["still running task"]
    assert looked.look() == []
    assert command.is_recording()


def test_parent_is_the_nearest_that_has_ended() -> None:
    """If a greenthread goes on after the request was answered, the still-running span is below the request."""
    looked = Looked()
    root = looked.start("POST", 30)
    inner = looked.start("task", 20, root)
    root.end()
    assert looked.look() == ["still running task"]
    assert looked.told.spans[0].parent == root.get_span_context()
    assert inner.is_recording()


def test_message_is_told_below_its_cast() -> None:
    """Who sent it may be at work still, as in a migration: its cast has ended, so it's no orphan."""
    looked = Looked()
    cast = SpanContext(REMOTE.trace_id, 0xCA57, True, REMOTE.trace_flags)
    handled = looked.start(
        "process cinder-volume/create_volume",
        20,
        NonRecordingSpan(REMOTE),
        kind=SpanKind.CONSUMER,
        links=[Link(cast)],
    )
    looked.look()
    (told,) = looked.told.spans
    assert told.parent == cast
    assert [link.context for link in told.links] == [handled.context]


def test_call_has_no_parent_since_its_caller_waits() -> None:
    """The caller's span, which waits for the answer, is still open: it is linked, and no orphan is made."""
    looked = Looked()
    parent = NonRecordingSpan(REMOTE)
    call = looked.start(
        "initialize_connection", 20, parent, kind=SpanKind.SERVER, attributes={"rpc.method": "m"}
    )
    looked.look()
    (shown,) = looked.told.spans
    assert shown.parent is None
    assert [link.context for link in shown.links] == [call.context, REMOTE]


def test_whose_answer_is_waited_for() -> None:
    """An open CLIENT span names the service whose answer it waits for."""
    looked = Looked()
    said = {"rpc.method": "cinder-volume/attach", "messaging.destination.name": "x:volume.host"}
    call = looked.start("call", 20, kind=SpanKind.CLIENT, attributes=said)
    looked.look()
    attributes = looked.told.spans[0].attributes or {}
    assert attributes[conventions.WAITS_FOR] == "cinder-volume/attach (x:volume.host)"
    assert call.is_recording()


def test_parallel_tasks_are_shown_up_to_a_bound() -> None:
    """Each innermost span is shown, at most 16 per request; the rest is counted."""
    looked = Looked()
    root = looked.start("root", 40)
    tasks = [looked.start(f"task {index}", 20, root) for index in range(20)]
    assert looked.look() == [f"still running task {index}" for index in range(16)]
    assert looked.look() == []
    assert looked.looks.left_out == 4
    assert len(tasks) == 20


def test_look_is_bounded_and_leaves_the_rest_to_the_next() -> None:
    """A look makes at most 64 spans; the next looks make the others."""
    looked = Looked()
    roots = [looked.start("root", 20) for _ in range(150)]
    assert [len(looked.look()) for _ in range(4)] == [64, 64, 22, 0]
    assert len(roots) == 150
    assert looked.looks.left_out == 0


def test_ended_spans_are_forgotten() -> None:
    """Knowledge about a span is dropped with the span."""
    looked = Looked()
    span = looked.start("a", 20)
    looked.look()
    assert looked.looks._rungs
    span.end()
    looked.look()
    assert not looked.looks._rungs


def test_unsampled_span_is_not_shown() -> None:
    """Spans that are recorded but not sampled are not exported, open or ended."""

    class Records(Sampler):
        def should_sample(self, *_args: Any, **_kwargs: Any) -> SamplingResult:
            return SamplingResult(Decision.RECORD_ONLY)

        def get_description(self) -> str:
            return "records"

    looked = Looked(Records())
    span = looked.start("a", 20)
    assert len(looked.register) == 1
    assert looked.look() == []
    assert span.is_recording()


class Owner:
    """Adds attributes to a span while it is open."""

    def so_far(self) -> tuple[str, dict[str, Any]]:
        """As the http seam does."""
        return "GET /v3/volumes", {"openstack.request_id": "req-1"}


class Broken:
    """Adds nothing."""

    def so_far(self) -> tuple[str, dict[str, Any]]:
        """The work of another thread."""
        raise RuntimeError("dictionary changed size during iteration")


@pytest.mark.parametrize(
    ("owner", "name"), [(Owner(), "still running GET /v3/volumes"), (Broken(), "still running GET")]
)
def test_who_opened_a_span_says_more_of_it(owner: Any, name: str) -> None:
    """A request has its route's name and its id before it is answered, if they can be had."""
    looked = Looked()
    span = looked.start("GET", 20)
    tell_more(span, weakref.ref(owner))
    assert looked.look() == [name]


def test_failure_of_a_look_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """The looks go on, and the error is logged once."""
    looked = Looked()
    looked.register.snapshot = functools.partial(next, iter(()))  # type: ignore[method-assign]
    looked.looks._work(asked=False)
    looked.looks._work(asked=False)
    failure_log.write()
    (message,) = caplog.messages
    assert message.startswith("otel-cinder could not tell what is still running because of Stop")


def test_setting() -> None:
    """Seconds, or off; ten by default."""
    name = "OTEL_CINDER_STILL_RUNNING"
    assert Settings.from_environ({}).still_running == 10
    assert Settings.from_environ({name: " 2.5"}).still_running == 2.5
    assert Settings.from_environ({name: "off"}).still_running == math.inf


@pytest.mark.parametrize("value", ["-1", "soon", "nan", "inf", "1e9"])
def test_malformed_setting_is_warned_of(value: str, caplog: pytest.LogCaptureFixture) -> None:
    """A value that is not a number of seconds counts as ten, with a warning."""
    assert Settings.from_environ({"OTEL_CINDER_STILL_RUNNING": value}).still_running == 10
    assert caplog.messages == [
        (
            f"OTEL_CINDER_STILL_RUNNING={value!r} is no number of seconds between 0 and 86400, so "
            "10 is used; set it to one, or to off."
        )
    ]


WORK = """
import threading, time
from opentelemetry import trace
from opentelemetry.trace import SpanKind
from otel_cinder.patching.patch_set import PatchSet
from otel_cinder.seams import concurrency
from otel_cinder.spans.runtime import end_span
native = otel_cinder.export.native_thread.unpatched("time").sleep
def greened():
    time.sleep(3.5)
def blocked():
    native(3.5)
def real():
    native(3.5)
def pooled():
    pool(real)
def looped():  # runs at each look, but lets others run
    end = time.monotonic() + 3.5
    while time.monotonic() < end:
        native(0.002)
        time.sleep(0)
def operation(work):
    span = runtime.start_span(work.__name__, otel_context.Context(), SpanKind.CONSUMER)
    token = otel_context.attach(trace.set_span_in_context(span))
    work()
    otel_context.detach(token)
    end_span(span)
"""

THREADS = """
from concurrent.futures import ThreadPoolExecutor
concurrency.patch(PatchSet())
def pool(function, *args):
    ThreadPoolExecutor(1).submit(function, *args).result()
for work in (greened, blocked, pooled):
    operation(work)
flush()
"""

GREEN = """
from eventlet import tpool
concurrency.patch(PatchSet())
pool = tpool.execute
for work in (greened, blocked, pooled, looped):
    eventlet.spawn(operation, work).wait()
flush()
"""


@pytest.mark.parametrize("eventlet", [False, True], ids=["threads", "eventlet"])
def test_stack_of_who_is_at_work_and_whether_it_blocks_the_hub(eventlet: bool) -> None:
    """Asleep, blocked, in a pool: the first frame is the work's own line; only one blocks the hub."""
    with Receiver() as receiver:
        scripts.run(
            scripts.EVENTLET if eventlet else "",
            scripts.EXPORTED,
            WORK,
            GREEN if eventlet else THREADS,
            env={
                "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
                "OTEL_METRICS_EXPORTER": "none",
                "OTEL_CINDER_STILL_RUNNING": "2",
                "OTEL_CINDER_DISABLED_SEAMS": "concurrency",
            },
        )
        spans = receiver.spans()
    shown = {s.name.split()[-1]: s for s in spans if s.name.startswith("still running ")}
    real = {s.name: s for s in spans if not s.name.startswith("still running ")}
    blocks = {name: s.attributes.get(conventions.BLOCKS_HUB) for name, s in shown.items()}
    if eventlet:
        looped = blocks.pop("looped")
        assert not looped
        assert blocks == {"greened": False, "blocked": True, "pooled": False}
    else:
        assert blocks == dict.fromkeys(("greened", "blocked", "pooled"))
    for name, span in shown.items():
        assert [link.span_id for link in span.links] == [real[name].span_id]
        frames = str(span.attributes[conventions.STACKTRACE]).splitlines()
        function = "real" if name == "pooled" else name
        assert frames[0].endswith(f" in {function}"), frames


@pytest.mark.parametrize("server", ["uwsgi", "mod_wsgi"])
def test_no_stack_is_read_where_python_is_embedded(
    monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    """Python's own look at the threads may crash the process there: the span has no stack."""
    monkeypatch.setitem(sys.modules, server, object())
    monkeypatch.setattr(sys, "_current_frames", lambda: pytest.fail("looked"))
    looked = Looked()
    span = looked.start("a", 20)
    assert looked.look() == ["still running a"]
    assert conventions.STACKTRACE not in (looked.told.spans[0].attributes or {})
    assert span.is_recording()


def test_open_spans_are_errors_shortly_before_the_end() -> None:
    """Once the grace that a stopping service has is nearly over, all that is open is handed on."""
    looked = Looked()
    looked.register._then = looked.told
    span = looked.start("a", 1)
    looked.looks.cut_off_in(60)
    looked.looks._work(asked=False)
    assert looked.told.spans == []
    looked.looks.cut_off_in(0)
    looked.looks._work(asked=False)
    (cut,) = looked.told.spans
    assert (cut.name, (cut.attributes or {})["error.type"]) == ("a", "ServiceStopped")
    span.end()
    assert looked.told.spans == [cut]
