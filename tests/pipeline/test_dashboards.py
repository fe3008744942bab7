"""The boards against Grafana's published schema, and against what a real region has to show."""

import copy
import json
import math
import re
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from grafana import series
from tests.boards import BOARDS, ROOT, data_sources, panels
from tests.integration.processes import server_binary, wait_until
from tests.pipeline.drawing import WINDOW_S, chosen, with_variables
from tests.pipeline.programs import HTTP, built
from tests.pipeline.region import Region

SCHEMA = ROOT / "grafana" / "schema"
RELEASES = {"11": "dist/index.d.ts", "13": "dist/types/index.d.ts"}
TSCONFIG = {
    "strict": True,
    "noEmit": True,
    "skipLibCheck": True,
    "module": "esnext",
    "moduleResolution": "bundler",
    "target": "es2022",
    "types": [],
}

CHOSEN = chosen(WINDOW_S)

# Panel, and the query's letter -> why nothing need be there after the region's 200 creates.
MAY_BE_EMPTY = {
    ("Which alerts fire now?", "A"): "an alert waits for minutes",
    **dict.fromkeys(
        [
            ("How many volumes are in which status? (volumes)", "A"),
            ("Which volumes are between two statuses, and since when?", "A"),
            ("Which services does Cinder hold to be up?", "A"),
            *(("How full are the pools?", query) for query in "ABC"),
        ],
        "no openstack-exporter is scraped",
    ),
    ("What is running now, and since when?", "A"): "all creates have ended",
    ("What is running now, and since when?", "B"): "all creates have ended",
    ("Which messages fail, when and how? (messages)", "B"): "no call fails",
    ("When were spans lost? (spans)", "A"): "no queue overflows",
    ("When were spans lost? (spans)", "B"): "every export succeeds",
    ("Which places are patched, and which do not fit?", "A"): "all fit Cinder 29",
    **{
        ("What did collectors refuse or lose? (spans, metric points, log records)", query): reason
        for query, reason in {
            **dict.fromkeys("ABCD", "there is room for all spans and metric points"),
            **dict.fromkeys("EFI", "nobody exports log records"),
            **dict.fromkeys("GH", "everything is sent in the end"),
            "J": "there is room on the map",
        }.items()
    },
}

each_board = pytest.mark.parametrize("uid", BOARDS)
each_release = pytest.mark.parametrize("release", RELEASES)


