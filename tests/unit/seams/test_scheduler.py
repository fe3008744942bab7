"""The scheduler's decisions, with its own filters, weighers and filter scheduler."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

import otel_cinder
from otel_cinder import conventions
from otel_cinder.instrumentor import CinderInstrumentor
from otel_cinder.seams import scheduler as seam
from otel_cinder.spans import local_root
from otel_cinder.spans.local_root import LocalRoot
from tests.unit.recording import Recorder

pytestmark = pytest.mark.filterwarnings("ignore")  # Cinder's, and its libraries'

SPEC = {"volume_properties": {"size": 10}, "volume_id": "v", "volume_type": {}}


@pytest.fixture(scope="module")
def cinder() -> Any:
    """The scheduler's modules."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import cinder.objects

        cinder.objects.register_all()
        import cinder.context
        import cinder.exception
        import cinder.scheduler.base_filter
        import cinder.scheduler.filter_scheduler
        import cinder.scheduler.filters.capacity_filter
        import cinder.scheduler.host_manager
        import cinder.scheduler.weights
    return cinder


@pytest.fixture
def handler(cinder: Any) -> Any:
    """The handler of filters, as the host manager has it."""
    return cinder.scheduler.filters.BackendFilterHandler("cinder.scheduler.filters")


def backend(cinder: Any, name: str, free_gb: int = 100) -> Any:
    """A pool as the scheduler sees it."""
    state = cinder.scheduler.host_manager.BackendState(name, None)
    state.total_capacity_gb = 100
    state.free_capacity_gb = free_gb
    return state


@pytest.fixture
def backends(cinder: Any) -> list[Any]:
    """Two pools with space, one without."""
    free = {"a@lvm#p": 50, "b@lvm#p": 5, "c@lvm#p": 100}
    return [backend(cinder, name, free_gb) for name, free_gb in free.items()]


@pytest.fixture
def base(cinder: Any) -> Any:
    """The class that filters derive from."""
    return cinder.scheduler.base_filter.BaseFilter


def verdicts(recorder: Recorder, name: str = "task") -> list[tuple[Any, ...]]:
    """Filter, backends before and after, and the rejected."""
    return [
        (
            attributes["cinder.scheduler.filter"],
            attributes["cinder.scheduler.hosts_before"],
            attributes["cinder.scheduler.hosts_after"],
            attributes.get("cinder.scheduler.hosts_rejected"),
        )
        for event in recorder[name].events
        if (attributes := event.attributes or {}) and event.name == conventions.FILTER_EVENT
    ]


def names(states: Any) -> list[str]:
    return [state.backend_id for state in states]


# Filters


def test_each_filter_has_its_verdict(
    cinder: Any, handler: Any, backends: list[Any], base: Any, spans: Recorder
) -> None:
    """Cinder's own filter and one behind it: what came, what passed, and who did not."""

    class NotCFilter(base):  # type: ignore[misc]
        def _filter_one(self, obj: Any, _properties: Any) -> bool:
            return not obj.host.startswith("c")

    capacity = cinder.scheduler.filters.capacity_filter.CapacityFilter
    with spans.tracer.start_as_current_span("task"):
        passed = handler.get_filtered_objects([capacity, NotCFilter], backends, {"size": 10})
    assert names(passed) == ["a@lvm#p"]
    assert verdicts(spans) == [
        ("CapacityFilter", 3, 2, ("b@lvm#p",)),
        ("NotCFilter", 2, 1, ("c@lvm#p",)),
    ]


def test_arguments_by_name(handler: Any, backends: list[Any], base: Any, spans: Recorder) -> None:
    """The handler may be called by keyword, and with an iterator of backends."""
    with spans.tracer.start_as_current_span("task"):
        passed = handler.get_filtered_objects(
            filter_classes=[base], objs=iter(backends), filter_properties={}, index=0
        )
    assert passed == backends
    assert verdicts(spans) == [("BaseFilter", 3, 3, None)]


