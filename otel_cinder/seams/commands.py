"""To be written."""

from __future__ import annotations

from otel_cinder.core.patching import PatchSet


def patch(patches: PatchSet) -> None:
    """To be written."""
