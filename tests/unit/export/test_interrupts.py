"""Signals: the threads that take them, and their effect on a process's last export."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import IO

import pytest

import otel_cinder
from otel_cinder.export import interrupts
from otel_cinder.export.worker import Worker
from otel_cinder.spans.runtime import runtime
from tests.receiver import Receiver
from tests.unit import scripts
from tests.unit.recording import Recorder

ENDING = {signal.SIGHUP, signal.SIGINT, signal.SIGTERM}

PERSISTENT = """
import os, signal, sys
from otel_cinder.export import queues as exporting
exporting._FAILING_WAIT = 200.0
"""
"""Behind PATIENT: the last export is tried again for as long."""

ANSWERS = """
def application(environ, start_response):
    span("before")
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]
"""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A collector that always asks for a retry."""
    with Receiver() as receiver:
        receiver.respond(status=503)
        yield receiver


@contextlib.contextmanager
def started(
    receiver: Receiver, argv: Sequence[str | pathlib.Path], output: int | IO[str]
) -> Iterator[subprocess.Popen[str]]:
    """A process in a group of its own that exports when it ends, and not before."""
    settings = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "3600000",
        "OTEL_METRICS_EXPORTER": "none",
    }
    process = subprocess.Popen(
        argv,
        env=scripts.environment(settings),
        cwd=scripts.ROOT,
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def source(before: str, *parts: str) -> str:
    all_parts = (before, scripts.EXPORTED, scripts.PATIENT, PERSISTENT, *parts)
    return "\n".join(textwrap.dedent(part) for part in all_parts)


def eventually(holds: Callable[[], object]) -> bool:
    deadline = time.monotonic() + 60
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def names(receiver: Receiver) -> list[str]:
    return [span.name for span in receiver.spans()]


@contextlib.contextmanager
def exporting(receiver: Receiver, before: str, *parts: str) -> Iterator[subprocess.Popen[str]]:
    """A script that ends after a span, whose last export is under way."""
    with started(
        receiver, [sys.executable, "-c", source(before, *parts)], subprocess.PIPE
    ) as process:
        assert eventually(lambda: receiver.attempts or process.poll() is not None)
        yield process


@pytest.mark.parametrize("number", sorted(ENDING))
@pytest.mark.parametrize("exits", ["sys.exit(3)", "os._exit(3)"])
@pytest.mark.parametrize("before", ["", scripts.EVENTLET], ids=["threads", "eventlet"])
def test_signal_that_ends_a_process_waits_for_its_last_export(
    receiver: Receiver, number: signal.Signals, exits: str, before: str
) -> None:
    """Recorded spans arrive; then the signal ends the exit, as far as Python can still be stopped."""
    handler = f"signal.signal({int(number)}, signal.SIG_DFL)"
    with exporting(receiver, before, "span('before')", handler, exits) as process:
        process.send_signal(number)
        receiver.respond()
        process.communicate(timeout=60)
    assert names(receiver) == ["before"]
    assert process.returncode == (-number if exits == "sys.exit(3)" else 3)


def test_handler_of_the_host_gets_its_signal_after_the_export(receiver: Receiver) -> None:
    """A handler is put back, and called once for all signals of its kind that came meanwhile."""
    handler = "signal.signal(signal.SIGTERM, lambda *_: print('handled', flush=True))"
    with exporting(receiver, "", "span('before')", handler) as process:
        process.terminate()
        process.terminate()
        receiver.respond()
        output, _ = process.communicate(timeout=60)
    assert (output, process.returncode) == ("handled\n", 0)
    assert names(receiver) == ["before"]


def is_idle(stats: pathlib.Path) -> bool:
    """True if uWSGI's workers serve no request: one that serves skips Python's exit."""
    with socket.socket(socket.AF_UNIX) as connection, connection.makefile("rb") as answer:
        connection.connect(str(stats))
        document = json.load(answer)
    return not any(core["in_request"] for worker in document["workers"] for core in worker["cores"])


PORT = re.compile(r"bound to TCP address 127\.0\.0\.1:(\d+)")


@pytest.mark.parametrize("threads", [1, 8])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        (signal.SIGHUP, signal.SIGTERM),
        (signal.SIGTERM, signal.SIGHUP),
        (signal.SIGTERM, signal.SIGINT),
    ],
    ids=["gracefully, then at once", "at once, then gracefully", "at once, then brutally"],
)
def test_second_signal_does_not_end_a_uwsgi_worker_that_exports(
    receiver: Receiver,
    tmp_path: pathlib.Path,
    first: signal.Signals,
    second: signal.Signals,
    threads: int,
) -> None:
    """uWSGI's master and systemd both tell a worker to end: its spans arrive, and it does end."""
    (tmp_path / "answers.py").write_text(source("", ANSWERS))
    log = tmp_path / "log"
    argv = [
        pathlib.Path(sys.executable).parent / "uwsgi",
        *"--http-socket 127.0.0.1:0 --master --processes 1 --enable-threads --die-on-term".split(),
        *("--threads", str(threads), "--stats", str(tmp_path / "stats")),
        *("--pythonpath", str(tmp_path), "--module", "answers"),
    ]
    with log.open("w") as output, started(receiver, argv, output) as master:
        assert eventually(lambda: PORT.search(log.read_text()) or master.poll() is not None)
        match = PORT.search(log.read_text())
        assert match, log.read_text()
        with urllib.request.urlopen(f"http://127.0.0.1:{match[1]}/", timeout=60) as answer:
            worker = int(answer.read())
        assert eventually(lambda: is_idle(tmp_path / "stats"))
        os.kill(worker, first)
        assert eventually(lambda: receiver.attempts)
        os.kill(worker, second)
        receiver.respond()
        assert receiver.wait_for(lambda spans: len(spans) > 0, 60), log.read_text()
        assert eventually(lambda: not pathlib.Path(f"/proc/{worker}").exists()), log.read_text()
    assert names(receiver) == ["before"]


