"""A name for this process that no other living process of the same service has.

Two processes of one name overwrite each other's counters: workers that Cinder forks with one host,
replicas on one machine, two uWSGI on it. A process id would tell them apart, but each restart, and
each crash of a loop of crashes, would begin new series in Prometheus. So the lowest free number is
taken, as ports are: by a name in the kernel's own space of socket names, which it gives free
however the process ends.
"""

from __future__ import annotations

import _socket
import contextlib
import errno
import hashlib
import os
from typing import Final, NamedTuple

_MOST: Final = 1000
"""Processes of one name on one machine that get a number; more get their process id."""


class InstanceNames:
    """The names that this process has taken, until `release` or its end."""

    def __init__(self) -> None:
        self._taken: dict[tuple[str, str], _Taken] = {}

    def take(self, service: str, instance: str) -> str:
        """``instance``, or ``instance:2`` and so on where living processes have taken that.

        Args:
            service: the name of the service: each has its own instances.
        """
        key = (service, instance)
        taken = self._taken.get(key)
        if taken is None:
            mine = _take(service, instance)
            taken = self._taken.setdefault(key, mine)  # another thread may have been quicker
            if taken is not mine:
                mine.close()
        return taken.name

    def release(self) -> None:
        """Let go of all names. In a child: of its copies; they stay its parent's."""
        while self._taken:
            self._taken.popitem()[1].close()


class _Taken(NamedTuple):
    """A name, and the descriptor of the socket that holds it."""

    name: str
    descriptor: int = -1
    inode: int = -1

    def close(self) -> None:
        # A daemon may have closed all that it was born with: the number may be another file's now.
        with contextlib.suppress(OSError):
            if os.fstat(self.descriptor).st_ino == self.inode:
                os.close(self.descriptor)


def _take(service: str, instance: str) -> _Taken:
    try:
        # Not socket.socket, which eventlet patches. Nothing listens, so connecting is impossible.
        held = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    except (OSError, AttributeError):  # no such sockets here
        return _Taken(f"{instance}:{os.getpid()}")
    for number in range(1, _MOST):
        name = instance if number == 1 else f"{instance}:{number}"
        digest = hashlib.sha256(f"{service}\n{name}".encode()).hexdigest()
        try:
            held.bind(b"\0otel-cinder/" + digest[:32].encode())
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                continue
            break
        inode = os.fstat(held.fileno()).st_ino
        return _Taken(name, held.detach(), inode)
    held.close()
    return _Taken(f"{instance}:{os.getpid()}")
