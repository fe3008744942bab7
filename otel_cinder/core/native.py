"""Work in a real thread of the operating system, off eventlet's hub.

Threads, locks and events come from the unpatched modules, so that they work the same with and
without eventlet; and the host's log handlers, whose locks are eventlet's, are kept away from.
"""

from __future__ import annotations

import abc
import collections
import contextlib
import functools
import logging
import sys
from _queue import Empty, SimpleQueue
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Final

from opentelemetry import context as otel_context
from opentelemetry.instrumentation.utils import suppress_instrumentation

from otel_cinder.core import redaction

_LOG = logging.getLogger(__name__)

_WARNINGS: Final = "py.warnings"
"""Where ``logging.captureWarnings`` sends what is deprecated, which is nobody's reason to fail."""

_EXPORTERS_LOGGERS: Final = (
    "opentelemetry.",
    "charset_normalizer",
    "grpc",
    _WARNINGS,
    "requests",
    "urllib3",
)
"""Beginnings of the names of loggers that exporters write to. See `Hush`."""


def real(module: str) -> Any:
    """The module as it was before eventlet patched it; the module itself without eventlet."""
    patcher = sys.modules.get("eventlet.patcher")
    if patcher is not None and patcher.is_monkey_patched("thread"):
        return patcher.original(module)
    __import__(module)
    return sys.modules[module]


def threads_are_green() -> bool:
    """Whether eventlet has patched threads."""
    return real("threading") is not sys.modules["threading"]


class Hush(logging.Filter):
    """Keeps what exporters log in our thread away from the host's log handlers, and from logging.

    Handlers' locks are eventlet's where eventlet rules, and so is the logging module's own, which a
    logger takes now and then when it is asked for a level. A greenthread that waited for one while
    our thread holds it would never be woken.
    The first warning of an export is kept: it is the reason in our own, which a thread of the
    host's writes. (The last one only says that the exporter has given up.)
    """

    _threads: ClassVar[dict[int, Hush]] = {}
    """Idents of the threads that are kept away."""

    def __init__(self, get_ident: Callable[[], int]) -> None:
        super().__init__()
        self._get_ident = get_ident
        self._thread: int | None = None
        self.reason = ""

    def begin(self) -> None:
        """Keep the current thread away."""
        self._thread = self._get_ident()
        self._threads[self._thread] = self

    @contextlib.contextmanager
    def during(self) -> Iterator[None]:
        """Keep the current thread away for so long, also if it is not the one that began."""
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
            self.reason = redaction.text(record.getMessage(), 300)
        return False

    def spread(self) -> None:
        """Put it on every logger there is that an exporter may write to."""
        for logger in _known_loggers():
            if self not in logger.filters:
                logger.filters.insert(0, self)  # before the SDK's, which hides what it has seen
            if "isEnabledFor" not in vars(logger):
                vars(logger)["isEnabledFor"] = functools.partial(
                    _is_enabled, logger, self._get_ident, self._threads
                )

    def withdraw(self) -> None:
        """Take it off again."""
        self._threads.pop(self._thread or 0, None)
        for logger in _known_loggers():
            logger.removeFilter(self)
            if not self._threads:
                vars(logger).pop("isEnabledFor", None)


def _is_enabled(
    logger: logging.Logger, get_ident: Callable[[], int], threads: dict[int, Hush], level: int
) -> bool:
    if get_ident() in threads:
        return level >= logging.WARNING
    return logging.Logger.isEnabledFor(logger, level)


def _known_loggers() -> list[logging.Logger]:
    # Not by getLogger(), which takes the lock.
    return [
        logger
        for name, logger in list(logging.root.manager.loggerDict.items())
        if name.startswith(_EXPORTERS_LOGGERS) and isinstance(logger, logging.Logger)
    ]


