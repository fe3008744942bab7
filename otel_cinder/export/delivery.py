"""Delivery: brings batches of one signal to its exporters, and tries again.

What a collector can't take now is kept and tried again for a minute; what is too large for it is
halved. Each export thread holds one delivery, and only that thread calls it, except where noted.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple, Protocol

from otel_cinder.export.native_thread import LogSilencer, unpatched
from otel_cinder.export.reports import Reports
from otel_cinder.export.results import TAKEN, Result, Verdict, one_line
from otel_cinder.export.signals import Signal

BATCH_BYTES: Final = 3 * 1024 * 1024
"""Bytes of a batch: gRPC takes requests of 4 MiB, and there are resources to add."""

_LEAST_BATCH_BYTES: Final = 64 * 1024
"""A collector's smaller limit brings `BATCH_BYTES` down to this at most."""

_LEAST_HALVED_BYTES: Final = 16 * 1024
"""A batch that is this small and yet too large is not halved."""

_KEPT_S: Final = 60.0
"""Seconds for which a batch is kept that a collector can't take now. With two exporters it is not
kept: the other one would have to wait."""

_QUIET_S: Final = 2.0
"""Seconds; a failure that passes within them is not reported."""

_LONGEST_WAIT_S: Final = 5.0
"""Seconds between two tries at most, unless the collector wants to be left alone for longer."""

FAILING_WAIT_S: Final = 2.0
"""Seconds that a flush waits, or tries again, where the last export has failed."""

_UNANSWERED_WAIT_S: Final = 0.2
"""Seconds that a flush waits where one has waited in vain already, and nothing has left since."""

_OTHER: Final = "_OTHER"
"""``error.type`` of a failure that is not known any better."""


class Exporter(Protocol):
    """Sends batches, in one native thread."""

    takes_packed: bool
    """True if its spans may be packed ones: see `encoding.pack`."""

    def deliver(self, batch: Any) -> Result:
        """Send a batch once, and return how that went. Never raises."""

    def shutdown(self) -> None:
        """Let go of everything."""


Load = Callable[[], Callable[[], Any]]
"""Imports an exporter, and returns its factory: for an `Exporter`, or one of the SDK's kind."""


class Batches(Protocol):
    """The shape of a signal's batches."""

    def request(self, batch: Any) -> Any:
        """``batch`` as an exporter takes it."""

    def count(self, batch: Any) -> int:
        """Number of items in ``batch``."""

    def size(self, batch: Any) -> int:
        """About how many bytes a request with ``batch`` has."""

    def halves(self, batch: Any) -> list[Any]:
        """``batch`` in two; alone in the list if it can't be halved."""

    def joined(self, batches: Sequence[Any]) -> Any:
        """One batch of several."""


class _SdkExporter:
    """An exporter of the SDK's kind, which only knows success and failure, and logs the reason."""

    takes_packed = False

    def __init__(self, exporter: Any, silencer: LogSilencer) -> None:
        self._exporter = exporter
        self._silencer = silencer
        self.shutdown = exporter.shutdown

    def __getattr__(self, name: str) -> Any:
        return getattr(self._exporter, name)

    def deliver(self, batch: Any) -> Result:
        self._silencer.reason = ""
        kind = _OTHER
        try:
            if self._exporter.export(batch).name == "SUCCESS":
                return TAKEN
            raw = self._silencer.reason or "no reason given"
        except Exception as error:
            kind = type(error).__qualname__
            raw = f"{type(error).__name__}: {one_line(error)}"
        return Result(
            Verdict.MALFORMED if "encod" in raw.lower() else Verdict.LOST,
            kind,
            "Check the collector and OTEL_EXPORTER_OTLP_ENDPOINT",
            "the exporter fails",
            raw,
        )


class _Pending(NamedTuple):
    """Batches on their way, or to be sent again."""

    deliveries: list[tuple[Exporter, Any]]
    since: float
    """Time of the first try, by the monotonic clock."""
    kind: str = _OTHER
    """The ``error.type`` if they are lost."""


