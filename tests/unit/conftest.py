"""Fixtures of the unit tests: recorded spans, goldens, and a check for what a test leaves behind."""

from __future__ import annotations

# Before any provider of the SDK's: its fork handler takes this module's lock in the child, which is
# held there until the module's own has run, and they run in the order in which they were registered.
import concurrent.futures.thread  # noqa: F401
import os
import pathlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace

import otel_cinder
from otel_cinder.export.failure_log import failure_log
from otel_cinder.instrumentor import CinderInstrumentor
from otel_cinder.patching import internal_errors
from otel_cinder.settings import Settings
from tests.unit.drawing import draw
from tests.unit.recording import Clock, Recorder

GOLDENS = pathlib.Path(__file__).parent / "golden"
_UPDATE = "--update-goldens"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _prompt_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    """Idle workers of futurist's pools check every second whether to stop."""
    monkeypatch.setattr("futurist._thread.ThreadWorker.MAX_IDLE_FOR", 0.02)


@pytest.fixture(autouse=True)
def _nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a span current, patches in place, or an unexpected complaint."""
    internal_errors._logged.clear()
    before = (os._exit, threading.Thread.start)
    yield
    left = dict(otel_context.get_current())
    otel_context.attach(otel_context.Context())  # the next test is innocent
    was_on = CinderInstrumentor().is_instrumented_by_opentelemetry
    otel_cinder.uninstrument()
    failure_log.stop()
    complaints = set(internal_errors._logged)
    assert not left, f"the context was left with {left}"
    assert not trace.get_current_span().get_span_context().is_valid
    assert not was_on, "the test left otel-cinder instrumented"
    assert (os._exit, threading.Thread.start) == before
    assert _flows_left() == ({}, {})
    if request.node.get_closest_marker("complains") is None:
        assert not complaints, f"otel-cinder complained of itself: {complaints}"


def _flows_left() -> tuple[dict[Any, Any], dict[Any, Any]]:
    import sys

    package = "otel_cinder.seams.flows"
    if package not in sys.modules:
        return {}, {}
    engines = sys.modules[f"{package}.listener"]._engines
    pending = sys.modules[f"{package}.atoms"]._pending
    left = dict(engines), dict(pending)
    engines.clear()
    pending.clear()
    return left


@pytest.fixture
def instrumented() -> Iterator[Callable[..., Recorder]]:
    """Instruments, optionally with a sampler and settings, and returns the recorder of the spans."""

    def instrument(sampler: Any = None, **settings: Any) -> Recorder:
        recorder = Recorder(sampler)
        otel_cinder.instrument(tracer_provider=recorder.provider, settings=Settings(**settings))
        return recorder

    yield instrument
    otel_cinder.uninstrument()


@pytest.fixture
def spans(instrumented: Callable[..., Recorder]) -> Recorder:
    """Instrumented; every span that ends."""
    return instrumented()


@pytest.fixture
def golden(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Compares a drawing of the spans with ``golden/<name>.txt``. The clock ticks by the look."""
    clock = Clock()
    monkeypatch.setattr("opentelemetry.sdk.trace.time_ns", clock)
    monkeypatch.setattr("otel_cinder.spans.clock.monotonic_ns", clock)
    monkeypatch.setattr("otel_cinder.spans.clock.time_ns", clock.glance)

    def compare(name: str, recorder: Recorder, *, parallel: bool = False) -> None:
        drawn = draw(recorder, parallel=parallel)
        path = GOLDENS / f"{name}.txt"
        if request.config.getoption(_UPDATE, default=False):
            path.write_text(drawn)
        assert path.exists(), f"no {path.name} yet: run pytest tests/unit {_UPDATE}"
        assert drawn == path.read_text()

    return compare


def pytest_configure(config: pytest.Config) -> None:
    """Name the marker of tests that break otel-cinder's own code on purpose."""
    config.addinivalue_line("markers", "complains: otel-cinder is expected to complain of itself")
