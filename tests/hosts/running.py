"""Runs tests of the hosts in several processes at once, traced or not."""

from __future__ import annotations

import collections
import contextlib
import itertools
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.hosts.suites import Suite
from tests.hosts.worker import last_lines

ROOT = Path(__file__).parents[2]

_TEST_LIMIT_S = 180
"""A test that takes longer ends its process, with the stacks of all threads in the log."""

_GRACE_S = 60
"""How much later a process that says nothing counts as dead."""

_RESTARTS = 20
"""Processes that may end in a test, one after the other."""

Unit = tuple[str, str]
"""A module, and where its classes may be run apart one of them: it runs in one process."""


@dataclass(frozen=True)
class Outcome:
    """How a test went, and what its process had run before."""

    test: str
    unit: Unit
    outcome: str
    """``passed``, ``skipped`` or ``failed``."""
    said: str = ""
    """Of one that failed: the last lines of its traceback."""
    before: tuple[Unit, ...] = ()

    @property
    def failed(self) -> bool:
        """True if the test failed."""
        return self.outcome == "failed"


@dataclass
class Ran:
    """The results of a run."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    states: list[dict[str, Any]] = field(default_factory=list)
    """How tracing fared in each process, in the end."""
    seconds: float = 0.0

    def count(self, outcome: str) -> int:
        """Tests that went so."""
        return sum(result.outcome == outcome for result in self.outcomes.values())

    @property
    def failures(self) -> list[Outcome]:
        """Those that failed, by name."""
        return sorted((result for result in self.outcomes.values() if result.failed), key=by_name)

    def add(self, outcome: Outcome) -> None:
        """Keep it; of a test that several modules have, the worst."""
        known = self.outcomes.get(outcome.test)
        if known is None or not known.failed:
            self.outcomes[outcome.test] = outcome


def by_name(outcome: Outcome) -> str:
    """To sort by."""
    return outcome.test


class TooSlowError(Exception):
    """The time that a run may take is over."""


class DiedError(Exception):
    """A process has ended in the midst of a test."""


class Feed:
    """Hands units to the processes that run them, each to one.

    Args:
        units: in this order; None: what the first process finds, the largest first.
        only: of a unit, the names of the tests that are wanted.
        last: ends of the names of modules that come after all others.
    """

    def __init__(
        self,
        units: Iterable[Unit] | None = None,
        only: Mapping[Unit, Collection[str]] | None = None,
        last: tuple[str, ...] = (),
    ) -> None:
        self._lock = threading.Lock()
        self._units = None if units is None else collections.deque(units)
        self._only = only or {}
        self._last = last

    def found(self, units: Iterable[tuple[str, str, int]]) -> None:
        """A process has so many tests in each of these."""
        with self._lock:
            if self._units is None:
                ordered = sorted(units, key=lambda unit: (unit[0].endswith(self._last), -unit[2]))
                self._units = collections.deque((module, kind) for module, kind, _ in ordered)

    def take(self) -> Unit | None:
        """The next unit; None: no more."""
        with self._lock:
            return self._units.popleft() if self._units else None

    def only(self, unit: Unit) -> list[str]:
        """The tests that are wanted of it; none: all."""
        return sorted(self._only.get(unit, ()))


class Runner:
    """Runs one suite's tests.

    Args:
        modules: those that each process imports.
        tracing: the environment that switches tracing on.
        logs: a folder for what the processes write.
        deadline: when, by ``time.monotonic``, all of it must be over.
        test_limit: seconds that a test may take.
    """

    def __init__(
        self,
        suite: Suite,
        modules: Sequence[str],
        tracing: Mapping[str, str],
        logs: Path,
        deadline: float,
        test_limit: float = _TEST_LIMIT_S,
    ) -> None:
        self.suite = suite
        self.modules = list(modules)
        self._tracing = tracing
        self._logs = logs
        self._deadline = deadline
        self._test_limit = test_limit
        self._numbers = itertools.count(1)

    def run(self, *, traced: bool) -> Ran:
        """Run all tests in the suite's number of processes."""
        feed = Feed(last=self.suite.last)
        return self.run_feeds([(feed, self.modules)] * self.suite.processes, traced=traced)

    def run_feeds(self, feeds: Sequence[tuple[Feed, list[str]]], *, traced: bool) -> Ran:
        """Run one process a feed, which imports these modules; so many at once as the suite has."""
        ran = Ran()
        begin = time.monotonic()
        with ThreadPoolExecutor(self.suite.processes) as pool:
            runs = [pool.submit(self._drive, *feed, ran, traced=traced) for feed in feeds]
            for run in runs:
                run.result()
        ran.seconds = time.monotonic() - begin
        return ran

    def _drive(self, feed: Feed, modules: list[str], ran: Ran, *, traced: bool) -> None:
        with contextlib.ExitStack() as stack:

            def start() -> Worker:
                return stack.enter_context(self._worker(modules, traced=traced))

            worker = start()
            feed.found(worker.units)
            for outcome in worker.unloaded:
                ran.add(outcome)
            before: list[Unit] = []
            while unit := feed.take():
                if unit in worker.known:
                    worker = self._run_unit(unit, feed.only(unit), worker, start, before, ran)
                    before.append(unit)
            ran.states.append(worker.finish())

    def _run_unit(
        self,
        unit: Unit,
        only: list[str],
        worker: Worker,
        start: Callable[[], Worker],
        before: list[Unit],
        ran: Ran,
    ) -> Worker:
        """Run a unit, in new processes where it ends one; returns the last."""
        done: list[str] = []
        for _ in range(_RESTARTS):
            try:
                for outcome in worker.run(unit, only, done, tuple(before)):
                    if time.monotonic() > self._deadline:
                        raise TooSlowError(f"{len(ran.outcomes)} tests have run, then time was up")
                    done.append(outcome.test)
                    ran.add(outcome)
            except DiedError as died:
                test, message = died.args
                ran.add(Outcome(test, unit, "failed", message, tuple(before)))
                done.append(test)
                worker = start()
            else:
                return worker
        raise RuntimeError(f"{unit} has ended {_RESTARTS} processes; see {self._logs}")

    def _worker(self, modules: list[str], *, traced: bool) -> Worker:
        number = next(self._numbers)
        log = self._logs / f"{number}-{'traced' if traced else 'untraced'}.log"
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("OTEL_", "PYTEST_"))
        }
        environment |= {"PYTHONPATH": str(ROOT), **self.suite.environment}
        if traced:
            environment |= self._tracing
        return Worker(self.suite, modules, environment, log, self._test_limit)


