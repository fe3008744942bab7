"""Spans of commands: real processes, and a real privsep daemon."""

from __future__ import annotations

import contextlib
import io
import subprocess
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import StatusCode
from oslo_concurrency import processutils

import otel_cinder
from otel_cinder import redaction
from otel_cinder.patching import internal_errors
from otel_cinder.seams import commands as seam
from tests.unit import scripts
from tests.unit.recording import Recorder

pytestmark = pytest.mark.filterwarnings("ignore:Using fork:DeprecationWarning")
"""eventlet's warning, if another test has imported it."""


def run(spans: Recorder, *words: Any, **options: Any) -> Any:
    """Run a command in a request; what it printed, or the error that it raised."""
    with spans.tracer.start_as_current_span("request"):
        try:
            return processutils.execute(*words, **options)
        except Exception as error:
            return error


def command(spans: Recorder) -> Any:
    """The only span below the request."""
    (command_span,) = [span for span in spans if span.name != "request"]
    assert command_span.parent.span_id == spans["request"].context.span_id
    return command_span


def test_command_is_a_span(spans: Recorder) -> None:
    """A command is a span with its program, its line and its exit code."""
    assert run(spans, "/bin/echo", "-n", "hello world", 5) == ("hello world 5", "")
    span = command(spans)
    assert span.name == "execute echo"
    assert dict(span.attributes) == {
        "process.executable.name": "echo",
        "process.command_line": "/bin/echo -n hello world 5",
        "process.exit.code": 0,
    }
    assert span.status.status_code is StatusCode.UNSET


def test_nothing_is_traced_without_a_span(spans: Recorder) -> None:
    """A periodic task's commands start no traces."""
    processutils.execute("true")
    assert len(spans) == 0


def test_nothing_is_traced_in_an_unsampled_request(instrumented: Any) -> None:
    """A request that is not sampled has no spans of commands."""
    spans = instrumented(ALWAYS_OFF)
    run(spans, "true")
    assert len(spans) == 0


def test_failing_command(spans: Recorder) -> None:
    """A command that fails says its exit code, and nothing that it printed; whether that matters,
    the span around says."""
    error = run(spans, "sh", "-c", "echo hidden; echo also >&2; exit 3")
    assert isinstance(error, processutils.ProcessExecutionError)
    assert (error.exit_code, error.stdout) == (3, "hidden\n")
    span = command(spans)
    assert span.attributes["process.exit.code"] == 3
    assert span.attributes["error.type"] == "ProcessExecutionError"
    assert span.status.status_code is StatusCode.UNSET
    assert span.events == ()


@pytest.mark.parametrize("allowed", [[0, 3], 3, False])
def test_exit_code_that_is_allowed(spans: Recorder, allowed: Any) -> None:
    """A command that may end with 3 has not failed when it does; the span has exit code 3."""
    assert run(spans, "sh", "-c", "exit 3", check_exit_code=allowed) == ("", "")
    span = command(spans)
    assert span.attributes["process.exit.code"] == 3
    assert span.status.status_code is StatusCode.UNSET


def test_signal_is_a_negative_exit_code(spans: Recorder) -> None:
    """A command that a signal ended has the signal's number."""
    run(spans, "sh", "-c", "kill -TERM $$")
    assert command(spans).attributes["process.exit.code"] == -15


def test_command_that_is_tried_again(spans: Recorder, tmp_path: Any) -> None:
    """Several attempts are one span, with the last one's exit code."""
    script = f"test -e {tmp_path}/x || {{ touch {tmp_path}/x; exit 1; }}"
    run(spans, "sh", "-c", script, attempts=2, delay_on_retry=False)
    assert command(spans).attributes["process.exit.code"] == 0


def test_command_that_is_not_there(spans: Recorder) -> None:
    """A program that can't be started has a class of error and no exit code."""
    assert isinstance(run(spans, "/no/such/program"), FileNotFoundError)
    span = command(spans)
    assert span.name == "execute program"
    assert span.attributes["error.type"] == "FileNotFoundError"
    assert "process.exit.code" not in span.attributes


