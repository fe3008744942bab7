"""A SERVER span around the whole API application, by opentelemetry-instrumentation-wsgi.

Both cinder-api and the uWSGI entry point load the application by ``oslo_service.wsgi.Loader``; what
it returns is wrapped there, outside of every filter of ``api-paste.ini``.

The middleware of the contrib package is given a cleaned copy of the WSGI environment: no token, no
query string, no baggage, no oversized ``tracestate``. Cinder gets its own environment, untouched.
"""

from __future__ import annotations

import contextlib
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.instrumentation import wsgi
from opentelemetry.instrumentation._semconv import (
    _OpenTelemetrySemanticConventionStability,
    _OpenTelemetryStabilitySignalType,
    _StabilityMode,
)
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.util.http import get_excluded_urls

from otel_cinder.core import clock, conventions, redaction
from otel_cinder.core.carrier import TRACESTATE_LIMIT
from otel_cinder.core.entry import Entry, enrich, enter
from otel_cinder.core.failures import class_of, record_failure
from otel_cinder.core.frames import call_with_room
from otel_cinder.core.patching import PatchSet, complain
from otel_cinder.core.runtime import SERVICE, Service, end_span, runtime
from otel_cinder.core.sampling import STRANGER

SEAM: Final = "http"

_KEPT: Final = frozenset(
    {
        "HTTP_HOST",
        "HTTP_USER_AGENT",
        "PATH_INFO",
        "REMOTE_ADDR",
        "REMOTE_PORT",
        "REQUEST_METHOD",
        "SCRIPT_NAME",
        "SERVER_NAME",
        "SERVER_PORT",
        "SERVER_PROTOCOL",
        "wsgi.url_scheme",
    }
)
_PORT: Final = re.compile(r":\d*$")
_TOKENS: Final = (
    "HTTP_X_AUTH_TOKEN",
    "HTTP_X_SERVICE_TOKEN",
    "HTTP_X_SUBJECT_TOKEN",
    "HTTP_X_STORAGE_TOKEN",
    "HTTP_AUTHORIZATION",
)
"""Headers that are masked, word for word, wherever they stand while the request is handled."""

_LIMITS: Final = {"HTTP_HOST": 255, "HTTP_USER_AGENT": 256, "PATH_INFO": 1024, "SCRIPT_NAME": 256}
_REQUEST: Final = "otel_cinder.request"
_TRACERESPONSE: Final = "traceresponse"
_HEALTHCHECK: Final = "/healthcheck"
"""Where oslo.middleware answers load balancers, every second or so."""

Environ = dict[str, Any]
Describe = Callable[..., tuple[str | None, dict[str, Any]]]
Made = Callable[[Any], Mapping[str, Any]]
App = Callable[[Environ, Any], Iterable[bytes]]


