"""An OTLP receiver that can be told to fail, as collectors do."""

from __future__ import annotations

import threading

from otel_cinder.reading import receiver


class Receiver(receiver.Receiver):
    """Keeps what it accepts; answers with errors, or late, when told to."""

    def __init__(
        self, port: int = 0, forward_to: str | None = None, host: str = "127.0.0.1"
    ) -> None:
        super().__init__(port, forward_to, host)
        self._attempts = 0
        self._status = receiver.OK
        self._hang_seconds = 0.0
        self._path = ""
        self._stopping = threading.Event()

    def start(self) -> None:
        """Listen; does nothing when it already listens."""
        self._stopping.clear()
        super().start()

    def stop(self) -> None:
        """Close the port. Answers that hang are given up once forwarding is done."""
        super().stop()
        self._stopping.set()

    @property
    def attempts(self) -> int:
        """How many requests came in, whatever the answer was."""
        with self._changed:
            return self._attempts

    def clear(self) -> None:
        """Forget everything that arrived."""
        super().clear()
        with self._changed:
            self._attempts = 0

    def respond(self, status: int = receiver.OK, hang_seconds: float = 0, path: str = "") -> None:
        """Answer with this status from now on, after hanging for so long; all paths, or one alone.

        Only exports that are answered with 200 are kept, and only once they are answered.
        """
        with self._changed:
            self._status = status
            self._path = path
            self._hang_seconds = hang_seconds

    def admit(self, path: str) -> int | None:
        """Count a request, hang if told to; the status to answer with, None to hang up."""
        with self._changed:
            self._attempts += 1
            status, hang_seconds = self._status, self._hang_seconds
            if self._path not in ("", path):
                status, hang_seconds = receiver.OK, 0
            self._changed.notify_all()
        if hang_seconds and self._stopping.wait(hang_seconds):
            return None
        return status
