"""The context follows the work, and does not stay on the worker."""

from __future__ import annotations

import concurrent.futures
import contextvars
import importlib.util
import logging
import multiprocessing.pool
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

import futurist
import paramiko
import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace

import otel_cinder
from otel_cinder.cinder import packages
from otel_cinder.spans.service import SERVICE, Service
from tests.unit import scripts
from tests.unit.recording import Recorder


def current() -> int:
    """Id of the current span, 0 without one."""
    return trace.get_current_span().get_span_context().span_id


def in_thread(function: Callable[[], Any]) -> Any:
    """Run ``function`` in a plain thread; what it returned."""
    result: list[Any] = []
    thread = threading.Thread(target=lambda: result.append(function()))
    thread.start()
    thread.join(10)
    return result[0]


# Threads


def test_thread_has_the_context_of_its_starter(spans: Recorder) -> None:
    """A thread that a request starts works in the request's span."""
    with spans.tracer.start_as_current_span("request") as span:
        assert in_thread(current) == span.get_span_context().span_id


def test_thread_of_a_subclass_has_the_context(spans: Recorder) -> None:
    """A class that overrides run() is covered; the instance has its own run() again meanwhile."""

    class Mine(threading.Thread):
        seen: tuple[int, bool]

        def run(self) -> None:
            self.seen = (current(), "run" in vars(self))

    with spans.tracer.start_as_current_span("request") as span:
        thread = Mine()
        thread.start()
        thread.join(10)
    assert thread.seen == (span.get_span_context().span_id, False)


def test_timer_has_the_context(spans: Recorder) -> None:
    """threading.Timer, a subclass of the library's own, is covered."""
    seen: list[int] = []
    with spans.tracer.start_as_current_span("request") as span:
        timer = threading.Timer(0.01, lambda: seen.append(current()))
        timer.start()
        timer.join(10)
    assert seen == [span.get_span_context().span_id]


def test_thread_outlives_its_request(spans: Recorder) -> None:
    """A thread that goes on after the request has ended is still its child."""
    go = threading.Event()
    seen: list[int] = []

    def work() -> None:
        go.wait(10)
        seen.append(current())

    with spans.tracer.start_as_current_span("request") as span:
        thread = threading.Thread(target=work)
        thread.start()
    go.set()
    thread.join(10)
    assert seen == [span.get_span_context().span_id]


def test_thread_without_a_request_has_no_context(spans: Recorder) -> None:
    """A thread started outside of spans begins with an empty context, and unpatched."""
    assert in_thread(otel_context.get_current) == {}


def test_thread_with_its_own_run_is_left_alone(spans: Recorder) -> None:
    """A run() that the host put on the instance stays."""
    seen: list[int] = []
    thread = threading.Thread()
    thread.run = lambda: seen.append(current())  # type: ignore[method-assign]
    with spans.tracer.start_as_current_span("request"):
        thread.start()
        thread.join(10)
    assert seen == [0]


@pytest.mark.parametrize("module", ["kombu.connection", "oslo_messaging._drivers.impl_rabbit"])
def test_threads_of_connections_have_no_context(spans: Recorder, module: str) -> None:
    """A broker connection's heartbeat serves all requests, and belongs to none of them."""
    seen: list[int] = []

    def heartbeat() -> None:
        seen.append(current())

    heartbeat.__module__ = module
    with spans.tracer.start_as_current_span("request"):
        thread = threading.Thread(target=heartbeat)
        thread.start()
        thread.join(10)
    assert seen == [0]


def test_failing_start_leaves_the_thread_as_it_was(spans: Recorder) -> None:
    """Starting a thread twice raises as before, and leaves no run() of ours."""
    with spans.tracer.start_as_current_span("request"):
        thread = threading.Thread(target=current)
        thread.start()
        thread.join(10)
        with pytest.raises(RuntimeError, match="once"):
            thread.start()
    assert "run" not in vars(thread)


