"""TaskFlow: a span for each run of a flow, and one for each atom while its own code runs.

TaskFlow notifies from the engine's thread before and after an atom, not around it: in an unordered
flow all SUCCESS notifications come at the end. So atoms are timed by a wrap of the functions that
run their code, in whichever thread does; the listener follows the flow's states, and the atoms that
run in another process, where there is no code to wrap.

By hand, without `otel_cinder.instrument()`::

    with FlowListener(engine):
        engine.run()
"""

from __future__ import annotations

import functools
import logging
import sys
import weakref
from collections.abc import Callable, Generator
from typing import Any, Final, NamedTuple

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, Status, StatusCode, Tracer
from taskflow import states
from taskflow.listeners import base
from taskflow.types.failure import Failure
from taskflow.types.notifier import Notifier

from otel_cinder.core import conventions, redaction
from otel_cinder.core.failures import record_failure
from otel_cinder.core.patching import PatchSet, complain
from otel_cinder.core.runtime import end_span, runtime

_LOG = logging.getLogger(__name__)

SEAM: Final = "flows"

_EXECUTOR: Final = "taskflow.engines.action_engine.executor"
_ENGINE: Final = "taskflow.engines.action_engine.engine"

_EMPTY: Final = Context()

_LISTENER: Final = otel_context.create_key("otel-cinder-flow-listener")
"""Context key: a weak reference to the `FlowListener` whose engine is at work. Weak, because a
context may be kept by a thread that outlives the flow, and the engine holds all its results."""

_MARK: Final = "_otel_cinder"
"""Attribute of the functions that stand in for TaskFlow's own."""

_FINISHED: Final = frozenset(
    {states.SUCCESS, states.FAILURE, states.REVERTED, states.REVERT_FAILURE}
)

_engines: dict[int, FlowListener] = {}
"""Engines that have a listener, by ``id``; left in its ``__exit__``."""

_pending: dict[int, _Place] = {}
"""Atoms handed to an executor, by ``id``. Left when the atom starts, or its flow ends."""


def patch(patches: PatchSet) -> None:
    """Attach a `FlowListener` to every engine that runs, and time the atoms it runs."""
    patches.wrap(SEAM, f"{_ENGINE}:ActionEngine.run", _run)
    patches.wrap(SEAM, f"{_ENGINE}:ActionEngine.run_iter", _run_iter)
    for method in ("compile", "validate"):
        patches.wrap(SEAM, f"{_ENGINE}:ActionEngine.{method}", _check)
    # Only where another thread may run the task; the serial executor runs it right there.
    for method in ("execute_task", "revert_task"):
        patches.wrap(SEAM, f"{_EXECUTOR}:ParallelTaskExecutor.{method}", _submit)
    # Plain functions, not wrapt proxies: a process executor pickles them by name.
    for kind, prefix in ((_Task, ""), (_Retry, "retry ")):
        for verb in ("execute", "revert"):
            patches.replace(
                SEAM,
                f"{_EXECUTOR}:_{verb}_{kind.noun}",
                functools.partial(
                    _around_atom, kind, "revert " + prefix if verb == "revert" else prefix, verb
                ),
            )


# Flows


