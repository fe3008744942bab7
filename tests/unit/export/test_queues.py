"""The export queue and its thread, with a real OTLP receiver, in processes of all kinds."""

from __future__ import annotations

import pathlib
import ssl
import subprocess
import sys
import threading
import time
import types
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_cinder.export.queues import BatchSpanProcessor, ExportQueue, flush, shutdown
from otel_cinder.export.signals import LOGS, METRICS, Signal
from tests.receiver import Receiver
from tests.unit import scripts
from tests.unit.sdk import EXPORTS_LOGS

FAST = {"OTEL_BSP_SCHEDULE_DELAY": "50", "OTEL_METRIC_EXPORT_INTERVAL": "200"}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A collector."""
    with Receiver() as receiver:
        yield receiver


def to(receiver: Receiver, **more: str) -> dict[str, str]:
    """The environment of a process that exports there."""
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, **more}


def spans_to(receiver: Receiver, **more: str) -> dict[str, str]:
    """The same, for spans alone."""
    return to(receiver, OTEL_METRICS_EXPORTER="none", **more)


class Keeps(SpanExporter):
    """Keeps names, answers by script, and can be made to wait."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.threads: set[int] = set()
        self.result = SpanExportResult.SUCCESS
        self.error: Exception | None = None
        self.may_go = threading.Event()
        self.may_go.set()
        self.stopped = 0

    def export(self, spans: Any) -> SpanExportResult:
        self.may_go.wait(30)
        self.threads.add(threading.get_ident())
        if self.error is not None:
            raise self.error
        self.batches.append([span.name for span in spans])
        return self.result

    def shutdown(self) -> None:
        self.stopped += 1

    @property
    def names(self) -> list[str]:
        return [name for batch in self.batches for name in batch]


@pytest.fixture
def keeps() -> Keeps:
    """An exporter in memory."""
    return Keeps()


@pytest.fixture
def queue(keeps: Keeps) -> Iterator[BatchSpanProcessor]:
    """A queue of 20 spans, exported four at a time."""
    processor = BatchSpanProcessor(
        [lambda: lambda: keeps], "http://collector:4318", queue_size=20, batch_size=4, delay=60
    )
    yield processor
    keeps.may_go.set()
    processor.shutdown()


def end(queue: BatchSpanProcessor, *names: str) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(queue)
    tracer = provider.get_tracer("test")
    for name in names:
        tracer.start_span(name).end()


# The queue


def test_flush_exports_in_order_in_batches(queue: BatchSpanProcessor, keeps: Keeps) -> None:
    """Ten spans leave in order, at most four at a time, from a thread that is not the caller's."""
    names = [str(i) for i in range(10)]
    end(queue, *names)
    assert queue.force_flush()
    assert keeps.names == names
    assert max(len(batch) for batch in keeps.batches) <= 4
    assert keeps.threads.isdisjoint({threading.get_ident()})
    assert len(keeps.threads) == 1


def test_full_batch_does_not_wait_for_the_delay(queue: BatchSpanProcessor, keeps: Keeps) -> None:
    """Four spans are a batch, and leave long before a minute is over."""
    end(queue, "a", "b", "c", "d")
    deadline = time.monotonic() + 5
    while len(keeps.names) < 4 and time.monotonic() < deadline:
        time.sleep(0.005)
    assert keeps.names == ["a", "b", "c", "d"]


def test_delay_exports_less_than_a_batch(keeps: Keeps) -> None:
    """One span leaves when the delay is over."""
    queue = BatchSpanProcessor(
        [lambda: lambda: keeps], "x", queue_size=20, batch_size=4, delay=0.05
    )
    end(queue, "a")
    deadline = time.monotonic() + 5
    while not keeps.names and time.monotonic() < deadline:
        time.sleep(0.005)
    assert keeps.names == ["a"]
    queue.shutdown()


def test_nothing_is_started_without_a_span(keeps: Keeps) -> None:
    """A queue that no span reaches has no thread and no exporter, and stops at once."""
    built: list[int] = []
    queue = BatchSpanProcessor(
        [lambda: built.append(1) or (lambda: keeps)], "x", queue_size=2, batch_size=1, delay=1
    )
    assert queue.force_flush()
    queue.shutdown()
    assert built == []


def test_unsampled_spans_are_not_queued(queue: BatchSpanProcessor, keeps: Keeps) -> None:
    """A span without the sampled flag does not leave."""
    from opentelemetry.trace import SpanContext, TraceFlags

    queue.on_end(ReadableSpan("x", SpanContext(1, 2, False, TraceFlags(0))))
    queue.on_end(ReadableSpan("x", None))
    assert queue.force_flush()
    assert keeps.names == []


