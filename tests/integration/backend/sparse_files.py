"""A volume driver for the tests: sparse files, slow or failing as a test orders it to be.

An order is a file below `orders` in the service's state path, named for the backend and the
driver's method: `one.create_volume.slow` (or `block`, `pool`, `command`) holds seconds, and ends the
wait when it goes; `one.create_volume.fail` holds a message, with the name of one of Cinder's exceptions
in the line above it.
"""

import shutil
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cinder import exception
from cinder.image import image_utils
from cinder.volume import configuration, driver
from eventlet import patcher, tpool
from oslo_concurrency import processutils
from oslo_config import cfg

OPTIONS = [
    cfg.FloatOpt("sparse_capacity_gb", help="What the backend says it has; by default no bounds."),
]
cfg.CONF.register_opts(OPTIONS, group=configuration.SHARED_CONF_GROUP)

# So many bytes stand for a GiB: Cinder does not look, and what it copies is copied soon.
GIB = 1 << 24


# Seconds after which is looked whether a wait is still ordered.
TURN = 0.1


def sleep(seconds: float, order: Path) -> None:
    """Wait as Python does, under eventlet as a greenthread."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and order.exists():
        time.sleep(TURN)


def block(seconds: float, order: Path) -> None:
    """Wait as a library in C does, under eventlet with all greenthreads."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and order.exists():
        _unpatched("time").sleep(TURN)


def pool(seconds: float, order: Path) -> None:
    """Wait in a native thread of a pool."""
    if _unpatched("threading") is threading:
        with ThreadPoolExecutor(1) as executor:
            executor.submit(block, seconds, order).result()
    else:
        tpool.execute(block, seconds, order)


def command(_seconds: float, order: Path) -> None:
    """Wait for a program."""
    processutils.execute("sh", "-c", 'while [ -e "$0" ]; do sleep 0.1; done', order)


def _unpatched(module: str) -> Any:
    if patcher.is_monkey_patched("thread"):
        return patcher.original(module)
    return sys.modules[module]


WAITS = {"slow": sleep, "block": block, "pool": pool, "command": command}


