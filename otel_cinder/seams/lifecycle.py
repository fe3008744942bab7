"""Patches the start of a service, to log that it is traced, and its stop, to export first.

Not a seam that can be switched off. The places are oslo.service's, oslo.messaging's and Cinder's
own, in the order in which a process comes by them: the application under uWSGI, a launcher in
parents and in services of one process, an RPC or WSGI server in workers.

systemd sends SIGTERM to parent and workers at once (``KillMode=control-group``, its default), and
the parent passes its own on. oslo.service's handler gives each signal back to the kernel before it
begins to stop, so that a worker's second SIGTERM ends it there and then: before ``atexit``, and
before ``os._exit``. What was recorded by the first one has to be sent while the handlers are there.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from otel_cinder.cinder.services import API, service_of
from otel_cinder.export.native_thread import threads_are_green
from otel_cinder.patching.internal_errors import log_internal_error
from otel_cinder.patching.patch_set import PatchSet
from otel_cinder.spans.runtime import FLUSH_TIMEOUT, runtime
from otel_cinder.spans.service import Service

_RUNTIME: Final = "runtime"

_API: Final = Service(API)

_POLL_S: Final = 0.01

_GRACE_S: Final = 60.0
"""oslo.service's default of ``graceful_shutdown_timeout``."""


def patch(patches: PatchSet) -> None:
    """Patch the places where services start and stop."""
    for target, wrapper in (
        ("cinder.wsgi.wsgi:initialize_application", _after_application),
        ("oslo_service.service:ProcessLauncher.wait", _before_waiting),
        ("oslo_service.service:ServiceLauncher.wait", _before_waiting),
        ("oslo_service.wsgi:Server.start", _after_wsgi_server),
        ("oslo_messaging.server:MessageHandlingServer.start", _after_rpc_server),
        ("oslo_service.service:SignalHandler._handle_signal_cb", _Stop().handle_signal),
    ):
        patches.wrap(_RUNTIME, target, wrapper)


def _before_waiting(
    wrapped: Callable[..., Any], _launcher: Any, args: tuple[Any, ...], kwargs: Any
) -> Any:
    """A parent, whose workers have been forked; or a service that is a process alone."""
    runtime.announce(None)
    return wrapped(*args, **kwargs)


def _after_application(
    wrapped: Callable[..., Any], _instance: Any, args: tuple[Any, ...], kwargs: Any
) -> Any:
    """Under uWSGI. The process may be the master, which serves nothing and forks."""
    result = wrapped(*args, **kwargs)
    runtime.announce(_API)
    return result


def _after_wsgi_server(
    wrapped: Callable[..., Any], server: Any, args: tuple[Any, ...], kwargs: Any
) -> Any:
    """A server in a worker: of the API's application, as the http seam hands it out, or another."""
    result = wrapped(*args, **kwargs)
    try:
        if hasattr(type(server.app), "traced_service"):
            _serves(server.app.traced_service)
    except Exception as error:
        log_internal_error(_RUNTIME, error)
    return result


def _after_rpc_server(
    wrapped: Callable[..., Any], server: Any, args: tuple[Any, ...], kwargs: Any
) -> Any:
    result = wrapped(*args, **kwargs)
    try:
        endpoints = getattr(getattr(server, "dispatcher", None), "endpoints", ())
        topic = getattr(getattr(server, "_target", None), "topic", "")
        _serves(service_of(str(topic), list(endpoints)))
    except Exception as error:
        log_internal_error(_RUNTIME, error)
    return result


def _serves(service: Service | None) -> None:
    """Announce the service, and export its metrics from now on: its first work may come in days."""
    runtime.announce(service)
    try:
        if service is not None:
            runtime.begin(service)
    except Exception as error:
        log_internal_error(_RUNTIME, error)


class _Stop:
    """Exports before a service begins to stop, while its greenthreads go on."""

    def __init__(self) -> None:
        self._ended: threading.Event | None = None
        """While an export is under way: set at its end."""

    def handle_signal(
        self, wrapped: Callable[..., Any], _handler: Any, args: tuple[Any, ...], kwargs: Any
    ) -> Any:
        """Handle a signal, in a greenthread of its own; without eventlet it is the handler itself."""
        early = False
        try:
            if args[:1] == (signal.SIGTERM,) and threads_are_green():
                early = self._export()
        except Exception as error:
            log_internal_error(_RUNTIME, error)
        result = wrapped(*args, **kwargs)
        if early and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            # It has waited for an export, and would have ended the process by now.
            runtime.end()
            os.kill(os.getpid(), signal.SIGTERM)
        return result

    def _export(self) -> bool:
        """Export; for a signal that comes meanwhile, wait for that, and return True."""
        if self._ended is not None:
            _wait([self._ended], FLUSH_TIMEOUT)
            return True
        ended = self._ended = threading.Event()
        try:
            _wait(runtime.hurry(_grace()), min(FLUSH_TIMEOUT, runtime.patience))
        finally:
            self._ended = None
            ended.set()
        return False


def _grace() -> float:
    """Seconds that oslo.service waits for running work; its default of a minute if unknown."""
    conf = getattr(sys.modules.get("oslo_config.cfg"), "CONF", None)
    seconds = getattr(conf, "graceful_shutdown_timeout", None)
    return float(seconds) if isinstance(seconds, int) and seconds > 0 else _GRACE_S


def _wait(events: Sequence[Any], seconds: float) -> None:
    """Wait for ``events``, which a native thread sets, while other greenthreads run."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not all(event.is_set() for event in events):
        time.sleep(_POLL_S)
