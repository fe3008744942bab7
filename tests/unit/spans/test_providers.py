"""Whose the global providers are."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest
from opentelemetry import metrics, trace

import otel_cinder
from tests.receiver import Receiver
from tests.unit import scripts

QUIET = "import warnings; warnings.simplefilter('ignore')"

CONF = """
from oslo_config import cfg
cfg.CONF([])
"""

OSPROFILER = """
from osprofiler import opts; opts.set_defaults(cfg.CONF)
from osprofiler.drivers.otlp import OTLP
OTLP("otlp://127.0.0.1:9", project="cinder", service="cinder-api")
"""
"""Does the same as ``cinder.service.setup_profiler``."""

OSLO_MIDDLEWARE = """
from oslo_middleware import tracing
tracing._register_opts(cfg.CONF)
for name, value in (("enabled", True), ("service_name", "cinder-api")):
    cfg.CONF.set_override(name, value, "oslo_middleware_tracing")
tracing.init_tracing(cfg.CONF)
"""
"""Does the same as its middleware when the API's application is loaded."""

OSLO_MESSAGING = """
import opentelemetry.exporter.otlp.proto.http.trace_exporter
from oslo_messaging._tracing import client
client._get_tracer(cfg.CONF)
"""
"""Does the same as it does at its first message."""

HOST = """
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
trace.set_tracer_provider(TracerProvider(shutdown_on_exit=False))
metrics.set_meter_provider(MeterProvider(shutdown_on_exit=False))
"""

SPANS = """
import os
def spans():
    for _ in range(3):
        span("x")
    flush()
    os._exit(0)
"""

FORK = """
if not os.fork():
    spans()
os._exit(os.waitstatus_to_exitcode(os.wait()[1]))
"""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A collector."""
    with Receiver() as receiver:
        yield receiver


def run(receiver: Receiver, *parts: str) -> int:
    """The number of the parts' three spans that our export has sent."""
    scripts.run(
        QUIET,
        *parts,
        env={"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, "OTEL_METRICS_EXPORTER": "none"},
    )
    return len(receiver.spans())


def where_there_is(module: str, setter: str) -> Any:
    """A setter that only newer releases of a library have: none of those runs on Python 3.10."""
    lacks = pytest.mark.skipif(find_spec(module) is None, reason=f"there is no {module}")
    return pytest.param(setter, marks=lacks)


BY_MIDDLEWARE = where_there_is("oslo_middleware.tracing", OSLO_MIDDLEWARE)
BY_MESSAGING = where_there_is("oslo_messaging._tracing", OSLO_MESSAGING)


@pytest.mark.parametrize("eventlet", [scripts.EVENTLET, ""], ids=["eventlet", "threads"])
@pytest.mark.parametrize("late", [True, False], ids=["after us", "before us"])
@pytest.mark.parametrize("setter", [OSPROFILER, BY_MIDDLEWARE, HOST])
def test_provider_made_before_a_fork_is_not_used(
    receiver: Receiver, eventlet: str, late: bool, setter: str
) -> None:
    """A worker's spans arrive, no matter who set the provider."""
    parts = (scripts.EXPORTED, CONF + setter) if late else (CONF + setter, scripts.EXPORTED)
    assert run(receiver, eventlet, *parts, SPANS, FORK) == 3


@pytest.mark.parametrize("setter", [OSPROFILER, BY_MIDDLEWARE, BY_MESSAGING])
def test_provider_of_another_tracing_is_not_used(receiver: Receiver, setter: str) -> None:
    """A provider of osprofiler, oslo.middleware or oslo.messaging is not used, even in its process."""
    assert run(receiver, scripts.EXPORTED, CONF + setter, SPANS, "spans()") == 3


@pytest.mark.parametrize("late", [True, False], ids=["after us", "before us"])
def test_provider_that_the_host_has_set_here_is_used(receiver: Receiver, late: bool) -> None:
    """A provider of the host's own, made in this process, has the spans: none come by our export."""
    parts = (scripts.EXPORTED, HOST) if late else (HOST, scripts.EXPORTED)
    assert run(receiver, *parts, SPANS, "spans()") == 0


def test_provider_that_instrument_was_given_is_used_in_children_too(receiver: Receiver) -> None:
    """`instrument(tracer_provider=...)` is the host's wish wherever it was made."""
    ran = scripts.run(
        scripts.RECORDED,
        """
        import os
        from opentelemetry.context import Context
        from otel_cinder.spans.runtime import runtime
        if not os.fork():
            runtime.start_span("x", Context()).end()
            print(len(spans), flush=True)
            os._exit(0)
        os.wait()
        """,
        env={"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint},
    )
    assert (ran.stdout, receiver.attempts) == ("1\n", 0)


def test_setters_are_put_back() -> None:
    """After uninstrument() the functions that set the global providers are those of before."""
    before = (trace.set_tracer_provider, metrics.set_meter_provider)
    otel_cinder.instrument()
    assert trace.set_tracer_provider is not before[0]
    assert metrics.set_meter_provider is not before[1]
    otel_cinder.uninstrument()
    assert (trace.set_tracer_provider, metrics.set_meter_provider) == before