class SparseFileDriver(driver.VolumeDriver):
    """Keep each volume and snapshot as a sparse file, each backend in a folder of its own."""

    VERSION = "1.0"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.configuration.append_config_values(OPTIONS)

    def do_setup(self, context: Any) -> None:
        """Make the folder for the files."""
        self._name = self.configuration.safe_get("volume_backend_name")
        self._orders = Path(cfg.CONF.state_path) / "orders"
        self._files = Path(cfg.CONF.state_path) / "volumes" / self._name
        self._files.mkdir(parents=True, exist_ok=True)

    def check_for_setup_error(self) -> None:
        """Nothing can be wrong with a folder that was just made."""

    def _update_volume_stats(self) -> None:
        capacity = self.configuration.safe_get("sparse_capacity_gb") or "infinite"
        self._stats = {
            "volume_backend_name": self._name,
            "vendor_name": "otel-cinder",
            "driver_version": self.VERSION,
            "storage_protocol": "file",
            "total_capacity_gb": capacity,
            "free_capacity_gb": capacity,
            "sparse_copy_volume": True,
        }

    def create_volume(self, volume: Any) -> None:
        """Make the file."""
        self._obey("create_volume")
        self._resize(self._path(volume), volume.size)

    def create_volume_from_snapshot(self, volume: Any, snapshot: Any) -> None:
        """Copy the snapshot's file."""
        self._obey("create_volume_from_snapshot")
        self._copy(self._path(snapshot), volume)

    def create_cloned_volume(self, volume: Any, src_vref: Any) -> None:
        """Copy the other volume's file."""
        self._obey("create_cloned_volume")
        self._copy(self._path(src_vref), volume)

    def copy_image_to_volume(
        self,
        context: Any,
        volume: Any,
        image_service: Any,
        image_id: str,
        disable_sparse: bool = False,
    ) -> None:
        """Download and convert the image into the file."""
        self._obey("copy_image_to_volume")
        image_utils.fetch_to_raw(
            context,
            image_service,
            image_id,
            self.local_path(volume),
            self.configuration.volume_dd_blocksize,
            size=volume.size,
            disable_sparse=disable_sparse,
        )

    def delete_volume(self, volume: Any) -> None:
        """Remove the file."""
        self._obey("delete_volume")
        self._path(volume).unlink(missing_ok=True)

    def extend_volume(self, volume: Any, new_size: int) -> None:
        """Make the file longer; the size is in GiB."""
        self._obey("extend_volume")
        self._resize(self._path(volume), new_size)

    def create_snapshot(self, snapshot: Any) -> None:
        """Copy the volume's file."""
        self._obey("create_snapshot")
        self._copy(self._path(snapshot.volume), snapshot)

    def delete_snapshot(self, snapshot: Any) -> None:
        """Remove the snapshot's file."""
        self._obey("delete_snapshot")
        self._path(snapshot).unlink(missing_ok=True)

    def retype(self, context: Any, volume: Any, new_type: Any, diff: Any, host: Any) -> bool:
        """Any type fits a file as long as it stays in this backend."""
        self._obey("retype")
        return volume.host == host["host"]

    def migrate_volume(self, context: Any, volume: Any, host: Any) -> tuple[bool, None]:
        """Leave the copying to Cinder."""
        self._obey("migrate_volume")
        return False, None

    def manage_existing_get_size(self, volume: Any, existing_ref: Any) -> int:
        """Return the size in GiB of the file that the reference names."""
        self._obey("manage_existing_get_size")
        return -(-(self._files / existing_ref["source-name"]).stat().st_size // GIB)

    def manage_existing(self, volume: Any, existing_ref: Any) -> None:
        """Give the file that the reference names the volume's name."""
        self._obey("manage_existing")
        (self._files / existing_ref["source-name"]).rename(self._path(volume))

    def unmanage(self, volume: Any) -> None:
        """Leave the file where it is."""
        self._obey("unmanage")

    def local_path(self, volume: Any) -> str:
        """Say where the file is."""
        return str(self._path(volume))

    def ensure_export(self, context: Any, volume: Any) -> None:
        """Nothing is exported."""
        self._obey("ensure_export")

    def create_export(self, context: Any, volume: Any, connector: Any) -> None:
        """Nothing is exported."""
        self._obey("create_export")

    def remove_export(self, context: Any, volume: Any) -> None:
        """Nothing is exported."""
        self._obey("remove_export")

    def initialize_connection(self, volume: Any, connector: Any) -> dict[str, Any]:
        """Say where the file is, for os-brick's local connector."""
        self._obey("initialize_connection")
        return {"driver_volume_type": "local", "data": {"device_path": self.local_path(volume)}}

    def terminate_connection(self, volume: Any, connector: Any, **_: Any) -> None:
        """Nothing was connected."""
        self._obey("terminate_connection")

    def freeze_backend(self, context: Any) -> bool:
        """There is nothing to freeze."""
        self._obey("freeze_backend")
        return True

    def thaw_backend(self, context: Any) -> bool:
        """There is nothing to thaw."""
        self._obey("thaw_backend")
        return True

    def _obey(self, method: str) -> None:
        for kind, wait in WAITS.items():
            order = self._orders / f"{self._name}.{method}.{kind}"
            if order.exists():
                wait(float(order.read_text()), order)
        fail = self._orders / f"{self._name}.{method}.fail"
        if fail.exists():
            name, _, message = fail.read_text().partition("\n")
            error = getattr(exception, name)
            raise error(data=message) if "Backend" in name else error(message=message)

    def _path(self, resource: Any) -> Path:
        return self._files / str(resource.name)

    def _resize(self, path: Path, size_gib: int) -> None:
        with path.open("ab") as file:
            file.truncate(size_gib * GIB)

    def _copy(self, source: Path, resource: Any) -> None:
        """Copy the length, and what little is in the first MiB."""
        with source.open("rb") as original, self._path(resource).open("wb") as copy:
            copy.write(original.read(1 << 20))
        size = getattr(resource, "volume_size", None) or resource.size
        self._resize(self._path(resource), size)
        shutil.copymode(source, self._path(resource))
