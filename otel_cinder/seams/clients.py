"""CLIENT spans of Cinder's own calls by HTTP (requests) and SQL (PyMySQL).

By opentelemetry-instrumentation-requests and -dbapi, where `OTEL_CINDER_CLIENTS` is true. Both run
in the tracer of `otel_cinder.spans.tracers`, which lets only the attributes below onto a span: no
header, no query string, no parameter of a statement, whatever the environment asks of them.

-dbapi and not -pymysql, which is the same in thirty lines: it is released apart from the others,
which are pinned to each other, and it would bring metrics of its own. psycopg2 is left out: it asks
for its own connection objects, not for proxies.
"""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.semconv.attributes import (
    error_attributes,
    http_attributes,
    network_attributes,
    server_attributes,
    url_attributes,
)
from opentelemetry.trace import Span, Status, StatusCode

from otel_cinder import notices, redaction
from otel_cinder.patching.internal_errors import log_internal_error
from otel_cinder.patching.patch_set import PatchSet
from otel_cinder.spans.failures import summary
from otel_cinder.spans.runtime import runtime
from otel_cinder.spans.tracers import ClientTracers

SEAM: Final = "clients"

DB_SYSTEM: Final = "db.system.name"
DB_NAMESPACE: Final = "db.namespace"
DB_SUMMARY: Final = "db.query.summary"
DB_TEXT: Final = "db.query.text"
DB_STATUS: Final = "db.response.status_code"

URL_LIMIT: Final = 512
STATEMENT_LIMIT: Final = 1024
"""Characters of a statement that are kept: its begin and its end, the columns between left out."""

_STATEMENT_READ: Final = 32 * 1024
_HEAD: Final = 256

_STABLE: Final = {
    "db.name": DB_NAMESPACE,
    "db.statement": DB_TEXT,
    "db.system": DB_SYSTEM,
    "http.method": http_attributes.HTTP_REQUEST_METHOD,
    "http.status_code": http_attributes.HTTP_RESPONSE_STATUS_CODE,
    "http.url": url_attributes.URL_FULL,
    "net.peer.name": server_attributes.SERVER_ADDRESS,
    "net.peer.port": server_attributes.SERVER_PORT,
}
"""Names of 2021 -> the stable ones. Which of them the contrib packages use is decided for the whole
process, by OTEL_SEMCONV_STABILITY_OPT_IN."""

_KEPT: Final = frozenset(
    {
        *_STABLE.values(),
        error_attributes.ERROR_TYPE,
        network_attributes.NETWORK_PROTOCOL_VERSION,
    }
)

# A character that may begin one comes first, so that the others are passed over quickly.
_LITERAL: Final = re.compile(
    r"""(?xs)
    ['"`0-9]
    (?: (?<=') (?: [^'\\] | \\. | '' )* (?: ' | \\? $ )
      | (?<=") (?: [^"\\] | \\. | "" )* (?: " | \\? $ )
      | (?<=`) [^`]* (?: ` | $ )
      | (?<=[0-9]) (?<! \w[0-9] ) [\w.]* )
    """
)
_TABLE: Final = re.compile(r"\s(?i:from|into)\s+([`\w.]+)")
_QUERY: Final = re.compile(r"[?#][^\s'\")]*")


def patch(patches: PatchSet) -> None:
    """Trace requests and PyMySQL, now or once they are imported, as far as the host doesn't."""
    if not runtime.settings.clients:
        return
    missing = [name for name in ("requests", "dbapi") if not _installed(name)]
    if missing:
        notices.warn(
            "Run pip install 'otel-cinder[clients]' for OTEL_CINDER_CLIENTS: otel-cinder does not "
            "trace all outgoing HTTP and SQL because %s is not installed.",
            " and ".join(f"opentelemetry-instrumentation-{name}" for name in missing),
        )
    if "requests" not in missing and not _host_traces_http():
        patches.replace(SEAM, "requests:sessions.Session.send", _http(patches))
    if "dbapi" not in missing and not _host_traces_sql():
        patches.wrap(SEAM, "pymysql:connect", _Databases(patches).connect)


def _http(patches: PatchSet) -> Callable[[Any], Any]:
    # Where the host instruments requests later, the outer of the two suppresses the inner.
    tracers = ClientTracers(SEAM, lambda: patches.enabled, _describe_request, _fail_request)

    def factory(_original: Any) -> Any:
        from opentelemetry.instrumentation.requests import RequestsInstrumentor
        from requests.sessions import Session

        # Not instrument(): the instrumentor stays the host's to switch on and off. This has put
        # the method that it has itself put into Session.
        RequestsInstrumentor()._instrument(
            tracer_provider=tracers, meter_provider=NoOpMeterProvider()
        )
        return vars(Session)["send"]

    return factory


