"""Flows and atoms, with TaskFlow's own engines."""

from __future__ import annotations

import gc
import re
import textwrap
import threading
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode
from taskflow import engines, states
from taskflow import exceptions as taskflow_exceptions
from taskflow.engines.action_engine import engine as action_engine
from taskflow.engines.action_engine import executor as task_executor
from taskflow.patterns import linear_flow, unordered_flow

import otel_cinder
from otel_cinder.seams.flows import FlowListener, atoms, listener
from otel_cinder.spans.runtime import runtime
from tests.unit import scripts
from tests.unit.recording import Recorder, exception_of, place_of
from tests.unit.seams.atoms import (
    BrokenRetry,
    Fails,
    FailsTwice,
    Interrupted,
    NeedsSomething,
    RevertFails,
    Seen,
    Sleeps,
    Succeeds,
    ThreeTimes,
)

ATOMS = "tests.unit.seams.atoms"


def serial(*atoms: Any, name: str = "volume_create_api", **kwargs: Any) -> linear_flow.Flow:
    return linear_flow.Flow(name, **kwargs).add(*atoms)


def nothing_is_left() -> bool:
    return not listener._engines and not atoms._pending


# Whole traces


def test_golden_serial_flow(spans: Recorder, golden: Any) -> None:
    """A flow that succeeds: its span, and one for each task below it."""
    with spans.tracer.start_as_current_span("request"):
        engines.run(
            serial(Succeeds("a.b.QuotaReserveTask;volume:create"), Seen("EntryCreateTask", {}))
        )
    golden("serial_flow", spans)


def test_golden_failure_with_revert(spans: Recorder, golden: Any) -> None:
    """A flow whose second task fails: both are reverted, newest first, and the flow is an error."""
    with pytest.raises(ValueError, match="no space left"):
        engines.run(serial(Succeeds(), Fails()))
    golden("failure_with_revert", spans)


def test_golden_retry_flow(spans: Recorder, golden: Any) -> None:
    """A flow that succeeds at the third attempt: each attempt of the controller is a span."""
    engines.run(serial(FailsTwice(), retry=ThreeTimes()))
    golden("retry_flow", spans)


def test_golden_parallel_flow(spans: Recorder, golden: Any) -> None:
    """An unordered flow in threads: all tasks are children of the flow."""
    flow = unordered_flow.Flow("parallel").add(*(Seen(f"Task{i}", {}) for i in range(4)))
    engines.run(flow, engine="parallel", executor="threaded")
    golden("parallel_flow", spans, parallel=True)


def test_golden_flow_that_fails_validation(spans: Recorder, golden: Any) -> None:
    """A flow whose task lacks an argument is seen, though it never ran."""
    with pytest.raises(taskflow_exceptions.MissingDependencies):
        engines.run(serial(NeedsSomething()))
    golden("failing_validation", spans)


# Flows


def test_flow_span_has_exactly_these_attributes(spans: Recorder) -> None:
    """The flow's span has the flow's name, uuid and states, and is internal."""
    engine = engines.load(serial(Succeeds()))
    engine.run()
    span = spans["volume_create_api"]
    assert span.kind is SpanKind.INTERNAL
    assert span.status.status_code is StatusCode.UNSET
    assert span.instrumentation_scope.name == "otel_cinder"
    assert dict(span.attributes) == {
        "taskflow.flow.name": "volume_create_api",
        "taskflow.flow.uuid": engine.storage.flow_uuid,
        "taskflow.flow.state": "SUCCESS",
        "taskflow.flow.states": ("PENDING", "RUNNING", "SUCCESS"),
    }


def test_task_span_has_exactly_these_attributes(spans: Recorder) -> None:
    """The task's span has its full name, uuid, state, function and the keys that it provides."""
    engine = engines.load(serial(Succeeds()))
    engine.run()
    span = spans["Succeeds"]
    assert span.kind is SpanKind.INTERNAL
    assert span.parent.span_id == spans["volume_create_api"].context.span_id
    assert dict(span.attributes) == {
        "taskflow.task.name": f"{ATOMS}.Succeeds",
        "taskflow.task.uuid": engine.storage.get_atom_uuid(f"{ATOMS}.Succeeds"),
        "taskflow.task.state": "SUCCESS",
        "taskflow.task.provides": ("value",),
        "code.function.name": f"{ATOMS}.Succeeds.execute",
        **place_of(Succeeds.execute),
    }


