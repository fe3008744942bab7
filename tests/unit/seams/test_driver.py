"""Spans of the managers' calls on their drivers, with the demo's driver and real managers."""

from __future__ import annotations

import abc
import concurrent.futures
import contextlib
import inspect
import tempfile
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from types import FunctionType, SimpleNamespace
from typing import Any
from unittest import mock

import osprofiler.profiler
import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import StatusCode
from oslo_config import cfg

import otel_cinder
from otel_cinder.instrumentor import CinderInstrumentor
from otel_cinder.patching import internal_errors, patch_set
from tests.unit import scripts
from tests.unit.recording import Recorder, exception_of, place_of

with warnings.catch_warnings():  # Cinder's policies say on import what is deprecated
    warnings.simplefilter("ignore")
    from cinder import objects

    objects.register_all()
    from cinder.backup import driver as backup_driver
    from cinder.volume import configuration, driver
    from cinder.volume import manager as volume_manager

    from otel_cinder.cli.demo.driver import SparseFileDriver

OPTIONS = volume_manager.volume_backend_opts
VOLUME = SimpleNamespace(name="volume-1", size=1)
HERE = "otel_cinder.cli.demo.driver.SparseFileDriver"
BASE = "cinder.volume.driver"


@pytest.fixture(autouse=True)
def _managers_without_a_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """A volume manager that is made of its driver alone; the real one is in the last test."""

    def init(manager: Any, driver: Any) -> None:
        manager.driver = driver

    monkeypatch.setattr(volume_manager.VolumeManager, "__init__", init)


@pytest.fixture
def make(tmp_path: Any) -> Iterator[Callable[..., Any]]:
    """Makes a driver, of the demo's class if no other is named, and its manager."""
    cfg.CONF.set_override("state_path", str(tmp_path))

    def made(cls: Any = SparseFileDriver, backend: str = "one", host: str = "node@one") -> Any:
        settings = configuration.Configuration(OPTIONS, config_group=backend)
        driver = cls(configuration=settings, host=host)
        volume_manager.VolumeManager(driver)
        driver.do_setup(None)
        return driver

    yield made
    cfg.CONF.clear_override("state_path")


def rows() -> list[str]:
    """The drivers' places in the status, with their states."""
    rows = CinderInstrumentor().status()
    return [f"{row.target} {row.state}" for row in rows if ".*" in row.target]


class Odd(SparseFileDriver):
    """Has the other kinds of attributes that a driver may have."""

    @staticmethod
    def static() -> str:
        return "static"

    @classmethod
    def of_class(cls) -> str:
        return cls.__name__

    @property
    def field(self) -> str:
        return "field"

    def lines(self) -> Iterator[str]:
        yield "line"

    @contextlib.contextmanager
    def locked(self) -> Iterator[str]:
        yield "locked"

    def _private(self) -> str:
        return "private"

    def set_initialized(self) -> None:
        super().set_initialized()

    def create_volume(self, volume: Any) -> None:
        super().create_volume(volume)
        self.extend_volume(volume, 2)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            pool.submit(self.extend_volume, volume, 3).result(10)

    def retype(self, context: Any, volume: Any, new_type: Any, diff: Any, host: Any) -> Any:
        return new_type.extend_volume(volume, 4)

    def delete_volume(self, volume: Any) -> None:
        raise ValueError("no such LUN, password=hunter2")

    def revert_to_snapshot(self, context: Any, volume: Any, snapshot: Any) -> None:
        raise NotImplementedError


def test_call_is_a_span(spans: Recorder, make: Callable[..., Any]) -> None:
    """A call on the driver is a span below the current one, with its backend and function."""
    driver = make()
    with spans.tracer.start_as_current_span("request"):
        driver.create_volume(VOLUME)
    span = spans["SparseFileDriver.create_volume"]
    assert dict(span.attributes) == {
        "cinder.backend": "one",
        "code.function.name": f"{HERE}.create_volume",
        **place_of(SparseFileDriver.create_volume),
    }
    assert spans.children(spans["request"]) == ["SparseFileDriver.create_volume"]
    assert span.status.status_code is StatusCode.UNSET
    assert (driver._folder / "volume-1").stat().st_size == 1 << 30


