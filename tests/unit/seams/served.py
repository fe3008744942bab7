"""Applications of many habits behind a real server, each bare at /bare/NAME and traced at /traced/NAME.

``python -m tests.unit.seams.served SERVER`` says the port that it listens on. uWSGI loads the module.
"""

from __future__ import annotations

import collections
import io
import json
import pathlib
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any

App = Callable[[dict[str, Any], Any], Any]

APPS: dict[str, App] = {}
_closed: collections.Counter[str] = collections.Counter()
_PLAIN = [("Content-Type", "text/plain")]


def _app(app: App) -> App:
    APPS[app.__name__] = app
    return app


class _Body:
    """Streams, and counts under a name how often it is closed."""

    def __init__(self, name: str, parts: Iterable[Any] = (b"one", b"two")) -> None:
        self.name = name
        self.parts = parts

    def __iter__(self) -> Iterator[Any]:
        return iter(self.parts)

    def close(self) -> None:
        _closed[self.name] += 1


class _Sized(_Body):
    def __len__(self) -> int:
        return 2

    def __iter__(self) -> Iterator[Any]:
        return iter([b"one", b"two"])


@_app
def whole(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [*_PLAIN, ("Content-Length", "3")])
    return [b"one"]


@_app
def several(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", list(_PLAIN))
    return [b"one", b"", b"two"]


@_app
def in_a_tuple(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", list(_PLAIN))
    return (b"one",)


@_app
def sized(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", list(_PLAIN))
    return _Sized(environ["name"])


@_app
def stream(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", list(_PLAIN))
    return _Body(environ["name"])


@_app
def iterator(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", list(_PLAIN))
    return map(bytes, [b"one", b"two"])


@_app
def late(environ: Any, start_response: Any) -> Any:
    start_response("202 Accepted", list(_PLAIN))
    yield b"one"
    yield b"two"


@_app
def at_once(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [*_PLAIN, ("Content-Length", "5")])
    return b"bytes"


@_app
def written(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", list(_PLAIN))(b"written")
    return [b"returned"]


@_app
def file(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [*_PLAIN, ("Content-Length", "10000")])
    opened = tempfile.TemporaryFile()
    opened.write(b"x" * 10_000)
    opened.seek(0)
    return environ.get("wsgi.file_wrapper", lambda plain: plain)(opened)


@_app
def file_in_memory(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [*_PLAIN, ("Content-Length", "10000")])
    return environ.get("wsgi.file_wrapper", lambda plain: plain)(io.BytesIO(b"x" * 10_000))


@_app
def nothing(environ: Any, start_response: Any) -> Any:
    start_response("204 No Content", [])
    return []


@_app
def nothing_streamed(environ: Any, start_response: Any) -> Any:
    start_response("304 Not Modified", [])
    return _Body(environ["name"], [])


@_app
def no_reason(environ: Any, start_response: Any) -> Any:
    start_response("200", [*_PLAIN, ("Content-Length", "3")])
    return [b"one"]


@_app
def status_of_bytes(environ: Any, start_response: Any) -> Any:
    start_response(b"200 OK", [*_PLAIN, ("Content-Length", "3")])
    return [b"one"]


@_app
def headers_in_a_tuple(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", (*_PLAIN, ("Content-Length", "3")))
    return [b"one"]


@_app
def headers_to_be_read_once(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", (header for header in [*_PLAIN, ("Content-Length", "3")]))
    return [b"one"]


@_app
def headers_of_bytes(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [(b"Content-Type", b"text/plain"), (b"Content-Length", b"3")])
    return [b"one"]


@_app
def starts_twice(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [*_PLAIN, ("Content-Length", "3")])
    try:
        raise ValueError("not so")
    except ValueError:
        start_response(
            "503 Service Unavailable", [*_PLAIN, ("Content-Length", "3")], sys.exc_info()
        )
    return [b"one"]


@_app
def never_starts(environ: Any, start_response: Any) -> Any:
    return [b"one"]


@_app
def none(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", list(_PLAIN))


@_app
def text(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [*_PLAIN, ("Content-Length", "3")])
    return ["one"]


@_app
def raises(environ: Any, start_response: Any) -> Any:
    raise ValueError("before the answer")


@_app
def raises_when_it_has_answered(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", list(_PLAIN))
    raise ValueError("behind the answer")


@_app
def raises_in_the_stream(environ: Any, start_response: Any) -> Any:
    def parts() -> Iterator[bytes]:
        yield b"x" * 100_000  # more than any server keeps back
        raise ValueError("in the midst")

    start_response("200 OK", list(_PLAIN))
    return _Body(environ["name"], parts())


@_app
def raises_for_its_iterator(environ: Any, start_response: Any) -> Any:
    class Fails(_Body):
        def __iter__(self) -> Iterator[Any]:
            raise ValueError("no iterator")

    start_response("200 OK", list(_PLAIN))
    return Fails(environ["name"])


@_app
def raises_when_closed(environ: Any, start_response: Any) -> Any:
    class Fails(_Body):
        def close(self) -> None:
            super().close()
            raise ValueError("can't close")

    start_response("200 OK", list(_PLAIN))
    return Fails(environ["name"])


@_app
def given_back_when_closed(environ: Any, start_response: Any) -> Any:
    views = [memoryview(bytearray(b"abc")), memoryview(bytearray(b"def"))]

    class Releases(_Body):
        def close(self) -> None:
            super().close()
            for view in views:
                view.release()

    start_response("200 OK", list(_PLAIN))
    return Releases(environ["name"], views)


@_app
def endless(environ: Any, start_response: Any) -> Any:
    def parts() -> Iterator[bytes]:
        while True:
            yield b"x" * 65_536

    start_response("200 OK", list(_PLAIN))
    return _Body(environ["name"], parts())


@_app
def closed(environ: Any, start_response: Any) -> Any:
    """How often the bodies were closed, by the way to the application."""
    counts = json.dumps(_closed).encode()
    start_response("200 OK", [("Content-Length", str(len(counts)))])
    return [counts]


def _named(environ: dict[str, Any], start_response: Any) -> Any:
    environ["name"] = environ["PATH_INFO"].strip("/")
    return APPS[environ["name"].partition("/")[2]](environ, start_response)


def _loaded() -> App:
    import otel_cinder
    from tests.unit.seams.applications import load

    otel_cinder.instrument()
    with tempfile.TemporaryDirectory() as folder:
        return load(_named, pathlib.Path(folder))


def application() -> App:
    """The WSGI application that the server calls."""
    traced = _loaded()

    def either(environ: dict[str, Any], start_response: Any) -> Any:
        app = traced if environ["PATH_INFO"].startswith("/traced/") else _named
        return app(environ, start_response)

    return either


def _wsgiref() -> None:
    import socketserver
    import wsgiref.simple_server as simple

    class Threaded(socketserver.ThreadingMixIn, simple.WSGIServer):
        daemon_threads = True

    with simple.make_server("127.0.0.1", 0, application(), Threaded) as server:
        print("port", server.server_port, flush=True)
        server.serve_forever()


def _waitress() -> None:
    import waitress

    server = waitress.create_server(application(), host="127.0.0.1", port=0)
    print("port", server.effective_port, flush=True)
    server.run()


def _eventlet() -> None:
    import eventlet
    import eventlet.wsgi

    listener = eventlet.listen(("127.0.0.1", 0))
    print("port", listener.getsockname()[1], flush=True)
    eventlet.wsgi.server(listener, application(), debug=False)


if "uwsgi" in sys.modules:
    uwsgi_application = application()

if __name__ == "__main__":
    {"wsgiref": _wsgiref, "waitress": _waitress, "eventlet": _eventlet}[sys.argv[1]]()
