"""Finding Cinder's processes, and reading each."""

from __future__ import annotations

from pathlib import Path

import pytest

from otel_cinder.doctor import processes, uwsgi
from tests.unit.doctor.proc import BOOT, Proc

VENV = "/opt/venv/bin/python3"


@pytest.mark.parametrize(
    ("argv", "service"),
    [
        ([VENV, "/opt/venv/bin/cinder-volume", "--config-file", "x"], "cinder-volume"),
        (["/usr/bin/python3.11", "-u", "/usr/bin/cinder-backup"], "cinder-backup"),
        (["/opt/venv/bin/cinder-scheduler"], "cinder-scheduler"),
        (["uwsgi", "--ini", "/etc/cinder/cinder-api-uwsgi.ini"], "cinder-api"),
        ([VENV, "/opt/venv/bin/gunicorn", "cinder.wsgi.api:application"], "cinder-api"),
        (["(wsgi:cinder-api)  -k start"], "cinder-api"),
        (["cinder-volume: master process [/opt/venv/bin/cinder-volume --x]"], "cinder-volume"),
        (["cinder-volume: VolumeWrapper worker(0)"], "cinder-volume"),
        (["cinder-apiuWSGI master"], "cinder-api"),
    ],
)
def test_services_are_found(proc: Proc, argv: list[str], service: str) -> None:
    """However an operator runs them."""
    proc.add(7, argv, {})
    assert [(p.pid, p.service) for p in processes.find(proc.folder)] == [(7, service)]


@pytest.mark.parametrize(
    "argv",
    [
        [""],
        ["vim", "/usr/bin/cinder-volume"],
        ["journalctl", "-u", "cinder-volume"],
        ["sudo", "cinder-rootwrap", "/etc/cinder/rootwrap.conf", "lvs"],
        [VENV, "/opt/venv/bin/cinder-manage", "db", "sync"],
        [VENV, "/opt/venv/bin/privsep-helper", "--config-file", "/etc/cinder/cinder.conf"],
        [VENV, "-m", "otel_cinder", "doctor"],
        ["uwsgi", "--ini", "/etc/nova/nova-api-uwsgi.ini"],
        ["cinder-horse: master process []"],
        ["nova-apiuWSGI worker 1"],
        ["less", "/usr/bin/uwsgi", "cinder"],
    ],
)
def test_other_programs_are_left_alone(proc: Proc, argv: list[str]) -> None:
    """A program that only names a service is none."""
    proc.add(7, argv, {})
    assert processes.find(proc.folder) == []


def test_workers_belong_to_the_process_that_started_them(proc: Proc) -> None:
    """A service counts once, wherever its family is asked for; others keep their own."""
    argv = [VENV, "/opt/venv/bin/cinder-volume"]
    proc.add(20, argv, {}, after_boot=50)
    proc.add(21, argv, {}, parent=20)
    proc.add(9, argv, {}, parent=21)
    proc.add(30, [VENV, "/opt/venv/bin/cinder-api"], {}, parent=20)
    services = processes.find(proc.folder)
    assert [(p.pid, p.workers) for p in services] == [(20, (9, 21)), (30, ())]
    assert [p.pid for p in processes.find(proc.folder, [9])] == [20]
    assert services[0].started == BOOT + 50


def test_environment_that_cannot_be_read_is_none(proc: Proc) -> None:
    """It is not taken for an empty one."""
    proc.add(7, [VENV, "/opt/venv/bin/cinder-volume"], None)
    proc.add(8, [VENV, "/opt/venv/bin/cinder-api"], {"A": "b=c", "EMPTY": ""})
    hidden, seen = processes.find(proc.folder)
    assert hidden.environ is None
    assert hidden.hidden.startswith("IsADirectoryError")
    assert seen.environ == {"A": "b=c", "EMPTY": ""}


def test_title_hides_the_environment(proc: Proc) -> None:
    """Cotyledon's title overwrites the environment, so the rest is not read; the title has the command."""
    proc.add(7, ["cinder-api: master process [/v/bin/cinder-api --config-file c]"], {"A": "b"})
    [process] = processes.find(proc.folder)
    assert process.has_title
    assert process.environ is None
    assert process.argv == ("/v/bin/cinder-api", "--config-file", "c")


def test_ini_of_a_uwsgi_behind_a_title_is_the_usual_one(
    proc: Proc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in devstack and on Debian; if there is none, its options are not known."""
    monkeypatch.setattr(processes, "_UWSGI_INI", tmp_path / "api.ini")
    proc.add(7, ["cinder-api uWSGI master"], {})
    assert processes.find(proc.folder)[0].argv == ("uwsgi",)
    (tmp_path / "api.ini").write_text("[uwsgi]\nenv = OTEL_A=b\n")
    [process] = processes.find(proc.folder)
    assert process.has_title
    assert uwsgi.options_of(process).environ == {"OTEL_A": "b"}


def test_python_is_that_of_the_virtualenv(proc: Proc, tmp_path: Path) -> None:
    """By the command line, by the script's first line, by a configuration, by loaded libraries."""
    script = tmp_path / "cinder-volume"
    script.write_text(f"#!{VENV} -s\nimport sys\n")
    library = "7f00-7f01 r-xp 00000000 08:01 1 /opt/lib/lib/python3.11/site-packages/x/y.so\n"
    proc.add(11, ["/a/bin/python", "/b/bin/cinder-api"], {})
    proc.add(12, [f"cinder-volume: master process [{script}]"], {})
    proc.add(13, ["(wsgi:cinder)"], {}, maps=library)
    proc.add(14, ["python3", script], {}, maps=library)
    proc.add(15, ["/nowhere/cinder-backup"], {})
    services = {p.pid: p for p in processes.find(proc.folder)}
    assert [str(services[pid].python()) for pid in sorted(services)] == [
        "/a/bin/python",
        VENV,
        "/opt/lib/bin/python3",
        VENV,
        "None",
    ]
    assert services[13].python("/home") == Path("/home/bin/python")


def test_socket_identifies_a_traced_process(proc: Proc) -> None:
    """The name by which a traced process takes its id, held by it or by a worker."""
    argv = [VENV, "/opt/venv/bin/cinder-volume"]
    proc.add(2, argv, {}, sockets=[4712])
    proc.add(3, argv, {}, parent=2, sockets=[99, 4711])
    proc.add(4, argv, {}, sockets=[4712])
    assert [p.traced() for p in processes.find(proc.folder)] == [True, False]


def test_container_is_elsewhere(proc: Proc, tmp_path: Path) -> None:
    """A process with another root sees other files."""
    argv = [VENV, "/opt/venv/bin/cinder-volume"]
    proc.add(2, argv, {})
    proc.add(3, argv, {}, root=str(tmp_path))
    assert [p.elsewhere for p in processes.find(proc.folder)] == [False, True]
