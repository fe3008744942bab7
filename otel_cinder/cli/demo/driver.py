"""A Cinder volume driver that needs no storage: each volume is a sparse file."""

# ruff: noqa: ARG002 (what a driver is given is the interface's to say)

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from cinder import interface
from cinder.volume import driver
from oslo_config import cfg

_GIB = 1024**3


@interface.volumedriver
class SparseFileDriver(driver.VolumeDriver):  # type: ignore[misc]
    """Keeps volumes as sparse files below Cinder's state path; nothing can be attached."""

    VERSION = "1.0.0"
    CI_WIKI_NAME = "none"

    def do_setup(self, context: Any) -> None:
        """Make the folder that the files go to."""
        self._folder = Path(cfg.CONF.state_path) / "volumes"
        self._folder.mkdir(parents=True, exist_ok=True)

    def check_for_setup_error(self) -> None:
        """Nothing can be wrong."""

    def _update_volume_stats(self) -> None:
        usage = shutil.disk_usage(self._folder)
        self._stats = {
            "volume_backend_name": self.configuration.safe_get("volume_backend_name"),
            "vendor_name": "otel-cinder",
            "driver_version": self.VERSION,
            "storage_protocol": "file",
            # Sparse files take no room, so that a demo on a full disk still finds a backend.
            "total_capacity_gb": max(1024.0, usage.total / _GIB),
            "free_capacity_gb": max(1024.0, usage.free / _GIB),
            "reserved_percentage": 0,
            "multiattach": False,
        }

    def create_volume(self, volume: Any) -> None:
        """Make a file of the volume's size that holds no blocks."""
        self._resize(volume, volume.size)

    def extend_volume(self, volume: Any, new_size: int) -> None:
        """Make the volume's file longer; ``new_size`` is in GiB."""
        self._resize(volume, new_size)

    def delete_volume(self, volume: Any) -> None:
        """Remove the volume's file, if there is one."""
        self._path(volume).unlink(missing_ok=True)

    def create_snapshot(self, snapshot: Any) -> None:
        """Copy the file's size; there is never anything in it."""
        self._resize(snapshot, snapshot.volume_size)

    def delete_snapshot(self, snapshot: Any) -> None:
        """Remove the snapshot's file, if there is one."""
        self._path(snapshot).unlink(missing_ok=True)

    def create_volume_from_snapshot(self, volume: Any, snapshot: Any) -> None:
        """Make a file as for any other volume: snapshots are empty too."""
        self._resize(volume, volume.size)

    def create_cloned_volume(self, volume: Any, src_vref: Any) -> None:
        """Make a file as for any other volume: its source is empty too."""
        self._resize(volume, volume.size)

    def ensure_export(self, context: Any, volume: Any) -> None:
        """Nothing is exported."""

    def create_export(self, context: Any, volume: Any, connector: Any) -> None:
        """Nothing is exported."""

    def remove_export(self, context: Any, volume: Any) -> None:
        """Nothing is exported."""

    def initialize_connection(self, volume: Any, connector: Any, **kwargs: Any) -> dict[str, Any]:
        """Say where the file is."""
        return {"driver_volume_type": "local", "data": {"device_path": str(self._path(volume))}}

    def terminate_connection(self, volume: Any, connector: Any, **kwargs: Any) -> None:
        """Nothing was connected."""

    def _path(self, resource: Any) -> Path:
        return self._folder / str(resource.name)

    def _resize(self, resource: Any, size_gib: int) -> None:
        with self._path(resource).open("ab") as file:
            file.truncate(size_gib * _GIB)
