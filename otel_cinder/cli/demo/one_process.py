"""Cinder's API, scheduler and volume service in one process: `python -m … CONF CONF_DIR PORT`.

Runs in a child process of the demo, so that the demo's own stays quiet and can always end it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from otel_cinder.cli.demo.cinder_conf import runs_in_native_threads


def main(config_file: str, config_folder: str, port: int) -> None:
    """Serve until SIGTERM, then export what is left and leave."""
    choose = _native_threads if runs_in_native_threads() else _greenthreads
    choose()
    close = _start_cinder(config_file, config_folder, port)
    stopped: list[int] = []
    # Only from here on is there something to export; until then the signal ends the process.
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    while not stopped:
        time.sleep(0.1)  # which lets greenthreads run
    close()

    from otel_cinder.spans import runtime

    runtime.flush(timeout_s=5.0)
    # Periodic tasks of three services may be sleeping in threads. There is no need to wait for them.
    os._exit(0)


def _native_threads() -> None:
    # Read by Cinder's modules as they are imported.
    os.environ["OS_CINDER_DISABLE_EVENTLET_PATCHING"] = "1"

    import otel_cinder

    otel_cinder.instrument()

    # Cinder's order: the backend is chosen before anything else of it is imported.
    from cinder import monkey_patch

    monkey_patch.patch(backend="threading")


def _greenthreads() -> None:
    """Choose eventlet, which is all that Cinder knows below release 29."""
    import eventlet

    eventlet.monkey_patch()

    import otel_cinder

    otel_cinder.instrument()

    # Cinder's programs mend what eventlet leaves, as they are imported.
    import cinder.cmd.scheduler  # noqa: F401


def _start_cinder(config_file: str, config_folder: str, port: int) -> Callable[[], None]:
    # Imported for the options that it registers; after CONF has been parsed it is too late.
    import cinder.volume.volume_utils  # noqa: F401
    from cinder import coordination, objects, rpc, service, version
    from cinder.common import config, constants
    from cinder.db import migration
    from oslo_config import cfg
    from oslo_log import log
    from oslo_service import wsgi

    conf = cfg.CONF
    objects.register_all()
    conf(
        ["--config-file", config_file, "--config-dir", config_folder],
        project="cinder",
        version=version.version_string(),
    )
    log.setup(conf, "cinder")
    config.set_middleware_defaults()
    migration.db_sync()
    coordination.COORDINATOR.start()
    rpc.init(conf)
    # The volume service first: the scheduler asks it for its capabilities as soon as it starts.
    volume_services = [
        (constants.VOLUME_BINARY, f"{conf.host}@{backend}", backend)
        for backend in conf.enabled_backends
    ]
    for binary, host, backend in (
        *volume_services,
        (constants.SCHEDULER_BINARY, conf.host, None),
    ):
        service.Service.create(binary=binary, host=host, service_name=backend).start()
    return _serve(wsgi.Loader(conf).load_app("osapi_volume"), port)


def _serve(application: Any, port: int) -> Callable[[], None]:
    """Serve the API from now on; returns what ends it."""
    if runs_in_native_threads():
        import waitress

        server = waitress.create_server(application, host="127.0.0.1", port=port, threads=4)
        threading.Thread(target=server.run, name="cinder-api", daemon=True).start()
        close: Callable[[], None] = server.close
        return close

    from oslo_config import cfg
    from oslo_service import wsgi

    green = wsgi.Server(cfg.CONF, "osapi_volume", application, host="127.0.0.1", port=port)
    green.start()
    stop: Callable[[], None] = green.stop
    return stop


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
