"""The command: its output, its exit status, and that it needs nothing but the standard library."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path

import pytest

from otel_cinder.cli.commands import cli
from otel_cinder.doctor import command
from tests.click_runner import runner
from tests.receiver import Receiver
from tests.unit import scripts
from tests.unit.doctor.proc import Proc

SECRET = "Xyzzy-kept-out-of-the-report"


def run(
    *words: object, env: Mapping[str, str] | None = None, python: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run `python -m otel_cinder doctor` in a process of its own."""
    return subprocess.run(
        [*(python or (sys.executable,)), "-m", "otel_cinder", "doctor", *map(str, words)],
        env=scripts.environment(env),
        capture_output=True,
        text=True,
        timeout=scripts.HUNG_S,
        check=False,
    )


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtualenv with nothing in it."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False)
    return folder


def test_standard_library_is_enough(bare: Path) -> None:
    """It runs without site-packages, and reports that otel-cinder is missing in the other virtualenv."""
    code = (
        f"import sys; sys.path.insert(0, {scripts.ROOT.as_posix()!r})\n"
        "from otel_cinder.doctor.command import main\n"
        f"status = main(['--venv', {str(bare)!r}])\n"
        "print([n for n in sys.modules if n.partition('.')[0] in "
        "('click', 'rich', 'opentelemetry', 'wrapt', 'requests')])\n"
        "raise SystemExit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "  - Install it there: pip install --no-deps -r https://" in done.stdout
    assert done.stdout.endswith("\n[]\n")


def test_virtualenv_is_looked_at_with_this_shells_variables() -> None:
    """All places fit, an empty export is taken, and the values of secrets are nowhere."""
    with Receiver() as receiver:
        env = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer {SECRET}",
            "OTEL_CINDER_RESULTS": SECRET,
            "OTEL_CINDER_FLOWS": SECRET,
            "OTEL_CINDER_ENABLED": "true",
            "OTEL_TRACES_SAMPLER": "always_off",
        }
        done = run("--venv", sys.prefix, "--send-trace", "--json", env=env)
        [span] = receiver.spans()
    assert (done.returncode, done.stderr) == (1, "")
    assert SECRET not in done.stdout
    report = json.loads(done.stdout)
    assert report["sent_traces"] == {span.trace_id: receiver.endpoint}
    [looked_at] = report["looked_at"]
    assert looked_at["places"]["fit"] >= 40
    assert [e["state"] for e in looked_at["exports"]] == ["taken", "taken"]
    unknown, value, sampler = (finding["advice"] for finding in looked_at["findings"])
    assert sampler == "Correct OTEL_TRACES_SAMPLER"
    assert unknown.startswith("Correct the name of OTEL_CINDER_FLOWS")
    assert value.startswith("Set OTEL_CINDER_RESULTS to one of keys, values: '***' is unknown")


def test_unreachable_python_is_reported(tmp_path: Path) -> None:
    """A path that is no virtualenv could not be looked at: exit status 2."""
    done = run("--venv", tmp_path)
    assert done.returncode == 2
    assert f"{tmp_path}/bin/python can't be run: No such file or directory." in done.stdout


def test_host_without_services_is_reported(
    proc: Proc, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a Cinder that runs, one sentence and exit status 2."""
    monkeypatch.setattr(command, "_PROC", proc.folder)
    assert command.main([]) == 2
    output, error = capsys.readouterr()
    assert output == ""
    assert error.endswith("name a virtualenv with --venv PATH: no Cinder service is seen here.\n")


def test_services_with_the_same_fault_share_a_line(
    proc: Proc, bare: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A finding is shown once, with its services."""
    monkeypatch.setattr(command, "_PROC", proc.folder)
    for pid, name in ((11, "cinder-api"), (12, "cinder-volume")):
        proc.add(pid, [bare / "bin" / "python", f"/x/{name}"], {"OTEL_CINDER_ENABLED": "true"})
    proc.add(13, ["/x/bin/python", "/x/cinder-backup"], {}, root=str(bare))
    assert command.main([]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [
        "Looked at:",
        "  cinder-api 11: not switched on",
        "  cinder-volume 12: not switched on",
        "  cinder-backup 13: unknown",
    ]
    [missing] = [number for number, line in enumerate(lines) if "- Install it there" in line]
    assert lines[missing + 1] == "      cinder-api 11, cinder-volume 12"
    assert "cinder-backup sees other files: run this in its container" in "\n".join(lines)


def test_click_hands_over_to_the_same_code(tmp_path: Path) -> None:
    """`otel-cinder doctor` and `python -m otel_cinder doctor` are the same."""
    result = runner().invoke(cli, ["doctor", "--venv", str(tmp_path)])
    assert result.exit_code == 2
    assert result.stdout == run("--venv", tmp_path).stdout
    assert "doctor" in runner().invoke(cli, ["--help"]).stdout
    assert "--send-trace" in runner().invoke(cli, ["doctor", "--help"]).stdout


def test_script_needs_no_click_for_it() -> None:
    """The installed script runs it without the command line's extra."""
    code = (
        "import sys; sys.modules['click'] = sys.modules['rich'] = None\n"
        "from otel_cinder.cli import main; sys.argv = ['otel-cinder', 'doctor', '--help']; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: otel-cinder doctor")


def test_other_commands_are_the_command_lines() -> None:
    """`python -m otel_cinder` is `otel-cinder` for all else."""
    done = subprocess.run(
        [sys.executable, "-m", "otel_cinder", "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "show" in done.stdout
