"""Cinder's services from the virtualenvs of releases, and what a client asks of them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import requests

from otel_cinder.cli.demo import cinder_conf
from otel_cinder.cli.demo.broker import Broker
from otel_cinder.cli.demo.run import _is_complete
from otel_cinder.reading.trace import Trace, traces_of
from requirements.installing import Virtualenv
from tests.integration.installation import clean_environment
from tests.integration.processes import Process, free_port, wait_until
from tests.receiver import Receiver

SERVICES = ("cinder-volume", "cinder-scheduler", "cinder-api")
"""In the order in which they start."""

_URL = "http://127.0.0.1:{port}/v3/{project}/"
_HEADERS = {
    "X-Auth-Token": f"admin:{cinder_conf.PROJECT}",
    "OpenStack-API-Version": "volume 3.70",
}
_CONNECTOR = {"host": "compute", "ip": "192.0.2.1", "initiator": "iqn.2026-01.org:compute"}
_BUSY_S = 240
"""Seconds after which a service counts as hung, also on a busy machine."""

_POLL_S = 0.2


class Cloud:
    """Cinder with a folder, a database and a receiver of its own; `close` ends it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._port = free_port()
        self._processes: list[Process] = []
        self._receiver = Receiver()
        self._receiver.start()

    @classmethod
    @contextlib.contextmanager
    def in_one_process(cls, virtualenv: Virtualenv, folder: Path, site: Path) -> Iterator[Cloud]:
        """All three services in one process over ``fake://``, as in the demo.

        Args:
            site: a folder with what Cinder's own virtualenv lacks to serve.
        """
        cloud = cls(folder)
        with contextlib.closing(cloud):
            cloud._configure("fake://", "cinder")
            conf = [folder / "cinder.conf", folder / "conf.d", cloud._port]
            command = [virtualenv.python, "-m", "otel_cinder.cli.demo.one_process", *conf]
            cloud._start("cinder", command, {"PYTHONPATH": str(site)})
            cloud._wait_ready()
            yield cloud

    @classmethod
    @contextlib.contextmanager
    def over_rabbitmq(
        cls, virtualenvs: Mapping[str, Virtualenv], folder: Path, transport_url: str
    ) -> Iterator[Cloud]:
        """Each service in its own process, from the virtualenv that is given for it."""
        cloud = cls(folder)
        broker = Broker(transport_url, cinder_conf.HOST, cinder_conf.BACKEND, "cinder")
        with contextlib.closing(cloud):
            conf = cloud._configure(transport_url, "cinder")
            scheduler = virtualenvs["cinder-scheduler"].folder / "bin"
            manage = [scheduler / "cinder-manage", *cinder_conf.arguments(folder), "db", "sync"]
            cloud._start("cinder-manage", manage)
            assert cloud._processes.pop().wait(_BUSY_S) == 0, cloud.log
            cinder_conf.share_database(folder)
            for service in SERVICES:
                virtualenv = virtualenvs[service]
                # Each release has its own list of filters of the API.
                own = folder / f"{service}.conf"
                own.write_text(
                    conf.replace(str(cinder_conf.cinder_etc()), f"{virtualenv.folder}/etc/cinder")
                )
                arguments = ["--config-file", own, "--config-dir", folder / "conf.d"]
                cloud._start(service, [virtualenv.folder / "bin" / service, *arguments])
                if service != "cinder-api":
                    cloud._wait(lambda s=service: broker.is_served(s), f"{service} to listen")
            cloud._wait_ready()
            yield cloud
        broker.tidy()

    def close(self) -> None:
        """End all processes, and the receiver."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            with contextlib.suppress(TimeoutError):
                process.wait(20)
            process.kill()
        self._receiver.stop()

    @property
    def log(self) -> str:
        """All that was logged and printed."""
        files = [*self.folder.glob("*.log"), *self.folder.glob("*.out")]
        return "".join(file.read_text(errors="replace") for file in files)

    def create(self, wanted: str = "available") -> tuple[str, Trace]:
        """Create a volume that gets the status ``wanted``; returns its id and the trace."""
        answer = self._ask("POST", "volumes", {"volume": {"name": "tried", "size": 1}})
        volume = str(answer.json()["volume"]["id"])

        def settled() -> str:
            status = self._ask("GET", f"volumes/{volume}").json()["volume"]["status"]
            return "" if status == "creating" else str(status)

        assert self._wait(settled, "the volume") == wanted, self.log
        return volume, self._trace(answer)

    def fail_to_create(self) -> Trace:
        """Create a volume whose driver fails: a file is where its folder was."""
        volumes, aside = self.folder / "volumes", self.folder / "aside"
        volumes.rename(aside)
        volumes.write_text("")
        try:
            return self.create("error")[1]
        finally:
            volumes.unlink()
            aside.rename(volumes)

    def attach(self, volume: str) -> Trace:
        """Attach a volume to a host."""
        body = {"attachment": {"volume_uuid": volume, "connector": _CONNECTOR, "mode": "rw"}}
        return self._trace(self._ask("POST", "attachments", body))

    def _configure(self, transport_url: str, exchange: str) -> str:
        path = cinder_conf.write(
            self.folder,
            transport_url=transport_url,
            exchange=exchange,
            host=cinder_conf.HOST,
            port=self._port,
        )
        return path.read_text()

    def _start(
        self, name: str, command: list[object], more: Mapping[str, str] | None = None
    ) -> None:
        environment = cinder_conf.environment(clean_environment(), self._receiver.endpoint)
        environment |= {"OTEL_CINDER_STILL_RUNNING": "off", **(more or {})}
        words = [str(word) for word in command]
        log = self.folder / f"{name}.out"
        self._processes.append(Process(name, words, log, environment))

    def _wait(self, condition: Callable[[], Any], what: str) -> Any:
        found: Any = None

        def holds() -> bool:
            nonlocal found
            assert all(process.running() for process in self._processes), self.log
            time.sleep(_POLL_S)  # each look is a connection or a request, which Cinder has to serve
            found = condition()
            return bool(found)

        wait_until(holds, _BUSY_S, f"{what}:\n{self.log[-4000:]}")
        return found

    def _wait_ready(self) -> None:
        def pools() -> bool:
            with contextlib.suppress(requests.ConnectionError):
                answer = self._request("GET", "scheduler-stats/get_pools")
                return answer.ok and bool(answer.json()["pools"])
            return False

        self._wait(pools, "the scheduler to know its backend")
        self._ask("GET", "volumes")

    def _ask(self, method: str, path: str, body: object = None) -> requests.Response:
        answer = self._request(method, path, body)
        assert answer.ok, f"{method} {path}: {answer.text}\n{self.log}"
        return answer

    def _request(self, method: str, path: str, body: object = None) -> requests.Response:
        url = _URL.format(port=self._port, project=cinder_conf.PROJECT) + path
        return requests.request(method, url, headers=_HEADERS, json=body, timeout=_BUSY_S)

    def _trace(self, answer: requests.Response) -> Trace:
        """The trace of a request, once all that was cast in it has been handled."""
        request_id = answer.headers["X-Openstack-Request-Id"]

        def whole() -> Trace | None:
            for trace in traces_of(self._receiver.spans()):
                if any(s.attributes.get("openstack.request_id") == request_id for s in trace.spans):
                    casts = any(span.kind == "producer" for span in trace.spans)
                    return trace if (_is_complete(trace) if casts else trace.is_whole) else None
            return None

        found: Trace = self._wait(whole, "the trace")
        return found
