"""The runner itself, over a small suite whose tests fail in all ways there are."""

from __future__ import annotations

import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.hosts.running import ROOT, Feed, Ran, Runner, TooSlowError
from tests.hosts.suites import Suite
from tests.hosts.verdicts import Verdict, judge

BEGIN = """
import os, pathlib, sys, time, unittest
TRACED = "OTEL_CINDER_ENABLED" in os.environ

def first_time(name):
    mark = pathlib.Path(os.environ["MARKS"], name)
    first = not mark.exists()
    mark.touch()
    return first
"""

STEADY = """
class Steady(unittest.TestCase):
    def test_passes(self):
        print("not an answer")
        sys.stdin.close()
    @unittest.skip("why not")
    def test_is_skipped(self): pass
    def test_forks(self):
        child = os.fork()
        if not child:
            os._exit(0)
        os.waitpid(child, 0)
"""

OTHERS_FAULTS = """
class Theirs(unittest.TestCase):
    def test_fails_always(self): self.fail("no broker")
    def test_fails_once(self): self.assertFalse(first_time("once"))
    def test_ends_its_process(self): os.kill(os.getpid(), 9)
class NotSetUp(unittest.TestCase):
    @classmethod
    def setUpClass(cls): raise OSError("no such file")
    def test_never(self): pass
"""

OUR_FAULTS = """
class Ours(unittest.TestCase):
    def test_fails(self): self.assertFalse(TRACED, "it is traced")
    def test_ends_its_process(self): TRACED and os.kill(os.getpid(), 9)
    def test_hangs(self): TRACED and time.sleep(60)
    def test_subtest(self):
        with self.subTest("a part"):
            self.assertFalse(TRACED)
    def test_passes(self): pass
"""

LEAVES = """
import builtins
class Leaves(unittest.TestCase):
    def test_leaves_something(self): builtins.left_behind = TRACED
"""

FINDS = """
import builtins
class Finds(unittest.TestCase):
    def test_finds_it(self): self.assertFalse(getattr(builtins, "left_behind", False))
"""


def suite(folder: Path, first: tuple[str, ...] = (), **modules: str) -> Suite:
    """A package of these modules of tests; nothing is instrumented unless ``first`` is."""
    package = folder / "hostlike"
    package.mkdir()
    (package / "__init__.py").touch()
    for name, source in modules.items():
        (package / f"{name}.py").write_text(BEGIN + textwrap.dedent(source))
    environment = {"PYTHONPATH": f"{folder}:{ROOT}", "MARKS": str(folder)}
    return Suite("hostlike", "hostlike", first=first, environment=environment)


def runner(suite: Suite, logs: Path, limit_s: float = 600) -> Runner:
    """A runner that traces without any export."""
    tracing = {
        "OTEL_CINDER_ENABLED": "true",
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_METRICS_EXPORTER": "none",
    }
    logs.mkdir()
    modules = suite.modules(whole=True)
    return Runner(suite, modules, tracing, logs, time.monotonic() + limit_s, test_limit=10)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs modules traced; returns what came of it, and whose the failures are."""
    monkeypatch.syspath_prepend(tmp_path)

    def run(**modules: str) -> tuple[Ran, Verdict]:
        running = runner(suite(tmp_path, **modules), tmp_path / "logs")
        ran = running.run(traced=True)
        return ran, judge(ran.failures, running)

    return run


def names(outcomes) -> list[str]:
    """Their names without the package's."""
    return sorted(outcome.test.replace("hostlike.", "") for outcome in outcomes)


def test_passed_tests_are_counted(run) -> None:
    """Tests that pass or are skipped are counted, whatever they do with stdin, stdout and forks."""
    ran, verdict = run(test_a=STEADY)
    assert (ran.count("passed"), ran.count("skipped"), ran.count("failed")) == (2, 1, 0)
    assert verdict.broken == verdict.theirs == verdict.unsteady == []


