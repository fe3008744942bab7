"""docs/pipeline.md and its translation against the files that they are about, and each other."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs" / "pipeline.md", ROOT / "docs" / "pipeline.zh.md"]
CONFIGURATIONS = ["collector/*.yaml", "jaeger/*.yaml", "prometheus/**/*.yaml", "compose.yaml"]


@pytest.fixture(params=PAGES, ids=lambda page: page.name)
def page(request: pytest.FixtureRequest) -> Path:
    """The page in each language."""
    return request.param


def configured() -> str:
    """All that the pipeline's programs are configured by."""
    files = [file for pattern in CONFIGURATIONS for file in ROOT.glob(pattern)]
    return "\n".join(file.read_text() for file in files)


def anchors(page: Path) -> set[str]:
    """What a link to a heading of a page looks like, by GitHub's rule."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> list[str]:
    """The links of a page to files of this checkout and to headings."""
    return re.findall(r"\]\(([^)]+)\)", page.read_text())


def code(page: Path) -> Counter[str]:
    """What stands in a page as code, comments and pictures left out, and URLs."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    spans = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)
    lines = [
        line.split("  #")[0].strip()
        for line in re.findall(r"^(?: {4}|\t)(.+)$", text, re.MULTILINE)
    ]
    return Counter([*spans, *lines, *re.findall(r"http://[\d.:]+", text)])


def test_every_variable_is_one_that_is_read(page: Path) -> None:
    """A variable of the collector's, of Jaeger's or of compose.yaml stands in a configuration."""
    named = re.findall(r"\b(?:OTELCOL|JAEGER|OTLP|GRAFANA|PROMETHEUS)_[A-Z_]+", page.read_text())
    read = set(re.findall(r"\$\{(?:env:)?(\w+)", configured()))
    # This one is systemd's, in the package of the released collector.
    assert set(named) - {"OTELCOL_OPTIONS"} <= read
    assert len(set(named)) > 20


def test_every_port_is_one_that_is_configured(page: Path) -> None:
    """A port that the page names is one of a configuration, or the variant in an example."""
    ports = set(re.findall(r":(\d{4,5})\b", page.read_text()))
    assert ports - {"3001"} <= set(re.findall(r":(\d{4,5})\b", configured()))


def test_every_link_leads_somewhere(page: Path) -> None:
    """Files exist, and headings that are linked to are there."""
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_both_languages_say_the_same() -> None:
    """The same files, variables, commands and addresses, as often, below as many headings."""
    english, chinese = PAGES
    assert code(english) - code(chinese) == Counter()
    assert code(chinese) - code(english) == Counter()
    both = [re.sub(r"^.*/|#.*$", "", link) for link in links(english)]
    assert Counter(both) - Counter(re.sub(r"^.*/|#.*$", "", link) for link in links(chinese)) == (
        Counter({"pipeline.zh.md": 1, "README.md": 1})
    )
    headings = [re.findall(r"^#+(?= )", each.read_text(), re.MULTILINE) for each in PAGES]
    assert headings[0] == headings[1]
