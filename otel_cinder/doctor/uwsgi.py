"""The options of a uWSGI server: of its command line and of the ini files that this names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from otel_cinder.doctor.processes import Process

_HOMES: Final = ("home", "virtualenv", "venv", "pyhome")


class Options(NamedTuple):
    """uWSGI's options, in their order, and the files that they are in."""

    pairs: tuple[tuple[str, str], ...]
    files: tuple[Path, ...]
    unread: tuple[str, ...]
    """Files that can't be read."""

    def all(self, *names: str) -> list[str]:
        """The values of these options."""
        return [value for name, value in self.pairs if name in names]

    @property
    def known(self) -> bool:
        """True if all options could be read."""
        return bool(self.pairs) and not self.unread

    @property
    def home(self) -> str:
        """The virtualenv, or nothing."""
        return (self.all(*_HOMES) or [""])[-1]

    @property
    def environ(self) -> dict[str, str]:
        """The variables that uWSGI sets, which ``/proc`` does not show."""
        pairs = (value.partition("=") for value in self.all("env"))
        return {name.strip(): value.strip() for name, _, value in pairs}

    @property
    def threads_are_enabled(self) -> bool:
        """True if Python's threads run; ``threads`` switches them on, too."""
        return any(
            value.lower() not in ("false", "0", "no") for value in self.all("enable-threads")
        ) or any(value.isdecimal() and int(value) > 1 for value in self.all("threads"))

    @property
    def arguments(self) -> tuple[str, ...]:
        """The arguments that the application sees."""
        return tuple(word for value in self.all("pyargv") for word in value.split())


def options_of(process: Process) -> Options:
    """The options of a uWSGI server."""
    files: list[Path] = []
    unread: list[str] = []
    pairs: list[tuple[str, str]] = []
    for name, value in _of_command_line(process.argv[1:]):
        pairs.append((name, value))
        if name == "ini" and value:
            path = process.path(value.partition(":")[0])
            try:
                pairs += _of_ini(path.read_text(errors="replace"))
                files.append(path)
            except OSError as error:
                unread.append(f"{path}: {error.strerror}")
        elif name in ("xml", "yaml", "yml", "json"):
            unread.append(f"{value}: only ini files are read")
    if process.environ:
        pairs += [
            (name[6:].lower().replace("_", "-"), value)
            for name, value in process.environ.items()
            if name.startswith("UWSGI_")
        ]
    return Options(tuple(pairs), tuple(files), tuple(unread))


def serves_cinder(process: Process) -> bool:
    """True if the command line, or a file that it names, speaks of Cinder."""
    if any("cinder" in word for word in process.argv):
        return True
    return any("cinder" in value for _, value in options_of(process).pairs)


def _of_command_line(words: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    waiting = ""
    for word in words:
        if word.startswith("--"):
            if waiting:
                yield waiting, "true"
            name, equals, value = word[2:].partition("=")
            waiting = "" if equals else name
            if equals:
                yield name, value
        elif waiting:
            yield waiting, word
            waiting = ""
        elif word.endswith(".ini"):
            yield "ini", word
    if waiting:
        yield waiting, "true"


def _of_ini(text: str) -> Iterator[tuple[str, str]]:
    section = ""
    for line in (line.strip() for line in text.splitlines()):
        if line.startswith("["):
            section = line.strip("[]")
        elif section == "uwsgi" and not re.match(r"[#;]|$", line):
            name, equals, value = (part.strip() for part in line.partition("="))
            yield name, value if equals else "true"
