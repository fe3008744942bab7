"""Process: the providers and export queues of one process, and their flush."""

from __future__ import annotations

import math
import os
import random
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import Tracer

from otel_cinder import conventions
from otel_cinder.export import exporters, interrupts, queues
from otel_cinder.export.failure_log import failure_log
from otel_cinder.export.logs import LogQueue
from otel_cinder.export.metrics import Instruments, MetricQueue
from otel_cinder.export.native_thread import threads_are_green
from otel_cinder.export.queues import BatchSpanProcessor, ExportQueue
from otel_cinder.export.signals import METRICS, SPANS
from otel_cinder.spans.configuration import Configuration
from otel_cinder.spans.health import Health
from otel_cinder.spans.instance_id import InstanceNames
from otel_cinder.spans.open import OpenSpans
from otel_cinder.spans.operations import Operations
from otel_cinder.spans.sampling import LocalRootSampler, Tally
from otel_cinder.spans.service import Service
from otel_cinder.spans.still_running import StillRunning
from otel_cinder.version import __version__


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


_IDENTITY: Final = (conventions.SERVICE_NAME, conventions.SERVICE_INSTANCE)

_LOOK_ENDS_S: Final = 1.0
"""Seconds that a look which is under way may take to end."""

_LIMITS: Final = SpanLimits()
"""From ``OTEL_*_LIMIT``. Read on import, so that a malformed one is reported at the start."""


def _undisturbed(flush: Callable[[int], Any], timeout_millis: int) -> None:
    interrupts.refuse()
    flush(timeout_millis)


class _TracerProvider(TracerProvider):
    def _handle_fork(self) -> None:
        """Nothing: a child builds its own. The SDK would run a thread pool at each fork."""


def tracer_of(provider: trace.TracerProvider) -> Tracer:
    """Our tracer of ``provider``."""
    return provider.get_tracer(conventions.SCOPE, __version__, schema_url=conventions.SCHEMA_URL)


