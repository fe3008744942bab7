"""The one place that lists every seam."""

from __future__ import annotations

import importlib
import inspect
import sys
import types
from collections.abc import Callable
from importlib import metadata
from importlib.util import find_spec
from typing import Any

import pytest
import wrapt
from opentelemetry import trace

import otel_cinder
from otel_cinder.instrumentor import SEAMS, CinderInstrumentor
from otel_cinder.patching.patch_set import Seam
from otel_cinder.settings import SEAMS as SETTABLE
from otel_cinder.settings import Settings
from otel_cinder.spans.runtime import runtime
from tests.unit.recording import Recorder

LIBRARIES = (
    "cinder.backup.manager",
    "cinder.image.image_utils",
    "cinder.message.api",
    "cinder.scheduler.filter_scheduler",
    "cinder.scheduler.manager",
    "cinder.volume.api",
    "cinder.volume.manager",
    "cinder.wsgi.wsgi",
    "concurrent.futures.thread",
    "eventlet.greenthread",
    "eventlet.tpool",
    "futurist._futures",
    "multiprocessing.pool",
    "oslo_concurrency.processutils",
    "oslo_context.context",
    "oslo_messaging._drivers.impl_fake",
    "oslo_messaging._drivers.impl_rabbit",
    "oslo_messaging.notify.dispatcher",
    "oslo_messaging.notify.listener",
    "oslo_messaging.rpc.dispatcher",
    "oslo_messaging.rpc.server",
    "oslo_messaging.server",
    "oslo_messaging.transport",
    "oslo_middleware.tracing",
    "oslo_privsep.priv_context",
    "oslo_service.service",
    "oslo_service.wsgi",
    "pymysql",
    "requests",
    "taskflow.engines.action_engine.engine",
    "taskflow.engines.action_engine.executor",
)

ABSENT = tuple(name for name in ("oslo_middleware.tracing",) if find_spec(name) is None)
"""Places that releases older than the newest lack."""

PRESENT = tuple(name for name in LIBRARIES if name not in ABSENT)

PLACES = 89 if find_spec("cinder.monkey_patch") else 87
"""So many places are patched where all of these are imported, and eventlet has not patched: in Cinder
29, and below, where oslo.middleware has no tracing and each thread pool a class of its own."""

EVERYTHING = Settings(clients=True)


def places() -> dict[str, Any]:
    """The object at each place that the seams name, as its owner has it."""
    originals: dict[str, Any] = {}
    for row in rows():
        module, _, path = row.target.partition(":")
        owner: Any = sys.modules[module]
        *parents, attribute = path.split(".")
        for parent in parents:
            owner = getattr(owner, parent)
        originals[row.target] = vars(owner).get(attribute)
    return originals


@pytest.fixture
def spans(instrumented: Callable[..., Recorder]) -> Recorder:
    """Instrumented, with the seams that are off by default."""
    return instrumented(clients=True)


@pytest.fixture(autouse=True)
def _libraries() -> None:
    from cinder import objects

    objects.register_all()  # what every service does first: the modules need one another's
    for name in PRESENT:
        importlib.import_module(name)


def rows() -> list[Seam]:
    """The places that the seams name in the libraries that are there."""
    status = CinderInstrumentor().status()
    return [row for row in status if row.target.partition(":")[0] not in ABSENT]


def test_every_seam_fits_the_installed_libraries(spans: Recorder) -> None:
    """With all libraries imported every place is `on`; nothing is skipped."""
    assert {row.state for row in rows()} == {"on"}
    assert {row.seam for row in rows()} == {*SEAMS, "runtime"}
    targets = [row.target for row in rows()]
    assert len(targets) == len(set(targets)) == PLACES


def test_uninstrument_restores_every_original_by_identity() -> None:
    """Each patched place is, after uninstrument(), the object that it was before."""
    otel_cinder.instrument(tracer_provider=Recorder().provider, settings=EVERYTHING)
    otel_cinder.uninstrument()
    before = places()
    assert len(before) == PLACES
    otel_cinder.instrument(tracer_provider=Recorder().provider, settings=EVERYTHING)
    during = places()
    otel_cinder.uninstrument()
    after = places()
    for target, original in before.items():
        assert during[target] is not original, target
        assert after[target] is original, target
    assert {row.state for row in CinderInstrumentor().status()} == {"off"}


def test_nothing_of_ours_is_left_behind() -> None:
    """After uninstrument() no place holds an object that was made by us or by wrapt for us."""
    otel_cinder.instrument(tracer_provider=Recorder().provider, settings=EVERYTHING)
    otel_cinder.uninstrument()
    for target, thing in places().items():
        assert not isinstance(thing, wrapt.ObjectProxy), target
        assert not getattr(thing, "__module__", "").startswith("otel_cinder"), target
        assert not is_ours(thing), target
    assert not any(type(f).__module__.startswith("otel_cinder") for f in sys.meta_path)