def test_queue_is_bounded_and_says_so_once(
    queue: BatchSpanProcessor, keeps: Keeps, caplog: pytest.LogCaptureFixture
) -> None:
    """While the collector keeps the thread, the newest spans are dropped, counted, and reported once."""
    keeps.may_go.clear()
    end(queue, *(str(i) for i in range(200)))
    assert len(queue._queue) <= 20
    assert 175 <= queue.dropped <= 180
    keeps.may_go.set()
    assert queue.force_flush()
    assert len(keeps.names) + queue.dropped == 200
    (message,) = caplog.messages
    assert message == (
        "Raise OTEL_BSP_MAX_QUEUE_SIZE, or find out why the collector is slow or down. otel-cinder "
        "drops spans because 20 wait to be sent to http://collector:4318."
    )


def test_flush_gives_up_in_time(queue: BatchSpanProcessor, keeps: Keeps) -> None:
    """A flush that the exporter keeps waiting returns False after its timeout."""
    keeps.may_go.clear()
    end(queue, "a")
    begin = time.monotonic()
    assert not queue.force_flush(200)
    assert 0.15 <= time.monotonic() - begin < 1.5


def test_shutdown_gives_up_in_time(queue: BatchSpanProcessor, keeps: Keeps) -> None:
    """A shutdown that the exporter keeps waiting returns after its timeout."""
    keeps.may_go.clear()
    end(queue, "a")
    begin = time.monotonic()
    queue.shutdown(200)
    assert time.monotonic() - begin < 1.5


def test_shutdown_exports_the_rest(queue: BatchSpanProcessor, keeps: Keeps) -> None:
    """Shutdown sends the queue and shuts the exporter down once; later spans are refused."""
    end(queue, "a", "b")
    queue.shutdown()
    assert keeps.names == ["a", "b"]
    assert keeps.stopped == 1
    end(queue, "late")
    assert queue.force_flush()
    queue.shutdown()
    assert keeps.names == ["a", "b"]


