"""`otel-cinder demo`, from its checks to the trace on the screen."""

from __future__ import annotations

import functools
import os
import shutil
import site
import socket
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from otel_cinder.cli.demo import cinder_conf, show
from otel_cinder.cli.demo.broker import Broker
from otel_cinder.cli.demo.options import Options
from otel_cinder.cli.demo.pipeline import COLLECTOR, GRAFANA, JAEGER, START_IT, Pipeline
from otel_cinder.cli.demo.problem import Problem
from otel_cinder.cli.demo.processes import Processes, last_lines
from otel_cinder.reading.receiver import Receiver
from otel_cinder.reading.trace import SpanRecord, Trace, traces_of

if TYPE_CHECKING:
    import requests
    from rich.console import Console

_LOG_LINES = 12
_POLL_S = 0.1
# Time for the last spans to arrive after the volume's status has changed.
_EXPORT_S = 15.0
# Time for the trace to come through the collector to Jaeger.
_PIPELINE_S = 30.0


def run(options: Options, out: Console, err: Console) -> None:
    """Run the demo; raises Problem, once everything that was started is gone again."""
    _check_files(options)
    _check_modules()
    cinder_conf.cinder_etc()
    pipeline = None
    if options.pipeline:
        options = replace(options, endpoint=options.endpoint or COLLECTOR)
        pipeline = Pipeline(options.jaeger or JAEGER, options.grafana or GRAFANA)
    elif options.jaeger or options.grafana:
        raise Problem("--jaeger and --grafana need --pipeline")
    if options.endpoint:
        _check_endpoint(options.endpoint, START_IT if pipeline else "")
    if pipeline:
        pipeline.check()
    if options.port:
        free_port(options.port)  # which is said before anything is started
    deadline = time.monotonic() + options.timeout
    with ExitStack() as stack:
        broker = None
        exchange, host = "cinder", cinder_conf.HOST
        if options.transport_url:
            exchange = f"otel-cinder-demo-{uuid.uuid4().hex[:8]}"
            host = exchange
            broker = Broker(options.transport_url, host, cinder_conf.BACKEND, exchange)
        folder = stack.enter_context(_folder(options.keep, err))
        receiver = stack.enter_context(Receiver(forward_to=options.endpoint))
        port = options.port or free_port(0)  # now that the receiver has its own
        environment = cinder_conf.environment(os.environ, receiver.endpoint)
        processes = Processes(folder, environment)
        if broker:
            stack.callback(broker.tidy)
        stack.callback(processes.stop)
        cinder_conf.write(
            folder,
            transport_url=options.transport_url or "fake://",
            exchange=exchange,
            host=host,
            port=port,
        )
        cinder = Cinder(port, processes, deadline)
        with err.status("Starting Cinder …"):
            if broker:
                _start_services(processes, folder, cinder, broker)
            else:
                _start_one_process(processes, folder, port)
            cinder.wait(cinder.is_ready, "Cinder's scheduler to know its backend")
        with err.status("Creating a volume …"):
            volume, request_id = cinder.create(options.name, options.size)
            status = cinder.wait_created(volume)
            trace = _trace(receiver, request_id)
        if options.spans:
            show.write_spans(options.spans, receiver.requests, trace.trace_id)
        if options.svg:
            show.write_picture(options.svg, trace)
        show.story(trace, volume, status, options, out)
        # With Cinder stopped, nothing can follow: what is forwarded is complete.
        processes.stop()
        receiver.stop()
        if receiver.forward_errors:
            raise Problem(f"not all spans could be sent on: {receiver.forward_errors[0]}", 1)
        if status != "available":
            raise Problem(f"the volume's status is {status} instead of available", 1)
        if not _is_complete(trace):
            raise Problem("the trace is incomplete: spans are missing", 1)
        if pipeline:
            with err.status("Waiting for Jaeger to have the trace …"):
                pipeline.wait_for(trace, _PIPELINE_S)
            show.links(pipeline.links(trace), out)


