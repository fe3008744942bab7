"""A volume driver that is slow, or fails once, for volumes whose name asks for that."""

from __future__ import annotations

import time
from typing import Any

from cinder import exception, interface

from otel_cinder.cli.demo.driver import SparseFileDriver

SLOW_S = 8
SECOND_S = 4
ROOM_GIB = 100
_failed: set[str] = set()
"""Volumes that have failed, on whichever backend: these run in one process."""


@interface.volumedriver
class ObedientDriver(SparseFileDriver):
    """Keeps volumes as sparse files; `slow` takes its time, `rescheduled` fails on its first backend."""

    def _update_volume_stats(self) -> None:
        super()._update_volume_stats()
        self._stats.update(total_capacity_gb=ROOM_GIB, free_capacity_gb=ROOM_GIB)

    def create_volume(self, volume: Any) -> None:
        """Make the volume's file."""
        if volume.display_name == "slow":
            time.sleep(SLOW_S)
        elif volume.display_name == "rescheduled" and volume.id in _failed:
            time.sleep(SECOND_S)  # so that the first attempt can be read
        elif volume.display_name == "rescheduled":
            _failed.add(volume.id)
            time.sleep(1)
            raise exception.VolumeBackendAPIException(data="the pool is read-only")
        super().create_volume(volume)
