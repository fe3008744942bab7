"""The process that `memory` measures: spans as Cinder's are, through the exporter as it is."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from pathlib import Path

import requests
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import SpanKind

import otel_cinder
from otel_cinder.spans.runtime import FLUSH_TIMEOUT, runtime
from tests.integration.processes import free_port

SPANS_PER_TRACE = 21


def main(count: int) -> None:
    """Make so many spans and print what it took, as JSON."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        del os.environ[name]
    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{free_port()}"
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of the imports
    before = _resident("VmRSS")
    otel_cinder.instrument()
    count_made = _trace(SPANS_PER_TRACE)
    runtime.flush(FLUSH_TIMEOUT)
    warm = _resident("VmRSS")
    started = time.monotonic()
    while count_made < count:
        count_made += _trace(min(SPANS_PER_TRACE, count - count_made))
    seconds = time.monotonic() - started
    dropped = runtime.dropped
    started = time.monotonic()
    otel_cinder.uninstrument()
    found = {
        "spans": count_made,
        "seconds": seconds,
        "dropped": dropped,
        "stop_seconds": time.monotonic() - started,
        "before_mib": before,
        "warm_mib": warm,
        "peak_mib": _resident("VmHWM"),
    }
    print(json.dumps(found))


def _trace(spans: int) -> int:
    """Make one trace of so many spans, each the parent of the next."""
    context = otel_context.get_current()
    opened = []
    for index in range(spans):
        span = runtime.start_span(
            f"cast cinder-scheduler/method_{index}",
            context,
            SpanKind.PRODUCER,
            {
                "messaging.system": "rabbitmq",
                "messaging.operation.name": "cast",
                "messaging.operation.type": "send",
                "messaging.destination.name": f"openstack:cinder-volume.node@one.{index}",
                "messaging.destination.template": "openstack:cinder-volume.{host}",
                "messaging.rabbitmq.destination.routing_key": f"cinder-volume.node@one.{index}",
                "rpc.system.name": "oslo.messaging",
                "rpc.method": f"cinder-scheduler/method_{index}",
                "openstack.request_id": f"req-0b2c1c0e-8d3a-4a5c-9f50-{time.monotonic_ns():012x}",
                "openstack.project_id": f"c1de{time.monotonic_ns():028x}",
                "openstack.user_id": f"a11ce{time.monotonic_ns():027x}",
            },
        )
        context = trace.set_span_in_context(span, context)
        opened.append(span)
    for span in reversed(opened):
        span.end()
    return spans


def _resident(key: str) -> float:
    """VmRSS or VmHWM, the most there has been, in MiB."""
    match = re.search(rf"^{key}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    if match is None:
        raise RuntimeError(f"/proc/self/status has no {key}")
    return int(match[1]) / 1024


if __name__ == "__main__":
    assert requests  # imported, as in Cinder's services: that is not what tracing adds
    main(int(sys.argv[1]))
