"""The options of `otel-cinder demo`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """The options of the command line; ``timeout`` is in seconds, ``size`` in GiB."""

    size: int = 1
    name: str = "demo"
    endpoint: str | None = None
    pipeline: bool = False
    jaeger: str | None = None
    grafana: str | None = None
    transport_url: str | None = None
    port: int = 0
    spans: Path | None = None
    svg: Path | None = None
    timeout: float = 120.0
    keep: bool = False
