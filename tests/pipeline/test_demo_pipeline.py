"""`otel-cinder demo --pipeline` with the programs of compose.yaml, started as that starts them."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_cinder.cli.demo.pipeline import Pipeline
from otel_cinder.cli.demo.problem import Problem
from otel_cinder.reading.otlp_json import from_json
from otel_cinder.reading.trace import Trace, spans_of
from tests.integration.processes import wait_until
from tests.integration.whole_create import ROOT, SPANS
from tests.pipeline.composed import Composed, Ports
from tests.pipeline.programs import HTTP

COMMAND = Path(sys.executable).with_name("otel-cinder")
NOWHERE = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def ports() -> Ports:
    """Where the ports of compose.yaml are."""
    return Ports()


@pytest.fixture(scope="module", autouse=True)
def composed(tmp_path_factory: pytest.TempPathFactory, ports: Ports) -> Iterator[None]:
    """Jaeger, the collector and Prometheus as compose.yaml has them, each once it is healthy."""
    folder = tmp_path_factory.mktemp("composed")
    programs = [Composed(name, folder, ports) for name in ("jaeger", "collector", "prometheus")]
    try:
        for program in programs:
            program.start()
        yield
    finally:
        for program in programs:
            program.kill()


@pytest.fixture(scope="module")
def jaeger(ports: Ports) -> str:
    """Jaeger's URL."""
    return f"http://{ports.address(16686)}"


@pytest.fixture(scope="module")
def demo(ports: Ports, jaeger: str) -> str:
    """The demo's output."""
    addresses = ["--endpoint", f"http://{ports.address(4318)}", "--jaeger", jaeger]
    done = subprocess.run(
        [COMMAND, "demo", "--pipeline", *addresses, "--grafana", NOWHERE],
        env=os.environ | {"http_proxy": NOWHERE},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture(scope="module")
def trace(demo: str, jaeger: str) -> Trace:
    """The trace behind the link that the demo printed."""
    [trace_id] = re.findall(rf"^  the trace +{jaeger}/trace/([0-9a-f]{{32}})$", demo, re.MULTILINE)
    answer = HTTP.get(f"{jaeger}/api/v3/traces/{trace_id}", timeout=30).json()
    return Trace(spans_of(from_json(json.dumps(answer["result"]), ExportTraceServiceRequest)))


def values(ports: Ports, expression: str) -> list[float]:
    """Each series' value, as Prometheus has it now."""
    url = f"http://{ports.address(9090)}/api/v1/query"
    answer = HTTP.get(url, params={"query": expression}, timeout=30).json()
    assert answer["status"] == "success", answer
    return [float(series["value"][1]) for series in answer["data"]["result"]]


def test_the_trace_that_it_links_to_is_whole_in_jaeger(trace: Trace) -> None:
    """When the demo has printed the link, Jaeger returns every span of the create."""
    assert (len(trace), trace.is_whole) == (SPANS, True)
    assert trace.services == ("cinder-api", "cinder-scheduler", "cinder-volume")
    assert trace.root is not None
    assert trace.root.name == ROOT


def test_it_says_how_to_send_more_there(demo: str, ports: Ports) -> None:
    """Its advice for your own Cinder names the collector that it used itself."""
    assert f"\n  OTEL_EXPORTER_OTLP_ENDPOINT=http://{ports.address(4318)}\n" in demo


def test_its_links_are_of_what_is_there(demo: str, trace: Trace, jaeger: str) -> None:
    """A Jaeger built without pages has the trace's JSON beside it; no Grafana, no link to it."""
    assert f"\n  as JSON    {jaeger}/api/v3/traces/{trace.trace_id}\n" in demo
    assert not re.search(rf"{re.escape(NOWHERE)}\b", demo)


@pytest.mark.usefixtures("demo")
@pytest.mark.parametrize(
    "expression",
    [
        f'traces_span_metrics_calls_total{{service_name="cinder-api", span_name="{ROOT}"}}',
        'traces_span_metrics_duration_milliseconds_count{service_name="cinder-volume"}',
        'http_server_request_duration_seconds_count{http_request_method="POST"}',
        "taskflow_task_duration_seconds_count",
        'traces_service_graph_request_total{client="cinder-api", server="cinder-scheduler"}',
    ],
)
def test_prometheus_has_its_metrics(ports: Ports, expression: str) -> None:
    """The collector's metrics of spans, and those of Cinder's services, can be queried."""
    wait_until(lambda: sum(values(ports, expression)) >= 1, 60, expression)


def test_prometheus_scrapes_all_programs(ports: Ports) -> None:
    """Each of compose.yaml's targets answers, and the alerts are read."""
    wait_until(lambda: values(ports, "up") == [1.0] * 4, 60, "four targets that are up")
    assert HTTP.get(f"http://{ports.address(9090)}/api/v1/rules", timeout=30).json()["data"][
        "groups"
    ]


def test_a_span_that_does_not_come_is_missed(trace: Trace, jaeger: str) -> None:
    """Jaeger having a trace is not enough: each of its spans is waited for, and one is named."""
    late = replace(trace.spans[-1], span_id="f" * 16)
    with pytest.raises(Problem, match=f"1 of its {SPANS + 1} spans are not in Jaeger at {jaeger}"):
        Pipeline(jaeger, NOWHERE).wait_for(Trace([*trace.spans, late]), timeout=1)


def test_jaeger_can_keep_traces_in_its_volume(tmp_path: Path) -> None:
    """With JAEGER_STORAGE=badger, Jaeger is healthy and stores below its volume."""
    program = Composed("jaeger", tmp_path, Ports(), JAEGER_STORAGE="badger")
    try:
        program.start()
        assert list((program.root / "tmp" / "badger" / "keys").iterdir())
    finally:
        program.kill()
