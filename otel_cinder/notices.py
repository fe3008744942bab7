"""Messages from before Cinder sets logging up, which wait until it has.

otel-cinder reads its settings when Cinder imports its libraries: `oslo_log.log.setup` comes later,
and what is logged before it goes to stderr alone. Imported at interpreter start, so with the
standard library alone.
"""

from __future__ import annotations

import atexit
import functools
import logging
import sys
from collections.abc import Callable
from typing import Any, Final

from otel_cinder.import_hooks import ImportHooks

_LOG = logging.getLogger("otel_cinder")

_OSLO_LOG: Final = "oslo_log.log"

_hooks = ImportHooks()
_waiting: list[tuple[int, str, tuple[Any, ...]]] = []
_replaced: list[tuple[Callable[..., Any], Callable[..., Any]]] = []
"""oslo.log's ``setup`` and its replacement, while a message waits."""


def warn(message: str, *arguments: Any) -> None:
    """Log a warning; see `say`."""
    say(logging.WARNING, message, *arguments)


def say(level: int, message: str, *arguments: Any) -> None:
    """Log ``message % arguments`` once there is a log.

    Until then it waits for ``oslo_log.log.setup``, for the first span, or for the end of the process,
    whichever comes first; without a log, warnings go to stderr then.
    """
    _waiting.append((level, message, arguments))
    # oslo.log's options bring a bare handler along, for stderr, before its setup makes the real ones.
    if any(handler.formatter is not None for handler in logging.getLogger().handlers):
        tell()
    elif len(_waiting) == 1:
        atexit.register(tell)
        _hooks.when_imported(_OSLO_LOG, _watch_setup)


def tell() -> None:
    """Log the waiting messages, with or without a log set up."""
    stop_waiting()
    while _waiting:
        level, message, arguments = _waiting.pop(0)
        _LOG.log(level, message, *arguments)


def stop_waiting() -> None:
    """Leave ``oslo_log.log.setup`` as it was found."""
    atexit.unregister(tell)
    _hooks.clear()
    while _replaced:
        original, ours = _replaced.pop()
        module = sys.modules[_OSLO_LOG]
        if module.setup is ours:
            module.setup = original  # type: ignore[attr-defined]


def _watch_setup() -> None:
    module: Any = sys.modules[_OSLO_LOG]
    original = module.setup

    @functools.wraps(original)
    def setup(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        tell()
        return result

    module.setup = setup
    _replaced.append((original, setup))
