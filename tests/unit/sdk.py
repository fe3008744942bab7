"""Which parts of OpenTelemetry's SDK are there: the floors of our requirements lack some."""

from __future__ import annotations

import pytest
from opentelemetry import trace
from opentelemetry.sdk.version import __version__ as sdk_version

from otel_cinder.export import exporters

EXPORTS_LOGS = exporters._version(sdk_version) >= exporters._LOGS_SINCE

needs_log_export = pytest.mark.skipif(
    not EXPORTS_LOGS, reason=f"OpenTelemetry {sdk_version} cannot export log records"
)

needs_typing_extensions = pytest.mark.skipif(
    trace.deprecated.__module__.startswith("deprecated"),
    reason=f"OpenTelemetry {sdk_version} takes nothing new from typing-extensions",
)
