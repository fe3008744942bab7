"""200 creates of real Cinder, from its services through agent and gateways to what is kept."""

import time
from fractions import Fraction
from math import comb

import pytest

from tests.integration import drawing
from tests.integration.processes import wait_until
from tests.integration.whole_create import ROOT, assert_whole_create
from tests.pipeline.region import KEPT_PERCENT, Region

# What the same requests look like without anything between Cinder and who looks.
GOLDENS = {
    "fits nowhere": "no_valid_backend",
    "rescheduled": "reschedule",
    "fails everywhere": "no_backend_left",
    "over quota": "quota_exceeded",
}
BY_CHANCE = Fraction(1, 1_000_000)


def bounds(trials: int, chance: Fraction) -> tuple[int, int]:
    """Return the least and the most successes, beyond which lies one in a million of all runs."""
    least, most = 0, trials
    below = above = Fraction(0)
    while (below := below + _probability(trials, least, chance)) < BY_CHANCE / 2:
        least += 1
    while (above := above + _probability(trials, most, chance)) < BY_CHANCE / 2:
        most -= 1
    return least, most


def _probability(trials: int, successes: int, chance: Fraction) -> Fraction:
    failures = trials - successes
    return comb(trials, successes) * chance**successes * (1 - chance) ** failures


@pytest.mark.parametrize("kind", GOLDENS)
def test_every_failure_and_reschedule_is_kept_whole(region: Region, kind: str) -> None:
    """What failed, or was tried again elsewhere, is in Jaeger to the last event, unharmed."""
    golden = (drawing.GOLDENS / f"{GOLDENS[kind]}.txt").read_text()
    for made in region.creates[kind]:
        wait_until(lambda made=made: bool(region.jaeger.spans(made.trace_id)), 30, kind)
        trace = region.jaeger.trace(made.trace_id)
        assert trace is not None
        assert _apart(drawing.draw([trace])) == _apart(golden)


def _apart(drawn: str) -> tuple[list[str], set[str]]:
    """Part the spans with their attributes from the events, which Jaeger puts in its own order."""
    lines = drawn.splitlines()
    events = {line for line in lines if line.lstrip().startswith("!")}
    return [line for line in lines if line not in events], events


def test_of_the_rest_a_share_is_kept_whole(region: Region) -> None:
    """Of the creates that were made at once, about the share that was asked for is in Jaeger."""
    made = region.creates["made"]
    traces = [trace for each in made if (trace := region.jaeger.trace(each.trace_id))]
    for trace in traces:
        assert_whole_create(trace)
    least, most = bounds(len(made), Fraction(KEPT_PERCENT, 100))
    assert least <= len(traces) <= most


def test_span_metrics_count_what_is_not_kept(region: Region) -> None:
    """Every create is counted, and every run of a flow, however few traces are kept."""
    calls = "sum(traces_span_metrics_calls_total{%s})"
    assert region.prometheus.value(calls % f'span_name="{ROOT}"') == 200
    # Each attempt of a create runs the flow once more; one that fits nowhere never gets there.
    made = 160 + 2 * 10 + 2 * 10
    assert region.prometheus.value(calls % 'span_name="volume_create_manager"') == made
    failed = 'span_name="volume_create_manager", status_code="STATUS_CODE_ERROR"'
    assert region.prometheus.value(calls % failed) <= 10 + 2 * 10
    # And all of the spans, which the services count as well.
    started = region.prometheus.value("sum(otel_sdk_span_started_total)")
    assert 0 < started
    wait_until(
        lambda: (
            region.prometheus.value("sum(traces_span_metrics_calls_total)")
            == region.prometheus.value("sum(otel_sdk_span_started_total)")
        ),
        60,
        "both to count the same spans",
    )


def test_workers_share_a_series_that_never_goes_back(region: Region) -> None:
    """The two workers of the API are one series on each gateway, and no series was ever less."""
    same = f'traces_span_metrics_calls_total{{span_name="{ROOT}", error_type=""}}'
    series = region.prometheus.query(same)
    assert len(series) == len({each["metric"]["collector_instance_id"] for each in series})
    resets = region.prometheus.value("sum(resets(traces_span_metrics_calls_total[10m]))")
    assert resets == 0


def test_the_service_graph_knows_who_calls_whom(region: Region) -> None:
    """The handoffs of a create are edges of the graph, each counted once."""
    calls = 'sum(traces_service_graph_request_total{client="%s", server="%s"})'
    attempts = 160 + 10 + 2 * 10 + 2 * 10
    assert region.prometheus.value(calls % ("cinder-api", "cinder-scheduler")) >= 190
    assert region.prometheus.value(calls % ("cinder-scheduler", "cinder-volume")) == attempts - 10


def test_jaeger_shows_service_performance(region: Region) -> None:
    """Jaeger's monitoring of a service is answered from our span metrics."""
    found = region.jaeger.metrics(
        "calls",
        "cinder-api",
        groupByOperation="true",
        spanKind="server",
        endTs=int(time.time() * 1000),
        lookback=600_000,
        step=5_000,
        ratePer=600_000,
    )
    rates = {
        label["value"]: [point["gaugeValue"]["doubleValue"] for point in each["metricPoints"]]
        for each in found
        for label in each["labels"]
        if label["name"] == "operation"
    }
    assert max(rates[ROOT]) > 0
