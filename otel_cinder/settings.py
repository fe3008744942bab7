"""The ``OTEL_CINDER_*`` settings, read once; `otel_cinder.export.exporters` reads the standard ones.

Imported at interpreter start, so with the standard library alone: the meaning of each is in
`otel_cinder.conventions`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from otel_cinder import notices

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"", "0", "false", "no", "off"})

ENABLED = "OTEL_CINDER_ENABLED"
DISABLED_SEAMS = "OTEL_CINDER_DISABLED_SEAMS"
TRUST_INBOUND = "OTEL_CINDER_TRUST_INBOUND"
PERIODIC = "OTEL_CINDER_PERIODIC"
TRACERESPONSE = "OTEL_CINDER_TRACERESPONSE"
LOG_LEVEL = "OTEL_CINDER_LOG_LEVEL"
RESULTS = "OTEL_CINDER_RESULTS"
CLIENTS = "OTEL_CINDER_CLIENTS"
TEXTS = "OTEL_CINDER_TEXTS"
STILL_RUNNING = "OTEL_CINDER_STILL_RUNNING"
MESSAGE_PARENT = "OTEL_CINDER_MESSAGE_PARENT"
QUERY_HEADERS = "OTEL_CINDER_QUERY_HEADERS"

DISABLED_INSTRUMENTATIONS: Final = "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"
"""A setting of OpenTelemetry's that can switch otel-cinder off, too."""

ALL_INSTRUMENTATIONS: Final = "*"

_PREFIX: Final = "OTEL_CINDER_"
_DAY_S: Final = 86_400

NAMES: Final[frozenset[str]] = frozenset(
    value for value in list(globals().values()) if str(value).startswith(_PREFIX)
) - {_PREFIX}
"""All of them: any other name with the prefix is a typing error."""

SEAMS = (
    "http",
    "flows",
    "rpc",
    "notifications",
    "concurrency",
    "handled",
    "scheduler",
    "driver",
    "commands",
    "images",
    "logs",
    "clients",
)

_LEVELS = {
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARNING": logging.WARNING,
    "ERROR": logging.ERROR,
    "CRITICAL": logging.CRITICAL,
    "OFF": logging.CRITICAL + 1,
}


@dataclass(frozen=True)
class Settings:
    """The settings of a process. A bad value causes one warning, and its default is used."""

    trust_inbound: bool = False
    periodic: bool = False
    disabled_seams: frozenset[str] = frozenset()
    traceresponse: bool = True
    log_level: int = logging.INFO
    """The number of ``logging``'s level; above CRITICAL for OFF."""
    result_values: bool = False
    clients: bool = False
    texts: bool = True
    """True to record free texts, with secrets masked; else only templates, classes and names."""
    still_running: float = 10.0
    """Seconds after which open spans are shown as still running; infinite for off."""
    under_cast: bool = False
    """True to make a message's handling a child of its cast; else of the sender's local root."""

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Settings:
        """Read ``environ`` (``os.environ``, or a plain dict). Never raises."""
        warn_of_unknown(environ)
        texts = _choice(environ, TEXTS, "masked", ("masked", "templates")) == "masked"
        return cls(
            trust_inbound=_flag(environ, TRUST_INBOUND),
            periodic=_flag(environ, PERIODIC),
            disabled_seams=_seams(environ, DISABLED_SEAMS),
            traceresponse=_flag(environ, TRACERESPONSE, default=True),
            log_level=_LEVELS[_choice(environ, LOG_LEVEL, "INFO", tuple(_LEVELS))],
            result_values=_choice(environ, RESULTS, "keys", ("keys", "values")) == "values"
            and texts,
            clients=_flag(environ, CLIENTS),
            texts=texts,
            still_running=_seconds(environ, STILL_RUNNING, 10.0),
            under_cast=_choice(environ, MESSAGE_PARENT, "local_root", ("local_root", "cast"))
            == "cast",
        )


def enabled(environ: Mapping[str, str]) -> bool:
    """True if ``OTEL_CINDER_ENABLED`` means yes; an unknown value means no."""
    return _flag(environ, ENABLED)


def disabled_instrumentations(environ: Mapping[str, str]) -> frozenset[str]:
    """The names in ``OTEL_PYTHON_DISABLED_INSTRUMENTATIONS``; ``*`` means all."""
    names = environ.get(DISABLED_INSTRUMENTATIONS, "").split(",")
    return frozenset(name.strip() for name in names) - {""}


def instrumentation_disabled(environ: Mapping[str, str]) -> bool:
    """True if ``OTEL_PYTHON_DISABLED_INSTRUMENTATIONS`` names otel-cinder, or all."""
    disabled = disabled_instrumentations(environ)
    return not disabled.isdisjoint({"otel_cinder", ALL_INSTRUMENTATIONS})


def warn_of_unknown(environ: Mapping[str, str]) -> None:
    """Warn of each unknown ``OTEL_CINDER_*`` variable, and suggest the nearest setting."""
    for name in sorted(name for name in environ if name.startswith(_PREFIX)):
        if name not in NAMES:
            notices.warn(
                "Correct the name of %s%s: otel-cinder has no such setting, so it has no effect.%s",
                name[:80],
                _nearest(name),
                ""
                if ENABLED in environ
                else f" Tracing is off: set {ENABLED}=true to switch it on.",
            )


def _nearest(name: str) -> str:
    import difflib  # late: it is slow, and rarely needed

    known = {setting.removeprefix(_PREFIX): setting for setting in NAMES}
    matches = difflib.get_close_matches(name.removeprefix(_PREFIX).upper(), known, 1)
    if matches:
        return f", probably to {known[matches[0]]}"
    return f" (there are {', '.join(sorted(NAMES))})"


def _flag(environ: Mapping[str, str], name: str, *, default: bool = False) -> bool:
    value = environ.get(name, "").strip().lower()
    if value in _TRUE:
        return True
    if value in _FALSE:
        return default if not value else False
    notices.warn(
        "Set %s to true or false: %r is neither, so it counts as %s.",
        name,
        value[:40],
        str(default).lower(),
    )
    return default


def _choice(environ: Mapping[str, str], name: str, default: str, known: tuple[str, ...]) -> str:
    value = environ.get(name, "").strip()
    if not value:
        return default
    for choice in known:
        if value.lower() == choice.lower():
            return choice
    notices.warn(
        "Set %s to one of %s: %r is unknown, so %s is used.",
        name,
        ", ".join(known),
        value[:40],
        default,
    )
    return default


def _seconds(environ: Mapping[str, str], name: str, default: float) -> float:
    """Positive seconds, at most a day; infinite for a word that means no."""
    value = environ.get(name, "").strip().lower()
    if not value:
        return default
    if value in _FALSE:
        return math.inf
    try:
        seconds = float(value)
        if 0 < seconds <= _DAY_S:
            return seconds
    except ValueError:
        pass
    notices.warn(
        "%s=%r is no number of seconds between 0 and %d, so %g is used; set it to one, or to off.",
        name,
        value[:40],
        _DAY_S,
        default,
    )
    return default


def _seams(environ: Mapping[str, str], name: str) -> frozenset[str]:
    named = {part.strip() for part in environ.get(name, "").split(",") if part.strip()}
    for unknown in sorted(named.difference(SEAMS)):
        notices.warn(
            "Correct %s: there is no seam %r, so it is ignored. The seams are %s.",
            name,
            unknown[:40],
            ", ".join(SEAMS),
        )
    return frozenset(named.intersection(SEAMS))
