"""Virtualenvs of releases, made with uv: pip takes ten minutes for what uv does in seconds."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

_UV = [sys.executable, "-m", "uv", "--quiet"]


def python_of(version: str) -> str | None:
    """Return a Python of this version (``3.10``), from ``PATH`` or from pyenv; None: there is none."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for found in (
        sys.executable,
        shutil.which(f"python{version}"),
        *map(str, root.glob(f"versions/{version}.*/bin/python")),
    ):
        if found and _version_of(found) == version:
            return found
    return None


def _version_of(python: str) -> str:
    code = "import sys; print('{}.{}'.format(*sys.version_info))"
    # pyenv has a program for each version, which fails where the version is not chosen.
    done = subprocess.run([python, "-c", code], check=False, text=True, capture_output=True)
    return done.stdout.strip()


def _run(*words: object) -> None:
    subprocess.run([*_UV, *map(str, words)], check=True)


class Virtualenv:
    """A virtualenv in ``folder``, of the program ``python``.

    Errors of uv are raised as `subprocess.CalledProcessError`.
    """

    def __init__(self, folder: Path, python: str) -> None:
        self.folder = folder
        self.python = folder / "bin" / "python"
        _run("venv", "--clear", "--python", python, folder)

    def install(self, *arguments: object) -> None:
        """Install as `pip install ARGUMENT…` does."""
        _run("pip", "install", "--python", self.python, *arguments)

    def freeze(self) -> list[str]:
        """Return `pip freeze`, sorted."""
        return sorted(self._ask("freeze").splitlines(), key=str.lower)

    def check(self) -> list[str]:
        """Return what `pip check` complains of: a line each."""
        said = self._ask("check", may_fail=True)
        return sorted(line for line in said.splitlines() if line.startswith("The package "))

    def _ask(self, command: str, *, may_fail: bool = False) -> str:
        done = subprocess.run(
            [*_UV[:-1], "pip", command, "--python", self.python],
            check=not may_fail,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if may_fail else subprocess.DEVNULL,
        )
        return done.stdout
