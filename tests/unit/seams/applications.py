"""A WSGI application built like Cinder's API, and the door by which oslo.service loads one."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import routes
import routes.middleware
import webob
import webob.dec
from oslo_config import cfg
from oslo_service import wsgi

App = Callable[[dict[str, Any], Any], Iterable[bytes]]

_apps: dict[str, App] = {}

_PASTE = """
[app:osapi_volume]
paste.app_factory = tests.unit.seams.applications:factory
"""


def factory(_global: Any, **_local: Any) -> App:
    """The factory that the paste configuration names."""
    return _apps["osapi_volume"]


def load(app: App, folder: pathlib.Path) -> App:
    """Load ``app`` as cinder-api and its uWSGI entry point do: by oslo.service's Loader."""
    path = folder / "api-paste.ini"
    path.write_text(_PASTE)
    conf = cfg.ConfigOpts()
    conf.register_opts(wsgi._options.wsgi_opts)
    conf([])
    conf.set_override("api_paste_config", str(path))
    _apps["osapi_volume"] = app
    loaded: App = wsgi.Loader(conf).load_app("osapi_volume")
    return loaded


class Controller:
    """Has two actions; is callable like Cinder's resources, so that routes keeps it as it is."""

    wsgi_actions = {"os-extend": "_extend", "os-attach": "_attach"}  # noqa: RUF012

    def __call__(self) -> None:
        """Never called: the requests end in `Api.handle`."""


class Api:
    """Routes as Cinder does, by routes.Mapper in its middleware, below a prefix."""

    def __init__(self, handle: Callable[[webob.Request], Any] | None = None) -> None:
        self.handle = handle or (lambda _request: webob.Response("ok"))
        self.requests: list[webob.Request] = []
        mapper = routes.Mapper()
        mapper.redirect("", "/")
        volumes = "/{project_id:[0-9a-f\\-]+}/volumes"
        controller = Controller()
        mapper.connect("volumes", volumes, controller=controller, action="index")
        mapper.connect("volume", volumes + "/{id}", controller=controller, action="show")
        mapper.connect(
            "action",
            volumes + "/{id}/action",
            controller=controller,
            action="action",
            conditions={"method": ["POST"]},
        )
        mapper.connect("old", "/:(project_id)/types/:id", controller=controller, action="show")
        mapper.connect(
            "format", "/{project_id}/limits.:(format)", controller=controller, action="index"
        )
        self._app = routes.middleware.RoutesMiddleware(self._dispatch, mapper, singleton=False)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        # As paste's urlmap does with /v3.
        path = environ["PATH_INFO"]
        if path.startswith("/v3"):
            environ["SCRIPT_NAME"] = environ.get("SCRIPT_NAME", "") + "/v3"
            environ["PATH_INFO"] = path[3:]
        environ["cinder.context"] = SimpleNamespace(
            request_id="req-1",
            global_request_id=None,
            project_id="p1",
            user_id="u1",
            auth_token="gAAAAAB-token",
        )
        return self._app(environ, start_response)

    @webob.dec.wsgify
    def _dispatch(self, request: webob.Request) -> Any:
        self.requests.append(request)
        if request.environ["wsgiorg.routing_args"][1] == {}:
            return webob.Response(status=404)
        request.body
        return self.handle(request)
