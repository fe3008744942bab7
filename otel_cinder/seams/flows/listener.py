"""The span of a flow's run: `FlowListener`, and the wraps that give each engine one."""

from __future__ import annotations

import functools
import logging
import sys
import time
import weakref
from collections.abc import Callable, Generator
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanContext, Status, StatusCode, Tracer
from taskflow import states
from taskflow.listeners import base
from taskflow.types.notifier import Notifier

from otel_cinder import conventions
from otel_cinder.patching.internal_errors import log_internal_error
from otel_cinder.patching.patch_set import PatchSet
from otel_cinder.seams.flows import atoms
from otel_cinder.seams.flows.atoms import RETRY, SEAM, TASK, Kind
from otel_cinder.spans import clock
from otel_cinder.spans.failures import record_failure
from otel_cinder.spans.process import tracer_of
from otel_cinder.spans.runtime import end_span, runtime
from otel_cinder.spans.still_running import tell_more

_LOG = logging.getLogger(__name__)

_ENGINE: Final = "taskflow.engines.action_engine.engine"

_EMPTY: Final = Context()

_OWN: Final = "_TaskFlow_"
"""Beginning of the names of atoms that are TaskFlow's own."""

_FINISHED: Final = frozenset(
    {states.SUCCESS, states.FAILURE, states.REVERTED, states.REVERT_FAILURE}
)

_engines: dict[int, FlowListener] = {}
"""Engines that have a listener, by ``id``; left in its ``__exit__``."""


def patch(patches: PatchSet) -> None:
    """Attach a `FlowListener` to every engine that runs."""
    patches.wrap(SEAM, f"{_ENGINE}:ActionEngine.run", _run)
    patches.wrap(SEAM, f"{_ENGINE}:ActionEngine.run_iter", _run_iter)
    for method in ("compile", "validate"):
        patches.wrap(SEAM, f"{_ENGINE}:ActionEngine.{method}", _check)


class FlowListener(base.Listener):  # type: ignore[misc]
    """Opens the flow's span when entered, makes it current, closes it when left.

    While `otel_cinder.instrument()` is in force each engine gets one automatically, and atoms are timed
    by their own code, with their span current in it. By hand, the atoms' spans follow the
    notifications, and the flow's span is current in the engine's own thread: no notification comes
    from the place where a task's code runs, so what it does cannot be put below its span.

    Args:
        tracer_provider: makes the spans; default: that of ``instrument()``, else the global one, else
            one of our own, from the ``OTEL_*`` environment.
    """

    def __init__(self, engine: Any, tracer_provider: trace.TracerProvider | None = None) -> None:
        # Atoms are followed by notification only where no code of theirs can be wrapped.
        self.times_atoms = atoms.run_in_process(engine) and atoms.are_timed()
        super().__init__(engine)
        self.span: Span = trace.INVALID_SPAN
        self.tracer: Tracer = trace.NoOpTracer()
        self._provider = tracer_provider
        self.context = _EMPTY
        self.storage: Any = None
        """The engine's, which takes it some time to hand out."""
        self.name = ""
        self.failed: tuple[str, SpanContext] | None = None
        """The task that failed, and its span: why others revert. The last one, after retries."""
        self.measures = False
        """True if the durations of the flow and its atoms are measured."""
        self._started = 0.0
        self._states: list[str] = []
        self._open: dict[str, Span] = {}
        self._token: Any = None

    def __enter__(self) -> FlowListener:
        try:
            engine = self._engine
            _engines[id(engine)] = self
            self.measures = runtime.measuring
            self._started = time.perf_counter()
            context = otel_context.get_current()
            self.storage = engine.storage
            self.name = atoms.plain(self.storage.flow_name)
            # Once: none of its atoms is another service's.
            self.tracer = tracer_of(self._provider) if self._provider else runtime.tracer(context)
            self.span = clock.start(
                self.tracer,
                self.name,
                context,
                attributes={
                    conventions.FLOW_NAME: self.name,
                    conventions.FLOW_UUID: self.storage.flow_uuid,
                },
            )
            self.context = trace.set_span_in_context(self.span, context)
            recording = self.span.is_recording()
            if recording or self.measures:
                # Otherwise the atoms find no listener, which is quickest.
                me = weakref.ref(self)
                self.context = atoms.listened(self.context, me)
                tell_more(self.span, me)
            if recording:
                if self.times_atoms:
                    # register() looks at the atoms' notifier too, at three times the cost.
                    engine.notifier.register(Notifier.ANY, self._flow_receiver)
                else:
                    self.register()
            self._token = otel_context.attach(self.context)
        except Exception as error:
            log_internal_error(SEAM, error)
        return self

    def so_far(self) -> tuple[None, dict[str, Any]]:
        """Which tasks are done and which are still to come; nothing of a flow that reverts.

        Read without the storage's locks, which may be eventlet's: a state may be a moment old.
        """
        atom_states = [
            (atoms.short(atom.name), atom.state)
            for atom in self._engine.storage._flowdetail
            if not atom.name.startswith(_OWN)
        ]
        if any(state in (states.FAILURE, states.REVERTING) for _, state in atom_states):
            return None, {}
        done = [name for name, state in atom_states if state == states.SUCCESS]
        to_come = [name for name, state in atom_states if state in (None, states.PENDING)]
        return None, {conventions.TASKS_DONE: done, conventions.TASKS_TO_COME: to_come}

    def __exit__(self, error_class: Any, error: Any, tb: Any) -> None:
        try:
            _engines.pop(id(self._engine), None)
            if self._token is not None:
                otel_context.detach(self._token)
            atoms.forget(self)
            if not self.span.is_recording():
                if self.measures:
                    # Its notifications were not followed.
                    self._measure(str(self._engine.storage.get_flow_state() or states.PENDING))
                return
            if self.times_atoms:
                self._engine.notifier.deregister(Notifier.ANY, self._flow_receiver)
            else:
                self.deregister()
            for uuid, span in self._open.items():
                _LOG.warning("Atom %s has not finished although its flow has; its span ends.", uuid)
                end_span(span)
            self._open.clear()
            self._states = self._states or [states.PENDING]
            state = self._states[-1]
            self.span.set_attributes(
                {conventions.FLOW_STATE: state, conventions.FLOW_STATES: self._states}
            )
            if self.failed is not None and state != states.SUCCESS:
                self.span.set_attribute(conventions.FLOW_FAILED_TASK, self.failed[0])
            if error is not None:
                record_failure(self.span, error)
            elif state in (states.FAILURE, states.REVERTED):
                self.span.set_status(Status(StatusCode.ERROR, state))
            self._measure(state)
        except Exception as problem:
            log_internal_error(SEAM, problem)
        finally:
            end_span(self.span)

    def _measure(self, state: str) -> None:
        if not self.measures:
            return
        runtime.measure(
            conventions.FLOW_DURATION,
            time.perf_counter() - self._started,
            {conventions.FLOW_NAME: self.name, conventions.FLOW_STATE: state},
            self.context,
        )

    def _flow_receiver(self, state: str, details: dict[str, Any]) -> None:
        if not self._states:
            self._states.append(details.get("old_state") or states.PENDING)
        self._states.append(state)

    def _task_receiver(self, state: str, details: dict[str, Any]) -> None:
        self._follow(TASK, state, details["task_name"], details["task_uuid"], details)

    def _retry_receiver(self, state: str, details: dict[str, Any]) -> None:
        self._follow(RETRY, state, details["retry_name"], details["retry_uuid"], details)

    def _follow(
        self, kind: Kind, state: str, name: str, uuid: str, details: dict[str, Any]
    ) -> None:
        """Open and close the span of an atom by its notifications."""
        if state in (states.RUNNING, states.REVERTING):
            reverts = state == states.REVERTING
            self._open[uuid] = clock.start(
                self.tracer,
                ("revert " if reverts else "") + kind.prefix + atoms.short(name),
                self.context,
                attributes={kind.name: atoms.plain(name), kind.uuid: uuid},
                links=atoms.causes(self) if reverts else (),
            )
        elif state in _FINISHED and uuid in self._open:
            span = self._open.pop(uuid)
            atoms.set_outcome(span, kind, state, details.get("result"))
            if state == states.FAILURE and kind is TASK:
                self.failed = (atoms.short(name), span.get_span_context())
            end_span(span)


