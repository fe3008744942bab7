"""Write the files of this folder anew: `python -m requirements CONSTRAINTS [SERIES…]`.

CONSTRAINTS is a folder with the ``upper-constraints.txt`` of each release as ``SERIES.txt``, or a URL
before the series, such as https://releases.openstack.org/constraints/upper.
Needs Python 3.11 or newer, uv, and the Pythons that `releases` names, from ``PATH`` or pyenv.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import distributions
from pathlib import Path
from typing import NamedTuple

import tomllib
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from requirements.installing import Virtualenv, python_of
from requirements.releases import FOLDER, RELEASES, Release

_OTEL = "opentelemetry-"

_TOLERATED = {
    "importlib-metadata": "entry_points(), which is all that is used of it, is older",
    "protobuf": "4.21 and newer read what OpenTelemetry has generated",
    "wrapt": "opentelemetry-instrumentation is only asked for names and attributes here",
}
"""Packages that may be older or newer than OpenTelemetry declares, and why that does no harm."""

_SETUPTOOLS = "setuptools<81"
"""Constraints don't pin it, and older releases import pkg_resources, which newer ones lack."""

_HEAD = """\
# Add this to the Cinder {major} of OpenStack {series}; nothing that is installed moves:
#   pip install --no-deps -r requirements/{series}.txt otel-cinder
# Tried with Cinder {cinder} on Python {python}. Written by `python -m requirements`.
"""

_BEFORE_HEAD = """\
# Cinder {cinder} on Python {python} under the constraints of OpenStack {series}: its `pip freeze`.
# Written by `python -m requirements`; tests install it to see that nothing of it moves.
"""


class Conflict(NamedTuple):
    """A requirement that what is there does not meet; `pip check` complains of it."""

    name: str
    sentence: str


def main(constraints: str, series: Iterable[str]) -> None:
    """Write both files of each release, or of those that are named."""
    wanted = set(series) or {release.series for release in RELEASES}
    for release in RELEASES:
        if release.series in wanted:
            with tempfile.TemporaryDirectory() as folder:
                _write(release, _constraints(constraints, release.series), Path(folder))


def _constraints(place: str, series: str) -> list[str]:
    if place.startswith("https://"):
        with urllib.request.urlopen(f"{place}/{series}", timeout=60) as answer:  # noqa: S310
            text: str = answer.read().decode()
    else:
        text = Path(place, f"{series}.txt").read_text()
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("cinder=")]


def _write(release: Release, constraints: list[str], folder: Path) -> None:
    file = folder / "constraints.txt"
    file.write_text("\n".join(constraints))
    virtualenv = Virtualenv(folder / "venv", _python(release))
    virtualenv.install(f"cinder=={release.cinder}", _SETUPTOOLS, "--constraint", file)
    before = virtualenv.freeze()
    said = release._asdict() | {"major": release.cinder.partition(".")[0]}
    release.before.write_text(_BEFORE_HEAD.format(**said) + "\n".join(before) + "\n")
    pins = dict(_pins(constraints, release.python))
    there = {_name(name): version for name, _, version in map(_split, before)}
    added, conflicts = _solution(release, pins, there, folder)
    lines = [f"{name}=={version}" for name, version in sorted(added.items())]
    release.added.write_text(_HEAD.format(**said) + _told(conflicts) + "\n".join(lines) + "\n")
    print(release.series, *lines, *(conflict.sentence for conflict in conflicts), sep="\n  ")


def _python(release: Release) -> str:
    found = python_of(release.python)
    if found is None:
        raise SystemExit(f"install Python {release.python} for OpenStack {release.series}")
    return found


def _name(said: str) -> str:
    return canonicalize_name(said)


def _split(line: str) -> tuple[str, str, str]:
    return line.partition("==")


def _pins(constraints: list[str], python: str) -> Iterator[tuple[str, str]]:
    for line in constraints:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(_environment(python)):
            yield _name(requirement.name), str(requirement.specifier).lstrip("=")


def _environment(python: str) -> dict[str, str]:
    return {"python_version": python, "python_full_version": f"{python}.0", "extra": ""}


