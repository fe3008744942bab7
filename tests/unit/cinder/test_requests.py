"""Attributes of requests and messages."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace
from typing import Any

import pytest

from otel_cinder.cinder import requests


def test_message_attributes_leave_secrets_behind() -> None:
    """Of a message's context ids are taken, as text and cut short; tokens never."""
    assert requests.message_attributes(
        "cinder-volume",
        {
            "request_id": "req-1",
            "global_request_id": None,
            "project_id": None,
            "user_id": "u" * 500,
            "auth_token": "secret",
            "service_catalog": [{"a": 1}],
        },
        {"method": "anything"},
    ) == {"openstack.request_id": "req-1", "openstack.user_id": "u" * 127 + "…"}


def environ(route: Any = None, **more: Any) -> dict[str, Any]:
    environ = {"REQUEST_METHOD": "GET", "SCRIPT_NAME": "/v3", **more}
    if route is not None:
        environ["routes.route"] = SimpleNamespace(routepath=route)
    return environ


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
    span_name, attributes = requests.request_attributes(environ(route))
    assert span_name == name
    assert attributes["http.route"] == name.removeprefix("GET ")


@pytest.mark.parametrize("route", [None, 17])
def test_request_without_a_route_has_no_name(route: Any) -> None:
    """404s, and what keystone refused, have no name and still say who asked."""
    context = SimpleNamespace(request_id="req-1", user_id=None, project_id="")
    assert requests.request_attributes(environ(route, **{"cinder.context": context})) == (
        None,
        {"openstack.request_id": "req-1"},
    )


def action(body: Any, **more: Any) -> str | None:
    controller = SimpleNamespace(wsgi_actions={"os-extend": "_extend"})
    found = {
        **environ("/{project_id}/volumes/{id}/action"),
        "wsgiorg.routing_args": ((), {"action": "action", "controller": controller}),
        "webob.is_body_seekable": True,
        "wsgi.input": body,
        **more,
    }
    return requests.request_attributes(found)[1].get("cinder.action")


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
    """With missing or odd values there is no action, and nothing is raised."""
    assert action(io.BytesIO(b'{"os-extend": {}}'), **more) is None


def said_of(route: str, routing: dict[str, Any], body: Any = None) -> dict[str, Any]:
    """The attributes of a request, without its route."""
    found = environ(route)
    found["wsgiorg.routing_args"] = ((), routing)
    if body is not None:
        found["wsgi.input"] = io.BytesIO(json.dumps(body).encode())
        found["webob.is_body_seekable"] = True
    attributes = requests.request_attributes(found)[1]
    del attributes["http.route"]
    return attributes


def test_attributes_of_a_create_request() -> None:
    """Size, type, zone and source of a new volume; of its name the length alone."""
    body = {"name": "payroll", "size": "7", "volume_type": "gold", "imageRef": "image-1"}
    body["availability_zone"] = "az-1"
    assert said_of("/{project_id}/volumes", {}, {"volume": body}) == {
        "cinder.volume.availability_zone": "az-1",
        "cinder.volume.name_length": 7,
        "cinder.volume.size": 7,
        "cinder.volume.source": "image",
        "cinder.volume.source_id": "image-1",
        "cinder.volume.type": "gold",
    }


@pytest.mark.parametrize(
    ("route", "routing", "body", "said"),
    [
        (
            "/{project_id}/volumes/{id}/action",
            {"id": "v-1"},
            {"os-extend": {"new_size": 9}},
            {"cinder.volume.id": "v-1", "cinder.volume.new_size": 9},
        ),
        (
            "/{project_id}/volumes/{volume_id}/metadata/{id}",
            {"volume_id": "v-1", "id": "a key"},
            None,
            {"cinder.volume.id": "v-1"},
        ),
        (
            "/{project_id}/volumes/{id}",
            {"id": "v-1"},
            {"volume": {"name": "other", "size": 3}},
            {"cinder.volume.id": "v-1"},
        ),
        (
            "/{project_id}/snapshots",
            {},
            {"snapshot": {"volume_id": "v-1", "name": "s"}},
            {"cinder.volume.id": "v-1"},
        ),
        (
            "/{project_id}/attachments",
            {},
            {"attachment": {"volume_uuid": "v-1", "connector": {"auth_password": "x"}}},
            {"cinder.volume.id": "v-1"},
        ),
        (
            "/{project_id}/group_snapshots",
            {},
            {"group_snapshot": {"group_id": "g-1", "name": "s"}},
            {"cinder.group.id": "g-1"},
        ),
        (
            "/{project_id}/group_snapshots/{id}",
            {"id": "s-1"},
            None,
            {"cinder.group_snapshot.id": "s-1"},
        ),
        ("/{project_id}/os-volume-manage", {}, {"volume": {"host": "h@b#p", "ref": {}}}, {}),
        ("/{project_id}/snapshots/{id}", {"id": "s-1"}, None, {"cinder.snapshot.id": "s-1"}),
        ("/{project_id}/backups/{id}", {"id": "b-1"}, [1], {"cinder.backup.id": "b-1"}),
        ("/{project_id}/types/{id}", {"id": "t-1"}, {"volume_type": 7}, {}),
    ],
)
def test_attributes_of_other_requests(
    route: str, routing: dict[str, Any], body: Any, said: dict[str, Any]
) -> None:
    """Ids are taken from the path and the body, and nothing else of the tenant's."""
    assert said_of(route, routing, body) == said


