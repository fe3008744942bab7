"""The decision to record a trace."""

from __future__ import annotations

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_OFF,
    DEFAULT_ON,
    Decision,
    ParentBasedTraceIdRatio,
    Sampler,
    TraceIdRatioBased,
)
from opentelemetry.trace import SpanContext, TraceFlags, TraceState

from otel_cinder.spans.sampling import FROM_OUTSIDE, LocalRootSampler, Tally, configured

SMALL = 1
"""A trace id that every ratio sampler takes."""


def decide(
    sampler: Sampler, *, sampled: bool | None, remote: bool = False, stranger: bool = False
) -> bool:
    """True if a span below such a parent (None: a root) is recorded."""
    context = Context()
    if sampled is not None:
        state = TraceState([("a", "b")])
        parent = SpanContext(SMALL, 2, remote, TraceFlags(int(sampled)), state)
        context = trace.set_span_in_context(trace.NonRecordingSpan(parent), context)
    if stranger:
        context = Context({**context, FROM_OUTSIDE: True})
    result = LocalRootSampler(sampler, Tally()).should_sample(
        context, SMALL, "name", attributes={"a": 1}
    )
    if sampled is not None:
        assert dict(result.trace_state) == {"a": "b"}
    return result.decision is Decision.RECORD_AND_SAMPLE


@pytest.mark.parametrize("sampler", [ALWAYS_ON, DEFAULT_ON, ALWAYS_OFF, DEFAULT_OFF])
@pytest.mark.parametrize("remote", [False, True])
@pytest.mark.parametrize("sampled", [False, True])
def test_within_cinder_the_parent_is_followed(
    sampler: Sampler, remote: bool, sampled: bool
) -> None:
    """A local parent, or one from a message, decides with any sampler."""
    assert decide(sampler, sampled=sampled, remote=remote) is sampled


@pytest.mark.parametrize(("sampler", "kept"), [(ALWAYS_ON, True), (DEFAULT_OFF, False)])
def test_roots_are_the_samplers(sampler: Sampler, kept: bool) -> None:
    """A root is decided by the configured sampler."""
    assert decide(sampler, sampled=None) is kept
    assert decide(sampler, sampled=None, stranger=True) is kept


@pytest.mark.parametrize(
    ("sampler", "sampled", "kept"),
    [
        (DEFAULT_ON, True, True),
        (DEFAULT_ON, False, False),
        (DEFAULT_OFF, True, False),
        (ALWAYS_OFF, True, False),
        (ALWAYS_ON, True, True),
        (ALWAYS_ON, False, True),
    ],
)
def test_strangers_flag_can_only_lower(sampler: Sampler, sampled: bool, kept: bool) -> None:
    """A stranger's flag 0 is honoured by parent-based samplers; its flag 1 decides nothing."""
    assert decide(sampler, sampled=sampled, remote=True, stranger=True) is kept


@pytest.mark.parametrize("sampler", [TraceIdRatioBased(0.1), ParentBasedTraceIdRatio(0.1)])
def test_strangers_trace_id_does_not_count(sampler: Sampler) -> None:
    """A trace id that the ratio sampler would always take is taken at the ratio."""
    taken = sum(decide(sampler, sampled=True, remote=True, stranger=True) for _ in range(1000))
    assert 40 <= taken <= 200


def test_attributes_and_description() -> None:
    """A recorded span keeps its attributes; the description names the configured sampler."""
    sampler = LocalRootSampler(ALWAYS_ON, Tally())
    parent = trace.NonRecordingSpan(SpanContext(1, 2, False, TraceFlags(1)))
    result = sampler.should_sample(
        trace.set_span_in_context(parent, Context()), 1, "n", None, {"a": 1}
    )
    assert dict(result.attributes) == {"a": 1}
    assert sampler.get_description() == "LocalRootSampler(AlwaysOnSampler)"


def test_decisions_are_counted() -> None:
    """Each span that is started counts, by whether it is sampled."""
    tally = Tally()
    sampler = LocalRootSampler(DEFAULT_ON, tally)
    for flags in (1, 1, 0):
        parent = trace.NonRecordingSpan(SpanContext(1, 2, False, TraceFlags(flags)))
        sampler.should_sample(trace.set_span_in_context(parent, Context()), 1, "n")
    sampler.should_sample(Context(), 1, "n")
    assert (tally.sampled, tally.dropped) == (3, 1)


