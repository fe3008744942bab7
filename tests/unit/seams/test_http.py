"""Requests, through oslo.service's Loader, routes and webob."""

from __future__ import annotations

import collections
import contextlib
import copy
import gc
import io
import json
import pathlib
import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.util import FileWrapper

import pytest
import webob
from eventlet import Timeout
from greenlet import GreenletExit
from opentelemetry import baggage, trace
from opentelemetry import context as otel_context
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode
from oslo_config import cfg
from oslo_service import wsgi
from webob.response import EmptyResponse

import otel_cinder
from otel_cinder import redaction
from otel_cinder.seams import http as seam
from otel_cinder.spans import local_root
from otel_cinder.spans.runtime import runtime
from otel_cinder.spans.service import SERVICE, Service
from tests.receiver import Receiver
from tests.unit.recording import Recorder, exception_of
from tests.unit.seams.applications import Api, App, load

REMOTE_TRACE = "0af7651916cd43dd8448eb211c80319c"
REMOTE_SPAN = "b7ad6b7169203331"
TRACEPARENT = f"00-{REMOTE_TRACE}-{REMOTE_SPAN}-01"
VOLUMES = "/v3/aaaa-1111/volumes"

Serve = Callable[[App], App]


@pytest.fixture
def serve(tmp_path: pathlib.Path) -> Serve:
    """Loads an application by oslo.service's Loader."""
    return lambda app: load(app, tmp_path)


def request(app: App, path: str, **kwargs: Any) -> webob.Response:
    return webob.Request.blank(path, **kwargs).get_response(app)


def responds(status: str, body: Iterable[bytes]) -> App:
    """An application that answers with ``body`` as it is."""

    def app(_environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response(status, [("Content-Type", "text/plain")])
        return body

    return app


def context_is_clean() -> bool:
    return not otel_context.get_current()


class Body:
    """A body that streams, fails if told to, and knows whether it was closed."""

    def __init__(self, error: Exception | None = None, parts: int = 2) -> None:
        self.error, self.parts = error, parts
        self.closed = 0
        self.current: list[int] = []

    def __iter__(self) -> Iterator[bytes]:
        for _ in range(self.parts):
            self.current.append(trace.get_current_span().get_span_context().span_id)
            yield b"part"
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        self.closed += 1


def call(app: App, path: str = "/", **environ: Any) -> Iterable[bytes]:
    """Call ``app`` as a server does, without iterating what it returns."""
    made = webob.Request.blank(path).environ
    made.update(environ)
    return app(made, lambda *_args: lambda _data: None)


# Names and attributes


def test_request_has_exactly_these_attributes(spans: Recorder, serve: Serve) -> None:
    """One SERVER span, named by method and route, with http.* by their stable names and Cinder's."""
    app = serve(Api())
    answer = request(
        app,
        VOLUMES + "?secret=1",
        method="POST",
        body=b"{}",
        headers={"User-Agent": "cli/1", "X-Auth-Token": "gAAAAAB-token"},
        remote_addr="10.0.0.9",
    )
    assert answer.status_int == 200
    (span,) = spans
    assert span.name == "POST /v3/{project_id}/volumes"
    assert span.kind is SpanKind.SERVER
    assert span.parent is None
    assert span.status.status_code is StatusCode.UNSET
    assert dict(span.attributes) == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.route": "/v3/{project_id}/volumes",
        "url.scheme": "http",
        "url.path": VOLUMES,
        "server.address": "localhost",
        "server.port": 80,
        "client.address": "10.0.0.9",
        "network.protocol.version": "1.0",
        "user_agent.original": "cli/1",
        "openstack.request_id": "req-1",
        "openstack.project_id": "p1",
        "openstack.user_id": "u1",
    }


@pytest.mark.parametrize(
    ("path", "route"),
    [
        (VOLUMES, "/v3/{project_id}/volumes"),
        (VOLUMES + "/0815", "/v3/{project_id}/volumes/{id}"),
        ("/v3/p/types/4711", "/v3/{project_id}/types/{id}"),
        ("/v3/p/limits.json", "/v3/{project_id}/limits"),
    ],
)
def test_name_is_the_route_without_ids(
    spans: Recorder, serve: Serve, path: str, route: str
) -> None:
    """Routes in each of routes' notations become `/v3/{project_id}/…`."""
    request(serve(Api()), path)
    (span,) = spans
    assert span.name == f"GET {route}"
    assert span.attributes["http.route"] == route


@pytest.mark.parametrize("path", ["/", "/v3/p/no/such/route", "/nowhere"])
def test_unmatched_request_is_named_by_its_method(spans: Recorder, serve: Serve, path: str) -> None:
    """A request that matches no route is named by its method; its path stays an attribute."""
    request(serve(Api()), path)
    (span,) = spans
    assert span.name == "GET"
    assert "http.route" not in span.attributes
    assert span.attributes["url.path"] == path


def act(app: App, body: bytes) -> webob.Response:
    return request(app, VOLUMES + "/1/action", method="POST", body=body)


def test_action_is_in_the_name(spans: Recorder, serve: Serve) -> None:
    """An action request is named by the action that its body asks for."""
    act(serve(Api()), b'{"os-extend": {"new_size": 2}}')
    (span,) = spans
    assert span.name == "POST /v3/{project_id}/volumes/{id}/action os-extend"
    assert span.attributes["cinder.action"] == "os-extend"


