"""jaeger/ui.json: what Jaeger's page would silently leave out, or lead nowhere."""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import yaml

from otel_cinder import conventions
from tests.boards import BOARDS, ROOT

UI: dict[str, Any] = json.loads((ROOT / "jaeger" / "ui.json").read_text())
PORTS = {
    port.split(":-")[-1].partition("}")[0]
    for service in ("grafana", "prometheus")
    for port in yaml.safe_load((ROOT / "compose.yaml").read_text())["services"][service]["ports"]
}
# As the page of Jaeger 2.13 has them: src/types/config.tsx, src/types/trace.tsx and
# src/utils/link-formatting.tsx in jaegertracing/jaeger-ui v1.76.0.
TYPES = {
    "criticalPathEnabled": bool,
    "topTagPrefixes": list,
    "linkPatterns": list,
    "menu": list,
}
OF_A_PATTERN = {"type", "key", "url", "text"}
OF_AN_ITEM = {"label", "url"}
OF_A_TRACE = {"traceID", "startTime", "endTime", "duration"}
FORMATTERS = r"add -?\d+|epoch_micros_to_date_iso"


def items(menu: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield what can be clicked in the menu; a group is a label with its items."""
    for each in menu:
        yield from each["items"] if set(each) == {"label", "items"} else [each]


def test_the_page_knows_every_field() -> None:
    """A field that the page does not know, or of another type, would do nothing."""
    for name, value in UI.items():
        assert type(value) is TYPES[name], name
    for pattern in UI["linkPatterns"]:
        assert pattern["type"] in ("tags", "traces")
        assert set(pattern) == OF_A_PATTERN - ({"key"} if pattern["type"] == "traces" else set())
    for item in items(UI["menu"]):
        assert set(item) == OF_AN_ITEM


def test_a_link_is_made_of_what_is_there() -> None:
    """A pattern whose parameter is missing makes no link: attributes of ours, fields of a trace."""
    for pattern in UI["linkPatterns"]:
        for parameter in re.findall(r"#\{([^}]*)\}", pattern["url"]):
            name, *formatters = (part.strip() for part in parameter.split("|"))
            known = OF_A_TRACE if pattern["type"] == "traces" else {pattern["key"]}
            assert name in known
            assert all(re.fullmatch(FORMATTERS, each) for each in formatters)
        if pattern["type"] == "tags":
            assert pattern["key"] in conventions.ATTRIBUTES


def test_our_attributes_come_first() -> None:
    """Each prefix begins names of ours, and none hides behind a shorter one before it."""
    prefixes = UI["topTagPrefixes"]
    for index, prefix in enumerate(prefixes):
        assert any(name.startswith(prefix) for name in conventions.ATTRIBUTES), prefix
        assert not any(prefix.startswith(before) for before in prefixes[:index]), prefix


def test_links_lead_to_boards_that_are_there() -> None:
    """A menu's item and a trace's link name boards by their uids, at the ports of compose.yaml."""
    links = [pattern["url"] for pattern in UI["linkPatterns"] if pattern["type"] == "traces"]
    shown = {item["url"]: item["label"] for item in items(UI["menu"])}
    boards = {}
    for link in [*links, *shown]:
        url = urlsplit(link)
        assert url.hostname == "127.0.0.1"
        assert str(url.port) in PORTS
        if url.path.startswith("/d/"):
            boards[url.path.removeprefix("/d/")] = shown.get(link)
    assert set(boards) == set(BOARDS)
    for link in links:
        assert urlsplit(link).path.removeprefix("/d/") in BOARDS
    titles = {uid: board["title"] for uid, board in BOARDS.items()}
    assert {url.rpartition("/")[2]: label for url, label in shown.items() if "/d/" in url} == titles
