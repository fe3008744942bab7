"""Writes the redaction processor's ignored_keys from otel_cinder/conventions.py: `make docs`."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from otel_cinder import conventions

FILES = tuple(Path(__file__).with_name(f"{role}.yaml") for role in ("all-in-one", "agent"))
"""The configurations that redact."""

_LIST = re.compile(r"(?<=ignored_keys: \[\n)[^\]]*")


def written(text: str) -> str:
    """A configuration with the list as it should be."""
    names = textwrap.fill(
        ", ".join(sorted(conventions.WITHOUT_TEXT)),
        width=100,
        initial_indent=" " * 6,
        subsequent_indent=" " * 6,
        break_on_hyphens=False,
    )
    return _LIST.sub(names, text)


if __name__ == "__main__":
    for file in FILES:
        file.write_text(written(file.read_text(encoding="utf-8")), encoding="utf-8")