@pytest.mark.parametrize(
    "body",
    [
        b'{"os-made-up-by-the-caller": {}}',
        b'{"os-extend": {}, "os-attach": {}}',
        b"{}",
        b"[]",
        b"not json",
        b'{"os-ext',
        b"\xff\xfe",
        b"",
        b'{"os-extend": "' + b"x" * 200_000 + b'"}',
        b"[" * 100_000,
    ],
    ids=["unknown", "two", "none", "list", "text", "cut", "binary", "empty", "huge", "deep"],
)
def test_unknown_action_is_not_in_the_name(spans: Recorder, serve: Serve, body: bytes) -> None:
    """A body that is no known action leaves the name with the route, and the request alone."""
    answer = act(serve(Api()), body)
    assert answer.status_int == 200
    (span,) = spans
    assert span.name == "POST /v3/{project_id}/volumes/{id}/action"
    assert "cinder.action" not in span.attributes


def test_application_still_reads_its_body(spans: Recorder, serve: Serve) -> None:
    """Looking for the action leaves the body where the application had left it."""
    api = Api(lambda r: webob.Response(body=r.body_file.read(4)))
    answer = act(serve(api), b'{"os-extend": {}}')
    assert answer.body == b'{"os'
    assert api.requests[0].environ["wsgi.input"].read() == b'-extend": {}}'


def test_request_is_current_in_the_application(spans: Recorder, serve: Serve) -> None:
    """Spans that the application opens are below the request's span."""

    def handle(_request: webob.Request) -> webob.Response:
        with spans.tracer.start_as_current_span("flow"):
            return webob.Response("ok")

    request(serve(Api(handle)), VOLUMES)
    assert spans["flow"].parent.span_id == spans["GET /v3/{project_id}/volumes"].context.span_id
    assert context_is_clean()


@pytest.mark.parametrize("streams", [False, True], ids=["at once", "streaming"])
def test_work_in_the_application_is_the_apis(spans: Recorder, serve: Serve, streams: bool) -> None:
    """Spans that the application starts, also while its body streams, belong to cinder-api."""
    seen: list[Any] = []

    def body() -> Iterator[bytes]:
        seen.append(otel_context.get_value(SERVICE))
        yield b"part"

    def app(_environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return body() if streams else list(body())

    assert list(call(serve(app))) == [b"part"]
    assert seen == [Service("cinder-api")]


def test_answer_says_its_trace(spans: Recorder, serve: Serve) -> None:
    """The answer's `traceresponse` names the trace and the request's span, as W3C has it."""
    response = request(serve(Api()), VOLUMES)
    (span,) = spans
    trace_id, span_id = span.context.trace_id, span.context.span_id
    assert response.headers["traceresponse"] == f"00-{trace_id:032x}-{span_id:016x}-01"


def test_unsampled_answer_says_so(instrumented: Callable[..., Recorder], serve: Serve) -> None:
    """Without a recorded span there is no `traceresponse`."""
    instrumented(ALWAYS_OFF)
    assert request(serve(Api()), VOLUMES).headers["traceresponse"].endswith("-00")


def test_traceresponse_can_be_switched_off(
    instrumented: Callable[..., Recorder], serve: Serve
) -> None:
    """With OTEL_CINDER_TRACERESPONSE=false the answer is Cinder's alone."""
    instrumented(traceresponse=False)
    assert "traceresponse" not in request(serve(Api()), VOLUMES).headers


def test_traceresponse_of_the_application_stays(spans: Recorder, serve: Serve) -> None:
    """A header that the application set stays."""

    def handle(_request: webob.Request) -> webob.Response:
        return webob.Response(headers={"Traceresponse": "theirs"})

    assert request(serve(Api(handle)), VOLUMES).headers.getall("traceresponse") == ["theirs"]


def test_attributes_of_inner_work_are_on_the_request(spans: Recorder, serve: Serve) -> None:
    """Attributes that a cast or a task adds to the request are on its span, another volume's are not."""

    def handle(_request: webob.Request) -> webob.Response:
        with runtime.tracer(otel_context.get_current()).start_as_current_span("inner"):
            local_root.enrich({"cinder.volume.id": "first"})
            local_root.enrich({"cinder.volume.id": "second", "cinder.volume.host": "elsewhere"})
            local_root.enrich({"cinder.volume.id": "first", "cinder.volume.size": 1})
        return webob.Response()

    request(serve(Api(handle)), VOLUMES)
    attributes = dict(spans["GET /v3/{project_id}/volumes"].attributes or {})
    assert attributes["cinder.volume.id"] == "first"
    assert attributes["cinder.volume.size"] == 1
    assert "cinder.volume.host" not in attributes


def test_each_request_is_its_own_trace(spans: Recorder, serve: Serve) -> None:
    """Requests that follow each other on one thread share nothing."""
    app = serve(Api())
    for _ in range(3):
        request(app, VOLUMES)
    assert len({span.context.trace_id for span in spans}) == 3


# Failures


def test_4xx_is_no_error(spans: Recorder, serve: Serve) -> None:
    """A 404 is the caller's error: the span has the status code and no error."""
    request(serve(Api(lambda _r: webob.Response(status=404))), VOLUMES)
    (span,) = spans
    assert span.attributes["http.response.status_code"] == 404
    assert span.status.status_code is StatusCode.UNSET


def test_5xx_is_an_error(spans: Recorder, serve: Serve) -> None:
    """A 503 is an error with the code as error.type."""
    request(serve(Api(lambda _r: webob.Response(status=503))), VOLUMES)
    (span,) = spans
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == "503"
    assert span.attributes["http.route"] == "/v3/{project_id}/volumes"


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit])
def test_application_that_raises(spans: Recorder, serve: Serve, kind: type[BaseException]) -> None:
    """The same exception is raised again; the span ends with it, its secret masked."""
    error = kind("auth_token=gAAAAAB-token")

    def raises(_environ: Any, _start_response: Any) -> Iterable[bytes]:
        raise error

    with pytest.raises(kind) as caught:
        call(serve(raises))
    assert caught.value is error
    (span,) = spans
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == kind.__name__
    assert exception_of(span)["exception.message"] == "auth_token=***"
    assert "gAAAAAB" not in span.to_json()
    assert context_is_clean()