def test_filter_of_all_at_once(
    handler: Any, backends: list[Any], base: Any, spans: Recorder
) -> None:
    """A filter that decides over all backends together, and changes the list it is given."""

    class FirstFilter(base):  # type: ignore[misc]
        def filter_all(self, filter_obj_list: list[Any], filter_properties: Any) -> list[Any]:
            del filter_obj_list[1:]
            return filter_obj_list

    with spans.tracer.start_as_current_span("task"):
        passed = handler.get_filtered_objects([FirstFilter, base], backends, {})
    assert names(passed) == ["a@lvm#p"]
    assert verdicts(spans) == [
        ("FirstFilter", 3, 1, ("b@lvm#p", "c@lvm#p")),
        ("BaseFilter", 1, 1, None),
    ]


def test_filter_that_returns_none(
    handler: Any, backends: list[Any], base: Any, spans: Recorder
) -> None:
    """None means that nothing passed, and that the filters behind it do not run."""

    class NoneFilter(base):  # type: ignore[misc]
        def filter_all(self, filter_obj_list: list[Any], filter_properties: Any) -> None:
            return None

    with spans.tracer.start_as_current_span("task"):
        assert handler.get_filtered_objects([NoneFilter, base], backends, {}) is None
    assert verdicts(spans) == [("NoneFilter", 3, 0, ("a@lvm#p", "b@lvm#p", "c@lvm#p"))]


def test_filter_that_does_not_run_for_this_index(
    handler: Any, backends: list[Any], base: Any, spans: Recorder
) -> None:
    """A filter that runs once a request has no verdict on the request's second volume."""

    class OnceFilter(base):  # type: ignore[misc]
        run_filter_once_per_request = True

    with spans.tracer.start_as_current_span("task"):
        handler.get_filtered_objects([OnceFilter, base], backends, {}, 1)
    assert verdicts(spans) == [("BaseFilter", 3, 3, None)]


def test_filters_run_once_and_lazily(
    handler: Any, backends: list[Any], base: Any, spans: Recorder
) -> None:
    """Each filter is made once, sees each backend once, and as itself; its class stays as it is."""
    seen: list[Any] = []

    class CountingFilter(base):  # type: ignore[misc]
        def __init__(self) -> None:
            seen.append(type(self))

        def _filter_one(self, obj: Any, _properties: Any) -> bool:
            assert type(self) is CountingFilter
            seen.append(obj.host)
            return True

    before = dict(vars(CountingFilter))
    with spans.tracer.start_as_current_span("task"):
        handler.get_filtered_objects([CountingFilter], backends, {})
    assert seen == [CountingFilter, "a@lvm#p", "b@lvm#p", "c@lvm#p"]
    assert dict(vars(CountingFilter)) == before


def test_failing_filter_passes_its_exception(
    handler: Any, backends: list[Any], base: Any, spans: Recorder
) -> None:
    """A filter's own exception is raised; filters before it have their verdicts."""
    error = LookupError("no such extra spec")

    class FailingFilter(base):  # type: ignore[misc]
        def _filter_one(self, obj: Any, _properties: Any) -> bool:
            raise error

    with pytest.raises(LookupError) as raised, spans.tracer.start_as_current_span("task"):
        handler.get_filtered_objects([base, FailingFilter], backends, {})
    assert raised.value is error
    assert verdicts(spans) == [("BaseFilter", 3, 3, None)]


def test_only_some_rejected_backends_are_named(
    cinder: Any, handler: Any, base: Any, spans: Recorder
) -> None:
    """Of hundreds that do not fit, sixteen are named, in the order of their names."""

    class NobodyFilter(base):  # type: ignore[misc]
        def _filter_one(self, obj: Any, _properties: Any) -> bool:
            return False

    many = [backend(cinder, f"node-{number:03}@lvm#p") for number in reversed(range(200))]
    with spans.tracer.start_as_current_span("task"):
        assert handler.get_filtered_objects([NobodyFilter], many, {}) == []
    ((_, before, after, rejected),) = verdicts(spans)
    assert (before, after) == (200, 0)
    assert rejected == tuple(f"node-{number:03}@lvm#p" for number in range(16))


