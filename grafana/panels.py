"""The kinds of panels that the boards are made of, each in one style.

A title is a question that the panel answers, or names what is measured; a description says how to
read it; `empty` is the text of a panel without data, and says what that means. Where a colour
is given, red is for what went wrong and for nothing else; other series have Grafana's palette.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from grafana_foundation_sdk.builders import (
    bargauge,
    heatmap,
    nodegraph,
    prometheus,
    stat,
    timeseries,
)
from grafana_foundation_sdk.builders import (
    common as build,
)
from grafana_foundation_sdk.builders import (
    dashboard as board,
)
from grafana_foundation_sdk.builders import (
    table as tables,
)
from grafana_foundation_sdk.cog import builder, variants
from grafana_foundation_sdk.cog.runtime import UnknownDataquery
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

PROMETHEUS: Final = common.DataSourceRef(type_val="prometheus", uid="${datasource}")
JAEGER: Final = common.DataSourceRef(type_val="jaeger", uid="${jaeger}")

STEP: Final = "1m"
"""Cinder's services export their metrics each minute. A shorter step would show rates that jump."""

LINEAR = common.ScaleDistribution.LINEAR
LOG = common.ScaleDistribution.LOG
"""What takes milliseconds is seen beside what takes minutes; what is 0 is not on it."""
_MARGINS_PX, _LETTER_PX = 48, 7
"""A column of numbers is as wide as its heading. Columns of names have the rest."""
_NARROWEST_PX = 90

GREEN, YELLOW, RED, BLUE, GREY = "green", "yellow", "red", "blue", "text"

Panel = builder.Builder[dashboard.Panel]
Thresholds = Sequence[tuple[float | None, str]]
"""From which value on which colour; None is the lowest."""


class Query(NamedTuple):
    """An expression and what its series are called."""

    expression: str
    legend: str = ""
    exemplars: bool = False
    step: str = STEP


class Traces(NamedTuple):
    """A search in Jaeger; `tags` as logfmt, as its page has them.

    `at_least`: what the operation itself must have taken.
    """

    service: str
    operation: str
    tags: str = ""
    at_least: str = ""
    limit: int = 50


class _Search(builder.Builder[variants.Dataquery]):
    """A search as Grafana's data source for Jaeger saves it, for which the SDK has no class."""

    def __init__(self, traces: Traces) -> None:
        self._traces = traces

    def build(self) -> variants.Dataquery:
        found: dict[str, object] = {
            "refId": "A",
            "datasource": JAEGER,
            "queryType": "search",
            "service": self._traces.service,
            "operation": self._traces.operation,
            "limit": self._traces.limit,
        }
        if self._traces.tags:
            found["tags"] = self._traces.tags
        if self._traces.at_least:
            found["minDuration"] = self._traces.at_least
        return UnknownDataquery(found)


def number(
    title: str,
    description: str,
    query: str,
    *,
    unit: str,
    empty: str,
    colours: Thresholds = ((None, BLUE),),
    size: tuple[int, int] = (4, 4),
    decimals: int | None = None,
) -> Panel:
    """One number over the whole of what the board shows."""
    panel = (
        stat.Panel()
        .graph_mode(common.BigValueGraphMode.NONE)
        .color_mode(common.BigValueColorMode.VALUE)
        .reduce_options(build.ReduceDataOptions().calcs(["lastNotNull"]))
        .with_target(_target(Query(query), 0).instant())
    )
    if decimals is not None:
        panel = panel.decimals(decimals)
    return _finish(panel, title, description, unit, empty, size, colours)


def count(
    title: str,
    description: str,
    query: str,
    *,
    share: str = "",
    empty: str = "no telemetry",
    colours: Thresholds = ((None, BLUE),),
    size: tuple[int, int] = (4, 4),
) -> Panel:
    """How many there are, or were in the time that the board shows; beside it, their share."""
    panel = number(
        title,
        description,
        query,
        unit="short",
        empty=empty,
        colours=colours,
        size=size,
        decimals=0,
    )
    if share:
        panel = _beside(panel, query, share)
    return panel


