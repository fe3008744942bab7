"""OTLP over gRPC, by the SDK's exporter: its settings and its channel, but not its patience.

That exporter hides the status, a partial success, and the time of the next try, which are needed
here. Only for native threads, and imported late: it imports grpc.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from typing import Any, Final

import grpc
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from otel_cinder.export import encoding, results
from otel_cinder.export.results import LONGEST_S, Result, Verdict, one_line
from otel_cinder.export.signals import Signal

_AGAIN: Final = frozenset(
    {"CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"}
)
"""The statuses for which OTLP asks to try again; RESOURCE_EXHAUSTED only with a time."""

_TOO_LARGE: Final = re.compile(r"larger than|too large|exceed", re.IGNORECASE)

_LIKELY: Final = (
    (r"refused", "Start the collector, or correct {}", "nothing listens there"),
    (
        r"DNS|resol",
        "Correct the host's name in {}, or this host's name service",
        "its name does not resolve",
    ),
    (
        r"http1|HTTP/[12]|HTTP2|preface|settings frame|Socket closed|GOAWAY",
        "Set {} to the collector's port for OTLP over gRPC (4317), or its protocol to http/protobuf",
        "that port does not speak gRPC",
    ),
    (
        r"CERTIFICATE_VERIFY|certificate verify",
        "Set OTEL_EXPORTER_OTLP_CERTIFICATE to the certificate of its authority",
        "its certificate is not trusted",
    ),
    (r"WRONG_VERSION|SSL|TLS|handshake", "Check {} and its http:// or https://", "TLS fails"),
    (r"timed? ?out|unreachable", "Correct {}, or look at firewalls", "it can't be reached"),
)
"""gRPC's words for a failed connection, with advice and the likely mistake."""

_STATUSES: Final = {
    "UNAUTHENTICATED": ("Correct OTEL_EXPORTER_OTLP_HEADERS", "it knows no such credentials"),
    "PERMISSION_DENIED": ("Correct OTEL_EXPORTER_OTLP_HEADERS", "it does not allow it"),
    "UNIMPLEMENTED": ("Check that {} names a collector", "it takes none there"),
    "DEADLINE_EXCEEDED": ("Look at the collector's load and log", "it does not answer in time"),
    "RESOURCE_EXHAUSTED": ("Look at the collector's load and limits", "it has no room for them"),
}


_USED: Final = ("_client", "_headers", "_timeout", "_translate_data")


class OtlpGrpcExporter:
    """Exports one signal to one collector, in one native thread.

    Args:
        make: makes the SDK's exporter from the environment.
        variable: the variable that sets the endpoint.
    """

    def __init__(self, make: Callable[[], Any], signal: Signal, variable: str) -> None:
        self._make = make
        self._stock = stock = make()
        self._variable = variable
        self.takes_packed = signal.word == "TRACES"
        self._preferred_temporality = getattr(stock, "_preferred_temporality", None)
        self._preferred_aggregation = getattr(stock, "_preferred_aggregation", None)
        encoding.load()
        self._rejected = {
            "TRACES": "rejected_spans",
            "METRICS": "rejected_data_points",
            "LOGS": "rejected_log_records",
        }[signal.word]

    @staticmethod
    def fits(stock: Any) -> bool:
        """True if this release of the SDK's exporter has the private attributes that are used here."""
        return all(hasattr(stock, name) for name in _USED)

    def deliver(self, batch: Any) -> Result:
        """Send a batch, and return the result. Never raises."""
        try:
            request = self._request(batch)
        except Exception as error:
            return results.malformed(error)
        stock = self._stock
        try:
            response = stock._client.Export(
                request=request,
                metadata=stock._headers,
                timeout=min(stock._timeout, LONGEST_S),
            )
            partial = response.partial_success
            return results.partly_taken(getattr(partial, self._rejected), partial.error_message)
        except grpc.RpcError as error:
            return self._of_error(error)
        except Exception as error:
            kind = type(error).__qualname__
            return Result(
                Verdict.LOST, kind, f"Check {self._variable}", "it can't be asked", one_line(error)
            )

    def _request(self, batch: Any) -> Any:
        if self.takes_packed:
            return encoding.encode_spans(batch)
        return self._stock._translate_data(batch)

    def shutdown(self) -> None:
        """Close the channel."""
        self._stock.shutdown()

    def _of_error(self, error: Any) -> Result:
        status, details = error.code().name, str(error.details() or "")
        wait = _wait(error)
        advice, what = _STATUSES.get(status, ("Look at the collector's log", "it refuses them"))
        verdict = Verdict.AGAIN if status in _AGAIN else Verdict.LOST
        answered = status != "DEADLINE_EXCEEDED"
        if status == "UNAVAILABLE":
            advice, what, answered = _of_unavailable(details)
            self._connect_anew()
        elif status == "RESOURCE_EXHAUSTED" and wait:
            verdict = Verdict.AGAIN
        elif status == "RESOURCE_EXHAUSTED" and _TOO_LARGE.search(details):
            verdict = Verdict.TOO_LARGE
            advice = "Raise the collector's limit of a request's size (max_recv_msg_size_mib)"
            what = "one is too large for it, and is lost"
        raw = f"{status}: {one_line(details)}"
        return Result(verdict, status, advice.format(self._variable), what, raw, wait, answered)

    def _connect_anew(self) -> None:
        """Forget gRPC's own patience, which grows to two minutes; later SDKs do the same."""
        with contextlib.suppress(
            Exception
        ):  # a certificate that is being replaced; the old one does
            old, self._stock = self._stock, self._make()
            old.shutdown()


def _of_unavailable(details: str) -> tuple[str, str, bool]:
    for pattern, advice, what in _LIKELY:
        if re.search(pattern, details):
            return advice, what, False
    return "Look at the collector's load and log", "it is overloaded, or not ready", True


def _wait(error: Any) -> float:
    """Seconds until the collector wants the next try; 0 if its answer has none."""
    metadata = dict(error.trailing_metadata() or ())
    packed = metadata.get("google.rpc.retryinfo-bin")
    if packed is None:
        return _wait_of_details(metadata.get("grpc-status-details-bin"))
    return _seconds(RetryInfo.FromString(packed))


def _wait_of_details(packed: bytes | None) -> float:
    """The same from the status' details, where Go's servers put it."""
    if packed is None:
        return 0.0
    for detail in Status.FromString(packed).details:
        info = RetryInfo()
        if detail.Unpack(info):
            return _seconds(info)
    return 0.0


def _seconds(info: RetryInfo) -> float:
    return float(info.retry_delay.seconds + info.retry_delay.nanos / 1e9)
