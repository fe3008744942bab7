"""LogQueue: exports log records, for users who want more than span events."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Sequence
from typing import Any, Final

from opentelemetry._logs import LogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from otel_cinder import conventions
from otel_cinder.export.delivery import Load
from otel_cinder.export.queues import SPARE_BYTES, ExportQueue, text_in
from otel_cinder.export.signals import LOGS
from otel_cinder.version import __version__

_SCOPE: Final = InstrumentationScope(conventions.SCOPE, __version__, conventions.SCHEMA_URL)


class LogQueue(ExportQueue[tuple[Any, LogRecord]]):
    """The queue of ``(service, record)``. For the other arguments see `ExportQueue`.

    Args:
        resource: the resource of a service.
    """

    def __init__(
        self,
        load_exporters: Sequence[Load],
        endpoint: str,
        resource: Callable[[Any], Resource],
        **sizes: Any,
    ) -> None:
        super().__init__(LOGS, load_exporters, endpoint, **sizes)
        self._resource = resource

    def put(self, item: tuple[Any, LogRecord], size: int = 0) -> None:
        """Queue a record. See `ExportQueue.put`."""
        super().put(item, size or self.bytes_of(item))

    def _load(self) -> None:
        super()._load()
        _readable()

    def bytes_of(self, item: tuple[Any, LogRecord]) -> int:
        """About how many bytes a record takes."""
        record = item[1]
        return SPARE_BYTES + text_in(record.body) + text_in(record.attributes)

    def request(self, batch: Sequence[tuple[Any, LogRecord]]) -> Any:
        """``batch`` as the SDK's readable records."""
        readable = _readable()
        return [readable(record, self._resource(service), _SCOPE) for service, record in batch]


@functools.cache
def _readable() -> Any:
    # Late: older SDKs have none, and export no logs.
    return importlib.import_module("opentelemetry.sdk._logs").ReadableLogRecord
