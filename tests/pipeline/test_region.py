"""200 creates of real Cinder, from its services through agent and gateways to what is kept."""

import contextlib
import socket
import time
from collections.abc import Callable
from fractions import Fraction
from math import comb

import pytest

from tests.boards import alerts
from tests.integration import drawing
from tests.integration.processes import wait_until
from tests.integration.whole_create import ROOT, SPANS, assert_whole_create
from tests.pipeline.region import KEPT_PERCENT, Create, Region

# What the same requests look like without anything between Cinder and who looks.
GOLDENS = {
    "fits nowhere": "no_valid_backend",
    "rescheduled": "reschedule",
    "fails everywhere": "no_backend_left",
    "over quota": "quota_exceeded",
}
FLOW = "volume_create_manager (internal, cinder-volume"
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


def _becomes(expected: object, read: Callable[[], object], what: object = "") -> None:
    """Wait until this is what is read: spans and samples come one after the other."""
    with contextlib.suppress(TimeoutError):
        wait_until(lambda: read() == expected, 60, str(what))
    assert read() == expected, what


@pytest.mark.parametrize("kind", GOLDENS)
def test_every_failure_and_reschedule_is_kept_whole(region: Region, kind: str) -> None:
    """Failed and rescheduled creates are in Jaeger, complete and unharmed."""
    golden = (drawing.GOLDENS / f"{GOLDENS[kind]}.txt").read_text()
    for made in region.creates[kind]:
        _becomes(_apart(golden), lambda made=made: _drawn(region, made))


def _drawn(region: Region, made: Create) -> tuple[list[str], set[str]]:
    trace = region.jaeger.trace(made.trace_id)
    return _apart(drawing.draw([trace] if trace else []))


def _in_goldens(region: Region, what: str) -> int:
    """Count how often this is drawn in the traces of what failed or was rescheduled."""
    return sum(
        len(region.creates[kind]) * (drawing.GOLDENS / f"{name}.txt").read_text().count(what)
        for kind, name in GOLDENS.items()
    )


def _apart(drawn: str) -> tuple[list[str], set[str]]:
    """Part the spans with their attributes from the events, which Jaeger puts in its own order."""
    lines = drawn.splitlines()
    events = {line for line in lines if line.lstrip().startswith("!")}
    return [line for line in lines if line not in events], events


def test_of_the_rest_a_share_is_kept_whole(region: Region) -> None:
    """Of the creates that were made at once, about the share that was asked for is in Jaeger."""
    made = region.creates["made"]

    def cut() -> list[str]:
        return [
            each.trace_id for each in made if not whole(len(region.jaeger.spans(each.trace_id)))
        ]

    def whole(spans: int) -> bool:
        return spans in {0, SPANS}

    _becomes([], cut)
    traces = [trace for each in made if (trace := region.jaeger.trace(each.trace_id))]
    for trace in traces:
        assert_whole_create(trace)
        # The agent has said which host it was.
        assert {each.resource["host.name"] for each in trace.spans} == {socket.gethostname()}
    least, most = bounds(len(made), Fraction(KEPT_PERCENT, 100))
    assert least <= len(traces) <= most


def test_span_metrics_count_what_is_not_kept(region: Region) -> None:
    """Every create is counted, every run of a flow, and all spans, however few are kept."""
    made = len(region.creates["made"])
    flow = 'span_name="volume_create_manager"'
    failed = f'{flow}, status_code="STATUS_CODE_ERROR"'
    for spans, expected in (
        (f'span_name="{ROOT}"', 200),
        (flow, made + _in_goldens(region, FLOW)),
        (failed, _in_goldens(region, f"{FLOW}, error")),
    ):
        calls = f"sum(traces_span_metrics_calls_total{{{spans}}})"
        _becomes(expected, lambda calls=calls: region.prometheus.value(calls), spans)
    wait_until(
        lambda: (
            region.prometheus.value("sum(traces_span_metrics_calls_total)")
            == region.prometheus.value("sum(otel_sdk_span_started_total)")
            > 160 * SPANS
        ),
        60,
        "the gateways to have counted the spans that the services have",
    )


