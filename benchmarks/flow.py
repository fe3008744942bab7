"""flow: what tracing adds to a flow of five no-op tasks, against the same six spans by hand."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext

from cinder.flow_utils import DynamicLogListener
from opentelemetry.instrumentation.taskflow import TaskflowInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from oslo_config import cfg
from oslo_log import formatters, log

from benchmarks import estimates, providers
from benchmarks.estimates import Round
from benchmarks.flow_tasks import Floor, engine
from benchmarks.rounds import Effort, Segment, Variant, run
from benchmarks.verdicts import Check, Report, comparison

EFFORT = Effort(operations=5, at_least=200, seconds=240, precision=0.03)
QUICK = Effort(operations=5, at_least=30, seconds=20, precision=0.1)

BARE, LOGGED, FLOOR = "bare", "DynamicLogListener at DEBUG", "floor: the six spans by hand"
OURS, UNSAMPLED, PEER = "otel-cinder", "otel-cinder, not sampled", "…-taskflow 0.13.1"
MEASURED, BOTH = "otel-cinder, not sampled, metrics", "otel-cinder, metrics too"


def benchmark(*, quick: bool = False) -> Report:
    """Measure all variants and hold them against the bounds."""
    _check_floor()
    rounds = run(_variants(), QUICK if quick else EFFORT, lambda all_: _unsure(all_["flow"]))[
        "flow"
    ]
    report = Report(
        f"flow: CPU µs of a five-task flow, made and run ({len(rounds)} rounds)",
        ("variant", "µs", "added", "95 % interval", "added / floor's"),
    )
    report.rows += comparison(
        rounds, BARE, (LOGGED, PEER, FLOOR, OURS, BOTH, UNSAMPLED, MEASURED), FLOOR, digits=0
    )
    report.checks = [
        Check("sampled: added / floor's", estimates.ratio(rounds, OURS, FLOOR, BARE), 1.25),
        Check("sampled: added / 0.13.1's", estimates.ratio(rounds, OURS, PEER, BARE), 1),
        Check("metrics too: added / floor's", estimates.ratio(rounds, BOTH, FLOOR, BARE), 1.8),
        Check(
            "not sampled: added / floor's", estimates.ratio(rounds, UNSAMPLED, FLOOR, BARE), 1 / 3
        ),
    ]
    return report


def _unsure(rounds: Sequence[Round]) -> float:
    return max(
        estimates.ratio(rounds, OURS, FLOOR, BARE).precision,
        estimates.ratio(rounds, OURS, PEER, BARE).precision,
    )


def _variants() -> list[Variant]:
    sampled, unsampled = providers.batching(), providers.batching(sampled=False)
    ours = providers.batching(ours=True)
    meters = providers.measuring()
    floor = Floor(sampled.get_tracer("floor"))
    plain = _segment(lambda: engine().run())
    logger = _logger()

    def logged() -> None:
        made = engine()
        with DynamicLogListener(made, logger=logger):
            made.run()

    return [
        Variant(BARE, nullcontext, plain),
        Variant(LOGGED, nullcontext, _segment(logged)),
        Variant(FLOOR, lambda: providers.flushed(sampled), _segment(floor.run)),
        Variant(OURS, lambda: providers.traced(ours), plain),
        Variant(BOTH, lambda: providers.traced(ours, meters), plain),
        Variant(UNSAMPLED, lambda: providers.traced(unsampled), plain),
        Variant(MEASURED, lambda: providers.traced(unsampled, meters), plain),
        Variant(PEER, lambda: _peer(sampled), plain),
    ]


def _segment(once: Callable[[], None]) -> Segment:
    def segment(operations: int) -> Mapping[str, Sequence[float]]:
        took = []
        for _ in range(operations):
            started = time.thread_time()
            once()
            took.append(time.thread_time() - started)
        return {"flow": took}

    return segment


@contextmanager
def _peer(provider: TracerProvider) -> Iterator[None]:
    TaskflowInstrumentor().instrument(tracer_provider=provider)
    try:
        with providers.flushed(provider):
            yield
    finally:
        TaskflowInstrumentor().uninstrument()


def _check_floor() -> None:
    provider, ours = providers.recording()
    with providers.traced(provider):
        engine().run()
    provider, floor = providers.recording()
    Floor(provider.get_tracer("floor")).run()
    providers.assert_same_spans(ours, floor)


def _logger() -> log.KeywordArgumentAdapter:
    """Cinder's logger of that module, at DEBUG, written as Cinder writes it but to /dev/null."""
    configuration = cfg.ConfigOpts()
    log.register_options(configuration)
    configuration([])
    handler = logging.StreamHandler(open(os.devnull, "w"))  # noqa: SIM115, PTH123 - to the end
    handler.setFormatter(formatters.ContextFormatter(project="cinder", config=configuration))
    logger = logging.getLogger("benchmarks.flow")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.addHandler(handler)
    return log.KeywordArgumentAdapter(logger, {"project": "cinder"})
