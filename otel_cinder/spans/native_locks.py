"""Gives the SDK native locks where eventlet has patched threads.

tpool's native threads end spans of greenthreads, and greenthreads theirs. They must not share an
eventlet lock: a greenthread that waits for one which a native thread holds is never woken.
"""

from __future__ import annotations

import sys
from typing import Any, Final

from otel_cinder.export.native_thread import unpatched
from otel_cinder.patching.patch_set import PatchSet

_LOCKING: Final = ("opentelemetry.sdk.trace", "opentelemetry.sdk.util", "opentelemetry.attributes")
"""Modules of the SDK that make locks by ``threading.Lock()`` ..."""

_LOCKING_METRICS: Final = (
    "opentelemetry.metrics._internal",
    "opentelemetry.sdk.metrics._internal",
    "opentelemetry.util._once",
)
"""... and the beginnings of those that have imported the name."""


class NativeLocks:
    """The SDK's locks in this process: exchanged for native ones, and put back."""

    def __init__(self) -> None:
        self._patches = PatchSet()

    def exchange(self) -> None:
        """Exchange the locks of all modules that are imported by now.

        The SDK's metrics are imported late, so their export thread calls this again.
        """
        native = unpatched("threading")
        green = sys.modules["threading"]
        if native is green or not self._patches.enabled:
            return
        for name, module in list(sys.modules.items()):
            if name in _LOCKING:
                self._replace(name, module, "threading", green, native)
            elif name.startswith(_LOCKING_METRICS):
                for lock in ("Lock", "RLock"):
                    self._replace(name, module, lock, getattr(green, lock), getattr(native, lock))

    def undo(self) -> None:
        """Put eventlet's locks back, after the last export."""
        self._patches.undo()

    def _replace(self, name: str, module: Any, attribute: str, green: Any, native: Any) -> None:
        if getattr(module, attribute, None) is green:
            self._patches.replace("runtime", f"{name}:{attribute}", lambda _original: native)
