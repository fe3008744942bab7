"""`otel-cinder live` in a terminal and without one, fed over OTLP with what real Cinder has recorded."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from rich.cells import cell_len

from otel_cinder.cli.commands import cli
from otel_cinder.cli.live import intake as module
from otel_cinder.cli.live.command import variables
from otel_cinder.cli.live.intake import Intake
from otel_cinder.cli.live.view import View, Wanted
from otel_cinder.reading.endpoint import Export
from otel_cinder.reading.operations import Operations
from otel_cinder.reading.otlp_json import from_json_line
from otel_cinder.reading.steps import CREATE
from otel_cinder.reading.trace import spans_of
from otel_cinder.reading.words import words
from tests.click_runner import runner
from tests.receiver import Receiver
from tests.terminal import Terminal
from tests.unit.reading.recorded import TRACES

COMMAND = Path(sys.executable).with_name("otel-cinder")
TASKS = [task for part in CREATE for task in part.tasks]


def exports(name: str, number: int = 0) -> list[ExportTraceServiceRequest]:
    """What was recorded, an export a line; with another trace id for each ``number``."""
    found = []
    for line in (TRACES / f"{name}.jsonl").read_text().splitlines():
        export = from_json_line(line)
        for group in export.resource_spans:
            for span in itertools.chain.from_iterable(s.spans for s in group.scope_spans):
                span.trace_id = number.to_bytes(4, "big") + span.trace_id[4:]
        found.append(export)
    return found


def send(port: int, name: str, number: int = 0, upto: str | None = None) -> None:
    """Send what was recorded, span by span as they ended, up to the end of one of them."""
    spans = []
    for export in exports(name, number):
        for group in export.resource_spans:
            for scoped in group.scope_spans:
                spans += [(span, group.resource, scoped.scope) for span in scoped.spans]
    for span, resource, scope in sorted(spans, key=lambda each: each[0].end_time_unix_nano):
        one = ExportTraceServiceRequest()
        one.resource_spans.add(resource=resource).scope_spans.add(scope=scope, spans=[span])
        post(port, one.SerializeToString())
        if span.name == upto:
            return


def post(port: int, body: bytes, path: str = "/v1/traces") -> int:
    """Send an export; the HTTP status."""
    return requests.post(
        f"http://127.0.0.1:{port}{path}",
        data=body,
        headers={"Content-Type": "application/x-protobuf"},
        timeout=30,
    ).status_code


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Live(Terminal):
    """`otel-cinder live` in a terminal of its own."""

    def __init__(
        self, folder: Path, *arguments: str, size: tuple[int, int] = (120, 50), **environment: str
    ) -> None:
        self.port = free_port()
        command = [COMMAND, "live", "--listen", f"127.0.0.1:{self.port}", *arguments]
        super().__init__(command, environment, size, folder)
        self.wait_for_text("OTEL_CINDER_ENABLED=true", "otel-cinder live")


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Callable[..., Live]]:
    """Starts `live` in a folder of its own; what still runs at the end is ended."""
    started: list[Live] = []

    def start(*arguments: str, **more: object) -> Live:
        started.append(Live(tmp_path, *arguments, **more))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for each in started:
        each.__exit__(None, None, None)


def row(text: str, name: str) -> str:
    """The line of the screen with a task's name."""
    return next((line for line in text.splitlines() if f" {name} " in line), "")


def test_a_create_is_seen_stage_by_stage(live: Callable[..., Live]) -> None:
    """Waiting, then the whole plan, what is done and what runs; then all of it done."""
    seen = live()
    assert f"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:{seen.port}" in seen.text
    send(seen.port, "create", upto="QuotaReserveTask")
    seen.wait_for(
        lambda text: (
            "running 1" in text
            and all(row(text, task) for task in TASKS)
            and "SUCCESS" in row(text, "QuotaReserveTask")
            and "RUNNING" in row(text, "EntryCreateTask")
            and text.count("PENDING") == len(TASKS) - 3 + 2 + 2  # tasks, waits, two services
        )
    )
    send(seen.port, "create")
    seen.wait_for(
        lambda text: (
            "running 0" in text
            and "ended without an error" in text
            and all("SUCCESS" in row(text, task) for task in TASKS)
        )
    )


