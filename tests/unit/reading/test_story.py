"""The story of a trace, from traces of real Cinder."""

from __future__ import annotations

from dataclasses import replace

import pytest

from otel_cinder.reading.notes import notes_of
from otel_cinder.reading.records import LogLine
from otel_cinder.reading.source_code import place_of, summary_of
from otel_cinder.reading.story import Story, with_logs
from otel_cinder.reading.trace import LinkRecord, SpanRecord, Trace
from otel_cinder.reading.words import words
from tests.unit.reading.recorded import recorded

CREATE = "cinder/volume/flows/api/create_volume.py"


def span(name: str, **more: object) -> SpanRecord:
    """One span, alone in its trace."""
    return SpanRecord("a" * 32, "b" * 16, None, name, **more)  # type: ignore[arg-type]


def said(story: Story) -> list[tuple[str, str]]:
    """The words and names of the stages."""
    return [(stage.words, stage.name) for stage in story.stages]


def test_every_stage_of_a_create_has_words_in_both_languages() -> None:
    """Every stage of a real create has a description; the waits in the queue are stages."""
    trace = recorded("create")
    english, chinese = Story(trace), Story(trace, words("zh"))
    assert english.title == "Create a volume"
    assert chinese.title == "创建卷"
    assert len(english.stages) == len(trace) + 2
    assert [stage.kind for stage in english.stages].count("wait") == 2
    for (one, name), (other, _) in zip(said(english), said(chinese), strict=True):
        assert one not in ("", name)
        assert any("\u4e00" <= sign <= "\u9fff" for sign in other), other


def test_a_task_has_states_results_and_place() -> None:
    """States from the first to the last, keys of its results, file and line at the release's tag."""
    (stage,) = [
        stage for stage in Story(recorded("create")).stages if stage.name == "QuotaReserveTask"
    ]
    assert stage.kind == "task"
    assert stage.words == "Reserve quota for the size and type"
    assert stage.states == ("PENDING", "RUNNING", "SUCCESS")
    assert stage.results == ("reservations",)
    assert stage.place is not None
    assert stage.place.path == CREATE
    assert stage.place.line
    assert stage.place.link.startswith("https://opendev.org/openstack/cinder/src/tag/29.")
    assert stage.place.link.endswith(f"{CREATE}#L{stage.place.line}")
    assert stage.uuid.count("-") == 4


def test_a_task_that_failed_has_no_results() -> None:
    """The keys that it was to provide are no results."""
    tasks = [
        s for s in Story(recorded("reschedule")).stages if s.name == "CreateVolumeFromSpecTask"
    ]
    assert [(task.state, task.results) for task in tasks] == [
        ("FAILURE", ()),
        ("SUCCESS", ("volume_spec",)),
    ]


def test_log_lines_have_their_file_and_line() -> None:
    """Each log line of Cinder is shown once, with its place."""
    root = Story(recorded("create")).stages[0]
    assert root.kind == "request"
    assert "Create volume of 1 GB" in [line.message for line in root.logs]
    assert {str(line.place).partition(":")[0] for line in root.logs} <= {
        "cinder/api/openstack/wsgi.py",
        "cinder/api/v3/volumes.py",
        "cinder/volume/api.py",
    }


def test_a_reschedule_is_shown_with_its_result() -> None:
    """The story names the failure, the user's message, the backend left out and the good end."""
    story = Story(recorded("reschedule"))
    assert "the disk is gone" in story.any_error
    assert story.final_error == ""
    notes = [note.text for stage in story.stages for note in stage.notes if note.tells]
    assert "told the user: Driver failed to create the volume." in notes
    assert "gave attempt 1 up and asked the scheduler again" in notes
    assert "IgnoreAttemptedHostsFilter left 1 of 2 backends, without node@one#one" in notes
    assert ("Give this backend up and ask the scheduler for another",) in [
        (stage.words,) for stage in story.stages if stage.name == "revert OnFailureRescheduleTask"
    ]
    assert any(stage.states == ("REVERTING", "REVERTED") for stage in story.stages)
    assert "第 2 次" in [stage.state for stage in Story(story.trace, words("zh")).stages]


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("create", ""),
        ("reschedule", ""),
        ("no_backend_left", "NoValidBackend: No valid backend was found."),
        ("attach_fails", "VolumeBackendAPIException: "),
        ("quota_exceeded", "VolumeLimitExceeded: "),
    ],
)
def test_the_final_result_is_shown(name: str, error: str) -> None:
    """A trace succeeds if its last attempt did; a refused request has its reason."""
    final_error = Story(recorded(name)).final_error
    assert final_error.startswith(error)
    assert bool(final_error) is bool(error)


