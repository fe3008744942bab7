"""Cinder's services: their names, their instances and their periodic messages."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from otel_cinder import conventions
from otel_cinder.spans.service import Service

API: Final = "cinder-api"

SERVICES: Final = frozenset({API, "cinder-scheduler", "cinder-volume", "cinder-backup"})
"""Binaries, which are also the topics that their RPC servers listen on."""

_PERIODIC: Final = frozenset(
    {
        "notify_service_capabilities",
        "publish_service_capabilities",
        "report_state",
        "request_service_capabilities",
        "update_host_capabilities",
        "update_service_capabilities",
    }
)
"""RPC methods that the services send each other periodically, without a request."""


def resource_attributes(service: Service | None) -> Mapping[str, str]:
    """``service.*`` of a service, or of this process if the service is unknown."""
    name, host = service or (process_name(), "")
    attributes = {
        conventions.SERVICE_NAME: name,
        conventions.SERVICE_NAMESPACE: "cinder",
        conventions.SERVICE_INSTANCE: _on_this_machine(host) if host else worker_instance(),
    }
    with contextlib.suppress(metadata.PackageNotFoundError):  # a source tree on the path
        attributes[conventions.SERVICE_VERSION] = metadata.version("cinder")
    return attributes


def process_name() -> str:
    """The service's name by the command that started this process.

    Console scripts and cotyledon's workers keep ``sys.argv[0]``; under uWSGI it is ``uwsgi``, which
    serves the API.
    """
    started_as = Path(sys.argv[0] if sys.argv else "").name
    if started_as.startswith("cinder-") and "wsgi" not in started_as:
        return started_as.removesuffix(".py")
    if any(name in sys.modules for name in ("uwsgi", "cinder.wsgi.api", "cinder.wsgi.wsgi")):
        return API
    return started_as if started_as.startswith("cinder") else "cinder"


def worker_instance() -> str:
    """Host name, and under uWSGI the worker's number, as in its log."""
    uwsgi = sys.modules.get("uwsgi")
    return socket.gethostname() + (f":worker-{uwsgi.worker_id()}" if uwsgi is not None else "")


def _on_this_machine(host: str) -> str:
    """A manager's host, with the machine added if the host does not name it: replicas share a ``host``."""
    machine = socket.gethostname()
    named = host.partition("@")[0]
    return host if f"{named}.".startswith(f"{machine}.") else f"{host}:{machine}"


def service_of(topic: str, endpoints: list[Any]) -> Service | None:
    """The service whose RPC server listens on ``topic``; None if it is not one of Cinder's.

    Its instance is named after the manager's host (``host@backend`` for a volume service), which is
    stable over restarts and differs between the backends of one host.
    """
    name = topic.partition(".")[0]
    if name not in SERVICES:
        return None
    host = next((h for h in (getattr(e, "host", None) for e in endpoints) if h), "")
    return Service(name, str(host))


_MANAGERS: Final = {
    "VolumeManager": "cinder-volume",
    "BackupManager": "cinder-backup",
    "SchedulerManager": "cinder-scheduler",
}


def service_of_manager(manager: Any) -> Service | None:
    """The service whose manager this is, as `service_of` finds it; None if it is no such manager."""
    names = (_MANAGERS.get(cls.__name__) for cls in type(manager).__mro__)
    name = next(filter(None, names), "")
    return service_of(name, [manager])


def is_periodic(method: str) -> bool:
    """Return whether an RPC method is sent periodically, without a request."""
    return method in _PERIODIC
