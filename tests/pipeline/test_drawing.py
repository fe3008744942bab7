"""What Grafana's own code makes of the boards: transformations, overrides, units and colours."""

from typing import Any

import pytest

from tests.boards import BOARDS
from tests.pipeline.drawing import Asking, shown
from tests.pipeline.region import Region

GREEN, YELLOW, RED = "#56A64B", "#F2CC0C", "#E02F44"  # of Grafana's light theme
Drawn = list[dict[str, Any]]


@pytest.fixture(scope="module")
def asking(region: Region) -> Asking:
    """The last twenty minutes of the region."""
    return Asking(region, window_s=1200, step_s=10)


@pytest.fixture(scope="module")
def drawn(asking: Asking, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Drawn]]:
    """What is shown of each board, by the titles of its panels."""
    return {uid: shown(asking.board(uid), tmp_path_factory.mktemp(uid)) for uid in BOARDS}


def of_kind(uid: str, kind: str) -> list[dict[str, Any]]:
    """Return the panels of a board that are of this kind."""
    return [panel for panel in BOARDS[uid]["panels"] if panel["type"] == kind]


def column(found: Drawn, name: str) -> dict[str, Any]:
    """Return the column, series or number of this name."""
    return next(each for each in found if each["name"] == name)


@pytest.mark.parametrize("uid", BOARDS)
def test_a_table_has_our_headings_alone(drawn: dict[str, dict[str, Drawn]], uid: str) -> None:
    """Each column is named as we name it, in our order, and its options reach it."""
    for panel in of_kind(uid, "table"):
        columns = [each["name"] for each in drawn[uid][panel["title"]]]
        if not columns or panel["targets"][0].get("queryType") == "search":
            continue
        (organize,) = (each for each in panel["transformations"] if each["id"] == "organize")
        headings = list(organize["options"]["renameByName"].values())
        assert columns == [each for each in headings if each in columns], panel["title"]
        assert headings[0] in columns
        overridden = {rule["matcher"]["options"] for rule in panel["fieldConfig"]["overrides"]}
        assert overridden <= set(headings), panel["title"]
        assert panel["options"]["sortBy"][0]["displayName"] in headings


@pytest.mark.parametrize("uid", BOARDS)
def test_an_empty_cell_does_not_speak_for_the_table(
    drawn: dict[str, dict[str, Drawn]], uid: str
) -> None:
    """What is said when there is nothing is not said in a row of which something is known."""
    for panel in of_kind(uid, "table"):
        empty = panel["fieldConfig"]["defaults"]["noValue"]
        cells = [text for each in drawn[uid][panel["title"]] for text in each["texts"]]
        assert empty not in cells, panel["title"]


@pytest.mark.parametrize("uid", BOARDS)
def test_a_series_is_named_by_what_tells_it_apart(
    drawn: dict[str, dict[str, Drawn]], uid: str
) -> None:
    """No legend is a set of labels, a template or the word Value, and no two are alike."""
    for panel in of_kind(uid, "timeseries"):
        names = [each["name"] for each in drawn[uid][panel["title"]]]
        assert len(set(names)) == len(names), panel["title"]
        for name in names:
            assert "{{" not in name
            assert not name.startswith(("{", "Value"))
            assert name.strip() == name
            assert "()" not in name, panel["title"]


def test_numbers_have_their_units(drawn: dict[str, dict[str, Drawn]]) -> None:
    """A count is whole with its share beside it, a share in percent, a wait in seconds."""
    glance, create = drawn["cinder-glance"], drawn["cinder-create"]
    (share,) = glance["API server errors"]
    assert share["texts"] == ["0%"]
    (wait,) = glance["Longest wait in a queue, p95"]
    assert wait["texts"][0].endswith((" ms", " s", " min", " mins"))
    refused = create["Creates refused"]
    assert [each["texts"] for each in refused] == [["10"], ["5%"]]
    assert column(refused, "count")["colours"] == [YELLOW]
    assert column(create["Volumes that ended in error"], "count")["colours"] == [RED]
    assert column(create["Server errors"], "share")["colours"] == [GREEN]


