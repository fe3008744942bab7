"""Cinder on a database of its own, for the tests of what is patched in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import oslo_messaging
import pytest

from otel_cinder import conventions
from otel_cinder.spans.runtime import runtime
from tests.unit.recording import Recorder
from tests.unit.seams.cinder_objects import Cinder, imported, make_schema


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cinder]:
    """Cinder, on a database of its own."""
    from oslo_config import cfg

    package = imported()
    cfg.CONF([], project="cinder", default_config_files=[])
    oslo_messaging.get_notification_transport(cfg.CONF, "fake://").cleanup()  # and its options
    path = tmp_path_factory.mktemp("cinder") / "cinder.sqlite"
    cfg.CONF.set_override("connection", f"sqlite:///{path}", "database")
    make_schema()
    cinder = Cinder(package)
    yield cinder
    cinder.db.dispose_engine()
    cfg.CONF.clear_override("connection", "database")
    cfg.CONF.reset()


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The attributes of each resource error that was counted."""
    counted: list[dict[str, Any]] = []

    def measure(name: str, value: float, attributes: Any, context: Any = None) -> None:
        if name == conventions.RESOURCE_ERRORS:
            assert value == 1
            counted.append(dict(attributes))

    monkeypatch.setattr(runtime, "measure", measure)
    return counted


@pytest.fixture
def cinder(database: Cinder, spans: Recorder, measured: list[dict[str, Any]]) -> Cinder:
    """Cinder, instrumented."""
    return database
