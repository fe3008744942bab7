"""What makes spans: tracers per service, built late in each process, flushed when it stops.

Nothing is built before the first span of a process. cinder-api's and cinder-volume's parents, and
uWSGI's master, load everything and then fork; what they had built would export nothing in a child.
A fork that Python does not see (uWSGI's) is noticed by the process id.
"""

from __future__ import annotations

import atexit
import os
import random
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.version import __version__ as sdk_version
from opentelemetry.trace import Link, Span, SpanKind, Tracer

from otel_cinder.core import conventions, exporters
from otel_cinder.core.exporting import BatchSpanProcessor, real
from otel_cinder.core.patching import PatchSet, complain
from otel_cinder.core.sampling import EntrySampler
from otel_cinder.core.settings import Settings
from otel_cinder.version import __version__

SERVICE: Final = otel_context.create_key("otel-cinder-service")
"""Context key: the `Service` at work, which owns the spans that are started there."""

FLUSH_TIMEOUT: Final = 5.0
"""Seconds that a stopping process waits for its spans to leave."""


class Service(tuple[str, str]):
    """Name and instance of a service, as ``service.name`` and ``service.instance.id`` say them."""

    __slots__ = ()

    def __new__(cls, name: str, instance: str = "") -> Service:
        return super().__new__(cls, (name, instance))


class _IdGenerator(RandomIdGenerator):
    """Random ids from a source of this process's own.

    The SDK's generator draws from ``random``'s global state, which workers that uWSGI forks in C
    would share: they would give out the same ids.
    """

    def __init__(self) -> None:
        source = random.Random(os.urandom(32))
        self._draw = source.getrandbits

    def generate_trace_id(self) -> int:
        return self._draw(128) or self.generate_trace_id()

    def generate_span_id(self) -> int:
        return self._draw(64) or self.generate_span_id()


class _Process:
    """The providers of one process, one a service, over one export queue."""

    def __init__(self, runtime: Runtime) -> None:
        self.pid = os.getpid()
        self.tracers: dict[Service | None, Tracer] = {}
        self._runtime = runtime
        self._given = runtime.tracer_provider or _provider_of_the_host()
        self.processor: BatchSpanProcessor | None = None
        if self._given is None and not exporters.disabled(os.environ):
            self.processor = exporters.processor(os.environ)

    def tracer(self, service: Service | None) -> Tracer:
        """The tracer of a service; made at its first span."""
        found = self.tracers.get(service)
        if found is None:
            provider = self._given or self._provider(service)
            found = provider.get_tracer(conventions.SCOPE, __version__)
            self.tracers[service] = found
        return found

    def flush(self, timeout: float) -> bool:
        """Export what was recorded; False if it took longer than ``timeout`` seconds."""
        if self.processor is not None:
            return self.processor.force_flush(int(timeout * 1000))
        force_flush = getattr(self._given, "force_flush", None)
        if force_flush is None or real("threading") is not sys.modules["threading"]:
            return True  # under eventlet the SDK's own processor could hang us
        # In a thread, because the SDK's processor takes the time that its exporter takes.
        thread = threading.Thread(target=force_flush, args=(int(timeout * 1000),), daemon=True)
        thread.start()
        thread.join(timeout)
        return not thread.is_alive()

    def _provider(self, service: Service | None) -> trace.TracerProvider:
        provider = TracerProvider(
            resource=self._runtime.resource(service),
            id_generator=_IdGenerator(),
            span_limits=SpanLimits(),
            # Its atexit hook would shut the shared queue down; ours flushes all of them.
            shutdown_on_exit=False,
        )
        if not self._runtime.settings.trust_inbound:
            provider.sampler = EntrySampler(provider.sampler)
        if self.processor is not None:
            provider.add_span_processor(self.processor)
        return provider