@pytest.mark.parametrize("size", [True, -1, 0, 1 << 40, None, [], "many", 1.5])
def test_sizes_that_are_none(size: Any) -> None:
    """Values that can't be a size, or can't be exported as a number, are left out."""
    attributes = said_of("/{project_id}/volumes", {}, {"volume": {"size": size}})
    assert attributes == {"cinder.volume.source": "blank"}


def an_object(**fields: Any) -> dict[str, Any]:
    """A versioned object as oslo.messaging sends it."""
    return {"versioned_object.name": "Any", "versioned_object.data": fields}


def of_message(topic: str, method: str, **args: Any) -> dict[str, Any]:
    return requests.message_attributes(topic, {}, {"method": method, "args": args})


def test_attributes_of_a_create_message() -> None:
    """The volume with its type's name, host and source, and the attempt, from the messages."""
    volume = an_object(
        id="v-1",
        size=2,
        display_name="payroll",
        availability_zone="nova",
        host="h@lvm#pool",
        provider_auth="CHAP user secret",
        volume_type_id="t-1",
        volume_type=an_object(name="gold"),
        snapshot_id="s-1",
    )
    attributes = of_message(
        "cinder-volume",
        "create_volume",
        volume=volume,
        snapshot_id="s-1",
        filter_properties={"retry": {"num_attempts": 2}},
    )
    assert attributes == {
        "cinder.schedule.attempt": 2,
        "cinder.volume.availability_zone": "nova",
        "cinder.volume.host": "h@lvm#pool",
        "cinder.volume.id": "v-1",
        "cinder.volume.name_length": 7,
        "cinder.volume.size": 2,
        "cinder.volume.source": "snapshot",
        "cinder.volume.source_id": "s-1",
        "cinder.volume.type": "gold",
    }


@pytest.mark.parametrize(
    ("topic", "filter_properties", "attempt"),
    [
        ("cinder-scheduler", {}, 1),
        ("cinder-scheduler", {"retry": {"num_attempts": 1}}, 2),
        ("cinder-volume", {"retry": {"num_attempts": 1}}, 1),
        ("cinder-volume", None, 1),
    ],
)
def test_attempts(topic: str, filter_properties: Any, attempt: int) -> None:
    """Cinder counts when it schedules, so the scheduler's message is one behind."""
    attributes = of_message(
        topic, "create_volume", volume=an_object(id="v"), filter_properties=filter_properties
    )
    assert attributes["cinder.schedule.attempt"] == attempt


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (
            {"snapshot": an_object(id="s-1", volume_id="v-1")},
            {"cinder.snapshot.id": "s-1", "cinder.volume.id": "v-1"},
        ),
        (
            {"backup": an_object(id="b-1", volume_id="v-1")},
            {"cinder.backup.id": "b-1", "cinder.volume.id": "v-1"},
        ),
        (
            {"volume": an_object(id="v-1"), "attachment_id": "a-1", "connector": {"ip": "1"}},
            {"cinder.attachment.id": "a-1", "cinder.volume.id": "v-1"},
        ),
        ({"group": an_object(id="g-1")}, {"cinder.group.id": "g-1"}),
        (
            {"group_snapshot": an_object(id="s", group_id="g-1")},
            {"cinder.group_snapshot.id": "s", "cinder.group.id": "g-1"},
        ),
        (
            {"vref": an_object(id="v-1", size=1), "attachment_id": "a-1"},
            {"cinder.attachment.id": "a-1", "cinder.volume.id": "v-1", "cinder.volume.size": 1},
        ),
        (
            {"volume_id": "v-1", "image_meta": {"id": "i-1", "name": "tenant's"}},
            {"cinder.image.id": "i-1", "cinder.volume.id": "v-1"},
        ),
        (
            {"volume": an_object(id="v-1", size=1), "new_size": 3},
            {"cinder.volume.id": "v-1", "cinder.volume.new_size": 3, "cinder.volume.size": 1},
        ),
        ({"volume": 7, "snapshot": [], "request_spec": None}, {}),
    ],
)
def test_attributes_of_other_messages(args: dict[str, Any], said: dict[str, Any]) -> None:
    """Each operation's objects are named by their ids; odd values are ignored."""
    assert of_message("cinder-volume", "anything", **args) == said