# Bodies


def test_body_in_a_list_ends_the_span_at_once(spans: Recorder, serve: Serve) -> None:
    """For a body in memory, the span ends before the server sends it."""
    body = call(serve(responds("200 OK", [b"a", b"b"])))
    assert len(spans) == 1
    assert list(body) == [b"a", b"b"]
    assert context_is_clean()


def test_streaming_body_is_part_of_the_request(spans: Recorder, serve: Serve) -> None:
    """A streaming body is streamed in the request's span, which ends with it."""
    body = Body()
    stream = iter(call(serve(responds("200 OK", body))))
    assert next(stream) == b"part"
    assert len(spans) == 0
    assert list(stream) == [b"part"]
    (span,) = spans
    assert set(body.current) == {span.context.span_id}
    assert context_is_clean()
    stream.close()
    assert body.closed == 1
    assert context_is_clean()


def test_streaming_body_that_raises(spans: Recorder, serve: Serve) -> None:
    """A stream's own exception reaches the server, and is the request's error."""
    error = OSError("password=hunter2")
    body = Body(error)
    stream = call(serve(responds("200 OK", body)))
    with pytest.raises(OSError, match="hunter2") as caught:
        list(stream)
    assert caught.value is error
    (span,) = spans
    assert span.attributes["error.type"] == "OSError"
    assert "hunter2" not in span.to_json()
    stream.close()
    assert body.closed == 1
    assert context_is_clean()


def test_streaming_body_that_is_closed_early(spans: Recorder, serve: Serve) -> None:
    """A client that goes away half-way: span ended, body closed, no context left."""
    body = Body()
    stream = call(serve(responds("200 OK", body)))
    next(iter(stream))
    stream.close()
    assert len(spans) == 1
    assert body.closed == 1
    assert context_is_clean()


def test_streaming_body_that_is_never_iterated(spans: Recorder, serve: Serve) -> None:
    """A HEAD request, say: the server only closes; span ended, body closed, no context left."""
    body = Body()
    stream = call(serve(responds("200 OK", body)))
    stream.close()
    assert len(spans) == 1
    assert body.closed == 1
    assert context_is_clean()


def test_empty_streaming_body(spans: Recorder, serve: Serve) -> None:
    """A stream of nothing ends the span like any other."""
    body = Body(parts=0)
    stream = call(serve(responds("204 No Content", body)))
    assert list(stream) == []
    assert len(spans) == 1
    stream.close()
    assert body.closed == 1
    assert context_is_clean()


def test_body_is_closed_by_the_server_alone(spans: Recorder, serve: Serve) -> None:
    """A server may still hold the parts when it has read the last one, so only the server closes."""
    body = Body()
    stream = call(serve(responds("200 OK", body)))
    list(stream)
    assert body.closed == 0
    stream.close()
    assert body.closed == 1


def test_body_that_is_never_read_or_closed(spans: Recorder, serve: Serve) -> None:
    """The span ends once the server has let go of the body."""
    body = Body()
    stream = call(serve(responds("200 OK", body)))
    assert len(spans) == 0
    del stream
    gc.collect()
    assert len(spans) == 1
    assert body.closed == 0


@pytest.mark.parametrize(
    "body",
    [[b"a"], (b"a",), collections.deque([b"a"]), b"a", "a", None, EmptyResponse()],
    ids=lambda body: type(body).__name__,
)
def test_body_at_hand_is_not_touched(spans: Recorder, serve: Serve, body: Any) -> None:
    """The server gets the same object, and may ask for its length or send it in its own way."""
    assert call(serve(responds("200 OK", body))) is body
    assert len(spans) == 1


@pytest.mark.parametrize(
    ("wrapper", "body"),
    [(FileWrapper, FileWrapper(io.BytesIO(b"a"))), (lambda file: file, io.BytesIO(b"a"))],
    ids=["a class's", "uWSGI's"],
)
def test_file_for_the_server_is_not_touched(
    spans: Recorder, serve: Serve, wrapper: Any, body: Any
) -> None:
    """A file that the server itself is to send reaches it as it is."""
    app = serve(responds("200 OK", body))
    assert call(app, **{"wsgi.file_wrapper": wrapper}) is body
    assert len(spans) == 1


def test_file_streams_where_the_server_has_no_way_of_its_own(spans: Recorder, serve: Serve) -> None:
    """Under eventlet, which has no file_wrapper, a file is a stream like any other."""
    stream = call(serve(responds("200 OK", io.BytesIO(b"a"))))
    assert len(spans) == 0
    assert list(stream) == [b"a"]
    assert len(spans) == 1


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt, GreenletExit, Timeout])
def test_stream_that_is_cut_off(
    spans: Recorder, serve: Serve, kind: Callable[[], BaseException]
) -> None:
    """Whatever ends a stream from within is the request's failure, a greenthread's end too."""
    error = kind()
    stream = call(serve(responds("200 OK", Body(error, parts=1))))
    with pytest.raises(type(error)) as caught:
        list(stream)
    stream.close()
    assert caught.value is error
    (span,) = spans
    assert span.attributes["error.type"] == type(error).__name__
    assert context_is_clean()


