"""The pages: their links, their translations, and docs/pipeline.md against the files it is about."""

from __future__ import annotations

import re
import runpy
from collections import Counter
from pathlib import Path

import pytest
import yaml

from otel_cinder import conventions

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs" / "pipeline.md", ROOT / "docs" / "pipeline.zh.md"]
TRANSLATED = sorted(ROOT.glob("*.zh.md")) + sorted(ROOT.glob("docs/*.zh.md"))
EVERY = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("*/README.md")]
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
    """The anchor of a heading, by GitHub's rule."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> list[str]:
    """The links of a page to files of this checkout and to headings."""
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    return [link for link in links if not link.startswith("https://")]


def code(page: Path) -> Counter[str]:
    """A page's code words and URLs, without comments and pictures."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    spans = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)
    lines = [
        line.split("  #")[0].strip()
        for line in re.findall(r"^(?: {4}|\t)(.+)$", text, re.MULTILINE)
    ]
    return Counter([*spans, *lines, *re.findall(r"http://[\d.:]+", text)])


def test_every_variable_is_one_that_is_read(page: Path) -> None:
    """Each variable of the collector, Jaeger or compose.yaml is in a configuration."""
    named = re.findall(r"\b(?:OTELCOL|JAEGER|OTLP|GRAFANA|PROMETHEUS)_[A-Z_]+", page.read_text())
    read = set(re.findall(r"\$\{(?:env:)?(\w+)", configured()))
    # This one is systemd's, in the package of the released collector.
    assert set(named) - {"OTELCOL_OPTIONS"} <= read
    assert len(set(named)) > 20


def test_every_port_is_one_that_is_configured(page: Path) -> None:
    """A port that the page names is one of a configuration, or the variant in an example."""
    ports = set(re.findall(r":(\d{4,5})\b", page.read_text()))
    assert ports - {"3001"} <= set(re.findall(r":(\d{4,5})\b", configured()))


@pytest.mark.parametrize("page", EVERY, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    """Files exist, and headings that are linked to are there."""
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_reference_is_written_from_the_conventions() -> None:
    """docs/reference.md is what `make docs` writes."""
    written = runpy.run_path(str(ROOT / "docs" / "reference.py"))["page"]()
    assert (ROOT / "docs" / "reference.md").read_text() == written, "run `make docs`"


def test_what_the_collector_passes_over_is_written_from_the_conventions() -> None:
    """The redaction processor ignores the attributes without text, in each file that redacts."""
    script = runpy.run_path(str(ROOT / "collector" / "ignored_keys.py"))
    assert script["FILES"] == tuple(
        ROOT / "collector" / name for name in ("all-in-one.yaml", "agent.yaml")
    )
    for file in script["FILES"]:
        text = file.read_text()
        assert text == script["written"](text), "run `make docs`"
        ignored = yaml.safe_load(text)["processors"]["redaction"]["ignored_keys"]
        assert set(ignored) == set(conventions.WITHOUT_TEXT) <= set(conventions.ATTRIBUTES)


def twins(page: Path) -> tuple[Path, Path]:
    """A page in English and in Chinese."""
    return page.with_name(page.name.replace(".zh.md", ".md")), page


def test_operators_pages_are_translated() -> None:
    """The pages for setting tracing up and for reading traces exist in Chinese."""
    assert {page.name for page in TRANSLATED} >= {
        "README.zh.md",
        "glossary.zh.md",
        "pipeline.zh.md",
        "reading-a-trace.zh.md",
    }


@pytest.mark.parametrize("page", TRANSLATED, ids=lambda page: page.name)
def test_both_languages_say_the_same(page: Path) -> None:
    """The same files, variables, commands and addresses, as often, below as many headings."""
    english, chinese = twins(page)
    assert code(english) - code(chinese) == Counter()
    assert code(chinese) - code(english) == Counter()
    both = [
        Counter(re.sub(r"^.*/|#.*$", "", link).replace(".zh.md", ".md") for link in links(each))
        for each in (english, chinese)
    ]
    assert both[0] == both[1]
    headings = [re.findall(r"^#+(?= )", each.read_text(), re.MULTILINE) for each in twins(page)]
    assert headings[0] == headings[1]
    # A translated page is linked to where there is one.
    for link in links(chinese):
        path = (chinese.parent / link.partition("#")[0]).resolve()
        if path.suffix == ".md" and path.with_suffix(".zh.md").exists():
            assert path == english, f"{link} has a translation"
