"""The entry point that ``otel_cinder.start`` names, for each start of Python 3.15 and newer.

It decides as the line in ``otel_cinder.pth`` does, which older Pythons run. Where tracing is off it
imports nothing.
"""

from __future__ import annotations

import os
import sys


def begin() -> None:
    """Wait for Cinder if a variable or a file may want it traced."""
    enabled = os.environ.get("OTEL_CINDER_ENABLED", "unset").strip().lower()
    if enabled in ("", "0", "false", "no", "off"):
        return
    if (
        any(name.startswith("OTEL_CINDER_") for name in os.environ)
        or os.path.exists(sys.prefix + "/etc/otel-cinder.conf")  # noqa: PTH110 (pathlib takes time)
        or os.path.exists("/etc/otel-cinder.conf")  # noqa: PTH110
    ):
        from otel_cinder import activation

        activation.activate()
