"""`otel-cinder run`, with clients of one line; tests/e2e runs OpenStack's clients on real Cinder."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from otel_cinder.cli.run import marking
from otel_cinder.cli.run.arrivals import answers_of
from otel_cinder.cli.run.child import Child
from tests.receiver import Receiver
from tests.unit.cli.traced_api import Api, serving

COMMAND = [sys.executable, "-m", "otel_cinder.cli", "run"]
ENVIRONMENT = {
    **{
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OTEL_", "PYTHON"))
    },
    "LC_ALL": "C.UTF-8",
    "no_proxy": "127.0.0.1",
}
ADDRESS = "127.0.0.1:0"  # where nobody has to be told of it
POST = "import requests; print(requests.post({url!r}).status_code)"
SPAN_ID = "ab" * 8


@pytest.fixture
def api() -> Iterator[Api]:
    """An API on the loopback."""
    with serving() as api:
        yield api


@pytest.fixture
def port() -> int:
    """A port that nothing listens on."""
    with Receiver() as receiver:
        return int(receiver.endpoint.rpartition(":")[2])


def run(
    *arguments: object, listen: object = ADDRESS, **options: object
) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    return subprocess.run(
        [*COMMAND, "--listen", str(listen), *map(str, arguments)],
        env={**ENVIRONMENT, **options.pop("env", {})},
        text=True,
        capture_output=True,
        timeout=120,
        check=False,
        **options,
    )


def python(code: str) -> tuple[str, ...]:
    """A client of one line."""
    return "--", sys.executable, "-c", code


def test_a_commands_requests_make_one_trace(api: Api, port: int) -> None:
    """Three requests, one of them in a thread: below the command, each with what Cinder did."""
    api.late = True
    api.endpoint = f"http://127.0.0.1:{port}"
    code = (
        f"import requests, threading; s = requests.Session()\n"
        f"s.post('{api.url}/a?token=secret'); s.post('{api.url.replace('//', '//me:secret@')}/b')\n"
        f"t = threading.Thread(target=s.post, args=('{api.url}/c',)); t.start(); t.join()"
    )
    done = run(*python(code), listen=f"127.0.0.1:{port}")
    assert (done.returncode, done.stdout) == (0, "")
    assert len({each.split("-")[1] for each in api.traceparents}) == 1
    assert len({each.split("-")[2] for each in api.traceparents}) == 3
    assert {each.split("-")[3] for each in api.traceparents} == {"01"}
    header, *lines = done.stderr.splitlines()
    assert "13 spans" in header
    assert "without a parent" not in header
    shown = [line.lstrip("│└├─◂▸ ").split("  ")[0] for line in lines]
    host = api.url.removeprefix("http://")
    below = ["POST /v3/volumes", "cast", "process"]
    assert shown[1:] == [each for path in "abc" for each in (f"POST {host}/{path}", *below)]
    assert "secret" not in done.stderr


def test_files_and_status_are_the_commands(api: Api, port: int) -> None:
    """Standard input, output and exit status pass through; the trace goes to standard error."""
    api.endpoint = f"http://127.0.0.1:{port}"
    code = f"import sys; print(sys.stdin.read()); {POST.format(url=api.url)}; sys.exit(7)"
    done = run("--format", "table", *python(code), listen=f"127.0.0.1:{port}", input="given")
    assert (done.returncode, done.stdout) == (7, "given\n202\n")
    assert "The API receives" in done.stderr or "POST /v3/volumes" in done.stderr
    assert "exit status 7" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["--", "no-such-command"], 127, "Check the command's name and PATH"),
        (["--", "/etc/passwd"], 126, "cannot run /etc/passwd (Permission denied)"),
        (["--listen", "here", "--", "true"], 125, "Write --listen as HOST:PORT"),
        (["--listen", "127.0.0.1:99999", "--", "true"], 125, "Write --listen as HOST:PORT"),
        (["--jaeger", "http://127.0.0.1:1", "--", "false"], 125, "Start Jaeger, or give --jaeger"),
        (["--jaeger", "x", "--tempo", "x", "--", "true"], 125, "Give --jaeger or --tempo"),
        (["--no-such-option", "--", "true"], 125, "No such option"),
        ([], 125, "Missing argument"),
        (["--lang", "zh", "--", "no-such-command"], 127, "请检查命令的名称和 PATH"),
        (["--", "true"], 0, "true started no Python that reads PYTHONPATH"),
        (["--", "false"], 1, "false started no Python"),
        (["--", sys.executable, "-I", "-c", "import requests"], 0, "started no Python"),
        (["--", sys.executable, "-c", "pass"], 0, "Run a client that sends its requests by"),
        (
            ["--", sys.executable, "-c", "import requests"],
            0,
            "no answer to any request, so",
        ),
    ],
)
def test_each_mistake_has_its_sentence(arguments: list[str], status: int, sentence: str) -> None:
    """Before the command is run: 125, or as in a shell 126 and 127. Afterwards the command's own."""
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_interpreter_is_said(tmp_path: Path) -> None:
    """A script whose virtualenv has gone: 126."""
    script = tmp_path / "openstack"
    script.write_text("#!/nowhere/bin/python\n")
    script.chmod(0o755)
    done = run("--", script)
    assert done.returncode == 126
    assert "the interpreter in its first line does not exist" in done.stderr