@pytest.mark.parametrize(
    ("full", "short"),
    [
        (
            "cinder.volume.flows.api.create_volume.QuotaReserveTask;volume:create",
            "QuotaReserveTask",
        ),
        ("cinder.volume.flows.api.create_volume.QuotaReserveTask", "QuotaReserveTask"),
        ("my task", "my task"),
        ("a;b.c", "a"),
        (".", "."),
    ],
)
def test_names_of_tasks_are_short(spans: Recorder, full: str, short: str) -> None:
    """A task's span is named by the class that Cinder names the task by; other names are kept."""
    engines.run(serial(Seen(full, {})))
    assert spans[short].attributes["taskflow.task.name"] == full


def test_flow_of_a_caller_is_its_child(spans: Recorder) -> None:
    """The flow's span is a child of the span that is current where it is run."""
    with spans.tracer.start_as_current_span("request"):
        engines.run(serial(Succeeds()))
    assert spans["volume_create_api"].parent.span_id == spans["request"].context.span_id


def test_flow_without_a_caller_is_a_root(spans: Recorder) -> None:
    """A flow outside of spans begins a trace."""
    engines.run(serial(Succeeds()))
    assert spans["volume_create_api"].parent is None


@pytest.mark.parametrize("way", ["run", "load", "directly", "iterated"])
def test_engines_made_in_every_way_are_traced(spans: Recorder, way: str) -> None:
    """engines.run, engines.load, an engine built by hand, and one stepped through, are the same."""
    flow = serial(Succeeds())
    if way == "run":
        engines.run(flow)
    elif way == "load":
        engines.load(flow).run()
    elif way == "directly":
        from taskflow.utils import persistence_utils

        detail = persistence_utils.create_flow_detail(flow)
        engine = action_engine.SerialActionEngine(flow, detail, None, {})
        engine.compile()
        engine.prepare()
        engine.run()
    else:
        list(engines.load(flow).run_iter())
    assert spans.names == ["volume_create_api", "Succeeds"]


def test_engine_loaded_before_instrument_is_traced(instrumented: Callable[..., Recorder]) -> None:
    """An engine that exists when instrument() is called is traced when it runs."""
    engine = engines.load(serial(Succeeds()))
    recorded = instrumented()
    engine.run()
    assert recorded.names == ["volume_create_api", "Succeeds"]


def test_engine_is_traced_at_each_run(spans: Recorder) -> None:
    """An engine that is reset and run again makes a second flow span."""
    engine = engines.load(serial(Succeeds()))
    engine.run()
    engine.reset()
    engine.run()
    assert spans.names == ["volume_create_api", "Succeeds"] * 2


def test_flow_inside_a_task_is_its_child(spans: Recorder) -> None:
    """A flow that a task of another flow runs is a child of that task."""

    class Nests(Succeeds):
        def execute(self) -> None:
            engines.run(serial(Succeeds("Inner"), name="inner"))

    engines.run(serial(Nests("Nests"), name="outer"))
    assert spans.children(spans["outer"]) == ["Nests"]
    assert spans.children(spans["Nests"]) == ["inner"]
    assert spans.children(spans["inner"]) == ["Inner"]


# Failures


def test_failing_task_is_an_error_with_a_redacted_exception(spans: Recorder) -> None:
    """The task's span has error.type, a status and one event; the secret in the message is masked."""
    with pytest.raises(ValueError, match="hunter2"):
        engines.run(serial(Fails()))
    span = spans["Fails"]
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "ValueError: no space left, password=***"
    assert span.attributes["error.type"] == "ValueError"
    assert span.attributes["taskflow.task.state"] == "FAILURE"
    event = exception_of(span)
    assert event["exception.type"] == "builtins.ValueError"
    assert event["exception.message"] == "no space left, password=***"
    assert "in execute" in event["exception.stacktrace"]
    assert "hunter2" not in event["exception.stacktrace"]


