"""oslo.messaging: PRODUCER and CONSUMER spans of casts, CLIENT and SERVER spans of calls.

How the trace travels: `otel_cinder.core.carrier`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind

from otel_cinder.core import carrier, conventions
from otel_cinder.core.carrier import Arrival
from otel_cinder.core.failures import record_failure
from otel_cinder.core.patching import PatchSet, complain
from otel_cinder.core.runtime import SERVICE, Service, end_span, runtime

SEAM: Final = "rpc"

_SYSTEMS: Final = {"rabbit": "rabbitmq", "fake": "fake", "kafka": "kafka", "proton": "amqp"}
"""Start of the driver's class name -> ``messaging.system``."""

_SERVER: Final = otel_context.create_key("otel-cinder-rpc-server")
"""Context key: the RPC server whose message is being dispatched."""

ServiceOf = Callable[[str, list[Any]], Service | None]
IsChatter = Callable[[str], bool]
Describe = Callable[[Mapping[str, Any]], dict[str, str]]


def patch(
    patches: PatchSet, service_of: ServiceOf, is_chatter: IsChatter, describe: Describe
) -> None:
    """Patch sending and dispatching.

    Args:
        service_of: the service that listens on a topic, from the topic and its endpoints.
        is_chatter: whether a method is sent periodically, by nobody's request.
        describe: attributes from a message's context dictionary.
    """
    sender = _Sender(describe)
    receiver = _Receiver(service_of, is_chatter, describe)
    patches.wrap(SEAM, "oslo_messaging.transport:Transport._send", sender.send)
    # The dispatcher does not know which server's it is: the topic is the server's.
    patches.wrap(SEAM, "oslo_messaging.rpc.server:RPCServer._process_incoming", receiver.incoming)
    patches.wrap(SEAM, "oslo_messaging.rpc.dispatcher:RPCDispatcher.dispatch", receiver.dispatch)


