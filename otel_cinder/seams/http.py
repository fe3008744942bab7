"""A SERVER span around the whole API application.

Both cinder-api and the uWSGI entry point load the application by ``oslo_service.wsgi.Loader``; what
it returns is wrapped there, outside of every filter of ``api-paste.ini``.

The functions of opentelemetry-instrumentation-wsgi collect what the span says. They read a cleaned
copy of the WSGI environment: no token, no query string, no baggage, no malformed ``tracestate``.
Cinder gets the server's own environment. The server gets what Cinder answers, and one more header.
"""

from __future__ import annotations

import os
import re
import sys
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.instrumentation import wsgi
from opentelemetry.instrumentation._semconv import _StabilityMode
from opentelemetry.trace import Span, SpanKind
from opentelemetry.util.http import (
    OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST,
    OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_RESPONSE,
    get_excluded_urls,
)

from otel_cinder import conventions, redaction
from otel_cinder.cinder.requests import attachment_attributes, request_attributes
from otel_cinder.cinder.services import API
from otel_cinder.patching.internal_errors import log_internal_error
from otel_cinder.patching.patch_set import PatchSet
from otel_cinder.patching.stack_room import call_with_room
from otel_cinder.redaction.places import MASK
from otel_cinder.spans import carrier
from otel_cinder.spans.calls import attach, detach
from otel_cinder.spans.failures import record_failure
from otel_cinder.spans.local_root import LocalRoot, enrich, enter
from otel_cinder.spans.runtime import end_span, runtime
from otel_cinder.spans.sampling import FROM_OUTSIDE
from otel_cinder.spans.service import SERVICE, Service
from otel_cinder.spans.still_running import tell_more

SEAM: Final = "http"

_STABLE: Final = _StabilityMode.HTTP
"""The stable ``http.*`` names; OTEL_SEMCONV_STABILITY_OPT_IN is for other packages."""

_LIMITS: Final = {
    "HTTP_USER_AGENT": 256,
    "PATH_INFO": 1024,
    "REMOTE_ADDR": 64,
    "REQUEST_METHOD": 32,
    "SERVER_PROTOCOL": 32,
    "wsgi.url_scheme": 32,
}
"""Parts of the environment that a span shows, and how many characters of each: strangers fill them."""

_USUAL: Final = frozenset(
    {"DELETE", "GET", "HEAD", "PATCH", "POST", "PUT", "HTTP/1.0", "HTTP/1.1", "http", "https"}
)
"""Values that hold no secret. To look for one takes longer than the rest of the cleaning."""

_PORTS: Final = ("REMOTE_PORT", "SERVER_PORT")
_PORT: Final = re.compile(r":\d*$")
_TOKENS: Final = (
    "HTTP_X_AUTH_TOKEN",
    "HTTP_X_SERVICE_TOKEN",
    "HTTP_X_SUBJECT_TOKEN",
    "HTTP_X_STORAGE_TOKEN",
    "HTTP_AUTHORIZATION",
)
"""Headers whose values are masked in every text, word for word, while the request is handled."""

_TRACESTATE: Final = "HTTP_TRACESTATE"
_TRACERESPONSE: Final = "traceresponse"
_HEALTHCHECK: Final = "/healthcheck"
"""The path on which oslo.middleware answers load balancers, every second or so."""

_HEADER_LIMIT: Final = 256
"""Characters of a captured header that are kept."""
_CHALLENGE: Final = re.compile(r"(?i)authenticat")
"""WWW-Authenticate, Authentication-Info: what both sides prove themselves with."""
_ADDRESS: Final = re.compile(r"(?i)location$|^link$|^refresh$|^referer$")
_QUERY: Final = re.compile(r"""([?#])[^\s,;"'<>]+""")

Environ = dict[str, Any]
App = Callable[[Environ, Any], Iterable[bytes]]


