"""The releases that otel-cinder was tried with; ``requirements/`` has the whole list."""

from __future__ import annotations

from typing import Final

MAJORS: Final[dict[str, tuple[int, int | None]]] = {
    "cinder": (21, 29),
    "oslo.messaging": (14, None),
    "taskflow": (5, None),
}
"""The first and last major version; None: no last."""

_SERIES: Final = {
    21: "zed",
    22: "2023.1",
    23: "2023.2",
    24: "2024.1",
    25: "2024.2",
    26: "2025.1",
    27: "2025.2",
    28: "2026.1",
    29: "2026.2",
}


def series_of(cinder: str) -> str:
    """The name of the OpenStack release with this version of Cinder; ``RELEASE``, for people to replace, if unknown."""
    major = cinder.partition(".")[0]
    return _SERIES.get(int(major), "RELEASE") if major.isdecimal() else "RELEASE"