class Process:
    """The providers of one process, one a service, over one export queue for each signal.

    Making one starts nothing: when two threads make one at the same time, one of them is dropped.

    Args:
        prepare_metrics: called once the SDK's metrics are imported.
    """

    def __init__(self, configuration: Configuration, prepare_metrics: Callable[[], None]) -> None:
        self.pid = os.getpid()
        self.tracers: dict[Service | None, Tracer] = {}
        self._configuration = configuration
        self._resources: dict[Service | None, Resource] = {}
        self._names = InstanceNames()
        self._tally = Tally()
        self._given = configuration.foreign_tracer_provider()
        self._given_meters = configuration.foreign_meter_provider()
        self.spans: BatchSpanProcessor | None = None
        if self._given is None and not exporters.disabled(SPANS, os.environ):
            self.spans = exporters.spans(os.environ)
        self.open = OpenSpans(self.spans, self._look)
        """Spans of our own providers that have not ended."""
        self.still_running: StillRunning | None = None
        """None if still-running spans are off."""
        if self.spans is not None and math.isfinite(configuration.settings.still_running):
            self.still_running = StillRunning(
                self.open,
                self.spans,
                _IdGenerator().generate_span_id,
                configuration.settings.still_running,
            )
        self.logs: LogQueue | None = None
        if configuration.logs_exported:
            self.logs = exporters.logs(os.environ, self.resource)
        self.instruments: Instruments | None = None
        """The instruments of a foreign provider: they take measurements at once."""
        self.metrics: MetricQueue | None = None
        if self._given_meters is not None:
            meter = self._given_meters.get_meter(
                conventions.SCOPE, __version__, conventions.SCHEMA_URL
            )
            self.instruments = Instruments(meter)
        # A caller that gives a provider for spans alone does not want metrics.
        elif self._given is None and not exporters.disabled(METRICS, os.environ):
            self.metrics = exporters.metrics(
                os.environ,
                self.resource,
                prepare_metrics,
                Health(
                    self._tally,
                    self.spans,
                    self.logs,
                    configuration.seams,
                    Operations(self.open),
                    self.still_running,
                ).observe,
            )

    def tracer(self, service: Service | None) -> Tracer:
        """The tracer of a service; made at its first span."""
        tracer = self.tracers.get(service)
        if tracer is None:
            tracer = tracer_of(self._given or self._provider(service))
            self.tracers[service] = tracer
            if self.metrics is not None:
                self.metrics.see(service)
        return tracer

    def resource(self, service: Service | None) -> Resource:
        """The resource of a service, which is the same for all its signals."""
        resource = self._resources.get(service)
        if resource is None:
            resource = self._only_ours(self._configuration.resource(service))
            self._resources[service] = resource
        return resource

    def _only_ours(self, resource: Resource) -> Resource:
        """``resource`` with an instance name that no other process has, even if the operator set it."""
        name, instance = (str(resource.attributes.get(key, "")) for key in _IDENTITY)
        return resource.merge(
            Resource({conventions.SERVICE_INSTANCE: self._names.take(name, instance)})
        )

    def flush(self, timeout: float) -> bool:
        """Export all that is recorded; False if it took longer than ``timeout`` seconds."""
        begin = time.monotonic()
        others = self._flush_the_hosts(timeout)
        in_time = queues.flush(self._queues, timeout)
        for thread in others:
            thread.join(max(timeout - (time.monotonic() - begin), 0))
        return in_time and not any(thread.is_alive() for thread in others)

    def hurry(self, cut_off_in: float) -> list[Any]:
        """Export at once, and from now on without delay. Returns an event for each queue.

        What is still open after ``cut_off_in`` seconds is an error.
        """
        for queue in self._queues:
            queue.hurry()
        if self.still_running is not None:
            self.still_running.hurry()
            self.still_running.cut_off_in(cut_off_in)
        asked = [each.ask() for each in (*self._queues, self.still_running) if each is not None]
        return [done for done in asked if done is not None]

    @property
    def patience(self) -> float:
        """Seconds that a flush may wait, after the last exports."""
        return min((queue.patience for queue in self._queues), default=0)

    def shutdown(self, timeout: float) -> None:
        """Export all that is recorded and end the threads, in at most ``timeout`` seconds."""
        looks = self.still_running
        ended = looks.ask_to_end() if looks is not None else None
        queues.shutdown(self._queues, timeout)
        if looks is not None and ended is not None:
            ended.wait(_LOOK_ENDS_S)
            looks.withdraw()
        self.open.shutdown()
        self._names.release()
        failure_log.stop()

    def withdraw(self) -> None:
        """Remove the parent's log filters in a child, whose threads may have the same idents."""
        for queue in self._queues:
            queue.withdraw()
        if self.still_running is not None:
            self.still_running.withdraw()
        self._names.release()

    def _look(self) -> None:
        """Begin to look for spans that are open for too long."""
        if self.still_running is not None:
            self.still_running.start_quietly()

    @property
    def _queues(self) -> list[ExportQueue[Any]]:
        return [queue for queue in (self.spans, self.metrics, self.logs) if queue is not None]

    def _flush_the_hosts(self, timeout: float) -> list[threading.Thread]:
        """Flush the host's providers in threads: their exporters may take their time."""
        if threads_are_green():
            return []  # the SDK's own processors could hang us
        providers = (self._given, self._given_meters)
        flushes: list[Callable[[int], Any] | None] = [
            getattr(provider, "force_flush", None) for provider in providers
        ]
        threads = [
            threading.Thread(target=_undisturbed, args=(flush, int(timeout * 1000)), daemon=True)
            for flush in flushes
            if flush is not None
        ]
        for thread in threads:
            thread.start()
        return threads

    def _provider(self, service: Service | None) -> trace.TracerProvider:
        trusts = self._configuration.settings.trust_inbound
        provider = _TracerProvider(
            sampler=LocalRootSampler(self._configuration.sampler, self._tally, trusts=trusts),
            resource=self.resource(service),
            id_generator=_IdGenerator(),
            span_limits=_LIMITS,
            # Its atexit hook would shut the shared queue down; ours flushes all of them.
            shutdown_on_exit=False,
        )
        provider.add_span_processor(self.open)
        return provider