class Cinder:
    """The API as a client sees it."""

    def __init__(self, port: int, processes: Processes, deadline: float) -> None:
        import requests

        project = f"http://127.0.0.1:{port}/v3/{cinder_conf.PROJECT}"
        self._volumes = f"{project}/volumes"
        self._pools = f"{project}/scheduler-stats/get_pools"
        self._processes = processes
        self._deadline = deadline
        self._http = requests.Session()
        # Neither a proxy nor a .netrc of the caller's has a say in what stays on this host.
        self._http.trust_env = False
        self._http.headers.update(
            {
                "X-Auth-Token": f"admin:{cinder_conf.PROJECT}",
                "OpenStack-API-Version": "volume 3.70",
            }
        )

    @property
    def time_left(self) -> float:
        """Seconds until the demo gives up, 1 at least."""
        return max(1.0, self._deadline - time.monotonic())

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until something holds; raises Problem if a process ends or the time is up."""
        while not condition():
            self._processes.check()
            if time.monotonic() > self._deadline:
                raise Problem(f"gave up waiting for {what}; --timeout sets how long to wait")
            time.sleep(_POLL_S)

    def is_ready(self) -> bool:
        """Return whether the API answers and the scheduler has heard from the volume service."""
        import requests

        try:
            # Whole requests to all of them, so that the one in the trace is not Cinder's very
            # first, which loads and connects what later ones find ready.
            if self._http.get(self._volumes, timeout=5).status_code != 200:
                return False
            answer = self._http.get(self._pools, timeout=5)
            return answer.status_code == 200 and bool(answer.json()["pools"])
        except requests.RequestException:
            return False

    def create(self, name: str, size: int) -> tuple[str, str]:
        """Ask for a volume; returns its id and the request's."""
        body = {"volume": {"name": name, "size": size}}
        response = self._request("POST", self._volumes, json=body)
        if response.status_code != 202:
            raise Problem(f"Cinder answered HTTP {response.status_code}: {response.text[:200]}")
        request_id = response.headers.get("X-Openstack-Request-Id", "")
        return str(response.json()["volume"]["id"]), request_id

    def wait_created(self, volume: str) -> str:
        """Wait until the volume is no longer being created; returns its status."""
        status = "creating"

        def is_settled() -> bool:
            nonlocal status
            response = self._request("GET", f"{self._volumes}/{volume}")
            if response.status_code == 200:
                status = str(response.json()["volume"]["status"])
            return status != "creating"

        self.wait(is_settled, "the volume")
        return status

    def _request(self, method: str, url: str, **kwargs: Any) -> requests.Response:
        import requests

        try:
            return self._http.request(method, url, timeout=self.time_left, **kwargs)
        except requests.RequestException as error:
            self._processes.check()
            raise Problem(f"Cinder's API did not answer: {error}") from None


def _start_one_process(processes: Processes, folder: Path, port: int) -> None:
    module = "otel_cinder.cli.demo.one_process"
    arguments = [str(folder / "cinder.conf"), str(folder / "conf.d"), str(port)]
    processes.start("cinder", [sys.executable, "-m", module, *arguments])


def _start_services(processes: Processes, folder: Path, cinder: Cinder, broker: Broker) -> None:
    programs = Path(sys.executable).parent
    arguments = cinder_conf.arguments(folder)
    names = ("cinder-volume", "cinder-scheduler", "cinder-api")
    for name in ("cinder-manage", *names):
        if not os.access(programs / name, os.X_OK):
            raise Problem(f"Cinder's program {name} is not in {programs}")
    if not _is_activated():
        raise Problem("otel_cinder.pth is not in site-packages: install otel-cinder with pip")
    command = [str(programs / "cinder-manage"), *arguments, "db", "sync"]
    processes.run("cinder-manage", command, cinder.time_left)
    cinder_conf.share_database(folder)
    for name in names:
        processes.start(name, [str(programs / name), *arguments])
        if name != "cinder-api":
            # One after the other: SQLite refuses a transaction that writes what it has read before
            # another process wrote, and a volume service that is refused at its start ends.
            cinder.wait(functools.partial(broker.is_served, name), f"{name} to listen")