def _beside(panel: Any, query: str, share: str) -> Panel:
    both = (Query(query, "count"), Query(share, "share"))
    found: Panel = (
        panel.targets([_target(each, index).instant() for index, each in enumerate(both)])
        .text_mode(common.BigValueTextMode.VALUE)
        .override_by_name(
            "share",
            [
                dashboard.DynamicConfigValue("unit", "percentunit"),
                dashboard.DynamicConfigValue("decimals", None),
            ],
        )
    )
    return found


def lines(
    title: str,
    description: str,
    *queries: Query,
    unit: str,
    empty: str,
    colours: Mapping[str, str] | None = None,
    threshold: float | None = None,
    maximum: float | None = None,
    at_least: float | None = None,
    stacked: bool = False,
    bars: bool = False,
    scale: common.ScaleDistribution = LINEAR,
    size: tuple[int, int] = (12, 8),
) -> Panel:
    """Values over time. `colours` are of the series whose names match.

    There is a dashed line at `threshold`; the axis ends at `maximum`, or with the values, and not
    below `at_least`. It begins at 0, unless its scale has none.
    """
    panel = (
        timeseries.Panel()
        .legend(
            build.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.TABLE)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs(["mean", "max"])
        )
        .tooltip(
            build.VizTooltipOptions()
            .mode(common.TooltipDisplayMode.MULTI)
            .sort(common.SortOrder.DESCENDING)
        )
        .draw_style(common.GraphDrawStyle.BARS if bars else common.GraphDrawStyle.LINE)
        # On an axis without a 0, an area means nothing.
        .fill_opacity(60 if bars or stacked else 0 if scale == LOG else 10)
        .line_width(1)
        .show_points(common.VisibilityMode.NEVER if stacked else common.VisibilityMode.AUTO)
        .targets([_target(query, index).range() for index, query in enumerate(queries)])
    )
    if scale != LINEAR:
        panel = panel.scale_distribution(build.ScaleDistributionConfig().type(scale).log(10))
    else:
        panel = panel.min(0)
    if at_least is not None:
        panel = panel.axis_soft_max(at_least)
    if maximum is not None:
        panel = panel.max(maximum)
    if stacked or bars:
        panel = panel.stacking(build.StackingConfig().mode(common.StackingMode.NORMAL))
    steps: Thresholds = ((None, GREEN),)
    if threshold is not None:
        steps = (*steps, (threshold, RED))
        panel = panel.thresholds_style(
            build.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
        )
    panel = panel.color_scheme(board.FieldColor().mode(dashboard.FieldColorModeId.PALETTE_CLASSIC))
    for pattern, colour in (colours or {}).items():
        # Without slashes, Grafana takes the pattern for the whole name.
        panel = panel.override_by_regexp(f"/{pattern}/", [_colour(colour)])
    return _finish(panel, title, description, unit, empty, size, steps)


class Column(NamedTuple):
    """A column of numbers: its heading, its expression and how it is shown."""

    heading: str
    expression: str
    unit: str
    colours: Thresholds = ()


def table(
    title: str,
    description: str,
    keys: Mapping[str, str],
    *columns: Column,
    empty: str,
    sort: str,
    descending: bool = True,
    mappings: Mapping[str, Mapping[str, tuple[str, str]]] | None = None,
    links: Mapping[str, tuple[str, str]] | None = None,
    size: tuple[int, int] = (24, 9),
) -> Panel:
    """A row for each set of labels; `keys` are the labels and their headings.

    `mappings`: heading -> value -> what stands there instead, and its colour.
    `links`: heading -> what a click on a value leads to, in words and as an address.
    """
    panel = (
        tables.Panel()
        .show_header(True)
        .sort_by([build.TableSortByFieldState().display_name(sort).desc(descending)])
        .filterable(True)
        .min_width(_NARROWEST_PX)
        .targets(
            [
                _target(Query(column.expression), index).instant().format(PromQueryFormat.TABLE)
                for index, column in enumerate(columns)
            ]
        )
    )
    values = ["Value"]
    if len(columns) > 1:
        values = [f"Value #{string.ascii_uppercase[index]}" for index in range(len(columns))]
        panel = panel.with_transformation(dashboard.DataTransformerConfig("merge", options={}))
    names = {**keys, **dict(zip(values, [column.heading for column in columns], strict=True))}
    panel = panel.with_transformation(
        dashboard.DataTransformerConfig(
            "organize",
            options={
                "excludeByName": {"Time": True},
                "indexByName": {name: index for index, name in enumerate(names)},
                "renameByName": names,
            },
        )
    )
    for column in columns:
        panel = panel.override_by_name(column.heading, _column(column))
    for heading, of_value in (mappings or {}).items():
        panel = panel.override_by_name(
            heading,
            [
                dashboard.DynamicConfigValue("mappings", [_mapping(of_value)]),
                dashboard.DynamicConfigValue("custom.cellOptions", {"type": "color-text"}),
            ],
        )
    for heading, (text, url) in (links or {}).items():
        panel = panel.override_by_name(
            heading, [dashboard.DynamicConfigValue("links", [{"title": text, "url": url}])]
        )
    return _finish(panel, title, description, "short", empty, size, ((None, GREY),))