def _run(
    wrapped: Callable[..., Any], engine: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    listener = _listener(engine)
    if listener is None:
        return wrapped(*args, **kwargs)
    with listener:
        return wrapped(*args, **kwargs)


def _listener(engine: Any) -> FlowListener | None:
    """A listener for an engine; None if it has one, or another tracer's. Never raises."""
    try:
        if id(engine) in _engines or _somebody_else_traces():
            return None
        return FlowListener(engine)
    except Exception as error:
        log_internal_error(SEAM, error)
        return None


def _run_iter(
    wrapped: Callable[..., Any], engine: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    steps = wrapped(*args, **kwargs)
    listener = _listener(engine)
    return steps if listener is None else _iterate(steps, listener)


def _iterate(steps: Generator[Any, Any, Any], listener: FlowListener) -> Generator[Any, Any, Any]:
    """Drive an engine that its user steps through; its span is current only during a step."""
    with listener:
        step = functools.partial(next, steps)
        while True:
            try:
                state = step()
            except StopIteration as end:
                return end.value
            # Between the steps the user's own code runs, in which the flow is not current.
            otel_context.detach(listener._token)
            listener._token = None
            try:
                step = functools.partial(steps.send, (yield state))
            except GeneratorExit:
                listener._token = otel_context.attach(listener.context)
                steps.close()
                raise
            except BaseException as error:
                step = functools.partial(steps.throw, error)
            listener._token = otel_context.attach(listener.context)


def _check(
    wrapped: Callable[..., Any], engine: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Show a flow that fails to compile or validate before it is ever run."""
    try:
        return wrapped(*args, **kwargs)
    except Exception as error:
        _show(engine, error)
        raise


def _show(engine: Any, error: Exception) -> None:
    """Never raises."""
    try:
        listener = _listener(engine)
        if listener is not None:
            with listener:
                record_failure(listener.span, error)
    except Exception as problem:
        log_internal_error(SEAM, problem)


def _somebody_else_traces() -> bool:
    """Return whether opentelemetry-instrumentation-taskflow is on, which makes spans of the same kind."""
    module = sys.modules.get("opentelemetry.instrumentation.taskflow")
    other = getattr(module, "TaskflowInstrumentor", None)
    return getattr(other, "_original_engine_init", None) is not None