def test_tests_that_tracing_breaks_are_named(run) -> None:
    """A test that fails, crashes or hangs only while it is traced is ours, with its last lines."""
    ran, verdict = run(test_a=STEADY, test_b=OUR_FAULTS)
    assert names(verdict.broken) == [
        "test_b.Ours.test_ends_its_process",
        "test_b.Ours.test_fails",
        "test_b.Ours.test_hangs",
        "test_b.Ours.test_subtest",
    ]
    crash, failure, hang, subtest = (outcome.said for outcome in verdict.broken)
    assert "ended with status -9" in crash
    assert "AssertionError: True is not false : it is traced" in failure
    assert "in test_hangs" in hang
    assert "True is not false" in subtest
    assert verdict.theirs == verdict.unsteady == []
    assert ran.count("passed") == 3


def test_other_failures_are_not_ours(run) -> None:
    """A test that also fails untraced is the host's; one that passes when repeated is chance."""
    missing = "import no_such_package"
    ran, verdict = run(test_a=STEADY, test_b=OTHERS_FAULTS, test_c=missing)
    assert verdict.broken == []
    assert names(verdict.theirs) == [
        "setUpClass (test_b.NotSetUp)",
        "test_b.Theirs.test_ends_its_process",
        "test_b.Theirs.test_fails_always",
        "test_c (import)",
    ]
    assert names(verdict.unsteady) == ["test_b.Theirs.test_fails_once"]
    assert ran.count("passed") == 2


def test_leftovers_of_another_test_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test that fails traced only behind others in its process is ours as well."""
    monkeypatch.syspath_prepend(tmp_path)
    made = runner(suite(tmp_path, test_a=LEAVES, test_b=FINDS), tmp_path / "logs")
    feed = Feed([("hostlike.test_a", ""), ("hostlike.test_b", "")])
    ran = made.run_feeds([(feed, made.modules)], traced=True)
    assert names(ran.failures) == ["test_b.Finds.test_finds_it"]
    verdict = judge(ran.failures, made)
    assert names(verdict.broken) == ["test_b.Finds.test_finds_it"]


def test_what_leaves_something_behind_comes_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module that the suite names as last runs behind all others, however large it is."""
    monkeypatch.syspath_prepend(tmp_path)
    larger = f"{LEAVES}\n    def test_more(self): pass"
    hosts = suite(tmp_path, test_a=larger, test_b=FINDS)
    in_order = replace(hosts, last=(".test_a",), processes=1)
    ran = runner(in_order, tmp_path / "logs").run(traced=True)
    assert (ran.count("passed"), ran.failures) == (3, [])


@pytest.mark.parametrize("traced", [True, False], ids=["traced", "untraced"])
def test_processes_say_whether_they_are_traced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, traced: bool
) -> None:
    """Each process says which seams are on: none where nothing is to be traced."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("OTEL_CINDER_ENABLED", "true")  # of the process that asks
    made = runner(suite(tmp_path, ("oslo_messaging",), test_a=STEADY), tmp_path / "logs")
    ran = made.run(traced=traced)
    assert ran.failures == []
    assert len(ran.states) == 2
    for state in ran.states:
        assert ({"rpc", "concurrency"} <= set(state["seams"])) is traced
        assert bool(state["seams"]) is traced


def test_run_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that takes longer than it may ends with an error that says so."""
    monkeypatch.syspath_prepend(tmp_path)
    made = runner(suite(tmp_path, test_a=STEADY), tmp_path / "logs", limit_s=0)
    with pytest.raises(TooSlowError, match="then time was up"):
        made.run(traced=True)


def test_package_without_tests_has_no_modules() -> None:
    """Of a package that is missing, or has no tests, no module is found."""
    assert Suite("none", "no_such_package.tests").modules(whole=True) == []
    assert Suite("none", "wrapt.no_tests").modules(whole=True) == []
