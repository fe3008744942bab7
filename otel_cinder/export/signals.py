"""The three signals: their names in messages and in the ``OTEL_*`` variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

_SLOW: Final = "ind out why the collector is slow or down"


class Signal(NamedTuple):
    """A kind of exported data."""

    noun: str
    word: str
    """As in ``OTEL_EXPORTER_OTLP_<word>_ENDPOINT``."""
    default: str
    """The value of ``OTEL_<word>_EXPORTER`` where it is not set."""
    more_room: str = f"F{_SLOW}"
    """Advice for a full queue."""
    or_else: str = ""
    """More advice where the collector does not take the signal."""

    def setting(self, environ: Mapping[str, str], name: str) -> str:
        """Value of ``OTEL_EXPORTER_OTLP_*`` for this signal, or else for all of them."""
        own = environ.get(f"OTEL_EXPORTER_OTLP_{self.word}_{name}", "").strip()
        return own or environ.get(f"OTEL_EXPORTER_OTLP_{name}", "").strip()


SPANS: Final = Signal(
    "spans", "TRACES", "otlp", more_room=f"Raise OTEL_BSP_MAX_QUEUE_SIZE, or f{_SLOW}"
)
METRICS: Final = Signal(
    "metrics", "METRICS", "otlp", or_else=", or set OTEL_METRICS_EXPORTER=none if it takes none"
)
LOGS: Final = Signal(
    "log records", "LOGS", "none", more_room=f"Raise OTEL_BLRP_MAX_QUEUE_SIZE, or f{_SLOW}"
)
