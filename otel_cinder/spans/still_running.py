"""Still-running spans: spans of their own that show open spans in a trace.

A span is exported when it ends, so a driver's call that hangs is in no trace. Here each second a
native thread, which runs also while eventlet's hub is blocked, looks at the register of open spans.
What is open for too long is told by one ordinary span: ``still running RBDDriver.create_volume``, with
an id of its own, below the nearest ancestor that has ended or the cast that asked for it, with a link
to the open span. So each backend shows it, no id is sent twice, and none is an orphan.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple
from weakref import ref

from opentelemetry.sdk.trace import ReadableSpan, Span
from opentelemetry.trace import Link, SpanContext, SpanKind

from otel_cinder import conventions, redaction
from otel_cinder.export.failure_log import failure_log
from otel_cinder.export.native_thread import unpatched
from otel_cinder.export.queues import BatchSpanProcessor
from otel_cinder.export.worker import Worker
from otel_cinder.spans import at_work, clock
from otel_cinder.spans.open import OpenSpan, OpenSpans

LOOK_S: Final = 1.0
"""Seconds between two looks."""

_AGAIN_S: Final = (30.0, 120.0, 600.0)
"""Ages, in seconds, at which a span is shown again; then each hour."""

_HOUR_S: Final = 3600.0

_REQUEST_LIMIT: Final = 16
"""Still-running spans of one request or message in a look."""

_ROUND_LIMIT: Final = 64
"""Still-running spans of one look at most. Others wait for the next look."""

_CHAIN_LIMIT: Final = 64
"""Nested open spans that are recorded for one operation."""

_AT_A_STOP_S: Final = 1.0
"""Seconds after which a span is shown when the service is about to stop."""

_STOP_WAIT_S: Final = 2.0
"""Seconds for exporting the still-running spans of a stop."""

_OWNER: Final = "_otel_cinder_owner"
"""Attribute of a span: a weak reference to an object with more attributes while it is open."""

_SAID: Final = ("cinder.", "openstack.")
"""Prefixes of a local root's attributes that a still-running span repeats."""

_SAID_TOO: Final = frozenset(
    {conventions.HTTP_METHOD, conventions.HTTP_ROUTE, conventions.URL_PATH, conventions.RPC_METHOD}
)
_NOT_SAID: Final = frozenset({conventions.QUEUE_DURATION, conventions.CLOCK_SKEW})


def tell_more(span: Any, owner: ref[Any]) -> None:
    """Have ``owner.so_far()`` asked for name and attributes of ``span`` while it is open.

    It is asked in a native thread: it must take no lock, and call nothing of eventlet's.
    """
    if span.is_recording():
        setattr(span, _OWNER, owner)


