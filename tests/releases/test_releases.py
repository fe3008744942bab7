"""The Cinder of each OpenStack release, as its constraints pin it, with what `requirements` adds.

CI installs three of them, `make matrix` all, and the newest with other Pythons and libraries. With
``ARGS='-k zed'`` it is one. `make matrix` also writes docs/releases.md.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from otel_cinder.reading.receiver import from_json_line
from otel_cinder.reading.trace import Trace, spans_of, traces_of
from requirements.releases import RELEASES
from tests.integration.broker import Broker
from tests.integration.installation import clean_environment
from tests.releases.cloud import SERVICES, Cloud
from tests.releases.installs import INSTALLS, Install, Installed, Libraries
from tests.releases.table import Table

IN_CI = {"zed", "2024.1", "2026.2"}
"""The oldest, one in the middle and the newest."""

GOLDEN = Path(__file__).parent / "golden"

OLDEST, *_, LAST_BUT_ONE, NEWEST = (Install(release, release.python) for release in RELEASES)

pytestmark = pytest.mark.timeout(900)


def each(installs: Iterable[Install]) -> pytest.MarkDecorator:
    """Try a test with each of these; what CI leaves out is nightly."""
    return pytest.mark.parametrize(
        "wanted",
        [pytest.param(wanted, id=wanted.name, marks=marks(wanted)) for wanted in installs],
    )


def marks(wanted: Install) -> list[pytest.MarkDecorator]:
    """When it is tried, and whether it may fail."""
    found = [] if wanted.name in IN_CI else [pytest.mark.nightly]
    if wanted.libraries is Libraries.PRERELEASES:
        found.append(pytest.mark.xfail(reason="a library may not be ready yet", strict=False))
    return found


each_release = each(wanted for wanted in INSTALLS if wanted.is_the_releases)
each_install = each(INSTALLS)

Given = Callable[[Install], Installed]


@each_release
def test_nothing_moves(wanted: Install, install: Given) -> None:
    """What Cinder had is there as before, and what is new is what the file names."""
    installed = install(wanted)
    after = [line for line in installed.virtualenv.freeze() if "otel-cinder" not in line]
    assert set(installed.before) <= set(after)
    named = re.findall("^[a-z].*", installed.release.added.read_text(), re.MULTILINE)
    assert {line.replace("_", "-").lower() for line in set(after) - set(installed.before)} == {
        *named
    }


@each_release
def test_the_file_tells_what_pip_check_says(wanted: Install, install: Given) -> None:
    """`pip check` complains of what the file names, and of nothing else."""
    installed = install(wanted)
    told = re.findall(r"#   (\S+) \S+ wants ([\w-]+)", installed.release.added.read_text())
    said = [
        re.findall(r"`([\w-]+)` requires `([\w-]+)", line)[0]
        for line in installed.virtualenv.check()
        if line not in installed.complaints
    ]
    assert sorted(said) == sorted(told)


@each_release
def test_the_demo_shows_one_trace(
    wanted: Install, install: Given, terminal: Path, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """Every release makes the same spans, attributes and events, and lacks none of our seams."""
    installed = install(wanted)
    spans = tmp_path / "spans.jsonl"
    demo = subprocess.run(
        [installed.virtualenv.python, "-m", "otel_cinder.cli", "demo", "--keep", "--spans", spans],
        cwd=tmp_path,
        env=clean_environment() | {"PYTHONPATH": str(terminal), "TMPDIR": str(tmp_path)},
        check=False,
        text=True,
        capture_output=True,
    )
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert f"/requirements/{installed.release.series}.txt otel-cinder\n" in demo.stdout
    [trace] = traces_of(
        span for line in spans.read_text().splitlines() for span in spans_of(from_json_line(line))
    )
    compare(GOLDEN / "create.txt", trace, pytestconfig)
    [log] = tmp_path.glob("*/cinder.log")
    assert " traces cinder-" in log.read_text()
    assert "unpatched" not in log.read_text()


@each_release
def test_the_doctor_has_nothing_to_mend(wanted: Install, install: Given, tmp_path: Path) -> None:
    """As it is installed, every place fits, and no requirement is missing or untried."""
    installed = install(wanted)
    words = ["-m", "otel_cinder", "doctor", "--no-endpoint", "--venv", installed.virtualenv.folder]
    doctor = subprocess.run(
        [installed.virtualenv.python, *words],
        cwd=tmp_path,
        env=clean_environment(),
        check=False,
        text=True,
        capture_output=True,
    )
    assert (doctor.returncode, doctor.stderr) == (0, "")
    assert f"cinder {installed.release.cinder}, " in doctor.stdout
    assert doctor.stdout.endswith(" places fit\n\nNothing to mend.\n")


@each_install
def test_operations_are_the_same_traces(
    wanted: Install,
    install: Given,
    terminal: Path,
    tmp_path: Path,
    table: Table,
    pytestconfig: pytest.Config,
) -> None:
    """A create, one that fails and an attach: the same spans, attributes and events everywhere."""
    installed = install(wanted)
    with (
        table.row(*cells(installed), f"{mode(wanted)}, one process") as spans,
        Cloud.in_one_process(installed.virtualenv, tmp_path, terminal) as cloud,
    ):
        try_operations(cloud, spans, GOLDEN, pytestconfig)


@pytest.mark.nightly
@pytest.mark.rabbitmq
@each([OLDEST, NEWEST])
def test_operations_are_the_same_traces_over_rabbitmq(
    wanted: Install,
    install: Given,
    tmp_path: Path,
    table: Table,
    pytestconfig: pytest.Config,
    broker: Broker,
) -> None:
    """So they are where each service is a process of its own."""
    installed = install(wanted)
    virtualenvs = dict.fromkeys(SERVICES, installed.virtualenv)
    broker.add_vhost(tmp_path.name)
    with (
        table.row(*cells(installed), f"{mode(wanted)}, RabbitMQ") as spans,
        Cloud.over_rabbitmq(virtualenvs, tmp_path, broker.url(tmp_path.name)) as cloud,
    ):
        try_operations(cloud, spans, GOLDEN / "rabbitmq", pytestconfig)


@pytest.mark.nightly
@pytest.mark.rabbitmq
def test_operations_are_the_same_traces_in_a_mixed_cloud(
    install: Given,
    tmp_path: Path,
    table: Table,
    pytestconfig: pytest.Config,
    broker: Broker,
) -> None:
    """So they are in the middle of an upgrade, when cinder-api is one release behind."""
    older, newest = install(LAST_BUT_ONE), install(NEWEST)
    virtualenvs = dict.fromkeys(SERVICES, newest.virtualenv) | {"cinder-api": older.virtualenv}
    broker.add_vhost(tmp_path.name)
    both = [" and ".join(pair) for pair in zip(cells(older), cells(newest), strict=True)]
    both[3] = cells(newest)[3]
    with (
        table.row(*both, "mixed, RabbitMQ") as spans,
        Cloud.over_rabbitmq(virtualenvs, tmp_path, broker.url(tmp_path.name)) as cloud,
    ):
        try_operations(cloud, spans, GOLDEN / "rabbitmq", pytestconfig)


def try_operations(
    cloud: Cloud, spans: dict[str, int], golden: Path, config: pytest.Config
) -> None:
    """Run each operation and compare its trace; no place may be left unpatched."""
    volume, created = cloud.create()
    traces = {
        "create": created,
        "failing create": cloud.fail_to_create(),
        "attach": cloud.attach(volume),
    }
    for name, trace in traces.items():
        spans[name] = len(trace)
        compare(golden / f"{name.replace(' ', '_')}.txt", trace, config)
    assert " traces cinder-" in cloud.log
    assert "unpatched" not in cloud.log


def mode(wanted: Install) -> str:
    """How a Cinder runs by default: eventlet is all that those below 29 know."""
    return "native threads" if wanted.release == NEWEST.release else "eventlet"


def cells(installed: Installed) -> tuple[str, ...]:
    """What a row of the table begins with."""
    install = installed.install
    return (
        install.release.series,
        install.release.cinder,
        install.python,
        install.libraries.value,
        installed.opentelemetry,
    )


def compare(golden: Path, trace: Trace, config: pytest.Config) -> None:
    """Compare a trace with a golden."""
    if config.getoption("--update-goldens"):
        golden.write_text(shape(trace))
    assert shape(trace) == golden.read_text()


def shape(trace: Trace) -> str:
    """Return the names in a trace: a span's, its attributes' and its events'."""
    return "".join(
        f"{span.name}\n"
        + "".join(f"  {name}\n" for name in sorted(span.attributes))
        + "".join(f"  * {name}\n" for name in sorted({event.name for event in span.events}))
        for span in sorted(trace.spans, key=lambda span: span.name)
    )