def test_a_port_in_use_is_said_before_the_command_runs(api: Api) -> None:
    """Nothing is sent to Cinder if its spans could not be received."""
    with Receiver() as other:
        address = other.endpoint.removeprefix("http://")
        done = run(*python(POST.format(url=api.url)), listen=address)
    assert done.returncode == 125
    assert f"cannot listen at {address}" in done.stderr
    assert api.traceparents == []


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["00"], "its sampler has left out all requests of this command (1)"),
        (["01"], "Set OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:"),
        ([""], "Run `otel-cinder doctor` on cinder-api's host"),
    ],
    ids=["left out", "recorded", "not traced"],
)
def test_why_nothing_came_is_said(api: Api, flags: list[str], sentence: str) -> None:
    """The answers tell a sampler's no from a wrong endpoint, and that from a Cinder without tracing."""
    api.flags = flags
    done = run("--wait", "0.3", *python(POST.format(url=api.url)))
    assert (done.returncode, done.stdout) == (0, "202\n")
    assert sentence in done.stderr
    assert f"POST {api.url.removeprefix('http://')}" in done.stderr


def test_one_of_two_requests_is_left_out(api: Api, port: int) -> None:
    """What was recorded is shown; how many were not is said."""
    api.flags = ["01", "00"]
    api.endpoint = f"http://127.0.0.1:{port}"
    code = f"import requests; [requests.post('{api.url}') for _ in range(2)]"
    done = run(*python(code), listen=f"127.0.0.1:{port}")
    assert "POST /v3/volumes" in done.stderr
    assert "its sampler has left out 1." in done.stderr


def test_work_that_goes_on_is_said(api: Api, port: int) -> None:
    """A message that nobody has taken up within --wait is named, and what came is shown."""
    api.taken_up = False
    api.endpoint = f"http://127.0.0.1:{port}"
    done = run("--wait", "1", *python(POST.format(url=api.url)), listen=f"127.0.0.1:{port}")
    assert done.returncode == 0
    assert "POST /v3/volumes" in done.stderr
    assert "Give --wait more seconds to see the rest: after 1 s" in done.stderr
    assert "cast" in done.stderr.splitlines()[-1]


def test_notes_are_written_beside(api: Api, port: int, tmp_path: Path) -> None:
    """-o writes what `report` writes; --lang is the language of both."""
    api.endpoint = f"http://127.0.0.1:{port}"
    page = tmp_path / "notes.html"
    arguments = ("--lang", "zh", "-o", page, *python(POST.format(url=api.url)))
    done = run(*arguments, listen=f"127.0.0.1:{port}")
    assert done.returncode == 0
    assert "<svg" in page.read_text(encoding="utf-8")
    assert "时间线" in page.read_text(encoding="utf-8")


def test_notes_that_cannot_be_written_leave_the_exit_status(api: Api) -> None:
    """The exit status stays the command's, and the reason is said."""
    arguments = ("--wait", "0", "-o", "/nowhere/notes.md", *python(POST.format(url=api.url)))
    done = run(*arguments)
    assert done.returncode == 0
    assert "Choose another --output: cannot write /nowhere/notes.md" in done.stderr