class Property(threading.Thread):
    """Its run() can't be set."""

    @property
    def run(self) -> Callable[[], None]:  # type: ignore[override]
        return lambda: self.seen.append(current())

    seen: list[int]


class Hidden(threading.Thread):
    """Hides its attributes from vars()."""

    seen: list[int]

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        raise RuntimeError("hidden")

    def run(self) -> None:
        self.seen.append(current())


class Strict(threading.Thread):
    """Refuses new attributes."""

    seen: list[int]

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "run":
            raise AttributeError(name)
        super().__setattr__(name, value)

    def run(self) -> None:
        self.seen.append(current())


@pytest.mark.complains
@pytest.mark.parametrize("cls", [Property, Hidden, Strict])
def test_odd_threads_are_started(spans: Recorder, cls: Any) -> None:
    """A thread that refuses our run(), or hides its attributes, still starts once."""
    thread = cls()
    thread.seen = []
    with spans.tracer.start_as_current_span("request") as span:
        thread.start()
        thread.join(10)
    assert thread.seen == [0 if cls is Hidden else span.get_span_context().span_id]


class Module:
    """Work whose class has an odd __module__."""

    __module__: Any = None

    def __init__(self) -> None:
        self.seen: list[int] = []

    def __call__(self) -> None:
        self.seen.append(current())


class Number(Module):
    @property
    def __module__(self) -> Any:  # type: ignore[override]
        return 7


class Raising(Module):
    @property
    def __module__(self) -> Any:  # type: ignore[override]
        raise RuntimeError("no module")


class Comparing(Module):
    """Compares with nothing."""

    __module__ = "tests"

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("do not compare")

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.complains
@pytest.mark.parametrize("cls", [Module, Number, Raising, Comparing])
def test_odd_work_is_done(spans: Recorder, cls: Any) -> None:
    """A target, or work for a pool, without a readable module is called once."""
    work = cls()
    with spans.tracer.start_as_current_span("request") as span:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(10)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            pool.submit(work).result(10)
    wanted = span.get_span_context().span_id
    assert work.seen == [0 if cls is Raising else wanted, wanted]


def test_thread_keeps_its_run(spans: Recorder) -> None:
    """No code ever sees a different run() on a thread."""
    begin = threading.Event()

    class Mine(threading.Thread):
        def run(self) -> None:
            begin.wait(10)

    with spans.tracer.start_as_current_span("request"):
        thread = Mine()
        thread.start()
    assert thread.run.__func__ is Mine.run  # type: ignore[attr-defined]
    assert "run" not in vars(thread)
    begin.set()
    thread.join(10)
    assert "_bootstrap_inner" not in vars(thread)


