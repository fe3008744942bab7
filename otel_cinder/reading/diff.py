"""The same operation twice, stage by stage: what is slower, what is missing, what differs."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass

from otel_cinder.reading.notes import Row, ending, notes_of
from otel_cinder.reading.story import Story, duration_text
from otel_cinder.reading.words import Words

_NOTICED = 0.25
"""The part by which a duration must differ to be called slower or faster."""
_NOTICED_NS = 2_000_000
_COMPARED = (
    *("cinder.volume.size", "cinder.volume.type", "cinder.volume.availability_zone"),
    *("cinder.volume.source", "cinder.volume.host", "cinder.schedule.attempt", "cinder.backend"),
)


@dataclass(frozen=True)
class Pair:
    """A stage of both, or of one alone; durations as text, empty where there is none."""

    level: int
    description: str
    name: str
    this: str
    other: str
    differences: tuple[str, ...]
    tone: str
    """``bad`` if this one is slower, failed or lacks the stage, ``good`` if it is faster, or ``plain``."""


@dataclass(frozen=True)
class Difference:
    """How two traces differ."""

    words: Words
    title: str
    pairs: tuple[Pair, ...]


def difference_of(this: Story, other: Story) -> Difference:
    """Put the stages of two traces side by side, in the order of both."""
    mine, theirs = notes_of(this).rows, notes_of(other).rows
    matcher = difflib.SequenceMatcher(None, _keys(mine), _keys(theirs), autojunk=False)
    pairs = [_total(this, other)]
    for change, begin, end, other_begin, other_end in matcher.get_opcodes():
        if change == "equal":
            both = zip(mine[begin:end], theirs[other_begin:other_end], strict=True)
            pairs += [_pair(this.words, one, two) for one, two in both]
        else:
            pairs += [_alone(this.words, row, "this") for row in mine[begin:end]]
            pairs += [_alone(this.words, row, "other") for row in theirs[other_begin:other_end]]
    return Difference(this.words, this.title, tuple(pairs))


def _keys(rows: tuple[Row, ...]) -> list[tuple[str, str]]:
    return [(row.stage.kind, row.stage.name) for row in rows]


def _total(this: Story, other: Story) -> Pair:
    say = this.words.say
    durations = [story.trace.end_ns - story.trace.start_ns for story in (this, other)]
    differences, tone = _slower(this.words, *durations)
    endings = [ending(story) for story in (this, other)]
    if endings[0] != endings[1]:
        name = say("outcome")
        differences.append(say("diff_value", name=name, this=endings[0], other=endings[1]))
        tone = "bad" if this.final_error else tone
    if this.title != other.title:
        name = say("stage")
        differences.append(say("diff_value", name=name, this=this.title, other=other.title))
    one, two = map(duration_text, durations)
    return Pair(0, say("diff_total"), "", one, two, tuple(differences), tone)


def _pair(words: Words, one: Row, two: Row) -> Pair:
    durations = one.stage.duration_ns, two.stage.duration_ns
    differences, tone = _slower(words, *durations)
    for name, this, other in _values(words, one, two):
        if this != other:
            none = words.say("diff_none")
            differences.append(
                words.say("diff_value", name=name, this=this or none, other=other or none)
            )
    if one.stage.error and not two.stage.error:
        tone = "bad"
    this, other = map(duration_text, durations)
    return Pair(one.level, one.description, one.stage.name, this, other, tuple(differences), tone)


def _alone(words: Words, row: Row, which: str) -> Pair:
    duration = duration_text(row.stage.duration_ns)
    this, other = (duration, "") if which == "this" else ("", duration)
    said = (words.say(f"diff_only_{which}"), *filter(None, (row.stage.error,)))
    tone = "bad" if which == "other" or row.stage.error else "plain"
    return Pair(row.level, row.description, row.stage.name, this, other, said, tone)


def _slower(words: Words, this: int, other: int) -> tuple[list[str], str]:
    difference = this - other
    if abs(difference) < max(_NOTICED_NS, _NOTICED * min(this, other)):
        return [], "plain"
    phrase, tone = ("diff_slower", "bad") if difference > 0 else ("diff_faster", "good")
    return [words.say(phrase, difference=duration_text(abs(difference)))], tone


def _values(words: Words, one: Row, two: Row) -> Iterator[tuple[str, str, str]]:
    """The values to compare beside the durations: a name, and each trace's value."""
    if one.stage.joins:
        yield words.say("diff_host"), one.stage.host, two.stage.host
    if one.stage.kind in ("request", "message"):
        for key in _COMPARED:
            yield words.details[key], one.stage.details.get(key, ""), two.stage.details.get(key, "")
    if one.stage.kind != "wait":
        states = [row.stage.state if row.stage.tone != "wait" else "" for row in (one, two)]
        yield words.say("diff_state"), states[0], states[1]
        yield words.say("diff_error"), one.stage.error, two.stage.error
    mine, theirs = _verdicts(one), _verdicts(two)
    yield (
        words.say("diff_filters"),
        _text(words, [said for said in mine if said not in theirs]),
        _text(words, [said for said in theirs if said not in mine]),
    )


def _verdicts(row: Row) -> list[str]:
    """The filters' verdicts, and the chosen backend."""
    return [note.text for note in row.stage.notes if note.kind in ("filter", "choice")]


def _text(words: Words, said: list[str]) -> str:
    return words.say("comma").join(said)
