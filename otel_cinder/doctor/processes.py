"""Cinder's processes, found in Linux' ``/proc`` (proc(5)): each service once, without its workers."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final

API: Final = "cinder-api"

_SERVICES: Final = frozenset({API, "cinder-scheduler", "cinder-volume", "cinder-backup"})

_TITLE: Final = re.compile(r"(cinder-[a-z]+): (?:master process \[(.*)\]$)?")
"""The title that cotyledon writes over a command line, and over the environment."""

_UWSGI_TITLE: Final = re.compile(r".*cinder.*uWSGI ")
"""uWSGI's title, with ``auto-procname`` and a prefix, as in devstack."""

_UWSGI_INI: Final = Path("/etc/cinder/cinder-api-uwsgi.ini")
"""The configuration of uWSGI in devstack and on Debian."""

_HIDDEN_BY_TITLE: Final = "the service has overwritten it with a title"

_MOD_WSGI: Final = re.compile(r"\(wsgi:.*cinder")

_SITE: Final = re.compile(r"(/\S*)/lib(?:64)?/python3(?:\.\d+)?/(?:site|dist)-packages/")

_OURS: Final = "@otel-cinder/"
"""The names of sockets by which `otel_cinder.spans.instance_id` takes a process's id."""


@dataclass(frozen=True)
class Process:
    """One process; of a service with workers, the one that has started them."""

    folder: Path
    """``/proc/PID``."""
    service: str
    argv: tuple[str, ...]
    environ: Mapping[str, str] | None
    """None if it can't be read; `hidden` has the reason."""
    hidden: str
    parent: int
    started: float
    """Seconds since the epoch."""
    workers: tuple[int, ...] = ()

    @property
    def pid(self) -> int:
        """The process id."""
        return int(self.folder.name)

    @property
    def is_wsgi(self) -> bool:
        """True if another program than Cinder's own serves the API."""
        return not any(Path(word).name in _SERVICES for word in self.argv)

    @property
    def has_title(self) -> bool:
        """True if a title hides its command line and its environment."""
        return self.hidden == _HIDDEN_BY_TITLE

    @cached_property
    def elsewhere(self) -> bool:
        """True if it sees other files than we do: it runs in a container. False if that is hidden."""
        with contextlib.suppress(OSError):
            return not (self.folder / "root").samefile("/")
        return False

    @cached_property
    def owner(self) -> tuple[int, int, tuple[int, ...]]:
        """User, group and supplementary groups."""
        lines = dict(
            line.split(":", 1)
            for line in (self.folder / "status").read_text().splitlines()
            if ":" in line
        )
        user, group = (int(lines[name].split()[1]) for name in ("Uid", "Gid"))
        return user, group, tuple(int(group_id) for group_id in lines.get("Groups", "").split())

    def path(self, path: str) -> Path:
        """A path as the process means it: relative ones begin at its working directory."""
        if Path(path).is_absolute():
            return Path(path)
        with contextlib.suppress(OSError):
            return (self.folder / "cwd").readlink() / path
        return Path(path)

    def python(self, home: str = "") -> Path | None:
        """The Python of its virtualenv; None: not found.

        Args:
            home: the virtualenv that a configuration names, if any.
        """
        if home:
            return self.path(home) / "bin" / "python"
        for word in self.argv[:1]:
            if _is_python(word) and "/" in word:
                return self.path(word)
        return self._python_of_script() or self._python_of_libraries()

    def _python_of_script(self) -> Path | None:
        for word in self.argv[:2]:
            with contextlib.suppress(OSError, ValueError), self.path(word).open("rb") as script:
                first = script.readline(300).decode()
                words = first.removeprefix("#!").split()
                if first.startswith("#!/") and words and _is_python(words[0]):
                    return Path(words[0])
        return None

    def _python_of_libraries(self) -> Path | None:
        with contextlib.suppress(OSError):
            match = _SITE.search((self.folder / "maps").read_text())
            if match:
                return Path(match[1], "bin", "python3")
        return None

    def traced(self) -> bool | None:
        """True if it, or a worker, holds one of our sockets; None: can't be seen."""
        try:
            held = set(self._sockets())
            ours = {
                line.split()[6]
                for line in (self.folder / "net" / "unix").read_text().splitlines()
                if _OURS in line
            }
        except OSError:
            return None
        return not held.isdisjoint(ours)

    def _sockets(self) -> Iterator[str]:
        for pid in (self.pid, *self.workers):
            for descriptor in (self.folder.parent / str(pid) / "fd").iterdir():
                with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                    target = str(descriptor.readlink())
                    if target.startswith("socket:["):
                        yield target[8:-1]