def test_reverted_task_says_so(spans: Recorder) -> None:
    """A revert is a span `revert NAME` of state REVERTED, without an error of its own."""
    with pytest.raises(ValueError, match="no space"):
        engines.run(serial(Succeeds(), Fails()))
    span = spans["revert Succeeds"]
    assert span.attributes["taskflow.task.state"] == "REVERTED"
    assert span.attributes["code.function.name"] == f"{ATOMS}.Succeeds.revert"
    assert "taskflow.task.provides" not in span.attributes
    assert span.status.status_code is StatusCode.UNSET
    flow = spans["volume_create_api"]
    assert flow.attributes["taskflow.flow.state"] == "REVERTED"
    assert flow.attributes["taskflow.flow.states"] == ("PENDING", "RUNNING", "REVERTED")
    assert flow.attributes["error.type"] == "ValueError"
    assert nothing_is_left()


def test_failing_revert_says_so(spans: Recorder) -> None:
    """A revert that raises has the state REVERT_FAILURE and its exception."""
    with pytest.raises(KeyError, match="gone"):
        engines.run(serial(RevertFails(), Fails()))
    span = spans["revert RevertFails"]
    assert span.attributes["taskflow.task.state"] == "REVERT_FAILURE"
    assert span.attributes["error.type"] == "KeyError"
    assert span.status.status_code is StatusCode.ERROR
    assert spans["volume_create_api"].attributes["taskflow.flow.state"] == "FAILURE"
    assert nothing_is_left()


def test_original_exception_reaches_the_caller(spans: Recorder) -> None:
    """engines.run raises the task's own exception object."""
    error = ValueError("mine")

    class Raises(Fails):
        def execute(self) -> None:
            raise error

    with pytest.raises(ValueError, match="mine") as caught:
        engines.run(serial(Raises("Raises")))
    assert caught.value is error


def test_keyboard_interrupt_passes(spans: Recorder) -> None:
    """Ctrl-C in a task reaches the caller; task and flow end as errors, and nothing is left."""
    with pytest.raises(KeyboardInterrupt):
        engines.run(serial(Interrupted()))
    assert spans["Interrupted"].attributes["error.type"] == "KeyboardInterrupt"
    assert spans["volume_create_api"].attributes["error.type"] == "KeyboardInterrupt"
    assert nothing_is_left()
    assert not otel_context.get_current()


def test_retry_attempts_are_numbered(spans: Recorder) -> None:
    """Each attempt of a retry controller is a span with its number; its reverts keep the number."""
    engine = engines.load(serial(FailsTwice(), retry=ThreeTimes()))
    engine.run()
    attempts = spans.all("retry ThreeTimes")
    assert [span.attributes["taskflow.retry.attempt"] for span in attempts] == [1, 2, 3]
    first = attempts[0]
    assert dict(first.attributes) == {
        "taskflow.retry.name": "tests.ThreeTimes",
        "taskflow.retry.uuid": engine.storage.get_atom_uuid("tests.ThreeTimes"),
        "taskflow.retry.state": "SUCCESS",
        "taskflow.retry.attempt": 1,
        "code.function.name": f"{ATOMS}.ThreeTimes.execute",
        **place_of(ThreeTimes.execute),
    }
    assert spans.names.count("FailsTwice") == 3
    assert spans.names.count("revert FailsTwice") == 2
    assert spans["volume_create_api"].status.status_code is StatusCode.UNSET


def test_exhausted_retry_is_reverted(spans: Recorder) -> None:
    """When the attempts are used up, the controller's revert is a span `revert retry NAME`."""
    with pytest.raises(ValueError, match="no space"):
        engines.run(serial(Fails(), retry=ThreeTimes()))
    last = spans.all("revert retry ThreeTimes")[-1]
    assert last.attributes["taskflow.retry.state"] == "REVERTED"
    assert last.attributes["taskflow.retry.attempt"] == 3
    assert nothing_is_left()


