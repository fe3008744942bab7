"""OTLP over HTTP, in a native thread, over unpatched sockets.

The SDK's own exporter uses requests. Under eventlet that resolves names, waits and locks by
eventlet, which must not run outside of the hub's thread: a process crashed at its end. It also
reads an answer of any size, and hides it from its caller. The settings are those that the SDK's
exporter documents, with its environment variables for certificates and proxies.

Import it late: it imports ``ssl``.
"""

from __future__ import annotations

import base64
import email.utils
import functools
import gzip
import http.client
import importlib
import json
import re
import ssl
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from google.protobuf.message import DecodeError
from opentelemetry.util.re import parse_env_headers
from requests import certs
from requests.utils import get_environ_proxies, get_netrc_auth, select_proxy
from urllib3.util.ssltransport import SSLTransport

from otel_cinder.export import diagnosis, encoding, results
from otel_cinder.export.diagnosis import Address, Stage
from otel_cinder.export.failure_log import failure_log
from otel_cinder.export.native_thread import unpatched
from otel_cinder.export.results import LONGEST_S, Result, SettingError, Verdict
from otel_cinder.export.signals import Signal
from otel_cinder.version import __version__

ANSWER_LIMIT: Final = 64 * 1024
"""Bytes of an answer's body that are read. OTLP's has a number and a sentence or two."""

_TIMEOUT_S: Final = 10.0

_PORTS: Final = {"http": 80, "https": 443}

_COMPRESSIONS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
}

_PROTO: Final = "opentelemetry.proto.collector"
_COMMON: Final = "opentelemetry.exporter.otlp.proto.common"