def _told(conflicts: list[Conflict]) -> str:
    if not conflicts:
        return ""
    told = ["`pip check` complains of the following. It does no harm:"]
    for name in dict.fromkeys(conflict.name for conflict in conflicts):
        told += [f"  {c.sentence}" for c in conflicts if c.name == name]
        told += [f"    ({_TOLERATED[name]})"]
    return "".join(f"# {line}\n" for line in told)


def _solution(
    release: Release, pins: Mapping[str, str], there: Mapping[str, str], folder: Path
) -> tuple[dict[str, str], list[Conflict]]:
    """Return what to add with the newest OpenTelemetry that fits, and what is not quite met.

    A release that pins a new enough OpenTelemetry gets that: another service may use it, too.
    """
    for sdk in _candidates(pins):
        added, requirements = _closure(release, sdk, pins, there, folder / sdk)
        conflicts = _conflicts(requirements, {**there, **added})
        if {conflict.name for conflict in conflicts} <= _TOLERATED.keys():
            return added, conflicts
    raise SystemExit(f"no OpenTelemetry fits OpenStack {release.series}")


def _candidates(pins: Mapping[str, str]) -> list[str]:
    [sdk] = [r for r in _own_requirements() if r.name == "opentelemetry-sdk"]
    pinned = pins.get(sdk.name)
    if pinned and sdk.specifier.contains(pinned):
        return [pinned]
    command = [sys.executable, "-m", "pip", "index", "versions", sdk.name]
    said = subprocess.run(command, check=True, text=True, capture_output=True).stdout
    found = re.search("Available versions: (.*)", said)
    versions = found[1].split(", ") if found else []
    fitting = [version for version in versions if sdk.specifier.contains(version)]
    return list({Version(version).minor: version for version in reversed(fitting)}.values())[::-1]


def _own_requirements() -> list[Requirement]:
    project = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text())["project"]
    return [Requirement(line) for line in project["dependencies"]]


def _closure(
    release: Release, sdk: str, pins: Mapping[str, str], there: Mapping[str, str], folder: Path
) -> tuple[dict[str, str], list[tuple[str, Requirement]]]:
    """Return what is missing, version by version, and all that is required, with by whom."""
    virtualenv = Virtualenv(folder, _python(release))
    added: dict[str, str] = {}
    required = [("otel-cinder", requirement) for requirement in _own_requirements()]
    new = required
    while missing := [r for _, r in new if _name(r.name) not in {*there, *added}]:
        chosen = {_name(r.name): _version(r, sdk, pins) for r in missing}
        virtualenv.install("--no-deps", *(f"{name}=={v}" for name, v in chosen.items()))
        added |= chosen
        new = list(_requirements_of(chosen, virtualenv, release.python))
        required = required + new
    return added, required


def _version(requirement: Requirement, sdk: str, pins: Mapping[str, str]) -> str:
    if not requirement.name.startswith(_OTEL):
        return pins[_name(requirement.name)]
    if any(said.version.startswith("0.") for said in requirement.specifier):
        # What is not stable yet is released along: 0.54b1 with 1.33.1.
        stable = Version(sdk)
        return f"0.{stable.minor + 21}b{stable.micro}"
    return sdk


def _requirements_of(
    names: Iterable[str], virtualenv: Virtualenv, python: str
) -> Iterator[tuple[str, Requirement]]:
    [site] = virtualenv.folder.glob("lib/python*/site-packages")
    for distribution in distributions(path=[str(site)]):
        name = _name(distribution.name)
        for line in distribution.requires or () if name in names else ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate(_environment(python)):
                yield f"{name} {distribution.version}", requirement


def _conflicts(required: list[tuple[str, Requirement]], there: Mapping[str, str]) -> list[Conflict]:
    found = {}
    for who, requirement in required:
        name = _name(requirement.name)
        if not requirement.specifier.contains(there[name], prereleases=True):
            sentence = f"{who} wants {name}{requirement.specifier}; here is {there[name]}"
            found[sentence] = Conflict(name, sentence)
    return sorted(found.values())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
