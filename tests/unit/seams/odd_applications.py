"""WSGI applications, within PEP 3333 and outside of it, made up at random; and servers for them.

Everything that an application and its server do to each other is written down, in order.
"""

from __future__ import annotations

import io
import random
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final
from wsgiref.util import FileWrapper

from greenlet import GreenletExit

App = Callable[[dict[str, Any], Any], Any]
Log = list[Any]
"""The calls and results, in order."""

_ERRORS: Final[tuple[Callable[[], BaseException], ...]] = (
    lambda: ValueError("password=hunter2"),
    lambda: OSError(32, "Broken pipe"),
    lambda: StopIteration("odd"),
    GeneratorExit,
    KeyboardInterrupt,
    lambda: SystemExit(3),
    GreenletExit,
    lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"),
    lambda: RecursionError("too deep"),
)

_STATUSES: Final = (
    "200 OK",
    "202 Accepted",
    "204 No Content",
    "304 Not Modified",
    "404 Not Found",
    "503 Service Unavailable",
    "100 Continue",
    "200",
    "200 ",
    "",
    " ",
    "abc",
    "abc password=hunter2",
    "20000000000000000000000 X",
    "-1 X",
    "²00 X",
    "200 \udcff",
    b"200 OK",
    b"\xff",
    b"",
    200,
    None,
)


class _List(list):  # type: ignore[type-arg]
    """A list, but not quite."""


_HEADERS: Final[tuple[Callable[[], Any], ...]] = (
    list,
    lambda: [("Content-Type", "text/plain"), ("Set-Cookie", "sid=hunter2")],
    lambda: [("Content-Length", "3")],
    lambda: [("Content-Length", 3)],
    lambda: (("Content-Type", "text/plain"),),
    lambda: _List([("Content-Type", "text/plain")]),
    lambda: (pair for pair in [("Content-Type", "text/plain")]),
    lambda: iter([("a", "b")]),
    {"a": "b"}.items,
    lambda: {"a": "b"},
    lambda: [["a", "b"]],
    lambda: [(b"a", b"b")],
    lambda: [("a", b"b"), ("a", "b")],
    lambda: [("a",)],
    lambda: [()],
    lambda: [("a", "b", "c")],
    lambda: [iter(("a", "b"))],
    lambda: [None],
    lambda: ["ab"],
    lambda: [(1, 2)],
    lambda: [("Location", "http://u:hunter2@h/?a=b")],
    lambda: None,
    lambda: "a: b",
)

_PARTS: Final[tuple[Any, ...]] = (b"one", b"", b"two", "text", None, 7, memoryview(b"three"))


class Body:
    """A body made of parts, whose every method may be missing or raise."""

    def __init__(self, log: Log, parts: list[Any], fails: dict[str, BaseException]) -> None:
        self._log = log
        self._parts = parts
        self._fails = fails

    def _do(self, what: str) -> None:
        self._log.append(f"body: {what}")
        if what in self._fails:
            raise self._fails[what]


class Iterates(Body):
    """Makes a new iterator each time."""

    def __iter__(self) -> Iterator[Any]:
        self._do("iter")
        return self._made()

    def _made(self) -> Iterator[Any]:
        for part in self._parts:
            self._do("part")
            yield part
        self._do("end")


class Advances(Body):
    """Is its own iterator."""

    def __iter__(self) -> Any:
        self._do("iter")
        return self

    def __next__(self) -> Any:
        self._do("part")
        if not self._parts:
            raise StopIteration
        return self._parts.pop(0)


class NoIterator(Body):
    """Its `__iter__` returns something that is no iterator."""

    def __iter__(self) -> Any:
        self._do("iter")
        return 5


class OldSequence(Body):
    """Iterates by the protocol of Python's first years."""

    def __getitem__(self, index: int) -> Any:
        self._do("part")
        return self._parts[index]


class _Closes:
    def close(self: Any) -> None:
        self._do("close")


class _Sized:
    def __len__(self: Any) -> int:
        self._do("len")
        return len(self._parts)


class _Reads:
    def read(self: Any, size: int = -1) -> bytes:
        self._do("read")
        return b""