class FlowListener(base.Listener):  # type: ignore[misc]
    """Opens the flow's span when entered, makes it current, closes it when left.

    While `otel_cinder.instrument()` is in force each engine gets one by itself and atoms are timed
    by their own code. By hand, the atoms' spans follow the notifications.
    """

    def __init__(self, engine: Any) -> None:
        # Atoms are followed by notification only where no code of theirs can be wrapped.
        self._in_process = _runs_in_process(engine) and _atoms_are_timed()
        super().__init__(engine)
        self.span: Span = trace.INVALID_SPAN
        self.tracer: Tracer = trace.NoOpTracer()
        self.context = _EMPTY
        self._states: list[str] = []
        self._open: dict[str, Span] = {}
        self._token: Any = None

    @property
    def engine(self) -> Any:
        """The engine that is listened to."""
        return self._engine

    def __enter__(self) -> FlowListener:
        engine = self._engine
        _engines[id(engine)] = self
        try:
            context = otel_context.get_current()
            name = _plain(engine.storage.flow_name)
            self.tracer = runtime.tracer(context)  # once: none of its atoms is another service's
            self.span = self.tracer.start_span(
                name,
                context,
                attributes={
                    conventions.FLOW_NAME: name,
                    conventions.FLOW_UUID: engine.storage.flow_uuid,
                },
            )
            self.context = trace.set_span_in_context(self.span, context)
            if self.span.is_recording():
                # Otherwise the atoms find nobody to ask, which is quickest.
                self.context = otel_context.set_value(_LISTENER, weakref.ref(self), self.context)
                if self._in_process:
                    # register() looks at the atoms' notifier too, at three times the cost.
                    engine.notifier.register(Notifier.ANY, self._flow_receiver)
                else:
                    self.register()
            self._token = otel_context.attach(self.context)
        except Exception as error:
            complain(SEAM, error)
        return self

    def __exit__(self, error_class: Any, error: Any, tb: Any) -> None:
        _engines.pop(id(self._engine), None)
        if self._token is not None:
            otel_context.detach(self._token)
        for key, place in list(_pending.items()):
            if place.listener is self:  # handed to an executor that never ran it
                _pending.pop(key, None)
        if not self.span.is_recording():
            return
        try:
            if self._in_process:
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
            if error is not None:
                record_failure(self.span, error)
            elif state in (states.FAILURE, states.REVERTED):
                self.span.set_status(Status(StatusCode.ERROR, state))
        except Exception as problem:
            complain(SEAM, problem)
        finally:
            end_span(self.span)

    def _flow_receiver(self, state: str, details: dict[str, Any]) -> None:
        if not self._states:
            self._states.append(details.get("old_state") or states.PENDING)
        self._states.append(state)

    def _task_receiver(self, state: str, details: dict[str, Any]) -> None:
        self._follow(_Task, state, details["task_name"], details["task_uuid"], details)

    def _retry_receiver(self, state: str, details: dict[str, Any]) -> None:
        self._follow(_Retry, state, details["retry_name"], details["retry_uuid"], details)

    def _follow(
        self, kind: type[_Kind], state: str, name: str, uuid: str, details: dict[str, Any]
    ) -> None:
        """Open and close the span of an atom by its notifications."""
        if state in (states.RUNNING, states.REVERTING):
            prefix = "revert " if state == states.REVERTING else ""
            self._open[uuid] = runtime.start_span(
                prefix + kind.prefix + _short(name),
                self.context,
                attributes={kind.name: _plain(name), kind.uuid: uuid},
            )
        elif state in _FINISHED and uuid in self._open:
            _close(self._open.pop(uuid), kind, state, details.get("result"))