def test_failing_export_is_reported_once_and_recovery_too(
    queue: BatchSpanProcessor, keeps: Keeps, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning when exports begin to fail, one when they succeed again, with the count."""
    keeps.error = ConnectionError("refused")
    for _ in range(3):
        end(queue, "lost")
        queue.force_flush()
    keeps.error = None
    end(queue, "kept")
    queue.force_flush()
    assert queue.dropped == 3
    assert caplog.messages == [
        (
            "Check the collector and OTEL_EXPORTER_OTLP_ENDPOINT. otel-cinder can't export spans to "
            "http://collector:4318: the exporter fails. Cinder is not affected; they are dropped. "
            "(ConnectionError: refused)"
        ),
        "otel-cinder exports to http://collector:4318 again; 3 spans were lost so far.",
    ]


def test_exporter_that_cannot_be_created_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    """An error of the exporter's factory is a warning; flush and shutdown return."""

    def build() -> Any:
        raise FileNotFoundError("/no/such/cert.pem")

    queue = BatchSpanProcessor([build], "x", queue_size=20, batch_size=4, delay=60)
    end(queue, "a")
    assert queue.force_flush()
    queue.shutdown()
    (message,) = caplog.messages
    assert message == (
        "Check OTEL_TRACES_EXPORTER and OTEL_EXPORTER_OTLP_*. otel-cinder could not create an "
        "exporter, so its spans are not exported; Cinder is not affected. "
        "(FileNotFoundError: /no/such/cert.pem)"
    )
    assert queue.failed == {"FileNotFoundError": 1}


def test_one_of_two_exporters_fails(caplog: pytest.LogCaptureFixture) -> None:
    """With two exporters the healthy one gets everything."""
    good, bad = Keeps(), Keeps()
    bad.error = ValueError("no")
    queue = BatchSpanProcessor(
        [lambda: lambda: bad, lambda: lambda: good], "x", queue_size=20, batch_size=4, delay=60
    )
    end(queue, "a")
    queue.force_flush()
    queue.shutdown()
    assert good.names == ["a"]


def test_loggers_are_silenced_only_in_the_export_thread(queue: BatchSpanProcessor) -> None:
    """The filter on the exporter's loggers is gone after shutdown."""
    import logging

    logger = logging.getLogger("urllib3.connectionpool")
    end(queue, "a")
    assert queue.force_flush()
    assert queue._silencer in logger.filters
    queue.shutdown()
    assert queue._silencer not in logger.filters


# Several signals


def several(*exporters: Keeps, endpoint: str = "http://collector:4318") -> list[ExportQueue[Any]]:
    """A queue for each exporter, with a span in it."""
    queues = []
    for keeps in exporters:
        queue = BatchSpanProcessor(
            [lambda keeps=keeps: lambda: keeps], endpoint, queue_size=20, batch_size=4, delay=60
        )
        end(queue, "a")
        queues.append(queue)
    return queues


@pytest.fixture
def stuck() -> Iterator[list[Keeps]]:
    """Three exporters that hang."""
    exporters = [Keeps(), Keeps(), Keeps()]
    for keeps in exporters:
        keeps.may_go.clear()
    yield exporters
    for keeps in exporters:
        keeps.may_go.set()


@pytest.mark.parametrize("how", [flush, shutdown], ids=lambda how: how.__name__)
def test_hanging_queues_share_one_deadline(stuck: list[Keeps], how: Any) -> None:
    """Three queues whose exporters hang take no longer than one."""
    queues = several(*stuck)
    begin = time.monotonic()
    assert not how(queues, 1)
    assert 0.95 <= time.monotonic() - begin < 2.7


def test_queues_are_flushed_at_the_same_time(stuck: list[Keeps]) -> None:
    """One queue's hanging exporter does not keep the others from leaving."""
    healthy = [Keeps(), Keeps()]
    assert not flush(several(healthy[0], stuck[0], healthy[1]), 0.3)
    assert [keeps.names for keeps in healthy] == [["a"], ["a"]]


def test_queues_with_one_endpoint_share_their_patience(stuck: list[Keeps]) -> None:
    """If the first queue's exports fail, others with its endpoint get 2 s, not 5."""
    failing = Keeps()
    failing.error = ConnectionError("refused")
    queues = several(failing, stuck[0])
    assert flush(queues[:1], 5)
    begin = time.monotonic()
    assert not flush(queues, 5)
    assert 1.5 < time.monotonic() - begin < 3.5


@pytest.mark.parametrize(
    ("signal", "more", "check"),
    [
        (METRICS, "Find", ", or set OTEL_METRICS_EXPORTER=none if it takes none"),
        (LOGS, "Raise OTEL_BLRP_MAX_QUEUE_SIZE, or find", ""),
    ],
    ids=lambda value: value.noun if isinstance(value, Signal) else "",
)
def test_messages_name_the_signal(
    signal: Signal, more: str, check: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A full queue, a failing export and its recovery are reported with the signal's own noun."""
    keeps = Keeps()
    keeps.error = ConnectionError("refused")
    queue: ExportQueue[Any] = ExportQueue(
        signal, [lambda: lambda: keeps], "x", queue_size=1, batch_size=1, delay=60
    )
    queue._started = True  # the thread, not yet
    queue.put(types.SimpleNamespace(name="a"))
    queue.put(types.SimpleNamespace(name="b"))
    queue._started = False
    queue.start()
    assert flush([queue], 5)
    keeps.error = None
    queue.put(types.SimpleNamespace(name="c"))
    shutdown([queue], 5)
    noun = signal.noun
    assert caplog.messages == [
        (
            f"{more} out why the collector is slow or down. otel-cinder drops {noun} because 1 wait "
            "to be sent to x."
        ),
        (
            f"Check the collector and OTEL_EXPORTER_OTLP_ENDPOINT{check}. otel-cinder can't export "
            f"{noun} to x: the exporter fails. Cinder is not affected; they are dropped. "
            "(ConnectionError: refused)"
        ),
        f"otel-cinder exports to x again; 2 {noun} were lost so far.",
    ]
    assert (queue.taken, queue.overflowed, queue.sent, queue.failed) == (
        2,
        1,
        1,
        {"ConnectionError": 1},
    )


# Processes


def test_spans_arrive_over_otlp(receiver: Receiver) -> None:
    """A flush exports the ended spans, and returns True."""
    script = "span('a'); span('b'); print(flush())"
    ran = scripts.run(scripts.EXPORTED, scripts.PATIENT, script, env=to(receiver))
    assert ran.stdout.strip() == "True"
    assert [span.name for span in receiver.spans()] == ["a", "b"]


@pytest.mark.parametrize(
    "how", ["pass", "import sys; sys.exit(3)", "raise ValueError", "import os; os._exit(0)"]
)
@pytest.mark.parametrize("eventlet", [False, True], ids=["threads", "eventlet"])
def test_every_way_out_flushes(receiver: Receiver, how: str, eventlet: bool) -> None:
    """The end of the script, an exit, an exception and os._exit all export recorded spans at once."""
    first = scripts.EVENTLET if eventlet else ""
    parts = (first, scripts.EXPORTED, scripts.PATIENT, "span('a')", how)
    ran = scripts.run_anyhow(*parts, env=to(receiver, OTEL_BSP_SCHEDULE_DELAY="600000"))
    assert [span.name for span in receiver.spans()] == ["a"], ran.stderr


@pytest.mark.parametrize("eventlet", [False, True], ids=["threads", "eventlet"])
def test_fork_exports_its_own_spans(receiver: Receiver, eventlet: bool) -> None:
    """A forked child sends its own spans, and not again what its parent had queued."""
    first = scripts.EVENTLET if eventlet else ""
    scripts.run(
        first,
        scripts.EXPORTED,
        scripts.PATIENT,
        """
        import os
        span("parent, before")
        child = os.fork()
        if not child:
            span("child")
            os._exit(0)
        os.waitpid(child, 0)
        span("parent, after")
        """,
        env=to(receiver),
    )
    assert sorted(span.name for span in receiver.spans()) == [
        "child",
        "parent, after",
        "parent, before",
    ]
    assert len({span.resource["service.instance.id"] for span in receiver.spans()}) == 2


def test_multiprocessing_child_exports(receiver: Receiver) -> None:
    """A child of multiprocessing, which leaves by os._exit, exports as well."""
    scripts.run(
        scripts.EXPORTED,
        scripts.PATIENT,
        """
        import multiprocessing
        context = multiprocessing.get_context("fork")
        child = context.Process(target=span, args=("child",))
        child.start(); child.join()
        """,
        env=to(receiver),
    )
    assert [span.name for span in receiver.spans()] == ["child"]


def test_forked_siblings_have_different_ids(receiver: Receiver) -> None:
    """Children of one parent never give out the same span ids."""
    scripts.run(
        scripts.EXPORTED,
        scripts.PATIENT,
        """
        import os
        span("parent")
        for _ in range(4):
            if not os.fork():
                for i in range(50):
                    span("child")
                os._exit(0)
        for _ in range(4):
            os.wait()
        """,
        env=to(receiver),
    )
    spans = receiver.spans()
    assert len(spans) == 201
    assert len({span.span_id for span in spans}) == 201
    assert len({span.trace_id for span in spans}) == 201


# eventlet


def test_spans_of_tpool_threads_are_all_exported(receiver: Receiver) -> None:
    """Under eventlet, 6000 spans that end in tpool's threads: 6000 arrive, none by the final flush."""
    ran = scripts.run(
        scripts.EVENTLET,
        scripts.EXPORTED,
        """
        from eventlet import tpool
        import time
        def burst():
            for i in range(100):
                span("tpool")
                time.sleep(0)
        for _ in range(60):
            tpool.execute(burst)
            eventlet.sleep(0.005)
        queue = runtime._process.spans
        deadline = time.monotonic() + 20
        while queue.sent < 6000 and time.monotonic() < deadline:
            eventlet.sleep(0.05)
        print(queue.sent, runtime.dropped)
        """,
        env=to(receiver, OTEL_BSP_SCHEDULE_DELAY="200", OTEL_BSP_MAX_QUEUE_SIZE="6000"),
    )
    assert ran.stdout.strip() == "6000 0"
    assert len(receiver.spans()) == 6000


def test_flush_from_a_tpool_thread_does_not_hang(receiver: Receiver) -> None:
    """force_flush in a tpool thread returns True, without a greenlet error."""
    ran = scripts.run(
        scripts.EVENTLET,
        scripts.EXPORTED,
        scripts.PATIENT,
        """
        from eventlet import tpool
        span("a")
        print(tpool.execute(flush), flush())
        """,
        env=to(receiver),
    )
    assert ran.stdout.strip() == "True True"
    assert "greenlet" not in ran.stderr
    assert len(receiver.spans()) == 1


def test_export_does_not_hold_up_greenthreads(receiver: Receiver) -> None:
    """While an export hangs, greenthreads go on ticking."""
    receiver.respond(hang_seconds=3)
    ran = scripts.run(
        scripts.EVENTLET,
        scripts.EXPORTED,
        """
        import time
        span("a")
        worst, last = 0, time.monotonic()
        for _ in range(50):
            eventlet.sleep(0.01)
            now = time.monotonic()
            worst, last = max(worst, now - last), now
        print(worst)
        """,
        env=to(receiver, **FAST),
    )
    assert float(ran.stdout) < 1.5


@pytest.fixture
def tls(tmp_path: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """A certificate for 127.0.0.1 and its key."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=127.0.0.1",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-keyout",
            str(key),
            "-out",
            str(cert),
        ],
        check=True,
        capture_output=True,
    )
    return cert, key


@pytest.mark.parametrize("eventlet", [False, True], ids=["threads", "eventlet"])
def test_https_endpoint(tls: tuple[pathlib.Path, pathlib.Path], eventlet: bool) -> None:
    """HTTPS works, also after eventlet's monkey_patch (no RecursionError), and when forked."""
    cert, key = tls
    with Receiver() as receiver:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        server = receiver._server
        server.socket = context.wrap_socket(server.socket, server_side=True)
        ran = scripts.run(
            scripts.EVENTLET if eventlet else "",
            scripts.EXPORTED,
            scripts.PATIENT,
            """
            import os
            span("parent")
            if not os.fork():
                span("child")
                print(flush())
                os._exit(0)
            os.wait()
            print(flush())
            """,
            env={
                "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint.replace("http:", "https:"),
                "OTEL_EXPORTER_OTLP_CERTIFICATE": str(cert),
            },
        )
        assert "Recursion" not in ran.stderr
        assert sorted(span.name for span in receiver.spans()) == ["child", "parent"], ran.stderr


def test_missing_certificate_is_reported_once(receiver: Receiver) -> None:
    """A certificate path that does not exist is one warning, and the process lives on."""
    ran = scripts.run(
        scripts.EXPORTED,
        scripts.PATIENT,
        "span('a'); flush(); span('b'); flush(); print('alive')",
        env=spans_to(
            receiver,
            OTEL_EXPORTER_OTLP_ENDPOINT="https://127.0.0.1:1",
            OTEL_EXPORTER_OTLP_CERTIFICATE="/no/such.pem",
            OTEL_EXPORTER_OTLP_TIMEOUT="1",
        ),
    )
    assert ran.stdout.strip() == "alive"
    assert ran.stderr.count("otel-cinder") == 1, ran.stderr
    assert "/no/such.pem" in ran.stderr


@pytest.mark.parametrize("eventlet", [False, True], ids=["threads", "eventlet"])
def test_malformed_headers_are_reported_without_their_value(
    receiver: Receiver, eventlet: bool
) -> None:
    """A header without its name is reported once for each signal, its value never; spans leave."""
    ran = scripts.run(
        scripts.EVENTLET if eventlet else "",
        scripts.EXPORTED,
        "span('a'); flush(); otel_cinder.uninstrument(); print('\"alive\"')",
        env=to(receiver, OTEL_EXPORTER_OTLP_HEADERS="Bearer uncovered-token"),
    )
    assert ran.said == "alive"
    assert "uncovered" not in ran.stderr
    lines = ran.stderr.strip().splitlines()
    assert len(lines) == 2, ran.stderr
    for noun, line in zip(("metrics", "spans"), sorted(lines), strict=True):
        assert line.startswith("Check OTEL_EXPORTER_OTLP_HEADERS")
        assert (
            f"otel-cinder exports {noun}, but ignores a malformed setting (Header format invalid!"
        ) in line
    assert [span.name for span in receiver.spans()] == ["a"]


# Collectors that fail


@pytest.mark.parametrize("trouble", ["down", "503", "hanging"])
@pytest.mark.parametrize("eventlet", [False, True], ids=["threads", "eventlet"])
def test_collector_in_trouble_costs_one_sentence(
    receiver: Receiver, trouble: str, eventlet: bool
) -> None:
    """Down, 503 or hanging: no span blocks, one warning a signal, and the stop takes 5 s at most."""
    if trouble == "down":
        receiver.stop()
    elif trouble == "503":
        receiver.respond(status=503)
    else:
        receiver.respond(hang_seconds=60)
    ran = scripts.run(
        scripts.EVENTLET if eventlet else "",
        scripts.EXPORTED,
        """
        import json, os, time
        span("a")  # under eventlet the first one imports the exporter
        slowest = 0
        for i in range(1199):
            begin = time.monotonic()
            span("a")
            slowest = max(slowest, time.monotonic() - begin)
            if i % 100 == 0:
                time.sleep(0.01)
        time.sleep(2.5)
        span("a")
        begin = time.monotonic()
        otel_cinder.uninstrument()
        print(json.dumps([slowest, time.monotonic() - begin]))
        """,
        env=to(receiver, OTEL_EXPORTER_OTLP_TIMEOUT="0.3", **FAST),
    )
    slowest, stopping = ran.said
    assert slowest < 0.9
    assert stopping < 6
    spans, metrics = sorted(ran.stderr.splitlines(), key=lambda line: "export metrics" in line)
    for noun, line in (("spans", spans), ("metrics", metrics)):
        assert f". otel-cinder can't export {noun} to {receiver.endpoint}: " in line
        assert "Cinder is not affected; they are tried again for a minute, then dropped." in line
    assert "or set OTEL_METRICS_EXPORTER=none" in metrics


def test_warning_has_the_reason(receiver: Receiver) -> None:
    """A refused connection is reported as one, not as `max retries or shutdown`."""
    receiver.stop()
    ran = scripts.run(
        scripts.EXPORTED,
        "span('a'); flush()",
        env=to(receiver, OTEL_EXPORTER_OTLP_TIMEOUT="3"),
    )
    assert "refused" in ran.stderr


def test_stop_with_a_dead_collector_counts_lost_spans(receiver: Receiver) -> None:
    """A process that lives for less than the exporter's 10 s of retries says that spans are lost."""
    receiver.stop()
    ran = scripts.run(
        scripts.EXPORTED,
        """
        import time
        span("a")
        begin = time.monotonic()
        otel_cinder.uninstrument()
        print(time.monotonic() - begin)
        """,
        env=spans_to(receiver),
    )
    assert ran.said < 8
    assert ran.stderr.count("otel-cinder") == 1


@pytest.mark.parametrize("way", ["os._exit", "exit"])
def test_process_with_a_hanging_collector_stops_in_time(receiver: Receiver, way: str) -> None:
    """A graceful stop of the process itself takes 5 s at most, for spans and metrics together."""
    receiver.respond(hang_seconds=60)
    code = "import os; os._exit(0)" if way == "os._exit" else "pass"
    ran = scripts.run(
        scripts.EXPORTED,
        "span('a'); runtime.measure('cinder.rpc.queue.duration', 1, {})",
        "import time; print(time.time(), flush=True)",
        code,
        env=to(receiver, **FAST),
    )
    assert time.time() - float(ran.stdout) < 9.5


def test_exporting_resumes_without_a_restart(receiver: Receiver) -> None:
    """After an outage all spans arrive, and the log says how many were lost: none."""
    receiver.stop()
    env = scripts.environment(spans_to(receiver, OTEL_EXPORTER_OTLP_TIMEOUT="1", **FAST))
    script = """
import sys
span("first")
print(flush(8), flush=True)
sys.stdin.readline()
span("second")
print(flush(8))
"""
    with subprocess.Popen(
        [sys.executable, "-c", scripts.EXPORTED + script],
        env=env,
        cwd=scripts.ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "False"
        receiver.start()
        out, errors = process.communicate("go\n", timeout=30)
    assert out.strip() == "True"
    assert [span.name for span in receiver.spans()] == ["first", "second"]
    assert errors.count("can't export spans to") == 1, errors
    assert errors.count("again; 0 spans were lost so far.") == 1, errors


@pytest.mark.parametrize("eventlet", [False, True], ids=["threads", "eventlet"])
def test_all_signals_together_stop_in_time(receiver: Receiver, eventlet: bool) -> None:
    """With a hanging collector, a stop takes 5 s at most for spans, metrics and logs together."""
    receiver.respond(hang_seconds=60)
    ran = scripts.run(
        scripts.EVENTLET if eventlet else "",
        scripts.EXPORTED,
        """
        import json, time
        from opentelemetry._logs import LogRecord
        runtime.measure("cinder.rpc.queue.duration", 1, {})
        runtime.emit_log(LogRecord(body="a"))
        span("a")
        begin = time.monotonic()
        otel_cinder.uninstrument()
        print(json.dumps(time.monotonic() - begin))
        """,
        env=to(receiver, OTEL_LOGS_EXPORTER="otlp"),
    )
    assert 4.5 < ran.said < 14
    nouns = ("spans", "metrics", "log records")[: 2 + EXPORTS_LOGS]
    assert ran.stderr.count(" were not sent ") == len(nouns)
    for noun in nouns:
        assert f" {noun} were not sent (no answer)." in ran.stderr
