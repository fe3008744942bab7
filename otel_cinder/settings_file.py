"""A file for settings, where a deployer has no way to set environment variables.

``etc/otel-cinder.conf`` below the virtualenv, or else ``/etc/otel-cinder.conf``: ``NAME=value`` lines
of ``OTEL_*`` variables. A variable of the environment wins over its line. Imported at interpreter
start, so with the standard library alone.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Final

from otel_cinder import notices

NAME: Final = "otel-cinder.conf"


def find() -> Path | None:
    """Return the first file that exists, or None."""
    for folder in (Path(sys.prefix, "etc"), Path("/etc")):
        # Not Path.exists(), which raises where it may not look.
        if os.path.exists(folder / NAME):  # noqa: PTH110
            return folder / NAME
    return None


def read_into(environ: MutableMapping[str, str], path: Path) -> None:
    """Set the file's variables that ``environ`` lacks. Never raises: mistakes are logged."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        notices.warn(
            "Let the user that Cinder runs as read %s, in UTF-8; its settings have no effect (%s).",
            path,
            error,
        )
        return
    notices.say(logging.INFO, "otel-cinder reads its settings from %s.", path)
    for name, value in _settings(text, path):
        environ.setdefault(name, value)


def _settings(text: str, path: Path) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        setting = line.strip().removeprefix("export ")
        if not setting or setting.startswith("#"):
            continue
        name, equals, value = (part.strip() for part in setting.partition("="))
        if equals and name.startswith("OTEL_") and name.isidentifier() and "\0" not in value:
            yield name, _unquoted(value)
        else:
            # Without its text, which may be a secret.
            notices.warn(
                "Correct line %d of %s: only OTEL_NAME=value is read, so it has no effect.",
                number,
                path,
            )


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    return value
