"""The pipeline's real programs, each with the configuration that users get, on ports of its own."""

import hashlib
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_cinder.reading.otlp_json import from_json
from otel_cinder.reading.trace import SpanRecord, Trace, spans_of
from tests.integration.processes import Process, free_port, missing, server_binary, wait_until
from tests.pipeline.certificates import Certificates

CHECKOUT = Path(__file__).resolve().parents[2]
STARTS_WITHIN = 60  # seconds, on a busy machine
# No proxy of the environment is asked for what is on the loopback.
HTTP = requests.Session()
HTTP.trust_env = False


def built(program: str, name: str, sources: Iterable[str]) -> Path:
    """Return what the Makefile built of these files; without it the test is skipped, or fails."""
    content = b"".join((CHECKOUT / source).read_bytes() for source in sources)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    version = hashlib.sha256(content).hexdigest()[:12]
    binary = cache / "otel-cinder" / program / version / name
    return binary if binary.is_file() else missing(f"No {program}: `make programs` builds it.")


def collector_binary() -> Path:
    """Return the collector that `make collector` built."""
    return built("collector", "otelcol-cinder", ["collector/builder-config.yaml"])


def jaeger_binary() -> Path:
    """Return the Jaeger that `make jaeger` built."""
    return built("jaeger", "jaeger", ["jaeger/go.mod", "jaeger/go.sum"])


class Program:
    """A program on the loopback; it may be ended and started again, on the same ports."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder / name
        self.folder.mkdir(parents=True)
        self.log = self.folder / "log"
        self.process: Process | None = None

    def argv(self) -> list[str | Path]:
        """Return the command line."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """Return what the configuration takes from the environment."""
        return {}

    def ready(self) -> bool:
        """Tell whether it can do its work."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it and wait until it is ready."""
        env = {"PATH": os.environ["PATH"], "HOME": str(self.folder)} | self.environment()
        self.process = Process(self.name, self.argv(), self.log, env)
        wait_until(self._ready, STARTS_WITHIN, f"{self.name} (its log: {self.log})")

    def stop(self) -> None:
        """End it as an init system would, and wait."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(60)
            self.kill()

    def kill(self) -> None:
        """End it as `kill -9` does."""
        if self.process is not None:
            self.process.kill()
            self.process = None

    def _ready(self) -> bool:
        if self.process is None or not self.process.running():
            tail = self.log.read_text(errors="replace")[-3000:]
            raise AssertionError(f"{self.name} ended; its log ends with:\n{tail}")
        try:
            return self.ready()
        except requests.RequestException:
            return False


def _configurations(files: Iterable[Path]) -> list[str | Path]:
    return [word for file in files for word in ("--config", file)]


class Collector(Program):
    """An OpenTelemetry Collector in one of its roles, which is a file in collector/.

    The settings are environment variables of that file, without their OTELCOL_.
    """

    def __init__(
        self,
        role: str,
        folder: Path,
        *,
        name: str = "",
        certificates: Certificates | None = None,
        **settings: object,
    ) -> None:
        super().__init__(name or role, folder)
        self.configurations = [CHECKOUT / "collector" / f"{role}.yaml"]
        self._binary = collector_binary()
        self.otlp_grpc = f"127.0.0.1:{free_port()}"
        self.otlp_http = f"http://127.0.0.1:{free_port()}"
        self.prometheus = f"127.0.0.1:{free_port()}"
        self.telemetry = f"127.0.0.1:{free_port()}"
        self.peer = f"127.0.0.1:{free_port()}"
        self._certificates = certificates
        self._health = f"127.0.0.1:{free_port()}"
        self.settings: dict[str, object] = {
            "OTLP_GRPC_ENDPOINT": self.otlp_grpc,
            "OTLP_HTTP_ENDPOINT": self.otlp_http.removeprefix("http://"),
            "PROMETHEUS_ENDPOINT": self.prometheus,
            "TELEMETRY_PORT": self.telemetry.rpartition(":")[2],
            "PEER_ENDPOINT": self.peer,
            "HEALTH_ENDPOINT": self._health,
            "QUEUE_DIRECTORY": self.folder / "queue",
            "METRICS_INTERVAL": "1s",
            **(certificates.settings() if certificates else {}),
            **settings,
        }

    def argv(self) -> list[str | Path]:
        return [self._binary, *_configurations(self.configurations)]

    def environment(self) -> dict[str, str]:
        return {f"OTELCOL_{name}": str(value) for name, value in self.settings.items()}

    def ready(self) -> bool:
        return HTTP.get(f"http://{self._health}", timeout=5).ok

    def count(self, metric: str, **labels: str) -> float:
        """Sum the series of one of its own metrics that have these labels."""
        text = HTTP.get(f"http://{self.telemetry}/metrics", timeout=10).text
        return sum(
            float(value)
            for found, value in re.findall(rf"^{metric}(\{{.*\}})? (\S+)$", text, re.MULTILINE)
            if all(f'{label}="{wanted}"' in found for label, wanted in labels.items())
        )

    def exported(self) -> str:
        """Return what Prometheus is given: Cinder's metrics, and those made of spans."""
        address = f"{self.prometheus}/metrics"
        ours = self._certificates
        if ours is None:
            return HTTP.get(f"http://{address}", timeout=10).text
        pair = (str(ours.cert), str(ours.key))
        return HTTP.get(f"https://{address}", cert=pair, verify=str(ours.ca), timeout=10).text

    def counted(self, counter: str, *labels: str) -> Counter[tuple[str, ...]]:
        """Add up what Prometheus is given of a counter, by these of its labels."""
        found: Counter[tuple[str, ...]] = Counter()
        # Behind the value there may be an exemplar, in braces as well.
        series = rf"^{counter}\{{(.*?)\}} (\S+)"
        for text, value in re.findall(series, self.exported(), re.MULTILINE):
            said = dict(re.findall(r'(\w+)="([^"]*)"', text))
            found[tuple(said.get(label, "") for label in labels)] += int(float(value))
        return found


