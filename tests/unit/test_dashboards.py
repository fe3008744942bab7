"""The boards as they are committed: written by the code, and without loose ends."""

import json
import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

if sys.version_info < (3, 11):
    pytest.skip("the boards' SDK needs Python 3.11", allow_module_level=True)

from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana import series
from grafana.__main__ import text
from grafana.boards import BOARDS as MAKERS
from grafana.boards.board import TAG
from grafana.boards.create import HANDOFFS, STAGES
from tests.boards import BOARDS, FOLDER, ROOT, alerts, data_sources, panels

BUILT = {make().uid: make for make in MAKERS}
# What Grafana itself knows.
BUILT_IN = {"__rate_interval", "__range", "__range_s", "__interval"}
FAILURES = r'error_type!=""|CODE_ERROR|_(failed|refused|errors)_'
GOLDEN_CREATE = ROOT / "tests" / "integration" / "golden" / "create.txt"

each_board = pytest.mark.parametrize("uid", BOARDS)


def references(found: Any) -> Iterator[str]:
    """Yield the uid of every data source that something refers to."""
    if isinstance(found, dict):
        if isinstance(found.get("datasource"), dict):
            yield found["datasource"]["uid"]
        for value in found.values():
            yield from references(value)
    elif isinstance(found, list):
        for value in found:
            yield from references(value)


def test_the_committed_boards_are_what_the_code_writes() -> None:
    """No board was changed by hand, left behind or forgotten: `make dashboards`."""
    assert sorted(BUILT) == sorted(BOARDS)
    for uid, make in BUILT.items():
        assert (FOLDER / f"{uid}.json").read_text() == text(make().build()), "make dashboards"


@each_board
def test_grafanas_sdk_reads_a_board_without_loss(uid: str) -> None:
    """Grafana's own types know every field of a board and of its queries."""
    register_default_plugins()
    read = Dashboard.from_json(json.loads((FOLDER / f"{uid}.json").read_text()))
    assert text(read) == (FOLDER / f"{uid}.json").read_text()


@each_board
def test_a_panel_says_what_it_shows(uid: str) -> None:
    """Each has a title, a description, a unit, and a text for when there is nothing to show."""
    assert BOARDS[uid]["description"]
    for panel in panels(uid):
        defaults = panel["fieldConfig"]["defaults"]
        assert panel["title"]
        assert len(panel["description"]) > 40, panel["title"]
        assert defaults["unit"], panel["title"]
        assert defaults["noValue"], panel["title"]


@each_board
def test_panels_are_distinguishable(uid: str) -> None:
    """No two panels of a board have the same id or title, or lie on each other."""
    ids = [panel["id"] for panel in BOARDS[uid]["panels"]]
    titles = [panel["title"] for panel in panels(uid)]
    assert len(set(ids)) == len(ids)
    assert len(set(titles)) == len(titles)
    cells: set[tuple[int, int]] = set()
    for panel in BOARDS[uid]["panels"]:
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= 24, panel["title"]
        covered = {
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not cells & covered, panel["title"]
        cells |= covered


@each_board
def test_no_data_source_dangles(uid: str) -> None:
    """Queries go to a variable, and a variable begins with a data source that is provisioned."""
    sources = data_sources()
    chosen = {
        variable["name"]: (variable["query"], variable["current"]["value"])
        for variable in BOARDS[uid]["templating"]["list"]
        if variable["type"] == "datasource"
    }
    assert chosen
    for kind, source in chosen.values():
        assert sources[source]["type"] == kind
    assert set(references(BOARDS[uid])) <= {f"${{{name}}}" for name in chosen}


def test_data_sources_lead_to_each_other() -> None:
    """A trace leads to metrics and an exemplar to its trace, by uids that are provisioned."""
    sources = data_sources()
    to_metrics = sources["jaeger"]["jsonData"]["tracesToMetrics"]["datasourceUid"]
    (to_traces,) = sources["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert sources[to_metrics]["type"] == "prometheus"
    assert sources[to_traces["datasourceUid"]]["type"] == "jaeger"


def test_grafana_finds_the_boards_where_compose_puts_them() -> None:
    """The folder that is provisioned is the one that compose.yaml mounts."""
    provisioning = ROOT / "grafana" / "provisioning" / "dashboards" / "otel-cinder.yaml"
    (provider,) = yaml.safe_load(provisioning.read_text())["providers"]
    mounts = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["grafana"]["volumes"]
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in mounts
    assert "./grafana/provisioning:/etc/grafana/provisioning:ro" in mounts


@each_board
def test_every_variable_is_defined(uid: str) -> None:
    """Expressions and searches refer only to variables of their board or of Grafana."""
    board = BOARDS[uid]
    names = {variable["name"] for variable in board["templating"]["list"]}
    queries = [variable["query"] for variable in board["templating"]["list"]]
    asked = [
        target.get(field, "")
        for panel in panels(uid)
        for target in panel["targets"]
        for field in ("expr", "service", "operation", "tags", "minDuration")
    ]
    for expression in [*queries, *asked]:
        used = set(re.findall(r"\$(?!\d)\{?(\w+)", expression))
        assert used <= names | BUILT_IN, expression


@each_board
def test_a_single_failure_is_seen(uid: str) -> None:
    """Failures are counted: rate() misses a series' first event, which often is the only one."""
    for panel in panels(uid):
        for target in panel["targets"]:
            if re.search(FAILURES, target.get("expr", "")):
                assert "rate(" not in target["expr"], panel["title"]


@each_board
def test_boards_link_to_each_other(uid: str) -> None:
    """Each has the tag by which the others' links find it, and keeps the time."""
    (link,) = BOARDS[uid]["links"]
    assert link["tags"] == BOARDS[uid]["tags"] == [TAG]
    assert link["keepTime"]


def test_the_stages_are_those_of_a_real_create() -> None:
    """The walk has every task of the three flows and both waits, in the order of a real trace."""
    drawn = re.findall(r"^ *(volume_create_\w+|\w+Task)\b", GOLDEN_CREATE.read_text(), re.MULTILINE)
    walked = [name for flow, tasks in STAGES.items() for name in (flow, *tasks)]
    assert drawn == walked
    (walk,) = (panel for panel in panels("cinder-create") if panel["type"] == "bargauge")
    stages = [target["legendFormat"] for target in walk["targets"]]
    tasks = [name for name in walked if name not in STAGES]
    assert [stage for stage in stages if stage in tasks] == tasks
    assert len(stages) == len(tasks) + len(HANDOFFS)


def test_alerts_know_the_same_names() -> None:
    """An alert asks for no series that the boards do not know: it would never fire."""
    known = {metric.name for metric in series.ALL}
    known |= {
        f"{metric.name}{suffix}"
        for metric in series.ALL
        if metric.kind == "histogram"
        for suffix in ("_bucket", "_count", "_sum")
    }
    for name, expression in alerts().items():
        bare = re.sub(r'"[^"]*"', '""', expression)
        asked = set(re.findall(r"\b([a-z]\w*_\w+|up)\b(?=[\[{ ])", bare))
        functions = set(re.findall(r"\b(\w+) *\(", bare))
        labels = set(re.findall(r"\b(\w+) *(?:=|!)", bare))
        clauses = re.findall(r"by \(([^)]*)\)", bare)
        labels |= {label for clause in clauses for label in clause.split(", ")}
        assert asked & known, name
        assert not asked - functions - labels - known, name
