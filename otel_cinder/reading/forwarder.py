"""Passes exports on to another OTLP/HTTP endpoint, as they came, without ever holding up their senders."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from otel_cinder.reading.endpoint import NOT_FOUND, TRACES, Export

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_TIMEOUT_S = 5.0
_PAUSE_S = 1.0
_TRIES: Final = 5
_PASSING: Final = frozenset({429, 502, 503, 504})
"""HTTP statuses after which the same may be sent again (OTLP/HTTP, "Retryable Response Codes")."""

_MOST_BYTES: Final = 64 << 20


class Forwarder:
    """Sends exports on, one after the other, in a thread of its own.

    At most 64 MiB wait; what is more drops the oldest. ``problem`` is called in that thread with a
    sentence for each export that could not be passed on, and ``well`` after one that could. That the
    other endpoint has no place for metrics or logs, as Jaeger, is no problem.
    """

    def __init__(
        self,
        url: str,
        problem: Callable[[str], None],
        well: Callable[[], None] = lambda: None,
        tries: int = _TRIES,
    ) -> None:
        self._url = url.rstrip("/")
        self._opener = _opener(url)
        self._problem = problem
        self._well = well
        self._tries = tries
        self._changed = threading.Condition()
        self._waiting: deque[Export] = deque()
        self._bytes = 0
        self._is_busy = False
        self._is_stopping = False
        self._thread: threading.Thread | None = None

    def pass_on(self, export: Export) -> None:
        """Take an export; returns at once."""
        dropped = 0
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="otlp-forward", daemon=True)
                self._thread.start()
            self._waiting.append(export)
            self._bytes += len(export.sent)
            while self._bytes > _MOST_BYTES and len(self._waiting) > 1:
                self._bytes -= len(self._waiting.popleft().sent)
                dropped += 1
            self._changed.notify_all()
        for _ in range(dropped):
            self._problem(f"{self._url}: slower than what arrives")

    def drain(self, timeout: float = _TIMEOUT_S + 1) -> bool:
        """Wait up to ``timeout`` seconds until nothing waits; say whether. No export is tried twice then."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
            done = self._changed.wait_for(lambda: not self._waiting and not self._is_busy, timeout)
            self._is_stopping = False
            return done

    def _run(self) -> None:
        while True:
            with self._changed:
                self._is_busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: bool(self._waiting))
                export = self._waiting.popleft()
                self._bytes -= len(export.sent)
                self._is_busy = True
            problem = self._send_persistently(export)
            if problem:
                self._problem(problem)
            else:
                self._well()

    def _send_persistently(self, export: Export) -> str:
        for attempt in range(1, self._tries + 1):
            problem, may_pass = self._send(export)
            if not problem or not may_pass or attempt == self._tries:
                break
            with self._changed:
                if self._changed.wait_for(lambda: self._is_stopping, _PAUSE_S):
                    break
        return problem

    def _send(self, export: Export) -> tuple[str, bool]:
        """What went wrong, if anything, and whether it may pass."""
        url = f"{self._url}{export.path}"
        try:
            request = urllib.request.Request(  # noqa: S310 - whoever runs this has named the URL
                url, data=export.sent, headers=dict(export.headers), method="POST"
            )
            with self._opener.open(request, timeout=_TIMEOUT_S) as response:
                response.read()
        except urllib.error.HTTPError as error:
            with error:
                code = error.code
            if export.path != TRACES and code == NOT_FOUND:
                return "", False
            return f"{url}: HTTP {code} {error.reason}", code in _PASSING
        except (OSError, ValueError) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            return f"{url}: {reason}", True
        return "", False


def _opener(url: str) -> urllib.request.OpenerDirector:
    """Return an opener that uses the caller's proxy, unless the URL is on this host."""
    if urlsplit(url).hostname in _LOOPBACK:
        return urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return urllib.request.build_opener()
