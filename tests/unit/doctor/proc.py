"""A ``/proc`` of made-up processes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

BOOT = 1_700_000_000


class Proc:
    """A folder like ``/proc``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "stat").write_text(f"cpu 1 2 3\nbtime {BOOT}\n")
        (folder / "irq").mkdir()  # not a process

    def add(
        self,
        pid: int,
        argv: Sequence[object],
        environ: Mapping[str, str] | None = None,
        *,
        parent: int = 1,
        after_boot: float = 100,
        maps: str = "",
        sockets: Sequence[int] = (),
        root: str = "/",
    ) -> Path:
        """Add a process; without ``environ``, that can't be read."""
        folder = self.folder / str(pid)
        (folder / "fd").mkdir(parents=True)
        (folder / "net").mkdir()
        (folder / "cmdline").write_bytes(b"".join(os.fsencode(str(a)) + b"\0" for a in argv))
        ticks = int(after_boot * os.sysconf("SC_CLK_TCK"))
        (folder / "stat").write_text(f"{pid} (cinder ) v) S {parent} {'0 ' * 17}{ticks} 0 0\n")
        (folder / "status").write_text(
            f"Uid:\t0\t{os.geteuid()}\t0\t0\nGid:\t0\t{os.getegid()}\t0\t0\n"
        )
        (folder / "maps").write_text(maps)
        (folder / "root").symlink_to(root)
        (folder / "cwd").symlink_to(self.folder)
        (folder / "net" / "unix").write_text(
            "Num RefCount Protocol Flags Type St Inode Path\n"
            "00000000: 00000002 00000000 00000000 0001 01 4711 @otel-cinder/3ba6e09b\n"
            "00000000: 00000002 00000000 00000000 0001 01 4712 @else\n"
        )
        for number, inode in enumerate(sockets):
            (folder / "fd" / str(number)).symlink_to(f"socket:[{inode}]")
        if environ is None:
            (folder / "environ").mkdir()  # an error for root, too
        else:
            pairs = (f"{name}={value}\0" for name, value in environ.items())
            (folder / "environ").write_text("".join(pairs))
        return folder