def test_result_and_arguments_pass(spans: Recorder, make: Callable[..., Any]) -> None:
    """The driver gets what it was given, by position or keyword, and its result comes back."""
    driver = make()
    with spans.tracer.start_as_current_span("request"):
        answer = driver.initialize_connection(VOLUME, connector={"host": "h"})
        assert answer["driver_volume_type"] == "local"
        assert (
            SparseFileDriver.get_volume_stats(driver, refresh=True)["vendor_name"] == "otel-cinder"
        )
    assert spans.children(spans["request"]) == [
        "SparseFileDriver.initialize_connection",
        "SparseFileDriver.get_volume_stats",
    ]


def test_inherited_method_names_the_class_that_defines_it(
    spans: Recorder, make: Callable[..., Any]
) -> None:
    """The span bears the driver's name, the function that of the base class it was written in."""
    driver = make()
    with spans.tracer.start_as_current_span("request"):
        driver.clone_image(None, VOLUME, None, None, None)
    span = spans["SparseFileDriver.clone_image"]
    assert span.attributes["code.function.name"] == f"{BASE}.VolumeDriver.clone_image"


def test_nothing_is_traced_without_a_span(spans: Recorder, make: Callable[..., Any]) -> None:
    """A periodic task's calls start no traces."""
    make().get_volume_stats(refresh=True)
    assert len(spans) == 0


def test_nothing_is_traced_in_an_unsampled_request(
    instrumented: Callable[..., Recorder], make: Callable[..., Any]
) -> None:
    """A request that is not sampled has no spans of calls."""
    spans = instrumented(ALWAYS_OFF)
    driver = make()
    with spans.tracer.start_as_current_span("request"):
        driver.create_volume(VOLUME)
    assert len(spans) == 0


def test_driver_calling_itself_is_one_span(spans: Recorder, make: Callable[..., Any]) -> None:
    """super(), self and a pool's thread within a call are parts of it."""
    driver = make(Odd)
    with spans.tracer.start_as_current_span("request"):
        driver.create_volume(VOLUME)
        driver.extend_volume(VOLUME, 2)
    assert spans.children(spans["request"]) == ["Odd.create_volume", "Odd.extend_volume"]
    assert len(spans) == 3


def test_driver_calling_another_is_two_spans(spans: Recorder, make: Callable[..., Any]) -> None:
    """A driver's call on another backend's driver is a call of that backend."""
    one, two = make(Odd), make(Odd, "two", "node@two")
    with spans.tracer.start_as_current_span("request"):
        one.retype(None, VOLUME, two, None, None)
    inner = spans["Odd.extend_volume"]
    assert inner.parent.span_id == spans["Odd.retype"].context.span_id
    assert inner.attributes["cinder.backend"] == "two"


def test_class_of_two_backends_is_patched_once(spans: Recorder, make: Callable[..., Any]) -> None:
    """Two backends may have drivers of one class: each says its own name, in one span a call."""
    drivers = [make(), make(backend="two", host="node@two")]
    assert rows() == [
        f"{cls.__module__}:{cls.__qualname__}.* ({len(patched(cls))}) on"
        for cls in SparseFileDriver.__mro__
        if patched(cls)
    ]
    assert {SparseFileDriver, driver.BaseVD} <= {c for c in SparseFileDriver.__mro__ if patched(c)}
    with spans.tracer.start_as_current_span("request"):
        for made in drivers:
            made.create_volume(VOLUME)
    calls = spans.all("SparseFileDriver.create_volume")
    assert [span.attributes["cinder.backend"] for span in calls] == ["one", "two"]


def patched(cls: type) -> list[str]:
    """The wrapped names on a class."""
    return [name for name, entry in vars(cls).items() if is_ours(entry)]


