"""`otel-cinder demo` as its user runs it: the installed command, real Cinder, real OTLP."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from otel_cinder.reading.receiver import from_json_line
from otel_cinder.reading.trace import Trace, spans_of, traces_of
from tests.receiver import Receiver
from tests.terminal import heed_signals

pytest.importorskip("cinder")

COMMAND = Path(sys.executable).with_name("otel-cinder")
SERVICES = ("cinder-api", "cinder-scheduler", "cinder-volume")


@dataclass
class Ended:
    """How a demo ended, and what it left behind."""

    status: int
    out: str
    err: str
    folder: Path

    @property
    def leftovers(self) -> list[Path]:
        """The files that are left in the temporary folder."""
        return list(self.folder.iterdir())

    @property
    def processes(self) -> list[str]:
        """Processes, by command line, that know of that folder."""
        return running_in(self.folder)


def running_in(folder: Path) -> list[str]:
    """The command lines of the processes that have ``folder`` in theirs."""
    left = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has just ended
            continue
        if str(folder) in command:
            left.append(command)
    return left


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for temporary files that only the demo under test uses."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def start(folder: Path, *arguments: object, **environment: str) -> subprocess.Popen[str]:
    """Start the demo with its temporary files below ``folder``."""
    return subprocess.Popen(
        [COMMAND, "demo", *map(str, arguments)],
        env={**os.environ, "TMPDIR": str(folder), "COLUMNS": "128", **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_signals,  # noqa: PLW1509
    )


def run(folder: Path, *arguments: object, **environment: str) -> Ended:
    """Run the demo to its end."""
    with start(folder, *arguments, **environment) as process:
        try:
            out, err = process.communicate(timeout=150)
        except subprocess.TimeoutExpired:
            process.terminate()
            raise
    return Ended(process.returncode, out, err, folder)


def trace_in(path: Path) -> Trace:
    """The only trace in a file of OTLP/JSON lines."""
    lines = path.read_text().splitlines()
    [trace] = traces_of(span for line in lines for span in spans_of(from_json_line(line)))
    return trace


@pytest.mark.parametrize("odd", [False, True], ids=["plain", "odd environment"])
def test_it_shows_a_whole_trace_and_leaves_nothing(folder: Path, tmp_path: Path, odd: bool) -> None:
    """One trace of 22 spans and three services on the screen, whatever OTEL_* is set to."""
    spans, svg = tmp_path / "spans.jsonl", tmp_path / "demo.svg"
    environment = {
        "OTEL_SDK_DISABLED": "true",
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_TRACES_SAMPLER": "always_off",
        "OTEL_SERVICE_NAME": "mine",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1/",
        "OTEL_CINDER_ENABLED": "false",
        "OS_DEFAULT__TRANSPORT_URL": "rabbit://127.0.0.1:1/",
        "http_proxy": "http://127.0.0.1:1/",
    }
    demo = run(folder, "--spans", spans, "--svg", svg, **(environment if odd else {}))
    assert (demo.status, demo.err) == (0, "")
    trace = trace_in(spans)
    assert (len(trace), trace.is_whole, trace.services) == (22, True, SERVICES)
    assert trace.root is not None
    assert trace.root.name == "POST /v3/{project_id}/volumes"
    for span in trace.spans:
        assert span.name in demo.out
    assert f"trace {trace.trace_id} · 22 spans" in demo.out
    assert "OTEL_CINDER_ENABLED=true" in demo.out
    assert "/requirements/2026.2.txt otel-cinder\n" in demo.out
    assert svg.read_text().startswith("<svg")
    assert (demo.leftovers, demo.processes) == ([], [])


def test_the_collector_gets_the_same_trace(folder: Path, tmp_path: Path) -> None:
    """With --endpoint, an OTLP endpoint of the user's has all spans when the demo ends."""
    spans = tmp_path / "spans.jsonl"
    with Receiver() as collector:
        demo = run(folder, "--endpoint", collector.endpoint, "--spans", spans)
        assert (demo.status, demo.err) == (0, "")
        shown = trace_in(spans)
        [sent] = [t for t in traces_of(collector.spans()) if t.trace_id == shown.trace_id]
    assert sent.spans == shown.spans


def test_a_refusing_collector_is_reported_at_the_end(folder: Path) -> None:
    """The trace is shown all the same; then one sentence, and exit status 1."""
    with Receiver() as collector:
        collector.respond(503)
        demo = run(folder, "--endpoint", collector.endpoint)
    assert demo.status == 1
    assert "22 spans" in demo.out
    assert "otel-cinder: not all spans could be sent on" in demo.err
    assert demo.processes == []


