"""Volume create, stage by stage."""

from __future__ import annotations

from typing import Final

from grafana import series
from grafana.boards.board import BAD, ODD, PERCENTILES, VOLUMES_IN_ERROR, Board
from grafana.panels import (
    GREEN,
    LOG,
    RED,
    YELLOW,
    Column,
    Panel,
    Query,
    Traces,
    count,
    lines,
    number,
    table,
    traces,
    walk,
)
from grafana.series import counted, label, mean, or_none, quantile, ratio, spent
from otel_cinder.conventions import (
    ERROR_TYPE,
    FLOW_NAME,
    FLOW_STATE,
    HTTP_METHOD,
    HTTP_ROUTE,
    HTTP_STATUS,
    RESOURCE_STATUS,
    RPC_METHOD,
    SERVICE_NAME,
    TASK_CLASS,
    TASK_STATE,
)
from otel_cinder.reading.steps import CREATE

STAGES: Final = {part.flow: part.tasks for part in CREATE}
"""The three flows of a create and their tasks, in the order in which they run."""

TO_SCHEDULER: Final = "cinder-scheduler/create_volume"
TO_VOLUME: Final = "cinder-volume/create_volume"
HANDOFFS: Final = {"volume_create_scheduler": TO_SCHEDULER, "volume_create_manager": TO_VOLUME}
"""The message that starts a flow."""

_SLOW: Final = {"1us": "any", "1s": "1 s", "10s": "10 s", "1m": "1 min", "5m": "5 min"}

_ASKED = series.REQUESTS.where(HTTP_METHOD, "=", "POST").where(HTTP_ROUTE, "=~", ".*/volumes")
_TASKS = series.TASKS.where(FLOW_NAME, "=~", "|".join(STAGES))
_DONE = _TASKS.where(TASK_STATE, "=", "SUCCESS")
_HANDOFFS = series.WAITS.where(RPC_METHOD, "=~", f"{TO_SCHEDULER}|{TO_VOLUME}")
# The volume service casts a create to the scheduler only where it gives a backend up.
_RESCHEDULED = series.SENT.where(RPC_METHOD, "=", TO_SCHEDULER).where("job", "=~", ".*volume")


def create() -> Board:
    """Volume create, stage by stage."""
    found = Board(
        "cinder-create",
        "Volume create, stage by stage",
        "A create step by step: thirteen tasks in three flows, and two waits in a queue between "
        "them.",
    )
    found.one_of("percentile", "Percentile", PERCENTILES, "0.95")
    found.one_of("slow", "Slow from", _SLOW, "1s")
    found.row("Do creates get through?", *_outcomes())
    found.row("Where does the time go?", _stages())
    found.row("Since when?", *_course())
    found.row("What went wrong?", *_failures())
    found.row("Traces of creates", *_traces())
    return found


def _outcomes() -> tuple[Panel, ...]:
    """How many, and what became of them."""
    return (
        count(
            "Creates accepted",
            "Requests POST /volumes that the API answered with 202 in the time shown.",
            or_none(counted(_ASKED.where(HTTP_STATUS, "=", "202"))),
            size=(3, 4),
        ),
        count(
            "Creates refused",
            "Requests POST /volumes that the API answered with 4xx in the time shown: over quota, "
            "for example, or not well formed. Beside it, their share.",
            or_none(counted(_ASKED.where(HTTP_STATUS, "=~", "4.."))),
            share=ratio(counted(_ASKED.where(HTTP_STATUS, "=~", "4..")), counted(_ASKED)),
            colours=ODD,
            size=(4, 4),
        ),
        count(
            "Server errors",
            "Requests POST /volumes that the API answered with 5xx in the time shown: either no "
            "volume was made, or the user does not know of it. Beside it, their share.",
            or_none(counted(_ASKED.where(HTTP_STATUS, "=~", "5.."))),
            share=ratio(counted(_ASKED.where(HTTP_STATUS, "=~", "5..")), counted(_ASKED)),
            colours=BAD,
        ),
        count(
            "Volumes that ended in error",
            "Volumes that Cinder set to the status error in the time shown. Usually their create "
            "failed after it was accepted. Most other operations have a status of their own for "
            "failures, such as error_deleting. Beside it, their number as a share of the creates "
            "that were accepted.",
            or_none(counted(VOLUMES_IN_ERROR.where(RESOURCE_STATUS, "=", "error"))),
            share=ratio(
                counted(VOLUMES_IN_ERROR.where(RESOURCE_STATUS, "=", "error")),
                counted(_ASKED.where(HTTP_STATUS, "=", "202")),
            ),
            colours=BAD,
        ),
        count(
            "Creates rescheduled",
            "How often Cinder gave a backend up and asked the scheduler for another, in the time "
            "shown. One create may be counted more than once.",
            or_none(counted(_RESCHEDULED)),
            colours=ODD,
            size=(3, 4),
        ),
        number(
            "Made per minute",
            "Flows of the volume service that ended in SUCCESS, on average over the time shown.",
            f"60 * {counted(_flows('volume_create_manager', 'SUCCESS'))} / {series.RANGE_S}",
            unit="short",
            empty="none in this time",
            size=(3, 4),
        ),
        number(
            "Work per create",
            "The mean time of all tasks in the three flows of one create, over the time shown. "
            "Waits in queues come on top.",
            f"sum({spent(_DONE, FLOW_NAME)} / ({counted(series.FLOWS, FLOW_NAME)} > 0))",
            unit="s",
            empty="none in this time",
            size=(3, 4),
        ),
    )