def test_uncaught_exception_of_a_thread_shows_the_hosts_frames(
    spans: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """threading.excepthook gets a traceback that begins at the same frame as without tracing."""
    seen: list[list[str]] = []

    def note(args: Any) -> None:
        frames = traceback.extract_tb(args.exc_traceback)
        seen.append([frame.name for frame in frames])

    def fail() -> None:
        raise ValueError("mine")

    monkeypatch.setattr(threading, "excepthook", note)
    for _ in range(2):
        with spans.tracer.start_as_current_span("request"):
            in_thread_quietly(fail)
        otel_cinder.uninstrument()
    traced, bare = seen
    assert traced == bare == ["_bootstrap_inner", "run", "fail"]


def in_thread_quietly(target: Callable[[], Any]) -> None:
    """Run ``target`` in a plain thread."""
    thread = threading.Thread(target=target)
    thread.start()
    thread.join(10)


# Whose threads they are

LIBRARY = """
import concurrent.futures, functools, threading
pool = concurrent.futures.ThreadPoolExecutor(1)
def finish(thread):
    thread.start()
    thread.join(10)
def thread(current, seen):
    def poll():
        seen.append(current())
    finish(threading.Thread(target=poll))
def partial(current, seen):
    def poll(_):
        seen.append(current())
    finish(threading.Thread(target=functools.partial(poll, 1)))
def timer(current, seen):
    finish(threading.Timer(0.01, lambda: seen.append(current())))
def subclass(current, seen):
    class Poller(threading.Thread):
        def run(self):
            seen.append(current())
    finish(Poller())
def submit(current, seen):
    pool.submit(lambda: seen.append(current())).result(10)
def call(function):
    finish(threading.Thread(target=function))
def call_in_pool(function):
    pool.submit(function).result(10)
"""

OWN = ("thread", "partial", "timer", "subclass", "submit")


@pytest.fixture
def installed(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Installs a package with this source in its module, and imports it."""
    folder = tmp_path / "site-packages"
    monkeypatch.syspath_prepend(folder)
    packages.is_cinders.cache_clear()

    def install(name: str, source: str, init: str = "") -> Any:
        for module in (name, f"{name}.client"):
            monkeypatch.delitem(sys.modules, module, raising=False)
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(init)
        (folder / name / "client.py").write_text(source)
        importlib.invalidate_caches()
        return importlib.import_module(f"{name}.client")

    return install


@pytest.mark.parametrize("way", OWN)
def test_threads_of_a_library_have_no_context(
    spans: Recorder, installed: Callable[..., Any], way: str
) -> None:
    """An SDK's own threads and work serve all requests, and belong to none of them."""
    sdk = installed("array_sdk", LIBRARY)
    seen: list[int] = []
    with spans.tracer.start_as_current_span("request"):
        getattr(sdk, way)(current, seen)
    sdk.pool.shutdown()
    assert seen == [0]


@pytest.mark.parametrize("way", OWN)
def test_threads_of_a_driver_from_elsewhere_have_the_context(
    spans: Recorder, installed: Callable[..., Any], way: str
) -> None:
    """The threads of an installed package that uses Cinder, such as a driver, work for the request."""
    driver = installed("array_driver", LIBRARY, "from cinder import version")
    seen: list[int] = []
    with spans.tracer.start_as_current_span("request") as span:
        getattr(driver, way)(current, seen)
    driver.pool.shutdown()
    assert seen == [span.get_span_context().span_id]


@pytest.mark.parametrize("way", ["call", "call_in_pool"])
def test_work_that_is_handed_to_a_library_has_the_context(
    spans: Recorder, installed: Callable[..., Any], way: str
) -> None:
    """A callback in a library's own thread is still the request's work."""
    sdk = installed("array_sdk", LIBRARY)
    seen: list[int] = []
    with spans.tracer.start_as_current_span("request") as span:
        getattr(sdk, way)(lambda: seen.append(current()))
    sdk.pool.shutdown()
    assert seen == [span.get_span_context().span_id]


def test_pool_of_a_library_runs_submitted_work(
    spans: Recorder, installed: Callable[..., Any]
) -> None:
    """A library's function that a driver submits to a pool is the request's work."""
    sdk = installed("array_sdk", "def call(function): return function()")
    with (
        spans.tracer.start_as_current_span("request") as span,
        concurrent.futures.ThreadPoolExecutor(1) as pool,
    ):
        assert pool.submit(sdk.call, current).result(10) == span.get_span_context().span_id


def test_ssh_connection_outlives_its_request(
    spans: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    """A pooled SSH connection's thread writes no line in the name of the request that opened it."""
    caplog.set_level(logging.DEBUG, "paramiko")
    ends = [paramiko.Transport(end) for end in socket.socketpair()]
    server, client = ends
    server.add_server_key(paramiko.ECDSAKey.generate())
    accepting = threading.Event()
    server.start_server(accepting, paramiko.ServerInterface())
    with spans.tracer.start_as_current_span("request"):
        client.start_client(timeout=30)
        mine = in_thread(current)
    assert accepting.wait(30)
    for end in ends:
        end.close()
        end.join(30)
    assert mine != 0
    lines = [
        r for r in caplog.records if r.name.startswith("paramiko") and r.thread == client.ident
    ]
    assert len(lines) > 5
    assert {vars(line)["otelTraceID"] for line in lines} == {"0"}


def test_service_goes_along(spans: Recorder) -> None:
    """The context that goes along names the service."""
    service = Service("cinder-volume", "h@lvm")
    token = otel_context.attach(otel_context.set_value(SERVICE, service))
    try:
        assert in_thread(lambda: otel_context.get_value(SERVICE)) == service
    finally:
        otel_context.detach(token)


# Pools

PROCESS = """
import multiprocessing, os
with spans.tracer.start_as_current_span("request"):
    with multiprocessing.get_context("fork").Pool(1) as pool:
        print(json.dumps([pool.apply(abs, (-1,)), pool.map(abs, [-1, 2]), list(pool.imap(abs, [-3]))]))
"""


@pytest.mark.parametrize(
    "run",
    [
        lambda pool: [pool.apply(current)],
        lambda pool: [pool.apply_async(current).get(10)],
        lambda pool: pool.map(current_of, range(3)),
        lambda pool: pool.starmap(current, [()]),
        lambda pool: pool.map_async(current_of, range(3)).get(10),
        lambda pool: list(pool.imap(current_of, range(3))),
        lambda pool: list(pool.imap(current_of, range(3), 2)),
        lambda pool: list(pool.imap_unordered(current_of, range(3))),
    ],
)
def test_thread_pool_of_multiprocessing(spans: Recorder, run: Callable[[Any], list[int]]) -> None:
    """Work has the context of the request that submitted it, not of the one that made the pool."""
    with spans.tracer.start_as_current_span("first"):
        pool = multiprocessing.pool.ThreadPool(1)
    try:
        assert set(run(pool)) == {0}
        for name in ("second", "third"):
            with spans.tracer.start_as_current_span(name) as span:
                assert set(run(pool)) == {span.get_span_context().span_id}
        assert set(run(pool)) == {0}
    finally:
        pool.terminate()
        pool.join()


def current_of(_number: int) -> int:
    """Id of the current span."""
    return current()


def test_process_pool_is_left_alone() -> None:
    """Work for other processes is pickled unchanged."""
    ran = scripts.run("import json", scripts.RECORDED, PROCESS)
    assert ran.said == [1, [1, 2], [3]]


LOOPING = """
import json, threading
from oslo_service import loopingcall
def current():
    return trace.get_current_span().get_span_context().span_id
seen = []
def step():
    seen.append(current())
    if len(seen) == 2:
        raise loopingcall.LoopingCallDone()
with spans.tracer.start_as_current_span("request") as span:
    loopingcall.FixedIntervalLoopingCall(step).start(interval=0.01).wait()
print(json.dumps([one == span.get_span_context().span_id for one in seen]))
"""

THREADS = """
import warnings; warnings.simplefilter("ignore")
from oslo_service import backend
backend.init_backend(backend.BackendType.THREADING)
"""


needs_threads = pytest.mark.skipif(
    importlib.util.find_spec("oslo_service.backend._threading") is None
    or importlib.util.find_spec("cotyledon") is None,
    reason="this oslo.service has no native threads",
)


@pytest.mark.parametrize(
    "setup",
    [
        pytest.param(scripts.EVENTLET, id="eventlet"),
        pytest.param(THREADS, id="threads", marks=needs_threads),
    ],
)
def test_looping_call_is_the_requests_work(setup: str) -> None:
    """Work in oslo.service's loops, for which a driver waits, has its request's span."""
    assert scripts.run(setup, scripts.RECORDED, LOOPING).said == [True, True]


POOLS = {
    "concurrent.futures": lambda: concurrent.futures.ThreadPoolExecutor(max_workers=1),
    "futurist": lambda: futurist.ThreadPoolExecutor(max_workers=1),
}


@pytest.mark.parametrize("make", POOLS.values(), ids=POOLS)
def test_pool_runs_work_in_its_submitters_context(spans: Recorder, make: Callable[[], Any]) -> None:
    """Each piece of work runs in the span that was current where it was submitted."""
    with make() as pool:
        futures, wanted = [], []
        for i in range(5):
            with spans.tracer.start_as_current_span(f"request-{i}") as span:
                wanted.append(span.get_span_context().span_id)
                futures.append(pool.submit(current))
        assert [future.result(10) for future in futures] == wanted


@pytest.mark.parametrize("make", POOLS.values(), ids=POOLS)
def test_reused_worker_keeps_no_context(spans: Recorder, make: Callable[[], Any]) -> None:
    """The worker that a traced request started runs the next, untraced work with no context."""
    with make() as pool:
        with spans.tracer.start_as_current_span("request"):
            assert pool.submit(current).result(10) != 0
        assert pool.submit(otel_context.get_current).result(10) == {}


@pytest.mark.parametrize("make", POOLS.values(), ids=POOLS)
def test_worker_keeps_no_context_after_a_failure(spans: Recorder, make: Callable[[], Any]) -> None:
    """Work that raises leaves nothing on the worker, and its exception in the future."""

    def fails() -> None:
        raise ValueError("mine")

    with make() as pool:
        with spans.tracer.start_as_current_span("request"), pytest.raises(ValueError, match="mine"):
            pool.submit(fails).result(10)
        assert pool.submit(otel_context.get_current).result(10) == {}


@pytest.mark.parametrize("make", POOLS.values(), ids=POOLS)
def test_submitter_keeps_its_context(spans: Recorder, make: Callable[[], Any]) -> None:
    """Submitting leaves the submitter's context unchanged."""
    with make() as pool, spans.tracer.start_as_current_span("request") as span:
        pool.submit(current)
        assert current() == span.get_span_context().span_id


@pytest.mark.parametrize("make", POOLS.values(), ids=POOLS)
def test_pool_passes_arguments(spans: Recorder, make: Callable[[], Any]) -> None:
    """Positional and keyword arguments arrive, also those with odd names."""

    def work(*args: Any, **kwargs: Any) -> Any:
        return args, kwargs

    with make() as pool, spans.tracer.start_as_current_span("request"):
        future = pool.submit(work, 1, 2, context="c", function="f")
        assert future.result(10) == ((1, 2), {"context": "c", "function": "f"})


def test_map_is_covered(spans: Recorder) -> None:
    """executor.map submits one by one."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        with spans.tracer.start_as_current_span("request") as span:
            contexts = list(pool.map(lambda _: current(), range(4)))
        assert set(contexts) == {span.get_span_context().span_id}


def test_other_libraries_variables_are_not_carried(spans: Recorder) -> None:
    """Only OpenTelemetry's variable goes along; another library's is empty in a thread, as ever."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("theirs", default="empty")
    variable.set("set")
    with spans.tracer.start_as_current_span("request"):
        assert in_thread(variable.get) == "empty"


def test_nothing_is_carried_after_uninstrument(spans: Recorder) -> None:
    """After uninstrument() a thread begins empty, as Python has it."""
    otel_cinder.uninstrument()
    with spans.tracer.start_as_current_span("request"):
        assert in_thread(otel_context.get_current) == {}


# eventlet

GREEN = """
import json, threading
def current():
    return trace.get_current_span().get_span_context().span_id
def names(ids):
    by_id = {0: None, **{s.context.span_id: s.name for s in spans}}
    return [by_id.get(i, i) for i in ids]
"""

WAYS = {
    "spawn": "seen.append(eventlet.spawn(current).wait())",
    "spawn_n": "eventlet.spawn_n(lambda: seen.append(current())); eventlet.sleep(0.01)",
    "spawn_after": "seen.append(eventlet.spawn_after(0.01, current).wait())",
    "spawn_after_local": "seen.append(eventlet.greenthread.spawn_after_local(0.01, current).wait())",
    "GreenPool.spawn": "seen.append(eventlet.GreenPool().spawn(current).wait())",
    "GreenPool.spawn_n": "p = eventlet.GreenPool(); p.spawn_n(lambda: seen.append(current())); p.waitall()",
    "GreenPool.imap": "seen.extend(eventlet.GreenPool(2).imap(lambda _: current(), range(3)))",
    "GreenPile": "p = eventlet.GreenPile(2); p.spawn(current); seen.extend(p)",
    "tpool.execute": "from eventlet import tpool; seen.append(tpool.execute(current))",
    "tpool.Proxy": "from eventlet import tpool; seen.append(tpool.Proxy(Thing()).current())",
    "threading.Thread": "t = threading.Thread(target=lambda: seen.append(current())); t.start(); t.join()",
    "a subclass of Thread": "t = Mine(); t.start(); t.join()",
    "futurist green pool": "p = futurist.GreenThreadPoolExecutor(1); seen.append(p.submit(current).result()); p.shutdown()",
    "futurist thread pool": "p = futurist.ThreadPoolExecutor(1); seen.append(p.submit(current).result()); p.shutdown()",
    "concurrent.futures": "p = concurrent.futures.ThreadPoolExecutor(1); seen.append(p.submit(current).result()); p.shutdown()",
}


@pytest.fixture(scope="module")
def green() -> dict[str, Any]:
    """The span in each way to hand on work under eventlet, in a request and without one."""
    lines = [
        "import concurrent.futures, futurist",
        "from eventlet import tpool",
        "class Thing:",
        "    def current(self): return current()",
        "class Mine(threading.Thread):",
        "    def run(self): seen.append(current())",
        "found = {}",
    ]
    for way, code in WAYS.items():
        lines += [
            f"def way(): {code}",
            "seen = []; ",
            "with spans.tracer.start_as_current_span('request') as span:",
            "    way(); kept = current() == span.get_span_context().span_id",
            "inside = [i == span.get_span_context().span_id for i in seen]",
            "seen = []; way()",
            f"found[{way!r}] = [inside, seen, kept, len(otel_context.get_current())]",
        ]
    lines.append("print(json.dumps(found))")
    shown: dict[str, Any] = scripts.run(
        scripts.EVENTLET, scripts.RECORDED, GREEN, "\n".join(lines)
    ).said
    return shown


@pytest.mark.parametrize("way", WAYS)
def test_eventlet_carries_the_context(green: dict[str, Any], way: str) -> None:
    """In a request the work has the request's span; outside of one, and afterwards, none."""
    inside, outside, kept, left = green[way]
    assert inside
    assert all(inside)
    assert set(outside) == {0}
    assert kept
    assert left == 0


def test_eventlet_tpool_passes_arguments() -> None:
    """tpool.execute(function, context=...), as Cinder calls it, arrives as it was given."""
    ran = scripts.run(
        scripts.EVENTLET,
        scripts.RECORDED,
        GREEN,
        """
        from eventlet import tpool
        def work(*args, **kwargs):
            return [args, kwargs]
        with spans.tracer.start_as_current_span("request"):
            print(json.dumps(tpool.execute(work, 1, context="c", function="f")))
        """,
    )
    assert ran.said == [[1], {"context": "c", "function": "f"}]


def test_eventlet_reused_native_thread_keeps_no_context() -> None:
    """tpool's threads, which are started in a request, have no context for the next work."""
    ran = scripts.run(
        scripts.EVENTLET,
        "import os; os.environ['EVENTLET_THREADPOOL_SIZE'] = '1'",
        scripts.RECORDED,
        GREEN,
        """
        from eventlet import tpool
        with spans.tracer.start_as_current_span("request"):
            first = tpool.execute(lambda: (current() != 0, tpool.threading.get_ident()))
        second = tpool.execute(lambda: (current() != 0, tpool.threading.get_ident()))
        print(json.dumps([first[0], second[0]]))
        """,
    )
    assert ran.said == [True, False]


def test_eventlet_requests_side_by_side_do_not_mix() -> None:
    """Twenty greenthreads that take turns keep their own span over every switch."""
    ran = scripts.run(
        scripts.EVENTLET,
        scripts.RECORDED,
        GREEN,
        """
        from eventlet import tpool
        def request(i):
            with spans.tracer.start_as_current_span(f"request-{i}") as span:
                mine = span.get_span_context().span_id
                same = []
                for _ in range(5):
                    eventlet.sleep(0)
                    same += [current() == mine, tpool.execute(current) == mine,
                             eventlet.spawn(current).wait() == mine]
                return all(same)
        pool = eventlet.GreenPool()
        print(json.dumps(list(pool.imap(request, range(20)))))
        """,
    )
    assert ran.said == [True] * 20


def test_eventlet_threads_of_connections_have_no_context() -> None:
    """Under eventlet too, a broker connection's heartbeat belongs to no request."""
    ran = scripts.run(
        scripts.EVENTLET,
        scripts.RECORDED,
        GREEN,
        """
        seen = []
        def heartbeat():
            seen.append(current())
        heartbeat.__module__ = "oslo_messaging._drivers.impl_rabbit"
        with spans.tracer.start_as_current_span("request"):
            thread = threading.Thread(target=heartbeat)
            thread.start()
            thread.join()
        print(json.dumps(seen))
        """,
    )
    assert ran.said == [0]


GREEN_LIBRARY = """
import os, sys, tempfile
folder = os.path.join(tempfile.mkdtemp(), "site-packages")
os.makedirs(folder)
sys.path.insert(0, folder)
SOURCE = '''
import eventlet, threading
from eventlet import tpool
def spawn(work): return eventlet.spawn(lambda: work()).wait()
def spawn_n(work):
    done = eventlet.event.Event(); eventlet.spawn_n(lambda: done.send(work())); return done.wait()
def spawn_after(work): return eventlet.spawn_after(0, lambda: work()).wait()
def pool(work): return eventlet.GreenPool().spawn(lambda: work()).wait()
def native(work): return tpool.execute(lambda: work())
def thread(work):
    seen = []
    mine = threading.Thread(target=lambda: seen.append(work())); mine.start(); mine.join()
    return seen[0]
'''
for name, uses in (("array_sdk", ""), ("array_driver", "from cinder import version")):
    with open(f"{folder}/{name}.py", "w") as file:
        file.write(uses + SOURCE)
import array_driver, array_sdk
ways = ("spawn", "spawn_n", "spawn_after", "pool", "native", "thread")
with spans.tracer.start_as_current_span("request") as span:
    print(json.dumps([
        [getattr(package, way)(current) != 0 for way in ways] for package in (array_sdk, array_driver)
    ]))
"""


def test_eventlet_greenthreads_of_a_library_have_no_context() -> None:
    """Under eventlet too, a library's own greenthreads have none, and a driver's have it."""
    ran = scripts.run(scripts.EVENTLET, scripts.RECORDED, GREEN, GREEN_LIBRARY)
    assert ran.said == [[False] * 6, [True] * 6]


def test_eventlet_greenlets_keep_other_variables_apart() -> None:
    """Another library's context variable is empty in a greenthread, as without otel-cinder."""
    ran = scripts.run(
        scripts.EVENTLET,
        scripts.RECORDED,
        GREEN,
        """
        import contextvars
        theirs = contextvars.ContextVar("theirs", default="empty")
        theirs.set("set")
        with spans.tracer.start_as_current_span("request"):
            inside = eventlet.spawn(theirs.get).wait()
        print(json.dumps([inside, eventlet.spawn(theirs.get).wait()]))
        """,
    )
    assert ran.said == ["empty", "empty"]