class _Databases:
    def __init__(self, patches: PatchSet) -> None:
        self._tracers = ClientTracers(
            SEAM,
            lambda: patches.enabled and not _host_traces_sql(),
            _describe_statement,
            _fail_statement,
        )

    def connect(
        self,
        wrapped: Callable[..., Any],
        _instance: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """A connection whose cursors trace their statements."""
        connection = wrapped(*args, **kwargs)
        try:
            return self._traced(connection)
        except Exception as error:
            log_internal_error(SEAM, error)
            return connection

    def _traced(self, connection: Any) -> Any:
        from opentelemetry.instrumentation import dbapi

        if hasattr(connection, "__wrapped__"):
            return connection  # by the host
        options: dict[str, Any] = {
            "connection_attributes": {"database": "db", "host": "host", "port": "port"},
            "tracer_provider": self._tracers,
            "meter_provider": NoOpMeterProvider(),
        }
        known = inspect.signature(dbapi.DatabaseApiIntegration).parameters
        integration = dbapi.DatabaseApiIntegration(
            __name__, "mysql", **{name: value for name, value in options.items() if name in known}
        )
        integration.get_connection_attributes(connection)
        return dbapi.get_traced_connection_proxy(connection, integration)


def _describe_request(span: Span, attributes: Mapping[str, Any]) -> None:
    kept = _kept(attributes)
    url = kept.get(url_attributes.URL_FULL)
    if url is not None:
        kept.update(_place(str(url)))
    status = kept.get(http_attributes.HTTP_RESPONSE_STATUS_CODE)
    if isinstance(status, int) and status >= 400:
        kept[error_attributes.ERROR_TYPE] = str(status)
    span.set_attributes(kept)


def _place(url: str) -> dict[str, Any]:
    """An URL without credentials, query string and fragment, and the server it names."""
    parts = urlsplit(url[: 4 * URL_LIMIT])
    host = parts.netloc.rpartition("@")[2]
    path = "" if redaction.texts_are_left_out() else parts.path
    place: dict[str, Any] = {
        url_attributes.URL_FULL: redaction.identifier(f"{parts.scheme}://{host}{path}", URL_LIMIT)
    }
    if parts.hostname:
        place[server_attributes.SERVER_ADDRESS] = parts.hostname
        place[server_attributes.SERVER_PORT] = parts.port or (
            443 if parts.scheme == "https" else 80
        )
    return place


def _fail_request(span: Span, error: BaseException) -> None:
    # Its message has the URL in it.
    message = _QUERY.sub("", redaction.text(error))
    name = type(error).__qualname__
    span.set_attribute(error_attributes.ERROR_TYPE, name)
    span.set_status(Status(StatusCode.ERROR, summary(name, message)))


def _describe_statement(span: Span, attributes: Mapping[str, Any]) -> None:
    kept = _kept(attributes)
    if DB_TEXT in kept:
        text = _without_values(str(kept.pop(DB_TEXT)))
        if not redaction.texts_are_left_out():
            kept[DB_TEXT] = _shortened(text)
        kept[DB_SUMMARY] = _summary(text)
        if kept[DB_SUMMARY]:
            span.update_name(kept[DB_SUMMARY])
    span.set_attributes(kept)


def _without_values(text: str) -> str:
    """SQLAlchemy sends values apart from the statement; values that are written into one are removed."""
    return _LITERAL.sub(lambda match: match[0] if match[0][0] == "`" else "?", text)


def _shortened(text: str) -> str:
    if len(text) <= STATEMENT_LIMIT:
        return text
    return f"{text[:_HEAD]} … {text[_HEAD + 3 - STATEMENT_LIMIT :]}"


def _summary(text: str) -> str:
    """Return a statement's verb and its first table: ``SELECT volumes``."""
    words = text[:_HEAD].split(None, 2)
    operation = words[0].upper() if words else ""
    if not operation.isalpha():
        return ""
    match = _TABLE.search(text)
    table = "".join(words[1:2]) if operation == "UPDATE" else match[1] if match else ""
    return f"{operation[:20]} {table.replace('`', '')[:64]}".strip()


def _fail_statement(span: Span, error: BaseException) -> None:
    """Record the error's class and number, without its message, which contains values."""
    name = type(error).__qualname__
    span.set_attribute(error_attributes.ERROR_TYPE, name)
    number = error.args[0] if error.args else None
    if isinstance(number, int):
        span.set_attribute(DB_STATUS, str(number))
        name = f"{name} {number}"
    span.set_status(Status(StatusCode.ERROR, name))


def _kept(attributes: Mapping[str, Any]) -> dict[str, Any]:
    named = ((_STABLE.get(key, key), value) for key, value in attributes.items())
    return {
        key: redaction.plain(value[:_STATEMENT_READ]) if isinstance(value, str) else value
        for key, value in named
        if key in _KEPT
    }


def _installed(name: str) -> bool:
    return importlib.util.find_spec(f"opentelemetry.instrumentation.{name}") is not None


def _host_traces_http() -> bool:
    return _instrumented("requests", "RequestsInstrumentor")


def _host_traces_sql() -> bool:
    return _instrumented("pymysql", "PyMySQLInstrumentor") or _instrumented(
        "sqlalchemy", "SQLAlchemyInstrumentor"
    )


def _instrumented(package: str, name: str) -> bool:
    """Return whether the host has switched on an instrumentation of its own."""
    instrumentor = getattr(sys.modules.get(f"opentelemetry.instrumentation.{package}"), name, None)
    return instrumentor is not None and bool(instrumentor().is_instrumented_by_opentelemetry)