class Jaeger(Program):
    """A Jaeger with one of the storages in jaeger/, and what its query API answers."""

    def __init__(
        self,
        storage: str,
        folder: Path,
        *,
        certificates: Certificates | None = None,
        prometheus_url: str = "",
    ) -> None:
        super().__init__("jaeger", folder)
        self.configurations = [CHECKOUT / "jaeger" / f"{storage}.yaml"]
        if certificates:
            self.configurations.append(CHECKOUT / "jaeger" / "tls.yaml")
        self._binary = jaeger_binary()
        self._certificates = certificates
        self.otlp_grpc = f"127.0.0.1:{free_port()}"
        self.url = f"http://127.0.0.1:{free_port()}"
        self.telemetry = f"127.0.0.1:{free_port()}"
        self.prometheus_url = prometheus_url
        self.ui: Path | str = CHECKOUT / "jaeger" / "ui.json"
        self._health = f"127.0.0.1:{free_port()}"
        self._query_grpc = f"127.0.0.1:{free_port()}"

    def argv(self) -> list[str | Path]:
        return [self._binary, *_configurations(self.configurations)]

    def environment(self) -> dict[str, str]:
        settings: dict[str, object] = {
            "OTLP_ENDPOINT": self.otlp_grpc,
            "QUERY_ENDPOINT": self.url.removeprefix("http://"),
            "QUERY_GRPC_ENDPOINT": self._query_grpc,
            "HEALTH_ENDPOINT": self._health,
            "TELEMETRY_PORT": self.telemetry.rpartition(":")[2],
            "BADGER_DIRECTORY": self.folder / "badger",
            "UI_FILE": self.ui,
            **(self._certificates.settings() if self._certificates else {}),
        }
        if self.prometheus_url:
            settings["PROMETHEUS_URL"] = self.prometheus_url
        return {f"JAEGER_{name}": str(value) for name, value in settings.items()}

    def ready(self) -> bool:
        healthy = HTTP.get(f"http://{self._health}/status", timeout=5).ok
        return healthy and HTTP.get(f"{self.url}/api/services", timeout=5).ok

    def spans(self, trace_id: str) -> list[SpanRecord]:
        """Return the spans of a trace that have come so far."""
        answer = HTTP.get(f"{self.url}/api/v3/traces/{trace_id}", timeout=30).json()
        if "result" not in answer:  # 404: none yet
            return []
        return spans_of(from_json(json.dumps(answer["result"]), ExportTraceServiceRequest))

    def trace(self, trace_id: str) -> Trace | None:
        """Return a trace as far as it has come; None if nothing has."""
        spans = self.spans(trace_id)
        return Trace(spans) if spans else None

    def search(self, service: str, tags: Mapping[str, str]) -> list[Trace]:
        """Return the traces in which one of this service's spans has all these tags."""
        asked = {"service": service, "tags": json.dumps(tags), "limit": 100}
        answer = HTTP.get(f"{self.url}/api/traces", params=asked, timeout=30)
        assert answer.ok, answer.text
        found = [Trace(self.spans(each["traceID"])) for each in answer.json()["data"]]
        return sorted(found, key=lambda trace: trace.start_ns)

    def metrics(self, kind: str, service: str, **parameters: object) -> list[dict[str, Any]]:
        """Ask for service performance monitoring: `calls`, `errors`, `latencies`."""
        asked = {"service": service, **parameters}
        answer = HTTP.get(f"{self.url}/api/metrics/{kind}", params=asked, timeout=30)
        assert answer.ok, answer.text
        return list(answer.json()["metrics"])