def test_unsampled_filtering_is_untouched(
    handler: Any, backends: list[Any], base: Any, instrumented: Callable[..., Recorder]
) -> None:
    """Without a recording span the handler gets the very classes, and nothing is recorded."""
    recorder = instrumented(ALWAYS_OFF)
    given: list[Any] = []

    class Meta(type):
        def __call__(cls, *args: Any) -> Any:
            given.append(sys._getframe(1).f_code.co_name)
            return super().__call__(*args)

    class WatchingFilter(base, metaclass=Meta):  # type: ignore[misc]
        pass

    with recorder.tracer.start_as_current_span("task"):
        assert handler.get_filtered_objects([WatchingFilter], backends, {}) == backends
    assert given == ["get_filtered_objects"]
    assert len(recorder) == 0


# The choice


@pytest.fixture
def scheduler(cinder: Any, backends: list[Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """A filter scheduler whose host manager knows three backends."""
    module = cinder.scheduler
    filter_scheduler = object.__new__(module.filter_scheduler.FilterScheduler)
    filter_scheduler.max_attempts = 3
    filter_scheduler.options = SimpleNamespace(get_configuration=dict)
    manager = object.__new__(module.host_manager.HostManager)
    manager.filter_handler = module.filters.BackendFilterHandler("cinder.scheduler.filters")
    manager.enabled_filters = [module.filters.capacity_filter.CapacityFilter]
    manager.weight_handler = module.weights.OrderedHostWeightHandler("cinder.scheduler.weights")

    class FreeWeigher(module.weights.BaseHostWeigher):  # type: ignore[misc,name-defined]
        def _weigh_object(self, state: Any, _properties: Any) -> float:
            return float(state.free_capacity_gb)

    monkeypatch.setattr(manager, "_choose_backend_weighers", lambda _names: [FreeWeigher])
    monkeypatch.setattr(manager, "get_all_backend_states", lambda _context: iter(backends))
    filter_scheduler.host_manager = manager
    return filter_scheduler


def test_choice(cinder: Any, scheduler: Any, spans: Recorder) -> None:
    """The task's span has the chosen backend and its weight; the message's span has the backend."""
    context = cinder.context.RequestContext("user", "project", is_admin=True)
    message = spans.tracer.start_span("process")
    token = otel_context.attach(
        trace.set_span_in_context(
            message, local_root.enter(otel_context.get_current(), LocalRoot(message, is_http=False))
        )
    )
    with spans.tracer.start_as_current_span("task"):
        chosen = scheduler._schedule(context, dict(SPEC), {})
    otel_context.detach(token)
    message.end()
    assert chosen.obj.host == "c@lvm#p"
    assert verdicts(spans) == [("CapacityFilter", 3, 2, ("b@lvm#p",))]
    choice = spans["task"].events[-1]
    assert choice.name == conventions.CHOICE_EVENT
    assert choice.attributes == {
        "cinder.volume.host": "c@lvm#p",
        "cinder.scheduler.weight": chosen.weight,
    }
    assert spans["process"].attributes == {"cinder.volume.host": "c@lvm#p"}
    assert chosen.obj.free_capacity_gb == 90, "consumed once"


def test_choice_for_a_group(cinder: Any, scheduler: Any, spans: Recorder) -> None:
    """A group's backend is chosen by a method of its own."""
    weighed = [cinder.scheduler.weights.WeighedHost(backend(cinder, "a@lvm"), 2)]
    with spans.tracer.start_as_current_span("process"):
        assert scheduler._choose_top_backend_generic_group(weighed) is weighed[0]
    (event,) = spans["process"].events
    assert event.attributes == {"cinder.volume.host": "a@lvm", "cinder.scheduler.weight": 2.0}


@pytest.mark.parametrize("weight", [float("inf"), float("-inf"), float("nan")])
def test_weight_that_is_no_number(
    cinder: Any, scheduler: Any, spans: Recorder, weight: float
) -> None:
    """A weight that JSON can't hold is left out; the chosen backend is recorded."""
    weighed = [cinder.scheduler.weights.WeighedHost(backend(cinder, "a@lvm"), weight)]
    with spans.tracer.start_as_current_span("process"):
        assert scheduler._choose_top_backend_generic_group(weighed) is weighed[0]
    (event,) = spans["process"].events
    assert event.attributes == {"cinder.volume.host": "a@lvm"}


def test_backend_that_must_pass(cinder: Any, scheduler: Any, spans: Recorder) -> None:
    """A migration's only backend is filtered like others, and the failed filter is recorded."""
    context = cinder.context.RequestContext("user", "project", is_admin=True)
    with (
        pytest.raises(cinder.exception.NoValidBackend),
        spans.tracer.start_as_current_span("process"),
    ):
        scheduler.backend_passes_filters(context, "b@lvm#p", dict(SPEC), {})
    assert verdicts(spans, "process") == [("CapacityFilter", 3, 2, ("b@lvm#p",))]


def test_cluster_is_the_backends_name(
    cinder: Any, handler: Any, base: Any, spans: Recorder
) -> None:
    """A backend in a cluster goes by the cluster's name, as in Cinder's own log."""

    class NobodyFilter(base):  # type: ignore[misc]
        def _filter_one(self, obj: Any, _properties: Any) -> bool:
            return False

    state = cinder.scheduler.host_manager.BackendState("a@lvm#p", "cluster@lvm#p")
    with spans.tracer.start_as_current_span("task"):
        handler.get_filtered_objects([NobodyFilter], [state], {})
    assert verdicts(spans) == [("NobodyFilter", 1, 0, ("cluster@lvm#p",))]


def test_failing_choice_passes_its_exception(scheduler: Any, spans: Recorder) -> None:
    """Choosing from no backends raises the same exception as before."""
    with pytest.raises(IndexError), spans.tracer.start_as_current_span("task"):
        scheduler._choose_top_backend([], SPEC)


# Guests


@pytest.mark.complains
def test_our_own_errors_do_not_reach_cinder(
    cinder: Any,
    scheduler: Any,
    handler: Any,
    backends: list[Any],
    base: Any,
    spans: Recorder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If recording fails, backends are still filtered and chosen."""

    def broken(*_args: Any, **_kwargs: Any) -> Any:
        raise RuntimeError("ours")

    weighed = [cinder.scheduler.weights.WeighedHost(backends[0], "heavy")]
    with spans.tracer.start_as_current_span("task"):
        assert scheduler._choose_top_backend_generic_group(weighed) is weighed[0]
        monkeypatch.setattr(trace.get_current_span(), "add_event", broken)
        assert handler.get_filtered_objects([base, base], backends, {}) == backends
        monkeypatch.setattr(seam, "_Verdicts", broken)
        assert handler.get_filtered_objects([base], backends, {}) == backends
    assert spans["task"].events == ()


def test_uninstrument_leaves_the_originals(cinder: Any) -> None:
    """Each place holds the same object as before."""
    owners = {
        "get_filtered_objects": cinder.scheduler.base_filter.BaseFilterHandler,
        "_choose_top_backend": cinder.scheduler.filter_scheduler.FilterScheduler,
        "_choose_top_backend_generic_group": cinder.scheduler.filter_scheduler.FilterScheduler,
    }
    before = {name: vars(owner)[name] for name, owner in owners.items()}
    otel_cinder.instrument(tracer_provider=Recorder().provider)
    rows = [row for row in CinderInstrumentor().status() if row.seam == seam.SEAM]
    assert [row.state for row in rows] == ["on"] * 3
    assert all(vars(owner)[name] is not before[name] for name, owner in owners.items())
    otel_cinder.uninstrument()
    assert all(vars(owner)[name] is before[name] for name, owner in owners.items())
