"""The same operation twice."""

from __future__ import annotations

from dataclasses import replace

from otel_cinder.reading.diff import Difference, difference_of
from otel_cinder.reading.story import Story
from otel_cinder.reading.trace import Trace
from otel_cinder.reading.words import words
from tests.unit.reading.recorded import recorded


def said(difference: Difference) -> str:
    """All differences of the stages."""
    return "\n".join(
        f"{pair.name}: {each}" for pair in difference.pairs for each in pair.differences
    )


def test_a_trace_does_not_differ_from_itself() -> None:
    """Two equal traces have no differences."""
    story = Story(recorded("reschedule"))
    difference = difference_of(story, story)
    assert len(difference.pairs) == len(story.stages) + 1
    assert said(difference) == ""
    assert {pair.tone for pair in difference.pairs} == {"plain"}


def test_a_reschedule_beside_a_create_that_went_well() -> None:
    """Which stage failed, where, by what; which stages there are only in one."""
    difference = difference_of(Story(recorded("reschedule")), Story(recorded("create")))
    text = said(difference)
    assert ": Outcome: succeeded in the end, after an error: VolumeBackendAPIException" in text
    assert "CreateVolumeFromSpecTask: state: FAILURE, other: SUCCESS" in text
    assert "process cinder-volume/create_volume: backend: node@one#one, other: otel-cinder-" in text
    assert "ScheduleCreateVolumeTask: filters: " in text
    alone = [pair for pair in difference.pairs if "only in this one" in pair.differences]
    assert "revert OnFailureRescheduleTask" in [pair.name for pair in alone]
    assert not any(pair.other for pair in alone)
    back = difference_of(Story(recorded("create")), Story(recorded("reschedule"), words("en")))
    assert "only in the other" in said(back)


def test_only_relevant_differences_in_time_are_shown() -> None:
    """A stage that takes a second more is slower; a few µs are no difference."""
    trace = recorded("create")
    slow = [
        replace(span, end_ns=span.end_ns + (10**9 if span.name == "QuotaReserveTask" else 5_000))
        for span in trace.spans
    ]
    this, other = Story(Trace(slow), words("zh")), Story(trace, words("zh"))
    assert said(difference_of(this, other)) == "QuotaReserveTask: 慢 1.00 s"
    assert said(difference_of(other, this)) == "QuotaReserveTask: 快 1.00 s"