def test_trusting_sampler_is_the_configured_one() -> None:
    """If inbound is trusted, the configured sampler decides for every parent, and is counted."""
    tally = Tally()
    sampler = LocalRootSampler(DEFAULT_OFF, tally, trusts=True)
    parent = trace.NonRecordingSpan(SpanContext(1, 2, True, TraceFlags(1)))
    context = Context({**trace.set_span_in_context(parent, Context()), FROM_OUTSIDE: True})
    result = sampler.should_sample(context, 1, "n")
    assert result.decision is Decision.RECORD_AND_SAMPLE
    assert (tally.sampled, tally.dropped) == (1, 0)


# What the environment says


@pytest.mark.parametrize(
    ("environ", "description", "name"),
    [
        ({}, DEFAULT_ON.get_description(), "parentbased_always_on"),
        ({"OTEL_TRACES_SAMPLER": " Always_Off "}, "AlwaysOffSampler", "always_off"),
        (
            {"OTEL_TRACES_SAMPLER": "parentbased_always_off"},
            DEFAULT_OFF.get_description(),
            "parentbased_always_off",
        ),
        (
            {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": " 0.25 "},
            TraceIdRatioBased(0.25).get_description(),
            "traceidratio 0.25",
        ),
        (
            {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"},
            ParentBasedTraceIdRatio(0.0).get_description(),
            "parentbased_traceidratio 0",
        ),
    ],
)
def test_sampler_of_the_environment(
    environ: dict[str, str], description: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each of the SDK's samplers is found by its name, whatever the case, without a warning."""
    sampler, sampler_name = configured(environ)
    assert (sampler.get_description(), sampler_name) == (description, name)
    assert caplog.messages == []


EVERY_TRACE = "so 1 is used, which records every trace."


@pytest.mark.parametrize(
    ("environ", "warning", "name"),
    [
        (
            {"OTEL_TRACES_SAMPLER": "ratio"},
            (
                "Set OTEL_TRACES_SAMPLER to traceidratio: there is no sampler 'ratio', so "
                "parentbased_always_on is used, which records every trace."
            ),
            "parentbased_always_on",
        ),
        (
            {"OTEL_TRACES_SAMPLER": "xyz"},
            (
                "Set OTEL_TRACES_SAMPLER to one of always_on, always_off, parentbased_always_on, "
                "parentbased_always_off, traceidratio, parentbased_traceidratio: there is no sampler "
                "'xyz', so parentbased_always_on is used, which records every trace."
            ),
            "parentbased_always_on",
        ),
        (
            {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "10%"},
            "Set OTEL_TRACES_SAMPLER_ARG to a number from 0 to 1, such as 0.1: '10%' is none, "
            + EVERY_TRACE,
            "traceidratio 1",
        ),
        (
            {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "nan"},
            "Set OTEL_TRACES_SAMPLER_ARG to a number from 0 to 1, such as 0.1: 'nan' is none, "
            + EVERY_TRACE,
            "traceidratio 1",
        ),
        (
            {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "10"},
            "Set OTEL_TRACES_SAMPLER_ARG to a number from 0 to 1, such as 0.1: '10' is none, "
            + EVERY_TRACE,
            "traceidratio 1",
        ),
        (
            {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio"},
            "Set OTEL_TRACES_SAMPLER_ARG to a number from 0 to 1, such as 0.1: it is not set, "
            + EVERY_TRACE,
            "parentbased_traceidratio 1",
        ),
        (
            {"OTEL_TRACES_SAMPLER_ARG": "0.1"},
            (
                "Set OTEL_TRACES_SAMPLER=parentbased_traceidratio to have OTEL_TRACES_SAMPLER_ARG=0.1 "
                "obeyed: parentbased_always_on, which is used, takes no ratio."
            ),
            "parentbased_always_on",
        ),
    ],
)
def test_misleading_sampler_setting(
    environ: dict[str, str], warning: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A wrong name or ratio, which the SDK would ignore, causes a warning that names the sampler in use."""
    sampler, sampler_name = configured(environ)
    assert sampler_name == name
    assert sampler.should_sample(None, SMALL, "n").decision is Decision.RECORD_AND_SAMPLE
    assert caplog.messages == [warning]