class Runtime:
    """Starts spans for the seams. One exists per interpreter, `runtime`; forks rebuild its inside."""

    def __init__(self) -> None:
        self.settings = Settings()
        self.tracer_provider: trace.TracerProvider | None = None
        self.identify: Callable[[Service | None], Mapping[str, str]] = _unknown
        """Says the resource attributes of a service; set by the instrumentor."""
        self._patches = PatchSet()
        self._process: _Process | None = None
        self._processes: dict[int, _Process] = {}

    def start(
        self,
        settings: Settings,
        tracer_provider: trace.TracerProvider | None,
        patches: PatchSet,
    ) -> None:
        """Make ready to build at the first span, and see to it that a stop flushes."""
        self.settings = settings
        self.tracer_provider = tracer_provider
        self._patches = patches
        # oslo.service's and cotyledon's children leave by os._exit, which skips atexit.
        patches.wrap("runtime", "os:_exit", self._flush_then_exit)

    def stop(self) -> None:
        """Flush, end the export thread, forget everything."""
        process, self._process = self._process, None
        self._processes.clear()
        self.tracer_provider = None
        atexit.unregister(self.flush)
        if process is not None and process.pid == os.getpid() and process.processor is not None:
            process.processor.shutdown(int(FLUSH_TIMEOUT * 1000))

    def start_span(
        self,
        name: str,
        context: Context,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Mapping[str, Any] | None = None,
        links: Sequence[Link] = (),
    ) -> Span:
        """Start a span of the service at work in ``context``, as a child of its current span."""
        return self.tracer(context).start_span(
            name, context=context, kind=kind, attributes=attributes, links=links
        )

    def measure(
        self,
        name: str,
        value: float,
        attributes: Mapping[str, Any],
        context: Context | None = None,
    ) -> None:
        """Record ``value`` (in the metric's unit) of the metric ``name``. Never blocks.

        Args:
            context: whose span is the exemplar and whose service it belongs to; default: current.
        """

    def tracer(self, context: Context) -> Tracer:
        """The tracer of the service at work in ``context``, in this process."""
        process = self._process
        if process is None or process.pid != os.getpid():
            process = self._build()
        service: Any = context.get(SERVICE)
        return process.tracers.get(service) or process.tracer(service)

    def resource(self, service: Service | None) -> Resource:
        """What the spans of ``service`` say about where they come from.

        What the operator has set in OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES wins. Not
        ``Resource.create``: it runs a thread pool, and makes up an instance id at random.
        """
        found = Resource(
            {
                conventions.SDK_LANGUAGE: "python",
                conventions.SDK_NAME: "opentelemetry",
                conventions.SDK_VERSION: sdk_version,
                **self.identify(service),
            }
        )
        return found.merge(OTELResourceDetector().detect())

    def flush(self, timeout: float = FLUSH_TIMEOUT) -> bool:
        """Export what this process has recorded; False if it took longer than ``timeout`` s."""
        process = self._process
        if process is None or process.pid != os.getpid():
            return True
        return process.flush(timeout)

    @property
    def dropped(self) -> int:
        """Spans that this process could not send."""
        process = self._process
        return process.processor.dropped if process and process.processor else 0

    def _build(self) -> _Process:
        pid = os.getpid()
        self._use_native_locks()
        # Two threads may come here at once. No lock, which a fork could leave locked: setdefault
        # lets one of them win, and the loser's has started nothing yet.
        process = self._processes.setdefault(pid, _Process(self))
        for other in [known for known in self._processes if known != pid]:
            self._processes.pop(other, None)  # the parent's
        self._process = process
        atexit.unregister(self.flush)
        atexit.register(self.flush)
        return process

    def _use_native_locks(self) -> None:
        """Exchange the SDK's locks for native ones where eventlet has patched threads.

        Spans are shared with tpool's native threads. eventlet's locks must not be: a greenthread
        that waits for one which a native thread holds is never woken.
        """
        threads = real("threading")
        for name in (
            "opentelemetry.sdk.trace",
            "opentelemetry.sdk.util",
            "opentelemetry.attributes",
        ):
            module = sys.modules.get(name)
            if getattr(module, "threading", threads) is not threads:
                self._patches.replace("runtime", f"{name}:threading", lambda _original: threads)

    def _flush_then_exit(
        self, wrapped: Callable[..., Any], _instance: Any, args: tuple[Any, ...], kwargs: Any
    ) -> Any:
        try:
            self.flush()
        except Exception as error:
            complain("runtime", error)
        return wrapped(*args, **kwargs)


def _unknown(_service: Service | None) -> Mapping[str, str]:
    """What the SDK says of a process that it knows nothing of."""
    return {conventions.SERVICE_NAME: f"unknown_service:{Path(sys.argv[0] or 'python').name}"}


def end_span(span: Span) -> None:
    """End ``span``. What a processor of the host's own provider raises does not reach Cinder."""
    try:
        span.end()
    except Exception as error:
        complain("runtime", error)


runtime = Runtime()


def flush(timeout_s: float = FLUSH_TIMEOUT) -> bool:
    """Export what this process has recorded so far; False if it took longer than ``timeout_s``."""
    return runtime.flush(timeout_s)


def process_name() -> str:
    """The service that this process is, where its work does not say: from how it was started.

    Console scripts and cotyledon's workers keep ``sys.argv[0]``; under uWSGI it says ``uwsgi``, and
    what is served there is the API.
    """
    started_as = Path(sys.argv[0] if sys.argv else "").name
    if started_as.startswith("cinder-") and "wsgi" not in started_as:
        return started_as.removesuffix(".py")
    if any(name in sys.modules for name in ("uwsgi", "cinder.wsgi.api", "cinder.wsgi.wsgi")):
        return "cinder-api"
    return started_as if started_as.startswith("cinder") else "cinder"


def worker_instance() -> str:
    """Host name and worker: uWSGI's worker number, which survives a respawn, or the process id."""
    worker: Any = os.getpid()
    uwsgi = sys.modules.get("uwsgi")
    if uwsgi is not None:
        worker = f"worker-{uwsgi.worker_id()}"
    return f"{socket.gethostname()}:{worker}"


def _provider_of_the_host() -> trace.TracerProvider | None:
    """The provider that somebody has set in this process, if any. It is used, not replaced."""
    provider = trace.get_tracer_provider()
    return None if isinstance(provider, trace.ProxyTracerProvider) else provider
