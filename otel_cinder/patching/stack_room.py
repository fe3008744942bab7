"""Room on the interpreter's stack for functions that our wrappers call.

CPython keeps the frames of Python functions in pieces of 16 KiB since 3.11. It maps a piece when a
call needs it and unmaps it when that call returns, so that a loop which happens to call across the
end of a piece pays for two system calls and a page fault each time round
(https://github.com/python/cpython/issues/142183, mended in the latest releases of 3.13 and 3.14).
Which loop that is depends on how deep it runs, and every wrapper moves it: bare, a cinder-api under
eventlet does this 1,100 times for one POST /volumes, and one under threads 150 times, or 500 with
our frames beneath it.

A frame that needs more than a piece gets a larger one. The frames above it use the rest of that.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

_WORDS: Final = 9000
"""With these the frame needs just over half of a piece of 128 KiB. Some 55 KiB are left: more than
any request of Cinder's was seen to use, and too little for another such frame, which so gets a piece
of its own. Only pages that are used take memory."""


def call_with_room(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call ``function``, and give it room for its frames."""
    return function(*args, **kwargs)


if sys.implementation.name == "cpython" and sys.version_info >= (3, 11):
    call_with_room.__code__ = call_with_room.__code__.replace(co_stacksize=_WORDS)
