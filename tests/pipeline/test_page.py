"""Jaeger's page as jaeger/ui.json configures it: who reads the file, and where its links lead."""

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.integration.processes import wait_until
from tests.pipeline.programs import CHECKOUT, HTTP, Jaeger
from tests.pipeline.region import Region

UI = json.loads((CHECKOUT / "jaeger" / "ui.json").read_text())
SEARCHES = [link for link in UI["linkPatterns"] if link["type"] == "tags"]
# What the page in Jaeger's image has, and the one in its module has not.
PAGE = "<script>const JAEGER_CONFIG = DEFAULT_CONFIG;</script>"


class Paged(Jaeger):
    """A Jaeger that serves a page which can be configured."""

    def argv(self) -> list[str | Path]:
        assets = self.folder / "assets"
        assets.mkdir(exist_ok=True)
        (assets / "index.html").write_text(PAGE)
        return [*super().argv(), f"--set=extensions.jaeger_query.ui.assets_path={assets}"]


@pytest.mark.parametrize("storage", ["memory", "badger"])
def test_jaeger_puts_the_configuration_into_its_page(tmp_path: Path, storage: str) -> None:
    """With either storage, the page that a browser gets has all of the file, and follows it."""
    jaeger = Paged(storage, tmp_path)
    jaeger.ui = tmp_path / "ui.json"
    jaeger.ui.write_text(json.dumps(UI))
    try:
        jaeger.start()
        page = HTTP.get(f"{jaeger.url}/search", timeout=10).text
        found = re.search(r"JAEGER_CONFIG = (.*);</script>", page)
        assert found, page
        assert json.loads(found[1]) == UI
        jaeger.ui.write_text("{}")
        changed = PAGE.replace("DEFAULT_CONFIG", "{}")
        wait_until(lambda: changed in HTTP.get(jaeger.url, timeout=10).text, 30, "the change")
    finally:
        jaeger.kill()


def test_jaeger_does_not_start_with_a_broken_file(tmp_path: Path) -> None:
    """A file that is no JSON is told at the start; without a file the page is Jaeger's own."""
    jaeger = Paged("memory", tmp_path)
    jaeger.ui = tmp_path / "ui.json"
    jaeger.ui.write_text(json.dumps(UI)[:-1])
    try:
        with pytest.raises(AssertionError, match="jaeger ended"):
            jaeger.start()
        assert "cannot parse UI config file" in jaeger.log.read_text()
        jaeger.ui = ""
        jaeger.start()
        assert PAGE in HTTP.get(jaeger.url, timeout=10).text
    finally:
        jaeger.kill()


@pytest.mark.parametrize("link", SEARCHES, ids=lambda link: link["text"])
def test_a_link_at_an_attribute_finds_its_trace(region: Region, link: dict[str, Any]) -> None:
    """The search behind an attribute's value finds the trace that one came from."""
    key = link["key"]
    url = urlsplit(link["url"].replace(f"#{{{key}}}", "VALUE"))
    asked = {name: values[0] for name, values in parse_qs(url.query).items()}
    assert url.path == "/search"
    assert json.loads(asked["tags"]) == {key: "VALUE"}
    limit = {**asked, "limit": "200"}
    del limit["tags"]

    def found() -> list[dict[str, Any]]:
        answer = HTTP.get(f"{region.jaeger.url}/api/traces", params=limit, timeout=30)
        return list(answer.json()["data"])

    values = {
        tag["value"]: trace["traceID"]
        for trace in found()
        for span in trace["spans"]
        for tag in span["tags"]
        if tag["key"] == key
    }
    value, trace_id = values.popitem()
    limit["tags"] = json.dumps({key: value})
    wait_until(lambda: trace_id in {trace["traceID"] for trace in found()}, 30, f"{key}={value}")
