"""Under eventlet, export threads never run eventlet's code, and the hub logs their messages."""

from __future__ import annotations

import pathlib

import pytest

from tests.receiver import Receiver
from tests.unit import scripts
from tests.unit.export import collectors

WATCHED = """
import sys
from otel_cinder.export.worker import Worker
seen, codes = set(), set()
def profile(frame, event, argument):
    code = frame.f_code
    codes.add(code.co_name)
    by = f"{code.co_filename}:{frame.f_lineno}"
    if event == "call" and ("/eventlet/" in code.co_filename or "greenlet" in code.co_filename):
        seen.add(f"{code.co_filename}:{code.co_name} by {frame.f_back.f_code.co_filename}")
    elif event == "call" and code.co_name == "_find_and_load":
        seen.add(f"import of {frame.f_locals.get('name')} by {frame.f_back.f_code.co_filename}")
    elif event == "c_call" and "greenlet" in str(getattr(argument, "__module__", "")):
        seen.add(f"{argument.__name__} by {by}")
works = Worker._work_until_stopped
def work(self):
    sys.setprofile(profile)
    works(self)
Worker._work_until_stopped = work
"""
"""Before instrument(): ``seen`` collects code that must not run in an export thread."""

RECORD = """
import json, time
from opentelemetry._logs import LogRecord
def record():
    span("a")
    runtime.measure("cinder.rpc.queue.duration", 1, {"rpc.method": "x"})
    runtime.emit_log(LogRecord(body="a"))
"""

ALL = {
    "OTEL_LOGS_EXPORTER": "otlp",
    "OTEL_METRIC_EXPORT_INTERVAL": "100",
    "OTEL_BSP_SCHEDULE_DELAY": "50",
    "OTEL_BLRP_SCHEDULE_DELAY": "50",
}


@pytest.mark.parametrize("where", ["collector", "tls", "refused", "unresolved", "proxy"])
def test_nothing_of_eventlets_runs_in_export_threads(where: str, tmp_path: pathlib.Path) -> None:
    """Not one call of eventlet's or greenlet's, and no import, whether exports succeed or fail."""
    cert, key = collectors.certificate(tmp_path, "IP:127.0.0.1")
    context = collectors.server_context(cert, key) if where == "tls" else None
    with collectors.collector(collectors.answer(), context=context) as listener:
        endpoint = {
            "tls": listener.endpoint.replace("http:", "https:"),
            "refused": "http://127.0.0.1:1",
            "unresolved": "http://nonexistent.invalid:4318",
            "proxy": "https://collector.example:4318",
        }.get(where, listener.endpoint)
        more = {"https_proxy": listener.endpoint} if where == "proxy" else {}
        ran = scripts.run(
            scripts.EVENTLET,
            WATCHED,
            scripts.EXPORTED,
            RECORD,
            """
            for _ in range(4):
                record()
                eventlet.sleep(0.3)
            flush()
            record()
            otel_cinder.uninstrument()
            print(json.dumps(["deliver" in codes, sorted(seen)]))
            """,
            env={
                **ALL,
                **more,
                "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
                "OTEL_EXPORTER_OTLP_CERTIFICATE": str(cert),
            },
        )
    assert ran.said == [True, []]
    assert bool(listener.requests) is (where in ("collector", "tls", "proxy"))


