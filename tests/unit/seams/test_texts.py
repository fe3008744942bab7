"""OTEL_CINDER_TEXTS=templates: names are recorded, free texts are not."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from oslo_concurrency import processutils
from taskflow import engines, task
from taskflow.patterns import linear_flow

from otel_cinder import conventions
from otel_cinder.settings import Settings
from tests.unit.recording import Recorder

SAID = "quince and medlar"
"""Harmless words, which no mask takes for a secret."""

LOG = logging.getLogger("cinder.volume.drivers.array")


class CreateVolumeFromSpecTask(task.Task):
    """Says it in every way that a driver has."""

    def execute(self) -> None:
        LOG.warning("the array says %s", SAID)
        LOG.warning("the array says %(what)s", {"what": SAID})
        LOG.warning(f"the array says {SAID}, in a text that is made")  # noqa: G004 - no template
        processutils.execute("echo", SAID)
        try:
            raise FileNotFoundError(f"no {SAID} here")
        except FileNotFoundError as error:
            raise RuntimeError(f"no {SAID}") from error


@pytest.fixture
def recorder(instrumented: Callable[..., Recorder], monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """The spans of a failing flow, with free texts or without."""
    monkeypatch.setattr(LOG, "level", logging.INFO)
    texts = Settings.from_environ({"OTEL_CINDER_TEXTS": "templates"}).texts
    recorder = instrumented(texts=texts)
    flow = linear_flow.Flow("volume_create_manager").add(CreateVolumeFromSpecTask())
    with recorder.tracer.start_as_current_span("request"), pytest.raises(RuntimeError):
        engines.run(flow)
    return recorder


def test_no_free_text_is_recorded(recorder: Recorder) -> None:
    """Log lines, exceptions, causes, stack traces, statuses and commands are without free text."""
    recorded = "".join(span.to_json() for span in recorder if span.name != "request")
    assert "quince" not in recorded
    assert "medlar" not in recorded
    assert {"volume_create_manager", "CreateVolumeFromSpecTask", "execute echo"} < set(
        recorder.names
    )


def test_templates_classes_and_places_are_recorded(recorder: Recorder) -> None:
    """A line is its template, or a sign where there is none; an exception its class and frames."""
    span = recorder["CreateVolumeFromSpecTask"]
    lines = [
        event.attributes[conventions.LOG_MESSAGE]
        for event in span.events
        if event.name == conventions.LOG_EVENT
        and event.attributes[conventions.LOG_LOGGER] == LOG.name
    ]
    assert lines == ["the array says %s", "the array says %(what)s", "…"]
    (failure,) = [event for event in span.events if event.name == conventions.EXCEPTION_EVENT]
    assert span.status.description == "RuntimeError"
    assert failure.attributes[conventions.EXCEPTION_TYPE] == "builtins.RuntimeError"
    assert failure.attributes[conventions.CAUSE] == ("FileNotFoundError",)
    assert ", in execute" in failure.attributes[conventions.EXCEPTION_STACKTRACE]
    command = recorder["execute echo"]
    assert command.attributes[conventions.COMMAND] == "echo"
    assert "quince" not in json.dumps(dict(command.attributes))


def test_texts_are_back_after_uninstrument(
    recorder: Recorder, instrumented: Callable[..., Recorder]
) -> None:
    """The setting holds for as long as otel-cinder is on with it."""
    import otel_cinder

    otel_cinder.uninstrument()
    again: Any = instrumented()
    with again.tracer.start_as_current_span("request"):
        LOG.warning("the array says %s", SAID)
    (event,) = again["request"].events
    assert event.attributes[conventions.LOG_MESSAGE] == f"the array says {SAID}"
