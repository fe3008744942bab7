"""Reading uWSGI's and Cinder's configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from otel_cinder.doctor import processes, uwsgi
from otel_cinder.doctor.cinder_conf import configuration_of
from otel_cinder.doctor.processes import Process
from tests.unit.doctor.proc import Proc


def uwsgi_with(proc: Proc, text: str, *words: str) -> Process:
    """A uWSGI with an ini file."""
    (proc.folder / "api.ini").write_text(f"[other]\nmodule = x\n[uwsgi]\nmodule = cinder\n{text}")
    proc.add(7, ["/usr/bin/uwsgi", "--ini", "api.ini", *words], {"UWSGI_BUFFER_SIZE": "9"})
    [process] = processes.find(proc.folder)
    return process


@pytest.mark.parametrize(
    ("text", "words", "enabled"),
    [
        ("", [], False),
        ("enable-threads = true", [], True),
        ("enable-threads", [], True),
        ("# enable-threads = true", [], False),
        ("enable-threads = false", [], False),
        ("threads = 8", [], True),
        ("threads = 1", [], False),
        ("", ["--enable-threads"], True),
        ("", ["--enable-threads", "--master"], True),
        ("", ["--threads=2"], True),
    ],
)
def test_threads_are_seen(proc: Proc, text: str, words: list[str], enabled: bool) -> None:
    """In the ini file or on the command line; several threads enable them, too."""
    assert uwsgi.options_of(uwsgi_with(proc, text, *words)).threads_are_enabled is enabled


def test_variables_home_and_arguments_are_seen(proc: Proc) -> None:
    """``/proc`` lacks the variables that uWSGI sets itself."""
    text = "env = OTEL_A=b=c\nenv = B=1\nhome = /opt/venv\npyargv = --config-file /c d\n"
    options = uwsgi.options_of(uwsgi_with(proc, text))
    assert options.environ == {"OTEL_A": "b=c", "B": "1"}
    assert options.home == "/opt/venv"
    assert options.arguments == ("--config-file", "/c", "d")
    assert options.all("buffer-size") == ["9"]


def test_unread_files_are_reported(proc: Proc) -> None:
    """A missing ini file, and one in another format."""
    proc.add(7, ["uwsgi", "--ini", "/no/cinder.ini", "--yaml", "x.yml"], {})
    [process] = processes.find(proc.folder)
    assert uwsgi.options_of(process).unread == (
        "/no/cinder.ini: No such file or directory",
        "x.yml: only ini files are read",
    )


def cinder_with(proc: Proc, *texts: str) -> Process:
    """A service with these files."""
    words = []
    for number, text in enumerate(texts):
        (proc.folder / f"{number}.conf").write_text(text)
        words += ["--config-file", f"{number}.conf"]
    proc.add(7, ["/v/bin/cinder-api", *words], {})
    [process] = processes.find(proc.folder)
    return process


def test_format_strings_are_seen(proc: Proc) -> None:
    """The last file wins; the user's identity may have the id; percent signs do no harm."""
    process = cinder_with(
        proc,
        "[DEFAULT]\nlogging_user_identity_format = %(otelTraceID)s\npassword = 5%%(\n"
        "logging_exception_prefix = %(otelSpanID)s\nlogging_default_format_string = %(otelTraceID)s",
        "# more\n[DEFAULT]\nlogging_exception_prefix = %(message)s\n[a]\nflag = True\n",
    )
    configuration = configuration_of(process, process.argv)
    assert configuration.formats_with_ids() == ["logging_default_format_string"]
    assert configuration.is_on("a", "flag")
    assert not configuration.is_on("b", "flag")


def test_malformed_file_is_reported_without_its_text(proc: Proc) -> None:
    """A line that can't be read may be a secret."""
    process = cinder_with(proc, "hunter2\n[DEFAULT]\n")
    [unread] = configuration_of(process, process.argv).unread
    assert unread.endswith("0.conf: MissingSectionHeaderError")
    (proc.folder / "0.conf").unlink()
    [unread] = configuration_of(process, process.argv).unread
    assert unread.endswith("0.conf: No such file or directory")


def test_folders_are_read(proc: Proc, tmp_path: Path) -> None:
    """``--config-dir`` names a folder of files."""
    (tmp_path / "x.conf").write_text("[a]\nflag = on\n")
    proc.add(7, ["/v/bin/cinder-api", f"--config-dir={tmp_path}"], {})
    [process] = processes.find(proc.folder)
    assert configuration_of(process, process.argv).is_on("a", "flag")
