"""Whose a failure is: the host's, the environment's, chance's, or tracing's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tests.hosts.running import Feed, Outcome, Runner, Unit, by_name

Repeat = Callable[[list[Outcome], bool], set[str]]
"""Runs these tests again, traced or not; returns the names of those that fail."""


@dataclass
class Verdict:
    """The verdict on the tests that failed while traced."""

    broken: list[Outcome]
    """They fail whenever they are traced, and pass otherwise."""
    theirs: list[Outcome]
    """They fail as well where nothing is traced."""
    unsteady: list[Outcome]
    """They pass, traced, when they are repeated."""


def judge(failures: list[Outcome], runner: Runner, theirs: set[str] | None = None) -> Verdict:
    """Repeat what has failed while it was traced, until it is clear why.

    First as few other tests as possible run along. What passes then may need what its process had
    run before, so that is repeated too. Chance must be against a test five times to make it one
    that tracing breaks.

    Args:
        theirs: names of the tests that have failed untraced, where that is known.
    """
    repeats = Repeats(runner)
    if theirs is None:
        theirs = repeats.together(failures, traced=False)
    suspects = [failure for failure in failures if failure.test not in theirs]
    broken: list[Outcome] = []
    for repeat in (repeats.alone, repeats.replayed):
        again = _fail_twice(suspects, repeat)
        innocent = repeat(again, traced=False) if again else set()
        broken += [failure for failure in again if failure.test not in innocent]
        theirs |= innocent
        known = {failure.test for failure in again}
        suspects = [suspect for suspect in suspects if suspect.test not in known]
    return Verdict(
        sorted(broken, key=by_name),
        [failure for failure in failures if failure.test in theirs],
        suspects,
    )


def _fail_twice(suspects: list[Outcome], repeat: Repeat) -> list[Outcome]:
    for _ in range(2):
        if suspects:
            failing = repeat(suspects, traced=True)
            suspects = [suspect for suspect in suspects if suspect.test in failing]
    return suspects


class Repeats:
    """Ways to run tests again."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def together(self, outcomes: list[Outcome], *, traced: bool) -> set[str]:
        """With all others of them, in as many processes as the suite has."""
        feed = Feed(_units(outcomes), _only(outcomes))
        feeds = [(feed, self._runner.modules)] * self._runner.suite.processes
        return self._run(feeds, outcomes, traced=traced)

    def alone(self, outcomes: list[Outcome], *, traced: bool) -> set[str]:
        """With those of the same unit, in a new process that imports their module alone."""
        only = _only(outcomes)
        feeds = [(Feed([unit], only), [unit[0]]) for unit in _units(outcomes)]
        return self._run(feeds, outcomes, traced=traced)

    def replayed(self, outcomes: list[Outcome], *, traced: bool) -> set[str]:
        """Behind all that ran before them in their processes."""
        longest: dict[Unit, tuple[Unit, ...]] = {}
        for outcome in outcomes:
            history = (*outcome.before, outcome.unit)
            # One that begins as another is a part of it.
            if len(history) > len(longest.get(history[0], ())):
                longest[history[0]] = history
        feeds = [(Feed(history), self._runner.modules) for history in longest.values()]
        return self._run(feeds, outcomes, traced=traced)

    def _run(
        self, feeds: list[tuple[Feed, list[str]]], outcomes: list[Outcome], *, traced: bool
    ) -> set[str]:
        if not outcomes:
            return set()
        ran = self._runner.run_feeds(feeds, traced=traced)
        failed = {failure.test for failure in ran.failures}
        return failed & {outcome.test for outcome in outcomes}


def _units(outcomes: Iterable[Outcome]) -> list[Unit]:
    return sorted({outcome.unit for outcome in outcomes})


def _only(outcomes: Iterable[Outcome]) -> dict[Unit, set[str]]:
    only: dict[Unit, set[str]] = {}
    for outcome in outcomes:
        only.setdefault(outcome.unit, set()).add(outcome.test)
    return only
