"""`otel-cinder show`, `report` and `run` on what a real Jaeger has."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from otel_cinder.cli.commands import cli
from otel_cinder.reading.otlp_json import from_json, from_json_line
from otel_cinder.reading.story import Story
from otel_cinder.reading.trace import Trace
from tests.click_runner import runner
from tests.integration.installation import clean_environment
from tests.pipeline.programs import HTTP, Jaeger
from tests.unit.cli.traced_api import Api, serving
from tests.unit.reading.recorded import TRACES, recorded

NAMES = ("create", "reschedule", "no_backend_left", "attach_fails")
# The traces were recorded some day, and go on being so.
DAYS = "36500"


@pytest.fixture(scope="module")
def jaeger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jaeger]:
    """A Jaeger that has the traces of real Cinder."""
    jaeger = Jaeger("memory", tmp_path_factory.mktemp("jaeger"))
    jaeger.start()
    try:
        with grpc.insecure_channel(jaeger.otlp_grpc) as channel:
            stub = TraceServiceStub(channel)
            for name in NAMES:
                for line in (TRACES / f"{name}.jsonl").read_text().splitlines():
                    stub.Export(from_json_line(line), timeout=30)
        yield jaeger
    finally:
        jaeger.stop()


def invoke(*arguments: str) -> tuple[int, str, str]:
    """Run a command: status, output, error output."""
    result = runner().invoke(cli, arguments, env={"LC_ALL": "C.UTF-8"})
    return result.exit_code, result.stdout, result.stderr


def ids(trace: Trace) -> list[str]:
    """The ids by which somebody may ask for a trace."""
    assert trace.root is not None
    found = [trace.root.attributes[key] for key in ("openstack.request_id", "cinder.volume.id")]
    return [trace.trace_id, *found]


@pytest.mark.parametrize("name", NAMES)
def test_a_trace_is_shown_by_each_of_its_ids(jaeger: Jaeger, name: str) -> None:
    """The trace's id, the request's and the volume's give what the file gives."""
    expected = invoke("show", str(TRACES / f"{name}.jsonl"), "--format", "table")
    assert expected[0] == 0
    for wanted in ids(recorded(name)):
        arguments = ("--jaeger", jaeger.url, "--days", DAYS, "--format", "table")
        assert invoke("show", wanted, *arguments) == expected


def test_jaegers_older_answer_is_the_same_trace(jaeger: Jaeger, tmp_path: Path) -> None:
    """The download from Jaeger's page has the same story, with times in µs."""
    for name in NAMES:
        trace = recorded(name)
        file = tmp_path / f"{name}.json"
        file.write_bytes(HTTP.get(f"{jaeger.url}/api/traces/{trace.trace_id}", timeout=30).content)
        status, output, _ = invoke("show", str(file))
        assert status == 0
        names = [line.strip() for line in output.splitlines()]
        for stage in Story(trace).stages:
            assert stage.kind == "wait" or any(stage.name in line for line in names), stage.name
        assert "without a parent" not in output


def test_a_report_of_a_volume(jaeger: Jaeger, tmp_path: Path) -> None:
    """A page by a volume's id, beside another by a trace's id."""
    page = tmp_path / "a.html"
    volume, other = ids(recorded("reschedule"))[2], ids(recorded("create"))[0]
    arguments = ("--jaeger", jaeger.url, "--days", DAYS, "--lang", "zh", "-o", str(page))
    assert invoke("report", volume, "--diff", other, *arguments)[0] == 0
    assert "同一操作的两次执行" in page.read_text(encoding="utf-8")


def test_what_jaeger_does_not_have_is_said(jaeger: Jaeger) -> None:
    """An unknown trace, and an unknown volume: exit 1 and one sentence."""
    for wanted in ("f" * 32, "ffffffff-ffff-4fff-bfff-ffffffffffff", "req-none"):
        status, output, error = invoke("show", wanted, "--jaeger", jaeger.url)
        assert (status, output) == (1, "")
        assert f"Jaeger at {jaeger.url} has no trace of {wanted}" in error
    status, _, error = invoke("show", "f" * 32, "--jaeger", f"http://{jaeger.otlp_grpc}")
    assert status == 2
    assert error.count("\n") == 1


def test_run_asks_jaeger_until_the_work_has_ended(jaeger: Jaeger, tmp_path: Path) -> None:
    """What the services have sent to Jaeger is drawn below the command's request."""

    class ToJaeger(Api):
        """Takes a while to send each of its spans."""

        def send(self, export: dict[str, Any]) -> None:
            time.sleep(0.7)
            with grpc.insecure_channel(jaeger.otlp_grpc) as channel:
                request = from_json(json.dumps(export), ExportTraceServiceRequest)
                TraceServiceStub(channel).Export(request, timeout=30)

    with serving(ToJaeger) as api:
        api.endpoint, api.late = jaeger.otlp_grpc, True
        code = f"import requests; requests.post({api.url!r})"
        words = ["run", "--jaeger", jaeger.url, "--", sys.executable, "-c", code]
        done = subprocess.run(
            [sys.executable, "-m", "otel_cinder.cli", *words],
            env=clean_environment() | {"LC_ALL": "C.UTF-8"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
    assert (done.returncode, done.stdout) == (0, "")
    names = [line.lstrip("│└├─◂▸ ").split("  ")[0] for line in done.stderr.splitlines()]
    posted = f"POST {api.url.removeprefix('http://')}/"
    assert names[1:] == ["python", posted, "POST /v3/volumes", "cast", "process"]
