"""The result of an export by any protocol: taken, to be sent again, to be halved, or lost."""

from __future__ import annotations

import enum
from typing import Any, Final, NamedTuple

from otel_cinder import redaction

TEXT_LIMIT: Final = 300
"""Characters of a collector's message, or of an error's, that are logged."""

LONGEST_S: Final = 60.0
"""Seconds that an export may take, even if more are configured."""


class Verdict(enum.Enum):
    """The fate of a batch."""

    TAKEN = "taken"
    AGAIN = "again"
    """Refused now, but maybe accepted later."""
    TOO_LARGE = "too large"
    """Too large, but its halves may be accepted."""
    MALFORMED = "malformed"
    """One item can't be encoded; its halves show which."""
    LOST = "lost"
    """Not taken, and trying again does not help."""


class Result(NamedTuple):
    """The result of an export. The texts make up a sentence for the log."""

    verdict: Verdict
    kind: str = ""
    """The ``error.type`` of the items that were not taken."""
    advice: str = ""
    """Advice, without its full stop."""
    what: str = ""
    """The problem, as the end of a sentence."""
    raw: str = ""
    """The raw error."""
    wait: float = 0.0
    """Seconds to wait before the next try, if the collector asks for that."""
    answered: bool = False
    """True if something answered, so that trying again in a moment may help."""
    rejected: int = 0
    """Items that were rejected, although the batch was taken."""


TAKEN: Final = Result(Verdict.TAKEN, answered=True)


class SettingError(ValueError):
    """A setting prevents an exporter. The error's text is advice."""


def partly_taken(rejected: int, message: str) -> Result:
    """OTLP's partial success: some items are rejected, or there is a warning."""
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


def malformed(error: Exception) -> Result:
    """An item can't be encoded: a text with a lone surrogate, for example."""
    return Result(
        Verdict.MALFORMED,
        type(error).__qualname__,
        "Please report it",
        "one can't be encoded, and is lost",
        f"{type(error).__name__}: {one_line(error)}",
    )


def one_line(text: Any) -> str:
    """A collector's message, or an error's, masked and short enough for one line of a log."""
    return redaction.masked(text, TEXT_LIMIT)
