"""The spans of tasks and retries, timed by the functions that run their own code."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, Tracer
from taskflow import states
from taskflow.types.failure import Failure

from otel_cinder import conventions, redaction
from otel_cinder.cinder.requests import result_attributes
from otel_cinder.patching.internal_errors import log_internal_error
from otel_cinder.patching.patch_set import PatchSet, stand_in
from otel_cinder.spans import clock, local_root
from otel_cinder.spans.code import code_attributes
from otel_cinder.spans.failures import record_failure, record_lost
from otel_cinder.spans.runtime import end_span, runtime

SEAM: Final = "flows"

_EXECUTOR: Final = "taskflow.engines.action_engine.executor"

_LISTENER: Final = otel_context.create_key("otel-cinder-flow-listener")
"""Context key: a weak reference to the `Flow` whose engine is at work. Weak, because a
context may be kept by a thread that outlives the flow, and the engine holds all its results."""

_MARK: Final = "_otel_cinder"
"""Attribute of the functions that replace TaskFlow's own."""

_pending: dict[int, _Place] = {}
"""Atoms handed to an executor, by ``id``. Left when the atom starts, or its flow ends."""


def patch(patches: PatchSet) -> None:
    """Time the atoms."""
    # Only where another thread may run the task; the serial executor runs it right there.
    for method in ("execute_task", "revert_task"):
        patches.wrap(SEAM, f"{_EXECUTOR}:ParallelTaskExecutor.{method}", _submit)
    # Plain functions, not wrapt proxies: a process executor pickles them by name.
    for kind in (TASK, RETRY):
        for verb in ("execute", "revert"):
            patches.replace(
                SEAM,
                f"{_EXECUTOR}:_{verb}_{kind.noun}",
                functools.partial(_around_atom, kind, verb),
            )


class Flow(Protocol):
    """The run of a flow to which atoms belong: a `FlowListener`."""

    failed: tuple[str, SpanContext] | None
    measures: bool
    name: str
    span: Span
    storage: Any
    times_atoms: bool
    tracer: Tracer


class _Place(NamedTuple):
    """An atom, and the flow and context to which it belongs."""

    atom: Any
    context: Context
    listener: Flow
    uuid: str


class Kind(NamedTuple):
    """The names of tasks, and of retries, in TaskFlow and in our conventions."""

    noun: str
    prefix: str
    name: str
    uuid: str
    state: str


TASK: Final = Kind("task", "", conventions.TASK_NAME, conventions.TASK_UUID, conventions.TASK_STATE)
RETRY: Final = Kind(
    "retry", "retry ", conventions.RETRY_NAME, conventions.RETRY_UUID, conventions.RETRY_STATE
)


def listened(context: Context, listener: Any) -> Context:
    """``context`` with a weak reference to the listener whose engine is at work in it."""
    return otel_context.set_value(_LISTENER, listener, context)


def forget(listener: Flow) -> None:
    """Drop the atoms that were handed to an executor which never ran them."""
    for key, place in list(_pending.items()):
        if place.listener is listener:
            _pending.pop(key, None)


def causes(listener: Flow) -> tuple[Link, ...]:
    """A link to the atom whose failure is why others revert."""
    return () if listener.failed is None else (Link(listener.failed[1]),)


def _listener(context: Context) -> Flow | None:
    """The listener whose atoms are to be timed here, and not by notification."""
    found: Any = context.get(_LISTENER)
    listener: Flow | None = found() if found is not None else None
    return listener if listener is not None and listener.times_atoms else None


