"""Real Cinder: its three services as processes, in each of the ways operators run them."""

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import amqp
import psutil
import requests

from tests.integration.broker import Broker
from tests.integration.configuration import (
    API,
    BACKEND,
    BACKEND_FOLDER,
    PROJECT,
    ROOTWRAP,
    SCHEDULER,
    SERVICES,
    SMALL,
    UNTRACED,
    UWSGI,
    VOLUME,
    Extent,
    Mode,
    Tracing,
)
from tests.integration.database import Database
from tests.integration.installation import Installation
from tests.integration.processes import Process, free_port, listens, wait_until


@dataclass(frozen=True)
class Answer:
    """The answer to one POST /volumes, and its duration."""

    status: int
    volume_id: str
    request_id: str
    seconds: float
    text: str


class CinderStack:
    """cinder-api, cinder-scheduler and cinder-volume with a schema and a vhost of their own."""

    def __init__(
        self,
        name: str,
        mode: Mode,
        installation: Installation,
        broker: Broker,
        database: Database,
        folder: Path,
        extent: Extent = SMALL,
    ) -> None:
        self.name = name
        self.mode = mode
        self.folder = folder
        self.extent = extent
        self.port = free_port()
        self.services: dict[str, Process] = {}
        self._read: dict[str, int] = {}
        self._installation = installation
        self._broker = broker
        self._database = database
        broker.add_vhost(name)
        database.copy_template(name)
        self._configuration = folder / "cinder.conf"
        self._configuration.write_text(
            extent.configuration(
                transport_url=broker.url(name),
                etc=installation.etc,
                bin=installation.python.parent,
                folder=folder,
                port=self.port,
                connection=database.url(name),
            )
        )
        rootwrap = ROOTWRAP.format(etc=installation.etc, bin=installation.python.parent)
        (folder / "rootwrap.conf").write_text(rootwrap)
        uwsgi = UWSGI.format(configuration=self._configuration, port=self.port)
        (folder / "uwsgi.ini").write_text(uwsgi)

    def start(self, tracing: Tracing = UNTRACED, services: Iterable[str] = SERVICES) -> None:
        """Start these services and wait until they can do their part of a create."""
        started = tuple(services)
        for service in started:
            env = self._environment(service) | tracing.environment(service)
            log = self.folder / f"{service}.log"
            self.services[service] = Process(service, self._command(service), log, env)
        self.wait_ready(started)

    def wait_ready(self, services: Iterable[str] = SERVICES) -> None:
        """Wait until these services can do their part of a create; the scheduler needs all."""
        started = set(services)
        if API in started:
            wait_until(lambda: self._alive() and listens(self.port), 60, "cinder-api to listen")
        # The scheduler comes last, since it needs the others.
        for service in sorted(started, key=lambda name: name == SCHEDULER):
            for queue in self.extent.queue(service):
                wait_until(lambda queue=queue: self._consumed(queue), 60, queue)
        if SCHEDULER in started:
            wait_until(self._pools_known, 60, "the scheduler to know the pools")

    def start_after_stop(self, tracing: Tracing) -> None:
        """Start all services again after a stop under load, the scheduler last.

        A scheduler that starts sets to `error` each volume that it had cast and that no
        cinder-volume has taken up yet, which is Cinder's own race and not under test.
        """
        self.start(tracing, (API, VOLUME))
        self.wait_settled(self.statuses(), quiet=2)
        self.start(tracing, (SCHEDULER,))

    def create(
        self,
        count: int = 1,
        concurrency: int = 8,
        headers: Mapping[str, str] | Iterable[Mapping[str, str]] = (),
    ) -> list[Answer]:
        """POST so many volumes, so many at a time; headers for all, or one mapping for each."""
        each: list[Mapping[str, str]]
        each = [headers] * count if isinstance(headers, Mapping) else list(headers) or [{}] * count
        with ThreadPoolExecutor(concurrency) as pool:
            return list(pool.map(self._create_one, each))

    def try_create(self, count: int) -> None:
        """POST volumes as load, whatever becomes of them."""
        with ThreadPoolExecutor(8) as pool:
            pool.map(self._create_one, [{}] * count)  # the results, and so errors, are not read

    def get(self, path: str) -> requests.Response:
        """GET a path of the project."""
        return self.request("GET", path)

    def request(self, method: str, path: str, body: object = None) -> requests.Response:
        """Ask the API for something of the project, as its administrator."""
        url = f"http://127.0.0.1:{self.port}/v3/{PROJECT}/{path}"
        return requests.request(method, url, headers=self._headers(), json=body, timeout=90)

    def query(self, statement: str, arguments: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Ask the database, so that no request is traced; `{name}` is replaced by the schema."""
        return self._database.query(statement.format(name=self.name), arguments)

    def locked(self, table: str) -> contextlib.AbstractContextManager[None]:
        """Let everybody wait who asks for this table."""
        return self._database.locked(f"{self.name}.{table}")

    def statuses(self) -> dict[str, str]:
        """Return each volume's status, from the database so that no request is traced."""
        return dict(self.query("SELECT id, status FROM {name}.volumes"))

    def wait_available(self, volume_ids: Iterable[str], timeout: float = 90) -> None:
        """Wait until all these volumes can be used."""
        wanted = set(volume_ids)
        deadline = time.monotonic() + timeout
        while True:
            statuses = self.statuses()
            others = {
                volume_id: statuses.get(volume_id)
                for volume_id in wanted
                if statuses.get(volume_id) != "available"
            }
            if not others:
                return
            if "error" in others.values() or time.monotonic() > deadline:
                raise AssertionError(f"volumes not available: {others}")
            time.sleep(0.1)

    def wait_settled(self, volume_ids: Iterable[str], quiet: float = 5) -> dict[str, str]:
        """Wait until no volume changes any more for so many seconds; return all statuses."""
        wanted = set(volume_ids)
        before: dict[str, str] = {}
        since = time.monotonic()
        while time.monotonic() - since < quiet:
            statuses = {key: status for key, status in self.statuses().items() if key in wanted}
            if statuses != before:
                before, since = statuses, time.monotonic()
            if set(statuses.values()) == {"available"}:
                break
            time.sleep(0.1)
        return before

    def slow_down(
        self,
        seconds: float,
        method: str = "create_volume",
        backend: str = BACKEND,
        kind: str = "slow",
    ) -> None:
        """Let every call of this method of the driver take so long, or until heal() is called.

        The other kinds: `block` eventlet's hub, wait in a `pool`, or for a `command`.
        """
        self._order(backend, method, kind, str(seconds))

    def fail(
        self,
        message: str,
        method: str = "create_volume",
        backend: str = BACKEND,
        error: str = "VolumeBackendAPIException",
    ) -> None:
        """Let every call of this method of the driver fail by this, until heal() is called."""
        self._order(backend, method, "fail", f"{error}\n{message}")

    def heal(self) -> None:
        """Take back what slow_down() and fail() have ordered."""
        for order in (self.folder / "orders").glob("*"):
            order.unlink()

    def terminate(self, services: Iterable[str] = SERVICES) -> None:
        """Ask these services to end, all at once, and do not wait."""
        for service in services:
            self.services[service].terminate()

    def terminate_all(self) -> None:
        """Ask every process of every service to end, as systemd does by default: `KillMode`."""
        for process in self.services.values():
            process.terminate_all()

    def wait_ended(self, timeout: float, services: Iterable[str] = SERVICES) -> dict[str, float]:
        """Wait until these services have ended; return after how many seconds each did."""
        started = time.monotonic()
        waiting = {service: self.services[service] for service in services}
        took: dict[str, float] = {}
        while waiting:
            for service, process in list(waiting.items()):
                if not process.running():
                    took[service] = time.monotonic() - started
                    process.kill()  # what outlived its parent, if anything
                    del waiting[service], self.services[service]
            if time.monotonic() - started > timeout:
                raise AssertionError(f"still running after {timeout:.0f} s: {sorted(waiting)}")
            time.sleep(0.02)
        return took

    def kill(self, service: str) -> None:
        """End all processes of a service as `kill -9` does."""
        self.services.pop(service).kill()

    def suspend(self, service: str) -> None:
        """Let a service hang."""
        for process in self.services[service].family():
            process.suspend()

    def resume(self, service: str) -> None:
        """Let a service that hangs go on."""
        for process in self.services[service].family():
            process.resume()

    def restart(self, tracing: Tracing = UNTRACED, services: Iterable[str] = SERVICES) -> None:
        """Stop those of these services that run gracefully, and start all of these."""
        wanted = tuple(services)
        running = [service for service in wanted if service in self.services]
        self.terminate(running)
        self.wait_ended(60, running)
        self.start(tracing, wanted)

    def api_workers(self) -> list[psutil.Process]:
        """List the processes that serve requests."""
        return self.services[API].workers()

    def kill_api_worker(self) -> int:
        """Kill one worker of the API as the kernel's OOM killer would; return its pid.

        Not in the midst of a line for the log: under eventlet, oslo.log's mutex is a pipe with one
        byte in it, which parent and workers share, and a worker that dies with the byte leaves all
        of them waiting for it for ever. That is oslo.log's own weakness and not under test.
        """
        worker = self.api_workers()[0]
        eventlet = self.mode == "eventlet"
        with _log_mutex_held(worker.pid) if eventlet else contextlib.nullcontext():
            worker.send_signal(signal.SIGKILL)
            wait_until(lambda: not _runs(worker), 10, "the worker's end")
        return int(worker.pid)

    def logs(self) -> dict[str, str]:
        """Return what each service has logged so far."""
        return {
            path.stem: path.read_text(errors="replace") for path in self.folder.glob("cinder-*.log")
        }

    def new_logs(self) -> dict[str, str]:
        """Return what each service has logged since this was last asked."""
        logs = self.logs()
        new = {service: log[self._read.get(service, 0) :] for service, log in logs.items()}
        self._read = {service: len(log) for service, log in logs.items()}
        return new

    def close(self) -> None:
        """End every process, gracefully or not."""
        for process in self.services.values():
            process.kill()

    def _command(self, service: str) -> list[str | Path]:
        if service == API and self.mode != "eventlet":  # cinder-api knows eventlet only
            return [self._installation.script("uwsgi"), "--ini", self.folder / "uwsgi.ini"]
        return [self._installation.script(service), "--config-file", self._configuration]

    def _environment(self, service: str) -> dict[str, str]:
        env = self._installation.environment() | {"PYTHONPATH": str(BACKEND_FOLDER)}
        if self.mode == "threading" or (self.mode == "uwsgi" and service == API):
            env["OS_CINDER_DISABLE_EVENTLET_PATCHING"] = "1"
        return env

    def _order(self, backend: str, method: str, kind: str, value: str) -> None:
        orders = self.folder / "orders"
        orders.mkdir(exist_ok=True)
        (orders / f"{backend}.{method}.{kind}").write_text(value)

    def _alive(self) -> bool:
        for name, process in self.services.items():
            if not process.running():
                tail = process.log.read_text(errors="replace")[-3000:]
                raise AssertionError(f"{name} ended; its log ends with:\n{tail}")
        return True

    def _consumed(self, queue: str) -> bool:
        self._alive()
        with self._broker.connection(self.name) as connection:
            try:
                declared = connection.default_channel.queue_declare(queue, passive=True)
            except amqp.exceptions.NotFound:
                return False
        return bool(declared.consumer_count)

    def _pools_known(self) -> bool:
        self._alive()
        answer = self.get("scheduler-stats/get_pools")
        return answer.ok and len(answer.json()["pools"]) == len(self.extent.backends)

    def _headers(self) -> dict[str, str]:
        return {
            "X-Auth-Token": f"admin:{PROJECT}",
            "OpenStack-API-Version": "volume 3.70",
        }

    def _create_one(self, headers: Mapping[str, str]) -> Answer:
        started = time.monotonic()
        answer = requests.post(
            f"http://127.0.0.1:{self.port}/v3/{PROJECT}/volumes",
            headers={**self._headers(), **headers},
            json={"volume": {"name": "tested", "size": 1}},
            timeout=90,
        )
        seconds = time.monotonic() - started
        volume_id = answer.json()["volume"]["id"] if answer.status_code == 202 else ""
        request_id = answer.headers.get("x-openstack-request-id", "")
        return Answer(answer.status_code, volume_id, request_id, seconds, answer.text[:1000])


@contextlib.contextmanager
def _log_mutex_held(pid: int) -> Iterator[None]:
    """Hold the mutex that oslo.log shares among a service's processes, one of which has this pid.

    It is the one pipe of which a worker has both ends.
    """
    ends: dict[str, dict[int, Path]] = {}
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            target = os.readlink(descriptor)
            flags = Path(f"/proc/{pid}/fdinfo/{descriptor.name}").read_text()
            access = int(flags.split("flags:")[1].split()[0], 8) & os.O_ACCMODE
            if target.startswith("pipe:"):
                ends.setdefault(target, {})[access] = descriptor
    (mutex,) = (pipe for pipe in ends.values() if pipe.keys() == {os.O_RDONLY, os.O_WRONLY})
    with (
        mutex[os.O_RDONLY].open("rb", buffering=0) as acquire,
        mutex[os.O_WRONLY].open("wb", buffering=0) as release,
    ):
        byte = acquire.read(1)  # waits until it is free
        try:
            yield
        finally:
            release.write(byte)


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