def _stages() -> Panel:
    """Each stage of the walk."""
    return walk(
        "How long does each stage take? (seconds, in the order of the walk)",
        "The chosen percentile of each task that ended in SUCCESS, and of the two waits in a "
        "queue, over the time shown. A task that did not run has no bar. CreateVolumeFromSpecTask "
        "contains the driver's work. Do not add percentiles up: the time of a whole create is "
        "below.",
        *_walk(),
        unit="s",
        empty="no creates in this time",
    )


def _course() -> tuple[Panel, ...]:
    """Stages, waits, drivers and flows over time."""
    return (
        lines(
            "What does a create take, all stages together? (mean, seconds)",
            "The mean of each stage, stacked. The height is the time of a create that needs no "
            "second backend, without the short pauses between the stages.",
            Query(mean(_DONE, FLOW_NAME, TASK_CLASS), f"{{{{{label(TASK_CLASS)}}}}}"),
            Query(mean(_HANDOFFS, RPC_METHOD), f"wait for {{{{{label(RPC_METHOD)}}}}}"),
            unit="s",
            empty="no creates in this time",
            stacked=True,
            size=(24, 10),
        ),
        *(
            lines(
                f"How long do the tasks of {flow} take? (seconds)",
                f"The chosen percentile of each task of the {service}'s flow that ended in SUCCESS. "
                "The dots are single traces: click one to open it.",
                Query(
                    quantile("$percentile", _DONE.where(FLOW_NAME, "=", flow), TASK_CLASS),
                    f"{{{{{label(TASK_CLASS)}}}}}",
                    exemplars=True,
                ),
                unit="s",
                empty="no creates in this time",
                scale=LOG,
            )
            for flow, service in zip(STAGES, ("API", "scheduler", "volume service"), strict=True)
        ),
        lines(
            "How long do creates wait in a queue? (seconds)",
            "From the cast until a worker took the message up: on the way to the scheduler, and "
            "from there to the volume service. For messages that still wait, see RPC and queues.",
            Query(
                quantile("$percentile", _HANDOFFS, RPC_METHOD),
                f"{{{{{label(RPC_METHOD)}}}}}",
                exemplars=True,
            ),
            unit="s",
            empty="no creates in this time",
            threshold=30,
            scale=LOG,
        ),
        lines(
            "How long do the drivers' calls take? (milliseconds)",
            "The chosen percentile of the volume service's calls on its drivers, from their "
            "spans. These are the calls of all operations: creates, deletes, attachments and "
            "others.",
            Query(
                quantile(
                    "$percentile",
                    series.SPANS.where(SERVICE_NAME, "=", "cinder-volume")
                    .where(series.SPAN_KIND, "=", "SPAN_KIND_INTERNAL")
                    .where(series.SPAN_NAME, "=~", "[A-Za-z0-9_]+[.][a-z0-9_]+"),
                    series.SPAN_NAME,
                ),
                "{{span_name}}",
                exemplars=True,
            ),
            unit="ms",
            empty="no calls of drivers in this time",
            scale=LOG,
        ),
        lines(
            "How do the flows end? (runs)",
            "SUCCESS: the create was handed on, or the volume was made. REVERTED: a task failed, "
            "and the tasks before it were undone. If no backend was found, the scheduler's flow "
            "still ends in SUCCESS. Each bar counts five minutes, or more if a long time is shown.",
            Query(
                counted(
                    series.FLOWS.where(FLOW_NAME, "=~", "|".join(STAGES)),
                    FLOW_NAME,
                    FLOW_STATE,
                    window=series.INTERVAL,
                ),
                f"{{{{{label(FLOW_NAME)}}}}} {{{{{label(FLOW_STATE)}}}}}",
                step="5m",
            ),
            unit="short",
            empty="no creates in this time",
            colours={"SUCCESS": GREEN, "REVERTED": RED},
            bars=True,
        ),
    )