class Prometheus(Program):
    """A Prometheus with the files in prometheus/, which scrapes each second."""

    def __init__(
        self,
        folder: Path,
        *,
        cinder: Iterable[str],
        pipeline: Mapping[str, Iterable[str]],
        certificates: Certificates | None = None,
    ) -> None:
        super().__init__("prometheus", folder)
        self._binary = server_binary("prometheus", "prometheus")
        self.url = f"http://127.0.0.1:{free_port()}"
        name = "region.yaml" if certificates else "prometheus.yaml"
        every = (CHECKOUT / "prometheus" / name).read_text()
        every = re.sub(r"(_interval:) 15s", r"\1 1s", every)
        self.configuration = self.folder / "prometheus.yaml"
        self.configuration.write_text(every)
        shutil.copy(CHECKOUT / "prometheus" / "alerts.yaml", self.folder)
        if certificates:
            shutil.copytree(certificates.folder, self.folder / "tls")
        targets = self.folder / "targets"
        targets.mkdir()
        own = {"prometheus": [self.url.removeprefix("http://")]}
        # JSON is YAML.
        (targets / "cinder.yaml").write_text(json.dumps([{"targets": list(cinder)}]))
        (targets / "pipeline.yaml").write_text(
            json.dumps(
                [
                    {"targets": list(addresses), "labels": {"job": job}}
                    for job, addresses in {**pipeline, **own}.items()
                ]
            )
        )

    def argv(self) -> list[str | Path]:
        return [
            self._binary,
            f"--config.file={self.configuration}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address={self.url.removeprefix('http://')}",
            "--enable-feature=exemplar-storage",
        ]

    def ready(self) -> bool:
        return HTTP.get(f"{self.url}/-/ready", timeout=5).ok

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Evaluate an expression now; RuntimeError says what Prometheus has against it."""
        asked = {"query": expression}
        answer = HTTP.get(f"{self.url}/api/v1/query", params=asked, timeout=60).json()
        if answer["status"] != "success":
            raise RuntimeError(f"{answer['errorType']}: {answer['error']} in {expression}")
        return list(answer["data"]["result"])

    def value(self, expression: str) -> float:
        """Evaluate an expression whose series are added up; 0 where there are none."""
        return sum(float(series["value"][1]) for series in self.query(expression))