def test_the_commands_own_settings_and_hooks_are_left_alone(tmp_path: Path, api: Api) -> None:
    """Its OTEL_* variables, sys.path and sitecustomize are as before, whatever they say."""
    (tmp_path / "sitecustomize.py").write_text("import builtins; builtins.theirs = 'theirs'")
    code = (
        f"import os, sys; {POST.format(url=api.url)}; import sitecustomize\n"
        "print(theirs, os.environ['OTEL_SDK_DISABLED'], os.environ['OTEL_PROPAGATORS'])\n"
        "print(sitecustomize.__file__, sys.dont_write_bytecode)\n"
        "print([each for each in sys.path if 'otel-cinder-run' in each])\n"
        f"import opentelemetry.baggage; {POST.format(url=api.url)}"
    )
    disturbing = {
        "OTEL_SDK_DISABLED": "true",
        "OTEL_PROPAGATORS": "none",
        "OTEL_TRACES_SAMPLER": "x",
    }
    env = {"PYTHONPATH": str(tmp_path), **disturbing}
    done = run("--wait", "0", *python(code), env=env)
    assert done.stdout.splitlines() == [
        "202",
        "theirs true none",
        f"{tmp_path}/sitecustomize.py False",
        "[]",
        "202",
    ]
    assert len({each[:35] for each in api.traceparents}) == 1
    assert {each[-3:] for each in api.traceparents} == {"-01"}


@contextmanager
def in_terminal(*arguments: str) -> Iterator[tuple[int, int]]:
    """Run it in a terminal of its own: its process id, and the terminal's other end."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(COMMAND[0], [*COMMAND, "--listen", ADDRESS, *arguments], ENVIRONMENT)
    try:
        yield pid, terminal
    finally:
        os.close(terminal)


def read_until(terminal: int, text: bytes) -> bytes:
    """What the terminal shows until ``text`` has come, or all of it."""
    shown = b""
    while text not in shown or not text:
        try:
            more = os.read(terminal, 4096)
        except OSError:  # its last program has ended
            break
        if not more:
            break
        shown += more
    return shown


def test_ctrl_c_is_the_commands(api: Api) -> None:
    """It is a terminal for the command; Ctrl-C reaches it, and its own exit status is returned."""
    code = (
        f"import signal, sys, time; {POST.format(url=api.url)}\n"
        "signal.signal(signal.SIGINT, lambda *_: sys.exit(9)); print('tty', sys.stdin.isatty(), "
        "sys.stdout.isatty(), flush=True); time.sleep(100)"
    )
    with in_terminal("--wait", "0", *python(code)) as (pid, terminal):
        assert b"tty True True" in read_until(terminal, b"tty True True")
        os.write(terminal, b"\x03")
        shown = read_until(terminal, b"")
        _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 9
    assert b"exit status 9" in shown


def test_ctrl_c_ends_the_wait(api: Api) -> None:
    """While Cinder's work goes on, Ctrl-C shows what has come; the exit status is the command's."""
    with in_terminal("--wait", "600", *python(POST.format(url=api.url))) as (pid, terminal):
        read_until(terminal, b"Waiting for the end of Cinder")
        os.write(terminal, b"\x03")
        shown = read_until(terminal, b"")
        _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert b"POST 127.0.0.1" in shown


def test_a_signal_is_passed_on() -> None:
    """SIGTERM to `run` ends the command, and the status says so as a shell does."""
    code = "import time; print('runs', flush=True); time.sleep(100)"
    with subprocess.Popen(
        [*COMMAND, "--listen", ADDRESS, *python(code)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "runs\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("openstack volume create --size 1 v", "openstack volume create"),
        (
            "/x/bin/openstack --os-password s --debug --os-cloud=c volume list",
            "openstack volume list",
        ),
        ("cinder --os-password", "cinder"),
        ("cinder create 1 --name v", "cinder create 1"),
    ],
)
def test_a_commands_name_has_no_option(command: str, name: str, tmp_path: Path) -> None:
    """Options may hold a password."""
    assert Child(command.split(), tmp_path).name == name


def test_answers_of_another_trace_do_not_count(tmp_path: Path) -> None:
    """A `traceresponse` counts if it names the command's trace."""
    child = Child(["true"], tmp_path)
    for trace_id, flags in ((child.trace_id, "01"), ("0" * 32, "01"), (child.trace_id, "zz")):
        header = {marking.RESPONSE_HEADER: [f"00-{trace_id}-{SPAN_ID}-{flags}"]}
        line = marking.export("x", "x", 3, (child.trace_id, SPAN_ID, None), (1, 2), header)
        with (tmp_path / marking.RECORDED).open("a") as file:
            file.write(json.dumps(line) + "\n{cut sho")
            file.write("\n")
    answers = answers_of(child.told(), child.trace_id)
    assert (answers.recorded, answers.left_out) == ({SPAN_ID}, 0)
