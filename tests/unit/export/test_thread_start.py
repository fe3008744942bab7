"""Imports for the export threads, and forks in the midst of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from otel_cinder.export import thread_start
from tests.receiver import Receiver
from tests.unit import scripts
from tests.unit.sdk import needs_log_export


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A collector."""
    with Receiver() as receiver:
        yield receiver


def test_one_at_a_time() -> None:
    """A start that is asked for from within another one comes after it, and before that returns."""
    order: list[str] = []

    def outer() -> None:
        order.append("outer begins")
        thread_start.in_turn(lambda: order.append("inner"))
        order.append("outer ends")

    thread_start.in_turn(outer)
    assert order == ["outer begins", "outer ends", "inner"]


def test_start_that_raises_does_not_keep_others() -> None:
    """Its error reaches the caller; the next thread starts as usual."""
    order: list[str] = []

    def broken() -> None:
        raise RuntimeError("no thread")

    with pytest.raises(RuntimeError):
        thread_start.in_turn(broken)
    thread_start.in_turn(lambda: order.append("next"))
    assert order == ["next"]


SLOW = """
import sys
class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == SLOWLY_IMPORTED and os.getpid() == parent:
            importing.set()
            time.sleep(3)
parent, importing = os.getpid(), threading.Event()
sys.meta_path.insert(0, Slow())
"""
"""Importing ``SLOWLY_IMPORTED`` in this process takes three seconds."""


@pytest.mark.parametrize(
    "module",
    [
        "otel_cinder.export.otlp_http",
        "otel_cinder.export.diagnosis",
        "opentelemetry.exporter.otlp.proto.common._internal.trace_encoder",
        "opentelemetry.proto.trace.v1.trace_pb2",
        "google.rpc.status_pb2",
    ],
)
def test_child_of_a_fork_in_the_midst_of_an_import_exports(receiver: Receiver, module: str) -> None:
    """One thread makes the process's first span, and so imports; another forks: both export."""
    ran = scripts.run(
        "import json, os, threading, time",
        f"SLOWLY_IMPORTED = {module!r}",
        SLOW,
        scripts.EXPORTED,
        """
        thread = threading.Thread(target=span, args=("parent",))
        thread.start()
        assert importing.wait(30)
        child = os.fork()
        if not child:
            span("child")
            queue = runtime._process.spans
            end = time.monotonic() + 20
            flush(20)
            print(json.dumps([queue.sent, queue.failed]), flush=True)
            os._exit(0)
        thread.join()
        os.waitpid(child, 0)
        """,
        env={
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            "OTEL_METRICS_EXPORTER": "none",
        },
    )
    assert ran.said == [1, {}]
    assert sorted(span.name for span in receiver.spans()) == ["child", "parent"]
    assert "otel-cinder" not in ran.stderr


def test_other_threads_do_not_wait_for_the_one_that_imports(receiver: Receiver) -> None:
    """While one thread imports, spans of others end at once, and leave with the first."""
    ran = scripts.run(
        "import json, os, threading, time",
        "SLOWLY_IMPORTED = 'otel_cinder.export.otlp_http'",
        SLOW,
        scripts.EXPORTED,
        """
        thread = threading.Thread(target=span, args=("first",))
        thread.start()
        assert importing.wait(30)
        begin = time.monotonic()
        for _ in range(100):
            span("other")
        took = time.monotonic() - begin
        thread.join()
        print(json.dumps([took, flush()]))
        """,
        env={
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            "OTEL_METRICS_EXPORTER": "none",
        },
    )
    took, in_time = ran.said
    assert took < 2
    assert in_time
    assert len(receiver.spans()) == 101


RACE = """
import json, logging
import oslo_messaging.rpc.server, taskflow.engines
from opentelemetry import trace
logging.getLogger().setLevel(logging.INFO)
def work(number):
    for _ in range(3):
        made = runtime.start_span(f"span {number}", otel_context.Context())
        token = otel_context.attach(trace.set_span_in_context(made))
        logging.getLogger("cinder.x").info("line")
        runtime.measure("cinder.rpc.queue.duration", 1, {})
        otel_context.detach(token)
        made.end()
        eventlet.sleep(0)
def noise():
    for _ in range(300):
        logging.getLogger("cinder.y").info("noise")
        eventlet.sleep(0)
"""


@needs_log_export
def test_first_lines_of_many_greenthreads_all_arrive(receiver: Receiver) -> None:
    """Eventlet, and several greenthreads that are the first to log: all is sent, nothing warned of."""
    ran = scripts.run(
        scripts.EVENTLET,
        scripts.EXPORTED,
        RACE,
        """
        for green in [eventlet.spawn(work, n) for n in range(8)] + [eventlet.spawn(noise)]:
            green.wait()
        flush()
        process = runtime._process
        print(json.dumps([process.spans.sent, process.logs.sent, process.logs.dropped]))
        """,
        env={
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            "OTEL_LOGS_EXPORTER": "otlp",
        },
    )
    assert ran.said == [24, 324, 0]
    assert "otel-cinder" not in ran.stderr


@needs_log_export
@pytest.mark.parametrize("what", ["log", "span"])
def test_parent_that_logs_and_forks_at_once_does_not_silence_its_child(
    receiver: Receiver, what: str
) -> None:
    """cotyledon's and uWSGI's masters log, and then fork: their children export all signals."""
    first = {
        "log": "logging.getLogger('cinder.service').info('Starting 2 workers')",
        "span": "span('parent')",
    }[what]
    ran = scripts.run(
        "import json, logging, os, taskflow.engines",
        scripts.EXPORTED,
        "logging.getLogger().setLevel(logging.INFO)",
        first,
        """
        child = os.fork()
        if not child:
            logging.getLogger('cinder.x').info('in the child')
            runtime.measure("cinder.rpc.queue.duration", 1, {})
            span("child")
            flush(20)
            process = runtime._process
            sent = [process.spans.sent, process.logs.sent, process.metrics.sent > 0]
            print(json.dumps(sent), flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        """,
        env={
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            "OTEL_LOGS_EXPORTER": "otlp",
        },
    )
    assert ran.said == [1, 1, True]
    assert "otel-cinder" not in ran.stderr