class OtlpHttpExporter:
    """Exports one signal to one collector. Everything but its making is for one native thread.

    Args:
        signal: the kind of its batches.
        environ: the ``OTEL_EXPORTER_OTLP_*`` variables.
        grpc: True if OTLP over gRPC could be used instead, for advice.

    Raises SettingError for an endpoint that is no URL of HTTP, and for certificates that can't be read.
    """

    def __init__(self, signal: Signal, environ: Mapping[str, str], *, grpc: bool) -> None:
        url, variable, path_is_added = _url(signal, environ)
        proxy = _proxy(url)
        self._address = Address(
            url.partition("?")[0],
            variable,
            path_is_added,
            grpc,
            urlsplit(proxy).netloc.rpartition("@")[2],
        )
        self.takes_packed = signal.word == "TRACES"
        self._encode = _encoder(signal)
        _status_class()
        self._response, self._rejected = _response(signal)
        self._compress, headers = _compression(signal, environ)
        self._headers = {**headers, **_authorization(url), **_headers(signal, environ)}
        self._timeout = _timeout(signal, environ)
        self._route = _Route.find(url, proxy, functools.partial(_tls, signal, environ))
        self._connection: _Connection | None = None
        self._preferred_temporality: Any = None
        self._preferred_aggregation: Any = None
        for codec in ("idna", "iso-8859-1"):
            "".encode(codec)  # imports it, which the thread must not

    def take_preferences_of(self, stock: Any) -> None:
        """Take temporality and aggregation from the SDK's exporter, and shut that down."""
        self._preferred_temporality = stock._preferred_temporality
        self._preferred_aggregation = stock._preferred_aggregation
        stock.shutdown()

    def deliver(self, batch: Any) -> Result:
        """Send a batch, and return the result. Never raises."""
        try:
            data = self._compress(self._encode(batch).SerializePartialToString())
        except Exception as error:
            return results.malformed(error)
        deadline = time.monotonic() + self._timeout
        while True:
            is_old = self._connection is not None
            connection = self._connection = self._connection or self._route.connection()
            try:
                return self._ask(connection, data, deadline)
            except Exception as error:
                self.shutdown()
                if is_old and isinstance(error, ConnectionError):
                    continue  # it was kept alive for too long
                return diagnosis.of_error(self._address, error, connection.stage)

    def shutdown(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _ask(self, connection: _Connection, data: bytes, deadline: float) -> Result:
        connection.give_until(deadline)
        headers = {**self._headers, **self._route.headers}
        response = connection.post(self._route.target, data, headers)
        body = response.read(ANSWER_LIMIT + 1)
        if not response.isclosed():
            self.shutdown()  # the rest is not read
        kind = response.headers.get_content_type() if response.headers["content-type"] else ""
        if 200 <= response.status < 300:
            return self._of_success(kind, body)
        wait = _retry_after(response.headers["retry-after"])
        text = _text(kind, body)
        if 300 <= response.status < 400:
            text = results.one_line(response.headers["location"] or "")
        return diagnosis.of_status(self._address, response.status, response.reason, text, wait)

    def _of_success(self, kind: str, body: bytes) -> Result:
        if not body:
            return results.TAKEN
        try:
            if kind == "application/json":
                return _of_json(body)
            if not kind.startswith("text/"):
                partial = self._response.FromString(body).partial_success
                return results.partly_taken(getattr(partial, self._rejected), partial.error_message)
        except (DecodeError, ValueError, AttributeError, TypeError):
            pass
        is_page = kind == "text/html"
        return Result(
            Verdict.LOST if is_page else Verdict.TAKEN,
            "not_otlp",
            self._address.advise(
                f"Check that {self._address.variable} names a collector's port for OTLP over HTTP"
            ),
            "what answers there is a web page"
            if is_page
            else "it answers otherwise than OTLP does",
            _text(kind, body),
            answered=True,
        )


class _Connection(http.client.HTTPConnection):
    """A connection without eventlet, whose waits all end at one time.

    Args:
        tls: for the collector; None: without TLS.
        proxy_tls: for the proxy.
    """

    def __init__(
        self,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        proxy_tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(host, port)
        self.default_port = _PORTS["https" if tls else "http"]
        self.stage = Stage.CONNECTING
        self._deadline = 0.0
        self._tls = tls
        self._proxy_tls = proxy_tls
        self._wire: _Wire | None = None

    def give_until(self, deadline: float) -> None:
        """Raise TimeoutError from all that follows at ``deadline``, by the monotonic clock."""
        self._deadline = deadline
        if self._wire is not None:
            self._wire.deadline = deadline

    def connect(self) -> None:
        """Connect, through the proxy if there is one."""
        self.sock: Any = _dial(self.host, self.port, self._deadline)
        self._wire = self.sock
        self.stage = Stage.GREETING
        if self._proxy_tls is not None:
            self.sock = SSLTransport(self.sock, self._proxy_tls, self.host)
        collector = getattr(self, "_tunnel_host", None)
        if collector:
            self._tunnel()  # type: ignore[attr-defined]
        if self._tls is not None:
            self.sock = SSLTransport(self.sock, self._tls, collector or self.host)
        self.stage = Stage.ASKING

    def post(
        self, target: str, data: bytes, headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        """Send a request, and begin to read its answer."""
        try:
            self.request("POST", target, data, headers)
        except (BrokenPipeError, ConnectionResetError):
            # It may have answered, and closed, without waiting for all of it.
            try:
                return self.getresponse()
            except ssl.SSLError:  # says why it was closed
                raise
            except Exception:  # noqa: S110 - the first error is the one to tell
                pass
            raise
        return self.getresponse()


_SOCKET: Final = unpatched("socket")
"""The module as it is without eventlet."""


class _Wire(_SOCKET.socket):  # type: ignore[misc,name-defined]
    """A socket whose waits all end at its deadline."""

    deadline = 0.0

    def _hurry(self) -> None:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self.settimeout(left)

    def connect(self, address: Any) -> None:
        self._hurry()
        super().connect(address)

    def recv(self, *args: Any) -> Any:
        self._hurry()
        return super().recv(*args)

    def recv_into(self, *args: Any) -> Any:
        self._hurry()
        return super().recv_into(*args)

    def send(self, *args: Any) -> Any:
        self._hurry()
        return super().send(*args)

    def sendall(self, *args: Any) -> None:
        self._hurry()
        super().sendall(*args)


def _dial(host: str, port: int, deadline: float) -> _Wire:
    problem: OSError | None = None
    for family, kind, protocol, _, address in _SOCKET.getaddrinfo(
        host, port, 0, _SOCKET.SOCK_STREAM
    ):
        wire = _Wire(family, kind, protocol)
        wire.deadline = deadline
        try:
            wire.connect(address)
            wire.setsockopt(_SOCKET.IPPROTO_TCP, _SOCKET.TCP_NODELAY, 1)
            return wire
        except OSError as error:
            wire.close()
            problem = error
    raise problem or OSError(f"no address of {host}")


# Settings


def _url(signal: Signal, environ: Mapping[str, str]) -> tuple[str, str, bool]:
    """The URL, the variable that sets it, and True if the path was added to that."""
    own = f"OTEL_EXPORTER_OTLP_{signal.word}_ENDPOINT"
    if environ.get(own, "").strip():
        url, variable, path_is_added = environ[own].strip(), own, False
    else:
        variable, path_is_added = "OTEL_EXPORTER_OTLP_ENDPOINT", True
        base = environ.get(variable, "").strip() or "http://localhost:4318"
        url = f"{base.rstrip('/')}/v1/{signal.word.lower()}"
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise SettingError(f"Write http:// or https:// before the host in {variable}")
    if not _has_port_or_none(parts):
        raise SettingError(f"Correct the port in {variable}")
    return url, variable, path_is_added


def _has_port_or_none(parts: SplitResult) -> bool:
    try:
        return parts.port != 0
    except ValueError:
        return False


def _headers(signal: Signal, environ: Mapping[str, str]) -> dict[str, str]:
    headers = {"content-type": "application/x-protobuf", "user-agent": f"otel-cinder/{__version__}"}
    configured = parse_env_headers(signal.setting(environ, "HEADERS"), liberal=True)
    for name, value in configured.items():
        if re.search(r"[\r\n\0]", value) or not value.isascii():
            failure_log.add_once(
                "Correct OTEL_EXPORTER_OTLP_HEADERS. otel-cinder leaves out the header %s, because it "
                "contains characters that headers must not have.",
                name,
            )
        else:
            headers[name] = value
    return headers


def _authorization(url: str) -> dict[str, str]:
    """Credentials from the URL, or from the user's ``.netrc``."""
    parts = urlsplit(url)
    if parts.username is not None:
        return {"authorization": _basic(parts.username, parts.password)}
    login = get_netrc_auth(url)
    return {"authorization": _basic(*login)} if login else {}


def _basic(user: str, password: str | None) -> str:
    both = f"{unquote(user)}:{unquote(password or '')}".encode()
    return "Basic " + base64.b64encode(both).decode()


def _compression(
    signal: Signal, environ: Mapping[str, str]
) -> tuple[Callable[[bytes], bytes], dict[str, str]]:
    name = signal.setting(environ, "COMPRESSION").lower()
    if name in ("", "none"):
        return bytes, {}
    if name not in _COMPRESSIONS:
        failure_log.add_once(
            "Set OTEL_EXPORTER_OTLP_COMPRESSION to gzip, deflate or none. otel-cinder does not "
            "compress, because it does not know %r.",
            name,
        )
        return bytes, {}
    return _COMPRESSIONS[name], {"content-encoding": name}


def _timeout(signal: Signal, environ: Mapping[str, str]) -> float:
    setting = signal.setting(environ, "TIMEOUT")
    try:
        seconds = float(setting or _TIMEOUT_S)
        if seconds > 0:
            return min(seconds, LONGEST_S)
    except ValueError:
        pass
    failure_log.add_once(
        "Set OTEL_EXPORTER_OTLP_TIMEOUT to a number of seconds. otel-cinder uses %d because %r is "
        "none.",
        _TIMEOUT_S,
        setting,
    )
    return _TIMEOUT_S


def _tls(signal: Signal, environ: Mapping[str, str]) -> ssl.SSLContext:
    own = signal.setting(environ, "CERTIFICATE")
    by_environment = environ.get("REQUESTS_CA_BUNDLE") or environ.get("CURL_CA_BUNDLE")
    trusted = own or by_environment or certs.where()
    certificate = signal.setting(environ, "CLIENT_CERTIFICATE")
    place = f"OTEL_EXPORTER_OTLP_CERTIFICATE ({trusted})" if own else trusted
    try:
        is_folder = Path(trusted).is_dir()
        context = ssl.create_default_context(
            cafile=None if is_folder else trusted, capath=trusted if is_folder else None
        )
        if certificate:
            place = f"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE ({certificate}) and _CLIENT_KEY"
            context.load_cert_chain(certificate, signal.setting(environ, "CLIENT_KEY") or None)
    except OSError as error:
        raise SettingError(f"Correct {place}: {error.strerror or error}") from error
    return context


def _proxy(url: str) -> str:
    """The proxy's URL, by HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY; empty for none."""
    selected: str | None = select_proxy(url, get_environ_proxies(url))
    if not selected:
        return ""
    proxy = selected if "://" in selected else f"http://{selected}"
    if urlsplit(proxy).scheme not in ("http", "https"):
        raise SettingError(
            "Set HTTP_PROXY and HTTPS_PROXY to a proxy of HTTP, or NO_PROXY to the host"
        )
    return proxy


class _Route(NamedTuple):
    """The way to a collector."""

    target: str
    """Target of the request line: a path, or the whole URL for a proxy."""
    headers: dict[str, str]
    """For the proxy."""
    connection: Callable[[], _Connection]
    """Makes a connection, not connected yet."""

    @classmethod
    def find(cls, url: str, proxy: str, make_tls: Callable[[], ssl.SSLContext]) -> _Route:
        """The way to ``url``, through ``proxy`` unless that is empty."""
        parts, via = urlsplit(url), urlsplit(proxy)
        host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        tls = make_tls() if parts.scheme == "https" else None
        path = urlunsplit(("", "", parts.path or "/", parts.query, ""))
        if not proxy:
            return cls(path, {}, lambda: _Connection(host, port, tls))
        headers = {}
        if via.username is not None:
            headers["proxy-authorization"] = _basic(via.username, via.password)
        proxy_tls = make_tls() if via.scheme == "https" else None
        through = functools.partial(
            _Connection, via.hostname or "", via.port or _PORTS[via.scheme], tls, proxy_tls
        )
        if tls is None:
            netloc = parts.netloc.rpartition("@")[2]
            whole = urlunsplit(("http", netloc, parts.path or "/", parts.query, ""))
            return cls(whole, headers, through)

        def tunnel() -> _Connection:
            connection = through()
            connection.set_tunnel(host, port, headers)
            return connection

        return cls(path, {}, tunnel)


# Answers


def _encoder(signal: Signal) -> Callable[[Any], Any]:
    if signal.word == "TRACES":
        encoding.load()
        return encoding.encode_spans
    module, name = {
        "METRICS": ("metrics_encoder", "encode_metrics"),
        "LOGS": ("_log_encoder", "encode_logs"),
    }[signal.word]
    encode: Callable[[Any], Any] = getattr(importlib.import_module(f"{_COMMON}.{module}"), name)
    return encode


def _response(signal: Signal) -> tuple[Any, str]:
    """The class of a collector's answer, and its field with the number of rejected items."""
    name, kind, rejected = {
        "TRACES": ("trace", "Trace", "rejected_spans"),
        "METRICS": ("metrics", "Metrics", "rejected_data_points"),
        "LOGS": ("logs", "Logs", "rejected_log_records"),
    }[signal.word]
    module = importlib.import_module(f"{_PROTO}.{name}.v1.{name}_service_pb2")
    return getattr(module, f"Export{kind}ServiceResponse"), rejected


def _of_json(body: bytes) -> Result:
    partial = json.loads(body).get("partialSuccess") or {}
    rejected = next((int(partial[name]) for name in partial if name.startswith("rejected")), 0)
    return results.partly_taken(rejected, str(partial.get("errorMessage", "")))


def _text(kind: str, body: bytes) -> str:
    """The collector's message in an answer, for people."""
    try:
        if "protobuf" in kind:
            return results.one_line(_status_class().FromString(body).message)
        text = body.decode()
        if kind == "application/json":
            text = str(json.loads(text).get("message", ""))
    except (DecodeError, ValueError, AttributeError):
        return ""
    return results.one_line(" ".join(re.sub(r"<[^>]*>", " ", text).split()))


@functools.cache
def _status_class() -> Any:
    """``google.rpc.Status``, with which collectors answer what they refuse."""
    return importlib.import_module("google.rpc.status_pb2").Status


def _retry_after(header: str | None) -> float:
    """Seconds to wait; 0 for a missing or malformed header (RFC 9110, 10.2.3)."""
    if not header:
        return 0.0
    try:
        if header.strip().isdecimal():
            return float(header)
        return max(email.utils.parsedate_to_datetime(header).timestamp() - time.time(), 0.0)
    except (ValueError, TypeError, OverflowError):
        return 0.0