def _submit(
    wrapped: Callable[..., Any], _executor: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Remember where an atom belongs until it runs, maybe in another thread."""
    task = None
    try:
        context = otel_context.get_current()
        listener = _listener(context)
        if listener is not None:
            task = args[0] if args else kwargs["task"]
            uuid = args[1] if len(args) > 1 else kwargs.get("task_uuid", "")
            _pending[id(task)] = _Place(task, context, listener, uuid)
    except Exception as error:
        log_internal_error(SEAM, error)
    try:
        return wrapped(*args, **kwargs)
    except BaseException:
        _pending.pop(id(task), None)
        raise


def _around_atom(kind: Kind, verb: str, original: Callable[..., Any]) -> Callable[..., Any]:
    """The function that runs an atom, in a span that is current while it runs."""
    done = states.SUCCESS if verb == "execute" else states.REVERTED

    def run(*args: Any, **kwargs: Any) -> Any:
        token = None
        span: Span = trace.INVALID_SPAN
        started = 0.0
        try:
            place = _place(args[0] if args else kwargs[kind.noun])
            if place is not None:
                context = place.context
                if place.listener.span.is_recording():
                    arguments = args[1] if len(args) > 1 else kwargs["arguments"]
                    span = _start(kind, verb, place, arguments, done)
                    context = trace.set_span_in_context(span, context)
                if place.listener.measures:
                    started = time.perf_counter()
                token = otel_context.attach(context)
        except Exception as error:
            log_internal_error(SEAM, error)
        if token is None or place is None:
            return original(*args, **kwargs)
        state = done
        try:
            outcome = original(*args, **kwargs)
        except BaseException as error:  # KeyboardInterrupt, GreenletExit: TaskFlow lets them pass
            state = _fail(place, kind, verb, span, error)
            raise
        else:
            if not _tell(place, kind, verb, span, outcome, context):
                state = _FAILED[verb]
            return outcome
        finally:
            otel_context.detach(token)
            end_span(span)
            if started and kind is TASK:
                _measure(place, state, started, context)

    run.__dict__[_MARK] = True
    return stand_in(run, original)


_FAILED: Final[dict[str, str]] = {"execute": states.FAILURE, "revert": states.REVERT_FAILURE}


def _place(atom: Any) -> _Place | None:
    """Return the place of an atom that is about to run; None if it gets no span."""
    place = _pending.pop(id(atom), None)
    if place is not None and place.atom is atom:
        return place
    # In the engine's own thread: a retry, or a serial engine's task.
    context = otel_context.get_current()
    listener = _listener(context)
    return None if listener is None else _Place(atom, context, listener, "")


def _start(kind: Kind, verb: str, place: _Place, arguments: Any, state: str) -> Span:
    executes = verb == "execute"
    prefix = kind.prefix if executes else f"revert {kind.prefix}"
    return clock.start(
        place.listener.tracer,
        prefix + short(place.atom.name),
        place.context,
        attributes=_describe(kind, verb, place, arguments, state),
        links=() if executes else causes(place.listener),
    )


def _measure(place: _Place, state: str, started: float, context: Context) -> None:
    """Never raises."""
    try:
        seconds = time.perf_counter() - started
        measured = _measured(type(place.atom).__name__, state, place.listener.name)
        runtime.measure(conventions.TASK_DURATION, seconds, measured, context)
    except Exception as error:
        log_internal_error(SEAM, error)


def _describe(kind: Kind, verb: str, place: _Place, arguments: Any, state: str) -> dict[str, Any]:
    atom, uuid = place.atom, place.uuid
    attributes: dict[str, Any] = {
        kind.name: plain(atom.name),
        **_code(type(atom), verb),  # type: ignore[arg-type]
        # What it will be unless it fails. Set at the end, it'd cost as much as all the others.
        kind.state: state,
    }
    if not uuid:
        uuid = _uuid(place.listener.storage, atom.name)
    if kind is RETRY:
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


def _tell(
    place: _Place,
    kind: Kind,
    verb: str,
    span: Span,
    outcome: Any,
    context: Context,
) -> bool:
    """Say what came of an atom; whether it succeeded. Never raises."""
    try:
        result = outcome[1]
        if isinstance(result, Failure):
            _fail(place, kind, verb, span, result)
            return False
        if verb == "execute" and kind is TASK and span.is_recording():
            _tell_results(place.atom, result, span, context)
    except Exception as error:
        log_internal_error(SEAM, error)
    return True


def _tell_results(atom: Any, result: Any, span: Span, context: Context) -> None:
    """Say what the results tell of the request, and the results themselves where it is wanted."""
    told = result_attributes(result)
    if told:
        local_root.enrich(told, context)
    if runtime.settings.result_values and atom.save_as:
        results = {
            name: result if index is None else result[index] for name, index in atom.save_as.items()
        }
        span.set_attribute(conventions.TASK_RESULTS, redaction.value(results))


def _fail(
    place: _Place, kind: Kind, verb: str, span: Span, problem: Failure | BaseException
) -> str:
    """Mark the atom as failed, remember it as what the others revert for; returns its state."""
    state = _FAILED[verb]
    try:
        failure = set_outcome(span, kind, state, problem)
        if isinstance(problem, BaseException):
            failure = record_failure(span, problem)
        if verb == "execute":
            if kind is TASK:
                place.listener.failed = (short(place.atom.name), span.get_span_context())
            root = local_root.current(place.context)
            if root is not None:
                root.failure = failure
    except Exception as error:
        log_internal_error(SEAM, error)
    return state


def set_outcome(span: Span, kind: Kind, state: str, result: Any) -> tuple[str, str] | None:
    """Say how an atom ended; returns class and message of what it failed by, if it did."""
    span.set_attribute(kind.state, state)
    if not isinstance(result, Failure):
        return None
    if result.exception is not None:
        return record_failure(span, result.exception, stacktrace=result.traceback_str or "")
    # It came from another process, as text.
    causes = [f"{next(iter(each), 'Failure')}: {each.exception_str}" for each in result.causes]
    return record_lost(
        span,
        next(iter(result), "Failure"),
        result.exception_str,
        result.traceback_str or "",
        causes,
    )


@functools.lru_cache(maxsize=1024)
def _measured(name: str, state: str, flow: str) -> dict[str, Any]:
    return {
        conventions.TASK_CLASS: name,
        conventions.TASK_STATE: state,
        conventions.FLOW_NAME: flow,
    }


plain = functools.lru_cache(maxsize=1024)(redaction.plain)


@functools.lru_cache(maxsize=1024)
def short(name: str) -> str:
    """``cinder.volume.flows.api.create_volume.QuotaReserveTask;volume:create`` -> its class.

    Cinder names its tasks by module and class, with what tells them apart behind a semicolon;
    TaskFlow's own default is the same without the latter. Other names are taken as they are.
    """
    head = plain(name).partition(";")[0]
    return head.rpartition(".")[2] or head


@functools.lru_cache(maxsize=1024)
def _code(atom_class: type, verb: str) -> dict[str, Any]:
    name = f"{atom_class.__module__}.{atom_class.__qualname__}.{verb}"
    return code_attributes(name, getattr(atom_class, verb, None))


def run_in_process(engine: Any) -> bool:
    """Return whether the engine's atoms run in this process: serially, in threads or greenthreads."""
    return _is_local(type(getattr(engine, "_task_executor", None)))  # type: ignore[arg-type]


@functools.lru_cache(maxsize=64)
def _is_local(executor: type) -> bool:
    return executor.__module__ == _EXECUTOR and "Process" not in executor.__name__


def are_timed() -> bool:
    """Return whether `patch` is in force."""
    return hasattr(getattr(sys.modules.get(_EXECUTOR), "_execute_task", None), _MARK)
