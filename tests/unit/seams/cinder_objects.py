"""Cinder's own objects, flows and managers, and how spans describe their failures."""

from __future__ import annotations

import importlib
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import Span, StatusCode

from otel_cinder import conventions
from otel_cinder.spans import local_root
from otel_cinder.spans.local_root import LocalRoot
from tests.unit.recording import Recorder

ERROR = conventions.RESOURCE_ERROR_EVENT
PROJECT = "f1b4c6d0"


_MODULES = (
    "backup.manager",
    "context",
    "db.api",
    "exception",
    "message.api",
    "message.message_field",
    "scheduler.flows.create_volume",
    "scheduler.manager",
    "volume.flows.common",
    "volume.flows.manager.create_volume",
    "volume.manager",
)


def database(package: Any) -> Any:
    """Return the module in which Cinder looks its database's functions up.

    Below release 29 that is the package, which has copies of them.
    """
    return package.db if hasattr(package.db, "volume_update") else package.db.api


def make_schema() -> None:
    """Make the tables of Cinder's database."""
    # Below release 29 cinder.db.api passes everything on.
    place = "cinder.db" if find_spec("cinder.db.models") else "cinder.db.sqlalchemy"
    models = importlib.import_module(f"{place}.models")
    engine = importlib.import_module(f"{place}.api").get_engine()
    models.BASE.metadata.create_all(engine)


def imported() -> Any:
    """The parts of Cinder's package that the tests use."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import cinder.objects

        cinder.objects.register_all()  # first, as its services do
        for name in _MODULES:
            importlib.import_module(f"cinder.{name}")
    return cinder


class Cinder:
    """The context, database and objects of a service."""

    def __init__(self, cinder: Any) -> None:
        self.context = cinder.context.RequestContext("user", PROJECT, is_admin=True)
        self.exception = cinder.exception
        self.objects = cinder.objects
        self.flows = cinder.volume.flows
        self.field = cinder.message.message_field
        self.messages = cinder.message.api.API()
        self.db = database(cinder)
        self.scheduler = cinder.scheduler
        self.backup = cinder.backup
        self.volume_manager = cinder.volume.manager
        self.listed: list[Any] = []

    def volume(self, **fields: Any) -> Any:
        """A volume that is being created."""
        row = {"id": str(uuid.uuid4()), "volume_type_id": "t", "status": "creating", "size": 1}
        self.db.volume_create(self.context, {**row, "project_id": PROJECT, **fields})
        return self.objects.Volume.get_by_id(self.context, row["id"])

    def status(self, volume: Any) -> str:
        """The database's own values."""
        status: str = self.objects.Volume.get_by_id(self.context, volume.id).status
        return status


class Notifier:
    """Sends no notification."""

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        self.error = self.info = lambda *_: None


@contextmanager
def work(
    recorder: Recorder,
    name: str = "process",
    *,
    is_http: bool = False,
    method: str = "",
    **about: str,
) -> Iterator[Span]:
    """A message or a request in progress: its method, and the ids of its resources."""
    attributes = {f"cinder.{kind}.id": resource for kind, resource in about.items()}
    span = recorder.tracer.start_span(name, attributes={"rpc.method": method} if method else None)
    context = trace.set_span_in_context(
        span,
        local_root.enter(otel_context.get_current(), LocalRoot(span, attributes, is_http=is_http)),
    )
    token = otel_context.attach(context)
    try:
        yield span
    finally:
        otel_context.detach(token)
        span.end()


def events(span: ReadableSpan, name: str) -> list[dict[str, Any]]:
    """The attributes of each event of this name."""
    return [dict(event.attributes or {}) for event in span.events if event.name == name]


def told(span: ReadableSpan) -> list[tuple[Any, ...]]:
    """Type, status and class of each resource's failure."""
    return [
        (event["cinder.resource.type"], event["cinder.resource.status"], event["error.type"])
        for event in events(span, ERROR)
    ]


def untouched(recorder: Recorder) -> None:
    """Check that no span has a failure's event or attribute."""
    for span in recorder:
        assert not span.events
        assert span.status.status_code is StatusCode.UNSET