def test_a_port_in_use_ends_it(folder: Path) -> None:
    """A taken port: one sentence, exit status 2, nothing left."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        demo = run(folder, "--port", taken.getsockname()[1])
    assert (demo.status, demo.out) == (2, "")
    assert "address already in use" in demo.err
    assert demo.err.count("\n") == 1
    assert (demo.leftovers, demo.processes) == ([], [])


def test_a_broker_that_is_away_ends_it(folder: Path) -> None:
    """An unreachable broker: one sentence, exit status 2, nothing left."""
    demo = run(folder, "--transport-url", "rabbit://guest:guest@127.0.0.1:1/")
    assert (demo.status, demo.out) == (2, "")
    assert demo.err.startswith("otel-cinder: cannot reach the broker of --transport-url")
    assert demo.err.count("\n") == 1
    assert (demo.leftovers, demo.processes) == ([], [])


def test_a_refusal_by_cinder_shows_its_log_and_keeps_the_folder(folder: Path) -> None:
    """When Cinder says no, the reason is at hand: its answer, its log, and where the rest is."""
    demo = run(folder, "--name", "n" * 300)
    assert demo.status == 2
    assert "otel-cinder: Cinder answered HTTP 400" in demo.err
    [kept] = demo.leftovers
    assert str(kept) in demo.err
    assert (kept / "cinder.conf").exists()
    assert demo.processes == []


def test_keep_keeps_the_folder(folder: Path) -> None:
    """--keep says where Cinder's configuration and log are."""
    demo = run(folder, "--keep")
    assert demo.status == 0
    [kept] = demo.leftovers
    assert str(kept) in demo.err
    assert (kept / "cinder.log").stat().st_size > 0


INTERRUPTS = {"Ctrl-C": (signal.SIGINT, 130), "TERM": (signal.SIGTERM, 143)} | {
    "a closed terminal": (signal.SIGHUP, 129)
}


@pytest.mark.parametrize(("number", "status"), INTERRUPTS.values(), ids=INTERRUPTS)
def test_an_interrupt_cleans_up(folder: Path, number: signal.Signals, status: int) -> None:
    """Each signal that asks to end ends Cinder, removes its folder, and is the exit status."""
    with start(folder) as process:
        deadline = time.monotonic() + 60
        while not list(folder.glob("*/cinder.sqlite")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (status, "")
    assert (list(folder.iterdir()), running_in(folder)) == ([], [])


@pytest.mark.parametrize(
    "module", ["click", "rich.console", "otel_cinder.cli.demo.run", "requests"]
)
def test_an_interrupt_at_the_start_prints_nothing(
    folder: Path, tmp_path: Path, module: str
) -> None:
    """Ctrl-C while the command is still importing ends it without a traceback."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "def hook(event, args):\n"
        f"    if event == 'import' and args[0] == {module!r}:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.addaudithook(hook)\n"
    )
    demo = run(folder, PYTHONPATH=str(tmp_path))
    assert demo.status in (130, -signal.SIGINT)
    assert (demo.out, demo.err, demo.leftovers) == ("", "", [])


def test_it_goes_on_under_nohup_into_a_file_of_ascii(folder: Path, tmp_path: Path) -> None:
    """An ignored SIGHUP ends nothing, ASCII output is ASCII, and lines in a file are whole."""
    nohup = ["nohup", COMMAND, "demo"]
    environment = {"TMPDIR": str(folder), "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    with (
        (tmp_path / "out").open("w+b") as out,
        subprocess.Popen(nohup, env={**os.environ, **environment}, stdout=out) as process,
    ):
        deadline = time.monotonic() + 60
        while not list(folder.glob("*/cinder.sqlite")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGHUP)
        assert process.wait(150) == 0
        out.seek(0)
        text = out.read().decode("ascii")
    assert "`- SparseFileDriver.create_volume " in text
    assert "?" not in text
    assert list(folder.iterdir()) == []


def test_cinder_does_not_outlive_a_killed_demo(folder: Path) -> None:
    """SIGKILL leaves no chance to clean up; the services end all the same."""
    with start(folder) as process:
        deadline = time.monotonic() + 60
        while not list(folder.glob("*/cinder.sqlite")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.kill()
        process.communicate(timeout=30)
    deadline = time.monotonic() + 30
    while running_in(folder):
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.rabbitmq
def test_over_rabbitmq_three_processes_make_one_trace(
    folder: Path, tmp_path: Path, broker_url: str
) -> None:
    """With --transport-url the services are processes of their own; the trace is the same."""
    spans = tmp_path / "spans.jsonl"
    demo = run(folder, "--transport-url", broker_url, "--spans", spans)
    assert (demo.status, demo.err) == (0, "")
    trace = trace_in(spans)
    assert (len(trace), trace.is_whole, trace.services) == (22, True, SERVICES)
    assert len({span.resource["service.instance.id"] for span in trace.spans}) == 3
    assert (demo.leftovers, demo.processes) == ([], [])


@pytest.mark.rabbitmq
def test_it_keeps_out_of_a_virtual_host_that_cinder_uses(folder: Path, broker_url: str) -> None:
    """Where another Cinder's queues are, the demo declines; its own it has removed again."""
    import kombu

    with kombu.Connection(broker_url.replace("rabbit://", "amqp://")) as connection:
        channel = connection.channel()
        # Succeeds only if the run before has cleaned up: it would be declared differently.
        channel.queue_declare("cinder-scheduler", durable=True, auto_delete=False)
        try:
            demo = run(folder, "--transport-url", broker_url)
        finally:
            channel.queue_delete("cinder-scheduler")
    assert demo.status == 2
    assert "already has Cinder's queue cinder-scheduler" in demo.err
    assert demo.err.count("\n") == 1
    assert (demo.leftovers, demo.processes) == ([], [])
