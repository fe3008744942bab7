"""Rounds: each runs every variant once, in random order, until the result is sure enough."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from benchmarks.estimates import Round

WARM_UP = 2
"""Operations before each segment."""

Segment = Callable[[int], Mapping[str, Sequence[float]]]
"""Does so many operations; returns each one's CPU seconds, for each thing that is measured."""


@dataclass(frozen=True)
class Variant:
    """One way to do the work. ``on`` switches it on and, when left, off."""

    name: str
    on: Callable[[], AbstractContextManager[object]]
    segment: Segment


@dataclass(frozen=True)
class Effort:
    """How long to measure."""

    operations: int
    """In one segment."""
    at_least: int
    """Rounds, before the precision is looked at."""
    seconds: float
    """The most to spend."""
    precision: float
    """Half the width of the confidence interval that is narrow enough, as a part of the value."""


def run(
    variants: Sequence[Variant],
    effort: Effort,
    unsure: Callable[[Mapping[str, Sequence[Round]]], float],
) -> dict[str, list[Round]]:
    """Run rounds until ``unsure`` says less than the precision wanted, or time is up.

    Returns, for each thing measured, the rounds: microseconds per operation by variant.
    """
    measured: dict[str, list[Round]] = {}
    deadline = time.monotonic() + effort.seconds
    for variant in variants:
        _segment(variant, effort.operations)  # fills caches; not counted
    gc.collect()
    gc.freeze()  # or each collection before a segment would walk all of Cinder's modules
    try:
        count, look = 0, effort.at_least
        while time.monotonic() < deadline or count < 3:
            count += 1
            drawn: dict[str, Round] = {}
            for variant in random.sample(list(variants), len(variants)):
                for what, seconds in _segment(variant, effort.operations).items():
                    drawn.setdefault(what, {})[variant.name] = _undisturbed(seconds) * 1e6
            for what, each in drawn.items():
                measured.setdefault(what, []).append(each)
            if count >= look:
                if unsure(measured) < effort.precision:
                    break
                look = count * 5 // 4  # not each time: to say how sure it is takes a while
    finally:
        gc.unfreeze()
    return measured


def _undisturbed(seconds: Sequence[float]) -> float:
    """The lower quartile: what other processes do to the caches only ever adds time."""
    return sorted(seconds)[len(seconds) // 4]


def _segment(variant: Variant, operations: int) -> Mapping[str, Sequence[float]]:
    with variant.on():
        # Patching a class makes the interpreter forget what it has specialised.
        variant.segment(WARM_UP)
        gc.collect()
        return variant.segment(operations)
