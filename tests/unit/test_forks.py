"""Children that are forked while other threads are in the midst of flows, messages and casts."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.receiver import Receiver
from tests.unit import scripts

PARKED = """
import json, os, sys, threading
import oslo_messaging
from oslo_config import cfg
from opentelemetry import trace
from taskflow import engines, task
from taskflow.patterns import linear_flow

go_on = threading.Event()
reached = {place: threading.Event() for place in ("task", "cast", "message")}

def park(place):
    reached[place].set()
    go_on.wait()

class Parks(task.Task):
    def execute(self):
        park("task")

class Casts(task.Task):
    def execute(self):
        client.prepare().cast({}, "create_volume")

class Endpoint:
    def create_volume(self, context):
        park("message")

def run(made):
    engines.run(linear_flow.Flow("flow").add(made))

def send(*args, **kwargs):
    if threading.current_thread().name == "parked cast":
        park("cast")
    return sends(*args, **kwargs)

transport = oslo_messaging.get_rpc_transport(cfg.CONF, "fake://")
sends, transport._driver.send = transport._driver.send, send
target = oslo_messaging.Target(topic="cinder-volume", server="host")
server = oslo_messaging.get_rpc_server(transport, target, [Endpoint()], executor="threading")
client = oslo_messaging.get_rpc_client(transport, target)
server.start()
run(Casts())
for name, made in (("parked task", Parks()), ("parked cast", Casts())):
    threading.Thread(target=run, args=(made,), name=name, daemon=True).start()
for event in reached.values():
    event.wait()
# Its thread takes the lock of the fake broker all the time, and a fork may copy it taken.
server.stop()
"""
"""Threads of which each waits somewhere else, none of them with a lock of the hosts' in its hands."""

FORKED = """
statuses = []
with trace.use_span(runtime.start_span("request", otel_context.get_current())):
    for _ in range(3):
        child = os.fork()
        if not child:
            run(Casts())
            LEAVE(7)
        statuses.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(json.dumps(statuses), flush=True)
os._exit(0)
"""


# Under eventlet a child has its parent's greenthreads, and sys.exit() would wait for them, traced
# or not: services leave by os._exit().
@pytest.mark.parametrize(
    ("first", "leave"),
    [("", "os._exit"), ("", "sys.exit"), (scripts.EVENTLET, "os._exit")],
    ids=["threads-os._exit", "threads-sys.exit", "eventlet-os._exit"],
)
def test_child_of_a_busy_parent_works_and_ends(first: str, leave: str) -> None:
    """Forked amid flows, messages and casts, a child runs a flow with a cast, exports, and ends.

    A lock that another thread holds at the fork stays taken in the child for ever: none of ours may
    be, whatever the other threads are at.
    """
    with Receiver() as receiver:
        ran = scripts.run(
            first,
            scripts.EXPORTED,
            PARKED,
            FORKED.replace("LEAVE", leave),
            env={"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint},
            timeout=240,
        )
        assert ran.said == [7, 7, 7], ran.stderr
        # Each child's, in the request's trace; the parent has made others, in traces of their own.
        traces = Counter(span.trace_id for span in receiver.spans() if span.name == "Casts")
        assert max(traces.values()) == 3
