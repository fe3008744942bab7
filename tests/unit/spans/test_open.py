"""The register of open spans."""

from __future__ import annotations

import gc
import threading
from typing import Any

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import Status, StatusCode, Tracer

import otel_cinder
from otel_cinder.spans import open as open_spans
from otel_cinder.spans.open import OpenSpans
from otel_cinder.spans.runtime import end_span, runtime
from tests.receiver import Receiver
from tests.unit import scripts

ROOT = Context()


class Ended(SpanProcessor):
    """Keeps the names of what has ended."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.names.append(span.name)


def tracer_of(register: OpenSpans, sampler: Any = None) -> Tracer:
    """A tracer whose spans the register knows."""
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    provider.add_span_processor(register)
    return provider.get_tracer("test")


def names(register: OpenSpans) -> list[str]:
    """The names of the open spans."""
    return [open_span.span.name for open_span in register.snapshot()]


def test_spans_are_known_from_start_to_end_in_order() -> None:
    """A span is in the register while it is open, the oldest first, and is handed on at its end."""
    ended = Ended()
    register = OpenSpans(ended)
    tracer = tracer_of(register)
    first, second, third = (tracer.start_span(name, ROOT) for name in ("a", "b", "c"))
    assert names(register) == ["a", "b", "c"]
    second.end()
    assert names(register) == ["a", "c"]
    first.end()
    third.end()
    assert names(register) == []
    assert ended.names == ["b", "a", "c"]


def test_thread_that_started_a_span_is_known() -> None:
    """The register has the native thread that started each span; there is no greenthread."""
    register = OpenSpans()
    tracer = tracer_of(register)
    spans = []
    thread = threading.Thread(target=lambda: spans.append(tracer.start_span("b", ROOT)))
    spans.append(tracer.start_span("a", ROOT))
    thread.start()
    thread.join()
    here, there = register.snapshot()
    assert (here.thread, there.thread) == (threading.get_ident(), thread.ident)
    assert here.greenlet is None


def test_span_that_is_not_recorded_is_not_known() -> None:
    """Only recorded spans are in the register."""
    register = OpenSpans()
    span = tracer_of(register, ALWAYS_OFF).start_span("a", ROOT)
    assert len(register) == 0
    span.end()


def test_dropped_spans_do_not_pile_up() -> None:
    """Spans that never end are dropped with their last reference, without a look at the register."""
    register = OpenSpans()
    tracer = tracer_of(register)
    kept = tracer.start_span("kept", ROOT)
    for _ in range(5000):
        tracer.start_span("dropped", ROOT)
    gc.collect()
    assert len(register) <= 2 * open_spans._FIRST_SWEEP
    assert names(register) == ["kept"]
    kept.end()


def test_register_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit, spans are recorded but not registered; their number is counted."""
    monkeypatch.setattr(open_spans, "LIMIT", 300)
    ended = Ended()
    register = OpenSpans(ended)
    tracer = tracer_of(register)
    spans = [tracer.start_span("a", ROOT) for _ in range(310)]
    assert (len(register), register.left_out) == (300, 10)
    for span in spans:
        span.end()
    assert (len(register), len(ended.names)) == (0, 310)
    tracer.start_span("b", ROOT).end()
    assert register.left_out == 10


def test_first_span_begins_the_look() -> None:
    """The first span's callback runs once."""
    begun: list[int] = []
    tracer = tracer_of(OpenSpans(begin=lambda: begun.append(1)))
    for _ in range(3):
        tracer.start_span("a", ROOT).end()
    assert begun == [1]


def test_register_of_a_process_does_not_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instrumented and uninstrumented over and over, with spans left open: nothing is kept."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    left = []
    for _ in range(20):
        otel_cinder.instrument()
        left.append(runtime.start_span("left open", ROOT))
        end_span(runtime.start_span("ended", ROOT))
        process = runtime._process
        assert process is not None
        otel_cinder.uninstrument()
        assert len(process.open) == 0
    assert len(left) == 20


in_both_ways = pytest.mark.parametrize("first", ["", scripts.EVENTLET], ids=["threads", "eventlet"])


