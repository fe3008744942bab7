"""Settings, providers, sampler and resource: the same in this process and its forks."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from opentelemetry import metrics, trace
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.version import __version__ as sdk_version

from otel_cinder import conventions
from otel_cinder.export import exporters
from otel_cinder.patching.patch_set import PatchSet, Seam
from otel_cinder.settings import Settings
from otel_cinder.spans import sampling
from otel_cinder.spans.providers import Providers
from otel_cinder.spans.service import Service


class Configuration:
    """Combines the arguments of ``instrument()``, the environment and the host's own providers."""

    def __init__(self) -> None:
        self.settings = Settings()
        self.tracer_provider: trace.TracerProvider | None = None
        self.meter_provider: metrics.MeterProvider | None = None
        self.logs_exported = False
        """True if log records are exported."""
        self.providers = Providers()
        self.sampler, self.sampler_name = sampling.configured({})
        """The sampler for providers of our own, and its name in messages."""
        self.identify: Callable[[Service | None], Mapping[str, str]] = _unknown
        """Gives the resource attributes of a service; set by the instrumentor."""
        self._patches = PatchSet()

    def configure(
        self,
        settings: Settings,
        tracer_provider: trace.TracerProvider | None,
        meter_provider: metrics.MeterProvider | None,
        patches: PatchSet,
    ) -> None:
        """Take these settings and providers, and the rest from the environment and the host."""
        self.settings = settings
        self.tracer_provider = tracer_provider
        self.meter_provider = meter_provider
        exporters.check(os.environ)
        self.sampler, self.sampler_name = sampling.configured(os.environ)
        self.logs_exported = exporters.logs_are_wanted(os.environ)
        self.providers.watch(patches)
        self._patches = patches

    def forget(self) -> None:
        """Let go of the providers, and export no log records any more."""
        self.tracer_provider = self.meter_provider = None
        self.logs_exported = False

    def foreign_tracer_provider(self) -> trace.TracerProvider | None:
        """The provider of ``instrument()`` or of the host; None: ours makes the spans."""
        return self.tracer_provider or self.providers.tracer_provider()

    def foreign_meter_provider(self) -> metrics.MeterProvider | None:
        """The same for metrics."""
        return self.meter_provider or self.providers.meter_provider()

    def seams(self) -> list[Seam]:
        """The state of each patched place; empty once they have been put back."""
        return self._patches.status() if self._patches.enabled else []

    def resource(self, service: Service | None) -> Resource:
        """The resource of ``service``, which identifies the source of its spans.

        OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win: the operator has set them. Not
        ``Resource.create``: it runs a thread pool, and makes up an instance id at random.
        """
        return Resource(
            {
                conventions.SDK_LANGUAGE: "python",
                conventions.SDK_NAME: "opentelemetry",
                conventions.SDK_VERSION: sdk_version,
                **self.identify(service),
                **OTELResourceDetector().detect().attributes,
            },
            conventions.SCHEMA_URL,
        )


def _unknown(_service: Service | None) -> Mapping[str, str]:
    """The SDK's own name for a process that it does not know."""
    return {conventions.SERVICE_NAME: f"unknown_service:{Path(sys.argv[0] or 'python').name}"}