def test_command_that_takes_too_long(spans: Recorder) -> None:
    """A timeout is named; its message, which holds every word unmasked, is not recorded."""
    started: list[subprocess.Popen[bytes]] = []
    error = run(spans, "sleep", "5", timeout=0.05, on_execute=started.append)
    started[0].kill()  # oslo.concurrency leaves it
    started[0].communicate()
    assert isinstance(error, subprocess.TimeoutExpired)
    span = command(spans)
    assert (span.attributes["error.type"], span.events) == ("TimeoutExpired", ())
    assert "process.exit.code" not in span.attributes


def test_on_completion_is_the_callers_still(spans: Recorder) -> None:
    """The caller's own callback gets the process, and its exceptions reach the caller."""
    seen: list[int] = []
    run(spans, "true", on_completion=lambda process: seen.append(process.returncode))
    assert seen == [0]

    def fails(_process: Any) -> None:
        raise ValueError("mine")

    spans.clear()
    assert str(run(spans, "true", on_completion=fails)) == "mine"
    assert command(spans).attributes["error.type"] == "ValueError"


def test_input_environment_and_output_are_not_recorded(spans: Recorder) -> None:
    """Input and output may hold anything, so the span has none of them."""
    options = {"process_input": "hidden-in", "env_variables": {"A": "hidden-env", "PATH": "/bin"}}
    assert run(spans, "cat", **options) == ("hidden-in", "")
    assert "hidden" not in command(spans).to_json()


@pytest.mark.parametrize(
    ("words", "program"),
    [
        ("env LC_ALL=C lvs --noheadings", "lvs"),
        ("env -u HOME LC_ALL=C A=b /sbin/lvs", "lvs"),
        ("sudo cinder-rootwrap /etc/cinder/rootwrap.conf env LC_ALL=C vgs", "vgs"),
        ("sudo -n -u cinder -- qemu-img info x", "qemu-img"),
        ("nice -n 10 ionice -c 3 dd if=/dev/zero", "dd"),
        ("nice -n10 ionice -c3 dd", "dd"),
        ("chrt -i 0 dd", "dd"),
        ("cgexec -g blkio:cinder qemu-img convert", "qemu-img"),
        ("timeout -k 5 10 mount /mnt", "mount"),
        ("LC_ALL=C lvs", "lvs"),
        ("sudo", "sudo"),
        ("nice -n", "nice"),
        ("A=b", "A=b"),
    ],
)
def test_program_behind_its_launchers(words: str, program: str) -> None:
    """The span is named by the program, not by its launchers."""
    assert words.split()[seam._program(words.split())].rpartition("/")[2] == program


def test_shell_line(spans: Recorder) -> None:
    """A line for the shell is named by its first program, and shown as its words."""
    run(spans, "LC_ALL=C printf 'a b' | cat", shell=True)
    span = command(spans)
    assert span.name == "execute printf"
    assert span.attributes["process.command_line"] == "LC_ALL=C printf a b | cat"


def test_line_with_an_open_quote(spans: Recorder) -> None:
    """A malformed line is a span like any other."""
    run(spans, "echo 'a", shell=True)
    assert command(spans).name == "execute echo"


@pytest.mark.parametrize(
    "words",
    [
        ("--password=hunter2",),
        ("--password", "hunter2 hunter2"),
        ("chhost", "-chapsecret", "hunter2"),
        ("cinder-rtstool", "create", "/dev/x", "iqn.2010-10", "user", "hunter2", "False"),
        ("-n", "node.session.auth.password", "-v", "hunter2"),
        ("-o", "username=u,password=hunter2"),
        ("http://admin:hunter2@host/path",),
    ],
)
def test_secrets_are_masked(spans: Recorder, words: tuple[str, ...]) -> None:
    """Secrets in a word, or behind the word that names them, are not in the line."""
    run(spans, "echo", *words)
    assert "hunter2" not in command(spans).to_json()