def cell(heading: str) -> str:
    """In a link: the value in this column of the row that was clicked; a heading of one word."""
    return f"${{__data.fields.{heading}:percentencode}}"


def search(service: str, operation: str) -> str:
    """The address of Grafana's own page with a search in Jaeger, in the time that the board shows."""
    query = {
        "refId": "A",
        "datasource": {"type": "jaeger", "uid": "${jaeger}"},
        "queryType": "search",
        "service": service,
        "operation": operation,
        "limit": 20,
    }
    pane = {
        "datasource": "${jaeger}",
        "queries": [query],
        "range": {"from": "${__from}", "to": "${__to}"},
    }
    text = json.dumps({"search": pane}, separators=(",", ":"))
    # What Grafana replaces is left as it is.
    parts = re.split(r"(\$\{[^}]*\})", text)
    panes = "".join(part if index % 2 else quote(part) for index, part in enumerate(parts))
    return f"/explore?schemaVersion=1&panes={panes}"


def walk(
    title: str,
    description: str,
    *queries: Query,
    unit: str,
    empty: str,
    size: tuple[int, int] = (24, 14),
) -> Panel:
    """A bar for each query, in their order."""
    panel = (
        bargauge.Panel()
        .orientation(common.VizOrientation.HORIZONTAL)
        .display_mode(common.BarGaugeDisplayMode.GRADIENT)
        .value_mode(common.BarGaugeValueMode.TEXT)
        .name_placement(common.BarGaugeNamePlacement.LEFT)
        .show_unfilled(True)
        .text(build.VizTextDisplayOptions().title_size(12).value_size(14))
        .min(0)
        .reduce_options(build.ReduceDataOptions().calcs(["lastNotNull"]))
        .color_scheme(board.FieldColor().mode(dashboard.FieldColorModeId.CONTINUOUS_BLUES))
        .targets([_target(query, index).instant() for index, query in enumerate(queries)])
    )
    return _finish(panel, title, description, unit, empty, size, ((None, BLUE),))


def heat(
    title: str,
    description: str,
    query: Query,
    *,
    unit: str,
    empty: str,
    size: tuple[int, int] = (12, 8),
) -> Panel:
    """How values spread over a histogram's buckets, over time."""
    panel = (
        heatmap.Panel()
        .calculate(False)
        .color(
            heatmap.HeatmapColorOptions()
            .mode(HeatmapColorMode.SCHEME)
            .scheme("Blues")
            .steps(64)
            .exponent(0.5)
            .reverse(False)
            .fill("dark-blue")
        )
        .y_axis(heatmap.YAxisConfig().unit(unit).axis_placement(common.AxisPlacement.LEFT))
        .cell_gap(1)
        .filter_values(heatmap.FilterValueRange().le(1e-9))
        .show_value(common.VisibilityMode.NEVER)
        .tooltip(heatmap.HeatmapTooltip().mode(common.TooltipDisplayMode.SINGLE).y_histogram(True))
        .show_legend()
        .exemplars_color("rgba(255,152,48,0.9)")
        .with_target(_target(query, 0).range().format(PromQueryFormat.HEATMAP))
    )
    return _finish(panel, title, description, unit, empty, size, ((None, BLUE),))


