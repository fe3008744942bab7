"""Work in native threads, in rounds."""

from __future__ import annotations

import logging
import threading
import time

import pytest

from otel_cinder.export.worker import Worker


class Works(Worker):
    """Counts its rounds, and raises on demand."""

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


def test_broken_worker_releases_its_callers(caplog: pytest.LogCaptureFixture) -> None:
    """Work that raises ends the thread, with one log line; waiting callers go on at once."""
    works = Works()
    works.error = RuntimeError("no")
    works.start()
    begin = time.monotonic()
    assert works.ask().wait(5)
    assert works._ended.wait(5)
    assert time.monotonic() - begin < 2
    assert works.ask() is None
    assert works._silencer not in logging.getLogger("urllib3").filters
    assert caplog.messages == [
        (
            "otel-cinder exports no more things because of RuntimeError: no; Cinder is not "
            "affected. Please report it."
        )
    ]