def test_words_and_colours_stand_for_values(drawn: dict[str, dict[str, Drawn]]) -> None:
    """A program that is up says so in green; a task that failed is red."""
    state = column(drawn["cinder-glance"]["Is the pipeline up?"], "State")
    assert set(zip(state["texts"], state["colours"], strict=True)) == {("up", GREEN)}
    states = column(drawn["cinder-create"]["Which tasks failed, and which were reverted?"], "State")
    assert {"FAILURE", "REVERTED"} <= set(states["texts"])
    colours = dict(zip(states["texts"], states["colours"], strict=True))
    assert (colours["FAILURE"], colours["REVERTED"]) == (RED, YELLOW)


def test_a_series_has_the_colour_of_what_it_counts(drawn: dict[str, dict[str, Drawn]]) -> None:
    """Part of a name is enough for its colour: flows that end well are green, others red."""
    ends = drawn["cinder-create"]["How do the flows end? (runs)"]
    colours = {each["name"]: each["fixed"] for each in ends}
    assert colours["volume_create_manager SUCCESS"] == "green"
    assert colours["volume_create_manager REVERTED"] == "red"
    answers = drawn["cinder-glance"]["What does the API answer? (requests per second)"]
    assert column(answers, "202")["fixed"] == "green"
    assert column(answers, "413")["fixed"] == "yellow"


def test_the_first_cause_has_its_backend(drawn: dict[str, dict[str, Drawn]]) -> None:
    """Both backends that failed are named with the driver's exception; the end says something else."""
    first = drawn["cinder-glance"]["What failed first, and on which backend?"]
    assert set(column(first, "Backend")["texts"]) == {"one", "two"}
    assert set(column(first, "Error")["texts"]) == {"VolumeBackendAPIException"}
    assert set(column(first, "Share")["texts"]) == {"11.1%", "50%"}
    last = drawn["cinder-glance"]["What was put into error, and why?"]
    assert set(column(last, "Reason")["texts"]) == {"NoValidBackend"}


def test_durations_are_on_a_logarithmic_axis(drawn: dict[str, dict[str, Drawn]]) -> None:
    """Each graph of durations that is not stacked has one, and its axis does not begin at 0."""
    found = 0
    for uid in BOARDS:
        for panel in of_kind(uid, "timeseries"):
            defaults = panel["fieldConfig"]["defaults"]
            stacked = defaults["custom"].get("stacking", {}).get("mode") == "normal"
            if defaults["unit"] not in ("s", "ms") or stacked:
                continue
            for series in drawn[uid][panel["title"]]:
                assert series["custom"]["scaleDistribution"] == {"type": "log", "log": 10}
            assert "min" not in defaults
            found += 1
    assert found >= 10


def test_an_operation_leads_to_its_traces(drawn: dict[str, dict[str, Drawn]]) -> None:
    """A click on it opens a search in Jaeger for that operation of that service."""
    operation = column(drawn["cinder-glance"]["How does each operation fare?"], "Operation")
    (link,) = operation["links"]
    assert "${__data.fields.Service:percentencode}" in link
    assert "${__data.fields.Operation:percentencode}" in link


def test_the_map_has_what_its_panel_goes_by(drawn: dict[str, dict[str, Drawn]]) -> None:
    """Ends and numbers of edges have the names that Grafana looks for; no end is unknown."""
    (panel,) = of_kind("cinder-glance", "nodeGraph")
    edges = drawn["cinder-glance"][panel["title"]]
    assert {"id", "source", "target", "mainstat", "secondarystat"} <= {
        each["name"] for each in edges
    }
    ends = {*column(edges, "source")["texts"], *column(edges, "target")["texts"]}
    assert {"cinder-api", "cinder-scheduler", "cinder-volume"} <= ends
    assert "unknown" not in ends
