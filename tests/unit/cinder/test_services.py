"""Cinder's services."""

from __future__ import annotations

import socket
import sys
import types
from types import SimpleNamespace
from typing import Any

import pytest

from otel_cinder.cinder import services
from otel_cinder.spans.service import Service


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
    assert services.service_of(topic, [SimpleNamespace(host=host) for host in hosts]) == service


def test_endpoint_without_a_host() -> None:
    """Endpoints that have no host, like oslo.messaging's own, are passed over."""
    assert services.service_of("cinder-volume", [object()]) == Service("cinder-volume")


@pytest.mark.parametrize(
    ("method", "chatter"),
    [("report_state", True), ("publish_service_capabilities", True), ("create_volume", False)],
)
def test_chatter(method: str, chatter: bool) -> None:
    """Periodic messages between services are known by their method."""
    assert services.is_periodic(method) is chatter


def test_resource_attributes_without_a_service() -> None:
    """If the work names no service, the process's name is used."""
    attributes = services.resource_attributes(None)
    assert attributes["service.namespace"] == "cinder"
    assert attributes["service.instance.id"]


@pytest.mark.parametrize(
    ("argv0", "name"),
    [
        ("/usr/bin/cinder-volume", "cinder-volume"),
        ("/opt/stack/data/venv/bin/cinder-api", "cinder-api"),
        ("cinder-scheduler", "cinder-scheduler"),
        ("/x/cinder-backup.py", "cinder-backup"),
        ("/usr/bin/python3", "cinder"),
        ("", "cinder"),
        ("/usr/local/bin/pytest", "cinder"),
    ],
)
def test_process_is_named_by_its_script(
    monkeypatch: pytest.MonkeyPatch, argv0: str, name: str
) -> None:
    """Console scripts and cotyledon's workers are known by argv[0]."""
    monkeypatch.setattr(sys, "argv", [argv0])
    for module in ("uwsgi", "cinder.wsgi.api", "cinder.wsgi.wsgi"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    assert services.process_name() == name


@pytest.mark.parametrize("argv0", ["uwsgi", "/usr/bin/uwsgi", "cinder-wsgi", ""])
@pytest.mark.parametrize("served", ["uwsgi", "cinder.wsgi.api"])
def test_uwsgi_serves_the_api(monkeypatch: pytest.MonkeyPatch, argv0: str, served: str) -> None:
    """Under uWSGI, or any WSGI server that has loaded Cinder's entry point, it is cinder-api."""
    monkeypatch.setattr(sys, "argv", [argv0])
    monkeypatch.setitem(sys.modules, served, types.ModuleType(served))
    assert services.process_name() == "cinder-api"


def test_instance_under_uwsgi_is_the_workers_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """A respawned uWSGI worker keeps its instance."""
    uwsgi = types.ModuleType("uwsgi")
    uwsgi.worker_id = lambda: 3  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "uwsgi", uwsgi)
    assert services.worker_instance() == f"{socket.gethostname()}:worker-3"


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
    missing = {name for name in services._PERIODIC if f"{name}" not in source}
    assert missing <= {"report_state", "request_service_capabilities", "update_host_capabilities"}
