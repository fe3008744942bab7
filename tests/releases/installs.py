"""What is installed: a release's Cinder as its constraints pin it, or with other libraries."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import NamedTuple

from requirements.installing import Virtualenv, python_of
from requirements.releases import RELEASES, Release
from tests.integration.processes import missing


class Libraries(Enum):
    """Which versions of the libraries are installed with a Cinder; the value is for the table."""

    PINNED = "as the release pins them"
    NEWEST = "the newest"
    PRERELEASES = "the newest, pre-releases too"


class Install(NamedTuple):
    """One Cinder to try: a release, a Python, libraries."""

    release: Release
    python: str
    libraries: Libraries = Libraries.PINNED

    @property
    def name(self) -> str:
        """Short, for ``-k``."""
        python = "" if self.python == self.release.python else f"-{self.python}"
        libraries = "" if self.libraries is Libraries.PINNED else f"-{self.libraries.name.lower()}"
        return f"{self.release.series}{python}{libraries}"

    @property
    def is_the_releases(self) -> bool:
        """True if it is what the files of `requirements` are about."""
        return self == Install(self.release, self.release.python)


_NEWEST = RELEASES[-1]

INSTALLS = (
    *(Install(release, release.python) for release in RELEASES),
    Install(_NEWEST, "3.13"),
    Install(_NEWEST, "3.13", Libraries.NEWEST),
    Install(_NEWEST, "3.13", Libraries.PRERELEASES),
)


class Installed(NamedTuple):
    """A Cinder with otel-cinder beside it, and what was there before."""

    install: Install
    virtualenv: Virtualenv
    before: list[str]
    complaints: list[str]
    """What `pip check` said before."""

    @property
    def release(self) -> Release:
        """The OpenStack release."""
        return self.install.release

    @property
    def opentelemetry(self) -> str:
        """The version of its SDK."""
        [version] = [
            line.partition("==")[2]
            for line in self.virtualenv.freeze()
            if line.startswith("opentelemetry-sdk==")
        ]
        return version


def installed(install: Install, folder: Path, wheel: Path) -> Installed:
    """Install a Cinder in ``folder``, and otel-cinder beside it."""
    release = install.release
    python = python_of(install.python) or missing(f"Python {install.python} is not here.")
    virtualenv = Virtualenv(folder, python)
    if install.libraries is not Libraries.PINNED:
        more = ["--prerelease", "allow"] if install.libraries is Libraries.PRERELEASES else []
        virtualenv.install(*more, f"cinder=={release.cinder}", "setuptools<81", wheel)
        return Installed(install, virtualenv, [], [])
    if install.is_the_releases:
        virtualenv.install("--no-deps", "--requirement", release.before)
    else:
        # Another Python may need more than the one whose `pip freeze` this is.
        cinder = f"cinder=={release.cinder}"
        virtualenv.install(cinder, "setuptools<81", "--constraint", release.before)
    before, complaints = virtualenv.freeze(), virtualenv.check()
    virtualenv.install("--no-deps", "--requirement", release.added, wheel)
    return Installed(install, virtualenv, before, complaints)