class _Says:
    filelike = "said"

    def __getattr__(self, name: str) -> Any:
        if name == "app_iter":
            return "app_iter of the body"
        raise AttributeError(name)


class Released(Body):
    """Its parts live in a buffer that is given back when it is closed."""

    def __iter__(self) -> Iterator[Any]:
        self._views = [memoryview(bytearray(b"abc")) for _ in range(2)]
        yield from self._views

    def close(self) -> None:
        self._do("close")
        for view in self._views:
            view.release()


def application(seed: int, log: Log) -> App:
    """An application that does the same for the same seed, and writes down what it does."""
    chance = random.Random(seed)
    answers = [_answer(chance) for _ in range(chance.choice((1, 1, 1, 1, 1, 2, 0)))]
    late = chance.random() < 0.15
    fails = chance.choice(("before", "after")) if chance.random() < 0.15 else ""
    error = chance.choice(_ERRORS)()
    body = _body(chance, log)

    def answer(start_response: Any) -> None:
        for answer in answers:
            answer(start_response, log)

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        log.append("app: called")
        if fails == "before":
            raise error
        answer(start_response)
        if fails == "after":
            raise error
        return body(environ)

    def generator(environ: dict[str, Any], start_response: Any) -> Iterator[Any]:
        log.append("app: begun")
        try:
            if fails == "before":
                raise error
            answer(start_response)
            yield b"first"
            if fails == "after":
                raise error
            parts = body(environ)
            yield from (parts if isinstance(parts, Iterable) else ())
        finally:
            log.append("app: ended")

    return generator if late else app


def _answer(chance: random.Random) -> Callable[[Any, Log], None]:
    status, headers = chance.choice(_STATUSES), chance.choice(_HEADERS)
    if chance.random() < 0.5:
        status, headers = _STATUSES[0], _HEADERS[1]
    form = chance.choice(("", "", "", "", "exc_info", "none", "keywords", "too few", "too many"))
    writes = chance.random() < 0.1

    def answer(start_response: Any, log: Log) -> None:
        if form == "exc_info":
            try:
                raise LookupError("inside")
            except LookupError:
                write = start_response(status, headers(), sys.exc_info())
        elif form == "none":
            write = start_response(status, headers(), None)
        elif form == "keywords":
            write = start_response(status=status, headers=headers())
        elif form == "too few":
            write = start_response(status)
        elif form == "too many":
            write = start_response(status, headers(), None, "more")
        else:
            write = start_response(status, headers())
        if writes:
            log.append(f"app: write returned {write(b'written')!r}")

    return answer


def _body(chance: random.Random, log: Log) -> Callable[[dict[str, Any]], Any]:
    parts = [chance.choice(_PARTS[:4] if chance.random() < 0.8 else _PARTS) for _ in range(3)]
    parts = parts[: chance.choice((0, 1, 2, 3))]
    fails = {
        what: chance.choice(_ERRORS)()
        for what in ("iter", "part", "end", "close", "len", "read")
        if chance.random() < 0.08
    }
    plain: tuple[Callable[[dict[str, Any]], Any], ...] = (
        lambda _: list(parts),
        lambda _: tuple(parts),
        lambda _: _List(parts),
        lambda _: iter(list(parts)),
        lambda _: map(bytes, [b"a", b"b"]),
        lambda _: (part for part in parts),
        lambda _: b"bytes",
        lambda _: "text",
        lambda _: None,
        lambda _: 5,
        lambda _: {b"one": 1},
        lambda _: io.BytesIO(b"one\ntwo\n"),
        lambda environ: environ["wsgi.file_wrapper"](io.BytesIO(b"file")),
        lambda environ: environ["wsgi.file_wrapper"](Iterates(log, list(parts), fails)),
        lambda _: type,
        lambda _: Released(log, [], fails),
    )
    if chance.random() < 0.3:
        return chance.choice(plain)
    mixed = [
        mix
        for mix in (_Closes, _Sized, _Reads, _Says)
        if chance.random() < (0.7, 0.2)[mix is not _Closes]
    ]
    base = chance.choice((Iterates, Iterates, Advances, NoIterator, OldSequence))
    kind = type("Mixed", (*mixed, base), {})
    return lambda _: kind(log, list(parts), fails)