def test_process_ends_well_while_its_collectors_name_does_not_resolve() -> None:
    """Six processes that stop in the midst of it: none crashes."""
    script = scripts.EVENTLET, scripts.EXPORTED, RECORD
    work = """
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        record()
        eventlet.sleep(0.01)
    """
    env = {**ALL, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://nonexistent.invalid:4318"}
    for _ in range(6):
        ran = scripts.run_anyhow(*script, work, env=env)
        assert ran.status == 0, ran.stderr


IDLE = """
import logging
told = []
class Keeps(logging.Handler):
    def emit(self, record):
        from oslo_context.context import get_current
        from opentelemetry import trace
        told.append((record.getMessage(), get_current() is not None,
                     trace.get_current_span().get_span_context().is_valid))
logging.getLogger().addHandler(Keeps())
def wait(seconds=30):
    end = time.monotonic() + seconds
    while not told and time.monotonic() < end:
        time.sleep(0.05)
"""
"""After RECORD: ``wait()`` for a log line; ``told`` has it, and if it is in a request."""


@pytest.mark.parametrize("eventlet", [False, True], ids=["threads", "eventlet"])
@pytest.mark.parametrize("forked", [False, True], ids=["", "forked"])
def test_failure_is_logged_without_prompting_and_outside_of_any_request(
    eventlet: bool, forked: bool
) -> None:
    """One span, and nothing after it: its failure is logged, without the request's id or span."""
    ran = scripts.run(
        scripts.EVENTLET if eventlet else "",
        scripts.EXPORTED,
        RECORD,
        IDLE,
        """
        import os
        from opentelemetry import trace
        from oslo_context.context import RequestContext
        """,
        "span('parent'); child = os.fork()" if forked else "child = 0",
        """
        if child:
            sys_exit = os.waitpid(child, 0)[1]
            os.kill(os.getpid(), 9) if sys_exit else os._exit(0)
        RequestContext(overwrite=True)
        request = runtime.start_span("request", otel_context.get_current())
        token = otel_context.attach(trace.set_span_in_context(request))
        span("a")
        wait()
        otel_context.detach(token)
        print(json.dumps(told), flush=True)
        """,
        env={
            **ALL,
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
        },
        timeout=120,
    )
    ((message, has_request, has_span),) = ran.said
    assert "otel-cinder can't export spans to http://127.0.0.1:1: nothing listens" in message
    assert not has_request
    assert not has_span


def test_uninstrument_leaves_nothing_on_the_hub() -> None:
    """The hub looks every two seconds, and no more after uninstrument(); the process ends at once."""
    with Receiver() as receiver:
        ran = scripts.run(
            scripts.EVENTLET,
            scripts.EXPORTED,
            RECORD,
            """
            from eventlet.hubs import get_hub
            def timers():
                hub = get_hub()
                return sum(not timer.called for _, timer in [*hub.timers, *hub.next_timers])
            before = timers()
            record()
            during = timers()
            otel_cinder.uninstrument()
            print(json.dumps([before, during, timers()]))
            """,
            env={**ALL, "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint},
        )
    assert ran.said == [0, 1, 0]


def test_thread_of_tpools_gets_no_hub() -> None:
    """A first span that ends in a native thread of eventlet's does not make a hub there."""
    ran = scripts.run(
        scripts.EVENTLET,
        scripts.EXPORTED,
        RECORD,
        """
        import requests  # makes a socket when it is imported, as Cinder has done long before
        from eventlet import tpool
        from eventlet.hubs import _threadlocal
        def work():
            before = hasattr(_threadlocal, "hub")
            span("a")
            return [before, hasattr(_threadlocal, "hub")]
        print(json.dumps(tpool.execute(work)))
        """,
        env={**ALL, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
    )
    assert ran.said == [False, False]


def test_exchanged_hub_still_logs() -> None:
    """oslo.service gives each child a new hub, after which the timers of the old one are gone."""
    ran = scripts.run(
        scripts.EVENTLET,
        "from otel_cinder.export import failure_log; failure_log._LATE_S = 0.5",
        scripts.EXPORTED,
        RECORD,
        IDLE,
        """
        import eventlet.hubs
        span("a")
        eventlet.hubs.use_hub()
        end = time.monotonic() + 60
        while not told and time.monotonic() < end:
            span("a")
            eventlet.sleep(0.1)
        print(json.dumps(len(told)))
        """,
        env={
            **ALL,
            "OTEL_LOGS_EXPORTER": "none",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
        },
        timeout=120,
    )
    assert ran.said == 1
