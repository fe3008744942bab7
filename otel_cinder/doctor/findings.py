"""A finding: a sentence of advice first, then the problem and its place."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field


class Level(enum.Enum):
    """How much a finding matters."""

    MEND = "mend"
    """Something to mend."""
    UNSEEN = "could not look"
    NOTE = "note"
    """Good to know; nothing is wrong."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, could not be looked at, or is good to know."""

    check: str
    """The check's name, for programs: ``endpoint``, ``settings``."""
    advice: str
    """The first thing to do, without its full stop."""
    what: str
    """The problem, as a sentence without its full stop; empty if the advice says it."""
    level: Level = Level.MEND
    raw: str = field(default="")
    """The raw error, masked."""

    @property
    def sentence(self) -> str:
        """Advice, problem and raw error in one line."""
        sentence = ": ".join(filter(None, (self.advice, self.what)))
        return f"{sentence} ({self.raw})." if self.raw else f"{sentence.removesuffix('.')}."


def status_of(findings: list[Finding]) -> int:
    """The exit status: 1 if there is something to mend, else 2 if something could not be looked at."""
    levels = {finding.level for finding in findings}
    if Level.MEND in levels:
        return 1
    return 2 if Level.UNSEEN in levels else 0