def service_map(
    title: str,
    description: str,
    edges: str,
    failures: str,
    *,
    empty: str,
    size: tuple[int, int] = (12, 10),
) -> Panel:
    """Who calls whom. `edges` has labels `id`, `source` and `target`, `failures` only `id`.

    The panel goes by the names of fields, and a field gets a new one only from a calculation. It
    makes the nodes of the edges' ends.
    """

    def renamed(value: str, name: str) -> dashboard.DataTransformerConfig:
        calculation = {"left": value, "operator": "*", "right": "1"}
        return dashboard.DataTransformerConfig(
            "calculateField",
            options={
                "mode": "binary",
                "binary": calculation,
                "alias": name,
                "timeSeries": False,
                "replaceFields": False,
            },
        )

    panel = (
        nodegraph.Panel()
        .edges(nodegraph.EdgeOptions().main_stat_unit("reqps").secondary_stat_unit("reqps"))
        .nodes(nodegraph.NodeOptions().main_stat_unit("reqps").secondary_stat_unit("reqps"))
        .targets(
            [
                _target(Query(edges), 0).instant().format(PromQueryFormat.TABLE),
                _target(Query(failures), 1).instant().format(PromQueryFormat.TABLE),
            ]
        )
        .with_transformation(
            dashboard.DataTransformerConfig(
                "joinByField", options={"byField": "id", "mode": "outer"}
            )
        )
        .with_transformation(renamed("Value #A", "mainstat"))
        .with_transformation(renamed("Value #B", "secondarystat"))
    )
    return _finish(panel, title, description, "reqps", empty, size, ((None, GREEN),))


def traces(
    title: str,
    description: str,
    search: Traces,
    *,
    empty: str,
    size: tuple[int, int] = (8, 12),
) -> Panel:
    """The traces that Jaeger finds, the latest first, each a link to the whole of it.

    Without their durations: since Grafana asks Jaeger from its backend, that column has what the
    first span took, of a create the API's answer.
    """
    panel = (
        tables.Panel()
        .datasource(JAEGER)
        .show_header(True)
        .sort_by([build.TableSortByFieldState().display_name("Start time").desc(True)])
        .with_target(_Search(search))
        .with_transformation(
            dashboard.DataTransformerConfig(
                "organize",
                options={
                    "excludeByName": {"Duration": True, "Trace name": True},
                    "indexByName": {"Start time": 0, "Trace ID": 1},
                },
            )
        )
    )
    return _finish(panel, title, description, "none", empty, size, ((None, GREY),))


def _finish(
    panel: Any,
    title: str,
    description: str,
    unit: str,
    empty: str,
    size: tuple[int, int],
    colours: Thresholds,
) -> Panel:
    width, height = size
    steps = [dashboard.Threshold(value=value, color=colour) for value, colour in colours]
    panel = (
        panel.title(title)
        .description(description)
        .unit(unit)
        .no_value(empty)
        .span(width)
        .height(height)
        .thresholds(board.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps))
    )
    if panel.build().datasource is None:
        panel = panel.datasource(PROMETHEUS)
    found: Panel = panel
    return found


def _target(query: Query, index: int) -> prometheus.Dataquery:
    target = (
        prometheus.Dataquery()
        .datasource(PROMETHEUS)
        .ref_id(string.ascii_uppercase[index])
        .expr(query.expression)
        .interval(query.step)
    )
    if query.legend:
        target = target.legend_format(query.legend)
    return target.exemplar(True) if query.exemplars else target


def _colour(colour: str) -> dashboard.DynamicConfigValue:
    return dashboard.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": colour})


def _column(column: Column) -> list[dashboard.DynamicConfigValue]:
    # Where only other columns have a value, the cell is not the place to say that all is empty.
    found = [
        dashboard.DynamicConfigValue("unit", column.unit),
        dashboard.DynamicConfigValue("noValue", "-"),
        dashboard.DynamicConfigValue("custom.width", _width(column.heading)),
    ]
    if column.colours:
        steps = [{"value": value, "color": colour} for value, colour in column.colours]
        found += [
            dashboard.DynamicConfigValue("thresholds", {"mode": "absolute", "steps": steps}),
            dashboard.DynamicConfigValue("custom.cellOptions", {"type": "color-text"}),
        ]
    return found


def _width(heading: str) -> int:
    return _MARGINS_PX + _LETTER_PX * max(len(heading), len("1.67 min"))


def _mapping(of_value: Mapping[str, tuple[str, str]]) -> dict[str, object]:
    options = {
        value: {"text": text, "color": colour, "index": index}
        for index, (value, (text, colour)) in enumerate(of_value.items())
    }
    return {"type": "value", "options": options}