MANNERS: Final = (
    "whole",
    "whole",
    "asks for the length",
    "takes an iterator's iterator",
    "leaves early",
    "only closes",
    "closes twice",
    "never closes",
    "drops it",
    "has sent the headers",
)


class Server:
    """Calls an application in one of the manners of servers, and writes down what it sees.

    Exceptions are the header `traceresponse`, and that every body that is made while it is read can be
    closed, nothing of it may depend on whether the application is traced.
    """

    def __init__(self, log: Log, manner: str, wrapper: Any = FileWrapper) -> None:
        self._log = log
        self._manner = manner
        self._wrapper = wrapper

    def serve(self, app: App) -> None:
        environ = environment()
        if self._wrapper is not None:
            environ["wsgi.file_wrapper"] = self._wrapper
        result = self._try("call", lambda: app(environ, self._start_response))
        if result is _FAILED:
            return
        try:
            self._look(result)
            self._read(result)
        finally:
            self._close(result)

    def _start_response(self, *args: Any, **kwargs: Any) -> Any:
        status, headers, exc_info = _parameters(*args, **kwargs)
        self._log.append(("start_response", repr(status), _shown(headers), exc_info is not None))
        if exc_info and self._manner == "has sent the headers":
            raise exc_info[1].with_traceback(exc_info[2])
        return self._write

    def _write(self, data: Any) -> str:
        self._log.append(("write", data))
        return "written"

    def _look(self, result: Any) -> None:
        looks = ("__len__", "read", "filelike", "app_iter", "fileno", "no_such_attribute")
        self._log.append([name for name in looks if hasattr(result, name)])
        self._log.append(isinstance(result, FileWrapper))
        if self._manner == "asks for the length" and hasattr(result, "__len__"):
            self._try("len", lambda: len(result))
            self._try("all", lambda: [repr(part) for part in result])

    def _read(self, result: Any) -> None:
        if self._manner in ("only closes", "drops it"):
            return
        iterator = self._try("iter", lambda: iter(result), show=False)
        if iterator is _FAILED:
            return
        if self._manner == "takes an iterator's iterator":
            self._part(iterator)
            iterator = self._try("iter", lambda: iter(iterator), show=False)
            if iterator is _FAILED:
                return
        most = 1 if self._manner == "leaves early" else 20
        for _ in range(most):
            if self._part(iterator) is _FAILED:
                break

    def _part(self, iterator: Any) -> Any:
        return self._try("next", lambda: next(iterator))

    def _close(self, result: Any) -> None:
        if self._manner in ("never closes", "drops it"):
            return
        for _ in range(2 if self._manner == "closes twice" else 1):
            if hasattr(result, "close"):
                self._try("close", lambda: result.close() and None, show=False)

    def _try(self, what: str, act: Callable[[], Any], *, show: bool = True) -> Any:
        try:
            done = act()
        except BaseException as error:
            self._log.append(("server", what, type(error).__name__, repr(error.args)))
            return _FAILED
        if show and what != "call":
            shown = bytes(done) if isinstance(done, memoryview) else done
            self._log.append(("server", what, repr(shown)))
        return done


_FAILED: Final = object()


def _parameters(status: Any, headers: Any, exc_info: Any = None) -> tuple[Any, Any, Any]:
    return status, headers, exc_info


def _shown(headers: Any) -> tuple[str, Any]:
    """The type of the headers, and their values as a server reads them."""
    kind = type(headers).__name__
    try:
        said = [list(header) if hasattr(header, "__next__") else header for header in headers]
    except TypeError:
        return kind, repr(headers)
    ours = [
        header for header in said if isinstance(header, tuple) and header[:1] == ("traceresponse",)
    ]
    assert len(ours) <= 1
    return kind, repr([header for header in said if header not in ours])


def environment(**more: Any) -> dict[str, Any]:
    """The environ of an ordinary request, as a server makes it."""
    return {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/v3/aaaa-1111/volumes",
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "8776",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "localhost:8776",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": False,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        **more,
    }