def test_keys_choose_filter_show_failures_and_save_notes(
    live: Callable[..., Live], tmp_path: Path
) -> None:
    """Every key does what the last line says."""
    seen = live(size=(120, 40))
    for number, name in enumerate(["create", "quota_exceeded", "attach_fails"], 1):
        send(seen.port, name, number)
    seen.wait_for_text("requests 3 · running 0 · with a failure 2", "Create an attachment")
    seen.wait_for_text("HTTP 500")  # it follows the newest
    seen.press("\x1b[B")
    seen.wait_for_text("HTTP 413")
    seen.press("j")
    seen.wait_for(lambda text: "HTTP 202" in text and "follows" not in text)
    seen.press("e")
    seen.wait_for(lambda text: "failures only" in text and "HTTP 202" not in text)
    seen.press("ef")
    seen.wait_for_text("HTTP 500", "follows the newest")
    seen.press("/attach\r")
    seen.wait_for(lambda text: "filter: attach" in text and "Create a volume" not in text)
    seen.press("/\x1b")
    seen.wait_for(lambda text: "filter:" not in text and "Create a volume" in text)
    seen.press("\r")
    seen.wait_for(
        lambda text: "otel-cinder live" not in text and "Driver initialize connection" in text
    )
    seen.press("\x1b")
    seen.wait_for_text("otel-cinder live")
    seen.press("n")
    seen.wait_for_text("notes saved")
    [notes] = tmp_path.glob("notes-req-*.md")
    assert notes.read_text().startswith("# Create an attachment\n")
    seen.press("n")
    seen.wait_for(lambda _: len(list(tmp_path.glob("notes-req-*.md"))) == 2)
    seen.press("q")
    assert seen.ended() == 0


@pytest.mark.parametrize(
    ("end", "status"),
    [("q", 0), ("\x03", 130), (signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGHUP, 129)],
)
def test_the_terminal_is_as_before(
    live: Callable[..., Live], end: str | signal.Signals, status: int
) -> None:
    """However it ends, the screen, the cursor and the terminal's settings are put back."""
    seen = live()
    assert seen.settings != seen.settings_before
    if isinstance(end, str):
        seen.press(end)
    else:
        seen.process.send_signal(end)
    assert seen.ended() == status
    assert seen.settings == seen.settings_before
    raw = seen.wait_for(lambda _: seen.raw.rstrip().endswith(b"\x1b[?1049l")) and seen.raw
    assert raw.count(b"\x1b[?1049h") == raw.count(b"\x1b[?1049l") == 1
    assert raw.rindex(b"\x1b[?25h") > raw.rindex(b"\x1b[?25l")
    assert b"Traceback" not in raw


def test_it_can_be_suspended(live: Callable[..., Live]) -> None:
    """Ctrl-Z gives the terminal back, and afterwards it goes on."""
    seen = live()
    seen.press("\x1a")
    seen.wait_for(lambda _: b"\x1b[?1049l" in seen.raw)
    seen.wait_for(lambda _: seen.settings == seen.settings_before)
    seen.process.send_signal(signal.SIGCONT)
    seen.wait_for(lambda _: seen.raw.count(b"\x1b[?1049h") == 2)
    send(seen.port, "create")
    seen.wait_for_text("ended without an error")


def test_it_follows_the_size_of_the_window(live: Callable[..., Live]) -> None:
    """After a resize everything is drawn anew, and nothing is left of what was."""
    seen = live(size=(100, 30))
    send(seen.port, "create")
    seen.wait_for_text("ended without an error")
    for columns, lines in [(40, 12), (200, 70), (80, 24), (20, 5)]:
        seen.resize(columns, lines)

        def is_drawn(_: str, columns: int = columns) -> bool:
            drawn = [line for line in seen.lines if line]
            return (
                len(seen.lines[0]) <= columns
                and sum(line.startswith("otel-cinder live") for line in drawn) == 1
                and drawn[-1].startswith("↑↓")
                and (columns < 80 or drawn[-1].endswith("q quit"))
            )

        seen.wait_for(is_drawn)


def test_without_colours_there_are_none(live: Callable[..., Live]) -> None:
    """NO_COLOR leaves bold and dim, and no colour."""
    seen = live(NO_COLOR="1")
    send(seen.port, "quota_exceeded")
    seen.wait_for_text("HTTP 413")
    assert re.search(rb"\x1b\[[\d;]*3[1-7]m", seen.raw) is None


