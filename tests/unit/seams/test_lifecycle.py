"""Where services start and stop."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import oslo_messaging
import pytest
from oslo_config import cfg

from tests.receiver import Receiver
from tests.unit import scripts
from tests.unit.recording import Recorder

NEVER_ON_ITS_OWN = {
    "OTEL_BSP_SCHEDULE_DELAY": "3600000",
    "OTEL_METRIC_EXPORT_INTERVAL": "3600000",
}

SERVICE = """
import os, time
import eventlet
from oslo_config import cfg
from oslo_service import service
from oslo_service.service import ProcessLauncher
cfg.CONF([])
PARENT = os.getpid()
ticks = []
class Worker(service.Service):
    def start(self):
        span("before")
        self.tg.add_thread(self.tick)
        print(os.getpid(), flush=True)
    def tick(self):
        while True:
            ticks.append(None)
            eventlet.sleep(0.05)
    def stop(self):
        STOP
launcher = ProcessLauncher(cfg.CONF, restart_method="mutate")
launcher.launch_service(Worker(), workers=1)
launcher.wait()
"""


@contextlib.contextmanager
def running(receiver: Receiver, stop: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A service of oslo.service's with one worker, which has made a span: the parent, and its pid.

    Args:
        stop: what the worker does when it is told to stop.
    """
    parts = (scripts.EVENTLET, scripts.EXPORTED, SERVICE.replace("STOP", stop))
    with subprocess.Popen(
        [sys.executable, "-c", "\n".join(textwrap.dedent(part) for part in parts)],
        env=scripts.environment(
            {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, **NEVER_ON_ITS_OWN}
        ),
        cwd=scripts.ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as parent:
        try:
            assert parent.stdout is not None
            yield parent, int(parent.stdout.readline())
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(parent.pid, signal.SIGKILL)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A collector."""
    with Receiver() as receiver:
        yield receiver


def names(receiver: Receiver) -> list[str]:
    return [span.name for span in receiver.spans()]


def test_two_sigterms_at_once_lose_nothing(receiver: Receiver) -> None:
    """Parent and worker get SIGTERM together, and the parent passes its own on, which ends the worker
    in the midst of its work, traced or not: what it had recorded arrives, however slow the collector.
    """
    receiver.respond(hang_seconds=1)
    with running(receiver, "os.getppid() == PARENT and eventlet.sleep(600)") as (parent, _):
        os.killpg(parent.pid, signal.SIGTERM)
        assert parent.wait(60) == 0
    assert names(receiver) == ["before"]


def test_spans_that_end_after_sigterm_leave_at_once(receiver: Receiver) -> None:
    """A worker that was told to stop exports each span as it ends: it may be killed at any moment."""
    stop = "span('after'); eventlet.sleep(600)"
    with running(receiver, stop) as (_, worker):
        os.kill(worker, signal.SIGTERM)
        assert receiver.wait_for(lambda spans: len(spans) == 2, 60)
    assert names(receiver) == ["before", "after"]


def test_worker_goes_on_while_it_exports(receiver: Receiver) -> None:
    """While a collector hangs, the other greenthreads of a worker that was told to stop run on."""
    receiver.respond(hang_seconds=3)
    with running(receiver, "print(len(ticks), flush=True); super().stop()") as (parent, worker):
        os.kill(worker, signal.SIGTERM)
        assert parent.stdout is not None
        assert int(parent.stdout.readline()) > 10  # 60, were it not for a busy machine


def test_stop_waits_no_longer_than_a_collector_that_is_gone_allows(receiver: Receiver) -> None:
    """With a collector that never answers, the worker begins to stop after the flush's bound."""
    receiver.respond(hang_seconds=600)
    with running(receiver, "print('stopping', flush=True); super().stop()") as (parent, worker):
        os.kill(worker, signal.SIGTERM)
        assert parent.stdout is not None
        assert parent.stdout.readline() == "stopping\n"


# Starts


@pytest.fixture
def said(
    instrumented: Callable[..., Recorder], caplog: pytest.LogCaptureFixture
) -> Callable[[], list[str]]:
    """The services that the log lines so far name as traced."""
    caplog.set_level(logging.INFO, "otel_cinder")
    instrumented()
    return lambda: [
        message.partition(" traces ")[2].partition(":")[0]
        for message in caplog.messages
        if " traces " in message
    ]


def test_rpc_server_that_starts_says_it(said: Callable[[], list[str]]) -> None:
    """A volume service's first server logs that it is traced, with the backend; its second does not."""
    transport = oslo_messaging.get_rpc_transport(cfg.CONF, "fake://")
    servers = [
        oslo_messaging.get_rpc_server(
            transport,
            oslo_messaging.Target(topic=topic, server="node"),
            [SimpleNamespace(host="node@lvm", target=oslo_messaging.Target())],
        )
        for topic in ("cinder-volume", "cinder-volume.node@lvm")
    ]
    for server in servers:
        server.start()
    assert said() == ["cinder-volume (node@lvm)"]
    for server in servers:
        server.stop()
        server.wait()
    transport.cleanup()
