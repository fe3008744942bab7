"""The tree, as text."""

from __future__ import annotations

import io
import os
import random
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from otel_cinder.cli.tree import draw, lines_of
from otel_cinder.reading.story import Story, duration_text
from otel_cinder.reading.trace import LinkRecord, SpanRecord, Trace
from tests.unit.cli.samples import failed_create, volume_create

GOLDENS = Path(__file__).parent / "goldens"


def drawn(spans: list[SpanRecord], width: int, encoding: str = "utf-8", color: bool = False) -> str:
    """The output on a terminal of that width."""
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    draw(Trace(spans), Console(file=file, width=width, force_terminal=color or None))
    file.flush()
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize("width", [80, 128])
@pytest.mark.parametrize("sample", [volume_create, failed_create])
def test_the_tree_looks_like_its_golden(sample: object, width: int) -> None:
    """Whole traces, at the widths of a plain and of a wide terminal (UPDATE_GOLDENS=1 rewrites)."""
    assert callable(sample)
    golden = GOLDENS / f"{sample.__name__}_{width}.txt"
    text = drawn(sample(), width)
    if os.environ.get("UPDATE_GOLDENS"):
        golden.write_text(text)
    assert text == golden.read_text()


@pytest.mark.parametrize("width", [1, 20, 40, 79, 80, 110, 300])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    """Lines are cut, not wrapped."""
    lines = (drawn(volume_create(), width) + drawn(failed_create(), width)).splitlines()
    assert max(map(len, lines)) <= width


def test_a_pipe_gets_no_colours() -> None:
    """Escape codes are for terminals only."""
    assert "\x1b" not in drawn(volume_create(), 80)
    assert "\x1b" in drawn(volume_create(), 80, color=True)


def test_a_terminal_without_unicode_gets_ascii() -> None:
    """An ASCII terminal gets lines of plain characters."""
    assert "|- volume_create_api" in drawn(volume_create(), 128, encoding="ascii")
    assert "x VolumeBackendAPIException" in drawn(failed_create(), 80, encoding="ascii")


def test_an_orphan_names_its_missing_parent() -> None:
    """A span whose parent did not arrive is drawn, with the reason."""
    text = drawn(volume_create()[5:7], 100)
    assert "2 without a parent" in text
    assert "its parent 0000000000000002 did not arrive" in text


def hanging_create(*more: SpanRecord) -> list[SpanRecord]:
    """A create whose driver call has not ended, with its second still-running span."""
    spans = [span for span in volume_create() if span.service != "cinder-volume"]
    cast = next(span for span in spans if span.name == "cast cinder-volume/create_volume")
    said = {
        "cinder.still_running": True,
        "cinder.still_running.spans": ["process x", "volume_create_manager", "RBD.create_volume"],
        "cinder.still_running.tasks_to_come": ["CreateVolumeOnFinishTask"],
        "cinder.still_running.blocks_hub": True,
        "code.stacktrace": "/usr/lib/cinder/volume/drivers/rbd.py:812 in RBD.create_volume\n/x",
    }
    shown = replace(
        cast,
        span_id="e" * 16,
        parent_id=cast.span_id,
        name="still running RBD.create_volume",
        kind="internal",
        service="cinder-volume",
        end_ns=cast.start_ns + 552 * 10**9,
        attributes=said,
        links=(LinkRecord(cast.trace_id, "f" * 16),),
    )
    first = replace(shown, span_id="d" * 16, end_ns=cast.start_ns + 10**10)
    return [*spans, shown, first, *more]


def test_still_running_work_is_drawn_as_such() -> None:
    """It is drawn once, with its latest age, its place, its open spans and the tasks to come."""
    lines = drawn(hanging_create(), 128).splitlines()
    (index,) = (index for index, line in enumerate(lines) if "still running" in line)
    assert "RBD.create_volume" in lines[index]
    assert "552 s" in lines[index]
    assert [line.strip(" │") for line in lines[index + 1 : index + 5]] == [
        "· at rbd.py:812 in RBD.create_volume",
        "· inside of volume_create_manager, process x",
        "· blocks eventlet's hub: all other work of this process waits",
        "· still to come: CreateVolumeOnFinishTask",
    ]


def test_ended_span_replaces_its_still_running_span() -> None:
    """After the span itself has arrived, its still-running spans are left out."""
    real = replace(hanging_create()[-1], span_id="f" * 16, name="RBD.create_volume", attributes={})
    text = drawn(hanging_create(replace(real, links=())), 128)
    assert "still running" not in text
    assert text.count("RBD.create_volume") == 1


def test_the_service_is_named_where_it_changes() -> None:
    """Children in their parent's service do not repeat its name."""
    joining = [line.name for line in lines_of(Story(Trace(volume_create()))) if line.joins]
    assert joining == [
        "POST /v3/{project_id}/volumes",
        "process cinder-scheduler/create_volume",
        "process cinder-volume/create_volume",
    ]


def test_a_success_with_an_error_shows_the_error() -> None:
    """A task that ends in SUCCESS although it handled a failure is not shown as fine."""
    root = volume_create()[0]
    span = replace(
        root,
        attributes={"taskflow.task.state": "SUCCESS", "error.type": "NoValidBackend"},
        status="error",
    )
    [line] = lines_of(Story(Trace([span])))
    assert (line.state, line.style, line.error) == ("SUCCESS", "bad", "NoValidBackend")


def test_odd_data_is_drawn_too() -> None:
    """Any spans are drawn without an exception."""
    dice = random.Random(7)
    ids = [f"{number:016x}" for number in range(8)]
    for _ in range(300):
        spans = [
            SpanRecord(
                "c" * 32,
                dice.choice(ids),
                dice.choice([None, *ids]),
                dice.choice(["", "task\n\x1b[31m", "x" * 300, "[bold]"]),
                kind=dice.choice(["server", "consumer", "odd"]),
                service=dice.choice(["", "cinder-api", "[red]"]),
                start_ns=dice.choice([0, 5, 10**20]),
                end_ns=dice.choice([0, 4, 10**20]),
                attributes=dice.choice(
                    [
                        {},
                        {"taskflow.task.state": 3, "error.type": ["a"]},
                        {"http.response.status_code": "x", "cinder.rpc.queue.duration": -1.0},
                        {"cinder.rpc.queue.duration": float("nan")},
                    ]
                ),
                status=dice.choice(["unset", "ok", "error"]),
            )
            for _ in range(dice.randrange(6))
        ]
        text = drawn(spans, dice.choice([1, 80, 120]))
        assert text.startswith("t")
        assert "\x1b" not in text


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (-5, "0 µs"),
        (999, "1 µs"),
        (999_499, "999 µs"),
        (999_500, "1.0 ms"),
        (9_949_999, "9.9 ms"),
        (9_950_001, "10 ms"),
        (999_499_999, "999 ms"),
        (999_500_001, "1.00 s"),
        (12_340_000_000, "12.3 s"),
        (5_000_000_000_000, "5000 s"),
        (72_000_000_000_000, "20 h"),
    ],
)
def test_durations_fit_their_column(nanoseconds: int, text: str) -> None:
    """Three digits or so, and never more than six characters."""
    assert duration_text(nanoseconds) == text