@in_both_ways
def test_process_that_is_instrumented_over_and_over_keeps_nothing(first: str) -> None:
    """With an exporter and looks: once its left spans go, no register and no thread is there."""
    with Receiver() as receiver:
        ran = scripts.run(
            first,
            scripts.EXPORTED,
            """
            import gc, json, os, time, weakref
            def threads():
                return len(os.listdir("/proc/self/task"))
            def rounds(count):
                for _ in range(count):
                    otel_cinder.instrument()
                    left.append(runtime.start_span("left open", otel_context.Context()))
                    span("ended")
                    registers.append(weakref.ref(runtime._process.open))
                    otel_cinder.uninstrument()
            left, registers = [], []
            otel_cinder.uninstrument()
            before = threads()
            rounds(6)
            left.clear()
            until = time.monotonic() + 60
            while True:
                gc.collect()
                found = threads() - before, sum(each() is not None for each in registers)
                if not any(found) or time.monotonic() > until:
                    break
                time.sleep(0.1)
            print(json.dumps(found))
            """,
            env={"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, "OTEL_METRICS_EXPORTER": "none"},
        )
    assert ran.said == [0, 0]


@in_both_ways
def test_children_of_children_know_only_their_own(first: str) -> None:
    """Each of a row of forks knows its own span and nobody else's, however long the row is."""
    ran = scripts.run(
        first,
        scripts.EXPORTED,
        """
        import json, os
        from opentelemetry.context import Context
        held, depth = [], 0
        while True:
            held.append(runtime.start_span(f"{depth}", Context()))
            child = os.fork() if depth < 5 else None
            if child != 0:
                break
            depth += 1
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) if child else 0
        known = [each.span.name for each in runtime._process.open.snapshot()]
        if depth:
            os._exit(status + (known != [f"{depth}"]))
        print(json.dumps([status, known]))
        """,
        env={"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"},
    )
    assert ran.said == [0, ["0"]]


def test_spans_of_greenthreads_that_were_killed_do_not_pile_up() -> None:
    """Under eventlet a span that a greenthread took with it leaves nothing in the register."""
    ran = scripts.run(
        scripts.EVENTLET,
        scripts.EXPORTED,
        """
        import gc, json
        from opentelemetry.context import Context
        def work():
            held = runtime.start_span("taken along", Context())
            eventlet.sleep(600)
        for _ in range(1000):
            green = eventlet.spawn(work)
            eventlet.sleep(0)
            green.kill()
        del green
        gc.collect()
        kept = len(runtime._process.open)
        print(json.dumps([kept, [each.span.name for each in runtime._process.open.snapshot()]]))
        """,
        env={"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"},
    )
    kept, known = ran.said
    assert kept <= 2 * open_spans._FIRST_SWEEP
    assert known == []


@in_both_ways
def test_child_begins_with_nothing_open(first: str) -> None:
    """A forked child knows its own spans and none of its parent's, which end in both as ever."""
    ran = scripts.run(
        first,
        scripts.EXPORTED,
        """
        import json, os, sys
        from opentelemetry.context import Context
        def known():
            return [each.span.name for each in runtime._process.open.snapshot()]
        parents = runtime.start_span("parent's", Context())
        child = os.fork()
        if not child:
            own = runtime.start_span("child's", Context())
            parents.end()
            os._exit(0 if known() == ["child's"] else 1)
        status = os.waitpid(child, 0)[1]
        before = known()
        parents.end()
        print(json.dumps([status, before, known()]))
        """,
        env={"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"},
    )
    assert ran.said == [0, ["parent's"], []]


def test_greenthread_that_started_a_span_is_held_weakly() -> None:
    """Under eventlet the greenthread is known while it exists, and not kept from going."""
    ran = scripts.run(
        scripts.EVENTLET,
        """
        import gc, json
        from opentelemetry.context import Context
        from opentelemetry.sdk.trace import TracerProvider
        from otel_cinder.spans.open import OpenSpans
        register = OpenSpans()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(register)
        spans = []
        def work():
            spans.append(provider.get_tracer("x").start_span("a", Context()))
            eventlet.sleep(0.05)
        green = eventlet.spawn(work)
        eventlet.sleep(0)
        during = register.snapshot()[0].greenlet is green
        green.wait()
        del green
        gc.collect()
        print(json.dumps([during, register.snapshot()[0].greenlet is None]))
        """,
    )
    assert ran.said == [True, True]


class Kept(SpanProcessor):
    """Keeps what has ended."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


def test_cut_off_span_is_an_error_and_its_later_end_is_ignored(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is handed on once, with all its attributes; its owner still uses it, and nothing is logged."""
    kept = Kept()
    register = OpenSpans(kept)
    tracer = tracer_of(register)
    span = tracer.start_span("a", ROOT, attributes={"b": 1})
    span.add_event("c")
    assert register.cut_off() == 1
    (cut,) = kept.spans
    assert cut.get_span_context() == span.get_span_context()
    assert cut.attributes == {"b": 1, "error.type": "ServiceStopped"}
    assert [event.name for event in cut.events] == ["c"]
    assert (cut.status.status_code, cut.status.description) == (
        StatusCode.ERROR,
        "the service stopped while this ran",
    )
    assert cut.end_time is not None
    span.set_attribute("d", 1)
    span.end()
    assert kept.spans == [cut]
    assert register.cut_off() == 0
    assert caplog.messages == []
    tracer.start_span("later", ROOT).end()
    assert [span.name for span in kept.spans] == ["a", "later"]


def test_failed_span_keeps_its_reason() -> None:
    """A span that failed before keeps its reason: the process's end does not replace it."""
    kept = Kept()
    register = OpenSpans(kept)
    span = tracer_of(register).start_span("a", ROOT, attributes={"error.type": "VolumeNotFound"})
    span.set_status(Status(StatusCode.ERROR, "VolumeNotFound: gone"))
    register.cut_off()
    assert kept.spans[0].status.description == "VolumeNotFound: gone"
    assert (kept.spans[0].attributes or {})["error.type"] == "VolumeNotFound"


@pytest.mark.parametrize("leave", ["os._exit(0)", "sys.exit(0)"])
@in_both_ways
def test_process_that_ends_exports_what_is_open(first: str, leave: str) -> None:
    """Whichever way it leaves, all that was open arrives as an error, and nothing that is not."""
    with Receiver() as receiver:
        scripts.run(
            first,
            scripts.EXPORTED,
            scripts.PATIENT,
            f"""
            import os, sys
            from opentelemetry import trace
            root = runtime.start_span("root", otel_context.Context())
            task = runtime.start_span("task", trace.set_span_in_context(root))
            span("ended")
            flush()
            {leave}
            """,
            env={
                "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
                "OTEL_METRICS_EXPORTER": "none",
            },
        )
        arrived = {(s.name, s.status, s.attributes.get("error.type")) for s in receiver.spans()}
    assert arrived == {
        ("root", "error", "ServiceStopped"),
        ("task", "error", "ServiceStopped"),
        ("ended", "unset", None),
    }
