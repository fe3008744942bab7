"""The few options of ``cinder.conf`` that matter to tracing, read without oslo.config."""

from __future__ import annotations

import configparser
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from otel_cinder.doctor.processes import Process

_DEFAULT: Final = "/etc/cinder/cinder.conf"

_FORMATS: Final = (
    "logging_context_format_string",
    "logging_default_format_string",
    "logging_debug_format_suffix",
    "logging_exception_prefix",
)
"""oslo.log's format strings whose fields every log record must have."""

_TRUE: Final = frozenset({"1", "true", "yes", "on"})


class Configuration(NamedTuple):
    """The options in Cinder's configuration files. Later files win."""

    options: dict[tuple[str, str], str]
    unread: tuple[str, ...]
    """Files that can't be read."""

    def formats_with_ids(self) -> list[str]:
        """The format strings that need the trace's id."""
        return [name for name in _FORMATS if "%(otel" in self.options.get(("DEFAULT", name), "")]

    def is_on(self, section: str, option: str) -> bool:
        """True if this flag is set."""
        return self.options.get((section, option), "").strip().lower() in _TRUE


def configuration_of(process: Process, arguments: tuple[str, ...]) -> Configuration:
    """The configuration of a process that has these arguments."""
    options: dict[tuple[str, str], str] = {}
    unread = []
    for path in _files(process, arguments):
        try:
            options |= _options(path)
        except OSError as error:
            unread.append(f"{path}: {error.strerror}")
        except (configparser.Error, ValueError) as error:
            unread.append(f"{path}: {type(error).__name__}")  # its text may be a secret's line
    return Configuration(options, tuple(unread))


def _files(process: Process, arguments: tuple[str, ...]) -> Iterator[Path]:
    named = [
        *_values(arguments, "--config-file"),
        *(
            file
            for folder in _values(arguments, "--config-dir")
            for file in _of_folder(process, folder)
        ),
    ]
    if named:
        yield from map(process.path, named)
    elif Path(_DEFAULT).exists():
        yield Path(_DEFAULT)


def _of_folder(process: Process, folder: str) -> list[str]:
    return sorted(map(str, process.path(folder).glob("*.conf")))


def _values(arguments: tuple[str, ...], option: str) -> Iterator[str]:
    for word, following in zip(arguments, (*arguments[1:], ""), strict=True):
        if word == option:
            yield following
        elif word.startswith(f"{option}="):
            yield word.partition("=")[2]


def _options(path: Path) -> dict[tuple[str, str], str]:
    parser = configparser.RawConfigParser(
        default_section="no such section",
        strict=False,
        allow_no_value=True,
        empty_lines_in_values=False,
    )
    parser.read_string(path.read_text(encoding="utf-8"), str(path))
    return {
        (section, name): value or ""
        for section in parser.sections()
        for name, value in parser.items(section)
    }
