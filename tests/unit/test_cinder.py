"""What is known of Cinder's own objects."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pytest

from otel_cinder import cinder
from otel_cinder.core.runtime import Service


@pytest.mark.parametrize(
    ("topic", "hosts", "service"),
    [
        ("cinder-volume", ["h@lvm"], Service("cinder-volume", "h@lvm")),
        ("cinder-volume.h@lvm", [None, "h@lvm"], Service("cinder-volume", "h@lvm")),
        ("cinder-scheduler", [], Service("cinder-scheduler")),
        ("cinder-backup", ["h"], Service("cinder-backup", "h")),
        ("nova-compute", ["h"], None),
        ("", [], None),
    ],
)
def test_service_of_a_topic(topic: str, hosts: list[Any], service: Service | None) -> None:
    """Cinder's topics name its services; the manager's host is the instance."""
    assert cinder.service_of(topic, [SimpleNamespace(host=host) for host in hosts]) == service


def test_endpoint_without_a_host() -> None:
    """Endpoints that have no host, like oslo.messaging's own, are passed over."""
    assert cinder.service_of("cinder-volume", [object()]) == Service("cinder-volume")


@pytest.mark.parametrize(
    ("method", "chatter"),
    [("report_state", True), ("publish_service_capabilities", True), ("create_volume", False)],
)
def test_chatter(method: str, chatter: bool) -> None:
    """What the services send each other all day is known by its method."""
    assert cinder.is_chatter(method) is chatter


def test_message_attributes_leave_secrets_behind() -> None:
    """Of a message's context ids are taken, as text and cut short; tokens never."""
    assert cinder.message_attributes(
        {
            "request_id": "req-1",
            "global_request_id": None,
            "project_id": 7,
            "user_id": "u" * 500,
            "auth_token": "secret",
            "service_catalog": [{"a": 1}],
        }
    ) == {"openstack.request_id": "req-1", "openstack.user_id": "u" * 127 + "…"}


def environ(route: Any = None, **more: Any) -> dict[str, Any]:
    found = {"REQUEST_METHOD": "GET", "SCRIPT_NAME": "/v3", **more}
    if route is not None:
        found["routes.route"] = SimpleNamespace(routepath=route)
    return found


@pytest.mark.parametrize(
    ("route", "name"),
    [
        ("/{project_id:[0-9a-f\\-]+}/volumes", "GET /v3/{project_id}/volumes"),
        ("/{project_id:[0-9]{4}-x{2}}/volumes/{id}", "GET /v3/{project_id}/volumes/{id}"),
        ("{project_id}/volumes.{format}", "GET /v3/{project_id}/volumes"),
        ("/:(project_id)/types/:id", "GET /v3/{project_id}/types/{id}"),
        ("", "GET /v3/"),
    ],
)
def test_names_of_routes(route: str, name: str) -> None:
    """Every notation of routes becomes the same template."""
    found, attributes = cinder.request_name(environ(route))
    assert found == name
    assert attributes["http.route"] == name.removeprefix("GET ")


@pytest.mark.parametrize("route", [None, 17])
def test_request_without_a_route_has_no_name(route: Any) -> None:
    """404s, and what keystone refused, have no name and still say who asked."""
    context = SimpleNamespace(request_id="req-1", user_id=None, project_id="")
    assert cinder.request_name(environ(route, **{"cinder.context": context})) == (
        None,
        {"openstack.request_id": "req-1"},
    )


def action(body: Any, **more: Any) -> str | None:
    controller = SimpleNamespace(wsgi_actions={"os-extend": "_extend"})
    found = {
        "wsgiorg.routing_args": ((), {"action": "action", "controller": controller}),
        "webob.is_body_seekable": True,
        "wsgi.input": body,
        **more,
    }
    return cinder._action(found)


def test_action_is_read_and_the_body_left_where_it_was() -> None:
    """The action is the body's only key; the position in the body is kept."""
    body = io.BytesIO(b'{"os-extend": {}}')
    body.seek(5)
    assert action(body) == "os-extend"
    assert body.tell() == 5


@pytest.mark.parametrize(
    "more",
    [
        {"webob.is_body_seekable": False},
        {"wsgi.input": None},
        {"wsgiorg.routing_args": ((), {"action": "show"})},
        {"wsgiorg.routing_args": ((), {"action": "action"})},
        {"wsgiorg.routing_args": None},
        {"wsgiorg.routing_args": ()},
        {"wsgi.input": io.BytesIO(b'{"other": 1}')},
        {"wsgi.input": io.BytesIO(b"17")},
        {"wsgi.input": io.BytesIO(b'[["os-extend"]]')},
    ],
)
def test_no_action(more: dict[str, Any]) -> None:
    """Whatever is missing or odd, there is no action and nothing is raised."""
    assert action(io.BytesIO(b'{"os-extend": {}}'), **more) is None


def test_resource_attributes_without_a_service() -> None:
    """Where the work does not say which service it is, the process does."""
    found = cinder.resource_attributes(None)
    assert found["service.namespace"] == "cinder"
    assert found["service.instance.id"]


def test_names_are_those_of_the_installed_cinder() -> None:
    """The chatter that is listed exists in Cinder's RPC interfaces."""
    import pathlib
    from importlib import util

    spec = util.find_spec("cinder")
    if spec is None or spec.origin is None:
        pytest.skip("Cinder is not installed")
    folder = pathlib.Path(spec.origin).parent
    source = "".join(
        (folder / service / "rpcapi.py").read_text()
        for service in ("scheduler", "volume", "backup")
    )
    missing = {name for name in cinder._CHATTER if f"{name}" not in source}
    assert missing <= {"report_state", "request_service_capabilities", "update_host_capabilities"}
