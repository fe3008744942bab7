"""Run a program that ends when its parent does: `python -m … PROGRAM ARGUMENT…`.

A demo that is killed outright cannot stop its services; the kernel does it instead (prctl(2)).
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606
