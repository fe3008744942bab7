"""Unpatched modules, and what keeps native threads from the host's log handlers."""

from __future__ import annotations

import logging
import threading

import pytest

from otel_cinder.export import native_thread
from otel_cinder.export.native_thread import LogSilencer
from tests.unit import scripts


def test_real_module_is_the_module_without_eventlet() -> None:
    """Without eventlet the unpatched module is the module."""
    assert native_thread.real("threading") is threading
    assert not native_thread.threads_are_green()


def test_real_module_under_eventlet() -> None:
    """Under eventlet it is another one, whose locks are native."""
    ran = scripts.run(
        scripts.EVENTLET,
        """
        import json, sys
        from otel_cinder.export import native_thread as native
        lock = native.real("threading").Lock()
        print(json.dumps([native.threads_are_green(), type(lock).__module__]))
        """,
    )
    assert ran.said == [True, "_thread"]


def test_hush_keeps_the_first_reason_of_its_thread() -> None:
    """What exporters log in the worker's thread is held back, its first warning kept."""
    hush = LogSilencer(threading.get_ident)
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
    monkeypatch.setattr(LogSilencer, "_threads", {})
    logger = logging.getLogger("opentelemetry.tests.hushed")
    logger.addFilter(lambda _record: False)
    hush = LogSilencer(threading.get_ident)
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
    monkeypatch.setattr(LogSilencer, "_threads", {})
    logger = logging.getLogger("opentelemetry.tests.asked")
    hush = LogSilencer(threading.get_ident)
    hush.begin()
    hush.spread()
    logger.manager._clear_cache()
    assert logger.isEnabledFor(logging.WARNING)
    assert not logger.isEnabledFor(logging.INFO)
    assert logger._cache == {}
    hush.withdraw()
    logger.isEnabledFor(logging.WARNING)
    assert set(logger._cache) == {logging.WARNING}