def complaints(release: str, boards: Iterable[dict[str, Any]], folder: Path) -> dict[int, str]:
    """Return what Grafana's schema has against these boards, by their numbers."""
    compiler = built("schema", "node_modules/.bin/tsc", ["grafana/schema/package-lock.json"])
    schema = compiler.parents[1] / f"grafana-{release}"
    lines = ["import type { Board, Panels } from 'boards';"]
    of_line: dict[int, int] = {}
    for number, board in enumerate(boards):
        rest = {key: value for key, value in board.items() if key != "panels"}
        typed = [("Board", rest)]
        typed += [(f"Panels['{panel['type']}']", panel) for panel in board["panels"]]
        for kind, value in typed:
            lines.append(f"export const of{len(lines)}: {kind} = {json.dumps(value)};")
            of_line[len(lines)] = number
    (folder / "check.ts").write_text("\n".join(lines))
    paths = {
        "boards": [str(SCHEMA / "boards.d.ts")],
        "@grafana/schema": [str(schema / RELEASES[release])],
        "@grafana/schema/*": [f"{schema}/*"],
    }
    configuration = {"compilerOptions": {**TSCONFIG, "paths": paths}, "files": ["check.ts"]}
    (folder / "tsconfig.json").write_text(json.dumps(configuration))
    done = subprocess.run(
        [compiler, "--project", "tsconfig.json", "--pretty", "false"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert not done.stderr, done.stderr
    found: dict[int, str] = {}
    for line in done.stdout.splitlines():
        if line.startswith(" "):  # more about the line above
            continue
        place = re.match(r"check\.ts\((\d+),", line)
        assert place, line
        found[of_line[int(place[1])]] = line
    assert bool(found) == bool(done.returncode)
    return found


@each_release
def test_the_boards_are_valid_by_grafanas_schema(release: str, tmp_path: Path) -> None:
    """The oldest and the newest schema of the Grafanas that are served know every field."""
    assert complaints(release, BOARDS.values(), tmp_path) == {}


def _spoil(kind: str, spoil: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """Return the first board that has such a panel, with that panel spoilt."""
    for board in BOARDS.values():
        spoilt = copy.deepcopy(board)
        for panel in spoilt["panels"]:
            if panel["type"] == kind:
                spoil(panel)
                return spoilt
    raise LookupError(kind)


@each_release
def test_a_board_with_a_wrong_field_is_not_valid(release: str, tmp_path: Path) -> None:
    """A field that is unknown, missing or of another type is found at every place."""
    spoilt = [
        {**BOARDS["cinder-glance"], "shcemaVersion": 42},
        {**BOARDS["cinder-glance"], "time": {"from": 1, "to": "now"}},
        {
            **BOARDS["cinder-glance"],
            "templating": {"list": [{"name": "x", "type": "no such type"}]},
        },
        _spoil("row", lambda panel: panel.pop("collapsed")),
        _spoil("timeseries", lambda panel: panel["options"].update(legends={})),
        _spoil("timeseries", lambda panel: panel["options"]["legend"].update(displayMode="tabel")),
        _spoil(
            "timeseries",
            lambda panel: panel["fieldConfig"]["defaults"]["custom"].update(drawStyle="dotted"),
        ),
        _spoil("stat", lambda panel: panel["options"].update(graphMode=1)),
        _spoil("table", lambda panel: panel["options"]["sortBy"][0].update(descending=True)),
        _spoil("bargauge", lambda panel: panel["options"].update(orientation="sideways")),
        _spoil("heatmap", lambda panel: panel["options"]["color"].update(mode="rainbow")),
        _spoil("nodeGraph", lambda panel: panel["options"]["edges"].update(unit="s")),
        _spoil("stat", lambda panel: panel["fieldConfig"]["defaults"].update(units="s")),
        _spoil("stat", lambda panel: panel["gridPos"].update(w="wide")),
    ]
    found = complaints(release, [*spoilt, *BOARDS.values()], tmp_path)
    assert set(found) == set(range(len(spoilt))), found


def asked(expression: str) -> str:
    """Return an expression as Grafana sends it, its variables replaced."""
    return with_variables(expression, CHOSEN)


def finite(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the series that have a number."""
    return [series for series in found if math.isfinite(float(series["value"][1]))]


def calculate(folder: Path, written: dict[str, str], expected: dict[str, dict[str, float]]) -> None:
    """Hold expressions after 55 minutes, one value a minute, against what they should be.

    `written`: series and its values, as promtool has them; `expected`: labels and value by
    expression.
    """
    check = {
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": of} for name, of in written.items()],
                "promql_expr_test": [
                    {
                        "expr": expression,
                        "eval_time": "55m",
                        "exp_samples": [
                            {"labels": labels, "value": value} for labels, value in values.items()
                        ],
                    }
                    for expression, values in expected.items()
                ],
            }
        ],
    }
    (folder / "check.yaml").write_text(json.dumps(check))
    done = subprocess.run(
        [server_binary("promtool", "prometheus"), "test", "rules", "check.yaml"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_quiet_time_has_no_duration_and_a_single_event_has_one(tmp_path: Path) -> None:
    """Where nothing was measured there is nothing, not NaN; a series that is born counts whole."""
    written = {
        f'{series.WAITS.name}_{suffix}rpc_method="{method}"}}': values
        for method, values in {"quiet": "7+0x60", "single": "_x50 1+0x10"}.items()
        for suffix in ('bucket{le="1", ', 'bucket{le="+Inf", ', "sum{", "count{")
    }
    only = '{rpc_method="single"}'
    median = series.quantile("0.5", series.WAITS, "rpc.method").replace(series.RATE, "10m")
    mean = series.mean(series.WAITS, "rpc.method").replace(series.RATE, "10m")
    calculate(tmp_path, written, {median: {only: 0.5}, mean: {only: 1}})


def test_a_counter_that_begins_anew_has_what_it_had_before(tmp_path: Path) -> None:
    """A service's counts from before its restart, in the time shown, are included."""
    name = series.RESOURCE_ERRORS.name
    written = {
        f'{name}{{error_type="once"}}': "_x10 1x10 2x40",
        f'{name}{{error_type="restarted"}}': "_x10 1x10 3x10 1x30",
        f'{name}{{error_type="old"}}': "7x20 1x40",
    }
    found = {'{error_type="once"}': 2, '{error_type="restarted"}': 4, '{error_type="old"}': 1}
    asked = series.counted(series.RESOURCE_ERRORS, "error.type", window="50m")
    calculate(tmp_path, written, {f"round({asked})": found})


def test_messages_that_wait_are_counted_over_restarts(tmp_path: Path) -> None:
    """Sent less taken up is exact for few messages, whoever was started anew in the time shown."""
    sent, taken = series.SENT.name, series.TAKEN_UP.name
    written = {
        # Two wait; what had been taken up before does not matter.
        f'{sent}{{rpc_method="stuck"}}': "40x30 44x30",
        f'{taken}{{rpc_method="stuck"}}': "90x30 92x30",
        # All are taken up: by a worker, its successor, and that one, restarted under the same name.
        f'{sent}{{rpc_method="restarted"}}': "0+1x30 30x30",
        f'{taken}{{rpc_method="restarted", instance="1"}}': "0+1x10 10x5 _x44",
        f'{taken}{{rpc_method="restarted", instance="2"}}': "_x11 1+1x9 1+1x9 10x30",
        # Nobody takes it up, and its sender has just been started.
        f'{sent}{{rpc_method="new"}}': "_x40 1x20",
        # These do not wait: one could not be sent, one goes to several.
        f'{sent}{{rpc_method="failed", error_type="E"}}': "0+1x60",
        f'{sent}{{rpc_method="all", cinder_rpc_fanout="true"}}': "0+1x60",
        f'{taken}{{rpc_method="all", cinder_rpc_fanout="true"}}': "0+2x60",
        # Its sender is not traced.
        f'{taken}{{rpc_method="strange"}}': "0+1x60",
    }
    found = {'{rpc_method="stuck"}': 2, '{rpc_method="restarted"}': 0, '{rpc_method="new"}': 1}
    asked = series.waiting(series.SENT, series.TAKEN_UP, "rpc.method", window="50m")
    calculate(tmp_path, written, {asked: found})


def test_messages_in_progress_are_counted_worker_by_worker(tmp_path: Path) -> None:
    """A worker's messages are counted, also if its predecessor of the same name had counted some."""
    taken, done = series.TAKEN_UP.name, f"{series.HANDLING.name}_count"
    written = {
        f'{taken}{{rpc_method="m", job="j", instance="1"}}': "5+1x60",
        f'{done}{{rpc_method="m", job="j", instance="1"}}': "0+1x60",
        f'{done}{{rpc_method="m", job="j", instance="1", error_type="E"}}': "3x60",
        # Started anew: what it has taken up is known, and of its predecessor's what was handled.
        f'{taken}{{rpc_method="m", job="j", instance="2"}}': "100x54 1x6",
        f'{done}{{rpc_method="m", job="j", instance="2"}}': "100x60",
        # The very first.
        f'{taken}{{rpc_method="first", job="j", instance="1"}}': "_x50 1x10",
    }
    found = {'{rpc_method="m"}': 2, '{rpc_method="first"}': 1}
    asked = series.in_progress(series.TAKEN_UP, series.HANDLING, "rpc.method")
    calculate(tmp_path, written, {asked: found})


def panel_of(uid: str, title: str) -> dict[str, Any]:
    """Return the panel with this title."""
    return next(panel for panel in panels(uid) if panel["title"] == title)


def test_what_openstack_exporter_has_is_shown(tmp_path: Path) -> None:
    """Volumes by status, those between two statuses with their age, services and pools."""
    volume = series.VOLUME_GB.name
    written = {
        f'{series.VOLUMES_IN_STATUS.name}{{status="error"}}': "2x60",
        f'{series.VOLUMES_IN_STATUS.name}{{status="available"}}': "0x60",
        f'{volume}{{id="1", status="creating", name="n"}}': "_x20 1x40",
        f'{volume}{{id="2", status="in-use"}}': "1x60",
        f'{volume}{{id="3", status="deleting"}}': "1x20 _x40",
        f'{series.SERVICE_STATE.name}{{service="cinder-volume", hostname="h@b", '
        'adminState="enabled", uuid="u"}': "0x60",
        f'{series.POOL_FREE_GB.name}{{name="h@b#p", vendor_name="v"}}': "25x60",
        f'{series.POOL_TOTAL_GB.name}{{name="h@b#p", vendor_name="v"}}': "100x60",
    }
    expected = {
        ("How many volumes are in which status? (volumes)", 0): {'{status="error"}': 2},
        ("Which volumes are between two statuses, and since when?", 0): {
            '{id="1", status="creating"}': 35 * 60
        },
        ("Which services does Cinder hold to be up?", 0): {
            '{service="cinder-volume", hostname="h@b", adminState="enabled"}': 0
        },
        ("How full are the pools?", 2): {'{name="h@b#p"}': 0.75},
    }
    found = {
        asked(panel_of("cinder-glance", title)["targets"][index]["expr"]): values
        for (title, index), values in expected.items()
    }
    calculate(tmp_path, written, found)


def test_a_restart_is_marked(tmp_path: Path) -> None:
    """A worker whose counter begins anew makes a line, and one that goes on counting none."""
    name = series.STARTED.name
    written = {
        f'{name}{{job="j", instance="1"}}': "0+5x52 1+5x8",
        f'{name}{{job="j", instance="2"}}': "0+5x60",
        f'{name}{{job="other", instance="1"}}': "0+5x60",
    }
    (mark,) = (
        each["target"]["expr"]
        for each in BOARDS["cinder-glance"]["annotations"]["list"]
        if each["name"] == "Restarts"
    )
    calculate(tmp_path, written, {mark.replace(series.RATE, "5m"): {'{job="j"}': 1}})


def test_an_idle_backend_is_shown(tmp_path: Path) -> None:
    """A worker that reports and has nothing to do is a row of zeros."""
    at = 'job="cinder/cinder-volume", instance="h@idle"'
    written = {f'{series.STARTED.name}{{{at}, otel_span_sampling_result="DROP"}}': "3x60"}
    columns = panel_of("cinder-glance", "What does each backend do?")["targets"]
    zero = {'{instance="h@idle"}': 0.0}
    calculate(tmp_path, written, {asked(each["expr"]): zero for each in columns})


@each_board
def test_every_annotation_can_be_asked_for(region: Region, uid: str) -> None:
    """Prometheus has nothing against the expressions of lines on graphs."""
    for mark in BOARDS[uid]["annotations"]["list"]:
        region.prometheus.query(asked(mark["target"]["expr"]))


@each_board
def test_every_panel_has_something_to_show(region: Region, uid: str) -> None:
    """No expression is an error, and none is empty unless it is listed, with the reason why."""
    empty = set()
    for panel in panels(uid):
        for target in panel["targets"]:
            if "expr" in target and not finite(region.prometheus.query(asked(target["expr"]))):
                empty.add((panel["title"], target["refId"]))
    assert empty <= set(MAY_BE_EMPTY)


def test_what_may_be_empty_is_on_a_board() -> None:
    """The list of what may be empty names panels that are there."""
    there = {
        (panel["title"], target["refId"])
        for uid in BOARDS
        for panel in panels(uid)
        for target in panel["targets"]
    }
    assert set(MAY_BE_EMPTY) <= there


def test_the_numbers_are_those_of_the_database(region: Region) -> None:
    """The board's count of creates equals that of Cinder's database."""
    shown = {
        panel["title"]: panel["targets"][0]["expr"]
        for panel in panels("cinder-create")
        if panel["type"] == "stat"
    }
    statuses = list(region.stack.statuses().values())
    twice = len(region.creates["fails everywhere"])  # the scheduler is asked again after each
    once = len(region.creates["rescheduled"])
    expected = {
        "Creates accepted": len(statuses),
        "Creates refused": len(region.creates["over quota"]),
        "Volumes that ended in error": statuses.count("error"),
        "Creates rescheduled": 2 * twice + once,
    }

    def counted() -> dict[str, float]:
        return {title: region.prometheus.value(asked(shown[title])) for title in expected}

    wait_until(lambda: counted() == pytest.approx(expected), 60, f"{counted()} to be {expected}")


def values(region: Region, variable: dict[str, Any]) -> set[str]:
    """Return what a variable may be, as Grafana asks for it."""
    call = re.fullmatch(r"label_values\((.+), (\w+)\)", asked(variable["query"]))
    assert call, variable["query"]
    answer = HTTP.get(
        f"{region.prometheus.url}/api/v1/label/{call[2]}/values",
        params={"match[]": call[1]},
        timeout=30,
    ).json()
    assert answer["status"] == "success", answer
    found = set(answer["data"])
    if variable.get("regex"):
        pattern = re.compile(variable["regex"].strip("/").replace("\\/", "/"))
        found = {match[1] for match in map(pattern.match, found) if match}
    return found


@each_board
def test_every_variable_has_values(region: Region, uid: str) -> None:
    """One can choose among services, operations, topics and methods that there are."""
    expected = {
        "service": {"cinder-api", "cinder-scheduler", "cinder-volume"},
        "operation": {"POST /v3/{project_id}/volumes", "process cinder-volume/create_volume"},
        "topic": {"cinder-scheduler", "cinder-volume"},
        "method": {"cinder-scheduler/create_volume", "cinder-volume/create_volume"},
    }
    for variable in BOARDS[uid]["templating"]["list"]:
        if variable["type"] == "query":
            assert expected[variable["name"]] <= values(region, variable)


def test_an_operation_that_is_chosen_is_shown(region: Region) -> None:
    """A name with what means something in a regular expression is found, escaped by Grafana."""
    (panel,) = (each for each in panels("cinder-glance") if "each operation fare" in each["title"])
    expression = panel["targets"][0]["expr"].replace(
        "$operation", r"(POST /v3/\\{project_id\\}/volumes|cinder-scheduler/get_pools)"
    )
    shown = {series["metric"]["span_name"] for series in region.prometheus.query(asked(expression))}
    assert shown == {"POST /v3/{project_id}/volumes", "cinder-scheduler/get_pools"}


def test_every_search_finds_traces(region: Region) -> None:
    """Jaeger has the traces that a panel asks for, by the same query as Grafana's."""
    searches = [
        (panel["title"], target)
        for uid in BOARDS
        for panel in panels(uid)
        for target in panel["targets"]
        if target.get("queryType") == "search"
    ]
    assert searches
    for title, target in searches:
        tags = dict(tag.split("=") for tag in target.get("tags", "").split())
        now = time.time_ns() // 1000
        parameters = {
            "service": target["service"],
            "operation": target["operation"],
            "limit": target["limit"],
            "start": now - WINDOW_S * 1_000_000,
            "end": now,
            **({"tags": json.dumps(tags)} if tags else {}),
            **({"minDuration": asked(target["minDuration"])} if "minDuration" in target else {}),
        }
        answer = HTTP.get(f"{region.jaeger.url}/api/traces", params=parameters, timeout=30).json()
        assert answer["data"], title


def test_exemplars_open_traces(region: Region) -> None:
    """Every panel with dots has some, under the name that the data source knows, and they open."""
    (link,) = data_sources()["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    traces = set()
    dotted = [
        (panel["title"], asked(target["expr"]))
        for uid in BOARDS
        for panel in panels(uid)
        for target in panel["targets"]
        if target.get("exemplar")
    ]
    assert dotted
    for title, expression in dotted:
        now = time.time()
        answer = HTTP.get(
            f"{region.prometheus.url}/api/v1/query_exemplars",
            params={"query": expression, "start": now - WINDOW_S, "end": now},
            timeout=30,
        ).json()
        assert answer["status"] == "success", answer
        found = {
            exemplar["labels"].get(link["name"])
            for series in answer["data"]
            for exemplar in series["exemplars"]
        }
        found.discard(None)  # measured outside of any trace
        assert found, title
        traces |= found
    assert any(region.jaeger.trace(trace_id) for trace_id in traces)


def test_a_span_leads_to_its_metrics(region: Region) -> None:
    """The queries by which a trace leads to metrics find those of a span's name."""
    queries = data_sources()["jaeger"]["jsonData"]["tracesToMetrics"]["queries"]
    assert queries
    for query in queries:
        # Grafana first makes $ of $$, then puts the span in.
        expression = query["query"].replace("$$", "$")
        expression = expression.replace("${__span.name}", "process cinder-volume/create_volume")
        assert "$" not in expression
        assert region.prometheus.query(expression.replace("[5m]", f"[{WINDOW_S}s]")), query["name"]