class _Sender:
    def __init__(self, describe: Describe) -> None:
        self._describe = describe

    def send(
        self,
        wrapped: Callable[..., Any],
        transport: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Send a message in a span, and with it in the message's context."""
        context = otel_context.get_current()
        current = trace.get_current_span(context).get_span_context()
        if not current.is_valid and not runtime.settings.periodic:
            return wrapped(*args, **kwargs)  # periodic chatter: nobody asked for it
        try:
            target, sent_context, message = _arguments(args, kwargs)
            if not isinstance(sent_context, dict) or _traced_by_another(sent_context, current):
                return wrapped(*args, **kwargs)
            waits = bool(kwargs.get("wait_for_reply") or (len(args) > 3 and args[3]))
            span: Span | None = None
            recorded = current.trace_flags.sampled or not current.is_valid
            if recorded and not _somebody_else_traces():
                span = self._start(context, transport, target, message, sent_context, waits)
            sent = current if span is None else span.get_span_context()
            keys = carrier.inject(sent, fanout=bool(target.fanout))
            args, kwargs = _with_context(args, kwargs, {**sent_context, **keys})
        except Exception as error:
            complain(SEAM, error)
            return wrapped(*args, **kwargs)
        if span is None:
            return wrapped(*args, **kwargs)
        return _in_span(span, context, wrapped, args, kwargs)

    def _start(
        self,
        context: Context,
        transport: Any,
        target: Any,
        message: Mapping[str, Any],
        sent_context: Mapping[str, Any],
        waits: bool,
    ) -> Span:
        topic = _topic(target.topic)
        method = f"{topic}/{message.get('method')}"
        attributes: dict[str, Any] = {
            **_destination(transport, target),
            conventions.MESSAGING_OPERATION_NAME: "call" if waits else "cast",
            conventions.MESSAGING_OPERATION_TYPE: "send",
            **_rpc(method),
            **self._describe(sent_context),
        }
        if target.fanout:
            attributes[conventions.FANOUT] = True
        return runtime.start_span(
            method if waits else f"cast {method}",
            context,
            SpanKind.CLIENT if waits else SpanKind.PRODUCER,
            attributes,
        )


class _Receiver:
    def __init__(self, service_of: ServiceOf, is_chatter: IsChatter, describe: Describe) -> None:
        self._service_of = service_of
        self._is_chatter = is_chatter
        self._describe = describe

    def incoming(
        self,
        wrapped: Callable[..., Any],
        server: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Let `dispatch` know which server has taken the message."""
        token = otel_context.attach(otel_context.set_value(_SERVER, server))
        try:
            return wrapped(*args, **kwargs)
        finally:
            otel_context.detach(token)

    def dispatch(
        self,
        wrapped: Callable[..., Any],
        dispatcher: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Dispatch a message in a span under the sender's, and without the keys in its context."""
        received = time.time()
        try:
            incoming = args[0] if args else kwargs["incoming"]
            base = otel_context.get_current()
            server: Any = base.get(_SERVER)
            target = getattr(server, "_target", None)
            remote, sent, fanout = _take(incoming)
            context = base
            service = self._service_of(getattr(target, "topic", ""), dispatcher.endpoints)
            if service is not None:
                context = otel_context.set_value(SERVICE, service, context)
            span: Span | None = None
            current = trace.get_current_span(base).get_span_context()
            if not (current.is_valid and remote.is_valid and current.trace_id == remote.trace_id):
                # Otherwise somebody else's span of this message is current already.
                # Unsampled, a fan-out's parent stays: what it decided is not decided again.
                if remote.is_valid and not (fanout and remote.trace_flags.sampled):
                    parent = trace.NonRecordingSpan(remote)
                    context = trace.set_span_in_context(parent, context)
                if self._begins_span(incoming, remote):
                    span = self._start(context, server, target, incoming, remote, fanout)
                    if sent is not None:
                        _set_wait(span, received - sent)
            if span is None:
                token = otel_context.attach(context)
        except Exception as error:
            complain(SEAM, error)
            return wrapped(*args, **kwargs)
        if span is not None:
            return _in_span(span, context, wrapped, args, kwargs)
        try:
            return wrapped(*args, **kwargs)
        finally:
            otel_context.detach(token)

    def _begins_span(self, incoming: Any, remote: SpanContext) -> bool:
        if _somebody_else_traces():
            return False
        if remote.is_valid:
            return remote.trace_flags.sampled
        return runtime.settings.periodic or not self._is_chatter(
            str(incoming.message.get("method"))
        )

    def _start(
        self,
        context: Context,
        server: Any,
        target: Any,
        incoming: Any,
        remote: SpanContext,
        fanout: bool,
    ) -> Span:
        method = f"{_topic(getattr(target, 'topic', None))}/{incoming.message.get('method')}"
        is_call = _is_call(incoming)
        attributes: dict[str, Any] = {
            **_source(getattr(server, "transport", None), target, fanout=fanout),
            conventions.MESSAGING_OPERATION_NAME: "process",
            conventions.MESSAGING_OPERATION_TYPE: "process",
            **_rpc(method),
            **(self._describe(incoming.ctxt) if isinstance(incoming.ctxt, dict) else {}),
        }
        if fanout:
            attributes[conventions.FANOUT] = True
        return runtime.start_span(
            method if is_call else f"process {method}",
            context,
            SpanKind.SERVER if is_call else SpanKind.CONSUMER,
            attributes,
            [Link(remote)] if remote.is_valid else (),
        )


def _in_span(
    span: Span,
    context: Context,
    wrapped: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    token = otel_context.attach(trace.set_span_in_context(span, context))
    try:
        return wrapped(*args, **kwargs)
    except BaseException as error:
        try:
            _record(span, error)
        except Exception as problem:
            complain(SEAM, problem)
        raise
    finally:
        otel_context.detach(token)
        end_span(span)


def _record(span: Span, error: BaseException) -> None:
    """Record what really went wrong: unwrapped, and a remote exception by its own class."""
    exc_info = getattr(error, "exc_info", None)
    if type(error).__name__ == "ExpectedException" and exc_info:
        error = exc_info[1]
    # RemoteError, for a class that the sender may not import, and the generated *_Remote ones.
    name = getattr(error, "exc_type", None) or type(error).__qualname__.removesuffix("_Remote")
    record_failure(span, error, error_type=str(name))


def _take(incoming: Any) -> Arrival:
    """Take the keys out of a message, so that nobody behind us notices them.

    The context is replaced, not changed: on ``fake://`` all who get a fan-out share it.
    """
    found = incoming.ctxt
    if not isinstance(found, dict) or carrier.KEYS.isdisjoint(found):
        return carrier.NOTHING
    incoming.ctxt = {key: value for key, value in found.items() if key not in carrier.KEYS}
    return carrier.extract(found)


def _set_wait(span: Span, seconds: float) -> None:
    if seconds >= 0:
        span.set_attribute(conventions.QUEUE_DURATION, round(seconds, 6))
    else:
        span.set_attribute(conventions.CLOCK_SKEW, round(-seconds, 6))


def _arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any, Any]:
    names = ("target", "ctxt", "message")
    target, sent_context, message = (
        args[i] if i < len(args) else kwargs[name] for i, name in enumerate(names)
    )
    return target, sent_context, message


def _with_context(
    args: tuple[Any, ...], kwargs: dict[str, Any], sent_context: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if len(args) > 1:
        return (args[0], sent_context, *args[2:]), kwargs
    return args, {**kwargs, "ctxt": sent_context}


def _rpc(method: str) -> dict[str, Any]:
    return {conventions.RPC_SYSTEM: "oslo.messaging", conventions.RPC_METHOD: method}


def _destination(transport: Any, target: Any) -> dict[str, Any]:
    """Where a message goes, as oslo.messaging's RabbitMQ driver routes it.

    By exchange and topic, topic.server for one server, and an exchange of its own for a fan-out.
    """
    key = str(target.topic)
    if target.server and not target.fanout:
        key = f"{key}.{target.server}"
    return _place(transport, target, key, fanout=bool(target.fanout), sends=True)


def _source(transport: Any, target: Any, *, fanout: bool) -> dict[str, Any]:
    """Where a message came from. Its server listens on the topic and on its own part of it, and
    does not know by which a message came: the topic it is.
    """
    if target is None:
        return {}
    return _place(transport, target, str(target.topic), fanout=fanout, sends=False)


def _place(transport: Any, target: Any, key: str, *, fanout: bool, sends: bool) -> dict[str, Any]:
    system = _system(transport)
    base = _topic(key)
    # A host in it is the deployment's: the template leaves it out.
    template = base if key == base else f"{base}.{{host}}"
    attributes = {conventions.MESSAGING_SYSTEM: system}
    if system == "rabbitmq":
        driver = getattr(transport, "_driver", None)
        exchange = target.exchange or getattr(driver, "_default_exchange", "") or ""
        if fanout:
            exchange = f"{target.topic}_fanout"
        if sends:
            attributes[conventions.MESSAGING_ROUTING_KEY] = key
        key, template = (f"{exchange}:{name}" if exchange else name for name in (key, template))
    attributes[conventions.MESSAGING_DESTINATION] = key
    attributes[conventions.MESSAGING_TEMPLATE] = template
    return attributes


def _topic(topic: Any) -> str:
    """``cinder-volume.host@lvm`` -> ``cinder-volume``: names carry no hosts."""
    return str(topic or "rpc").partition(".")[0]


def _system(transport: Any) -> str:
    name = type(getattr(transport, "_driver", None)).__name__.lower()
    return next((said for start, said in _SYSTEMS.items() if name.startswith(start)), name)


def _is_call(incoming: Any) -> bool:
    """Whether the sender waits for an answer. The drivers keep it under different names."""
    if hasattr(incoming, "reply_q"):  # RabbitMQ
        return bool(incoming.reply_q)
    return bool(getattr(incoming, "_reply_q", None) or getattr(incoming, "_reply_to", None))


def _traced_by_another(sent_context: Mapping[str, Any], current: SpanContext) -> bool:
    """Whether the message already carries the current span: oslo.messaging's own tracing is on."""
    found = sent_context.get(carrier.TRACEPARENT)
    return current.is_valid and isinstance(found, str) and f"{current.span_id:016x}" in found


def _somebody_else_traces() -> bool:
    """Whether another makes these spans: the context is still carried, but spans are left to it.

    opentelemetry-instrumentation-oslo-messaging for the process, osprofiler for one request.
    """
    module = sys.modules.get("opentelemetry.instrumentation.oslo_messaging")
    other = getattr(module, "OsloMessagingInstrumentor", None)
    if other is not None and getattr(other(), "is_instrumented_by_opentelemetry", False):
        return True
    profiler = sys.modules.get("osprofiler.profiler")
    return profiler is not None and profiler.get() is not None
