"""How each of Cinder's services is configured, and whether it is traced."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Mode = Literal["eventlet", "threading", "uwsgi"]
MODES: tuple[Mode, ...] = ("eventlet", "threading", "uwsgi")
API, SCHEDULER, VOLUME = SERVICES = ("cinder-api", "cinder-scheduler", "cinder-volume")
BACKUP = "cinder-backup"
# Cinder takes for a project what looks like one: hexadecimal.
PROJECT = "c1de0000000000000000000000000001"
HOST = "node"
BACKEND = "one"
BACKEND_FOLDER = Path(__file__).parent / "backend"

# The short intervals make the periodic noise that must start no traces; and a scheduler that
# missed the first word about the pool hears the next one soon, which by default has to wait for a
# random part of a minute. With the default of 64 messages handled at once the scheduler's memory
# swings by 100 MiB, traced or not.
CONFIGURATION = """\
[DEFAULT]
auth_strategy = noauth_include_project_id
transport_url = {transport_url}
api_paste_config = {etc}/api-paste.ini
rootwrap_config = {folder}/rootwrap.conf
resource_query_filters_file = {etc}/resource_filters.json
state_path = {folder}
host = {host}
osapi_volume_listen = 127.0.0.1
osapi_volume_listen_port = {port}
osapi_volume_workers = 2
enabled_backends = {backends}
scheduler_driver_init_wait_time = 5
executor_thread_pool_size = 8
report_interval = 2
periodic_interval = 3
periodic_fuzzy_delay = 0
backend_stats_polling_interval = 3
default_volume_type = __DEFAULT__
{options}
[database]
connection = {connection}
[oslo_concurrency]
lock_path = {folder}/lock
[coordination]
backend_url = file://{folder}
[privsep_osbrick]
helper_command = sudo {bin}/privsep-helper --config-file {folder}/cinder.conf
"""

# One for each backend.
BACKEND_CONFIGURATION = """\
[{backend}]
volume_driver = sparse_files.SparseFileDriver
volume_backend_name = {backend}
{capacity}
"""

# Cinder's own looks for filters and programs in the system's folders only.
ROOTWRAP = """\
[DEFAULT]
filters_path = {etc}/rootwrap.d
exec_dirs = {bin},/sbin,/usr/sbin,/bin,/usr/bin
"""

# As devstack runs it: the application is loaded once and then forked, SIGTERM is graceful. The module
# is Cinder's own cinder.wsgi.api, with what its first two requests would do at the same time done.
UWSGI = """\
[uwsgi]
module = registered_policies:application
pyargv = --config-file {configuration}
http-socket = 127.0.0.1:{port}
master = true
processes = 2
threads = 8
enable-threads = true
thunder-lock = true
lazy-apps = false
exit-on-reload = true
die-on-term = true
hook-master-start = unix_signal:15 gracefully_kill_them_all
worker-reload-mercy = 60
buffer-size = 65535
add-header = Connection: close
"""


@dataclass(frozen=True)
class Extent:
    """How much of Cinder there is: backends by their capacity in GiB, services, more settings.

    `options` are those of [DEFAULT], `sections` those of others. The scheduler prefers the backend
    with the most capacity; None is without bounds. No notifications are sent unless there is a driver of
    oslo.messaging's for that.
    """

    backends: Mapping[str, float | None] = field(default_factory=lambda: {BACKEND: None})
    services: tuple[str, ...] = SERVICES
    options: Mapping[str, object] = field(default_factory=dict)
    notifications: str = ""
    sections: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    backend_options: Mapping[str, object] = field(default_factory=dict)

    def queue(self, service: str) -> set[str]:
        """Return the queues that this service reads once it does its work."""
        return {
            API: set(),
            SCHEDULER: {SCHEDULER},
            VOLUME: {f"{VOLUME}.{HOST}@{backend}" for backend in self.backends},
            BACKUP: {f"{BACKUP}.{HOST}"},
        }[service]

    def configuration(self, **values: object) -> str:
        """Return cinder.conf; the values are those that CONFIGURATION names."""
        options = _lines(self.options)
        text = CONFIGURATION.format(
            backends=",".join(self.backends), options=options, host=HOST, **values
        )
        for backend, gib in self.backends.items():
            capacity = "" if gib is None else f"sparse_capacity_gb = {gib}"
            text += BACKEND_CONFIGURATION.format(backend=backend, capacity=capacity)
            text += f"{_lines(self.backend_options)}\n"
        if self.notifications:
            text += f"[oslo_messaging_notifications]\ndriver = {self.notifications}\n"
        for section, options in self.sections.items():
            text += f"[{section}]\n"
            text += "".join(f"{name} = {value}\n" for name, value in options.items())
        return text


def _lines(options: Mapping[str, object]) -> str:
    return "\n".join(f"{name} = {value}" for name, value in options.items())


SMALL = Extent()


@dataclass(frozen=True)
class Tracing:
    """Where traces go, and which of the services send any."""

    endpoint: str = ""
    services: tuple[str, ...] = SERVICES
    env: Mapping[str, str] = field(default_factory=dict)

    def environment(self, service: str) -> dict[str, str]:
        """Return what a service's environment has in addition."""
        if service not in self.services:
            return {}
        return {
            "OTEL_CINDER_ENABLED": "true",
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            "OTEL_METRIC_EXPORT_INTERVAL": "500",
            # On a busy machine anything may take ten seconds.
            "OTEL_CINDER_STILL_RUNNING": "off",
            **self.env,
        }


UNTRACED = Tracing(services=())
