"""Metrics of open operations, read from the register at each collection, outside of hot paths."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from opentelemetry.sdk.trace import Span
from opentelemetry.trace import SpanKind

from otel_cinder import conventions
from otel_cinder.spans.open import OpenSpans
from otel_cinder.spans.still_running import age_of, so_far

_KINDS_LIMIT: Final = 500
"""Kinds of operations that are remembered, to report 0 when none of them is open any more."""

_ROOT: Final = (conventions.HTTP_METHOD, conventions.HTTP_ROUTE, conventions.ACTION)

Kind = tuple[tuple[str, Any], ...]
"""Attributes of a metric, without any id."""

Rows = list[tuple[float, Mapping[str, Any]]]
"""Values of a metric, with their attributes."""


class Open(NamedTuple):
    """The open operations of one kind."""

    number: int
    oldest: float
    """Seconds since the first of them began."""


class Operations:
    """Counts the open requests, messages and calls on drivers, by kind."""

    def __init__(self, open_spans: OpenSpans) -> None:
        self._open = open_spans
        self._seen: dict[str, dict[Kind, None]] = {number: {} for _, number, _ in _METRICS}
        self._rows: dict[str, Rows] = {}
        """Of the current collection, without the metrics that have taken theirs."""

    def counts(self) -> dict[str, Callable[[], Rows]]:
        """Return the function that observes each metric."""
        return {
            name: functools.partial(self._take, name)
            for _, number, oldest in _METRICS
            for name in (number, oldest)
        }

    def _take(self, name: str) -> Rows:
        """One metric's rows. A metric that asks again begins a collection, for the others too."""
        rows = self._rows.pop(name, None)
        if rows is None:
            self._rows = self._walk()
            rows = self._rows.pop(name)
        return rows

    def _walk(self) -> dict[str, Rows]:
        """The rows of all metrics; zeros for kinds that were open before."""
        spans = [each.span for each in self._open.snapshot()]
        rows: dict[str, Rows] = {}
        for kind_of, number, oldest in _METRICS:
            seen = self._seen[number]
            kinds = dict.fromkeys(seen, Open(0, 0.0))
            for span in spans:
                kind = kind_of(span)
                if kind is not None:
                    before = kinds.get(kind, Open(0, 0.0))
                    kinds[kind] = Open(before.number + 1, max(before.oldest, age_of(span)))
            seen.update(dict.fromkeys(list(kinds)[:_KINDS_LIMIT]))
            rows[number] = [(found.number, dict(kind)) for kind, found in kinds.items()]
            rows[oldest] = [(found.oldest, dict(kind)) for kind, found in kinds.items()]
        return rows


def _operation(span: Span) -> Kind | None:
    """The kind of a request or message, by its route or method; None for spans inside of one."""
    said = dict(span.attributes or {})
    if span.kind not in (SpanKind.SERVER, SpanKind.CONSUMER):
        return None
    if conventions.RPC_METHOD in said:
        return ((conventions.RPC_METHOD, said[conventions.RPC_METHOD]),)
    if conventions.HTTP_METHOD in said:
        said |= so_far(span)[1]
        return tuple((name, said[name]) for name in _ROOT if name in said)
    return None


def _driver_call(span: Span) -> Kind | None:
    """The kind of a driver's call; None for any other span."""
    function = (span.attributes or {}).get(conventions.CODE_FUNCTION)
    cls, _, method = span.name.partition(".")
    if not method or " " in cls or not str(function).endswith(f".{method}"):
        return None
    return ((conventions.CODE_FUNCTION, function),)


_METRICS: Final = (
    (_operation, conventions.OPEN_OPERATIONS, conventions.OLDEST_OPERATION),
    (_driver_call, conventions.OPEN_DRIVER_CALLS, conventions.OLDEST_DRIVER_CALL),
)
"""The kind of the counted spans, and the metrics of their number and of the oldest one's age."""