def test_broken_retry_is_an_error(spans: Recorder) -> None:
    """A controller that raises itself is a failed retry."""
    with pytest.raises(RuntimeError, match="broken controller"):
        engines.run(serial(Succeeds(), retry=BrokenRetry(name="BrokenRetry")))
    assert spans["retry BrokenRetry"].attributes["taskflow.retry.state"] == "FAILURE"
    assert spans["retry BrokenRetry"].attributes["error.type"] == "RuntimeError"


def test_failing_compile_is_seen(spans: Recorder) -> None:
    """A flow that cannot be compiled is an error of the flow, raised as it was."""
    flow = serial(Succeeds("same"), Succeeds("same"))
    with pytest.raises(taskflow_exceptions.Duplicate):
        engines.load(flow).compile()
    assert spans.names == ["volume_create_api"]
    span = spans["volume_create_api"]
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == "Duplicate"
    assert span.attributes["taskflow.flow.state"] == "PENDING"


def test_failing_validation_is_one_span(spans: Recorder) -> None:
    """A failed validation makes one span, with one exception, and leaves nothing behind."""
    with pytest.raises(taskflow_exceptions.MissingDependencies):
        engines.run(serial(NeedsSomething()))
    assert spans.names == ["volume_create_api"]
    assert spans["volume_create_api"].attributes["error.type"] == "MissingDependencies"
    assert len(spans["volume_create_api"].events) == 1
    assert nothing_is_left()


def test_suspended_flow_ends_in_suspended(spans: Recorder) -> None:
    """A suspended flow ends its span in SUSPENDED; running on makes another."""
    box: dict[str, Any] = {}

    class Suspends(Succeeds):
        def execute(self) -> None:
            box["engine"].suspend()

    engine = box["engine"] = engines.load(serial(Suspends("Suspends"), Seen("Later", {})))
    engine.run()
    assert engine.storage.get_flow_state() == states.SUSPENDED
    first = spans["volume_create_api"]
    assert first.attributes["taskflow.flow.state"] == "SUSPENDED"
    assert first.status.status_code is StatusCode.UNSET
    engine.run()
    assert spans.all("volume_create_api")[1].attributes["taskflow.flow.state"] == "SUCCESS"
    assert spans.names == ["volume_create_api", "Suspends", "volume_create_api", "Later"]
    assert nothing_is_left()


# Atoms


def test_atoms_are_current_while_they_run(spans: Recorder) -> None:
    """In execute() and in revert() the atom's own span is current."""
    seen: dict[str, int] = {}
    with pytest.raises(ValueError, match="no space"):
        engines.run(serial(Seen("First", seen), Seen("Second", seen, fails=True)))
    assert seen == {
        name: spans[name].context.span_id
        for name in ("First", "Second", "revert First", "revert Second")
    }


def test_child_span_of_an_atom_is_below_it(spans: Recorder) -> None:
    """A span opened in execute() is a child of the task's."""

    class Opens(Succeeds):
        def execute(self) -> None:
            with spans.tracer.start_as_current_span("driver"):
                pass

    engines.run(serial(Opens("Opens")))
    assert spans.children(spans["Opens"]) == ["driver"]


@pytest.mark.parametrize("executor", ["threaded", "serial"])
def test_atoms_of_each_executor_are_current(spans: Recorder, executor: str) -> None:
    """In threads as in series, each atom's span is current in its own code."""
    seen: dict[str, int] = {}
    flow = unordered_flow.Flow("f").add(*(Seen(f"T{i}", seen) for i in range(3)))
    if executor == "serial":
        engines.run(flow)
    else:
        engines.run(flow, engine="parallel", executor=executor)
    assert seen == {name: spans[name].context.span_id for name in ("T0", "T1", "T2")}
    assert sorted(spans.children(spans["f"])) == ["T0", "T1", "T2"]


def test_parallel_atoms_are_timed_by_their_own_bodies(spans: Recorder) -> None:
    """Tasks that sleep 0.05 and 2 s side by side have spans of about that length."""
    flow = unordered_flow.Flow("f").add(Sleeps("Short", 0.05), Sleeps("Long", 2))
    engines.run(flow, engine="parallel", executor="threaded")

    def milliseconds(name: str) -> float:
        return (spans[name].end_time - spans[name].start_time) / 1e6

    assert 50 <= milliseconds("Short") < 1900
    assert 2000 <= milliseconds("Long")