def is_ours(entry: Any) -> bool:
    """True if a function replaces another."""
    return type(entry) is FunctionType and entry.__code__.co_filename == patch_set.__file__


def test_class_and_its_base_are_both_patched(spans: Recorder, make: Callable[..., Any]) -> None:
    """One backend's class may be another's base: a call is one span all the same."""
    make()
    driver = make(Odd)
    with spans.tracer.start_as_current_span("request"):
        driver.extend_volume(VOLUME, 2)
        driver.clone_image(None, VOLUME, None, None, None)
    assert spans.children(spans["request"]) == ["Odd.extend_volume", "Odd.clone_image"]
    assert len(spans) == 3
    functions = [s.attributes["code.function.name"] for s in spans if s.name != "request"]
    assert functions == [f"{HERE}.extend_volume", f"{BASE}.VolumeDriver.clone_image"]


def test_accessors_have_no_spans(spans: Recorder, make: Callable[..., Any]) -> None:
    """Accessors, private and class methods, and generators make no spans."""
    driver = make(Odd)
    with spans.tracer.start_as_current_span("request"):
        driver.set_initialized()
        assert driver.initialized
        assert driver.get_version() == "1.0.0"
        assert (driver.static(), driver.of_class(), driver.field) == ("static", "Odd", "field")
        assert (list(driver.lines()), driver._private()) == (["line"], "private")
        with driver.locked() as locked:
            assert locked == "locked"
    assert spans.names == ["request"]


def test_failure_is_recorded(spans: Recorder, make: Callable[..., Any]) -> None:
    """A driver's exception is on its span, masked, and reaches the manager unchanged."""
    driver = make(Odd)
    with (
        spans.tracer.start_as_current_span("request", record_exception=False),
        contextlib.suppress(ValueError),
    ):
        driver.delete_volume(VOLUME)
    span = spans["Odd.delete_volume"]
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == "ValueError"
    assert exception_of(span)["exception.message"] == "no such LUN, password=***"


def test_not_implemented_is_no_failure(spans: Recorder, make: Callable[..., Any]) -> None:
    """NotImplementedError is no failure: it makes Cinder use another way."""
    driver = make(Odd)
    with spans.tracer.start_as_current_span("request"), contextlib.suppress(NotImplementedError):
        driver.revert_to_snapshot(None, VOLUME, None)
    span = spans["Odd.revert_to_snapshot"]
    assert span.status.status_code is StatusCode.UNSET
    assert (span.events, "error.type" in span.attributes) == ((), False)


def test_backend_without_a_host_of_its_own(spans: Recorder, make: Callable[..., Any]) -> None:
    """If the host names no backend, the section of the configuration does."""
    one, none = make(host="node"), make(backend="backend_defaults", host="node")
    with spans.tracer.start_as_current_span("request"):
        one.create_volume(VOLUME)
        none.create_volume(VOLUME)
    first, second = spans.all("SparseFileDriver.create_volume")
    assert first.attributes["cinder.backend"] == "one"
    assert "cinder.backend" not in second.attributes


def test_driver_that_delegates_is_left_alone(spans: Recorder, make: Callable[..., Any]) -> None:
    """Methods that come from __getattr__ are called as ever, without spans."""
    inner = make()
    otel_cinder.uninstrument()
    otel_cinder.instrument(tracer_provider=spans.provider)

    class Proxy(driver.ProxyVD):
        def __getattr__(self, name: str) -> Any:
            return getattr(inner, name)

    proxy = Proxy()
    volume_manager.VolumeManager(proxy)
    with spans.tracer.start_as_current_span("request"):
        proxy.create_volume(VOLUME)
    assert spans.names == ["request"]


