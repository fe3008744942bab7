"""The configuration of the demo's Cinder, and the environment of its processes."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import re
import sqlite3
import sys
from collections.abc import Mapping
from importlib.machinery import PathFinder
from pathlib import Path

from otel_cinder.cli.demo.problem import Problem

HOST = "otel-cinder-demo"
BACKEND = "sparse"
# Cinder takes nothing but hex digits and dashes for a project in a URL.
PROJECT = "c1de0000000000000000000000000001"

# Settings of the caller's that would reach into the demo: OpenTelemetry's and our own, and
# oslo.config's way of setting any option (OS_GROUP__OPTION).
_NOT_INHERITED = re.compile(r"OTEL_|OS_[A-Z0-9_]*__|OS_CINDER_|EVENTLET_|PYTHONWARNINGS$")

# A scheduler that starts while cinder-volume does may miss its first word of what it has. The next
# one would come after one or two minutes.
# No heartbeats and no cleaning up: SQLite refuses a transaction that coincides with them, and
# "database is locked" would look like an error of Cinder's.
_CINDER_CONF = """\
[DEFAULT]
auth_strategy = noauth_include_project_id
transport_url = {transport_url}
control_exchange = {exchange}
host = {host}
api_paste_config = {etc}/api-paste.ini
rootwrap_config = {etc}/rootwrap.conf
resource_query_filters_file = {etc}/resource_filters.json
state_path = {folder}
log_file = {folder}/cinder.log
osapi_volume_listen = 127.0.0.1
osapi_volume_listen_port = {port}
osapi_volume_workers = 1
enabled_backends = {backend}
scheduler_driver_init_wait_time = 10
periodic_interval = 3
report_interval = 3600
service_down_time = 7200
periodic_fuzzy_delay = 0
reservation_clean_interval = 7200
message_reap_interval = 7200
backend_stats_polling_interval = 3
default_volume_type = __DEFAULT__

[database]
connection = {database}

[oslo_concurrency]
lock_path = {folder}/locks

[oslo_policy]
policy_file = {folder}/policy.yaml

[oslo_messaging_rabbit]
# Reply and fanout queues go away by themselves, soon after the demo.
rabbit_transient_queues_ttl = 60

[coordination]
backend_url = file://{folder}/coordination

[{backend}]
volume_driver = otel_cinder.cli.demo.driver.SparseFileDriver
volume_backend_name = {backend}
"""


def write(folder: Path, *, transport_url: str, exchange: str, host: str, port: int) -> Path:
    """Write cinder.conf and what it refers to below ``folder``; returns its path."""
    for name in ("locks", "coordination", "conf.d"):
        (folder / name).mkdir()
    (folder / "policy.yaml").write_text("{}\n")
    path = folder / "cinder.conf"
    path.write_text(
        _CINDER_CONF.format(
            transport_url=_literal(transport_url),
            exchange=exchange,
            host=host,
            backend=BACKEND,
            etc=cinder_etc(),
            folder=folder,
            port=port,
            database=f"sqlite:///{folder}/cinder.sqlite",
        )
    )
    return path


def arguments(folder: Path) -> list[str]:
    """The arguments that make a Cinder program read this configuration and no other."""
    # Without a --config-dir, oslo.config would add /etc/cinder/cinder.conf.d of this host.
    return ["--config-file", str(folder / "cinder.conf"), "--config-dir", str(folder / "conf.d")]


def share_database(folder: Path) -> None:
    """Let several processes use the database at once: readers don't wait for a writer."""
    with contextlib.closing(sqlite3.connect(folder / "cinder.sqlite")) as database:
        database.execute("PRAGMA journal_mode=WAL")


def environment(caller: Mapping[str, str], otlp_endpoint: str) -> dict[str, str]:
    """The environment of the demo's processes: the caller's, with tracing set for the demo."""
    env = {name: value for name, value in caller.items() if not _NOT_INHERITED.match(name)}
    env.update(
        OTEL_CINDER_ENABLED="true",
        OTEL_EXPORTER_OTLP_ENDPOINT=otlp_endpoint,
        OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
        OTEL_BSP_SCHEDULE_DELAY="200",
        PYTHONUNBUFFERED="1",
    )
    # A proxy must not get what is meant for this host.
    for name in ("NO_PROXY", "no_proxy"):
        env[name] = ",".join(filter(None, (caller.get(name), "127.0.0.1", "localhost")))
    return env


def runs_in_native_threads() -> bool:
    """Tell whether Cinder can do without eventlet, which it can from release 29 on.

    Does not import Cinder, which would import eventlet.
    """
    spec = PathFinder.find_spec("cinder")
    folders = spec.submodule_search_locations if spec else None
    return any(Path(folder, "monkey_patch.py").is_file() for folder in folders or ())


def cinder_etc() -> Path:
    """The folder with the api-paste.ini that came with Cinder; raises Problem without Cinder."""
    try:
        distribution = importlib.metadata.distribution("cinder")
    except importlib.metadata.PackageNotFoundError:
        raise Problem(
            "make a virtualenv for the demo, which brings a Cinder along (Python 3.11 or newer): "
            "python3 -m venv demo && demo/bin/pip install 'otel-cinder[demo]'. There is no Cinder "
            "in this environment."
        ) from None
    shipped = [
        Path(str(distribution.locate_file(file))).resolve().parent
        for file in distribution.files or ()
        if file.name == "api-paste.ini"
    ]
    for folder in (*shipped, Path(sys.prefix, "etc", "cinder"), Path("/etc/cinder")):
        if os.access(folder / "api-paste.ini", os.R_OK):
            return folder
    raise Problem("Cinder is installed without its api-paste.ini, which the demo needs")


def _literal(value: str) -> str:
    # oslo.config substitutes $name.
    return value.replace("$", "$$")