def test_uwsgis_hook_is_taken_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """uWSGI has one hook for a process's end: ours, unless it is the host's."""
    uwsgi = SimpleNamespace(worker_id=lambda: 1)
    monkeypatch.setitem(sys.modules, "uwsgi", uwsgi)  # type: ignore[arg-type]
    otel_cinder.instrument(tracer_provider=Recorder().provider)
    runtime.measure("cinder.rpc.queue.duration", 1, {})
    assert uwsgi.atexit == runtime._end_at_exit
    otel_cinder.uninstrument()
    assert not hasattr(uwsgi, "atexit")
    uwsgi.atexit = print
    otel_cinder.instrument(tracer_provider=Recorder().provider)
    runtime.measure("cinder.rpc.queue.duration", 1, {})
    otel_cinder.uninstrument()
    assert uwsgi.atexit is print


def test_thread_that_is_not_the_main_one_holds_nothing() -> None:
    """Only the main thread may set handlers; an export in another thread works without them."""
    before = [signal.getsignal(number) for number in ENDING]
    seen: list[object] = []

    def hold() -> None:
        give_back = interrupts.hold()
        seen.extend(signal.getsignal(number) for number in ENDING)
        give_back()

    thread = threading.Thread(target=hold)
    thread.start()
    thread.join()
    assert seen == before


class Masked(Worker):
    """Reports the signals that its thread blocks."""

    def __init__(self) -> None:
        super().__init__("things", 60)
        self.blocked: set[int] = set()

    def _load(self) -> None:
        """Nothing."""

    def _begin(self) -> None:
        self.blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])

    def _work(self, *, asked: bool) -> None:
        """Nothing."""

    def _end(self) -> None:
        """Nothing."""


def test_our_threads_take_no_signals() -> None:
    """A signal is the host's threads' business; faults, which are a thread's own, stay visible."""
    masked = Masked()
    masked.start()
    assert masked.ask_to_end().wait(60)
    assert masked.blocked > ENDING | {signal.SIGALRM, signal.SIGCHLD, signal.SIGUSR1}
    assert not masked.blocked & {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE}


def test_threads_that_flush_the_hosts_providers_take_no_signals() -> None:
    """The same where the SDK's own processors do the work."""
    blocked: set[int] = set()
    recorder = Recorder()
    recorder.provider.force_flush = lambda _: blocked.update(  # type: ignore[method-assign]
        signal.pthread_sigmask(signal.SIG_BLOCK, [])
    )
    otel_cinder.instrument(tracer_provider=recorder.provider)
    runtime.measure("cinder.rpc.queue.duration", 1, {})
    assert runtime.flush()
    otel_cinder.uninstrument()
    assert blocked > ENDING
