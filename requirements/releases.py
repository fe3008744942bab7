"""The OpenStack releases, and where the files about them are."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent


class Release(NamedTuple):
    """One OpenStack release."""

    series: str
    """As in the name of its constraints."""
    cinder: str
    """Its last release of Cinder."""
    python: str
    """On which it is installed here: one of those that it supports."""

    @property
    def added(self) -> Path:
        """Where is written what to add to Cinder."""
        return FOLDER / f"{self.series}.txt"

    @property
    def before(self) -> Path:
        """Where is written what Cinder itself installs: `pip freeze` before anything is added."""
        return FOLDER / "cinder" / f"{self.series}.txt"


RELEASES = (
    Release("zed", "21.3.2", "3.10"),
    Release("2023.1", "22.3.0", "3.10"),
    Release("2023.2", "23.5.0", "3.11"),
    Release("2024.1", "24.5.0", "3.11"),
    Release("2024.2", "25.3.1", "3.12"),
    Release("2025.1", "26.3.0", "3.12"),
    Release("2025.2", "27.0.0", "3.13"),
    Release("2026.1", "28.0.0", "3.12"),
    Release("2026.2", "29.0.0", "3.11"),
)

DEBIAN = FOLDER / "debian-12.txt"
"""For the Cinder that Debian 12 packages: zed's, with Debian's own versions. Written by hand."""
