"""The parts of a board: its variables, rows and links to the others, and panels that several share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from grafana_foundation_sdk.builders import dashboard as board
from grafana_foundation_sdk.builders import prometheus
from grafana_foundation_sdk.models import dashboard

from grafana import series
from grafana.panels import BLUE, GREEN, PROMETHEUS, RED, STEP, YELLOW, Panel, Query, lines
from otel_cinder.conventions import RESOURCE_TYPE

TAG: Final = "otel-cinder"
"""The tag by which the boards find each other."""

PERCENTILES: Final = {"0.5": "p50", "0.95": "p95", "0.99": "p99"}

# From which value on which colour.
BAD: Final = ((None, GREEN), (0.000001, RED))
"""Anything above 0 went wrong."""
ODD: Final = ((None, GREEN), (0.000001, YELLOW))
"""Anything above 0 is worth a look, and need not be wrong."""
SHARE: Final = ((None, GREEN), (0.01, YELLOW), (0.05, RED))
WAIT: Final = ((None, GREEN), (1, YELLOW), (30, RED))
"""Seconds in a queue; where it is red, the alert CinderQueueWaitRising fires in any case."""

VOLUMES_IN_ERROR: Final = series.RESOURCE_ERRORS.where(RESOURCE_TYPE, "=", "volume")


class Board:
    """One board: its variables, rows and panels."""

    def __init__(self, uid: str, title: str, description: str) -> None:
        self.uid = uid
        self._panels = 0
        self._board = (
            board.Dashboard(title)
            .uid(uid)
            .description(description)
            .tags([TAG])
            .editable()
            .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
            .time("now-1h", "now")
            .refresh("1m")
            .timezone("browser")
            .link(
                board.DashboardLink("The other boards")
                .type(dashboard.DashboardLinkType.DASHBOARDS)
                .tags([TAG])
                .as_dropdown(False)
                .keep_time(True)
                .include_vars(True)
            )
            .with_variable(_data_source("datasource", "Prometheus", "prometheus"))
            .with_variable(_data_source("jaeger", "Jaeger", "jaeger"))
            .annotation(
                _annotation(
                    "Alerts",
                    series.ALERTS.where("alertstate", "=", "firing").selector(),
                    "{{alertname}}",
                    RED,
                )
            )
            .annotation(
                _annotation("Restarts", series.restarted("job"), "{{job}} was restarted", BLUE)
            )
        )

    def choice(self, name: str, text: str, query: str, regex: str = "") -> None:
        """A variable of several values, all of them by default."""
        variable = (
            board.QueryVariable(name)
            .label(text)
            .datasource(PROMETHEUS)
            .query(query)
            .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
            .multi(True)
            .include_all(True)
            .all_value(".*")
            .current(dashboard.VariableOption(selected=True, text=["All"], value=["$__all"]))
        )
        self._board.with_variable(variable.regex(regex) if regex else variable)

    def one_of(self, name: str, text: str, options: Mapping[str, str], first: str) -> None:
        """A variable that is one of a few values; `options`: value -> what is to be read."""
        self._board.with_variable(
            board.CustomVariable(name)
            .label(text)
            .values(", ".join(f"{shown} : {value}" for value, shown in options.items()))
            .current(dashboard.VariableOption(selected=True, text=options[first], value=first))
        )

    def row(self, title: str, *panels: Panel) -> None:
        """Panels under a heading."""
        self._panels += 1
        self._board.with_row(board.Row(title).id(self._panels))
        for panel in panels:
            self._panels += 1
            panel.build().id_val = self._panels
            self._board.with_panel(panel)

    def build(self) -> dashboard.Dashboard:
        """As Grafana has it."""
        return self._board.build()


def _annotation(name: str, expression: str, title: str, colour: str) -> board.AnnotationQuery:
    """What happened, as a line on every graph."""
    return (
        board.AnnotationQuery()
        .name(name)
        .datasource(PROMETHEUS)
        .enable(True)
        .icon_color(colour)
        .target(
            prometheus.Dataquery()
            .datasource(PROMETHEUS)
            .ref_id("Anno")
            .expr(expression)
            .interval(STEP)
            .range()
        )
        .title_format(title)
    )


def _data_source(name: str, text: str, kind: str) -> board.DatasourceVariable:
    return (
        board.DatasourceVariable(name)
        .label(text)
        .type(kind)
        .current(dashboard.VariableOption(selected=True, text=text, value=kind))
    )


def of_service(metric: series.Series) -> series.Series:
    """Of the chosen services, by what the exporter calls them: namespace/name."""
    return metric.where("job", "=~", "(.+/)?($service)")


def collector_queues(size: tuple[int, int]) -> Panel:
    """How full the queues of all collectors are."""
    by = ("job", "instance", "exporter")
    clause = series.EXPORT_QUEUE.by(by)
    share = (
        f"max {clause}({series.EXPORT_QUEUE.selector()}) "
        f"/ max {clause}({series.EXPORT_QUEUE_CAPACITY.selector()})"
    )
    return lines(
        "How full are the collectors' queues? (share)",
        "What waits for the next hop or Jaeger, in memory or on disk, as a share of the queue's "
        "size. Queues fill while Jaeger is down. Nothing is lost until one is full; above the "
        "line, the alert CollectorQueueFilling fires. Not included: exporters without a queue, "
        "and a gateway's queues for its peers, which are not measured.",
        Query(share, "{{instance}} {{exporter}}"),
        unit="percentunit",
        empty="no collector is scraped",
        threshold=0.5,
        maximum=1,
        size=size,
    )
