"""The test suites of Cinder and of the libraries that are patched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from otel_cinder.settings import SEAMS

_CINDER = "cinder.tests.unit"

_CINDER_SELECTED = tuple(
    f"{_CINDER}.{name}"
    for name in (
        "api.contrib.test_admin_actions",
        "api.contrib.test_backups",
        "api.contrib.test_volume_actions",
        "api.v3.test_attachments",
        "api.v3.test_groups",
        "api.v3.test_messages",
        "api.v3.test_volumes",
        "attachments",
        "backup.test_backup",
        "backup.test_backup_messages",
        "backup.test_chunkeddriver",
        "backup.test_rpcapi",
        "group",
        "image",
        "message",
        "objects.test_backup",
        "objects.test_base",
        "objects.test_cleanable",
        "objects.test_volume",
        "privsep",
        "scheduler",
        "test_cleanable_manager",
        "test_cmd",
        "test_image_utils",
        "test_manager",
        "test_rpc",
        "test_service",
        "test_utils",
        "test_volume_cleanup",
        "test_volume_utils",
        "volume.drivers.test_lvm_driver",
        "volume.drivers.test_gpfs",
        "volume.drivers.test_nfs",
        "volume.drivers.test_remotefs",
        "volume.flows",
        "volume.test_",
    )
)


_OSLO_LOG: dict[str, Any] = {
    "first": ("oslo_log.tests.unit", "oslo_messaging"),
    "processes": 1,
    "at_least": 180,
    "seams": frozenset({"logs", "concurrency"}),
}


@dataclass(frozen=True)
class Suite:
    """Where tests are, and what a run of them must have seen of tracing."""

    name: str
    package: str
    """The package that they are in: all modules ``test_*`` below it."""
    selected: tuple[str, ...] = ()
    """Beginnings of the modules' names that CI runs; empty: all."""
    without: tuple[str, ...] = ()
    """Parts of the names of those that need what is not here."""
    first: tuple[str, ...] = ()
    """Modules to import first, if the tests do not import one that starts tracing."""
    last: tuple[str, ...] = ()
    """Ends of the names of modules that leave something behind by which others fail, or hang."""
    processes: int = 2
    classes_apart: bool = False
    """True if one module's classes may run in several processes."""
    at_least: int = 1
    """So many tests must run, of those that CI runs."""
    seams: frozenset[str] = frozenset()
    """Those that must be on in each process."""
    spans: tuple[str, ...] = ()
    """Names of spans that must arrive."""
    complaints: frozenset[str] = frozenset()
    """Errors of our own that its tests bring about, which nothing of Cinder's does."""
    environment: Mapping[str, str] = field(default_factory=dict)

    def modules(self, *, whole: bool) -> list[str]:
        """The names of its modules, or of those that CI runs, the largest first; none imported."""
        files = {name: path for name, path in self._files() if whole or self._selects(name)}
        return sorted(files, key=lambda name: (-files[name].stat().st_size, name))

    def _files(self) -> list[tuple[str, Path]]:
        top, *below = self.package.split(".")
        spec = find_spec(top)
        roots = list(spec.submodule_search_locations or ()) if spec else []
        return [
            (".".join((top, *path.relative_to(root).with_suffix("").parts)), path)
            for root in roots
            for path in sorted(Path(root, *below).rglob("test_*.py"))
        ]

    def _selects(self, name: str) -> bool:
        if any(part in name for part in self.without):
            return False
        return not self.selected or name.startswith(self.selected)


_ALL_SEAMS = frozenset(SEAMS) - {"clients"}  # off by default

SUITES = (
    Suite(
        "cinder",
        _CINDER,
        _CINDER_SELECTED,
        at_least=2900,
        seams=_ALL_SEAMS,
        spans=(
            "volume_create_api",
            "volume_create_scheduler",
            "volume_create_manager",
            "revert CreateVolumeFromSpecTask",
            "cast cinder-scheduler/create_volume",
            "cinder-volume/initialize_connection",
            "FakeLoggingVolumeDriver.create_volume",
            "LVMVolumeDriver.manage_existing",
            "FakeBackupService.backup",
            "download image",
            "convert image",
            "upload image",
        ),
    ),
    Suite(
        "taskflow",
        "taskflow.tests",
        processes=3,
        classes_apart=True,  # two modules have most of what sleeps
        at_least=1300,
        seams=frozenset({"flows", "concurrency", "logs"}),
        spans=("flow-1", "task1", "revert task1", "retry r1", "revert retry r1"),
    ),
    Suite(
        "oslo.messaging",
        "oslo_messaging.tests",
        without=("functional",),  # they need brokers
        last=(".test_transport",),  # leaves a mock for stevedore's DriverManager
        at_least=1800,
        seams=frozenset({"rpc", "concurrency", "logs"}),
        spans=("cast t/ping", "process t/ping", "testtopic/ping"),
        # Messages that are texts, endpoints that are a mock.
        complaints=frozenset({"rpc: AttributeError", "runtime: TypeError"}),
    ),
    Suite("oslo.log", "oslo_log.tests", **_OSLO_LOG),
    Suite(
        "oslo.log under eventlet",
        "oslo_log.tests",
        environment={"OSLO_LOG_TEST_EVENTLET": "1"},
        **_OSLO_LOG,
    ),
)