def test_a_later_attempt_alone_has_not_failed() -> None:
    """A message's second attempt is no failure, even if the first did not arrive."""
    first = span("process cinder-volume/create_volume", kind="consumer", status="error")
    attempt = {"cinder.schedule.attempt": 2}
    second = replace(first, span_id="c" * 16, start_ns=9, status="unset", attributes=attempt)
    assert Story(Trace([second])).final_error == ""
    assert Story(Trace([first, second])).final_error == ""
    assert Story(Trace([first])).final_error == "ERROR"
    assert Story(Trace([])).final_error == Story(Trace([])).any_error == ""


def test_an_unknown_task_is_described_by_its_docstring() -> None:
    """Without a table's entry, the installed source's first line explains it, or else its name."""
    function = "cinder.volume.flows.api.create_volume.ExtractVolumeRequestTask.execute"
    assert summary_of(function) == "Processes an api request values into a validated set of values"
    attributes = {"taskflow.task.state": "SUCCESS", "code.function.name": function}
    (stage,) = Story(Trace([span("NewTask", attributes=attributes)])).stages
    assert stage.words == summary_of(function)
    (stage,) = Story(Trace([span("NewTask", attributes={"taskflow.task.state": "X"})])).stages
    assert stage.words == "NewTask"


@pytest.mark.parametrize("function", ["", "a", "no.such.Thing.execute", "cinder./etc/x.A.b", ".."])
def test_a_strange_function_has_no_docstring(function: str) -> None:
    """Only modules of packages are read, also if a trace names other files."""
    assert summary_of(function) == ""


def test_places_of_older_traces_and_other_versions() -> None:
    """Without a file the module is shown; without a release there is no link."""
    name = "cinder.volume.flows.api.create_volume.QuotaReserveTask.execute"
    place = place_of({"code.function.name": name}, {"service.version": "29.0.0"})
    assert place is not None
    assert (place.path, place.line) == (CREATE, None)
    assert place.link.endswith(CREATE)
    path = {"code.file.path": "/x/site-packages/cinder/quota.py", "code.line.number": 7}
    for version in ("29.0.1.dev4", "", None):
        place = place_of(path, {"service.version": version})
        assert str(place) == "cinder/quota.py:7"
        assert place is not None
        assert place.link == ""
    assert place_of({}, {}) is None


@pytest.mark.parametrize(
    ("logger", "source", "path"),
    [
        ("cinder.volume.manager", "manager.py:817", "cinder/volume/manager.py:817"),
        ("cinder.quota", "versionutils.py:3", "versionutils.py:3"),
        ("", "manager.py:817", "manager.py:817"),
        ("cinder.volume.manager", "manager.py:None", "cinder/volume/manager.py"),
        ("cinder.volume.manager", "manager.py:²", "cinder/volume/manager.py"),
    ],
)
def test_place_of_a_log_line(logger: str, source: str, path: str) -> None:
    """A line names its file in short; where the logger is the module's name, that says the folders."""
    place = place_of({"log.logger": logger, "log.source": source}, {"service.version": "29.0.0"})
    assert str(place) == path
    assert place is not None
    assert bool(place.link) is (path.startswith("cinder/"))
    assert place_of({"log.logger": logger}, {}) is None


@pytest.mark.parametrize(
    ("name", "attributes", "kind", "text"),
    [
        ("execute lvcreate", {}, "internal", "Run the program lvcreate"),
        ("privsep umount", {}, "internal", "Run umount as root, in the privileged daemon"),
        ("download image", {}, "internal", "Download the image from Glance"),
        ("clean up volume", {}, "internal", "Clean up the volume of interrupted work"),
        ("set snapshot to error", {}, "internal", "Set the snapshot to error"),
        ("GET", {"http.request.method": "GET"}, "client", "Ask another service over HTTP"),
        ("INSERT volumes", {"db.system.name": "mysql"}, "client", "Ask the database"),
        (
            "notify notifications/volume.create.start",
            {"oslo_messaging.notification.event_type": "volume.create.start"},
            "producer",
            "Send the notification volume.create.start",
        ),
        ("X.grow", {"code.function.name": "d.X.grow"}, "internal", "The driver's part: grow"),
        ("cast cinder-new/do_it", {}, "producer", "Send the message to cinder-new: do_it"),
        ("odd", {}, "internal", "odd"),
    ],
)
def test_other_stages(name: str, attributes: dict[str, str], kind: str, text: str) -> None:
    """Commands, images, clean-ups, clients, notifications, drivers; the rest has its name."""
    (stage,) = Story(Trace([span(name, attributes=attributes, kind=kind)])).stages
    assert stage.words == text


