"""`otel-cinder doctor` on real services: healthy ones, and processes with one fault each."""

import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.integration.configuration import SCHEDULER, SERVICES, Mode, Tracing
from tests.integration.installation import Installation
from tests.integration.processes import Process, free_port, run, wait_until
from tests.integration.stack import CinderStack
from tests.receiver import Receiver

pytestmark = pytest.mark.faults

SECRET = "Xyzzy-kept-out-of-the-report"

THREADS = ("threads = 8\n", "enable-threads = true\n")


def doctor(installation: Installation, *arguments: object) -> dict[str, Any]:
    """Ask in the services' virtualenv, as an operator would, and return the JSON."""
    code = (
        "import sys, contextlib; from otel_cinder.doctor.command import main\n"
        "status = main(sys.argv[1:]); sys.stderr.write(f'status {status}')"
    )
    output = run(
        [installation.python, "-c", code, "--json", *arguments], installation.environment()
    )
    assert SECRET not in output
    return json.loads(output)


@pytest.fixture(scope="module")
def stack(new_stack: Callable[[Mode], CinderStack], receiver: Receiver) -> CinderStack:
    """A Cinder whose services are all traced: its API under uWSGI, the others under eventlet."""
    stack = new_stack("uwsgi")
    headers = {"OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer {SECRET}"}
    stack.start(Tracing(receiver.endpoint, env=headers))
    return stack


def test_healthy_cinder_has_no_findings(
    stack: CinderStack, installation: Installation, receiver: Receiver
) -> None:
    """Each service is found once, with its workers; all places fit, and an empty export is taken."""
    assert stack.create()[0].status == 202  # uWSGI's workers begin with their first request
    pids = {service: stack.services[service].pid for service in SERVICES}
    arguments = [word for pid in pids.values() for word in ("--pid", pid)]
    before = {service: len(process.family()) for service, process in stack.services.items()}
    report = doctor(installation, *arguments)
    assert [service["findings"] for service in report["looked_at"]] == [[], [], []]
    assert report["status"] == 0
    seen = {service["name"].split()[0]: service for service in report["looked_at"]}
    assert {name: service["pid"] for name, service in seen.items()} == pids
    assert all(service["on"] is service["traced_now"] is True for service in seen.values())
    assert {name: len(service["workers"]) + 1 for name, service in seen.items()} == before
    for each in seen.values():
        assert each["places"]["fit"] >= 40
        exports = {(e["signal"], e["where"], e["state"]) for e in each["exports"]}
        assert exports == {(what, receiver.endpoint, "taken") for what in ("spans", "metrics")}


@dataclass(frozen=True)
class Fault:
    """One thing wrong, and how the doctor's one finding has to begin."""

    finding: str
    env: Mapping[str, str] = field(default_factory=dict)
    conf: str = ""
    uwsgi: bool = False
    level: str = "mend"


def faults(receiver: Receiver, grpc_port: int) -> dict[str, Fault]:
    """Each fault by its name."""
    endpoint = receiver.endpoint
    return {
        "none": Fault(""),
        "misspelt": Fault(
            "Correct the name of OTEL_CINDER_LOGLEVEL, probably to OTEL_CINDER_LOG_LEVEL",
            {"OTEL_CINDER_LOGLEVEL": SECRET},
        ),
        "unknown": Fault(
            "Correct the name of OTEL_TRACE_SAMPLER, probably to OTEL_TRACES_SAMPLER",
            {"OTEL_TRACE_SAMPLER": SECRET},
        ),
        "off": Fault(
            "Set OTEL_CINDER_ENABLED=true for this service, and restart it: OTEL_CINDER_ENABLED",
            {"OTEL_CINDER_ENABLED": "false"},
        ),
        "not told": Fault(
            "Set OTEL_CINDER_ENABLED=true for this service, and restart it: tracing is not",
            {"OTEL_CINDER_ENABLED": ""},
        ),
        "refused": Fault(
            "Start the collector, or correct OTEL_EXPORTER_OTLP_ENDPOINT",
            {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}"},
        ),
        "gRPC's port": Fault(
            "Set OTEL_EXPORTER_OTLP_ENDPOINT to the collector's port for OTLP over HTTP (4318)",
            {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{grpc_port}"},
        ),
        "path too many": Fault(
            "Take the path out of OTEL_EXPORTER_OTLP_ENDPOINT: /v1/traces is added to it",
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": f"{endpoint}/v1/traces",
                "OTEL_METRICS_EXPORTER": "none",
            },
        ),
        "https": Fault(
            "Write http:// in OTEL_EXPORTER_OTLP_ENDPOINT",
            {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint.replace("http:", "https:")},
        ),
        "no such name": Fault(
            "Correct the host's name in OTEL_EXPORTER_OTLP_ENDPOINT",
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://no-such-host.invalid:4318"},
        ),
        "proxy": Fault(
            "Start the collector, or correct OTEL_EXPORTER_OTLP_ENDPOINT; if the proxy",
            {"http_proxy": f"http://user:{SECRET}@127.0.0.1:{free_port()}"},
        ),
        "SDK disabled": Fault("Take OTEL_SDK_DISABLED=true out", {"OTEL_SDK_DISABLED": "true"}),
        "format": Fault(
            "Put the trace's id into logging_user_identity_format instead of "
            "logging_default_format_string",
            conf="logging_default_format_string = %(otelTraceID)s %(message)s\n",
        ),
        "uWSGI's threads": Fault("Add enable-threads = true to uWSGI's configuration", uwsgi=True),
        "seam": Fault(
            "Correct OTEL_CINDER_DISABLED_SEAMS: there is no seam 'drivers'",
            {"OTEL_CINDER_DISABLED_SEAMS": "drivers"},
        ),
        "another tracer": Fault(
            "Set [oslo_messaging_tracing] tracing_enabled = false if otel-cinder is to make",
            conf="[oslo_messaging_tracing]\ntracing_enabled = true\n",
            level="note",
        ),
    }


