"""The line by which a process says that it is traced."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

import pytest
from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.sdk.metrics import MeterProvider

import otel_cinder
from otel_cinder.settings import Settings
from otel_cinder.spans import announcement
from otel_cinder.spans.runtime import runtime
from otel_cinder.spans.service import Service
from tests.unit import scripts
from tests.unit.racing import race
from tests.unit.recording import Recorder
from tests.unit.sdk import EXPORTS_LOGS

VOLUME = Service("cinder-volume", "node@lvm")

Said = Callable[..., str]


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Said:
    """Cinder-volume's line with these variables, or these providers."""

    def say(environ: dict[str, str] | None = None, **given: object) -> str:
        for name, value in (environ or {}).items():
            monkeypatch.setenv(name, value)
        caplog.set_level(logging.INFO, "otel_cinder")
        otel_cinder.instrument(**given)
        try:
            runtime.announce(VOLUME)
            runtime.announce(VOLUME)
        finally:
            otel_cinder.uninstrument()
        (record,) = (record for record in caplog.records if record.levelno == logging.INFO)
        return record.getMessage()

    return say


def ends(line: str) -> str:
    """The line's part behind the number of places."""
    return line.partition("; ")[2]


def test_line_names_the_service_and_counts_places(said: Said) -> None:
    """Version, service, its host, and the places that fit, once a process."""
    assert re.match(
        rf"otel-cinder {re.escape(otel_cinder.__version__)} traces cinder-volume \(node@lvm\): "
        r"\d+ places patched(, \d+ wait for modules that are not imported)?; ",
        said(),
    )


def test_line_names_places_that_do_not_fit(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """Places that this release of a library does not have are counted."""
    import oslo_messaging.transport

    monkeypatch.delattr(oslo_messaging.transport.Transport, "_send")
    assert " places patched, 1 that do not fit left out" in said()


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        (
            {},
            (
                "spans and metrics go to http://localhost:4318 (http/protobuf); "
                "the sampler is parentbased_always_on."
            ),
        ),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "https://u:S3cretW0rd@c.example:4318?k=S3cret",
                "OTEL_METRICS_EXPORTER": "console",
                "OTEL_LOGS_EXPORTER": "otlp",
                "OTEL_TRACES_SAMPLER": "traceidratio",
                "OTEL_TRACES_SAMPLER_ARG": "0.25",
            },
            (
                f"{'spans and log records' if EXPORTS_LOGS else 'spans'} go to "
                "https://***@c.example:4318 (http/protobuf); metrics go to "
                "console; the sampler is traceidratio 0.25."
            ),
        ),
        (
            {"OTEL_TRACES_EXPORTER": "none", "OTEL_TRACES_SAMPLER": "always_off"},
            (
                "spans go nowhere (OTEL_TRACES_EXPORTER=none); metrics go to http://localhost:4318 "
                "(http/protobuf); the sampler is always_off, which records no trace."
            ),
        ),
        ({"OTEL_SDK_DISABLED": "true"}, "nothing is exported because OTEL_SDK_DISABLED=true."),
    ],
    ids=["default", "much", "nowhere", "disabled"],
)
def test_line_says_where_it_goes(said: Said, environ: dict[str, str], line: str) -> None:
    """The endpoint without credentials, the protocol, the sampler, and signals that go nowhere, with the reason."""
    assert ends(said(environ)) == line


def test_line_names_the_providers_that_were_given(said: Said) -> None:
    """A provider given to instrument() gets the spans, and decides about them."""
    meters = MeterProvider(shutdown_on_exit=False)
    assert ends(said(tracer_provider=Recorder().provider, meter_provider=meters)) == (
        "spans go to the TracerProvider that instrument() was given; "
        "metrics go to the MeterProvider that instrument() was given."
    )


def test_line_says_that_nothing_is_measured(said: Said) -> None:
    """With a provider for spans alone, metrics go nowhere."""
    assert ends(said(tracer_provider=Recorder().provider)) == (
        "spans go to the TracerProvider that instrument() was given; "
        "metrics go nowhere (there is no MeterProvider)."
    )