def test_long_line_is_cut(spans: Recorder) -> None:
    """A long line is cut to its first 512 characters."""
    run(spans, "true", *["x" * 100] * 20)
    assert len(command(spans).attributes["process.command_line"]) == 512


@pytest.mark.complains
def test_broken_redaction_does_not_hurt(spans: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """If our code fails, the command runs once, without a span, and the error is logged."""

    def broken(*_args: Any) -> str:
        raise RuntimeError("no")

    monkeypatch.setattr(redaction, "command", broken)
    assert run(spans, "echo", "-n", "x") == ("x", "")
    assert ("commands", RuntimeError) in internal_errors._logged
    assert spans.names == ["request"]


def test_cinders_and_os_bricks_ways_are_one_span_each(spans: Recorder) -> None:
    """cinder.utils, os-brick and their wrappers end in one and the same function."""
    from os_brick.privileged import rootwrap

    with spans.tracer.start_as_current_span("request"):
        rootwrap.execute("true")
        rootwrap.custom_execute("true", check_exit_code=[0])
        assert processutils.trycmd("true") == ("", "")
    assert spans.children(spans["request"]) == ["execute true"] * 3
    assert len(spans) == 4


def test_reference_that_outlives_uninstrument(spans: Recorder) -> None:
    """A driver keeps processutils.execute as it found it: later it only calls the original."""
    execute = processutils.execute
    otel_cinder.uninstrument()
    with spans.tracer.start_as_current_span("request"):
        execute("true")
    assert spans.names == ["request"]


# SSH


class Channel(io.BytesIO):
    """Streams that know their channel, as paramiko returns them."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(b"output")
        self.channel = SimpleNamespace(recv_exit_status=lambda: exit_code)


def ssh(exit_code: int) -> Any:
    """A client whose server ends every command with this exit code."""
    streams = [Channel(exit_code) for _ in range(3)]
    return SimpleNamespace(exec_command=lambda _line, timeout: streams)


@pytest.mark.parametrize("how", ["by position", "by name"])
def test_ssh_command(spans: Recorder, how: str) -> None:
    """A command over SSH is a span by its own program."""
    line = "svctask mkvdisk -name 'volume-1' -size 1"
    with spans.tracer.start_as_current_span("request"):
        if how == "by name":
            processutils.ssh_execute(ssh(0), cmd=line)
        else:
            processutils.ssh_execute(ssh(0), line)
    span = command(spans)
    assert span.name == "execute svctask"
    assert dict(span.attributes) == {
        "process.executable.name": "svctask",
        "process.command_line": "svctask mkvdisk -name volume-1 -size 1",
    }


def test_failing_ssh_command(spans: Recorder) -> None:
    """The span has the exit code of a failed command."""
    with (
        spans.tracer.start_as_current_span("request"),
        contextlib.suppress(processutils.ProcessExecutionError),
    ):
        processutils.ssh_execute(ssh(7), "svctask rmvdisk x")
    span = command(spans)
    assert span.attributes["process.exit.code"] == 7
    assert span.attributes["error.type"] == "ProcessExecutionError"


# Privileges

DAEMON = """
import json, os, warnings; warnings.simplefilter("ignore")
from oslo_concurrency import processutils
from oslo_privsep import priv_context
from oslo_config import cfg
cfg.CONF([])
def start(privileges):
    cfg.CONF.set_override("capabilities", [], group=privileges.cfg_section)
    privileges.start(priv_context.Method.FORK)
def say(found):
    print(json.dumps(found), flush=True)
def recorded():
    return [[s.name, s.kind.name, dict(s.attributes), s.status.description] for s in spans]
"""


def test_privileged_function_is_a_span() -> None:
    """A function in the daemon is a span here by its name, without arguments, and none there."""
    result = scripts.run(
        scripts.RECORDED,
        DAEMON,
        """
        privileges = priv_context.PrivContext("__main__", cfg_section="mine", capabilities=[])
        @privileges.entrypoint
        def umount(path):
            processutils.execute("true")
            return [os.getpid(), dict(otel_context.get_current())]
        @privileges.entrypoint
        def fails(secret):
            processutils.execute("sh", "-c", "exit 5")
        with spans.tracer.start_as_current_span("request"):
            start(privileges)
            pid, context = umount("/hidden")
            try:
                fails("hidden")
            except processutils.ProcessExecutionError as error:
                code = error.exit_code
        say([pid != os.getpid(), context, code, recorded()])
        privileges.stop()
        """,
    ).said
    assert result[:3] == [True, {}, 5]
    ok, failed, _request = result[3]
    assert ok == ["privsep umount", "INTERNAL", {"code.function.name": "__main__.umount"}, None]
    assert failed == [
        "privsep fails",
        "INTERNAL",
        {
            "code.function.name": "__main__.fails",
            "process.exit.code": 5,
            "error.type": "ProcessExecutionError",
        },
        None,
    ]


def test_os_bricks_command_as_root_is_one_span() -> None:
    """A command of os-brick's in the daemon is a span here, with its exit code if that is certain."""
    result = scripts.run(
        scripts.RECORDED,
        DAEMON,
        """
        import os_brick.privileged
        from os_brick import executor
        start(os_brick.privileged.default)
        run = executor.Executor("sudo")._execute
        with spans.tracer.start_as_current_span("request"):
            run("true", run_as_root=True, root_helper="sudo")
            run("sh", "-c", "exit 3", run_as_root=True, check_exit_code=[0, 3])
            try:
                run("sh", "-c", "exit 4", run_as_root=True)
            except processutils.ProcessExecutionError:
                pass
        say(recorded())
        os_brick.privileged.default.stop()
        """,
    ).said
    function = {"code.function.name": "os_brick.privileged.rootwrap.execute_root"}
    assert [(name, attributes, why) for name, _kind, attributes, why in result[:-1]] == [
        (
            "execute true",
            {
                "process.executable.name": "true",
                "process.command_line": "true",
                "process.exit.code": 0,
                **function,
            },
            None,
        ),
        (
            "execute sh",
            {
                "process.executable.name": "sh",
                "process.command_line": "sh -c exit 3",
                **function,
            },
            None,
        ),
        (
            "execute sh",
            {
                "process.executable.name": "sh",
                "process.command_line": "sh -c exit 4",
                "process.exit.code": 4,
                "error.type": "ProcessExecutionError",
                **function,
            },
            None,
        ),
    ]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({}, 0),
        ({"check_exit_code": True}, 0),
        ({"check_exit_code": [0]}, 0),
        ({"check_exit_code": 0}, 0),
        ({"check_exit_code": (2,)}, 2),
        ({"check_exit_code": [0, 1]}, None),
        ({"check_exit_code": False}, None),
        ({"raise_timeout": False}, None),
    ],
)
def test_exit_code_that_the_daemon_does_not_tell(options: dict[str, Any], code: int | None) -> None:
    """The exit code is known if only one means success."""
    assert seam._only_exit_code(options) == code


def test_eventlet_command() -> None:
    """Under eventlet a command is a span, too, and greenthreads' commands stay apart."""
    ran = scripts.run(
        scripts.EVENTLET,
        """
        # In each child, before its program, the SDK's provider would run a thread pool, and with
        # it the parent's greenthreads. Those that otel-cinder makes do not.
        from opentelemetry.sdk.trace import TracerProvider
        TracerProvider._handle_fork = lambda self: None
        """,
        scripts.RECORDED,
        """
        import json
        from oslo_concurrency import processutils
        def request(i):
            with spans.tracer.start_as_current_span(f"request-{i}"):
                processutils.execute("sh", "-c", f"exit {i}", check_exit_code=False)
        list(eventlet.GreenPool().imap(request, range(3)))
        ids = {s.context.span_id: s.name for s in spans}
        print(json.dumps(sorted([ids[s.parent.span_id], s.attributes["process.exit.code"]]
                                for s in spans if s.parent)))
        """,
    )
    assert ran.said == [["request-0", 0], ["request-1", 1], ["request-2", 2]]