def find(proc: Path, pids: Collection[int] = ()) -> list[Process]:
    """Each of Cinder's services that runs, the oldest first; or those with these process ids."""
    boot = _boot(proc)
    processes = {
        process.pid: process
        for folder in proc.iterdir()
        if folder.name.isdecimal() and (process := _read(folder, boot)) is not None
    }
    workers: dict[int, list[int]] = {}
    for process in processes.values():
        workers.setdefault(_top(process, processes), []).append(process.pid)
    services = [
        replace(processes[top], workers=tuple(sorted(set(family) - {top})))
        for top, family in workers.items()
        if not pids or not set(pids).isdisjoint(family)
    ]
    return sorted(services, key=lambda process: (process.started, process.pid))


def _top(process: Process, processes: Mapping[int, Process]) -> int:
    """The oldest ancestor that belongs to the same service."""
    seen = {process.pid}
    while (parent := processes.get(process.parent)) and parent.pid not in seen:
        if parent.service != process.service:
            break
        process = parent
        seen.add(process.pid)
    return process.pid


def _boot(proc: Path) -> float:
    for line in (proc / "stat").read_text().splitlines():
        if line.startswith("btime "):
            return float(line.split()[1])
    return 0.0


def _read(folder: Path, boot: float) -> Process | None:
    try:
        argv = _words((folder / "cmdline").read_bytes())
        service = _service(argv) or _service_of_uwsgi(folder, argv)
        if not service:
            return None
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has ended, or is another user's and hidden
        return None
    started = boot + int(fields[19]) / os.sysconf("SC_CLK_TCK")
    behind = _behind_title(argv[0], service)
    environ, hidden = (None, _HIDDEN_BY_TITLE) if behind else _environ(folder)
    return Process(folder, service, behind or argv, environ, hidden, int(fields[1]), started)


def _behind_title(title: str, service: str) -> tuple[str, ...]:
    """The likely command line behind a title; empty if it is no title."""
    match = _TITLE.match(title)
    if match:
        return tuple((match[2] or service).split())
    if _UWSGI_TITLE.match(title):
        return ("uwsgi", "--ini", str(_UWSGI_INI)) if _UWSGI_INI.exists() else ("uwsgi",)
    return ()


def _words(text: bytes) -> tuple[str, ...]:
    return tuple(os.fsdecode(word) for word in text.rstrip(b"\0").split(b"\0"))


def _environ(folder: Path) -> tuple[Mapping[str, str] | None, str]:
    try:
        text = (folder / "environ").read_bytes()
    except OSError as error:
        return None, f"{type(error).__name__}: {error.strerror}"
    pairs = (word.partition("=") for word in _words(text))
    return {name: value for name, equals, value in pairs if equals}, ""


def _is_python(word: str) -> bool:
    return re.fullmatch(r"python[\d.]*", Path(word).name) is not None


def is_uwsgi(argv: tuple[str, ...]) -> bool:
    """True for the command line of a uWSGI server."""
    program = argv[1:2] if _is_python(argv[0]) else argv[:1]
    return any(Path(word).name.partition("_")[0] in ("uwsgi", "uwsgi-core") for word in program)


def _service(argv: tuple[str, ...]) -> str:
    """The service that runs by this command line; empty: none of Cinder's."""
    title = _TITLE.match(argv[0])
    if title:
        return title[1] if title[1] in _SERVICES else ""
    if _MOD_WSGI.match(argv[0]) or _UWSGI_TITLE.match(argv[0]):
        return API
    words = argv[1:] if _is_python(argv[0]) else argv
    program = next((word for word in words if not word.startswith("-")), "")
    if Path(program).name in _SERVICES:
        return Path(program).name
    of_python = len(words) < len(argv)
    return API if of_python and any(word.startswith("cinder.wsgi") for word in words) else ""


def _service_of_uwsgi(folder: Path, argv: tuple[str, ...]) -> str:
    """The API, if a uWSGI that runs by this command line serves Cinder's."""
    if not is_uwsgi(argv):
        return ""
    from otel_cinder.doctor import uwsgi

    process = Process(folder, API, argv, None, "", 0, 0.0)
    return API if uwsgi.serves_cinder(process) else ""
