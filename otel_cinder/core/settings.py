"""The ``OTEL_CINDER_*`` settings, read once. The SDK reads the standard ``OTEL_*`` ones itself.

Imported at interpreter start, so with the standard library alone: what the settings mean stands in
`otel_cinder.core.conventions`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

_LOG = logging.getLogger(__name__)

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"", "0", "false", "no", "off"})

ENABLED = "OTEL_CINDER_ENABLED"
DISABLED_SEAMS = "OTEL_CINDER_DISABLED_SEAMS"
TRUST_INBOUND = "OTEL_CINDER_TRUST_INBOUND"
PERIODIC = "OTEL_CINDER_PERIODIC"

SEAMS = ("http", "flows", "rpc", "concurrency")


@dataclass(frozen=True)
class Settings:
    """What a process was told. A bad value is warned of once and its default used."""

    trust_inbound: bool = False
    periodic: bool = False
    disabled_seams: frozenset[str] = frozenset()

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Settings:
        """Read ``environ`` (``os.environ``, or a plain dict). Never raises."""
        return cls(
            trust_inbound=_flag(environ, TRUST_INBOUND),
            periodic=_flag(environ, PERIODIC),
            disabled_seams=_seams(environ, DISABLED_SEAMS),
        )


def enabled(environ: Mapping[str, str]) -> bool:
    """Whether ``OTEL_CINDER_ENABLED`` says yes; a value that is neither yes nor no means no."""
    return _flag(environ, ENABLED)


def _flag(environ: Mapping[str, str], name: str) -> bool:
    value = environ.get(name, "").strip().lower()
    if value in _TRUE:
        return True
    if value not in _FALSE:
        _LOG.warning(
            "%s=%r is neither true nor false, so it counts as false; set it to true or false.",
            name,
            value[:40],
        )
    return False


def _seams(environ: Mapping[str, str], name: str) -> frozenset[str]:
    named = {part.strip() for part in environ.get(name, "").split(",") if part.strip()}
    for unknown in sorted(named.difference(SEAMS)):
        _LOG.warning(
            "%s names the seam %r, which does not exist, so it is ignored; there are %s.",
            name,
            unknown[:40],
            ", ".join(SEAMS),
        )
    return frozenset(named.intersection(SEAMS))