def _failures() -> tuple[Panel, ...]:
    """Tasks that failed, and what was rescheduled."""
    return (
        table(
            "Which tasks failed, and which were reverted?",
            "Tasks of the three flows, in the time shown. A flow reverts all tasks before the one "
            "that failed.",
            {label(FLOW_NAME): "Flow", label(TASK_CLASS): "Task", label(TASK_STATE): "State"},
            Column(
                "Times",
                counted(
                    _TASKS.where(TASK_STATE, "!=", "SUCCESS"), FLOW_NAME, TASK_CLASS, TASK_STATE
                ),
                "short",
            ),
            empty="no failed task was reported",
            sort="Times",
            mappings={
                "State": {
                    "FAILURE": ("FAILURE", RED),
                    "REVERT_FAILURE": ("REVERT_FAILURE", RED),
                    "REVERTED": ("REVERTED", YELLOW),
                }
            },
            size=(14, 9),
        ),
        lines(
            "When were creates rescheduled? (times)",
            "Each bar counts how often Cinder gave a backend up and asked the scheduler for "
            "another, in five minutes, or more if a long time is shown.",
            Query(
                counted(_RESCHEDULED, "job", "instance", window=series.INTERVAL),
                "given up by {{instance}}",
                step="5m",
            ),
            unit="short",
            empty="no reschedule was reported",
            bars=True,
            size=(10, 9),
        ),
    )


def _traces() -> tuple[Panel, ...]:
    """The way to single creates."""
    return (
        traces(
            "Which creates were slow on their backend?",
            "The latest 50 creates that took the volume service at least the time chosen above. "
            "Click one to open it. Jaeger can't sort: to see the slowest, choose a longer time. A "
            "gateway keeps only a share of those that are faster than its own limit "
            "(OTELCOL_SLOW_MS). For long waits, click the dots in the graph of waits.",
            Traces("cinder-volume", f"process {TO_VOLUME}", at_least="$slow"),
            empty="Jaeger has no create that was so slow in this time",
        ),
        # error=true would be the search, but in Jaeger's memory storage it finds nothing:
        # jaegertracing/jaeger#8553.
        traces(
            "Which creates found no backend?",
            "Creates whose scheduling failed, the latest first. The last event says why. The "
            "events cinder.scheduler.filter say which filter rejected which backend.",
            Traces(
                "cinder-scheduler",
                f"process {TO_SCHEDULER}",
                f"{ERROR_TYPE}=NoValidBackend",
            ),
            empty="Jaeger has no such create in this time",
        ),
        traces(
            "Which creates failed on a backend?",
            "Creates that failed in the volume service, the latest first. If attempts were left, "
            "the scheduler was asked again.",
            Traces("cinder-volume", "revert OnFailureRescheduleTask"),
            empty="Jaeger has no such create in this time",
        ),
    )


def _flows(name: str, state: str) -> series.Series:
    return series.FLOWS.where(FLOW_NAME, "=", name).where(FLOW_STATE, "=", state)


def _walk() -> list[Query]:
    """A query for each stage, in their order."""
    found = []
    for flow, tasks in STAGES.items():
        if flow in HANDOFFS:
            waits = series.WAITS.where(RPC_METHOD, "=", HANDOFFS[flow])
            found.append(
                Query(
                    quantile("$percentile", waits, window=series.RANGE),
                    f"wait for {HANDOFFS[flow]}",
                )
            )
        for task in tasks:
            done = (
                series.TASKS.where(FLOW_NAME, "=", flow)
                .where(TASK_CLASS, "=", task)
                .where(TASK_STATE, "=", "SUCCESS")
            )
            found.append(Query(quantile("$percentile", done, window=series.RANGE), task))
    return found
