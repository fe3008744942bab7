"""Unpatched modules, and the filter that keeps native threads from the host's log handlers."""

from __future__ import annotations

import logging
import threading

import pytest

from otel_cinder.export import native_thread
from otel_cinder.export.native_thread import LogSilencer
from tests.unit import scripts


def test_unpatched_module_is_the_module_without_eventlet() -> None:
    """Without eventlet the unpatched module is the module."""
    assert native_thread.unpatched("threading") is threading
    assert not native_thread.threads_are_green()


def test_unpatched_module_under_eventlet() -> None:
    """Under eventlet the unpatched module has native locks."""
    ran = scripts.run(
        scripts.EVENTLET,
        """
        import json, sys
        from otel_cinder.export import native_thread
        lock = native_thread.unpatched("threading").Lock()
        print(json.dumps([native_thread.threads_are_green(), type(lock).__module__]))
        """,
    )
    assert ran.said == [True, "_thread"]


def test_silencer_keeps_the_first_reason_of_its_thread() -> None:
    """Exporters' records in the worker's thread are held back, and the first warning is kept."""
    silencer = LogSilencer(threading.get_ident)
    record = logging.LogRecord("urllib3", logging.WARNING, "x.py", 1, "token=abc", None, None)
    assert silencer.filter(record)
    silencer.begin()
    warned = logging.LogRecord("py.warnings", logging.WARNING, "x", 1, "deprecated", None, None)
    assert not silencer.filter(warned)
    assert not silencer.filter(record)
    assert not silencer.filter(logging.LogRecord("urllib3", logging.ERROR, "x", 1, "b", None, None))
    assert silencer.reason == "token=***"
    silencer.withdraw()


def test_silencer_comes_before_other_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK's filter for repeated log lines does not hide them from us."""
    monkeypatch.setattr(LogSilencer, "_threads", {})
    logger = logging.getLogger("opentelemetry.tests.hushed")
    logger.addFilter(lambda _record: False)
    silencer = LogSilencer(threading.get_ident)
    silencer.begin()
    silencer.spread()
    silencer.spread()
    logger.warning("the reason")
    assert silencer.reason == "the reason"
    silencer.withdraw()
    assert silencer not in logger.filters
    assert "isEnabledFor" not in vars(logger)


def test_silenced_thread_takes_no_lock_of_logging(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the worker's thread an exporter's logger is asked for its level without logging's lock."""
    monkeypatch.setattr(LogSilencer, "_threads", {})
    logger = logging.getLogger("opentelemetry.tests.asked")
    silencer = LogSilencer(threading.get_ident)
    silencer.begin()
    silencer.spread()
    logger.manager._clear_cache()
    assert logger.isEnabledFor(logging.WARNING)
    assert not logger.isEnabledFor(logging.INFO)
    assert logger._cache == {}
    silencer.withdraw()
    logger.isEnabledFor(logging.WARNING)
    assert set(logger._cache) == {logging.WARNING}
