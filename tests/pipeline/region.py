"""A region in small: real Cinder over RabbitMQ, an agent, two gateways, Jaeger, Prometheus."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.integration.configuration import PROJECT, Extent, Tracing
from tests.integration.processes import wait_until
from tests.integration.stack import CinderStack
from tests.pipeline.certificates import BOTH, LOOPBACK, Authority
from tests.pipeline.programs import Collector, Jaeger, Program, Prometheus

# Two backends, and one more try elsewhere for what fails.
EXTENT = Extent(
    backends={"one": 1000, "two": 500},
    options={
        "scheduler_max_attempts": 2,
        # Without the last of these, the same backend is tried again.
        "scheduler_default_filters": "AvailabilityZoneFilter,CapacityFilter,"
        "CapabilitiesFilter,IgnoreAttemptedHostsFilter",
    },
)
GATEWAYS = 2
KEPT_PERCENT = 25


@dataclass(frozen=True)
class Create:
    """The answer to one POST /volumes, and the trace that it began."""

    trace_id: str
    status: int
    volume_id: str


def create(stack: CinderStack, count: int, size: int = 1, concurrency: int = 4) -> list[Create]:
    """POST so many volumes of so many GiB, and return at once what was answered."""
    with ThreadPoolExecutor(concurrency) as pool:
        return list(pool.map(lambda _: _create_one(stack, size), range(count)))


def settle(stack: CinderStack, creates: Iterable[Create], timeout: float = 300) -> set[str]:
    """Wait until none of these volumes is being made any more; return their statuses."""
    wanted = {made.volume_id for made in creates if made.volume_id}
    busy = {"creating", "downloading"}

    def statuses() -> set[str]:
        return {status for ident, status in stack.statuses().items() if ident in wanted}

    wait_until(lambda: not statuses() & busy, timeout, "volumes to be made, or not")
    return statuses()


def _create_one(stack: CinderStack, size: int) -> Create:
    answer = stack.request("POST", "volumes", {"volume": {"name": "tested", "size": size}})
    volume_id = answer.json()["volume"]["id"] if answer.status_code == 202 else ""
    return Create(answer.headers["traceresponse"].split("-")[1], answer.status_code, volume_id)


class Region:
    """Everything from Cinder to Prometheus. `creates` has what was made, by what became of it."""

    def __init__(self, folder: Path, stack: CinderStack) -> None:
        self.stack = stack
        self.authority = Authority(folder / "authority")
        both = self.authority.issue("loopback", LOOPBACK, BOTH)
        self.gateways = [
            Collector(
                "gateway",
                folder,
                name=f"gateway-{number}",
                certificates=both,
                SAMPLING_PERCENTAGE=KEPT_PERCENT,
                SLOW_MS=60_000,  # so that a busy machine's creates are not kept for that
                DECISION_WAIT="45s",
            )
            for number in range(GATEWAYS)
        ]
        self.agent = Collector(
            "agent",
            folder,
            certificates=self.authority.issue("node", "DNS:node", "clientAuth"),
            GATEWAY_ENDPOINT=self.gateways[0].otlp_grpc,
        )
        self.jaeger = Jaeger("memory", folder, certificates=both)
        peers = ", ".join(gateway.peer for gateway in self.gateways)
        for gateway in self.gateways:
            gateway.settings |= {
                "GATEWAY_PEERS": f"[{peers}]",
                "JAEGER_ENDPOINT": self.jaeger.otlp_grpc,
            }
        self.prometheus = Prometheus(
            folder,
            cinder=[gateway.prometheus for gateway in self.gateways],
            pipeline={
                "collector": [each.telemetry for each in (self.agent, *self.gateways)],
                "jaeger": [self.jaeger.telemetry],
            },
            certificates=both,
        )
        self.jaeger.prometheus_url = self.prometheus.url
        self.creates: dict[str, list[Create]] = {}

    @property
    def programs(self) -> list[Program]:
        """All but Cinder, in the order in which they start."""
        return [self.prometheus, self.jaeger, *self.gateways, self.agent]

    def start(self) -> None:
        """Start all programs, Cinder last."""
        for program in self.programs:
            program.start()
        # Often enough for a test, seldom enough for two processors.
        env = {"OTEL_METRIC_EXPORT_INTERVAL": "2000"}
        self.stack.start(Tracing(self.agent.otlp_http, env=env))

    def run(self) -> None:
        """Make 200 volumes, of which some fail, each kind in a way of its own."""
        stack = self.stack
        self._create("made", 160, {"available"})
        self._create("fits nowhere", 10, {"error"}, size=5000)
        stack.fail("the disk is gone", backend="one")
        self._create("rescheduled", 10, {"available"})
        stack.fail("the disk is gone", backend="two")
        self._create("fails everywhere", 10, {"error"})
        stack.heal()
        self._set_quota(0)
        self._create("over quota", 10, set())
        self._set_quota(-1)

    def close(self) -> None:
        """End every program."""
        self.stack.close()
        for program in self.programs:
            program.kill()

    def _create(self, kind: str, count: int, become: set[str], size: int = 1) -> None:
        made = create(self.stack, count, size)
        assert {each.status for each in made} == {202 if become else 413}
        assert settle(self.stack, made) == become, kind
        self.creates[kind] = made

    def _set_quota(self, volumes: int) -> None:
        body = {"quota_set": {"volumes": volumes}}
        assert self.stack.request("PUT", f"os-quota-sets/{PROJECT}", body).ok
