"""Finds the likely mistake behind a failed export, by the collector's answer or the network's error.

OTLP's specification decides which statuses are tried again: opentelemetry-proto,
docs/specification.md. Imported late, because it imports ``ssl``.
"""

from __future__ import annotations

import enum
import re
import socket
import ssl
from http.client import BadStatusLine, HTTPException, RemoteDisconnected
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from otel_cinder.export.results import Result, Verdict, one_line

_GRPC_PORT: Final = 4317

_AGAIN: Final = {
    429: "it is sent more than it takes",
    502: "the proxy in front of it does not reach it",
    503: "it is overloaded, or not ready",
    504: "the proxy in front of it gets no answer from it",
}
"""The statuses for which OTLP asks to try again."""

_TOO_LARGE: Final = 413

_WRONG_PLACE: Final = frozenset({404, 405, 415, 501})

_ALERT: Final = "\x15\x03"
"""The beginning of a TLS server's answer to a client without TLS."""

_SETTINGS: Final = "\x00\x00"
"""The beginning of an answer by HTTP/2, which gRPC uses."""

_NO_TLS: Final = re.compile("WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE|HTTP_REQUEST|PACKET_LENGTH")

_WRONG_NAME: Final = frozenset({62, 64})
_EXPIRED: Final = 10
"""OpenSSL's X509_V_ERR_*."""


class Stage(enum.Enum):
    """Stages of an export."""

    CONNECTING = 1
    GREETING = 2
    """Connected; TLS, or a proxy's tunnel, may be still to come."""
    ASKING = 3


class Address(NamedTuple):
    """A signal's endpoint for OTLP over HTTP, and the variable that sets it."""

    url: str
    variable: str
    path_is_added: bool
    grpc: bool
    """True if OTLP over gRPC could be used instead."""
    proxy: str = ""
    """``host:port`` of the proxy in between, if any."""

    @property
    def host(self) -> str:
        """The collector's host."""
        return urlsplit(self.url).hostname or ""

    @property
    def target(self) -> str:
        """The peer of the connection."""
        return f"the proxy {self.proxy}" if self.proxy else urlsplit(self.url).netloc

    def advise(self, advice: str) -> str:
        """The advice, with the proxy's name if there is one."""
        if not self.proxy:
            return advice
        return f"{advice}; if the proxy {self.proxy} is not meant, add {self.host} to NO_PROXY"


def of_status(address: Address, status: int, reason: str, text: str, wait: float) -> Result:
    """The result of an HTTP status other than success.

    Args:
        text: the collector's message.
        wait: seconds, of its ``Retry-After``.
    """
    advice, what = _of_status(address, status, text)
    verdict = Verdict.AGAIN if status in _AGAIN else Verdict.LOST
    if status == _TOO_LARGE:
        verdict = Verdict.TOO_LARGE
    raw = " ".join(filter(None, (str(status), one_line(reason), text)))
    return Result(verdict, str(status), address.advise(advice), what, raw, wait, answered=True)


def _of_status(address: Address, status: int, text: str) -> tuple[str, str]:
    variable = address.variable
    if status in _AGAIN:
        return "Look at the collector's load and log", _AGAIN[status]
    if 300 <= status < 400:
        return f"Set {variable} to where it redirects", "it redirects, which is not followed"
    if "HTTPS" in text:
        return f"Write https:// in {variable}", "it speaks TLS"
    if status == 401:
        return "Correct OTEL_EXPORTER_OTLP_HEADERS", "it knows no such credentials"
    if status == 403:
        return "Correct OTEL_EXPORTER_OTLP_HEADERS", "it does not allow it"
    if status == 407:
        return "Correct the proxy's credentials", "the proxy does not allow it"
    if status == _TOO_LARGE:
        return (
            "Raise the collector's limit of a request's size (max_request_body_size)",
            "one is too large for it, and is lost",
        )
    if status in _WRONG_PLACE:
        return _wrong_path(address), "it takes none there"
    return "Look at the collector's log", "it refuses them"


def _wrong_path(address: Address) -> str:
    path = urlsplit(address.url).path
    signal = "/v1/" + path.rpartition("/")[2]
    if address.path_is_added and "/v1/" in path.removesuffix(signal) + "/":
        return f"Take the path out of {address.variable}: {signal} is added to it"
    if not address.path_is_added and path in ("", "/"):
        return f"Add the path (/v1/...) to {address.variable}"
    return f"Check that {address.variable} names a collector's port for OTLP over HTTP (4318)"


