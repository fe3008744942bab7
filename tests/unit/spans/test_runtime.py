"""Providers, resources, and the processes that they belong to."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry.context import Context

import otel_cinder
from otel_cinder.cinder import services
from otel_cinder.spans import runtime as module
from otel_cinder.spans.runtime import runtime
from otel_cinder.spans.service import SERVICE, Service
from tests.receiver import Receiver
from tests.unit import scripts
from tests.unit.racing import race


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A collector, to which this process exports."""
    with Receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        yield receiver


def span(name: str, service: Service | None = None) -> None:
    context = Context()
    if service is not None:
        context = otel_context.set_value(SERVICE, service, context)
    runtime.start_span(name, context).end()


# When


def test_nothing_is_built_before_the_first_span(receiver: Receiver) -> None:
    """instrument() builds no provider and starts no thread."""
    before = threading.active_count()
    otel_cinder.instrument()
    assert runtime._process is None
    assert threading.active_count() == before
    otel_cinder.uninstrument()
    assert receiver.attempts == 0


def test_uninstrument_flushes(receiver: Receiver) -> None:
    """All that was recorded before uninstrument() has arrived after it."""
    otel_cinder.instrument()
    span("a")
    otel_cinder.uninstrument()
    assert [s.name for s in receiver.spans()] == ["a"]


def test_racing_first_spans_share_a_queue(receiver: Receiver) -> None:
    """Twenty threads that all make the first span use one provider; all spans arrive."""
    otel_cinder.instrument()
    race(lambda: span("a"))
    otel_cinder.uninstrument()
    assert len(receiver.spans()) == 20


