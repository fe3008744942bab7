"""The drivers of the volume and backup services."""

from __future__ import annotations

from typing import Any, Final

from otel_cinder import redaction

QUIET_METHODS: Final = frozenset(
    {
        # They read or set a field, and are called during requests.
        "backup_use_temp_snapshot",
        "get_default_filter_function",
        "get_default_goodness_function",
        "get_filter_function",
        "get_goodness_function",
        "get_version",
        "local_path",
        "secure_file_operations_enabled",
        "set_execute",
        "set_initialized",
        "set_throttle",
        "snapshot_revert_use_temp_snapshot",
    }
)
"""Public methods of drivers that do no work of a backend's."""

_NO_BACKENDS: Final = frozenset({"", "DEFAULT", "backend_defaults"})
"""Sections of the configuration that are no backend's."""


def driver_of(manager: Any) -> tuple[type | None, Any]:
    """A manager's driver's class, and the driver: a backup manager makes one for each backup."""
    driver = getattr(manager, "driver", None)
    cls = type(driver) if driver is not None else getattr(manager, "service", None)
    return cls if isinstance(cls, type) else None, driver


def backend_of(driver: Any) -> str:
    """The name of a driver's backend, its section in cinder.conf; empty for a backup's driver.

    The manager gives the driver its own host: ``host@backend``, where there are several backends.
    """
    host = str(getattr(driver, "host", None) or "")
    section = getattr(getattr(driver, "configuration", None), "config_group", None)
    backend = host.partition("@")[2].partition("#")[0] or str(section or "")
    return "" if backend in _NO_BACKENDS else redaction.identifier(backend, 128)