def test_osprofilers_functions_are_wrapped(make: Callable[..., Any]) -> None:
    """Where [profiler] is on, functions on the driver hide its class's: one span a call as well."""
    recorder = Recorder()

    class Profiled(Odd):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            osprofiler.profiler.trace_cls("driver")(self)  # as the volume manager does

    otel_cinder.instrument(tracer_provider=recorder.provider)
    drivers = [make(Profiled), make(Profiled, "two", "node@two")]
    held = [driver.extend_volume for driver in drivers]
    with recorder.tracer.start_as_current_span("request"):
        for driver in drivers:
            driver.create_volume(VOLUME)
            driver.set_initialized()
    calls = recorder.all("Profiled.create_volume")
    assert [span.attributes["cinder.backend"] for span in calls] == ["one", "two"]
    assert {s.attributes["code.function.name"].split(".")[-2] for s in calls} == {"Odd"}
    # What a driver runs in a thread has no context, and what it calls on itself is its own part.
    assert recorder.names == ["request", *["Profiled.create_volume"] * 2]
    otel_cinder.uninstrument()
    for driver, wrapped in zip(drivers, held, strict=True):
        assert is_ours(wrapped)
        assert vars(driver)["extend_volume"] is wrapped.__wrapped__
    assert {row.rpartition(" ")[2] for row in rows()} == {"off"}


def test_uninstrument_restores_the_class(make: Callable[..., Any]) -> None:
    """After uninstrument() a driver's class holds what it held, by identity, and no more."""
    before = [dict(vars(cls)) for cls in Odd.__mro__]
    otel_cinder.instrument(tracer_provider=Recorder().provider)
    make()
    make(Odd)
    assert patched(Odd)
    assert patched(driver.BaseVD)
    otel_cinder.uninstrument()
    after = [dict(vars(cls)) for cls in Odd.__mro__]
    for was, now in zip(before, after, strict=True):
        assert list(was) == list(now)
        assert all(now[name] is thing for name, thing in was.items())
    assert {row.rpartition(" ")[2] for row in rows()} == {"off"}
    assert len(rows()) == len(set(rows())) > 2


# Python finds what it would have found


class Plain(SparseFileDriver):
    """Inherits all of its methods."""


class Replicated(SparseFileDriver):
    """A mixin that overrides one."""

    def ensure_export(self, context: Any, volume: Any) -> Any:
        return ["Replicated", super().ensure_export(context, volume)]


class Both(Plain, Replicated):
    """Finds the mixin's method, behind a class that has inherited it."""


def test_patched_driver_hides_no_method_of_a_sibling(
    spans: Recorder, make: Callable[..., Any]
) -> None:
    """One backend's class is another's base: the other still calls what its mixin overrides."""
    before = set(vars(Plain))
    make(Plain)
    assert set(vars(Plain)) == before
    driver = make(Both)
    with spans.tracer.start_as_current_span("request"):
        assert driver.ensure_export(None, VOLUME) == ["Replicated", None]
    assert spans.children(spans["request"]) == ["Both.ensure_export"]
    assert len(spans) == 2
    function = spans["Both.ensure_export"].attributes["code.function.name"]
    assert function == f"{__name__}.Replicated.ensure_export"


