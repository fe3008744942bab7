"""Native threads, and what keeps them from the host's log handlers."""

from __future__ import annotations

import logging
import threading
import time

import pytest

from otel_cinder.core import native
from otel_cinder.core.native import Hush, Worker
from tests.unit import scripts


class Works(Worker):
    """Counts its rounds, and raises when told to."""

    def __init__(self) -> None:
        super().__init__("things", 60)
        self.rounds: list[bool] = []
        self.error: Exception | None = None
        self.threads: set[int] = set()

    def _load(self) -> None:
        """Nothing."""

    def _begin(self) -> None:
        self.threads.add(threading.get_ident())

    def _work(self, *, asked: bool) -> None:
        self.rounds.append(asked)
        if self.error is not None:
            raise self.error

    def _end(self) -> None:
        self.threads.add(threading.get_ident())


def test_real_module_is_the_module_without_eventlet() -> None:
    """Without eventlet the unpatched module is the module."""
    assert native.real("threading") is threading
    assert not native.threads_are_green()


def test_real_module_under_eventlet() -> None:
    """Under eventlet it is another one, whose locks are native."""
    ran = scripts.run(
        scripts.EVENTLET,
        """
        import json, sys
        from otel_cinder.core import native
        lock = native.real("threading").Lock()
        print(json.dumps([native.threads_are_green(), type(lock).__module__]))
        """,
    )
    assert ran.said == [True, "_thread"]


def test_worker_works_when_asked_and_ends() -> None:
    """A round for each question, one more at the end, all in one thread that is not the caller's."""
    works = Works()
    assert works.ask() is None
    works.start()
    works.start()
    done = works.ask()
    assert done.wait(5)
    assert works.ask_to_end().wait(5)
    assert works.rounds == [True, True]
    assert len(works.threads) == 1
    assert works.threads.isdisjoint({threading.get_ident()})


def test_broken_worker_keeps_nobody_waiting(caplog: pytest.LogCaptureFixture) -> None:
    """Work that raises ends the thread, with one sentence, and whoever waits goes on at once."""
    works = Works()
    works.error = RuntimeError("no")
    works.start()
    begin = time.monotonic()
    assert works.ask().wait(5)
    assert works._ended.wait(5)
    assert time.monotonic() - begin < 2
    assert works.ask() is None
    assert works._hush not in logging.getLogger("urllib3").filters
    works.tell()
    assert caplog.messages == [
        (
            "otel-cinder exports no more things because of RuntimeError: no; Cinder is not "
            "affected. Please report it."
        )
    ]


def test_hush_keeps_the_first_reason_of_its_thread() -> None:
    """What exporters log in the worker's thread is held back, its first warning kept."""
    hush = Hush(threading.get_ident)
    record = logging.LogRecord("urllib3", logging.WARNING, "x.py", 1, "token=abc", None, None)
    assert hush.filter(record)
    hush.begin()
    warned = logging.LogRecord("py.warnings", logging.WARNING, "x", 1, "deprecated", None, None)
    assert not hush.filter(warned)
    assert not hush.filter(record)
    assert not hush.filter(logging.LogRecord("urllib3", logging.ERROR, "x", 1, "b", None, None))
    assert hush.reason == "token=***"
    hush.withdraw()


def test_hush_comes_before_other_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    """A filter of the SDK's that hides what comes again does not hide it from us."""
    monkeypatch.setattr(Hush, "_threads", {})
    logger = logging.getLogger("opentelemetry.tests.hushed")
    logger.addFilter(lambda _record: False)
    hush = Hush(threading.get_ident)
    hush.begin()
    hush.spread()
    hush.spread()
    logger.warning("the reason")
    assert hush.reason == "the reason"
    hush.withdraw()
    assert hush not in logger.filters
    assert "isEnabledFor" not in vars(logger)


def test_hushed_thread_takes_no_lock_of_logging(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the worker's thread an exporter's logger is asked for its level without logging's lock."""
    monkeypatch.setattr(Hush, "_threads", {})
    logger = logging.getLogger("opentelemetry.tests.asked")
    hush = Hush(threading.get_ident)
    hush.begin()
    hush.spread()
    logger.manager._clear_cache()
    assert logger.isEnabledFor(logging.WARNING)
    assert not logger.isEnabledFor(logging.INFO)
    assert logger._cache == {}
    hush.withdraw()
    logger.isEnabledFor(logging.WARNING)
    assert set(logger._cache) == {logging.WARNING}
