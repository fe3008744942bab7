"""`requirements/*.txt`: what is to be added to the Cinder of each OpenStack release."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from requirements.releases import DEBIAN, FOLDER, RELEASES, Release

each_release = pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.series)


def versions(file: Path) -> dict[str, str]:
    """Return the versions in a file of requirements by name, as package indices spell it."""
    pins = re.findall(r"^([\w.-]+)==(\S+)$", file.read_text(), re.MULTILINE)
    return {re.sub("[-_.]+", "-", name).lower(): version for name, version in pins}


def wanted() -> list[Requirement]:
    """Return what otel-cinder requires without an extra."""
    lines = metadata.requires("otel-cinder") or ()
    return [Requirement(line) for line in lines if "extra ==" not in line]


def test_each_release_has_its_files() -> None:
    """A file for each release that we know, and none besides."""
    assert {*FOLDER.glob("*.txt")} == {DEBIAN, *(release.added for release in RELEASES)}
    assert {*FOLDER.glob("cinder/*.txt")} == {release.before for release in RELEASES}


@each_release
def test_nothing_that_cinder_has_is_named(release: Release) -> None:
    """Nothing is added that is there: pip would move it, or find that it need not."""
    before, added = versions(release.before), versions(release.added)
    assert before["cinder"] == release.cinder
    assert not before.keys() & added.keys()


@each_release
def test_all_that_is_required_is_there(release: Release) -> None:
    """With --no-deps, the file has to bring what otel-cinder itself requires and Cinder lacks."""
    there = versions(release.before) | versions(release.added)
    for requirement in wanted():
        assert requirement.specifier.contains(there[requirement.name], prereleases=True), (
            requirement
        )


def test_floors_are_what_the_oldest_release_has() -> None:
    """No older OpenTelemetry is promised than one that a release is tried with."""
    used = [versions(release.added) for release in RELEASES]
    for requirement in wanted():
        if requirement.name.startswith("opentelemetry-"):
            [floor] = requirement.specifier
            oldest = min(Version(versions_[requirement.name]) for versions_ in used)
            assert oldest in requirement.specifier
            assert oldest.release[:2] == Version(floor.version).release[:2]


def test_debians_file_is_that_of_its_cinder() -> None:
    """Debian 12 has the Cinder of zed: only what Debian packages in another version differs."""
    zed = versions(RELEASES[0].added)
    own = {"googleapis-common-protos": "1.56.4", "typing-extensions": "4.4.0"}
    assert versions(DEBIAN) == zed | own