def test_threads_that_race_say_it_once(caplog: pytest.LogCaptureFixture) -> None:
    """If threads make their first spans at the same time, only one logs the line."""
    caplog.set_level(logging.INFO, "otel_cinder")
    otel_cinder.instrument(tracer_provider=Recorder().provider)
    race(lambda: runtime.announce(VOLUME))
    otel_cinder.uninstrument()
    assert len(caplog.messages) == 1


def test_nothing_is_logged_where_tracing_is_off(caplog: pytest.LogCaptureFixture) -> None:
    """Without instrument(), and after uninstrument(), a starting service logs nothing."""
    caplog.set_level(logging.INFO, "otel_cinder")
    runtime.announce(VOLUME)
    otel_cinder.instrument()
    otel_cinder.uninstrument()
    runtime.announce(VOLUME)
    assert caplog.messages == []


@pytest.mark.complains
def test_failing_announcement_does_not_reach_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service starts although the line can't be made, and its spans are recorded."""
    spans = Recorder()
    otel_cinder.instrument(tracer_provider=spans.provider)
    monkeypatch.setattr(announcement, "text", lambda *_args: 1 / 0)
    runtime.announce(VOLUME)
    runtime.start_span("a", Context()).end()
    otel_cinder.uninstrument()
    assert spans.names == ["a"]


LOGGED = """
import logging, sys, warnings; warnings.simplefilter("ignore")
from oslo_config import cfg
from oslo_log import log
conf = cfg.ConfigOpts()
log.register_options(conf)
conf([])
log.setup(conf, "cinder")
"""


def lines(ran: scripts.Ran) -> list[str]:
    return [line for line in ran.stdout.splitlines() if "otel-cinder" in line]


def test_first_span_says_it_in_no_requests_name() -> None:
    """A process whose start was missed logs it with its first span, outside of the request."""
    ran = scripts.run(
        LOGGED,
        scripts.EXPORTED,
        """
        from oslo_context.context import RequestContext
        logger = logging.getLogger("x")
        RequestContext(user_id="u", request_id="req-1")
        span("a")
        span("b")
        logger.warning("host's")
        """,
        env={"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"},
    )
    (line,) = lines(ran)
    assert " INFO otel_cinder [-] otel-cinder " in line
    assert "WARNING x [None req-1 u" in ran.stdout


@pytest.mark.parametrize("eventlet", [scripts.EVENTLET, ""], ids=["eventlet", "threads"])
def test_each_process_says_it_once(eventlet: str) -> None:
    """A parent and its forked worker each log it once, under their own names."""
    ran = scripts.run(
        eventlet,
        LOGGED,
        scripts.EXPORTED,
        """
        import os
        for _ in range(2):
            span("a")
            runtime.announce()
        if not os.fork():
            for _ in range(2):
                runtime.announce()
                span("b")
            os._exit(0)
        os.wait()
        """,
        env={"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"},
    )
    pids = [line.split()[2] for line in lines(ran)]
    assert len(pids) == len(set(pids)) == 2


def test_line_is_no_event_of_the_span_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line is logged outside of the current trace."""
    import opentelemetry.trace as api

    spans = Recorder()
    otel_cinder.instrument(tracer_provider=spans.provider, settings=Settings())
    logging.getLogger("otel_cinder").setLevel(logging.INFO)
    seen: list[bool] = []

    class Look(logging.Handler):
        def emit(self, _record: logging.LogRecord) -> None:
            seen.append(api.get_current_span().get_span_context().is_valid)

    handler = Look()
    logging.getLogger("otel_cinder").addHandler(handler)
    try:
        with spans.tracer.start_as_current_span("request"):
            runtime.start_span("a", otel_context.get_current()).end()
            assert api.get_current_span().get_span_context().is_valid
    finally:
        logging.getLogger("otel_cinder").removeHandler(handler)
        logging.getLogger("otel_cinder").setLevel(logging.NOTSET)
        otel_cinder.uninstrument()
    assert seen == [False]
    assert otel_context.get_current() == Context()