class Planted:
    """Cinder's own programs, each with a fault, and stopped as soon as it has begun."""

    def __init__(self, stack: CinderStack, installation: Installation, folder: Path) -> None:
        self._configuration = (stack.folder / "cinder.conf").read_text()
        ini = (stack.folder / "uwsgi.ini").read_text()
        self._uwsgi = ini.replace(f":{stack.port}", f":{free_port()}")  # which is not taken
        self._installation = installation
        self._folder = folder
        self._processes: list[Process] = []

    def plant(self, fault: Fault, endpoint: str, *, python: Path | None = None) -> int:
        """Start one, and return its process id."""
        folder = self._folder / str(len(self._processes))
        folder.mkdir()
        conf = folder / "cinder.conf"
        conf.write_text(self._configuration.replace("[DEFAULT]\n", f"[DEFAULT]\n{fault.conf}", 1))
        if fault.conf.startswith("["):
            conf.write_text(self._configuration + fault.conf)
        script = self._installation.script(SCHEDULER)
        argv = [script, "--config-file", conf]
        if fault.uwsgi:
            ini = folder / "uwsgi.ini"
            text = self._uwsgi
            for line in THREADS:
                assert line in text
                text = text.replace(line, "")
            ini.write_text(text)
            script = self._installation.script("uwsgi")
            argv = [script, "--ini", ini]
        env = self._installation.environment()
        env |= Tracing(endpoint).environment(SCHEDULER) | fault.env
        env = {name: value for name, value in env.items() if value}
        process = Process(
            "planted", [python or self._installation.python, *argv], folder / "log", env
        )
        self._processes.append(process)
        command = Path(f"/proc/{process.pid}/cmdline")
        wait_until(lambda: str(script).encode() in command.read_bytes(), 60, "the program's start")
        assert process.running(), process.log.read_text()
        # It needs to get nowhere: two processors bear one Cinder at a time.
        os.kill(process.pid, signal.SIGSTOP)
        return process.pid

    def close(self) -> None:
        """End them all."""
        for process in self._processes:
            process.kill()


@pytest.fixture
def planted(stack: CinderStack, installation: Installation, tmp_path: Path) -> Iterator[Planted]:
    """Where faults are planted."""
    planted = Planted(stack, installation, tmp_path)
    yield planted
    planted.close()


@pytest.fixture
def grpc_port() -> Iterator[int]:
    """A port where somebody speaks gRPC."""
    server = grpc.server(futures.ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None)


def told(finding: Mapping[str, str]) -> str:
    """A finding's sentence."""
    return ": ".join(filter(None, (finding["advice"], finding["what"])))


def test_each_planted_fault_is_found_and_none_is_invented(
    planted: Planted, installation: Installation, receiver: Receiver, grpc_port: int
) -> None:
    """Of each process just the fault that it has is told, with the advice first."""
    every = faults(receiver, grpc_port)
    pids = {name: planted.plant(fault, receiver.endpoint) for name, fault in every.items()}
    receiver.respond(404, path="/v1/traces/v1/traces")  # as a collector does
    report = doctor(installation, *(word for pid in pids.values() for word in ("--pid", pid)))
    receiver.respond()
    found = {service["pid"]: service["findings"] for service in report["looked_at"]}
    assert report["status"] == 1
    for name, fault in every.items():
        findings = found[pids[name]]
        if not fault.finding:
            assert findings == [], name
            continue
        assert len(findings) == 1, (name, findings)
        assert told(findings[0]).startswith(fault.finding), name
        assert findings[0]["level"] == fault.level, name


def test_old_process_and_missing_package_are_found(
    planted: Planted, installation: Installation, receiver: Receiver, tmp_path: Path
) -> None:
    """A service that has run since before an installation, and one of a virtualenv without it."""
    bare = bare_virtualenv(tmp_path / "bare", installation)
    without = planted.plant(Fault(""), receiver.endpoint, python=bare)
    old = planted.plant(Fault(""), receiver.endpoint)
    with installed_later(installation):
        report = doctor(installation, "--pid", without, "--pid", old)
    findings = {
        service["pid"]: [told(f) for f in service["findings"]] for service in report["looked_at"]
    }
    [missing], [restart] = findings[without], findings[old]
    assert missing.startswith("Install it there: pip install --no-deps -r https://")
    assert "/requirements/20" in missing
    assert restart.startswith("Restart the service: it has been running since before otel-cinder")


def bare_virtualenv(folder: Path, installation: Installation) -> Path:
    """A virtualenv with all that the services' has, and without otel-cinder; its Python."""
    run([sys.executable, "-m", "venv", "--without-pip", folder])
    [site] = folder.glob("lib/python*/site-packages")
    [source] = (installation.folder / "venv").glob("lib/python*/site-packages")
    for entry in source.iterdir():
        if "otel_cinder" not in entry.name and entry.name != "__pycache__":
            (site / entry.name).symlink_to(entry.resolve())
    return folder / "bin" / "python"


@contextlib.contextmanager
def installed_later(installation: Installation) -> Iterator[None]:
    """As if otel-cinder had been installed again an hour from now."""
    [record] = (installation.folder / "venv").glob(
        "lib/python*/site-packages/otel_cinder-*.dist-info/RECORD"
    )
    was = record.stat()
    os.utime(record, (was.st_atime, was.st_mtime + 36_000))
    try:
        yield
    finally:
        os.utime(record, (was.st_atime, was.st_mtime))
