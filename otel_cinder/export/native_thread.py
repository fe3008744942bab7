"""Tools for a real thread of the operating system, off eventlet's hub.

Threads, locks, events and sockets come from the unpatched modules, so that they work the same with
and without eventlet. The host's log handlers are avoided: their locks are eventlet's.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Final

from otel_cinder import redaction

_WARNINGS: Final = "py.warnings"
"""Logger of ``logging.captureWarnings``. A deprecation is never the reason of a failure."""

_EXPORTERS_LOGGERS: Final = (
    "opentelemetry.",
    "charset_normalizer",
    "grpc",
    _WARNINGS,
    "requests",
    "urllib3",
)
"""Beginnings of the names of loggers that exporters write to. See `LogSilencer`."""


def unpatched(module: str) -> Any:
    """The module as it was before eventlet patched it; the module itself without eventlet."""
    patcher = sys.modules.get("eventlet.patcher")
    if patcher is not None and patcher.is_monkey_patched("thread"):
        return patcher.original(module)
    __import__(module)
    return sys.modules[module]


def threads_are_green() -> bool:
    """True if eventlet has patched threads."""
    return unpatched("threading") is not sys.modules["threading"]


class LogSilencer(logging.Filter):
    """Keeps the exporters' log records in our thread away from the host's handlers, and from logging.

    Under eventlet the handlers' locks are eventlet's, and so is the logging module's own, which a
    logger sometimes takes to find its level. A greenthread that waits for a lock which our thread
    holds is never woken.

    The first warning of an export is kept, as the reason in our own message. (The last one only
    reports that the exporter has given up.)
    """

    _threads: ClassVar[dict[int, LogSilencer]] = {}
    """Silenced threads, by their ident."""

    def __init__(self, get_ident: Callable[[], int]) -> None:
        super().__init__()
        self._get_ident = get_ident
        self._thread: int | None = None
        self.reason = ""
        self.may_hear = True
        """True if log records may be made. They ask for the thread's name: in a thread that is not
        eventlet's, that creates an object of eventlet's."""

    def begin(self) -> None:
        """Silence the current thread."""
        self._thread = self._get_ident()
        self._threads[self._thread] = self

    @contextlib.contextmanager
    def during(self) -> Iterator[None]:
        """Silence the current thread for so long, even if `begin` was called in another."""
        before = self._thread
        self.reason = ""
        self.begin()
        try:
            yield
        finally:
            if before is None:
                self._threads.pop(self._thread or 0, None)
                self._thread = None

    def filter(self, record: logging.LogRecord) -> bool:
        if self._get_ident() != self._thread:
            return True
        if record.levelno >= logging.WARNING and not self.reason and record.name != _WARNINGS:
            self.reason = redaction.masked(record.getMessage(), 300)
        return False

    def spread(self) -> None:
        """Filter every existing logger that an exporter may write to."""
        for logger in _known_loggers():
            if self not in logger.filters:
                logger.filters.insert(0, self)  # before the SDK's, which hides what it has seen
            if "isEnabledFor" not in vars(logger):
                vars(logger)["isEnabledFor"] = functools.partial(
                    _is_enabled, logger, self._get_ident, self._threads
                )

    def withdraw(self) -> None:
        """Remove it from all loggers."""
        self._threads.pop(self._thread or 0, None)
        for logger in _known_loggers():
            logger.removeFilter(self)
            if not self._threads:
                vars(logger).pop("isEnabledFor", None)


def _is_enabled(
    logger: logging.Logger,
    get_ident: Callable[[], int],
    threads: dict[int, LogSilencer],
    level: int,
) -> bool:
    silencer = threads.get(get_ident())
    if silencer is not None:
        return level >= logging.WARNING and silencer.may_hear
    return logging.Logger.isEnabledFor(logger, level)


def _known_loggers() -> list[logging.Logger]:
    # Not by getLogger(), which takes the lock.
    return [
        logger
        for name, logger in list(logging.root.manager.loggerDict.items())
        if name.startswith(_EXPORTERS_LOGGERS) and isinstance(logger, logging.Logger)
    ]