def test_events_are_in_the_order_of_their_times() -> None:
    """Jaeger gives the events of a span in any order."""
    trace = recorded("reschedule")
    mixed = Trace(replace(span, events=span.events[::-1]) for span in trace.spans)
    for one, other in zip(Story(trace).stages, Story(mixed).stages, strict=True):
        assert [line.message for line in one.logs] == [line.message for line in other.logs]
        assert one.notes == other.notes


def test_a_wait_is_the_senders() -> None:
    """A create that goes back to the scheduler waits in the name of cinder-volume, which sent it."""
    waits = [s.service for s in Story(recorded("reschedule")).stages if s.kind == "wait"]
    assert waits == ["cinder-api", "cinder-scheduler", "cinder-volume", "cinder-scheduler"]


def test_log_records_join_their_spans() -> None:
    """Lines exported as OTLP log records look like lines exported as events."""
    alone = span("odd", service="cinder-api")
    line = LogLine(
        "hello", "INFO", trace_id=alone.trace_id, span_id=alone.span_id, scope="cinder.x"
    )
    stray = replace(line, span_id="c" * 16)
    (stage,) = Story(Trace(with_logs([alone], [line, stray]))).stages
    (log,) = stage.logs
    assert (log.level, log.message, log.logger) == ("INFO", "hello", "cinder.x")


def test_a_command_has_failed_by_what_is_below_it() -> None:
    """A command's requests are all named; its own exit status is the reason only if there is no other."""
    refused = recorded("quota_exceeded")
    other = replace(refused.spans[0], span_id="e" * 16)
    other = replace(other, attributes={**other.attributes, "openstack.request_id": "req-other"})
    command = SpanRecord(
        refused.trace_id,
        "f" * 16,
        None,
        "openstack volume create",
        end_ns=refused.end_ns,
        attributes={"process.exit.code": 1},
        status="error",
        status_message="exit status 1",
    )
    below = [
        replace(span, parent_id=span.parent_id or "f" * 16) for span in (*refused.spans, other)
    ]
    notes = notes_of(Story(Trace([command, *below])))
    assert notes.title == "openstack volume create"
    assert notes.story.final_error.startswith("VolumeLimitExceeded: ")
    assert [row.level for row in notes.rows][:2] == [0, 0]
    (requests,) = (text for label, text in notes.summary if label == "Request")
    assert requests == f"{refused.spans[0].attributes['openstack.request_id']}, req-other"
    assert Story(Trace([command])).final_error == "exit status 1"


def test_a_request_under_way_is_called_by_what_is_known_of_it() -> None:
    """Until its own span ends, the title is that of the request that a still-running span is of."""
    attributes = {
        "cinder.still_running": True,
        "http.request.method": "POST",
        "http.route": "/v3/{project_id}/attachments",
    }
    link = LinkRecord("a" * 32, "b" * 16)
    shown = SpanRecord(
        "a" * 32, "c" * 16, None, "still running D.x", attributes=attributes, links=(link,)
    )
    ended = SpanRecord("a" * 32, "d" * 16, "b" * 16, "D.y", start_ns=1, end_ns=2)
    assert Story(Trace([ended, shown]), words("en")).title == "Create an attachment"


def test_a_drivers_call_that_runs_is_a_step_in_words() -> None:
    """A still-running span has its message's attributes, and is no message."""
    attributes = {"cinder.still_running": True, "rpc.method": "cinder-volume/create_volume"}
    link = LinkRecord("a" * 32, "b" * 16)
    name = "still running RBDDriver.create_volume"
    span = SpanRecord("a" * 32, "c" * 16, None, name, attributes=attributes, links=(link,))
    [stage] = Story(Trace([span]), words("en")).stages
    assert (stage.kind, stage.words) == ("step", "The driver makes the volume")
