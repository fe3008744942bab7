"""What became of an export, whatever the protocol: taken, to be tried again, to be halved, lost."""

from __future__ import annotations

import enum
from typing import Any, Final, NamedTuple

from otel_cinder import redaction

TEXT_LIMIT: Final = 300
"""Characters of what a collector or an error says that are told."""


LONGEST_S: Final = 60.0
"""Seconds that an export may take, whatever is set."""


class Verdict(enum.Enum):
    """What is to become of a batch."""

    TAKEN = "taken"
    AGAIN = "again"
    """Not taken now; it may be, later."""
    TOO_LARGE = "too large"
    """Its halves may be taken."""
    MALFORMED = "malformed"
    """One item of it can't be encoded; its halves show which."""
    LOST = "lost"
    """Not taken, and never going to be."""


class Answer(NamedTuple):
    """How an export went. The texts make up a sentence for the log."""

    verdict: Verdict
    kind: str = ""
    """The ``error.type`` of what was not taken."""
    advice: str = ""
    """What to do, without its full stop."""
    what: str = ""
    """What happened, as the end of a sentence."""
    raw: str = ""
    """The error as it came."""
    wait: float = 0.0
    """Seconds to wait before it is tried again, where the collector has said so."""
    answered: bool = False
    """Whether something answered, so that trying again in a moment may help."""
    rejected: int = 0
    """Items that were not taken of a batch that was."""


TAKEN: Final = Answer(Verdict.TAKEN, answered=True)


class SettingError(ValueError):
    """A setting with which there can be no exporter. Its text says what to do about it."""


def partly_taken(rejected: int, message: str) -> Answer:
    """OTLP's partial success: some items are rejected; or none is, and there is a warning."""
    if rejected > 0:
        return TAKEN._replace(
            kind="rejected",
            rejected=rejected,
            advice="Look at what the collector says, and at its log",
            what=f"the collector has rejected {rejected} of a request, which are lost",
            raw=one_line(message),
        )
    if message:
        return TAKEN._replace(
            kind="warning",
            advice="Look at what the collector says",
            what="the collector takes them with a warning",
            raw=one_line(message),
        )
    return TAKEN


def malformed(error: Exception) -> Answer:
    """An item that can't be encoded: a lone surrogate in a text, say."""
    return Answer(
        Verdict.MALFORMED,
        type(error).__qualname__,
        "Please report it",
        "one can't be encoded, and is lost",
        f"{type(error).__name__}: {one_line(error)}",
    )


def one_line(text: Any) -> str:
    """What a collector or an error says, fit for one line of a log."""
    return redaction.masked(text, TEXT_LIMIT)