def test_a_terminal_with_few_signs_gets_few_signs(live: Callable[..., Live]) -> None:
    """In ASCII the states are still told apart, and no letter is lost."""
    seen = live(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", PYTHONIOENCODING="ascii")
    send(seen.port, "create", upto="QuotaReserveTask")
    seen.wait_for(
        lambda text: (
            text.isascii()
            and "> Create the volume's row" in text
            and "RUNNING" in row(text, "EntryCreateTask")
        )
    )


def test_chinese_lines_up(live: Callable[..., Live]) -> None:
    """With wide characters the states still stand below each other."""
    seen = live("--lang", "zh")
    send(seen.port, "create")

    def columns(text: str) -> list[int]:
        ended = [line.partition("SUCCESS") for line in text.splitlines()]
        return [cell_len(before) for before, state, _ in ended if state]

    seen.wait_for(lambda text: len(columns(text)) == len(TASKS) and len(set(columns(text))) == 1)


def test_a_refused_client_is_seen(live: Callable[..., Live]) -> None:
    """Who sends what is no OTLP is named, and the next export is taken."""
    seen = live()
    assert post(seen.port, b"\xff\xff") == 400
    seen.wait_for_text("127.0.0.1 was refused: Send ExportTraceServiceRequest")
    send(seen.port, "create")
    seen.wait_for_text("ended without an error")


def test_once_ends_with_the_request_and_leaves_its_stages(live: Callable[..., Live]) -> None:
    """The stages stay on the normal screen; the status says how it went."""
    seen = live("--once")
    send(seen.port, "create")
    assert seen.ended() == 0
    seen.wait_for(lambda _: b"CreateVolumeOnFinishTask" in seen.raw.rpartition(b"\x1b[?1049l")[2])


# Without a terminal


def start(*arguments: str | Path, **environment: str) -> tuple[subprocess.Popen[str], int]:
    """Start `live` with pipes instead of a terminal, once it listens; its port."""
    port = free_port()
    process = subprocess.Popen(
        [COMMAND, "live", "--listen", f"127.0.0.1:{port}", *map(str, arguments)],
        env={**os.environ, "LC_ALL": "C.UTF-8", **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said = [process.stderr.readline() for _ in range(6)]
    assert f"  OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:{port}\n" in said
    return process, port


def output(process: subprocess.Popen[str]) -> str:
    """What it printed by its end."""
    out, err = process.communicate(timeout=60)
    assert err == ""
    return out


def test_without_a_terminal_it_prints_a_line_a_stage(tmp_path: Path) -> None:
    """Each stage once, as it ends, with its log lines below; nothing of a terminal's."""
    process, port = start("--once")
    send(port, "reschedule")
    out = output(process)
    assert process.returncode == 0
    assert "\x1b" not in out
    lines = out.splitlines()
    assert "begins: Create a volume" in lines[0]
    assert "ended: Create a volume · succeeded in the end" in lines[-1]
    made = [line for line in lines if "(CreateVolumeFromSpecTask)" in line]
    assert ["FAILURE" in made[0], "SUCCESS" in made[1]] == [True, True]
    assert len(made) == 2
    assert any("gave attempt 1 up" in line for line in lines)
    assert any("IgnoreAttemptedHostsFilter left 1 of 2" in line for line in lines)
    assert len([line for line in lines if line.endswith("(cast → process)")]) == 4


def test_a_failed_request_is_the_status_of_once() -> None:
    """Exit status 1, so that a script can tell."""
    process, port = start("--once")
    send(port, "quota_exceeded")
    assert "VolumeLimitExceeded" in output(process)
    assert process.returncode == 1


def test_log_records_are_shown_at_their_stage_and_metrics_are_answered() -> None:
    """A record of the logs signal stands below its span's line; metrics get their 200."""
    process, port = start("--once")
    spans = [span for export in exports("create") for span in spans_of(export)]
    [task] = [span for span in spans if span.name == "QuotaReserveTask"]
    logs = ExportLogsServiceRequest()
    logs.resource_logs.add().scope_logs.add().log_records.add(
        trace_id=bytes.fromhex(task.trace_id),
        span_id=bytes.fromhex(task.span_id),
        severity_text="WARNING",
        body={"string_value": "the quota is nearly used up"},
    )
    assert post(port, logs.SerializeToString(), "/v1/logs") == 200
    assert post(port, b"", "/v1/metrics") == 200
    send(port, "create")
    lines = output(process).splitlines()
    at = next(i for i, line in enumerate(lines) if line.endswith("(QuotaReserveTask)"))
    below = itertools.takewhile(lambda line: line.startswith(" "), lines[at + 1 :])
    assert any("WARNING the quota is nearly used up" in line for line in below)


def test_only_what_is_asked_for() -> None:
    """--errors leaves out what went well; --volume all that is about others."""
    process, port = start("--once", "--errors")
    send(port, "create", 1)
    send(port, "attach_fails", 2)
    out = output(process)
    assert "Create an attachment" in out
    assert "Create a volume" not in out


def test_what_is_saved_can_be_shown(tmp_path: Path) -> None:
    """--save writes OTLP/JSON lines, which `show` reads."""
    saved = tmp_path / "saved.jsonl"
    process, port = start("--once", "--save", saved)
    send(port, "create")
    output(process)
    assert all(json.loads(line)["resourceSpans"] for line in saved.read_text().splitlines())
    shown = runner().invoke(cli, ["show", str(saved)])
    assert shown.exit_code == 0
    assert "22 spans" in shown.output


def test_what_arrives_is_passed_on_as_it_came() -> None:
    """--forward sends the same bytes to a collector."""
    with Receiver() as collector:
        process, port = start("--once", "--forward", collector.endpoint)
        send(port, "create")
        output(process)
        assert collector.wait_for(lambda spans: len(spans) == 22, timeout=30)


def test_a_collector_that_is_away_is_said_and_holds_nothing_up() -> None:
    """Exports are answered at once and shown; what could not be passed on is counted."""
    nowhere = free_port()
    process, port = start("--forward", f"http://127.0.0.1:{nowhere}")
    began = time.monotonic()
    send(port, "create")
    assert time.monotonic() - began < 20
    assert process.stdout is not None
    wanted = f"check http://127.0.0.1:{nowhere}/v1/traces: 1 exports could not be passed on"
    for line in process.stdout:
        if wanted in line:
            break
    process.terminate()
    output(process)
    assert process.returncode == 128 + signal.SIGTERM


def test_a_reader_that_leaves_ends_it_quietly() -> None:
    """As `| head` does."""
    process, port = start()
    assert process.stdout is not None
    process.stdout.close()
    for _ in range(50):
        try:
            send(port, "create")
        except requests.ConnectionError:
            break
        if process.poll() is not None:
            break
    assert process.wait(30) == 1
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--listen", "192.0.2.1:4318"], "Choose another --listen"),
        (["--forward", "collector:4318"], "Give --forward a URL"),
        (["--save", "/nonexistent/file"], "Choose another --save: cannot write /nonexistent/file"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(arguments: list[str], sentence: str) -> None:
    """Wrong options end it with status 2, advice first."""
    result = runner().invoke(cli, ["live", *arguments])
    assert (result.exit_code, result.stderr[: len(sentence) + 13]) == (
        2,
        f"otel-cinder: {sentence}",
    )


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:99999", "127.0.0.1:٤٣١٨"])
def test_an_address_that_is_none_is_said(address: str) -> None:
    """It is a usage error, which says how an address is written."""
    result = runner().invoke(cli, ["live", "--listen", address])
    assert result.exit_code == 2
    assert "Write --listen as HOST:PORT, such as 127.0.0.1:4318" in result.stderr


def test_a_port_that_is_taken_is_said() -> None:
    """The port and what to do, in one sentence."""
    with Receiver() as other:
        address = other.endpoint.removeprefix("http://")
        result = runner().invoke(cli, ["live", "--listen", address])
    assert result.exit_code == 2
    assert result.stderr.startswith("otel-cinder: Choose another --listen, such as 127.0.0.1:")
    assert result.stderr.count("\n") == 1
    assert (
        f"stop what listens at {address}, maybe a collector: Address already in use."
        in result.stderr
    )


def test_services_on_other_hosts_get_a_name_that_they_know() -> None:
    """An address that means all of this host's is no address for others."""
    [endpoint] = [v for v in variables("http://0.0.0.0:4318") if "ENDPOINT" in v]
    assert endpoint == f"OTEL_EXPORTER_OTLP_ENDPOINT=http://{socket.gethostname()}:4318"


# What waits to be read


def span_export(number: int, size: int) -> Export:
    """An export of a span with so many bytes."""
    message = ExportTraceServiceRequest()
    scoped = message.resource_spans.add().scope_spans.add()
    scoped.spans.add(trace_id=number.to_bytes(16, "big"), span_id=b"\1" * 8, name="x" * size)
    body = message.SerializeToString()
    return Export("/v1/traces", message, body, body)


def test_what_comes_faster_than_it_is_read_is_dropped_and_counted() -> None:
    """The oldest of what waits goes; what is left is read, the newest with it."""
    intake = Intake(("127.0.0.1", 0), words("en"), None, None)
    for number in range(1, 41):
        intake.accept(span_export(number, 1 << 20))
    operations = Operations(most_bytes=1 << 30)
    while not intake.is_read:
        intake.read_into(operations)
    assert intake.overrun == 40 - len(operations)
    assert 10 <= len(operations) <= 16
    assert operations.get(f"{40:032x}") is not None


def test_what_waits_is_not_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has waited for seconds is dropped where there is much of it."""
    intake = Intake(("127.0.0.1", 0), words("en"), None, None)
    monkeypatch.setattr(module, "_OLDEST_S", 0.0)
    for number in range(1, 9):
        intake.accept(span_export(number, 1 << 20))
    assert 3 <= intake.overrun <= 5


# The view alone


def view_of(*names: str) -> View:
    """A view of recorded operations."""
    operations = Operations()
    for number, name in enumerate(names, 1):
        for export in exports(name, number):
            operations.add_spans(spans_of(export), 1)
    return View(operations, words("en"), Wanted(), ["OTEL_CINDER_ENABLED=true"])


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("width", [1, 7, 20, 40, 79, 103, 104, 200])
def test_no_line_is_wider_and_no_screen_higher(width: int, whole: bool) -> None:
    """Whatever the size, what is drawn fits it."""
    view = view_of("reschedule", "quota_exceeded", "create")
    if whole:
        view.press("enter")
    for height in (1, 2, 5, 12, 24, 100):
        lines = view.lines(width, height)
        assert len(lines) <= height
        assert max(cell_len(line.plain) for line in lines) <= width


def test_whole_screen_scrolls_to_either_end() -> None:
    """Home shows the first stage, End the last one, and the rest is counted."""
    view = view_of("reschedule")
    view.press("enter")
    view.press("home")
    view.lines(100, 20)
    view.press("home")
    text = "\n".join(line.plain for line in view.lines(100, 20))
    assert "The API receives the request" in text
    assert re.search(r"\d+ lines below", text)
    view.press("end")
    text = "\n".join(line.plain for line in view.lines(100, 20))
    assert re.search(r"\d+ lines above", text)
    assert "lines below" not in text


def test_following_passes_over_requests_that_only_read() -> None:
    """A dashboard that asks for a list all the time does not take the create away."""
    view = view_of("create")
    reads = exports("create", 7)
    operations = view._operations
    for export in reads:
        for span in spans_of(export):
            if span.kind == "server":
                from dataclasses import replace

                asked = {**span.attributes, "http.request.method": "GET"}
                operations.add_spans([replace(span, attributes=asked)], 1)
    view.lines(120, 50)
    assert view._chosen.startswith("00000001")


def test_a_sentence_cannot_draw_elsewhere() -> None:
    """Control characters in what arrives are not written to the terminal."""
    operations = Operations()
    for export in exports("create"):
        for group in export.resource_spans:
            for scoped in group.scope_spans:
                for span in scoped.spans:
                    span.name += "\x1b[2J\r\n"
                    for pair in span.attributes:
                        if pair.value.HasField("string_value"):
                            pair.value.string_value += "\x1b]0;x\x07"
        operations.add_spans(spans_of(export), 1)
    view = View(operations, words("en"), Wanted(), [])
    for key in ("f", "enter"):
        view.press(key)
        assert all(line.plain.isprintable() for line in view.lines(120, 60))