def patch(patches: PatchSet, api: str, describe: Describe, made: Made) -> None:
    """Wrap the application that the loader returns.

    Args:
        api: name of the service that serves it.
        describe: says the name (or None) and attributes of a request from its environment, after
            the application has run;
            with ``whole=False`` only those that a metric needs.
        made: attributes of an attachment that was made: one that Nova reserves is in no message.
    """

    def load_app(
        wrapped: Callable[..., App], _instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> App:
        app = wrapped(*args, **kwargs)
        try:
            return TracedApplication(app, Service(api), describe, patches)
        except Exception as error:
            complain(SEAM, error)
            return app

    def start(
        wrapped: Callable[..., Any], server: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        result = wrapped(*args, **kwargs)
        try:
            if isinstance(server.app, TracedApplication):
                runtime.begin(Service(api))  # a worker reports, whether it is asked anything or not
        except Exception as error:
            complain(SEAM, error)
        return result

    def create_attachment(
        wrapped: Callable[..., Any], _api: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        attachment = wrapped(*args, **kwargs)
        try:
            enrich(made(attachment))
        except Exception as error:
            complain(SEAM, error)
        return attachment

    patches.wrap(SEAM, "oslo_service.wsgi:Loader.load_app", load_app)
    patches.wrap(SEAM, "oslo_service.wsgi:Server.start", start)
    patches.wrap(SEAM, "cinder.volume.api:API.attachment_create", create_attachment)


class TracedApplication:
    """The API's WSGI application in its span. Passes through once the patches are undone."""

    def __init__(self, app: App, service: Service, describe: Describe, patches: PatchSet) -> None:
        self._app = app
        self._service = service
        self._describe = describe
        self._patches = patches
        self._excluded = get_excluded_urls("WSGI")
        self._kept = _KEPT | _propagated()
        with _stable_names():
            self._middleware = wsgi.OpenTelemetryMiddleware(
                self._enter,
                request_hook=_started,
                tracer_provider=_Tracers(service),
                meter_provider=NoOpMeterProvider(),  # it knows no route yet when it measures
            )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._app, name)

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        if not self._patches.enabled or _somebody_else_traces() or self._is_quiet(environ):
            return self._app(environ, start_response)
        request = _Request(environ)
        base = otel_context.get_current()
        try:
            response = self._middleware(self._clean(request), start_response)
            if not request.streams:
                # The span ends when the middleware's generator does. The body is at hand, so run it
                # to its end here: a client that goes away may never iterate.
                response = list(response)
        except Exception as error:
            if request.entered:
                raise
            complain(SEAM, error)  # ours, before Cinder saw the request
            otel_context.attach(base)
            return self._app(environ, start_response)
        if request.error is not None:
            raise request.take_error()
        return _Stream(response, request, base) if request.streams else response

    def _is_quiet(self, environ: Environ) -> bool:
        path = str(environ.get("PATH_INFO", ""))
        if path.startswith(_HEALTHCHECK) and not runtime.settings.periodic:
            return True
        return bool(self._excluded.url_disabled(path))

    def _clean(self, request: _Request) -> Environ:
        """What the middleware may see: no secret, nothing that would be passed on unasked."""
        environ = request.environ
        clean = {key: environ[key] for key in self._kept if key in environ}
        if len(clean.get("HTTP_TRACESTATE", "")) > TRACESTATE_LIMIT:
            del clean["HTTP_TRACESTATE"]
        if not str(clean.get("SERVER_PORT", "")).isdecimal():
            clean.pop("SERVER_PORT", None)  # a unix socket's; the middleware would choke on it
        if "HTTP_HOST" in clean:  # it would become server.address, port and all
            clean["HTTP_HOST"] = _PORT.sub("", str(clean["HTTP_HOST"]))
        for key, limit in _LIMITS.items():  # a stranger fills them, as far as he likes
            if key in clean:
                clean[key] = redaction.text(clean[key], limit)
        # Without the query string, which may hold anything.
        clean["REQUEST_URI"] = clean.get("SCRIPT_NAME", "") + clean.get("PATH_INFO", "")
        clean[_REQUEST] = request
        return clean

    def _enter(self, clean: Environ, start_response: Any) -> Iterable[bytes]:
        """Run the application, inside of the span and with Cinder's own environment.

        What it raises is kept for `__call__` to raise: the middleware would record its message as
        it is, with whatever secret is in it.
        """
        request: _Request = clean[_REQUEST]
        # Here, because the middleware begins with what it has extracted, not with our context.
        context = otel_context.set_value(SERVICE, self._service)
        said = (str(request.environ.get(key, "")) for key in _TOKENS)
        # Bearer, Basic: behind the scheme.
        context = redaction.hiding(context, *(token.rpartition(" ")[2] for token in said))
        request.context = enter(context, Entry(request.span, is_http=True))
        token = otel_context.attach(request.context)
        request.entered = True
        try:
            answered = _answered(request, start_response)
            request.body = call_with_room(self._app, request.environ, answered)
            request.streams = not isinstance(request.body, (list, tuple))
        except BaseException as error:
            request.error = error
            record_failure(request.span, error)
        finally:
            otel_context.detach(token)
            self._finish(request)
        return _watched(request) if request.streams else request.body

    def _finish(self, request: _Request) -> None:
        """Name the span, once Cinder has matched the route and built its context."""
        try:
            recording = request.span.is_recording()
            name, attributes = self._describe(request.environ, whole=recording)
            request.measured = {
                key: attributes[key]
                for key in (conventions.HTTP_ROUTE, conventions.ACTION)
                if key in attributes
            }
            if recording:
                request.span.set_attributes(attributes)
                if name:
                    request.span.update_name(name)
        except Exception as error:
            complain(SEAM, error)
        if not request.streams:
            request.measure()


class _Request:
    """What is to be known of one request on both sides of the middleware."""

    __slots__ = (
        "body",
        "context",
        "entered",
        "environ",
        "error",
        "measured",
        "scheme",
        "span",
        "started",
        "status",
        "streams",
    )

    def __init__(self, environ: Environ) -> None:
        self.environ = environ
        self.body: Iterable[bytes] = ()
        self.context = otel_context.get_current()
        self.entered = False
        self.error: BaseException | None = None
        self.measured: dict[str, Any] | None = None
        # Now: a proxy's headers, which may be anybody's, change it on the way in.
        scheme = environ.get("wsgi.url_scheme")
        self.scheme = scheme if scheme in ("http", "https") else "_OTHER"
        self.span: trace.Span = trace.INVALID_SPAN
        self.started = time.perf_counter()
        self.status = 0
        self.streams = False

    def take_error(self) -> BaseException:
        """What Cinder raised, which is kept no longer: its frames know this request."""
        error, self.error = self.error, None
        return error or StopIteration()

    def measure(self) -> None:
        """Record how long the request took, once, by what bounds its attributes."""
        measured, self.measured = self.measured, None
        if measured is None:
            return
        method = redaction.http_method(self.environ)
        attributes: dict[str, Any] = {
            conventions.HTTP_METHOD: "_OTHER" if method == "HTTP" else method,
            conventions.URL_SCHEME: self.scheme,
            **measured,
        }
        status = 500 if self.error is not None else self.status
        if status:
            attributes[conventions.HTTP_STATUS] = status
        if self.error is not None:
            attributes[conventions.ERROR_TYPE] = class_of(self.error)[1]
        elif status >= 500:
            attributes[conventions.ERROR_TYPE] = str(status)
        runtime.measure(
            conventions.HTTP_SERVER_DURATION,
            time.perf_counter() - self.started,
            attributes,
            self.context,
        )


class _Stream:
    """A body that is not at hand yet: ends the span and raises what Cinder raised, at its end."""

    def __init__(self, response: Iterable[bytes], request: _Request, base: Context) -> None:
        self._response = iter(response)
        self._request = request
        self._base = base
        self._begun = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        self._begun = True
        try:
            return next(self._response)
        except BaseException:
            self._end()
            if self._request.error is None:
                raise
        raise self._request.take_error()  # here, so that it is raised as Cinder raised it

    def close(self) -> None:
        # A generator that never began has no end to run: the body is closed for it.
        close = getattr(self._response if self._begun else self._request.body, "close", None)
        try:
            if close is not None:
                close()
        finally:
            self._end()

    def _end(self) -> None:
        self._request.measure()
        if self._request.span.is_recording():
            end_span(self._request.span)  # closed before it was iterated
        # Where it was never iterated, the middleware has not detached what it attached.
        otel_context.attach(self._base)


def _watched(request: _Request) -> Iterator[bytes]:
    """The body, whose parts may be made while it is read: by the service, and failing maybe."""
    body = iter(request.body)
    try:
        while True:
            token = otel_context.attach(request.context)
            try:
                part = next(body)
            except StopIteration:
                return
            except Exception as error:
                request.error = error
                record_failure(request.span, error)
                return
            finally:
                otel_context.detach(token)
            yield part
    finally:
        close = getattr(request.body, "close", None)
        if close is not None:
            close()


def _started(span: trace.Span, clean: Environ) -> None:
    """Give the span a name without ids, for requests that match no route."""
    clean[_REQUEST].span = span
    if span.is_recording():
        span.update_name(redaction.http_method(clean))
        clock.watch_end(span)  # the middleware ends it


def _answered(request: _Request, start_response: Any) -> Any:
    """The server's ``start_response``, behind a middleware that needs a reason in the status.

    The answer says which trace it belongs to, in the header of W3C Trace Context Level 2.
    """

    def start(status: str, headers: list[tuple[str, str]], *args: Any, **kwargs: Any) -> Any:
        try:
            code = status[:3]
            request.status = int(code) if code.isdecimal() else 0
            found = request.span.get_span_context()
            if runtime.settings.traceresponse and found.is_valid:
                names = {name.lower() for name, _ in headers}
                if _TRACERESPONSE not in names:
                    headers = [*headers, (_TRACERESPONSE, _traceresponse(found))]
        except Exception as error:
            complain(SEAM, error)
        return start_response(status if " " in status else f"{status} ", headers, *args, **kwargs)

    return start


def _traceresponse(found: trace.SpanContext) -> str:
    return f"00-{found.trace_id:032x}-{found.span_id:016x}-{int(found.trace_flags):02x}"


def _propagated() -> frozenset[str]:
    """The headers that the configured propagators read, but for baggage, a stranger's to fill."""
    fields = propagate.get_global_textmap().fields
    return frozenset(
        "HTTP_" + field.upper().replace("-", "_") for field in fields if field.lower() != "baggage"
    )


class _Tracers(trace.TracerProvider):
    """Hands the middleware a tracer that is looked up at each request, so after every fork."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def get_tracer(self, *_args: Any, **_kwargs: Any) -> trace.Tracer:
        return _Tracer(self._service)


class _Tracer(trace.NoOpTracer):
    def __init__(self, service: Service) -> None:
        self._service = service

    def start_span(  # type: ignore[override]
        self, name: str, context: Context | None = None, **kwargs: Any
    ) -> trace.Span:
        kwargs.pop("start_time", None)
        context = otel_context.set_value(SERVICE, self._service, context)
        return runtime.start_span(name, otel_context.set_value(STRANGER, True, context), **kwargs)


@contextlib.contextmanager
def _stable_names() -> Iterator[None]:
    """Let the middleware that is made here use the stable ``http.*`` names, whatever others use.

    The contrib package decides it for the whole process, by OTEL_SEMCONV_STABILITY_OPT_IN, and uses
    the names of 2021 by default.
    """
    try:
        mapping = _OpenTelemetrySemanticConventionStability._OTEL_SEMCONV_STABILITY_SIGNAL_MAPPING
        _OpenTelemetrySemanticConventionStability._initialize()  # type: ignore[no-untyped-call]
        before = mapping.get(_OpenTelemetryStabilitySignalType.HTTP, _StabilityMode.DEFAULT)
    except AttributeError:  # a release that arranges it differently: its own default will do
        yield
        return
    mapping[_OpenTelemetryStabilitySignalType.HTTP] = _StabilityMode.HTTP
    try:
        yield
    finally:
        mapping[_OpenTelemetryStabilitySignalType.HTTP] = before


def _somebody_else_traces() -> bool:
    """Whether oslo.middleware's own tracing makes SERVER spans in this process."""
    tracing = sys.modules.get("oslo_middleware.tracing")
    return getattr(tracing, "_TRACER_PROVIDER", None) is not None
