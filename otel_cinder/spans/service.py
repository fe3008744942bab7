"""A service of Cinder's, as its spans, metrics and log records name it."""

from __future__ import annotations

from typing import Final, NamedTuple

from opentelemetry import context as otel_context

SERVICE: Final = otel_context.create_key("otel-cinder-service")
"""Context key: the `Service` at work, which owns the spans that are started there."""


class Service(NamedTuple):
    """Name and instance of a service: its ``service.name`` and ``service.instance.id``."""

    name: str
    instance: str = ""
