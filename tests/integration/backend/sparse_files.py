"""A volume driver for the tests: sparse files, and as slow as a file named `slow` says."""

import time
from pathlib import Path
from typing import Any

from cinder.volume import driver
from oslo_config import cfg


class SparseFileDriver(driver.VolumeDriver):
    """Keep each volume as a sparse file below the service's state path."""

    VERSION = "1.0"

    def do_setup(self, context: Any) -> None:
        """Make the folder for the files."""
        self._state = Path(cfg.CONF.state_path)
        self._files.mkdir(parents=True, exist_ok=True)

    @property
    def _files(self) -> Path:
        return self._state / "volumes"

    def check_for_setup_error(self) -> None:
        """Nothing can be wrong with a folder that was just made."""

    def _update_volume_stats(self) -> None:
        self._stats = {
            "volume_backend_name": self.configuration.safe_get("volume_backend_name"),
            "vendor_name": "otel-cinder",
            "driver_version": self.VERSION,
            "storage_protocol": "file",
            "total_capacity_gb": "infinite",
            "free_capacity_gb": "infinite",
        }

    def create_volume(self, volume: Any) -> None:
        """Make the file, after as many seconds as the file `slow` says."""
        slow = self._state / "slow"
        if slow.exists():
            time.sleep(float(slow.read_text()))
        with (self._files / volume.name).open("wb") as file:
            file.truncate(volume.size << 30)

    def delete_volume(self, volume: Any) -> None:
        """Remove the file."""
        (self._files / volume.name).unlink(missing_ok=True)

    def ensure_export(self, context: Any, volume: Any) -> None:
        """Nothing is exported."""

    def create_export(self, context: Any, volume: Any, connector: Any) -> None:
        """Nothing is exported."""

    def remove_export(self, context: Any, volume: Any) -> None:
        """Nothing is exported."""

    def initialize_connection(self, volume: Any, connector: Any) -> dict[str, Any]:
        """Say where the file is."""
        path = str(self._files / volume.name)
        return {"driver_volume_type": "local", "data": {"device_path": path}}

    def terminate_connection(self, volume: Any, connector: Any, **_: Any) -> None:
        """Nothing was connected."""