def test_body_that_gives_no_iterator_is_closed(spans: Recorder, serve: Serve) -> None:
    """A body whose `__iter__` raises fails the request, and is closed by the server as ever."""

    class Unreadable(Body):
        def __iter__(self) -> Iterator[bytes]:
            raise ValueError("no parts")

    body = Unreadable()
    stream = call(serve(responds("200 OK", body)))
    with pytest.raises(ValueError, match="no parts"):
        iter(stream)
    stream.close()
    assert body.closed == 1
    (span,) = spans
    assert span.attributes["error.type"] == "ValueError"


def test_close_that_raises(spans: Recorder, serve: Serve) -> None:
    """An exception of the body's close() reaches only the server's call of it."""
    error = OSError("gone")

    class Sticks(Body):
        def close(self) -> None:
            super().close()
            raise error

    body = Sticks()
    stream = call(serve(responds("200 OK", body)))
    assert list(stream) == [b"part", b"part"]
    with pytest.raises(OSError, match="gone") as caught:
        stream.close()
    assert caught.value is error
    assert body.closed == 1
    assert len(spans) == 1
    assert context_is_clean()


def test_closing_belongs_to_the_request(spans: Recorder, serve: Serve) -> None:
    """A body's close(), which may log a line, runs in the request's trace."""

    class Says(Body):
        def close(self) -> None:
            self.current.append(trace.get_current_span().get_span_context().span_id)

    for parts in (0, 1):
        body = Says(parts=parts)
        stream = call(serve(responds("200 OK", body)))
        list(stream)
        stream.close()
        assert set(body.current) == {list(spans)[-1].context.span_id}


@pytest.mark.parametrize("status", [b"200 OK", "200", "200 "])
def test_odd_status_is_recorded_and_passed_on(spans: Recorder, serve: Serve, status: Any) -> None:
    """A status of bytes, or without a reason, reaches the server as it is."""
    seen: list[Any] = []
    app = serve(responds(status, [b""]))
    app(webob.Request.blank("/").environ, lambda *args: seen.append(args[0]))
    assert seen == [status]
    (span,) = spans
    assert span.attributes["http.response.status_code"] == 200