class Delivery:
    """Sends the batches of one signal, one after the other.

    Args:
        endpoint: where they go, for messages.
        load_exporters: each is called once, by `load`; an error of theirs is reported.
        silencer: of the export thread.
    """

    def __init__(
        self,
        signal: Signal,
        endpoint: str,
        load_exporters: Sequence[Load],
        batches: Batches,
        silencer: LogSilencer,
    ) -> None:
        self.reports = Reports(signal, endpoint)
        self._load_exporters = load_exporters
        self._loaded: list[Exporter] | None = None
        self._no_exporter = _OTHER
        """The ``error.type`` of items that are lost because there is no exporter."""
        self._batches = batches
        self._silencer = silencer
        self._sleep: Callable[[float], None] = unpatched("time").sleep
        self.batch_bytes = BATCH_BYTES
        """Bytes that a batch may have: fewer, once a collector found one too large."""
        self._pending: _Pending | None = None
        self._tries = 0
        """Exports that have failed in a row, and are tried again."""
        self._not_before = 0.0
        """Time of the next try, by the monotonic clock."""
        self._failing = False
        self._unanswered = False
        self.sent = 0
        """Items that were sent, so far; with two exporters, each counts twice."""
        self.failed: dict[str, int] = {}
        """Items lost to failed exports, so far, by the ``error.type``."""
        self.overflowed = 0
        """Items lost to a full queue, so far: the queue counts them here."""

    # Any thread may ask for these

    @property
    def exporters(self) -> list[Exporter]:
        """The exporters, once they are loaded."""
        return self._loaded or []

    @property
    def is_pending(self) -> bool:
        """True while a batch is on its way, or waits to be sent again."""
        return self._pending is not None

    @property
    def pending_count(self) -> int:
        """Items of that batch."""
        pending = self._pending
        batches = [batch for _, batch in pending.deliveries] if pending else []
        return max(map(self._batches.count, batches), default=0)

    @property
    def dropped(self) -> int:
        """Items lost to a full queue or a failed export, so far."""
        return self.overflowed + sum(list(self.failed.values()))

    @property
    def patience(self) -> float:
        """Seconds that a flush may wait for this collector, after the last exports."""
        if self._unanswered:
            return _UNANSWERED_WAIT_S
        return FAILING_WAIT_S if self._failing else math.inf

    def give_up(self, waited: float, waiting: int) -> None:
        """A flush has waited ``waited`` seconds in vain; ``waiting`` items are not sent."""
        if not self._unanswered:
            self.reports.no_answer(waited, waiting, self._silencer.reason)
        self._unanswered = True

    # Exporters

    def load(self) -> None:
        """Import and create the exporters, in the thread that starts the export thread."""
        if self._loaded is None:
            self._loaded = list(self._load())

    def _load(self) -> Iterator[Exporter]:
        silencer = self._silencer
        for load in self._load_exporters:
            try:
                create = load()
                silencer.spread()  # to the loggers that are imported by now
                with silencer.during():
                    exporter = create()
                if silencer.reason:
                    self.reports.malformed_setting(silencer.reason)
                is_ours = hasattr(exporter, "deliver")
                yield exporter if is_ours else _SdkExporter(exporter, silencer)
            except Exception as error:  # a bad certificate path, a missing package, ...
                self._no_exporter = type(error).__qualname__
                self.reports.no_exporter(error)

    def close(self, waiting: int) -> None:
        """Shut the exporters down; ``waiting`` items are lost."""
        self._lose(waiting, self._pending.kind if self._pending else _OTHER)
        for exporter in self.exporters:
            exporter.shutdown()

    # Batches

    def begin(self, batch: Any) -> None:
        """Send ``batch`` to each exporter next."""
        if self.exporters:
            self.begin_each([(exporter, batch) for exporter in self.exporters])
        else:
            self._lose(self._batches.count(batch), self._no_exporter)

    def begin_each(self, deliveries: Sequence[tuple[Exporter, Any]]) -> None:
        """Send these batches next, each to its exporter."""
        self._pending = _Pending(list(deliveries), time.monotonic())

    def abandon(self) -> None:
        """Lose the batch that waits to be sent again."""
        if self._pending is not None:
            self._lose(self.pending_count, self._pending.kind)
            self._pending = None

    def pause(self, delay: float) -> float:
        """Seconds until there is something to do; ``delay`` while nothing is pending."""
        return delay if self._pending is None else max(self._not_before - time.monotonic(), 0)

    @property
    def is_too_early(self) -> bool:
        """True if a batch is pending and its next try is not due yet."""
        return self._pending is not None and time.monotonic() < self._not_before

    def attempt(self, *, asked: bool, deadline: float) -> bool:
        """Try to send the pending batch. True if the caller is to go on at once.

        Args:
            asked: True if a caller waits for it, until ``deadline`` by the monotonic clock.
        """
        pending = self._pending
        if pending is None:
            return True
        if not asked and self.is_too_early:
            return False
        results = [(to, *self._deliver(to, batch)) for to, batch in pending.deliveries]
        result = max((result for _, _, result in results), key=_badness)
        unsent = [(exporter, rest) for exporter, rest, _ in results if rest]
        if unsent:
            self._pending = pending = pending._replace(deliveries=unsent, kind=result.kind)
            return self._try_again(pending, result, asked=asked, deadline=deadline)
        self._pending = None
        self._tries, self._not_before = 0, 0.0
        self._failing = result.verdict in (Verdict.LOST, Verdict.AGAIN)
        if self._failing:
            self.reports.failure(result, is_kept=False)
        else:
            self._unanswered = False
            self.reports.success(result, self.dropped)
        return True

    def _try_again(
        self, pending: _Pending, result: Result, *, asked: bool, deadline: float
    ) -> bool:
        """Set the time of the next try. Returns whether that is now."""
        self._tries += 1
        self._failing = True
        wait = min(result.wait, _KEPT_S) or _backoff(self._tries)
        now = time.monotonic()
        self._not_before = now + wait
        if asked and result.answered and self._not_before < deadline:
            self._sleep(wait)
            return True
        if asked or self._tries > 1 or now - pending.since > _QUIET_S:
            self.reports.failure(result, is_kept=True)
        if now - pending.since >= _KEPT_S:
            self.abandon()
        return False

    def _deliver(self, exporter: Exporter, batch: Any) -> tuple[Any, Result]:
        """Send a batch, in halves where necessary. Returns the unsent rest, and the worst result."""
        worst = TAKEN
        parts = [batch]
        while parts:
            part = parts.pop()
            result = exporter.deliver(self._batches.request(part))
            halves = self._batches.halves(part) if self._must_halve(result, part) else []
            if len(halves) > 1:
                parts += reversed(halves)
            elif result.verdict is Verdict.AGAIN and len(self.exporters) == 1:
                return self._batches.joined([part, *reversed(parts)]), result
            else:
                self._count(part, result)
                worst = max(worst, result, key=_badness)
        return None, worst

    def _must_halve(self, result: Result, batch: Any) -> bool:
        if result.verdict is not Verdict.TOO_LARGE:
            return result.verdict is Verdict.MALFORMED
        size = self._batches.size(batch)
        # So that the next ones fit. If almost nothing fits, halving does not help.
        self.batch_bytes = min(max(size // 2, _LEAST_BATCH_BYTES), self.batch_bytes)
        return size > _LEAST_HALVED_BYTES

    def _count(self, batch: Any, result: Result) -> None:
        count = self._batches.count(batch)
        lost = min(result.rejected, count) if result.verdict is Verdict.TAKEN else count
        self.sent += count - lost
        self._lose(lost, result.kind)

    def _lose(self, count: int, kind: str) -> None:
        if count:
            self.failed[kind] = self.failed.get(kind, 0) + count


def _badness(result: Result) -> tuple[bool, bool, bool]:
    return result.verdict is Verdict.AGAIN, result.verdict is Verdict.LOST, bool(result.kind)


def _backoff(tries: int) -> float:
    """Seconds to wait after this number of failures in a row."""
    return min(2.0 ** (tries - 1), _LONGEST_WAIT_S) * random.uniform(0.8, 1.2)