def of_error(address: Address, error: Exception, stage: Stage) -> Result:
    """The result of an error of the connection."""
    verdict, advice, what = _of_error(address, error, stage)
    raw = f"{type(error).__name__}: {one_line(error)}"
    if isinstance(error, BadStatusLine) and not isinstance(error, RemoteDisconnected):
        raw = type(error).__name__  # the rest is bytes
    elif isinstance(error, (ValueError, UnicodeError)) and not isinstance(error, ssl.SSLError):
        raw = type(error).__name__  # a header's value, which may be a credential
    return Result(verdict, type(error).__qualname__, address.advise(advice), what, raw)


def _of_error(address: Address, error: Exception, stage: Stage) -> tuple[Verdict, str, str]:
    variable, target = address.variable, address.target
    if isinstance(error, ssl.SSLError):
        return _of_tls(address, error)
    if isinstance(error, HTTPException | ConnectionResetError | BrokenPipeError):
        return _of_protocol(address, error)
    if isinstance(error, socket.gaierror):
        return (
            Verdict.AGAIN,
            f"Correct the host's name in {variable}, or this host's name service",
            f"the name in {target} does not resolve",
        )
    if isinstance(error, ConnectionRefusedError):
        return (
            Verdict.AGAIN,
            f"Start the collector, or correct {variable}",
            f"nothing listens at {target}",
        )
    if isinstance(error, TimeoutError) and stage is not Stage.CONNECTING:
        advice = "Look at the collector's load and log"
        if stage is Stage.GREETING and address.url.startswith("https:"):
            advice += f", or write http:// in {variable} if it speaks no TLS"
        return Verdict.AGAIN, advice, "it does not answer in time"
    if isinstance(error, OSError) and "Tunnel" in str(error):
        return Verdict.AGAIN, "Look at the proxy's log", "the proxy does not let it through"
    if isinstance(error, OSError):
        return (
            Verdict.AGAIN,
            f"Correct {variable}, or look at routes and firewalls on the way",
            f"{target} can't be reached",
        )
    return Verdict.LOST, f"Check {variable} and OTEL_EXPORTER_OTLP_HEADERS", "it can't be asked"


def _of_protocol(address: Address, error: Exception) -> tuple[Verdict, str, str]:
    begin = str(error.args[0]) if error.args else ""
    if isinstance(error, RemoteDisconnected) or not isinstance(error, HTTPException):
        if urlsplit(address.url).port == _GRPC_PORT:
            return _is_grpc(address)
        return Verdict.AGAIN, "Look at the collector's log", "it goes away without an answer"
    if isinstance(error, BadStatusLine) and _SETTINGS in begin:
        return _is_grpc(address)
    if isinstance(error, BadStatusLine) and _ALERT in begin:
        return Verdict.LOST, f"Write https:// in {address.variable}", "it speaks TLS"
    return (
        Verdict.LOST,
        f"Check that {address.variable} names a collector",
        "what answers there speaks no HTTP",
    )


def _is_grpc(address: Address) -> tuple[Verdict, str, str]:
    or_else = ", or OTEL_EXPORTER_OTLP_PROTOCOL to grpc" if address.grpc else ""
    return (
        Verdict.LOST,
        f"Set {address.variable} to the collector's port for OTLP over HTTP (4318){or_else}",
        "that port is for OTLP over gRPC",
    )


def _of_tls(address: Address, error: ssl.SSLError) -> tuple[Verdict, str, str]:
    variable = address.variable
    if isinstance(error, ssl.SSLCertVerificationError):
        what = f"its certificate is not trusted ({one_line(error.verify_message)})"
        if error.verify_code in _WRONG_NAME:
            return Verdict.AGAIN, f"Write the name that its certificate is for in {variable}", what
        if error.verify_code == _EXPIRED:
            return Verdict.AGAIN, "Renew the collector's certificate", what
        advice = "Set OTEL_EXPORTER_OTLP_CERTIFICATE to the certificate of its authority"
        return Verdict.AGAIN, advice, what
    reason = error.reason or ""
    if _NO_TLS.search(reason):
        return Verdict.LOST, f"Write http:// in {variable}", "it does not speak TLS"
    if "CERTIFICATE_REQUIRED" in reason or "HANDSHAKE_FAILURE" in reason:
        return (
            Verdict.LOST,
            "Set OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY",
            "it wants a client's certificate",
        )
    advice = f"Check {variable} and OTEL_EXPORTER_OTLP_CERTIFICATE"
    return Verdict.AGAIN, advice, "no connection by TLS comes about"