class Worker(abc.ABC):
    """Does its work in a native thread: after each delay, and whenever somebody asks for it.

    Args:
        noun: what it works on, for messages.
        delay: seconds between two rounds of work.
    """

    def __init__(self, noun: str, delay: float) -> None:
        threads = real("threading")
        self._event = threads.Event
        self._lock = threads.Lock()
        self._start_thread = real("_thread").start_new_thread
        self._noun = noun
        self._delay = delay
        self._hush = Hush(real("_thread").get_ident)
        # Not an Event: a signal handler that flushes may interrupt the very thread that is waking
        # the worker, and would wait for the lock inside for ever. This one has none.
        self._wakes: SimpleQueue[None] = SimpleQueue()
        self._woken = False
        self._asked: collections.deque[Any] = collections.deque()
        self._started = False
        self._stopping = False
        self._ended = self._event()
        self._news: collections.deque[tuple[str, tuple[Any, ...]]] = collections.deque()

    @abc.abstractmethod
    def _begin(self) -> None:
        """Make ready, in the thread."""

    @abc.abstractmethod
    def _work(self, *, asked: bool) -> None:
        """Do one round of work, in the thread; ``asked``: somebody waits for it."""

    @abc.abstractmethod
    def _end(self) -> None:
        """Let go of everything, in the thread."""

    @abc.abstractmethod
    def _load(self) -> None:
        """Import what the thread needs, in the thread that starts it."""

    def start(self) -> None:
        """Start the thread, if it does not run yet."""
        if not self._started and threads_are_green():
            # What is imported makes loggers, by logging's own lock, which is eventlet's, too.
            self._load()
        with self._lock:
            if not self._started:
                # Not a threading.Thread: under eventlet those of the unpatched module would stand
                # in the patched one's books (Cinder joins the two), and fall out with KeyErrors.
                self._start_thread(self._run, ())
                self._started = True

    def ask(self) -> Any:
        """Ask for a round of work. Gives an event, set once it is done; None: there's no thread."""
        if not self._started or self._ended.is_set():
            return None
        done = self._event()
        self._asked.append(done)
        self._wake()
        return done

    def ask_to_end(self) -> Any:
        """Ask for a last round of work. Gives an event, set once the thread ends, or None."""
        self._stopping = True
        if not self._started:
            return None
        self._wake()
        return self._ended

    def withdraw(self) -> None:
        """Let the loggers be, where the thread is left behind: it hangs, or is the parent's."""
        self._hush.withdraw()

    def tell(self) -> None:
        """Log, in a thread of the host's, what the worker has to say."""
        while self._news:
            try:
                message, arguments = self._news.popleft()
            except IndexError:  # another thread was quicker
                return
            _LOG.warning(message, *arguments)

    def _report(self, message: str, *arguments: Any) -> None:
        self._news.append((message, arguments))

    def _wake(self) -> None:
        self._woken = True
        self._wakes.put(None)

    def _run(self) -> None:
        self._hush.begin()
        try:
            # The context of the request that happened to start the thread is not ours.
            otel_context.attach(otel_context.Context())
            with suppress_instrumentation():
                self._work_until_stopped()
        except Exception as error:
            self._stopping = True
            self._report(
                "otel-cinder exports no more %s because of %s: %s; Cinder is not affected. "
                "Please report it.",
                self._noun,
                type(error).__name__,
                redaction.text(error),
            )
        finally:
            self._hush.withdraw()
            self._ended.set()
            while self._asked:
                self._asked.popleft().set()

    def _work_until_stopped(self) -> None:
        self._load()
        self._begin()
        while True:
            self._sleep()
            asked = [self._asked.popleft() for _ in range(len(self._asked))]
            stopping = self._stopping
            try:
                self._work(asked=stopping or bool(asked))
            finally:
                for done in asked:
                    done.set()
            if stopping:
                self._end()
                return

    def _sleep(self) -> None:
        try:
            self._wakes.get(timeout=self._delay)
            while not self._wakes.empty():
                self._wakes.get_nowait()
        except Empty:
            pass
        self._woken = False
