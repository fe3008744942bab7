"""create: CPU time of each of Cinder's services for one POST /volumes, traced and not.

Three Cinders run at once on one RabbitMQ and one MariaDB, one of them traced, and take turns; what
their processes used is read from their own CPU clocks. They change roles twice, because two Cinders
never cost quite the same.

One of the two that are not traced has, for its frames, the room that a traced one has
(`otel_cinder.patching.stack_room`): that alone saves so much that it would hide what all the rest costs.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from benchmarks import estimates
from benchmarks.estimates import Round
from benchmarks.verdicts import Check, Report, interval
from otel_cinder.reading.receiver import Receiver
from tests.integration.broker import Broker
from tests.integration.configuration import API, BACKEND_FOLDER, SERVICES, UNTRACED, Tracing
from tests.integration.database import TEMPLATE, Database
from tests.integration.installation import Installation
from tests.integration.stack import CinderStack

AS_BY_DEFAULT = {"OTEL_BSP_SCHEDULE_DELAY": "5000", "OTEL_METRIC_EXPORT_INTERVAL": "60000"}
"""The tests' own stack exports more often."""

OFF, ROOM, ON, ALL = "off", "off, with room", "on", "together"
VARIANTS = (OFF, ROOM, ON)

ROOM_FOLDER = Path(__file__).with_name("room")
"""Its ``sitecustomize`` makes room, where it is on the path."""
BATCH, CONCURRENCY = 40, 4

SETTLE_SECONDS = 5.5
"""Longer than the 5 s between two exports, so that a turn's spans leave within the turn."""

AT_LEAST, AT_MOST_SECONDS, PRECISION = 15, 600.0, 0.005
"""The last one of cinder-api's ratio."""

BOUND = 1.03
"""Times what cinder-api uses untraced."""

QUICK_AT_LEAST, QUICK_SECONDS = 6, 120.0


def benchmark(*, quick: bool = False) -> Report:
    """Create volumes by turns; needs RabbitMQ's and MariaDB's servers."""
    try:
        rounds = _measure(quick=quick)
    except pytest.skip.Exception as absent:  # how the tests' stack says that something is missing
        return Report("create", notes=[f"Not measured: {absent}"])
    except pytest.fail.Exception as absent:
        return Report("create", notes=[f"Not measured: {absent}"], failed=True)
    count = len(rounds[ALL])
    report = Report(
        f"create: CPU ms per POST /volumes, eventlet ({count} rounds of {len(VARIANTS) * BATCH} each)",
        ("service", *VARIANTS, f"added to {ROOM!r}", "95 % interval", "on / off", "on / with room"),
    )
    for service, costs in rounds.items():
        added = estimates.added(costs, ON, ROOM)
        report.rows.append(
            (
                service,
                *(f"{estimates.typical(costs, variant).value:.1f}" for variant in VARIANTS),
                f"{added.value:.2f}",
                interval(added, 2),
                f"{estimates.times(costs, ON, OFF).value:.3f}",
                f"{estimates.times(costs, ON, ROOM).value:.3f}",
            )
        )
    report.checks.append(
        Check("cinder-api: on / off", estimates.times(rounds[API], ON, OFF), BOUND)
    )
    report.notes.append("Includes the export to a collector, and what idle services do meanwhile.")
    return report


def _measure(*, quick: bool) -> dict[str, list[Round]]:
    phases: list[dict[str, list[Round]]] = []
    with ExitStack() as opened:
        make = opened.enter_context(_stacks())
        receiver = opened.enter_context(Receiver())
        stacks = [make("one"), make("two"), make("three")]
        paths = os.pathsep.join(map(str, (BACKEND_FOLDER, ROOM_FOLDER)))
        set_up = {
            OFF: UNTRACED,
            ROOM: Tracing(env={"OTEL_CINDER_ENABLED": "false", "PYTHONPATH": paths}),
            ON: Tracing(receiver.endpoint, env=AS_BY_DEFAULT),
        }
        for phase in range(len(stacks)):
            roles = dict(zip(VARIANTS, stacks[phase:] + stacks[:phase], strict=True))
            for variant, stack in roles.items():
                stack.restart(set_up[variant])
                _turn(stack, BATCH)  # fills caches; not counted
            receiver.clear()
            phases.append(_run_phase(roles, receiver, quick=quick))
    return {service: _merged(*(phase[service] for phase in phases)) for service in phases[0]}


def _merged(*phases: list[Round]) -> list[Round]:
    """Rounds in which each Cinder has had each role, so that what makes them differ cancels out."""
    return [
        {name: mean(costs[name] for costs in rounds) for name in VARIANTS}
        for rounds in zip(*phases, strict=False)
    ]


def _run_phase(
    roles: dict[str, CinderStack], receiver: Receiver, *, quick: bool
) -> dict[str, list[Round]]:
    rounds: dict[str, list[Round]] = {service: [] for service in (*SERVICES, ALL)}
    deadline = time.monotonic() + (QUICK_SECONDS if quick else AT_MOST_SECONDS) / len(roles)
    at_least = (QUICK_AT_LEAST if quick else AT_LEAST) // len(roles)
    while time.monotonic() < deadline:
        used = {name: _turn(roles[name], BATCH) for name in random.sample(VARIANTS, len(VARIANTS))}
        for service in rounds:
            rounds[service].append({name: used[name][service] for name in used})
        precise = estimates.times(rounds[API], ON, ROOM).precision < PRECISION
        if len(rounds[ALL]) >= at_least and precise:
            break
    if not receiver.spans():
        raise AssertionError("no span arrived: the traced Cinder is not traced")
    return rounds


def _turn(stack: CinderStack, count: int) -> dict[str, float]:
    """Create volumes, wait until all is done and exported; ms per request of each service."""
    started = _cpu_seconds(stack)
    answers = stack.create(count, CONCURRENCY)
    stack.wait_available(answer.volume_id for answer in answers)
    time.sleep(SETTLE_SECONDS)
    ended = _cpu_seconds(stack)
    used = {service: (ended[service] - started[service]) / count * 1000 for service in SERVICES}
    return {**used, ALL: sum(used.values())}


def _cpu_seconds(stack: CinderStack) -> dict[str, float]:
    return {
        name: sum(_cpu_clock(process.pid) for process in stack.services[name].family())
        for name in SERVICES
    }


def _cpu_clock(pid: int) -> float:
    """A process's CPU clock, all its threads', in nanoseconds rather than /proc's 10 ms ticks."""
    return time.clock_gettime((~pid << 3) | 2)  # what the C library's clock_getcpuclockid returns


@contextmanager
def _stacks() -> Iterator[Any]:
    """Servers of our own, and a function that makes Cinders on them; all ended afterwards."""
    with ExitStack() as opened:
        top = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="otel-cinder-bench-")))

        def folder(name: str) -> Path:
            folder = top / name
            folder.mkdir()
            return folder

        installation = Installation(folder("installation"))
        broker = Broker(folder("rabbitmq"))
        opened.callback(broker.close)
        broker.start()
        database = Database(folder("mariadb"))
        opened.callback(database.close)
        database.start()
        configuration = top / "cinder.conf"
        configuration.write_text(
            f"[DEFAULT]\nstate_path = {top}\n[database]\nconnection = {database.url(TEMPLATE)}\n"
        )
        database.make_template(
            installation.python, installation.script("cinder-manage"), configuration
        )

        def make(name: str) -> CinderStack:
            stack = CinderStack(
                f"cinder_{name}", "eventlet", installation, broker, database, folder(name)
            )
            opened.callback(stack.close)
            return stack

        yield make
