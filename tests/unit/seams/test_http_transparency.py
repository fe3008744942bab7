"""A server cannot tell a traced application from a bare one."""

from __future__ import annotations

import gc
import logging
import pathlib
import random
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from otel_cinder.patching import internal_errors
from tests.unit.recording import Recorder
from tests.unit.seams.applications import load
from tests.unit.seams.odd_applications import MANNERS, App, Log, Server, application

CASES = 250


class _Changing:
    """An application that is another one each time: to load one takes longer than to call it."""

    app: App

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        return self.app(environ, start_response)


def served(seed: int, trace: Any = lambda app: app) -> Log:
    """Everything that an application and a server, both of this seed, do to each other."""
    log: Log = []
    chance = random.Random(-seed)
    wrappers = ({}, {}, {"wrapper": None}, {"wrapper": lambda file, *_: file})
    server = Server(log, chance.choice(MANNERS), **chance.choice(wrappers))
    server.serve(trace(application(seed, log)))
    return log


@pytest.mark.parametrize("way", ["sampled", "not sampled", "with captured headers"])
@pytest.mark.parametrize("block", range(6))
def test_traced_is_as_bare(
    instrumented: Callable[..., Recorder],
    tmp_path: pathlib.Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
    block: int,
) -> None:
    """Calls, results, exceptions and their order are the same; each request is one span."""
    if way == "with captured headers":
        monkeypatch.setenv("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST", ".*")
        monkeypatch.setenv("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_RESPONSE", ".*")
    spans = instrumented(ALWAYS_OFF if way == "not sampled" else None)
    one = _Changing()
    traced = load(one, tmp_path)

    def trace(app: App) -> App:
        one.app = app
        return traced

    for seed in range(block * CASES, (block + 1) * CASES):
        spans.clear()
        assert served(seed, trace) == served(seed), f"seed {seed}"
        gc.collect(0)
        assert len(spans) == (way != "not sampled"), f"seed {seed}"
        assert not any("hunter2" in span.to_json() for span in spans), f"seed {seed}"
        assert not otel_context.get_current(), f"seed {seed}"
        assert not internal_errors._logged, f"seed {seed}"
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
