"""Runs each suite that is asked for once, all at the same time, and prints what came of it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.hosts.running import Ran, Runner
from tests.hosts.sink import Sink
from tests.hosts.suites import Suite
from tests.hosts.verdicts import Verdict, judge
from tests.integration.processes import missing

EVERYTHING_ON = {
    "OTEL_CINDER_ENABLED": "true",
    "OTEL_CINDER_LOG_LEVEL": "DEBUG",
    "OTEL_CINDER_PERIODIC": "true",
    "OTEL_CINDER_RESULTS": "values",
    "OTEL_LOGS_EXPORTER": "otlp",
    "OTEL_METRIC_EXPORT_INTERVAL": "5000",
    "OTEL_BSP_SCHEDULE_DELAY": "500",
}
"""So that as much of our code as can be runs beside the hosts'."""

_lines = pytest.StashKey[list[str]]()


@dataclasses.dataclass
class Report:
    """The results of a suite's run."""

    suite: Suite
    ran: Ran
    verdict: Verdict
    sink: Sink
    untraced: Ran | None = None
    """The same tests without tracing, where all have been run so."""

    @property
    def broken(self) -> str:
        """Each test that tracing breaks, with the end of its traceback."""
        return "\n\n".join(f"{failure.test}\n{failure.said}" for failure in self.verdict.broken)

    @property
    def vanished(self) -> list[str]:
        """Tests that ran untraced, and not traced."""
        return sorted(set(self.untraced.outcomes if self.untraced else ()) - set(self.ran.outcomes))

    def lines(self) -> Iterator[str]:
        """Counts, and the names of what was not steady."""
        if self.untraced is not None:
            yield f"{self.suite.name}, untraced: {_counts(self.untraced)}"
        yield f"{self.suite.name}, traced: {_counts(self.ran)}"
        yield (
            f"    of the failed {len(self.verdict.theirs)} fail untraced too, "
            f"{len(self.verdict.unsteady)} passed when repeated, "
            f"{len(self.verdict.broken)} are broken by tracing"
        )
        yield (
            f"    {sum(self.sink.spans.values())} spans, {self.sink.logs} log records and "
            f"{len(self.sink.metrics)} metrics arrived"
        )
        for outcome in self.verdict.unsteady:
            last = outcome.said.rpartition("\n")[2]
            yield f"    passed when repeated: {outcome.test}: {last}"


def _counts(ran: Ran) -> str:
    cpu = sum(state["cpu"] for state in ran.states)
    return (
        f"{len(ran.outcomes)} tests in {ran.seconds:.0f} s ({cpu:.0f} s of CPU): "
        f"{ran.count('passed')} passed, {ran.count('skipped')} skipped, {ran.count('failed')} failed"
    )


def report(suite: Suite, logs: Path, limit_s: float, *, whole: bool) -> Report:
    """Run a suite, or those of its tests that CI runs, and judge what fails.

    Args:
        logs: a folder for what the processes write.
        limit_s: seconds that all of it may take.
        whole: run all, and all of them untraced as well.
    """
    modules = suite.modules(whole=whole)
    if not modules:
        missing(f"The package {suite.package} has no tests.")
    with Sink() as sink:
        tracing = {**EVERYTHING_ON, "OTEL_EXPORTER_OTLP_ENDPOINT": sink.endpoint}
        runner = Runner(suite, modules, tracing, logs, time.monotonic() + limit_s)
        untraced = runner.run(traced=False) if whole else None
        ran = runner.run(traced=True)
        theirs = {failure.test for failure in untraced.failures} if untraced else None
        return Report(suite, ran, judge(ran.failures, runner, theirs), sink, untraced)


Reports = dict[str, "Future[Report]"]


def start(
    request: pytest.FixtureRequest, folder: Path, limit_s: float, *, whole: bool
) -> Iterator[Reports]:
    """Run the suites of all tests that have been collected and use the asking fixture."""
    wanted = {
        item.callspec.params["suite"].name: item.callspec.params["suite"]
        for item in request.session.items
        if request.fixturename in getattr(item, "fixturenames", ())
    }
    reports: Reports = {}
    with ThreadPoolExecutor(len(wanted)) as pool:
        for name, suite in wanted.items():
            logs = folder / name.replace(" ", "-")
            logs.mkdir()
            reports[name] = pool.submit(report, suite, logs, limit_s, whole=whole)
        yield reports
    lines = request.config.stash.setdefault(_lines, [])
    for each in reports.values():
        if each.exception() is None:
            lines += each.result().lines()


@pytest.fixture(scope="session")
def reports(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Reports]:
    """The suites with what CI runs of them, all at once: some of them mostly sleep."""
    yield from start(request, tmp_path_factory.mktemp("hosts"), 3600, whole=False)


@pytest.fixture(scope="session")
def whole_reports(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Reports]:
    """The whole suites, untraced and traced."""
    yield from start(request, tmp_path_factory.mktemp("whole-hosts"), 8 * 3600, whole=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the counts, whether or not anything has failed."""
    lines = terminalreporter.config.stash.get(_lines, [])
    if lines:
        terminalreporter.section("the hosts' own tests")
        for line in lines:
            terminalreporter.write_line(line)