class Worker:
    """A process that runs tests; see `tests.hosts.worker`."""

    def __init__(
        self,
        suite: Suite,
        modules: list[str],
        environment: Mapping[str, str],
        log: Path,
        test_limit: float,
    ) -> None:
        self._log = log
        self._test_limit = test_limit
        self._test = "loading"
        folder = log.with_suffix("")
        folder.mkdir()
        with log.open("wb") as output:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", "tests.hosts.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env=dict(environment),
                cwd=folder,
                text=True,
                start_new_session=True,
            )
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.unloaded: list[Outcome] = []
        """Modules that can't be imported."""
        self.units: list[tuple[str, str, int]] = []
        try:
            self._load(suite, modules)
        except BaseException:
            self.close()
            raise
        self.known = {(module, kind) for module, kind, _ in self.units}

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _load(self, suite: Suite, modules: list[str]) -> None:
        self._ask(
            modules=modules, first=suite.first, apart=suite.classes_apart, limit=self._test_limit
        )
        for event in self._events("loaded"):
            module = event["test"].partition(" ")[0]
            self.unloaded.append(Outcome(event["test"], (module, ""), "failed", event["said"]))
        self.units = self._last["units"]

    def run(
        self, unit: Unit, only: list[str], skip: list[str], before: tuple[Unit, ...]
    ) -> Iterator[Outcome]:
        """Run the unit's tests; DiedError has the test that ended the process, and what was said."""
        module, kind = unit
        self._test = kind or module
        self._ask(module=module, kind=kind, only=only, skip=skip)
        for event in self._events("done"):
            self._test = event["test"]
            if event["event"] == "ended":
                yield Outcome(self._test, unit, event["outcome"], event["said"], before)

    def finish(self) -> dict[str, Any]:
        """End the process as it would itself, with its last export; returns how tracing fared."""
        assert self._popen.stdin is not None
        self._test = "the end"
        self._popen.stdin.close()
        for _ in self._events("finished"):
            pass
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(_GRACE_S)
        return self._last

    def close(self) -> None:
        """End what is left of the process."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()
        for pipe in (self._popen.stdin, self._popen.stdout):
            with contextlib.suppress(OSError):
                pipe.close()

    def _ask(self, **request: Any) -> None:
        assert self._popen.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has died, which is told in a moment
            self._popen.stdin.write(json.dumps(request) + "\n")
            self._popen.stdin.flush()

    def _events(self, last: str) -> Iterator[dict[str, Any]]:
        while True:
            event = json.loads(self._answer() or self._died())
            if event["event"] == last:
                self._last = event
                return
            yield event

    def _answer(self) -> str:
        try:
            return self._answers.get(timeout=self._test_limit + _GRACE_S)
        except queue.Empty:
            return ""

    def _died(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(5)
        status = self._popen.returncode
        how = f"ended with status {status}" if status is not None else "said nothing any more"
        message = f"The process {how}.\n{last_lines(self._log.read_text(errors='replace'))}"
        raise DiedError(self._test, message)

    def _read(self) -> None:
        with contextlib.suppress(ValueError, OSError):
            for line in self._popen.stdout:
                self._answers.put(line)
        self._answers.put("")
