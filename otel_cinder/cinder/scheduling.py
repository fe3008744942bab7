"""The scheduler's backends, and its choice."""

from __future__ import annotations

import math
from typing import Any

from otel_cinder import conventions, redaction


def backend_name(state: Any) -> str:
    """The name of a backend or pool that the scheduler looks at: ``host@backend#pool``."""
    return str(getattr(state, "backend_id", None) or getattr(state, "host", state))


def choice(weighed: Any) -> dict[str, Any]:
    """The backend that the scheduler chose, and its weight, if that is a number.

    It is infinite where a weigher takes a backend's capacity, which may be unknown or infinite, as
    it is. Such an attribute may not be exported.
    """
    attributes: dict[str, Any] = {conventions.HOST: redaction.identifier(backend_name(weighed.obj))}
    weight = float(weighed.weight)
    if math.isfinite(weight):
        attributes[conventions.WEIGHT] = weight
    return attributes
