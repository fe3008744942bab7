"""Runs a host's own tests in a process of their own, traced by the ``.pth`` line or not.

    python -m tests.hosts.worker

`tests.hosts.running` starts it and talks to it over stdin and stdout, in lines of JSON. Where the
process is traced, each test runs inside of a message's span, so that all seams are at work, those too
that make spans in traces only. Nothing is imported here that Cinder's own processes would not have
imported before eventlet patches the standard library.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import logging
import os
import sys
import time
import traceback
import unittest
from collections.abc import Iterator
from typing import Any

_SAID_LINES = 12


class Answers:
    """Lines of JSON on what was stdout; whatever else writes there goes to the log."""

    def __init__(self) -> None:
        self._fd = os.dup(1)
        os.dup2(2, 1)
        self._write = os.write  # eventlet's would try for ever if the reader is gone

    def say(self, event: str, **more: Any) -> None:
        # Not buffered: a test may fork.
        self._write(self._fd, (json.dumps({"event": event, **more}) + "\n").encode())


class Result(unittest.TestResult):
    """Tells of each test, and traces it."""

    def __init__(self, answers: Answers, limit: float) -> None:
        super().__init__()
        self._answers = answers
        self._limit = limit
        self._outcome = "passed"
        self._said = ""
        self._leave: Any = None

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self._outcome, self._said = "passed", ""
        self._answers.say("began", test=test.id())
        faulthandler.dump_traceback_later(self._limit, exit=True)
        self._leave = trace(test.id())

    def stopTest(self, test: unittest.TestCase) -> None:
        self._leave()
        faulthandler.cancel_dump_traceback_later()
        self._answers.say("ended", test=test.id(), outcome=self._outcome, said=self._said)
        super().stopTest(test)

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        super().addSkip(test, reason)
        self._outcome = "skipped"

    def addError(self, test: unittest.TestCase, err: Any) -> None:
        super().addError(test, err)
        self._fail(test, self.errors[-1][1])

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        super().addFailure(test, err)
        self._fail(test, self.failures[-1][1])

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:
        super().addUnexpectedSuccess(test)
        self._fail(test, "it passed, and was expected to fail")

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._fail(test, (self.failures + self.errors)[-1][1])

    def _fail(self, test: unittest.TestCase, said: str) -> None:
        self._outcome, self._said = "failed", last_lines(said)
        if not isinstance(test, unittest.TestCase):  # a class's or module's own setUp
            self._answers.say("ended", test=test.id(), outcome=self._outcome, said=self._said)


def trace(name: str) -> Any:
    """Begin a trace as a message does, where this process is traced; returns what ends it."""
    if "otel_cinder.spans.runtime" not in sys.modules:
        return lambda: None
    from opentelemetry import context as otel_context
    from opentelemetry.trace import SpanKind, set_span_in_context

    from otel_cinder.spans import local_root
    from otel_cinder.spans.runtime import end_span, runtime

    nothing = otel_context.Context()
    span = runtime.start_span(name, nothing, SpanKind.CONSUMER)
    inside = set_span_in_context(span, nothing)
    token = otel_context.attach(local_root.enter(inside, local_root.LocalRoot(span, is_http=False)))

    def leave() -> None:
        otel_context.detach(token)
        end_span(span)

    return leave


def last_lines(said: str) -> str:
    """The end of a traceback, which says most."""
    lines = [line for line in said.splitlines() if line.strip()]
    return "\n".join(lines[-_SAID_LINES:])


Units = dict[tuple[str, str], list[unittest.TestCase]]
"""Tests by their module and, where classes may be run apart, by their class."""


def load(modules: list[str], answers: Answers, *, apart: bool) -> Units:
    """Import all modules, then find their tests; tell of what can't be imported.

    All are imported before the first test runs, as the hosts' own runners do: what a test leaves
    behind (an option that is registered) may keep another module from being imported.
    """
    loader = unittest.TestLoader()
    imported = []
    for name in modules:
        try:
            imported.append(importlib.import_module(name))
        except (Exception, SystemExit):
            message = last_lines(traceback.format_exc())
            answers.say("ended", test=f"{name} (import)", outcome="failed", said=message)
    units: Units = {}
    for module in imported:
        for test in each(loader.loadTestsFromModule(module)):
            kind = f"{type(test).__module__}.{type(test).__qualname__}" if apart else ""
            units.setdefault((module.__name__, kind), []).append(test)
    return units


def each(tests: Any) -> Iterator[unittest.TestCase]:
    """The tests of a suite of suites."""
    if isinstance(tests, unittest.TestCase):
        yield tests
    else:
        for part in tests:
            yield from each(part)


def warm_up() -> None:
    """Let happen what does once in a process: exporters are imported and made, in threads.

    Tests replace ``open``, ``socket`` or ``uuid4`` for all threads, and count the calls.
    """
    leave = trace("warm up")
    logging.getLogger("tests.hosts").critical("The exporters are being made.")
    leave()
    if "otel_cinder.spans.runtime" in sys.modules:
        from otel_cinder import conventions
        from otel_cinder.spans.runtime import flush, runtime

        runtime.measure(conventions.RPC_QUEUE_DURATION, 0, {})
        flush(60)


def state() -> dict[str, Any]:
    """The process's CPU time and the states of its seams; none if it is untraced."""
    seams, complaints = [], []
    if "otel_cinder.instrumentor" in sys.modules:
        from otel_cinder.instrumentor import CinderInstrumentor
        from otel_cinder.patching import internal_errors

        rows = CinderInstrumentor().status()
        seams = sorted({row.seam for row in rows if row.state == "on"})
        complaints = sorted(f"{seam}: {kind.__name__}" for seam, kind in internal_errors._logged)
    return {"cpu": time.process_time(), "seams": seams, "complaints": complaints}


def main() -> None:
    """Answer to what stdin asks for, until it ends."""
    answers = Answers()
    questions = os.fdopen(os.dup(0), encoding="utf-8")  # a test of Cinder's closes stdin
    request = json.loads(questions.readline())
    for name in request["first"]:
        importlib.import_module(name)
    found = load(request["modules"], answers, apart=request["apart"])
    warm_up()
    answers.say("loaded", units=[[*unit, len(tests)] for unit, tests in found.items()])
    for line in questions:
        wanted = json.loads(line)
        tests = found[wanted["module"], wanted["kind"]]
        if wanted["only"]:
            # None is of these names where it was the class's own setUp that failed.
            tests = [test for test in tests if test.id() in wanted["only"]] or tests
        left = [test for test in tests if test.id() not in wanted["skip"]]
        unittest.TestSuite(left).run(Result(answers, request["limit"]))
        answers.say("done")
    answers.say("finished", **state())


if __name__ == "__main__":
    main()
