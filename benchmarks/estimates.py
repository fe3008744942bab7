"""Medians of paired differences, and how sure they are."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

RESAMPLES = 500
CONFIDENCE = 0.95

Round = dict[str, float]
"""The cost of each variant in one round, by its name."""


@dataclass(frozen=True)
class Estimate:
    """A value and the interval that holds the true one with 95 % confidence."""

    value: float
    low: float
    high: float

    @property
    def precision(self) -> float:
        """Half the interval's width, as a part of the value."""
        return (self.high - self.low) / 2 / abs(self.value) if self.value else float("inf")


def added(rounds: Sequence[Round], variant: str, base: str) -> Estimate:
    """The added cost of ``variant`` over ``base``: the median of each round's own difference."""
    return _bootstrap(rounds, lambda some: _added(some, variant, base))


def ratio(rounds: Sequence[Round], variant: str, other: str, base: str) -> Estimate:
    """The added cost of ``variant`` over ``base``, divided by that of ``other``."""
    return _bootstrap(rounds, lambda some: _added(some, variant, base) / _added(some, other, base))


def times(rounds: Sequence[Round], variant: str, base: str) -> Estimate:
    """How many times what ``base`` costs ``variant`` does: the median of each round's own ratio."""
    return _bootstrap(rounds, lambda some: median(costs[variant] / costs[base] for costs in some))


def typical(rounds: Sequence[Round], variant: str) -> Estimate:
    """The cost of ``variant``: the median of the rounds."""
    return _bootstrap(rounds, lambda some: median(costs[variant] for costs in some))


def _added(rounds: Sequence[Round], variant: str, base: str) -> float:
    return median(costs[variant] - costs[base] for costs in rounds)


def _bootstrap(rounds: Sequence[Round], statistic: Callable[[Sequence[Round]], float]) -> Estimate:
    """Draw the rounds anew, with repetition, and see how far the statistic moves."""
    source = random.Random(len(rounds))
    drawn = sorted(statistic(source.choices(rounds, k=len(rounds))) for _ in range(RESAMPLES))
    tail = int(RESAMPLES * (1 - CONFIDENCE) / 2)
    return Estimate(statistic(rounds), drawn[tail], drawn[-1 - tail])