def test_later_patch_of_a_base_class_has_effect(
    spans: Recorder, make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A method that a hot fix or a test puts on a base class reaches the driver, and can be removed."""
    made = make()
    with mock.patch.object(driver.BaseVD, "get_backup_device", return_value="fixed") as fixed:
        assert made.get_backup_device(None, None) == "fixed"
    assert fixed.call_count == 1
    monkeypatch.setattr(driver.BaseVD, "get_volume_stats", lambda _self, refresh=False: "fixed")
    with spans.tracer.start_as_current_span("request"):
        assert made.get_volume_stats() == "fixed"
        made.clone_image(None, VOLUME, None, None, None)
    assert spans.children(spans["request"]) == ["SparseFileDriver.clone_image"]
    monkeypatch.undo()  # in the order in which they were put there


class Connector:
    """A mixin from elsewhere, which others use, too."""

    def connect(self, volume: Any) -> str:
        return f"connected {volume.name}"


class Connecting(Connector, SparseFileDriver):
    """A driver that uses it."""


def test_base_class_of_others_is_left_alone_for_them(
    spans: Recorder, make: Callable[..., Any]
) -> None:
    """A mixin's methods make spans on the driver, and none on an object that is no driver."""
    driver = make(Connecting)
    with spans.tracer.start_as_current_span("request"):
        assert Connector().connect(VOLUME) == "connected volume-1"
        assert driver.connect(VOLUME) == "connected volume-1"
    assert spans.names == ["request", "Connecting.connect"]


def test_patched_method_keeps_its_metadata(make: Callable[..., Any]) -> None:
    """Signature, source, abstractness and names of a driver's methods are the original's."""
    original = vars(SparseFileDriver)["extend_volume"]
    otel_cinder.instrument(tracer_provider=Recorder().provider)
    make()
    replacement = vars(SparseFileDriver)["extend_volume"]
    otel_cinder.uninstrument()
    assert is_ours(replacement)
    assert inspect.signature(replacement) == inspect.signature(original)
    assert inspect.getfullargspec(replacement) == inspect.getfullargspec(original)
    assert inspect.getsource(replacement) == inspect.getsource(original)
    for name in ("__name__", "__qualname__", "__module__", "__doc__", "__dict__"):
        expected = getattr(original, name)
        attribute = getattr(replacement, name)
        if name == "__dict__":
            attribute = {
                k: v for k, v in attribute.items() if k not in ("__wrapped__", "__signature__")
            }
        assert attribute == expected


def test_abstract_methods_stay_abstract(make: Callable[..., Any]) -> None:
    """A class that inherits from a patched one is abstract, or not, as before."""

    class Abstract(SparseFileDriver):
        @abc.abstractmethod
        def later(self) -> None: ...

    class Concrete(Abstract):
        def later(self) -> None: ...

    otel_cinder.instrument(tracer_provider=Recorder().provider)
    volume_manager.VolumeManager(object.__new__(Concrete))
    with mock.patch.object(Abstract, "__abstractmethods__", frozenset()):
        volume_manager.VolumeManager(object.__new__(Abstract))
    assert patched(Abstract) == ["later"]
    assert type("New", (Abstract,), {}).__abstractmethods__ == {"later"}
    assert not type("New", (Concrete,), {}).__abstractmethods__
    otel_cinder.uninstrument()


@pytest.mark.parametrize("make_mock", [mock.Mock, mock.MagicMock, mock.NonCallableMagicMock])
def test_mock_as_a_driver_is_left_alone(spans: Recorder, make_mock: Callable[[], Any]) -> None:
    """A mock, as Cinder's tests use them, is no driver and is not patched."""
    classes = type(make_mock()).__mro__[1:]
    before = [dict(vars(cls)) for cls in classes]
    driver = make_mock()
    volume_manager.VolumeManager(driver)
    with spans.tracer.start_as_current_span("request"):
        driver.create_volume(VOLUME)
        driver.configure_mock(host="node@one")
    assert [dict(vars(cls)) for cls in classes] == before
    assert spans.names == ["request"]
    assert driver.create_volume.call_count == 1


def test_driver_on_top_of_a_mock(spans: Recorder) -> None:
    """A driver's class that is a mock with methods of its own has spans for these."""

    class Fake(mock.MagicMock):
        def create_volume(self, volume: Any) -> str:
            return f"made {volume.name}"

    driver = Fake()
    volume_manager.VolumeManager(driver)
    with spans.tracer.start_as_current_span("request"):
        assert driver.create_volume(VOLUME) == "made volume-1"
    assert spans.names == ["request", "Fake.create_volume"]


def test_driver_whose_properties_call_its_methods(
    spans: Recorder, make: Callable[..., Any]
) -> None:
    """Calls that describing a call causes in a driver have no spans, and do not recurse."""

    class Asking(SparseFileDriver):
        @property
        def host(self) -> str:
            return f"node@{self.find_backend()}"

        @host.setter
        def host(self, value: str) -> None: ...

        def find_backend(self) -> str:
            return "found"

    driver = make(Asking)
    with spans.tracer.start_as_current_span("request"):
        driver.create_volume(VOLUME)
    assert spans.names == ["request", "Asking.create_volume"]
    assert spans["Asking.create_volume"].attributes["cinder.backend"] == "found"


def test_method_that_is_wrapped_in_itself(spans: Recorder, make: Callable[..., Any]) -> None:
    """A method with broken decorators is called, and the class's other methods have spans."""

    class Circular(SparseFileDriver):
        def first(self) -> str:
            return "first"

        def second(self) -> str:
            return "second"

    Circular.first.__wrapped__ = Circular.first  # type: ignore[attr-defined]
    driver = make(Circular)
    with spans.tracer.start_as_current_span("request"):
        assert (driver.first(), driver.second()) == ("first", "second")
    assert spans.names == ["request", "Circular.first", "Circular.second"]


@pytest.mark.complains
def test_broken_describing_does_not_hurt(spans: Recorder, make: Callable[..., Any]) -> None:
    """A driver whose host can't be read is called once, without a span; the error is logged."""

    class Broken(SparseFileDriver):
        @property
        def host(self) -> str:
            raise RuntimeError("not yet")

        @host.setter
        def host(self, value: str) -> None: ...

    driver = make(Broken)
    with spans.tracer.start_as_current_span("request"):
        driver.create_volume(VOLUME)
    assert spans.names == ["request"]
    assert ("driver", RuntimeError) in internal_errors._logged
    assert (driver._folder / "volume-1").exists()


def test_manager_without_a_driver(spans: Recorder) -> None:
    """A manager that has made no driver is left alone."""
    volume_manager.VolumeManager(None)
    assert rows() == []


MANAGERS = """
import json, os, sys, warnings; warnings.simplefilter("ignore")
os.environ["OS_CINDER_DISABLE_EVENTLET_PATCHING"] = "1"
import otel_cinder
from tests.unit.recording import Recorder
spans = Recorder()
otel_cinder.instrument(tracer_provider=spans.provider)
from cinder import monkey_patch; monkey_patch.patch(backend="threading")
from cinder import objects; objects.register_all()
from cinder import rpc
from cinder.backup import manager as backup
from cinder.volume import manager as volume
from cinder.db import migration
from oslo_config import cfg
with open(folder + "/cinder.conf", "w") as file:
    file.write(f'''
[DEFAULT]
transport_url = fake://
state_path = {folder}
backup_driver = cinder.backup.drivers.posix.PosixBackupDriver
backup_posix_path = {folder}/backups
[database]
connection = sqlite:///{folder}/db
[one]
volume_driver = otel_cinder.cli.demo.driver.SparseFileDriver
''')
cfg.CONF(["--config-file", folder + "/cinder.conf"], project="cinder")
migration.db_sync()
rpc.init(cfg.CONF)
made = volume.VolumeManager(host="node@one", service_name="one")
cfg.CONF.register_opts(volume.volume_backend_opts, group="one")
made.driver.do_setup(None)
with spans.tracer.start_as_current_span("request"):
    made.driver.get_volume_stats(refresh=True)
    backup.BackupManager(host="node").service(None).check_for_setup_error()
print(json.dumps({s.name: dict(s.attributes) for s in spans}))
"""


@pytest.mark.skipif(
    find_spec("cinder.monkey_patch") is None, reason="this Cinder has no native threads"
)
def test_real_managers() -> None:
    """Cinder's own managers: the volume manager's driver, and the drivers a backup manager makes."""
    with tempfile.TemporaryDirectory() as folder:
        result = scripts.run(f"folder = {folder!r}", MANAGERS).said
    assert result == {
        "SparseFileDriver.get_volume_stats": {
            "cinder.backend": "one",
            "code.function.name": f"{BASE}.BaseVD.get_volume_stats",
            **place_of(driver.BaseVD.get_volume_stats),
        },
        "PosixBackupDriver.check_for_setup_error": {
            "code.function.name": "cinder.backup.driver.BackupDriver.check_for_setup_error",
            **place_of(backup_driver.BackupDriver.check_for_setup_error),
        },
        "request": {},
    }