def rung(age: float, first: float) -> int:
    """How often a span of this age is to have been told, where ``first`` is the first time; in s."""
    if age < first:
        return 0
    again = sum(first < each <= age for each in _AGAIN_S)
    return 1 + again + int(age // _HOUR_S) - int(first // _HOUR_S)


class _Chain(NamedTuple):
    """The open spans of one piece of work: the local root first, if it is open."""

    spans: list[OpenSpan]

    @property
    def leaf(self) -> OpenSpan:
        """The innermost one."""
        return self.spans[-1]

    def long_open(self, first: float) -> Span | None:
        """The innermost span, if it is open for ``first`` seconds; else one around it, for twice that.

        An operation may go on for hours in which what it does inside is always something new.
        """
        if age_of(self.leaf.span) >= first:
            return self.leaf.span
        around = (each.span for each in reversed(self.spans))
        return next((span for span in around if age_of(span) >= 2 * first), None)


def age_of(span: Span) -> float:
    """For how many seconds a span is open."""
    return max(clock.now(span) - (span.start_time or 0), 0) / 1e9


def chains_of(found: Iterable[OpenSpan]) -> list[_Chain]:
    """Each innermost open span with its ancestors that are open in this request or message."""
    by_id = {each.span.get_span_context().span_id: each for each in found}
    parents = {span_id: _parent_id(each.span) for span_id, each in by_id.items()}
    inner = by_id.keys() - set(parents.values())
    chains = []
    for span_id in [each for each in by_id if each in inner]:
        spans: list[OpenSpan] = []
        at: int | None = span_id
        while at in by_id and len(spans) < _CHAIN_LIMIT:
            spans.insert(0, by_id[at])
            at = parents[at]
        chains.append(_Chain(spans))
    return chains


def _parent_id(span: Span) -> int | None:
    """Of the parent in the same request or message."""
    parent = span.parent
    return None if parent is None or parent.is_remote else parent.span_id


class StillRunning(Worker):
    """Looks each second at what is open, and exports what is open for too long.

    Args:
        open_spans: the register.
        exported: where the spans go.
        draw_id: makes a span id.
        first: seconds after which a span is told for the first time.
    """

    def __init__(
        self,
        open_spans: OpenSpans,
        exported: BatchSpanProcessor,
        draw_id: Callable[[], int],
        first: float,
    ) -> None:
        super().__init__("still-running spans", LOOK_S)
        self._open = open_spans
        self._exported = exported
        self._draw_id = draw_id
        self._first = first
        self._rungs: dict[int, int] = {}
        """How often each span was shown, by span id."""
        self._readings: dict[int, Any] = {}
        """The hubs' readings of greenthreads that ran at the last look, by span id."""
        self._yield: Callable[[float], None] = unpatched("time").sleep
        self._is_hurried = False
        self._cut_off_at = math.inf
        """The time from which open spans are errors, by the monotonic clock."""
        self.left_out = 0
        """Spans that were not shown because a request had too many, so far."""

    def start_quietly(self) -> None:
        """Start the thread. Never raises."""
        try:
            self.start()
        except Exception as error:  # no thread to be had: nothing is told of what is open
            failure_log.add_once(
                "otel-cinder can't tell what is still running because of %s: %s; Cinder is not "
                "affected.",
                type(error).__name__,
                redaction.masked(error),
            )

    def hurry(self) -> None:
        """Show all open spans at the next look, because the process may be ended at any moment."""
        self._is_hurried = True

    def cut_off_in(self, seconds: float) -> None:
        """Export spans that are still open then as errors, because the process is about to be ended."""
        self._cut_off_at = min(self._cut_off_at, time.monotonic() + seconds)

    def _load(self) -> None:
        """Nothing is to be imported."""

    def _begin(self) -> None:
        """Nothing is to be made ready."""

    def _end(self) -> None:
        self._rungs.clear()
        self._readings.clear()

    def _work(self, *, asked: bool) -> None:
        if self._stopping:
            return
        if time.monotonic() >= self._cut_off_at and self._open.cut_off():
            self._exported.ask()
        hurried, self._is_hurried = self._is_hurried and asked, False
        try:
            told = self._look(min(self._first, _AT_A_STOP_S) if hurried else self._first)
        except Exception as error:  # what is read belongs to threads that go on meanwhile
            failure_log.add_once(
                "otel-cinder could not tell what is still running because of %s: %s; Cinder is "
                "not affected. Please report it.",
                type(error).__name__,
                redaction.masked(error),
            )
            return
        if told:
            done = self._exported.ask()
            if hurried and done is not None:
                done.wait(_STOP_WAIT_S)

    def _look(self, first: float) -> int:
        """Export the still-running spans that are due, and return their number."""
        found = self._open.snapshot()
        if not found or age_of(found[0].span) < first - 2 * LOOK_S:
            self._rungs.clear()
            self._readings.clear()
            return 0
        chains = chains_of(found)
        known = {each.span.get_span_context().span_id for each in found}
        self._rungs = {key: value for key, value in self._rungs.items() if key in known}
        blocking = self._blocking(chains, first)
        told = 0
        of_request: Counter[int] = Counter()
        for chain in chains:
            span = chain.long_open(first)
            if span is None or not self._is_due(span, first):
                continue
            if told >= _ROUND_LIMIT:
                break
            self._take_note(chain, first)
            root = chain.spans[0].span.get_span_context().span_id
            of_request[root] += 1
            if of_request[root] > _REQUEST_LIMIT:
                self.left_out += 1
                continue
            self._exported.on_end(self._still_running(chain, span, blocking))
            told += 1
        return told

    def _is_due(self, span: Span, first: float) -> bool:
        context = span.get_span_context()
        is_due = rung(age_of(span), first) > self._rungs.get(context.span_id, 0)
        return is_due and context.trace_flags.sampled

    def _take_note(self, chain: _Chain, first: float) -> None:
        """Note that the spans around a reported one were reported with it."""
        for each in chain.spans:
            span_id = each.span.get_span_context().span_id
            self._rungs[span_id] = rung(age_of(each.span), first)

    def _blocking(self, chains: Iterable[_Chain], first: float) -> dict[int, bool]:
        """By id of an innermost span: whether eventlet's hub has waited for it since the last look."""
        before, self._readings = self._readings, {}
        blocking = {}
        for chain in chains:
            leaf = chain.leaf
            worker = at_work.worker_of(leaf)
            if worker.greenlet is None or age_of(chain.spans[0].span) < first - 2 * LOOK_S:
                continue
            span_id = leaf.span.get_span_context().span_id
            if worker.thread != leaf.thread or not at_work.is_running(worker):
                blocking[span_id] = False  # in a thread beside the hub's, or the hub's turn
                continue
            readings = at_work.hub_readings(worker)
            if readings is not None:
                self._readings[span_id] = readings
                if span_id in before:
                    blocking[span_id] = before[span_id] == readings
        return blocking

    def _still_running(
        self, chain: _Chain, span: Span, blocking: Mapping[int, bool]
    ) -> ReadableSpan:
        context = span.get_span_context()
        parent, caller = _parent_of(chain.spans[0].span)
        name, said = _said(chain, span)
        leaf_id = chain.leaf.span.get_span_context().span_id
        if leaf_id in blocking:
            said[conventions.BLOCKS_HUB] = blocking[leaf_id]
        self._yield(0)  # a slice of time anew: the thread looked at should not go on meanwhile
        stack = at_work.stack_of(at_work.worker_of(chain.leaf))
        if stack:
            said[conventions.STACKTRACE] = "\n".join(stack)
        own = SpanContext(
            context.trace_id,
            self._draw_id(),
            is_remote=False,
            trace_flags=context.trace_flags,
            trace_state=context.trace_state,
        )
        return ReadableSpan(
            name=f"still running {name}",
            context=own,
            parent=parent,
            resource=span.resource,
            attributes=said,
            links=[Link(context)] + ([Link(caller)] if caller else []),
            kind=SpanKind.INTERNAL,
            instrumentation_scope=span.instrumentation_scope,
            start_time=span.start_time,
            end_time=clock.now(span),
        )


def _parent_of(top: Span) -> tuple[SpanContext | None, SpanContext | None]:
    """The parent of what tells of ``top`` and what it is in; and whom to link to instead.

    The caller of a call waits for its answer: its span has not ended either, nor anything above it.
    Who sent a message may be at work still, as in a migration. Its cast has ended.
    """
    parent = top.parent
    if top.kind is SpanKind.CONSUMER and parent is not None:
        casts = (each.context for each in top.links if each.context.trace_id == parent.trace_id)
        return next(casts, parent), None
    answers = top.kind is SpanKind.SERVER and conventions.RPC_METHOD in (top.attributes or {})
    if answers and parent is not None and parent.is_remote:
        return None, parent
    return parent, None


def _said(chain: _Chain, span: Span) -> tuple[str, dict[str, Any]]:
    """The name of an open span, and attributes of it and of the spans around it."""
    said = {conventions.STILL_RUNNING: True, **_said_of_root(chain.spans[0].span)}
    names, ages = [], []
    for each in chain.spans:
        more_name, more = so_far(each.span)
        said.update(more)
        names.append(more_name or each.span.name)
        ages.append(round(age_of(each.span), 3))
    place = next(i for i, each in enumerate(chain.spans) if each.span is span)
    said[conventions.OPEN_SPANS] = names
    said[conventions.OPEN_SECONDS] = ages
    waits_for = _waits_for(chain.leaf.span)
    if waits_for:
        said[conventions.WAITS_FOR] = waits_for
    return names[place], said


def _said_of_root(span: Span) -> dict[str, Any]:
    return {
        key: value
        for key, value in dict(span.attributes or {}).items()
        if key not in _NOT_SAID and (key in _SAID_TOO or key.startswith(_SAID))
    }


def so_far(span: Span) -> tuple[str | None, Mapping[str, Any]]:
    """Name and attributes that an open span will have, as far as its owner knows them."""
    owner_ref = getattr(span, _OWNER, None)
    owner = None if owner_ref is None else owner_ref()
    if owner is None:
        return None, {}
    try:
        found: tuple[str | None, Mapping[str, Any]] = owner.so_far()
    except Exception:  # it reads what another thread is at work with
        return None, {}
    return found


def _waits_for(span: Span) -> str:
    """Whose answer a span waits for; empty if it waits for none."""
    if span.kind is not SpanKind.CLIENT:
        return ""
    said = dict(span.attributes or {})
    what = said.get(conventions.RPC_METHOD) or said.get("db.system.name") or ""
    where = said.get(conventions.MESSAGING_DESTINATION) or said.get("server.address") or ""
    return f"{what} ({where})" if what and where else str(what or where or span.name)
