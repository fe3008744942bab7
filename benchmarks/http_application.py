"""A GET of the volumes, answered at once: all that Cinder leaves for the span, and no other work."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

App = Callable[[dict[str, Any], Any], Iterable[bytes]]

PROJECT = "c1de0000000000000000000000000001"
REQUEST = "req-3f2c1c0e-8d3a-4a5c-9f50-6a3a5e0d7c12"

_ROUTE = SimpleNamespace(routepath="/{project_id:[0-9a-f\\-]+}/volumes/detail")
_CONTEXT = SimpleNamespace(
    request_id=REQUEST,
    global_request_id=None,
    project_id=PROJECT,
    user_id="a11ce000000000000000000000000001",
)


_DEPTHS = itertools.cycle(range(120, 170))
"""Frames between the server and what answers: as many as Cinder's filters, router and controller have.

Each request takes another number, or it would be luck for whom a piece of the stack ends in a loop.
"""


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Answer as Cinder does: from deep down, with the environment as its router leaves it."""
    return _below(next(_DEPTHS), environ, start_response)


def _below(depth: int, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    if depth:
        return _below(depth - 1, environ, start_response)
    return _answer(environ, start_response)


def _answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    environ["SCRIPT_NAME"], environ["PATH_INFO"] = "/v3", environ["PATH_INFO"][3:]
    environ["cinder.context"] = _CONTEXT
    environ["routes.route"] = _ROUTE
    environ["wsgiorg.routing_args"] = (), {"project_id": PROJECT, "action": "detail"}
    headers = [
        ("OpenStack-API-Version", "volume 3.71"),
        ("Vary", "OpenStack-API-Version"),
        ("Content-Type", "application/json"),
        ("Content-Length", "2"),
        ("x-openstack-request-id", REQUEST),
    ]
    start_response("200 OK", headers)
    return [b"{}"]


def environ() -> dict[str, Any]:
    """The environ that eventlet makes for a client with a Fernet token."""
    return {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": f"/v3/{PROJECT}/volumes/detail",
        "RAW_PATH_INFO": f"/v3/{PROJECT}/volumes/detail",
        "QUERY_STRING": "",
        "CONTENT_TYPE": "text/plain",
        "SERVER_NAME": "10.0.0.5",
        "SERVER_PORT": "8776",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "GATEWAY_INTERFACE": "CGI/1.1",
        "REMOTE_ADDR": "10.0.0.9",
        "REMOTE_PORT": "40712",
        "HTTP_HOST": "cinder.example:8776",
        "HTTP_USER_AGENT": "python-cinderclient",
        "HTTP_ACCEPT": "application/json",
        "HTTP_ACCEPT_ENCODING": "gzip, deflate",
        "HTTP_CONNECTION": "keep-alive",
        "HTTP_OPENSTACK_API_VERSION": "volume 3.71",
        "HTTP_X_AUTH_TOKEN": "gAAAAABm" + "Xy0_" * 44,
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
    }


def start_response(_status: str, _headers: list[tuple[str, str]], _exc_info: Any = None) -> None:
    """The server's: takes what it is told."""