def test_process_id_reveals_a_fork_outside_of_python(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uWSGI forks in C: a new process id alone leads to a new queue."""
    otel_cinder.instrument()
    span("parent")
    parent = runtime._process
    pid = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: pid + 100_000)
    span("child")
    assert runtime._process is not parent
    assert runtime.flush()
    monkeypatch.undo()
    assert parent is not None
    assert parent.spans is not None
    parent.shutdown(5)
    otel_cinder.uninstrument()
    assert sorted(s.name for s in receiver.spans()) == ["child", "parent"]


def test_flush_without_a_span_is_true() -> None:
    """There is nothing to flush where nothing was built."""
    assert runtime.flush()
    assert module.flush(0.1)
    assert runtime.dropped == 0


# Whose


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> str:
    """The machine's name, which tests' hosts name."""
    monkeypatch.setattr("socket.gethostname", lambda: "h")
    return "h"


@pytest.mark.usefixtures("machine")
def test_services_have_their_own_resources(receiver: Receiver) -> None:
    """In one process, spans of two services arrive each under its own service.name and instance."""
    otel_cinder.instrument()
    span("a", Service("cinder-volume", "h@lvm"))
    span("b", Service("cinder-scheduler", "h"))
    otel_cinder.uninstrument()
    resources = {s.name: s.resource for s in receiver.spans()}
    assert (resources["a"]["service.name"], resources["a"]["service.instance.id"]) == (
        "cinder-volume",
        "h@lvm",
    )
    assert resources["b"]["service.name"] == "cinder-scheduler"


@pytest.mark.usefixtures("machine")
def test_resource_has_exactly_these_attributes() -> None:
    """Name, namespace, instance, Cinder's version, and the SDK's three."""
    resource = dict(_resource(Service("cinder-volume", "h@lvm")))
    from importlib import metadata

    from opentelemetry.sdk.version import __version__ as sdk

    assert resource == {
        "service.name": "cinder-volume",
        "service.namespace": "cinder",
        "service.instance.id": "h@lvm",
        "service.version": metadata.version("cinder"),
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "opentelemetry",
        "telemetry.sdk.version": sdk,
    }


def _resource(service: Service | None) -> Any:
    runtime.identify = services.resource_attributes
    return runtime.resource(service).attributes


@pytest.mark.usefixtures("machine")
def test_operators_resource_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES override and add."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    monkeypatch.setenv(
        "OTEL_RESOURCE_ATTRIBUTES", "service.namespace=ours,deployment.environment.name=lab"
    )
    resource = _resource(Service("cinder-volume", "h@lvm"))
    assert resource["service.name"] == "mine"
    assert resource["service.namespace"] == "ours"
    assert resource["deployment.environment.name"] == "lab"
    assert resource["service.instance.id"] == "h@lvm"


@pytest.mark.parametrize(
    ("host", "instance"),
    [
        ("h@lvm", "h@lvm"),
        ("h", "h"),
        ("h.example.org@lvm", "h.example.org@lvm"),
        ("", "h"),
        ("rbd:volumes@rbd-1", "rbd:volumes@rbd-1:h"),  # as kolla has it on all controllers
        ("hostgroup", "hostgroup:h"),
        ("h2@lvm", "h2@lvm:h"),
    ],
)
@pytest.mark.usefixtures("machine")
def test_instance_names_host_and_machine(host: str, instance: str) -> None:
    """The manager's host, with the machine where the host does not name it."""
    assert _resource(Service("cinder-volume", host))["service.instance.id"] == instance


FORKED = """
import os, signal
from otel_cinder.spans.service import SERVICE, Service
where = otel_context.set_value(SERVICE, Service("cinder-backup", "node"), otel_context.Context())
ready = os.pipe()
def start_worker():  # one that has worked, exported that, and lives on
    child = os.fork()
    if not child:
        runtime.start_span("work", where).end()
        flush()
        os.write(ready[1], b".")
        signal.pause()
    os.read(ready[0], 1)
    return child
def kill(child):
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""


def _instances(receiver: Receiver) -> set[str]:
    return {str(span.resource["service.instance.id"]) for span in receiver.spans()}


@pytest.mark.parametrize("operator", ["", "theirs"])
def test_instances_of_living_processes_differ(receiver: Receiver, operator: str) -> None:
    """Workers with one host have each an instance of their own, also where the operator named it."""
    attributes = {"OTEL_RESOURCE_ATTRIBUTES": f"service.instance.id={operator}"} if operator else {}
    scripts.run(
        scripts.EXPORTED,
        FORKED,
        """
        for child in [start_worker() for _ in range(3)]:
            kill(child)
        """,
        env={"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, **attributes},
    )
    first = operator or f"node:{socket.gethostname()}"
    assert _instances(receiver) == {first, f"{first}:2", f"{first}:3"}


def test_successor_takes_its_predecessors_instance(receiver: Receiver) -> None:
    """After kill -9 of a worker the next one has its instance: a crash loop makes no new series."""
    scripts.run(
        scripts.EXPORTED,
        FORKED,
        """
        for _ in range(3):
            kill(start_worker())
        """,
        env={"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint},
    )
    assert _instances(receiver) == {f"node:{socket.gethostname()}"}


# The host's own provider and the SDK's switches


def test_provider_of_the_host_is_used() -> None:
    """A global provider that the host has set gets the spans, and stays in place."""
    ran = scripts.run(
        """
        import json
        from opentelemetry import trace, context as otel_context
        from tests.unit.recording import Recorder
        spans = Recorder()
        trace.set_tracer_provider(spans.provider)
        import otel_cinder
        from otel_cinder.spans.runtime import runtime
        otel_cinder.instrument()
        runtime.start_span("a", otel_context.get_current()).end()
        print(json.dumps([spans.names, trace.get_tracer_provider() is spans.provider,
                          runtime._process.spans is None]))
        otel_cinder.uninstrument()
        """
    )
    assert ran.said == [["a"], True, True]


@pytest.mark.parametrize(
    "switch",
    [
        {"OTEL_SDK_DISABLED": "true"},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"},
    ],
    ids=lambda s: next(iter(s)),
)
def test_switches_of_the_sdk(receiver: Receiver, switch: dict[str, str]) -> None:
    """OTEL_SDK_DISABLED sends nothing, nor does `none` as the exporter of each signal."""
    scripts.run(
        scripts.EXPORTED,
        """
        span('a')
        assert not runtime.measuring
        runtime.measure("cinder.rpc.queue.duration", 1, {})
        assert flush()
        """,
        env={"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, **switch},
    )
    assert receiver.attempts == 0


def test_console_exporter_prints(receiver: Receiver) -> None:
    """OTEL_TRACES_EXPORTER=console writes the spans to stdout."""
    ran = scripts.run(
        scripts.EXPORTED,
        "span('seen on the console'); flush()",
        env={"OTEL_TRACES_EXPORTER": "console"},
    )
    assert '"name": "seen on the console"' in ran.stdout


def test_environment_of_the_operator_reaches_the_collector(receiver: Receiver) -> None:
    """OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win over detected values."""
    scripts.run(
        scripts.EXPORTED,
        "span('a')",
        env={
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            "OTEL_SERVICE_NAME": "mine",
            "OTEL_RESOURCE_ATTRIBUTES": "a=b",
        },
    )
    (span,) = receiver.spans()
    assert span.service == "mine"
    assert span.resource["a"] == "b"


@pytest.mark.complains
def test_failing_flush_does_not_keep_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """os._exit ends the process even where the flush raises."""
    left: list[Any] = []

    def broken(*_args: Any) -> bool:
        raise RuntimeError("no")

    monkeypatch.setattr(runtime, "flush", broken)
    runtime._end_then_exit(lambda *args: left.append(args), None, (3,), {})
    assert left == [(3,)]
