"""The project's metadata, workflows, forms and Makefile."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from requirements.releases import RELEASES

ROOT = Path(__file__).resolve().parents[2]
GITHUB = ROOT / ".github"
FORMS = sorted(path for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config")


def run(*words: str | Path, **environ: str) -> str:
    """Run a program in the checkout and return what it prints."""
    done = subprocess.run(
        words,
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if k != "MAKEFLAGS"} | environ,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def metadata() -> dict:
    """Return the core metadata that a release would have."""
    return json.loads(run(sys.executable, "-m", "hatchling", "metadata"))


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("vendor.github-workflows", sorted((GITHUB / "workflows").glob("*.yml"))),
        ("vendor.github-issue-forms", FORMS),
        ("vendor.github-issue-config", [GITHUB / "ISSUE_TEMPLATE" / "config.yml"]),
    ],
)
def test_workflows_and_forms_are_valid(schema: str, files: list[Path]) -> None:
    """GitHub's own schemas accept each file."""
    assert files
    run(sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *files)


def test_each_python_of_the_classifiers_runs_the_unit_tests(metadata: dict) -> None:
    """The quick job's matrix has the Pythons of the classifiers."""
    prefix = "Programming Language :: Python :: 3."
    promised = {c.rpartition(" ")[2] for c in metadata["classifiers"] if c.startswith(prefix)}
    jobs = yaml.safe_load((GITHUB / "workflows" / "ci.yml").read_text())["jobs"]
    assert set(jobs["quick"]["strategy"]["matrix"]["python"]) == promised
    assert metadata["requires-python"] == f">={min(promised, key=lambda v: int(v[2:]))}"


def test_workflow_has_the_python_of_each_release() -> None:
    """The job that installs every release's Cinder has all their Pythons."""
    jobs = yaml.safe_load((GITHUB / "workflows" / "nightly.yml").read_text())["jobs"]
    [setup] = [step["with"] for step in jobs["releases"]["steps"] if "python-version" in str(step)]
    assert {release.python for release in RELEASES} <= set(setup["python-version"].split())


def test_the_package_index_gets_absolute_links(metadata: dict) -> None:
    """Every link and picture of the README works away from the repository."""
    readme = metadata["readme"]["text"]
    targets = re.findall(r"\]\(([^)\s]+)", readme)
    assert targets
    assert [t for t in targets if not t.startswith(("https://", "#"))] == []
    relative = re.findall(r"\]\(([^)\s]+)", (ROOT / "README.md").read_text())
    for target in relative:
        if not target.startswith(("https://", "#")):
            assert (ROOT / target.partition("#")[0]).exists(), target


def test_the_registrys_entry_is_of_this_package(metadata: dict) -> None:
    """The text for OpenTelemetry's registry has the name, places and licence that pip is told."""
    entry = yaml.safe_load((ROOT / "docs" / "registry-entry.yml").read_text())
    assert entry["package"]["name"] == metadata["name"]
    urls = metadata["urls"]
    assert entry["urls"] == {"repo": urls["Source"], "docs": urls["Documentation"]}
    assert entry["license"].replace(" ", "-") == metadata["license"]
    assert [author["name"] for author in entry["authors"]] == [
        author["name"] for author in metadata["authors"]
    ]


def test_the_architecture_names_modules_that_exist() -> None:
    """Each module in the table of modules is a file of the package, or a folder."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    missing = set()
    cells = re.findall(r"^\| (`[a-z]+/[^|]*) \|", page, re.MULTILINE)
    assert cells
    for cell in cells:
        folder = ""
        for name in re.findall(r"`([^`]+)`", cell):
            folder = name.rpartition("/")[0] or folder
            path = f"{folder}/{name.rpartition('/')[2]}"
            if not (ROOT / "otel_cinder" / path).exists():
                missing.add(path)
    assert missing == set()


def test_a_release_needs_the_tag_of_its_version() -> None:
    """The release workflow reads the version as it is written in version.py."""
    from otel_cinder import __version__

    steps = yaml.safe_load((GITHUB / "workflows" / "release.yml").read_text())["jobs"]["build"]
    [check] = [step["run"] for step in steps["steps"] if "The tag" in step.get("name", "")]
    bash = shutil.which("bash") or "bash"
    run(bash, "-ec", check, GITHUB_REF_NAME=f"v{__version__}")
    with pytest.raises(AssertionError, match="::error::tag v0"):
        run(bash, "-ec", check, GITHUB_REF_NAME="v0")


@pytest.mark.parametrize(
    ("arguments", "builds"),
    [
        ("", True),
        ("-x", True),
        ("tests", True),
        ("tests/pipeline -q", True),
        ("tests/compose/test_compose.py", True),
        ("tests/unit -q", False),
        ("tests/integration/test_creates.py::test_x", False),
    ],
)
def test_make_builds_only_what_the_named_tests_run(arguments: str, *, builds: bool) -> None:
    """The collector and Jaeger, which take ten minutes, are built for their own tests alone."""
    make = shutil.which("make") or "make"
    output = run(make, "--no-print-directory", "--dry-run", "test", f"ARGS={arguments}")
    assert (" programs" in output) is builds