def patch(patches: PatchSet) -> None:
    """Wrap the application that the loader returns."""

    def load_app(
        wrapped: Callable[..., App], _instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> App:
        app = wrapped(*args, **kwargs)
        try:
            return TracedApplication(app, Service(API), patches)
        except Exception as error:
            log_internal_error(SEAM, error)
            return app

    def create_attachment(
        wrapped: Callable[..., Any], _api: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        attachment = wrapped(*args, **kwargs)
        try:
            enrich(attachment_attributes(attachment))
        except Exception as error:
            log_internal_error(SEAM, error)
        return attachment

    patches.wrap(
        SEAM, "oslo_middleware.tracing:TracingMiddleware.process_request", _keep_ours_current
    )
    patches.wrap(SEAM, "oslo_service.wsgi:Loader.load_app", load_app)
    patches.wrap(SEAM, "cinder.volume.api:API.attachment_create", create_attachment)


class TracedApplication:
    """The API's WSGI application in its span. Passes through once the patches are undone."""

    def __init__(self, app: App, service: Service, patches: PatchSet) -> None:
        self._app = app
        self._service = service
        self._patches = patches
        self._excluded = get_excluded_urls("WSGI")
        self._propagated = _propagated()
        self._captures_request = _is_set(OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST)
        self._captures_response = _is_set(OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_RESPONSE)

    @property
    def traced_service(self) -> Service:
        """The service that this application belongs to; its server asks."""
        return self._service

    def __getattr__(self, name: str) -> Any:
        if name == "_app":  # a copy that is being made has none yet
            raise AttributeError(name)
        return getattr(self._app, name)

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        request = self._begin(environ, start_response)
        if request is None:
            return self._app(environ, start_response)
        token = attach(SEAM, request.context)
        try:
            return request.answer(call_with_room(self._app, environ, request.start_response))
        except BaseException as error:
            request.fail(error)
            raise
        finally:
            detach(SEAM, token)

    def _begin(self, environ: Environ, start_response: Any) -> _Request | None:
        """Start the request's span, or return None where it gets none. Never raises."""
        try:
            if not self._patches.enabled or _somebody_else_traces() or self._is_quiet(environ):
                return None
            return _Request(self, environ, start_response)
        except Exception as error:
            log_internal_error(SEAM, error)
            return None

    def _is_quiet(self, environ: Environ) -> bool:
        path = str(environ.get("PATH_INFO", ""))
        if path.startswith(_HEALTHCHECK) and not runtime.settings.periodic:
            return True
        return bool(self._excluded.url_disabled(path))


class _Request:
    """One request: its span, what the server is answered, and its end, which comes once."""

    _ended = True
    """Until the span has begun."""

    def __init__(self, traced: TracedApplication, environ: Environ, start_response: Any) -> None:
        self._started = time.perf_counter()
        self._patches = traced._patches
        self._environ: Environ | None = environ
        self._start_response = start_response
        self._status = 0
        self._error_type = ""
        headers = _trace_headers(environ, traced._propagated)
        context, kind = _parent(headers)
        context = otel_context.set_value(SERVICE, traced._service, context)
        context = redaction.with_known_values(context, *_tokens(environ))
        self._captures = kind is SpanKind.SERVER and traced._captures_response
        token = otel_context.attach(context)  # what is masked below includes the request's token
        try:
            clean = _clean(environ)
            attributes = wsgi.collect_request_attributes(clean, _STABLE)
            if kind is SpanKind.SERVER and traced._captures_request:
                attributes.update(_captured({**clean, **headers}))
        finally:
            otel_context.detach(token)
        method = attributes.get(conventions.HTTP_METHOD, "_OTHER")
        # Now: the headers of a proxy, which anybody may write, change it on the way in.
        scheme = environ.get("wsgi.url_scheme")
        self._measured: dict[str, Any] = {
            conventions.HTTP_METHOD: method,
            conventions.URL_SCHEME: scheme if scheme in ("http", "https") else "_OTHER",
        }
        # Without ids, for requests that match no route.
        name = "HTTP" if method == "_OTHER" else method
        stranger = otel_context.set_value(FROM_OUTSIDE, True, context)
        self.span: Span = runtime.start_span(name, stranger, kind, attributes)
        self._ended = False
        tell_more(self.span, weakref.ref(self))
        root = LocalRoot(self.span, is_http=True)
        self.context = enter(context, root)

    def __del__(self) -> None:
        # The server has neither read the body to its end nor closed it.
        if not self._ended and not sys.is_finalizing():
            self.end()

    def so_far(self) -> tuple[str | None, Mapping[str, Any]]:
        """Name and attributes, as far as Cinder knows by now. The body is the request's thread's."""
        environ = dict(self._environ or {})
        environ.pop("webob.is_body_seekable", None)
        return request_attributes(environ, whole=True)

    def start_response(self, *args: Any, **kwargs: Any) -> Any:
        """Call the server's own, and tell it which trace the answer belongs to."""
        try:
            if self._patches.enabled and len(args) > 1:
                args = self._answered(*args)
        except Exception as error:
            log_internal_error(SEAM, error)
        return self._start_response(*args, **kwargs)

    def answer(self, body: Iterable[bytes]) -> Iterable[bytes]:
        """Return ``body`` as the server gets it: the same, or one that is made in the span. Never raises."""
        try:
            if self._patches.enabled:
                environ = self._environ
                self._learn()
                if _is_stream(body, environ):
                    return _Stream(body, body, self)
        except Exception as error:
            log_internal_error(SEAM, error)
        self.end()
        return body

    def within(self, step: Callable[[Any], Any], body: Any) -> Any:
        """Call ``step``, which is the host's, in the span. The body's end ends the span."""
        if not self._patches.enabled:
            self.end()
            return step(body)
        token = attach(SEAM, self.context)
        try:
            return step(body)
        except StopIteration:
            self.end()
            raise
        except BaseException as error:
            self.fail(error)
            raise
        finally:
            detach(SEAM, token)

    def fail(self, error: BaseException) -> None:
        """End the span with what the application raised. Never raises."""
        try:
            if self._patches.enabled and not self._ended:
                self._error_type, _ = record_failure(self.span, error)
                self._learn()
        except Exception as problem:
            log_internal_error(SEAM, problem)
        self.end()

    def end(self) -> None:
        """End the span, unless it has ended. Never raises."""
        if self._ended:
            return
        self._ended = True
        try:
            self._measure()
        except Exception as error:
            log_internal_error(SEAM, error)
        end_span(self.span)

    def _answered(self, status: Any, headers: Any, *rest: Any) -> tuple[Any, ...]:
        """Say on the span how the request was answered. Returns what the server gets."""
        if isinstance(status, (str, bytes)):
            self._say_status(status if isinstance(status, str) else status.decode("latin-1"))
        names = _names(headers)
        if names is None:
            return (status, headers, *rest)
        if self._captures and self.span.is_recording():
            shown = [(str(header[0]), _masked(*header)) for header in headers if len(header) == 2]
            self.span.set_attributes(wsgi.collect_custom_response_headers_attributes(shown))
        found = self.span.get_span_context()
        if runtime.settings.traceresponse and found.is_valid and _TRACERESPONSE not in names:
            headers = [*headers, (_TRACERESPONSE, _traceresponse(found))]
        return (status, headers, *rest)

    def _say_status(self, status: str) -> None:
        code = status.partition(" ")[0]
        self._status = int(code[:3]) if code[:3].isdecimal() else 0
        if not self.span.is_recording():
            return
        if len(code) == 3 and 100 <= self._status < 500:
            # All that the function below says of an answer that is no error of the server's.
            self.span.set_attribute(conventions.HTTP_STATUS, self._status)
            return
        code = code if code.isdecimal() else redaction.identifier(code, 16)
        wsgi.add_response_attributes(self.span, f"{code} ", [], sem_conv_opt_in_mode=_STABLE)

    def _learn(self) -> None:
        """Name the span, once Cinder has matched the route and built its context."""
        environ, self._environ = self._environ, None
        if environ is None:
            return
        try:
            recording = self.span.is_recording()
            name, attributes = request_attributes(environ, whole=recording)
            for key in (conventions.HTTP_ROUTE, conventions.ACTION):
                if key in attributes:
                    self._measured[key] = attributes[key]
            if recording:
                self.span.set_attributes(attributes)
                if name:
                    self.span.update_name(name)
        except Exception as error:
            log_internal_error(SEAM, error)

    def _measure(self) -> None:
        """Record how long the request took, by attributes of few values."""
        status = 500 if self._error_type else self._status
        if status:
            self._measured[conventions.HTTP_STATUS] = status
        if status >= 500:
            self._measured[conventions.ERROR_TYPE] = self._error_type or str(status)
        took = time.perf_counter() - self._started
        runtime.measure(conventions.HTTP_SERVER_DURATION, took, self._measured, self.context)


class _Stream:
    """A body that is not at hand yet: it makes its parts in the request's span."""

    __slots__ = ("_body", "_parts", "_request")

    def __init__(self, body: Any, parts: Any, request: _Request) -> None:
        self._body = body
        self._parts = parts
        """The source of the parts: the body, or its iterator."""
        self._request = request

    def __getattr__(self, name: str) -> Any:
        if name in self.__slots__:
            raise AttributeError(name)
        return getattr(self._body, name)

    def __iter__(self) -> Iterator[bytes]:
        parts = self._request.within(iter, self._parts)
        return self if parts is self._parts else _Stream(self._body, parts, self._request)

    def __next__(self) -> bytes:
        part: bytes = self._request.within(next, self._parts)
        return part

    def close(self) -> None:
        try:
            self._request.within(_close, self._body)
        finally:
            self._request.end()


def _close(body: Any) -> None:
    close = getattr(body, "close", None)
    if close is not None:
        close()


def _is_stream(body: Any, environ: Environ | None) -> bool:
    """Return whether the parts of ``body`` are still to be made, and the server only iterates over them.

    A server asks for the length of a body, and sends a file in a way of its own. Such a body must
    reach it as it is, and so must one that is no body.
    """
    kind = type(body)
    if hasattr(kind, "__len__") or not hasattr(kind, "__iter__"):
        return False
    wrapper = (environ or {}).get("wsgi.file_wrapper")
    if isinstance(wrapper, type):
        return not isinstance(body, wrapper)
    return wrapper is None or not hasattr(kind, "read")  # uWSGI's gives the file back


def _is_set(variable: str) -> bool:
    return bool(os.environ.get(variable))


def _names(headers: Any) -> list[Any] | None:
    """The names of response headers, in lower case.

    None for what PEP 3333 does not know, a generator say, which can be read only once: the server
    gets it as it is, and judges.
    """
    try:
        return [header[0].lower() for header in headers] if type(headers) is list else None
    except (AttributeError, IndexError, TypeError):
        return None


def _masked(name: Any, value: Any) -> str:
    """A header's value without secrets, and without the query of an address."""
    if redaction.promises_secret(str(name)) or _CHALLENGE.search(str(name)):
        return MASK
    shown = redaction.text(value, _HEADER_LIMIT)
    return _QUERY.sub(rf"\1{MASK}", shown) if _ADDRESS.search(str(name)) else shown


def _traceresponse(found: trace.SpanContext) -> str:
    """The header of W3C Trace Context Level 2 that says which trace an answer belongs to."""
    return f"00-{found.trace_id:032x}-{found.span_id:016x}-{int(found.trace_flags):02x}"


def _clean(environ: Environ) -> dict[str, str]:
    """The part of the environment that a span may show, bounded and without secrets."""
    clean = {
        key: value if value in _USUAL else redaction.text(value, limit)
        for key, limit in _LIMITS.items()
        if (value := environ.get(key))
    }
    host = str(environ.get("HTTP_HOST") or "").rpartition("@")[2]
    if host:  # it becomes server.address, which has neither user nor port
        clean["HTTP_HOST"] = redaction.identifier(_PORT.sub("", host))
    for key in _PORTS:
        port = str(environ.get(key, ""))
        if port.isdecimal() and len(port) <= 5:  # a unix socket's is none
            clean[key] = port
    # Without the query string, which may hold anything.
    clean["REQUEST_URI"] = clean.get("PATH_INFO", "")
    return clean


def _captured(environ: Environ) -> dict[str, Any]:
    """The headers of a request that the operator wants to see, of those that a span may show."""
    shown = {key: redaction.text(value, _HEADER_LIMIT) for key, value in environ.items()}
    captured: dict[str, Any] = wsgi.collect_custom_request_headers_attributes(shown)
    return captured


def _parent(headers: dict[str, str]) -> tuple[Context, SpanKind]:
    """Return the context to start the span in, and its kind: no SERVER within another tracer's span."""
    context = otel_context.get_current()
    if trace.get_current_span(context) is not trace.INVALID_SPAN:
        return context, SpanKind.INTERNAL
    if not headers:
        return Context(), SpanKind.SERVER
    try:
        return propagate.extract(headers, getter=wsgi.wsgi_getter), SpanKind.SERVER
    except Exception as error:  # a propagator that fails on a client's headers
        log_internal_error(SEAM, error)
        return Context(), SpanKind.SERVER


def _tokens(environ: Environ) -> list[str]:
    """The request's credentials, without the word Bearer or Basic."""
    return [str(environ[key]).rpartition(" ")[2] for key in _TOKENS if key in environ]


def _trace_headers(environ: Environ, keys: frozenset[str]) -> dict[str, str]:
    """The headers that name the request's trace. One that the SDK would warn of counts as absent."""
    headers = {}
    for key in keys:
        value = environ.get(key)
        if key == _TRACESTATE and isinstance(value, str):
            value = carrier.foreign_members(value)
        if value and isinstance(value, str) and len(value) <= carrier.LIMIT:
            headers[key] = value
    return headers


def _propagated() -> frozenset[str]:
    """Return the headers that the configured propagators read, except baggage: any client may fill it."""
    fields = propagate.get_global_textmap().fields
    return frozenset(
        "HTTP_" + field.upper().replace("-", "_") for field in fields if field.lower() != "baggage"
    )


def _somebody_else_traces() -> bool:
    """Return whether oslo.middleware's own tracing makes SERVER spans here, and they leave the process."""
    tracing = sys.modules.get("oslo_middleware.tracing")
    provider = getattr(tracing, "_TRACER_PROVIDER", None)
    return provider is not None and runtime.providers.exports_here(provider)


def _keep_ours_current(
    wrapped: Callable[..., Any], _middleware: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """oslo.middleware's span is current inside its filter: not if it is never exported."""
    before = otel_context.get_current()
    result = wrapped(*args, **kwargs)
    try:
        if not _somebody_else_traces():
            otel_context.attach(before)  # its own detach, at the response, leads back to this, too
    except Exception as error:
        log_internal_error(SEAM, error)
    return result