def _run(
    wrapped: Callable[..., Any], engine: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    if id(engine) in _engines or _somebody_else_traces():
        return wrapped(*args, **kwargs)
    with FlowListener(engine):
        return wrapped(*args, **kwargs)


def _run_iter(
    wrapped: Callable[..., Any], engine: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    steps = wrapped(*args, **kwargs)
    if id(engine) in _engines or _somebody_else_traces():
        return steps
    return _iterate(steps, engine)


def _iterate(steps: Generator[Any, Any, Any], engine: Any) -> Generator[Any, Any, Any]:
    """Drive an engine that its user steps through; its span is current only during a step."""
    listener = FlowListener(engine)
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
    if id(engine) in _engines or _somebody_else_traces():
        return wrapped(*args, **kwargs)
    try:
        return wrapped(*args, **kwargs)
    except Exception as error:
        with FlowListener(engine) as listener:
            record_failure(listener.span, error)
        raise


# Atoms


class _Place(NamedTuple):
    """Where an atom belongs."""

    atom: Any
    context: Context
    listener: FlowListener
    uuid: str


class _Kind:
    """What tasks and retries are called, in TaskFlow and in our conventions."""

    noun: str
    prefix: str
    name: str
    uuid: str
    state: str


class _Task(_Kind):
    noun = "task"
    prefix = ""
    name = conventions.TASK_NAME
    uuid = conventions.TASK_UUID
    state = conventions.TASK_STATE


class _Retry(_Kind):
    noun = "retry"
    prefix = "retry "
    name = conventions.RETRY_NAME
    uuid = conventions.RETRY_UUID
    state = conventions.RETRY_STATE


def _listener(context: Context) -> FlowListener | None:
    """The listener whose atoms are to be timed here: recording, and not by notification."""
    found: Any = context.get(_LISTENER)
    listener: FlowListener | None = found() if found is not None else None
    if listener is None or not listener.span.is_recording() or not listener._in_process:
        return None
    return listener


def _submit(
    wrapped: Callable[..., Any], _executor: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Remember where an atom belongs until it runs, maybe in another thread."""
    context = otel_context.get_current()
    listener = _listener(context)
    if listener is None:
        return wrapped(*args, **kwargs)
    task = args[0] if args else kwargs["task"]
    uuid = args[1] if len(args) > 1 else kwargs.get("task_uuid", "")
    _pending[id(task)] = _Place(task, context, listener, uuid)
    try:
        return wrapped(*args, **kwargs)
    except BaseException:
        _pending.pop(id(task), None)
        raise


def _around_atom(
    kind: type[_Kind], prefix: str, verb: str, original: Callable[..., Any]
) -> Callable[..., Any]:
    """The function that runs an atom, in a span that is current while it runs."""

    @functools.wraps(original)
    def run(atom: Any, arguments: Any, *args: Any, **kwargs: Any) -> Any:
        place = _pending.pop(id(atom), None)
        if place is None or place.atom is not atom:
            # In the engine's own thread: a retry, or a serial engine's task.
            context = otel_context.get_current()
            listener = _listener(context)
            if listener is None:
                return original(atom, arguments, *args, **kwargs)
            place = _Place(atom, context, listener, "")
        context = place.context
        token = span = None
        try:
            span = place.listener.tracer.start_span(
                prefix + _short(atom.name),
                context,
                attributes=_describe(kind, verb, place, arguments),
            )
            token = otel_context.attach(trace.set_span_in_context(span, context))
        except Exception as error:
            complain(SEAM, error)
        try:
            outcome = original(atom, arguments, *args, **kwargs)
            if span is not None and isinstance(outcome[1], Failure):
                _fail(span, kind, verb, outcome[1])
            return outcome
        except BaseException as error:  # KeyboardInterrupt, GreenletExit: TaskFlow lets them pass
            if span is not None:
                _fail(span, kind, verb, error)
            raise
        finally:
            if token is not None:
                otel_context.detach(token)
            if span is not None:
                end_span(span)

    run.__dict__[_MARK] = True
    return run


def _describe(kind: type[_Kind], verb: str, place: _Place, arguments: Any) -> dict[str, Any]:
    atom, uuid = place.atom, place.uuid
    attributes: dict[str, Any] = {
        kind.name: _plain(atom.name),
        conventions.CODE_FUNCTION: _function(type(atom), verb),  # type: ignore[arg-type]
        # What it will be unless it fails. Set at the end, it'd cost as much as all the others.
        kind.state: states.SUCCESS if verb == "execute" else states.REVERTED,
    }
    if not uuid:
        uuid = _uuid(place.listener.engine.storage, atom.name)
    if kind is _Retry:
        history = arguments.get("history")
        # On revert the history holds the last attempt; on execute it's about to be made.
        attempts = len(history) if history is not None else 0
        attributes[conventions.RETRY_ATTEMPT] = attempts + (verb == "execute")
    elif verb == "execute" and atom.save_as:
        attributes[conventions.TASK_PROVIDES] = sorted(atom.save_as)
    if uuid:
        attributes[kind.uuid] = uuid
    return attributes


def _uuid(storage: Any, name: str) -> str:
    """An atom's uuid, without the lock of ``get_atom_uuid``, which costs 4 µs a task."""
    found: str = getattr(storage, "_atom_name_to_uuid", {}).get(name) or storage.get_atom_uuid(name)
    return found


def _fail(span: Span, kind: type[_Kind], verb: str, problem: Failure | BaseException) -> None:
    try:
        state = states.FAILURE if verb == "execute" else states.REVERT_FAILURE
        _set_outcome(span, kind, state, problem)
        if isinstance(problem, BaseException):
            record_failure(span, problem)
    except Exception as error:
        complain(SEAM, error)


def _close(span: Span, kind: type[_Kind], state: str, result: Any) -> None:
    _set_outcome(span, kind, state, result)
    end_span(span)


def _set_outcome(span: Span, kind: type[_Kind], state: str, result: Any) -> None:
    span.set_attribute(kind.state, state)
    if isinstance(result, Failure):
        if result.exception is not None:
            record_failure(span, result.exception, stacktrace=result.traceback_str or "")
        else:  # it came from another process, as text
            name = next(iter(result), "Failure").rpartition(".")[2]
            span.set_attribute(conventions.ERROR_TYPE, name)
            message = redaction.text(result.exception_str)
            span.set_status(Status(StatusCode.ERROR, f"{name}: {message}"))


_plain = functools.lru_cache(maxsize=1024)(redaction.plain)


@functools.lru_cache(maxsize=1024)
def _short(name: str) -> str:
    """``cinder.volume.flows.api.create_volume.QuotaReserveTask;volume:create`` -> its class.

    Cinder names its tasks by module and class, with what tells them apart behind a semicolon;
    TaskFlow's own default is the same without the latter. Other names are taken as they are.
    """
    head = _plain(name).partition(";")[0]
    return head.rpartition(".")[2] or head


@functools.lru_cache(maxsize=1024)
def _function(atom_class: type, verb: str) -> str:
    return f"{atom_class.__module__}.{atom_class.__qualname__}.{verb}"


def _runs_in_process(engine: Any) -> bool:
    """Whether the engine's atoms run in this process: serially, in threads or greenthreads."""
    return _is_local(type(getattr(engine, "_task_executor", None)))  # type: ignore[arg-type]


@functools.lru_cache(maxsize=64)
def _is_local(executor: type) -> bool:
    return executor.__module__ == _EXECUTOR and "Process" not in executor.__name__


def _atoms_are_timed() -> bool:
    """Whether `patch` is in force."""
    return hasattr(getattr(sys.modules.get(_EXECUTOR), "_execute_task", None), _MARK)


def _somebody_else_traces() -> bool:
    """Whether opentelemetry-instrumentation-taskflow is on, which makes spans of the same kind."""
    module = sys.modules.get("opentelemetry.instrumentation.taskflow")
    other = getattr(module, "TaskflowInstrumentor", None)
    return getattr(other, "_original_engine_init", None) is not None