def test_headers_that_can_be_read_once(spans: Recorder, serve: Serve) -> None:
    """Headers from a generator are left to the server."""

    def app(_environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", (header for header in [("a", "b")]))
        return [b""]

    seen: list[Any] = []
    serve(app)(webob.Request.blank("/").environ, lambda _status, headers: seen.extend(headers))
    assert seen == [("a", "b")]
    assert len(spans) == 1


def test_headers_of_the_application_stay_its_own(spans: Recorder, serve: Serve) -> None:
    """Headers that an application uses again and again do not keep a request's traceresponse."""
    headers = [("a", "b")]

    def app(_environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", headers)
        return [b""]

    call(serve(app))
    assert headers == [("a", "b")]


def test_application_that_starts_late(spans: Recorder, serve: Serve) -> None:
    """An application that is a generator answers at its first part; the span says what."""

    def app(_environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("503 Service Unavailable", [])
        yield b"later"

    assert list(call(serve(app))) == [b"later"]
    (span,) = spans
    assert span.attributes["http.response.status_code"] == 503
    assert span.attributes["error.type"] == "503"


def test_two_streams_on_one_thread(spans: Recorder, serve: Serve) -> None:
    """A second request served while the first one's stream is open is no child of it."""
    app = serve(responds("200 OK", Body()))
    first = call(app)
    next(iter(first))
    first.close()
    second = call(app)
    list(second)
    one, two = spans
    assert one.context.trace_id != two.context.trace_id
    assert context_is_clean()


# uninstrument() in the midst of requests


def test_stream_outlives_tracing(spans: Recorder, serve: Serve) -> None:
    """A body that still streams at uninstrument() goes on untraced, to its very end."""
    body = Body(parts=3)
    stream = call(serve(responds("200 OK", body)))
    parts = iter(stream)
    assert next(parts) == b"part"
    otel_cinder.uninstrument()
    assert list(parts) == [b"part", b"part"]
    stream.close()
    assert body.closed == 1
    assert body.current[0] != 0
    assert body.current[1:] == [0, 0]
    assert len(spans) == 1
    assert context_is_clean()


@pytest.mark.parametrize("fails", [False, True], ids=["answers", "fails"])
@pytest.mark.parametrize("streams", [False, True], ids=["at once", "streaming"])
def test_request_outlives_tracing(
    spans: Recorder, serve: Serve, streams: bool, fails: bool
) -> None:
    """A request during uninstrument() is answered; none of its text is recorded after that."""
    redaction.add_known_values(["a-secret-of-the-configuration"])
    seen: list[Any] = []

    def app(_environ: Any, start_response: Any) -> Iterable[bytes]:
        otel_cinder.uninstrument()  # the configuration's secrets are forgotten with it
        start_response("200 OK", [("a", "a-secret-of-the-configuration")])
        if fails:
            raise ValueError("a-secret-of-the-configuration")
        return iter([b"part"]) if streams else [b"part"]

    def start_response(status: str, headers: Any) -> None:
        seen.append((status, headers))

    environ = webob.Request.blank("/").environ
    with pytest.raises(ValueError, match="a-secret") if fails else contextlib.nullcontext():
        assert list(serve(app)(environ, start_response)) == [b"part"]
    assert seen == [("200 OK", [("a", "a-secret-of-the-configuration")])]
    (span,) = spans
    assert "a-secret" not in span.to_json()
    assert context_is_clean()


# Strangers


def test_inbound_traceparent_names_the_parent(spans: Recorder, serve: Serve) -> None:
    """A caller's traceparent is continued."""
    request(serve(Api()), VOLUMES, headers={"traceparent": TRACEPARENT, "tracestate": "a=b"})
    (span,) = spans
    assert f"{span.parent.trace_id:032x}" == REMOTE_TRACE
    assert f"{span.parent.span_id:016x}" == REMOTE_SPAN
    assert dict(span.context.trace_state) == {"a": "b"}


@pytest.mark.parametrize(
    "traceparent",
    ["", "garbage", TRACEPARENT + "-x", "0" * 100_000, "00-" + "0" * 32 + "-" + "0" * 16 + "-01"],
    ids=["empty", "garbage", "extra", "oversized", "zeros"],
)
def test_bad_traceparent_begins_a_trace(spans: Recorder, serve: Serve, traceparent: str) -> None:
    """A malformed or oversized traceparent counts as none."""
    assert request(serve(Api()), VOLUMES, headers={"traceparent": traceparent}).status_int == 200
    (span,) = spans
    assert span.parent is None


@pytest.mark.parametrize("size", [513, 100_000])
def test_oversized_tracestate_is_dropped(spans: Recorder, serve: Serve, size: int) -> None:
    """Of a tracestate beyond 512 characters nothing is kept; the parent still counts."""
    members = ",".join(f"k{i}=v" for i in range(40)).ljust(size, "x")
    request(serve(Api()), VOLUMES, headers={"traceparent": TRACEPARENT, "tracestate": members})
    (span,) = spans
    assert f"{span.parent.span_id:016x}" == REMOTE_SPAN
    assert not span.context.trace_state


@pytest.mark.parametrize(
    "members",
    [
        "garbage",
        "====,,,;;; , =",
        "a=b,=",
        "a=b=c",
        "a=b,a=c",
        "UPPER=case",
        "a=\x1b[2J",
        "a=\xe9\udcff",
        "a=" + "v" * 257,
        "k" * 257 + "=v",
        "t@" + "k" * 15 + "=v",
        ",".join(f"k{number}=v" for number in range(33)),
        "x" * 513,
        "x" * 100_000,
        "a=b,password = hunter2",
    ],
    ids=lambda members: repr(members)[:30],
)
def test_malformed_tracestate_is_dropped_in_silence(
    spans: Recorder, serve: Serve, caplog: pytest.LogCaptureFixture, members: str
) -> None:
    """A malformed tracestate counts as absent, and cannot write to cinder-api's log."""
    environ = {"HTTP_TRACEPARENT": TRACEPARENT, "HTTP_TRACESTATE": members}
    list(call(serve(responds("200 OK", [b""])), **environ))
    (span,) = spans
    assert f"{span.parent.span_id:016x}" == REMOTE_SPAN
    assert not span.context.trace_state
    assert not caplog.records


@pytest.mark.parametrize("size", [513, 8192, 100_000])
def test_oversized_traceparent_is_dropped_in_silence(
    spans: Recorder, serve: Serve, caplog: pytest.LogCaptureFixture, size: int
) -> None:
    """So does an oversized traceparent."""
    list(call(serve(responds("200 OK", [b""])), HTTP_TRACEPARENT=TRACEPARENT.ljust(size, "-")))
    (span,) = spans
    assert span.parent is None
    assert not caplog.records


def test_our_own_member_is_not_believed(spans: Recorder, serve: Serve) -> None:
    """Our own member in a client's tracestate is dropped; other members travel on."""
    state = f"otelcinder={REMOTE_SPAN}:1:f, a=b ,\tc=d"
    request(serve(Api()), VOLUMES, headers={"traceparent": TRACEPARENT, "tracestate": state})
    (span,) = spans
    assert dict(span.context.trace_state) == {"a": "b", "c": "d"}


@pytest.mark.complains
def test_propagator_that_raises(
    spans: Recorder, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a propagator fails on a client's headers, the request only loses its parent."""

    def broken(*_args: Any, **_kwargs: Any) -> Any:
        raise ValueError("no context today")

    app = serve(Api())
    monkeypatch.setattr("opentelemetry.propagate.extract", broken)
    assert request(app, VOLUMES, headers={"traceparent": TRACEPARENT}).status_int == 200
    (span,) = spans
    assert span.parent is None


def test_strangers_make_no_noise(
    spans: Recorder, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """Any headers of a client: one span, small and exportable, and no line in the log."""
    app = serve(Api())
    chance = random.Random(34)
    for number in range(1500):
        spans.clear()
        environ = {key: _odd(chance) for key in _STRANGERS if chance.random() < 0.5}
        environ.setdefault("PATH_INFO", "/")
        list(call(app, **environ))
        (span,) = spans
        assert len(span.name) <= 64, number
        for key, value in span.attributes.items():
            assert len(str(value)) <= 1024, (number, key)
            assert isinstance(value, str) or 0 <= value < 2**16, (number, key)
            str(value).encode()
    assert not caplog.records


_STRANGERS = (
    "HTTP_HOST",
    "HTTP_USER_AGENT",
    "HTTP_TRACEPARENT",
    "HTTP_TRACESTATE",
    "HTTP_BAGGAGE",
    "HTTP_X_AUTH_TOKEN",
    "HTTP_AUTHORIZATION",
    "PATH_INFO",
    "QUERY_STRING",
    "REMOTE_ADDR",
    "REMOTE_PORT",
    "REQUEST_METHOD",
    "SERVER_PORT",
    "SERVER_PROTOCOL",
    "wsgi.url_scheme",
)


def _odd(chance: random.Random) -> str:
    """A value of a request that a client may have invented."""
    alphabet = chance.choice(
        ("ab/:@[]%=,.-_ 019", "\x00\r\n\t\x1b\x7f", "\xe9\xff²٣", "\udcff\ud800")
    )
    value = "".join(chance.choices(alphabet, k=chance.choice((0, 1, 5, 50, 600, 5000))))
    before = ("", "GET ", "u:p@h:", "http", "HTTP/", "/v3/", "a=", TRACEPARENT, "9" * 30, "[::1]:")
    return chance.choice(before) + value


def test_user_in_the_host_is_no_address(spans: Recorder, serve: Serve) -> None:
    """A Host with a user and a password in it, as a proxy may pass it on, is the host's name."""
    call(serve(responds("200 OK", [b""])), HTTP_HOST="admin:hunter2@cinder.example:8776")
    (span,) = spans
    assert span.attributes["server.address"] == "cinder.example"
    assert "hunter2" not in span.to_json()


def test_requests_own_token_is_masked_in_its_path(spans: Recorder, serve: Serve) -> None:
    """The token that authenticates a request is masked by its value from the beginning."""
    token = "0c5e6d2a"
    app = serve(responds("200 OK", [b""]))
    call(app, f"/v3/{token}/volumes", HTTP_X_AUTH_TOKEN=token, HTTP_USER_AGENT=f"cli {token}")
    (span,) = spans
    assert token not in span.to_json()
    assert span.attributes["url.path"] == "/v3/***/volumes"


CAPTURED = "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_"


@pytest.fixture
def capturing(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator may have all headers recorded, without knowing their values."""
    monkeypatch.setenv(f"{CAPTURED}SERVER_REQUEST", ".*")
    monkeypatch.setenv(f"{CAPTURED}SERVER_RESPONSE", ".*")


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("Set-Cookie", "sid=Hunter2", "***"),
        ("X-Subject-Token", "Hunter2", "***"),
        ("X-Auth-Key", "Hunter2", "***"),
        ("Authorization", "Basic Hunter2", "***"),
        ("WWW-Authenticate", "Negotiate Hunter2", "***"),
        ("Proxy-Authenticate", 'Digest nonce="Hunter2"', "***"),
        ("Authentication-Info", 'rspauth="Hunter2"', "***"),
        ("Location", "http://u:Hunter2@h/a?token=Hunter2&b=Hunter2#Hunter2", "http://***@h/a?***"),
        ("Content-Location", "/a?code=Hunter2", "/a?***"),
        ("Link", '<http://h/a?marker=Hunter2>; rel="next"', '<http://h/a?***>; rel="next"'),
        ("Refresh", "5; url=http://h/a?Hunter2", "5; url=http://h/a?***"),
        ("X-Custom", "password=Hunter2", "password=***"),
        ("X-Custom", b"password=Hunter2", "b'password=***'"),
        ("X-Custom", "x" * 1000, "x" * 255 + "…"),
        ("X-Compute-Request-Id", "req-1", "req-1"),
        ("Content-Length", 3, "3"),
    ],
)
def test_captured_headers_are_masked(
    spans: Recorder, capturing: None, serve: Serve, name: str, value: Any, shown: str
) -> None:
    """A header of the response is masked by its name and by its text; the server gets it as it is."""
    seen: list[Any] = []

    def app(_environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [(name, value)])
        return [b""]

    serve(app)(webob.Request.blank("/").environ, lambda _status, headers: seen.extend(headers))
    assert seen[0] == (name, value)
    (span,) = spans
    key = f"http.response.header.{name.lower().replace('-', '_')}"
    assert span.attributes[key] == (shown,)
    assert "Hunter2" not in span.to_json()


def test_captured_headers_of_the_request_are_masked(
    spans: Recorder, capturing: None, serve: Serve
) -> None:
    """Only headers whose values the span has anyway can be captured, masked."""
    headers = {
        "User-Agent": "cli password=Hunter2",
        "traceparent": "password=Hunter2",
        "Cookie": "Hunter2",
        "X-Auth-Token": "Hunter2",
    }
    request(serve(Api()), VOLUMES, headers=headers)
    (span,) = spans
    assert span.attributes["http.request.header.user_agent"] == ("cli password=***",)
    assert "Hunter2" not in span.to_json()


def test_captured_headers_can_be_left_out_by_name(
    spans: Recorder, capturing: None, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The standard setting that names more headers to be kept back still holds."""
    monkeypatch.setenv(f"{CAPTURED}SANITIZE_FIELDS", "content-.*")
    request(serve(Api()), VOLUMES)
    (span,) = spans
    assert span.attributes["http.response.header.content_type"] == ("[REDACTED]",)


def test_baggage_and_tokens_are_never_seen(spans: Recorder, serve: Serve) -> None:
    """No header of the caller's, no query and no baggage is in a span or in the context."""
    seen: list[Any] = []

    def handle(_request: webob.Request) -> webob.Response:
        seen.append(baggage.get_all())
        return webob.Response("ok")

    request(
        serve(Api(handle)),
        VOLUMES + "?token=hunter2",
        headers={
            "baggage": "who=hunter2",
            "X-Auth-Token": "hunter2",
            "Cookie": "hunter2",
            "Authorization": "Basic hunter2",
            "X-Service-Token": "hunter2",
        },
    )
    assert seen == [{}]
    (span,) = spans
    assert "hunter2" not in span.to_json()


def test_application_gets_its_own_environment(spans: Recorder, serve: Serve) -> None:
    """The application sees the server's own dictionary, with tokens, and nothing added."""
    seen: list[Any] = []

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        seen.append((environ, set(environ)))
        start_response("200 OK", [])
        return [b""]

    environ = webob.Request.blank("/", headers={"X-Auth-Token": "t", "baggage": "a=b"}).environ
    keys = set(environ)
    serve(app)(environ, lambda *_args: None)
    assert seen[0][0] is environ
    assert seen[0][1] == keys


@pytest.fixture
def sampled(monkeypatch: pytest.MonkeyPatch, serve: Serve) -> Iterator[Callable[..., int]]:
    """Sends so many requests under a sampler that the environment names; how many were exported."""
    with Receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)

        def send(sampler: str, arg: str, count: int, headers: Any = None, **settings: Any) -> int:
            from otel_cinder.settings import Settings

            monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
            monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", arg)
            otel_cinder.instrument(settings=Settings(**settings))
            app = serve(Api())
            for _ in range(count):
                request(app, VOLUMES, headers=headers)
            assert runtime.flush(10)
            otel_cinder.uninstrument()
            return len(receiver.spans())

        yield send


@pytest.mark.parametrize("sampler", ["traceidratio", "parentbased_traceidratio"])
@pytest.mark.parametrize("trace_id", ["0" * 31 + "1", REMOTE_TRACE, "f" * 32])
def test_stranger_does_not_raise_the_rate(
    sampled: Callable[..., int], sampler: str, trace_id: str
) -> None:
    """At a ratio of 0.05, a sampled flag and a trace id of the caller's choice change nothing."""
    headers = {"traceparent": f"00-{trace_id}-{REMOTE_SPAN}-01"}
    # 500 draws at 0.05: 25 expected; fewer than 1 or more than 60 comes once in a million runs.
    assert 1 <= sampled(sampler, "0.05", 500, headers) <= 60


def test_trusted_stranger_decides(sampled: Callable[..., int]) -> None:
    """With OTEL_CINDER_TRUST_INBOUND the caller's sampled flag counts."""
    headers = {"traceparent": TRACEPARENT}
    assert sampled("parentbased_traceidratio", "0", 20, headers, trust_inbound=True) == 20


def test_unsampled_stranger_is_honoured(sampled: Callable[..., int]) -> None:
    """Under a parent-based sampler, a caller's sampled=0 keeps the trace from being recorded."""
    headers = {"traceparent": TRACEPARENT[:-1] + "0"}
    assert sampled("parentbased_always_on", "", 20, headers) == 0


def test_every_request_is_sampled_by_default(sampled: Callable[..., int]) -> None:
    """With always_on every request arrives."""
    assert sampled("parentbased_always_on", "", 20) == 20


def test_unsampled_request_makes_no_span(
    instrumented: Callable[..., Recorder], serve: Serve
) -> None:
    """With always_off the request is answered, nothing recorded, nothing left behind."""
    recorded = instrumented(ALWAYS_OFF)
    assert request(serve(Api()), VOLUMES).status_int == 200
    assert len(recorded) == 0
    assert context_is_clean()


# Quiet


@pytest.mark.parametrize("path", ["/healthcheck", "/healthcheck/"])
def test_healthcheck_is_quiet(spans: Recorder, serve: Serve, path: str) -> None:
    """A load balancer's question makes no span."""
    assert request(serve(Api()), path).status_int == 404
    assert len(spans) == 0


def test_periodic_setting_traces_the_healthcheck(
    instrumented: Callable[..., Recorder], serve: Serve
) -> None:
    """With OTEL_CINDER_PERIODIC it is traced like any other."""
    recorded = instrumented(periodic=True)
    request(serve(Api()), "/healthcheck")
    assert len(recorded) == 1


@pytest.mark.parametrize(
    "variable", ["OTEL_PYTHON_EXCLUDED_URLS", "OTEL_PYTHON_WSGI_EXCLUDED_URLS"]
)
def test_excluded_urls_are_quiet(
    instrumented: Callable[..., Recorder],
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
) -> None:
    """The standard variables exclude paths by regular expression."""
    monkeypatch.setenv(variable, "types/.*,quiet")
    recorded = instrumented()
    app = serve(Api())
    request(app, "/v3/p/types/1")
    request(app, VOLUMES)
    assert recorded.names == ["GET /v3/{project_id}/volumes"]


def test_yields_to_oslo_middlewares_own_tracing(
    spans: Recorder, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where oslo.middleware's tracing has its provider, our SERVER span is not made."""
    tracing = pytest.importorskip("oslo_middleware.tracing")
    app = serve(Api())
    monkeypatch.setattr(tracing, "_TRACER_PROVIDER", spans.provider)
    assert request(app, VOLUMES).status_int == 200
    assert len(spans) == 0


def test_passes_through_after_uninstrument(spans: Recorder, serve: Serve) -> None:
    """An application that was wrapped answers untraced once uninstrument() was called."""
    app = serve(Api())
    otel_cinder.uninstrument()
    assert request(app, VOLUMES).status_int == 200
    assert len(spans) == 0
    assert not isinstance(serve(Api()), seam.TracedApplication)


# Robustness


def test_wrapped_application_shows_its_attributes(spans: Recorder, serve: Serve) -> None:
    """The application's attributes are still readable for a server."""
    api = Api()
    app = serve(api)
    assert isinstance(app, seam.TracedApplication)
    assert app.requests is api.requests
    with pytest.raises(AttributeError):
        _ = app.no_such_thing


def test_wrapped_application_can_be_copied(spans: Recorder, serve: Serve) -> None:
    """A copy of it answers, and is traced."""
    app = serve(responds("200 OK", [b"ok"]))
    assert list(call(copy.copy(app))) == [b"ok"]
    assert len(spans) == 1
    with pytest.raises(AttributeError):
        _ = seam.TracedApplication.__new__(seam.TracedApplication).anything


@pytest.mark.parametrize(
    "environ",
    [
        {"SERVER_PORT": ""},
        {"SERVER_PORT": "/run/uwsgi.sock"},
        {"SERVER_PROTOCOL": ""},
        {"HTTP_HOST": ""},
        {"REMOTE_ADDR": "", "REMOTE_PORT": "12"},
        {"REQUEST_METHOD": "BREW"},
        {"HTTP_HOST": "[::1]:8776"},
    ],
    ids=lambda environ: next(iter(environ)),
)
def test_odd_environments_are_served(
    spans: Recorder, serve: Serve, environ: dict[str, str]
) -> None:
    """Values of uWSGI on a unix socket and of odd clients break neither the request nor the span."""
    assert list(call(serve(responds("200 OK", [b"ok"])), **environ)) == [b"ok"]
    assert len(spans) == 1


@pytest.mark.complains
def test_broken_provider_does_not_hurt_the_request(
    spans: Recorder, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If our own code breaks before the application runs, it runs untraced, once."""
    api = Api()
    app = serve(api)

    def broken(*_args: Any, **_kwargs: Any) -> Any:
        raise RuntimeError("no span today")

    monkeypatch.setattr(seam.runtime, "start_span", broken)
    assert request(app, VOLUMES).status_int == 200
    assert len(api.requests) == 1
    assert context_is_clean()


@pytest.mark.complains
@pytest.mark.parametrize("streams", [False, True], ids=["at once", "streaming"])
def test_broken_context_does_not_hurt_the_request(
    spans: Recorder, serve: Serve, monkeypatch: pytest.MonkeyPatch, streams: bool
) -> None:
    """If nothing can be made current, the application is called all the same, once."""
    calls: list[Any] = []

    def app(_environ: Any, start_response: Any) -> Iterable[bytes]:
        calls.append(1)
        start_response("200 OK", [])
        return iter([b"part"]) if streams else [b"part"]

    attach = otel_context.attach

    def broken(context: otel_context.Context) -> Any:
        if trace.get_current_span(context).is_recording():
            raise RuntimeError("no context today")
        return attach(context)

    served = serve(app)
    with monkeypatch.context() as patched:
        patched.setattr(otel_context, "attach", broken)
        assert list(call(served)) == [b"part"]
    assert calls == [1]
    assert len(spans) == 1


@pytest.mark.complains
def test_broken_description_does_not_hurt_the_request(
    spans: Recorder, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If naming the request breaks, it is answered, and its span keeps its first name."""
    app = serve(Api())

    def broken(*_args: Any) -> Any:
        raise RuntimeError("no name today")

    monkeypatch.setattr(seam, "request_attributes", broken)
    assert request(app, VOLUMES).status_int == 200
    assert spans.names == ["GET"]


def test_stable_names_do_not_change_other_users_of_the_package(
    spans: Recorder, serve: Serve
) -> None:
    """Another WSGI middleware in the process keeps the semantic conventions it was set to."""
    from opentelemetry.instrumentation._semconv import (
        _OpenTelemetrySemanticConventionStability as Stability,
    )
    from opentelemetry.instrumentation._semconv import _OpenTelemetryStabilitySignalType as Signal

    Stability._initialize()
    before = Stability._OTEL_SEMCONV_STABILITY_SIGNAL_MAPPING.get(Signal.HTTP)
    serve(Api())
    after = Stability._OTEL_SEMCONV_STABILITY_SIGNAL_MAPPING.get(Signal.HTTP)
    assert json.dumps(str(after)) == json.dumps(str(before))


@pytest.mark.filterwarnings("ignore:Using class 'Server':DeprecationWarning")
@pytest.mark.parametrize("traced", [True, False], ids=["Cinder's application", "another"])
def test_idle_worker_reports(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, traced: bool
) -> None:
    """A worker exports metrics as soon as it listens, before its first request."""
    conf = cfg.ConfigOpts()
    conf.register_opts(wsgi._options.wsgi_opts)
    conf([])
    with Receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        otel_cinder.instrument()
        app = load(Api(), tmp_path) if traced else Api()
        server = wsgi.Server(conf, "osapi_volume", app, host="127.0.0.1", port=0)
        server.start()
        server.stop()
        server.wait()
        for end in (server.socket, server.dup_socket):
            end.close()
        otel_cinder.uninstrument()
        assert {point.service for point in receiver.metrics()} == (
            {"cinder-api"} if traced else set()
        )
        assert receiver.spans() == []
