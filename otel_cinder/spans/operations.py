"""Metrics of what is open, read from the register when metrics are collected, without a hot path."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from opentelemetry.sdk.trace import Span
from opentelemetry.trace import SpanKind

from otel_cinder import conventions
from otel_cinder.spans.open import OpenSpans
from otel_cinder.spans.still_running import age_of, so_far

_KINDS_LIMIT: Final = 500
"""Kinds of operations that are remembered, to say that none of them is open any more."""

_ROOT: Final = (conventions.HTTP_METHOD, conventions.HTTP_ROUTE, conventions.ACTION)

Kind = tuple[tuple[str, Any], ...]
"""Attributes of a metric, without any id."""


class Open(NamedTuple):
    """The open operations of one kind."""

    number: int
    oldest: float
    """Seconds since the first of them began."""


class Operations:
    """Counts the open requests, messages and calls on drivers, by kind."""

    def __init__(self, open_spans: OpenSpans) -> None:
        self._open = open_spans
        self._seen: dict[Callable[[Span], Kind | None], dict[Kind, None]] = {}

    def counts(self) -> dict[str, Callable[[], Iterable[tuple[float, Mapping[str, Any]]]]]:
        """What observes each metric."""
        return {
            conventions.OPEN_OPERATIONS: lambda: self._count(_operation),
            conventions.OLDEST_OPERATION: lambda: self._oldest(_operation),
            conventions.OPEN_DRIVER_CALLS: lambda: self._count(_driver_call),
            conventions.OLDEST_DRIVER_CALL: lambda: self._oldest(_driver_call),
        }

    def _count(
        self, kind_of: Callable[[Span], Kind | None]
    ) -> Iterator[tuple[float, dict[str, Any]]]:
        for kind, found in self._found(kind_of).items():
            yield found.number, dict(kind)

    def _oldest(
        self, kind_of: Callable[[Span], Kind | None]
    ) -> Iterator[tuple[float, dict[str, Any]]]:
        for kind, found in self._found(kind_of).items():
            yield found.oldest, dict(kind)

    def _found(self, kind_of: Callable[[Span], Kind | None]) -> dict[Kind, Open]:
        """What is open, by kind; none of those that were open before and are no more."""
        seen = self._seen.setdefault(kind_of, {})
        found = dict.fromkeys(seen, Open(0, 0.0))
        for each in self._open.snapshot():
            kind = kind_of(each.span)
            if kind is not None:
                number, oldest = found.get(kind, (0, 0.0))
                found[kind] = Open(number + 1, max(oldest, age_of(each.span)))
        seen.update(dict.fromkeys(list(found)[:_KINDS_LIMIT]))
        return found


def _operation(span: Span) -> Kind | None:
    """Of a request or message, by its route or method; None of what is inside of one."""
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
    """Of a driver's method; None of anything else."""
    function = (span.attributes or {}).get(conventions.CODE_FUNCTION)
    cls, _, method = span.name.partition(".")
    if not method or " " in cls or not str(function).endswith(f".{method}"):
        return None
    return ((conventions.CODE_FUNCTION, function),)
