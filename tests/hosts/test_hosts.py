"""The hosts' own tests, with tracing on: what passes without it passes with it."""

from __future__ import annotations

import pytest

from tests.hosts.conftest import Report, Reports
from tests.hosts.suites import SUITES, Suite

each_suite = pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)


def check_tests(report: Report) -> None:
    ran = len(report.ran.outcomes) - report.ran.count("skipped")
    assert ran >= report.suite.at_least
    if report.verdict.broken:
        pytest.fail(f"These pass, and fail when they are traced:\n\n{report.broken}", pytrace=False)
    assert not report.vanished


def check_tracing(report: Report) -> None:
    for state in report.ran.states:
        assert report.suite.seams.issubset(state["seams"])
        assert set(state["complaints"]) <= report.suite.complaints
    assert set(report.suite.spans) <= set(report.sink.spans)
    assert report.sink.logs
    assert report.sink.metrics


@pytest.mark.timeout(4000)
@each_suite
def test_no_test_fails_because_it_is_traced(suite: Suite, reports: Reports) -> None:
    """Of the tests that touch what is patched, none fails traced that passes untraced."""
    check_tests(reports[suite.name].result())


@pytest.mark.timeout(4000)
@each_suite
def test_tracing_was_at_work(suite: Suite, reports: Reports) -> None:
    """Every process had its seams on, none of them raised, and what they told has arrived."""
    check_tracing(reports[suite.name].result())


@pytest.mark.nightly
@pytest.mark.timeout(9 * 3600)
@each_suite
def test_no_test_of_all_fails_because_it_is_traced(suite: Suite, whole_reports: Reports) -> None:
    """Of all tests, none fails or is missing traced that passes untraced."""
    report = whole_reports[suite.name].result()
    check_tests(report)
    check_tracing(report)
