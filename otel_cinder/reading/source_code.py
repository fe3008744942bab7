"""Where in the source a span or a log line comes from: its place, a link to it, its docstring."""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PACKAGES = re.compile(r".*[/\\](?:site|dist)-packages[/\\]")
_RELEASE = re.compile(r"\d+\.\d+\.\d+")
_LINK = "https://opendev.org/openstack/cinder/src/tag/{version}/{path}"


@dataclass(frozen=True)
class Place:
    """A place in the source."""

    path: str
    """As it is imported, without the folder of installed packages: ``cinder/volume/manager.py``."""
    line: int | None
    function: str
    link: str = ""
    """Its page at the release's tag; empty where the release is not known or the code not Cinder's."""

    def __str__(self) -> str:
        return f"{self.path}:{self.line}" if self.line else self.path


def place_of(attributes: Mapping[str, Any], resource: Mapping[str, Any]) -> Place | None:
    """The place that attributes tell (``code.*``, or ``log.*`` of a line); None where they tell none."""
    function = _text(attributes.get("code.function.name"))
    path = _text(attributes.get("code.file.path"))
    if not path:
        # Recorded before tasks told their file: their names still have the module.
        module = re.match(r"(cinder(?:\.[a-z_0-9]+)+)\.", function)
        path = module[1].replace(".", "/") + ".py" if module else ""
    line = attributes.get("code.line.number")
    if not path:
        path, line = _source_of(attributes)
    if not path:
        return None
    path = _PACKAGES.sub("", path).replace("\\", "/")
    path = re.sub(r"^.*/(?=cinder/)", "", path) if path.startswith("/") else path
    line = line if isinstance(line, int) and line > 0 else None
    return Place(path, line, function, _link(path, line, _text(resource.get("service.version"))))


def _source_of(attributes: Mapping[str, Any]) -> tuple[str, int | None]:
    """File and line of a log line. Its logger is the module's name, as a rule: then it says the folders."""
    file, _, line = _text(attributes.get("log.source")).rpartition(":")
    module = _text(attributes.get("log.logger")).replace(".", "/") + ".py"
    path = module if file and module.rpartition("/")[2] == file else file
    return path, int(line) if re.fullmatch("[0-9]{1,9}", line) else None


def _link(path: str, line: int | None, version: str) -> str:
    if not path.startswith("cinder/") or not _RELEASE.fullmatch(version):
        return ""
    link = _LINK.format(version=version, path=path)
    return f"{link}#L{line}" if line else link


def _text(value: Any) -> str:
    text = "" if value is None else str(value)
    return "".join(c if c.isprintable() else " " for c in text)


@functools.lru_cache(maxsize=256)
def summary_of(function: str) -> str:
    """The first sentence of the docstring of the class that ``function`` belongs to.

    Looked up in the source that is installed here, which is read and not imported; empty without it.
    """
    try:
        module, name = function.rsplit(".", 2)[:2]
        package, *rest = module.split(".")
        if not all(part.isidentifier() for part in (package, *rest)):
            return ""  # whatever a trace says, nothing but a module of a package is read
        found = importlib.util.find_spec(package)
        folders = found.submodule_search_locations if found else None
        for folder in folders or ():
            file = Path(folder, *rest).with_suffix(".py")
            if file.is_file():
                return _first_sentence(file, name)
    except (ValueError, OSError, SyntaxError, ImportError):
        pass
    return ""


def _first_sentence(file: Path, name: str) -> str:
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            first = (ast.get_docstring(node) or "").partition("\n\n")[0]
            return " ".join(first.split()).removesuffix(".")
    return ""
