"""Reports: sentences for the operator about the state of one signal's export."""

from __future__ import annotations

from otel_cinder import redaction
from otel_cinder.export.failure_log import failure_log
from otel_cinder.export.results import Result, SettingError
from otel_cinder.export.signals import METRICS, Signal


class Reports:
    """Writes each kind of failure once, until the export works again."""

    def __init__(self, signal: Signal, endpoint: str) -> None:
        self._signal = signal
        self._endpoint = endpoint
        self._failures: set[str] = set()
        """Kinds of failure that were reported since the last success."""
        self._remarks: set[str] = set()
        """Kinds of the rest, which keep nothing from being exported: reported once ever."""

    def failure(self, result: Result, *, is_kept: bool) -> None:
        """The collector did not take a batch; ``is_kept``: it will be sent again."""
        if result.kind in self._failures:
            return
        self._failures.add(result.kind)
        failure_log.add(
            "%s%s. otel-cinder can't export %s to %s: %s. Cinder is not affected; %s.%s",
            result.advice,
            self._signal.or_else,
            self._signal.noun,
            self._endpoint,
            result.what,
            "they are tried again for a minute, then dropped" if is_kept else "they are dropped",
            _in_brackets(result.raw),
        )

    def success(self, result: Result, dropped: int) -> None:
        """The collector took a batch, maybe with a remark; ``dropped`` items were lost so far."""
        if self._failures:
            failure_log.add(
                "otel-cinder exports to %s again; %d %s were lost so far.",
                self._endpoint,
                dropped,
                self._signal.noun,
            )
            self._failures.clear()
        if result.kind and result.kind not in self._remarks:
            self._remarks.add(result.kind)
            failure_log.add(
                "%s. otel-cinder exports %s to %s, but %s; Cinder is not affected.%s",
                result.advice,
                self._signal.noun,
                self._endpoint,
                result.what,
                _in_brackets(result.raw),
            )

    def no_answer(self, waited: float, waiting: int, reason: str) -> None:
        """A flush gave up after ``waited`` seconds; ``waiting`` items were not sent."""
        failure_log.add(
            "Check the collector and OTEL_EXPORTER_OTLP_ENDPOINT%s. otel-cinder gave up on %s after "
            "%.1g s; %d %s were not sent (%s).",
            self._signal.or_else,
            self._endpoint,
            waited,
            waiting,
            self._signal.noun,
            reason or "no answer",
        )

    def full(self, limit: int | str, *, by_number: bool) -> None:
        """The queue is full: it holds ``limit`` items, or bytes as text."""
        failure_log.add(
            "%s. otel-cinder drops %s because %s wait to be sent to %s.",
            self._signal.more_room if by_number else METRICS.more_room,
            self._signal.noun,
            limit,
            self._endpoint,
        )

    def no_exporter(self, error: Exception) -> None:
        """An exporter could not be created."""
        has_advice = isinstance(error, SettingError)
        advice = f"Check OTEL_{self._signal.word}_EXPORTER and OTEL_EXPORTER_OTLP_*"
        raw = f"{type(error).__name__}: {redaction.masked(error)}"
        failure_log.add(
            "%s. otel-cinder could not create an exporter, so its %s are not exported; Cinder is "
            "not affected.%s",
            redaction.masked(error) if has_advice else advice,
            self._signal.noun,
            "" if has_advice else _in_brackets(raw),
        )

    def malformed_setting(self, complaint: str) -> None:
        """The SDK complained about a setting. Its value may be a credential, and is left out."""
        failure_log.add(
            "Check OTEL_EXPORTER_OTLP_HEADERS (name=value,name=value) and the other "
            "OTEL_EXPORTER_OTLP_* variables. otel-cinder exports %s, but ignores a malformed "
            "setting (%s).",
            self._signal.noun,
            complaint.partition(": ")[0],  # the value comes behind it
        )


def _in_brackets(raw: str) -> str:
    return f" ({raw})" if raw else ""