def test_workers_share_a_series_that_never_goes_back(region: Region) -> None:
    """The two workers of the API are one series on each gateway, and no series was ever less."""
    same = f'traces_span_metrics_calls_total{{span_name="{ROOT}", error_type=""}}'
    series = region.prometheus.query(same)
    assert len(series) == len({each["metric"]["collector_instance_id"] for each in series})
    resets = region.prometheus.value("sum(resets(traces_span_metrics_calls_total[10m]))")
    assert resets == 0


def test_the_service_graph_knows_who_calls_whom(region: Region) -> None:
    """The handoffs of all creates are edges of the graph, each counted once."""
    edge = 'sum(traces_service_graph_request_total{client="%s", server="%s"})'
    called = 'sum(traces_span_metrics_calls_total{service_name="%s", span_kind="SPAN_KIND_CLIENT"})'
    made = len(region.creates["made"])
    for client, server, at_once in (
        ("cinder-api", "cinder-scheduler", made),
        ("cinder-scheduler", "cinder-volume", made),
        ("cinder-volume", "cinder-scheduler", 0),
    ):
        cast = f"cast {server}/create_volume (producer, {client})"
        # And the API has asked the scheduler for its pools, when Cinder had started.
        expected = at_once + _in_goldens(region, cast)
        edges = f"{edge % (client, server)} - ({called % client} or vector(0))"
        _becomes(expected, lambda edges=edges: region.prometheus.value(edges), cast)


def test_no_trace_is_forgotten(region: Region) -> None:
    """Traces that are kept, or dropped after their time, do not count as given up."""
    given_up = alerts()["GatewayForgetsTraces"].partition("> (")[0].strip()

    def decided() -> float:
        """Count the traces that gateways have let go: the last thing to become of one."""
        name = "otelcol_processor_tail_sampling_global_count_traces_sampled"
        return sum(each.count(name, decision="not_sampled") for each in region.gateways)

    wait_until(lambda: decided() > 0, 90, "traces to be let go")
    time.sleep(2)  # two scrapes
    found = region.prometheus.query(given_up)
    assert [each["value"][1] for each in found] == ["0"] * len(region.gateways)


def _performance(
    region: Region, kind: str, service: str, span_kind: str, **parameters: object
) -> dict[str, float]:
    """Return the most that Jaeger's monitoring shows of each operation; what is no number is none."""
    found = region.jaeger.metrics(
        kind,
        service,
        groupByOperation="true",
        spanKind=span_kind,
        endTs=int(time.time() * 1000),
        lookback=1_800_000,
        step=5_000,
        ratePer=1_800_000,
        **parameters,
    )
    return {
        label["value"]: max(
            (
                value
                for point in each["metricPoints"]
                if (value := float(point["gaugeValue"]["doubleValue"])) == value
            ),
            default=0.0,
        )
        for each in found
        for label in each["labels"]
        if label["name"] == "operation"
    }


def test_jaeger_shows_service_performance(region: Region) -> None:
    """Jaeger's monitoring of a service is answered from our span metrics, in its own unit."""
    assert _performance(region, "calls", "cinder-api", "server")[ROOT] > 0
    shares = _performance(region, "errors", "cinder-volume", "consumer")
    assert 0 < shares["process cinder-volume/create_volume"] < 1
    assert _performance(region, "errors", "cinder-api", "server").get(ROOT, 0) == 0
    shown = _performance(region, "latencies", "cinder-api", "server", quantile=0.95)[ROOT]
    bucket = f'traces_span_metrics_duration_milliseconds_bucket{{span_name="{ROOT}"}}'
    took = region.prometheus.value(
        f"histogram_quantile(0.95, sum by (le) (increase({bucket}[30m])))"
    )
    # The most of all times is more than the whole. Both are milliseconds: no answer takes a minute.
    assert took / 2 < shown < 60_000
    assert 5 < took < 60_000