def _is_activated() -> bool:
    """Return whether Python reads our .pth at its start, which is what traces separate programs."""
    folders = [*site.getsitepackages(), site.getusersitepackages()]
    return any(Path(folder, "otel_cinder.pth").is_file() for folder in folders)


def _trace(receiver: Receiver, request_id: str) -> Trace:
    """The request's trace, once it is complete, or the part that arrived in time."""

    def find(spans: list[SpanRecord]) -> Trace:
        traces = traces_of(spans)
        for trace in traces:
            if any(s.attributes.get("openstack.request_id") == request_id for s in trace.spans):
                return trace
        return max(traces, key=len, default=Trace(()))

    receiver.wait_for(lambda spans: _is_complete(find(spans)), timeout=_EXPORT_S)
    trace = find(receiver.spans())
    if not trace:
        raise Problem("the volume was created, but no spans arrived", 1)
    return trace


def _is_complete(trace: Trace) -> bool:
    """Return whether every message that was cast has been seen at its receiver, too."""
    has_casts = any(span.kind == "producer" for span in trace.spans)
    return trace.is_whole and has_casts and not trace.unfinished()


@contextmanager
def _folder(keep: bool, err: Console) -> Iterator[Path]:
    """A temporary folder for Cinder; a failure shows the end of its log and keeps it."""
    folder = Path(tempfile.mkdtemp(prefix="otel-cinder-demo-"))
    try:
        yield folder
    except Problem:
        for line in last_lines(folder, _LOG_LINES):
            err.print(f"  {line}", style="dim", markup=False, soft_wrap=True)
        err.print(f"Cinder's log and configuration are kept in {folder}", soft_wrap=True)
        raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    if keep:
        err.print(f"Cinder's log and configuration are kept in {folder}", soft_wrap=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)


def _check_files(options: Options) -> None:
    for path in filter(None, (options.spans, options.svg)):
        there = path if path.exists() else path.absolute().parent
        if path.is_dir() or not os.access(there, os.W_OK):
            raise Problem(f"cannot write {path}")


def _check_modules() -> None:
    try:
        import requests  # noqa: F401

        if cinder_conf.runs_in_native_threads():
            import waitress  # noqa: F401
    except ImportError as error:
        # Not the extra [demo]: that would replace the Cinder of this virtualenv by another.
        raise Problem(f"{error.name} is missing: pip install {error.name}") from None


def _check_endpoint(endpoint: str, remedy: str) -> None:
    try:
        url = urlsplit(endpoint)
        port = url.port or (443 if url.scheme == "https" else 80)
    except ValueError:
        url, port = urlsplit(""), 0
    if url.scheme not in ("http", "https") or not url.hostname:
        raise Problem("--endpoint must be a URL such as http://127.0.0.1:4318")
    try:
        socket.create_connection((url.hostname, port), timeout=5).close()
    except OSError as error:
        if remedy:
            raise Problem(f"no collector listens at {endpoint}: {remedy}") from None
        raise Problem(f"cannot connect to --endpoint {endpoint}: {_reason(error)}") from None


def free_port(wanted: int) -> int:
    """A port on the loopback that nothing listens on: the one that is wanted, or with 0 any. Raises Problem."""
    try:
        with socket.socket() as probe:
            # As servers do: a port that was just given up counts as free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", wanted))
            return int(probe.getsockname()[1])
    except OSError as error:
        raise Problem(f"cannot listen on port {wanted}: {_reason(error)}") from None


def _reason(error: OSError) -> str:
    return (error.strerror or str(error) or type(error).__name__).lower()