def is_ours(thing: Any) -> bool:
    """True if a function's code is otel-cinder's."""
    return "otel_cinder" in getattr(getattr(thing, "__code__", None), "co_filename", "")


def test_patched_functions_are_functions(spans: Recorder) -> None:
    """Each function that is patched is replaced by a function with the original's names."""
    before = {**places()}
    otel_cinder.uninstrument()
    for target, original in places().items():
        if type(original) is not types.FunctionType:
            continue
        replacement = before[target]
        assert type(replacement) is types.FunctionType, target
        # Cinder below 29 copies these from cinder.db.api: pickle has to find ours where it is.
        copied = target.startswith("cinder.db:")
        names = tuple(target.split(":")) if copied else pickled_as(original)
        assert pickled_as(replacement) == names, target
        # Of a decorated function this does not ask what it decorates; of ours it does.
        if target != CONTRIBS and not hasattr(original, "__wrapped__"):
            assert inspect.getfullargspec(replacement) == inspect.getfullargspec(original), target
        assert inspect.signature(replacement) == inspect.signature(original), target


CONTRIBS = "requests:sessions.Session.send"
"""Is replaced by opentelemetry-instrumentation-requests, not by us."""


def pickled_as(function: Any) -> tuple[str, str]:
    """By which names pickle would look for a function."""
    return function.__module__, function.__qualname__


def test_instrument_is_idempotent(spans: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    """A second instrument() changes and logs nothing."""
    before = places()
    otel_cinder.instrument()
    CinderInstrumentor().instrument()
    assert all(places()[target] is thing for target, thing in before.items())
    assert caplog.messages == []


def test_uninstrument_is_idempotent(caplog: pytest.LogCaptureFixture) -> None:
    """uninstrument() without instrument(), and twice, does nothing and says nothing."""
    otel_cinder.uninstrument()
    otel_cinder.instrument(tracer_provider=Recorder().provider)
    otel_cinder.uninstrument()
    otel_cinder.uninstrument()
    assert caplog.messages == []


def test_instrument_again_after_uninstrument() -> None:
    """Off and on again: spans go to the new provider."""
    from opentelemetry.context import Context

    otel_cinder.instrument(tracer_provider=Recorder().provider)
    otel_cinder.uninstrument()
    second = Recorder()
    otel_cinder.instrument(tracer_provider=second.provider)
    runtime.start_span("x", Context()).end()
    otel_cinder.uninstrument()
    assert second.names == ["x"]


@pytest.mark.parametrize("seam", sorted(SEAMS))
def test_disabled_seam_is_left_alone(instrumented: Callable[..., Recorder], seam: str) -> None:
    """A seam that the settings disable patches nothing; the others are on."""
    instrumented(disabled_seams=frozenset({seam}), clients=True)
    assert {row.seam for row in CinderInstrumentor().status()} == {*SEAMS, "runtime"} - {seam}


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without settings the OTEL_CINDER_* variables are read."""
    monkeypatch.setenv("OTEL_CINDER_PERIODIC", "true")
    otel_cinder.instrument(tracer_provider=Recorder().provider)
    assert runtime.settings == Settings(periodic=True)
    otel_cinder.uninstrument()


def test_every_seam_can_be_named_in_the_settings() -> None:
    """The settings know exactly the seams that there are."""
    assert set(SETTABLE) == set(SEAMS)


@pytest.mark.complains
def test_broken_seam_leaves_the_others(
    instrumented: Callable[..., Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A seam whose patching raises is complained of; the others are on."""

    def broken(_patches: Any) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr("otel_cinder.seams.flows.patch", broken)
    instrumented()
    rows = CinderInstrumentor().status()
    assert {row.seam for row in rows} == {*SEAMS, "runtime"} - {"flows", "clients"}


def test_entry_point_is_found() -> None:
    """importlib.metadata finds the instrumentor under its name in opentelemetry_instrumentor."""
    (entry_point,) = metadata.entry_points(group="opentelemetry_instrumentor", name="otel_cinder")
    assert entry_point.load() is CinderInstrumentor


def test_dependencies_are_met() -> None:
    """The instrumentor's declared dependencies are installed."""
    assert list(CinderInstrumentor().instrumentation_dependencies()) == ["taskflow >= 5.0"]
    assert CinderInstrumentor()._check_dependency_conflicts() is None


def test_status_is_empty_or_off_when_off() -> None:
    """Nothing is `on` while otel-cinder is off."""
    assert {row.state for row in CinderInstrumentor().status()} <= {"off"}


def test_version_is_the_distributions() -> None:
    """`__version__` is what pip knows."""
    assert otel_cinder.__version__ == metadata.version("otel-cinder")


def test_global_provider_is_left_alone(spans: Recorder) -> None:
    """instrument() sets no global provider."""
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