def test_no_context_stays_on_a_pools_worker(spans: Recorder) -> None:
    """The threads of an executor that outlives the flow have no context once it is done."""
    import futurist

    with futurist.ThreadPoolExecutor(max_workers=1) as pool:
        flow = unordered_flow.Flow("f").add(Seen("T", {}))
        engines.run(flow, engine="parallel", executor=pool)
        assert pool.submit(otel_context.get_current).result() == {}


def test_two_engines_in_two_threads_do_not_mix(spans: Recorder) -> None:
    """Flows that run side by side in threads keep their own tasks."""
    barrier = threading.Barrier(2)

    class Waits(Succeeds):
        def execute(self) -> None:
            barrier.wait(10)

    def run(name: str) -> None:
        engines.run(serial(Waits(f"Task-{name}"), name=name))

    threads = [threading.Thread(target=run, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert spans.children(spans["one"]) == ["Task-one"]
    assert spans.children(spans["two"]) == ["Task-two"]


def test_stepped_engines_may_be_interleaved(spans: Recorder) -> None:
    """Two engines stepped by hand in turn keep their tasks; between the steps neither is current."""
    one = engines.load(serial(Seen("A1", {}), Seen("A2", {}), name="A")).run_iter()
    two = engines.load(serial(Seen("B1", {}), Seen("B2", {}), name="B")).run_iter()
    running = [one, two]
    while running:
        for steps in list(running):
            try:
                next(steps)
            except StopIteration:
                running.remove(steps)
            assert not otel_context.get_current()
    assert spans.children(spans["A"]) == ["A1", "A2"]
    assert spans.children(spans["B"]) == ["B1", "B2"]
    assert spans["A"].parent is None
    assert spans["B"].parent is None
    assert nothing_is_left()


def test_abandoned_steps_end_the_flow(spans: Recorder) -> None:
    """A generator that is closed half-way ends the flow's span and leaves nothing behind."""
    steps = engines.load(serial(Seen("One", {}), Seen("Two", {}))).run_iter()
    next(steps)
    steps.close()
    assert "volume_create_api" in spans.names
    assert nothing_is_left()
    assert not otel_context.get_current()


def test_stepped_engine_takes_exceptions(spans: Recorder) -> None:
    """`send(True)` suspends a stepped engine, as without otel-cinder."""
    engine = engines.load(serial(Seen("One", {}), Seen("Two", {})))
    steps = engine.run_iter()
    next(steps)
    for _ in range(50):
        try:
            steps.send(True)
        except StopIteration:
            break
    assert engine.storage.get_flow_state() == states.SUSPENDED
    assert spans["volume_create_api"].attributes["taskflow.flow.state"] == "SUSPENDED"


def test_exception_thrown_into_steps_ends_the_flow(spans: Recorder) -> None:
    """An exception thrown into a stepped engine comes out of it, and is the flow's error."""
    steps = engines.load(serial(Seen("One", {}))).run_iter()
    next(steps)
    with pytest.raises(RuntimeError, match="thrown"):
        steps.throw(RuntimeError("thrown"))
    assert spans["volume_create_api"].attributes["error.type"] == "RuntimeError"
    assert nothing_is_left()
    assert not otel_context.get_current()


# Sampling, tidiness


def test_unsampled_flow_makes_no_spans(instrumented: Callable[..., Recorder]) -> None:
    """If the caller's trace is not sampled, nothing is recorded and nothing is left behind."""
    recorded = instrumented(ALWAYS_OFF)
    seen: dict[str, int] = {}
    engines.run(serial(Seen("One", seen)))
    assert len(recorded) == 0
    assert seen["One"] != 0  # the unsampled flow's span is current all the same
    assert nothing_is_left()


def test_finished_engine_is_not_kept_alive(spans: Recorder) -> None:
    """A listener is freed with its run, without waiting for the garbage collector."""

    def listeners() -> int:
        return sum(isinstance(thing, FlowListener) for thing in gc.get_objects())

    engine = engines.load(serial(Succeeds()))
    gc.collect()
    before = listeners()
    gc.disable()
    try:
        engine.run()
        assert listeners() == before
    finally:
        gc.enable()


@pytest.mark.complains
def test_a_broken_provider_does_not_hurt_the_flow(
    instrumented: Callable[..., Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If no span can be started, the flow still runs and one error is logged."""
    instrumented()

    def broken(*_args: Any, **_kwargs: Any) -> Any:
        raise RuntimeError("no span today")

    monkeypatch.setattr(runtime, "start_span", broken)
    result = engines.run(serial(Succeeds()))
    assert result == {"value": "done"}


def test_pending_is_empty_when_a_submit_fails(spans: Recorder) -> None:
    """An executor that refuses work leaves no atom behind in the books."""
    import futurist

    pool = futurist.ThreadPoolExecutor(max_workers=1)
    engine = engines.load(
        unordered_flow.Flow("f").add(Seen("T", {})), engine="parallel", executor=pool
    )
    pool.shutdown()
    with pytest.raises(RuntimeError):
        engine.run()
    assert nothing_is_left()
    assert spans["f"].status.status_code is StatusCode.ERROR


# By hand


def test_listener_by_hand_without_instrument(monkeypatch: pytest.MonkeyPatch) -> None:
    """`with FlowListener(engine)` traces flow and atoms by notification, when nothing is patched."""
    recorded = Recorder()
    monkeypatch.setattr(runtime, "tracer_provider", recorded.provider)
    engine = engines.load(serial(Succeeds(), Fails()))
    with FlowListener(engine) as listener:
        assert trace.get_current_span() is listener.span
        with pytest.raises(ValueError, match="no space"):
            engine.run()
    runtime.stop()
    assert not otel_context.get_current()
    assert recorded.names == [
        "volume_create_api",
        "Succeeds",
        "Fails",
        "revert Fails",
        "revert Succeeds",
    ]
    assert recorded["Succeeds"].attributes["taskflow.task.state"] == "SUCCESS"
    assert recorded["Fails"].attributes["taskflow.task.state"] == "FAILURE"
    assert recorded["Fails"].attributes["error.type"] == "ValueError"
    assert recorded["revert Succeeds"].attributes["taskflow.task.state"] == "REVERTED"
    assert recorded["volume_create_api"].attributes["taskflow.flow.state"] == "REVERTED"
    assert recorded["volume_create_api"].status.status_code is StatusCode.ERROR


def test_listener_by_hand_with_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    """By notification retries are followed as well."""
    recorded = Recorder()
    monkeypatch.setattr(runtime, "tracer_provider", recorded.provider)
    engine = engines.load(serial(FailsTwice(), retry=ThreeTimes()))
    with FlowListener(engine):
        engine.run()
    runtime.stop()
    assert recorded.names.count("retry ThreeTimes") == 3
    assert recorded.names.count("FailsTwice") == 3
    assert nothing_is_left()


def test_listener_by_hand_takes_a_provider(spans: Recorder) -> None:
    """Flow and atoms go to the provider that is given, and not to that of `instrument()`."""
    mine = Recorder()
    engine = engines.load(serial(Succeeds()))
    with FlowListener(engine, mine.provider):
        engine.run()
    assert mine.names == ["volume_create_api", "Succeeds"]
    assert mine["Succeeds"].parent == mine["volume_create_api"].context
    assert len(spans) == 0


def test_the_readmes_flow_prints_to_the_console() -> None:
    """The README's example runs as it is, and prints the flow and its task."""
    section = (scripts.ROOT / "README.md").read_text().partition("### A single flow\n")[2]
    code = textwrap.dedent(
        "\n".join(re.findall("^(?: {4}.*)?$", section.partition("###")[0], re.MULTILINE))
    )
    printed = scripts.run(code).stdout
    assert printed.startswith("hello\n")
    assert re.findall('^    "name": "(.*)"', printed, re.MULTILINE) == ["Greet", "greet"]


def test_listener_by_hand_with_instrument_is_not_doubled(spans: Recorder) -> None:
    """A listener attached by hand while instrumented takes the place of ours."""
    engine = engines.load(serial(Succeeds()))
    with FlowListener(engine):
        engine.run()
    assert spans.names == ["volume_create_api", "Succeeds"]


def test_uninstrumented_engine_runs_untraced(spans: Recorder) -> None:
    """After uninstrument() TaskFlow's own functions are back and no span is made."""
    from taskflow.engines.action_engine.engine import ActionEngine

    assert hasattr(task_executor._execute_task, "_otel_cinder")
    otel_cinder.uninstrument()
    engines.run(serial(Succeeds()))
    assert len(spans) == 0
    assert not hasattr(task_executor._execute_task, "_otel_cinder")
    assert not hasattr(ActionEngine.run, "__wrapped__")


# Other processes


def test_there_is_no_process_executor_any_more() -> None:
    """The installed TaskFlow has no process executor; if one comes back, it needs tests here."""
    executors = [name for name in vars(task_executor) if "Process" in name]
    assert executors == []


def test_worker_based_engine_is_followed_by_notification(spans: Recorder) -> None:
    """Atoms that run in a worker, reached over kombu, have spans below the flow, with their states."""
    from taskflow.engines.worker_based import worker as worker_module

    options = {
        "exchange": "test",
        "transport": "memory",
        "transport_options": {"polling_interval": 0.01},
    }
    worker = worker_module.Worker(topic="work", tasks=[Succeeds, Fails], url="memory://", **options)
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()
    worker.wait()
    try:
        engine = engines.load(
            serial(Succeeds("Remote"), Fails("Broken")),
            engine="worker-based",
            topics=["work"],
            url="memory://",
            transition_timeout=20,
            **options,
        )
        with pytest.raises(taskflow_exceptions.WrappedFailure, match="no space"):
            engine.run()
    finally:
        worker.stop()
        thread.join(10)
    assert spans.children(spans["volume_create_api"]) == [
        "Remote",
        "Broken",
        "revert Broken",
        "revert Remote",
    ]
    assert spans["Remote"].attributes["taskflow.task.state"] == "SUCCESS"
    assert spans["Broken"].attributes["error.type"] == "ValueError"
    assert spans["Broken"].status.status_code is StatusCode.ERROR
    assert nothing_is_left()


def test_green_threads_under_eventlet() -> None:
    """Under eventlet, spans of atoms in greenthreads are current, as long as the bodies, and leave nothing."""
    ran = scripts.run(
        scripts.EVENTLET,
        scripts.RECORDED,
        """
        import json
        from taskflow import engines
        from taskflow.patterns import unordered_flow
        from otel_cinder.seams.flows import atoms, listener
        from tests.unit.seams.atoms import Seen, Sleeps
        seen = {}
        flow = unordered_flow.Flow("f").add(
            Seen("A", seen), Sleeps("Short", 0.05), Sleeps("Long", 2))
        engines.run(flow, engine="parallel", executor="greenthreaded")
        print(json.dumps({
            "children": sorted(spans.children(spans["f"])),
            "current": seen["A"] == spans["A"].context.span_id,
            "ms": [(spans[n].end_time - spans[n].start_time) / 1e6 for n in ("Short", "Long")],
            "left": [len(listener._engines), len(atoms._pending), len(otel_context.get_current())],
        }))
        """,
    )
    result = ran.said
    short, long = result.pop("ms")
    assert result == {"children": ["A", "Long", "Short"], "current": True, "left": [0, 0, 0]}
    assert 50 <= short < 1900
    assert 2000 <= long


# Peers


def test_yields_to_the_taskflow_instrumentation(instrumented: Callable[..., Recorder]) -> None:
    """Where opentelemetry-instrumentation-taskflow is on, no span is doubled."""
    peer = pytest.importorskip("opentelemetry.instrumentation.taskflow")
    recorded = instrumented()
    instrumentor = peer.TaskflowInstrumentor()
    instrumentor.instrument(tracer_provider=recorded.provider)
    try:
        engines.run(serial(Succeeds()))
    finally:
        instrumentor.uninstrument()
    assert {span.instrumentation_scope.name for span in recorded} != {"otel_cinder"}
    assert "volume_create_api" not in recorded.names
