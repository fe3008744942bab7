"""The four boards, panel by panel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from grafana_foundation_sdk.builders import dashboard as board
from grafana_foundation_sdk.models import dashboard

from grafana import series
from grafana.panels import (
    BLUE,
    GREEN,
    GREY,
    PROMETHEUS,
    RED,
    YELLOW,
    Column,
    Panel,
    Query,
    Traces,
    heat,
    lines,
    number,
    service_map,
    table,
    traces,
    walk,
)
from grafana.series import (
    counted,
    label,
    mean,
    or_none,
    per_second,
    quantile,
    ratio,
    spent,
    total,
    values,
)
from otel_cinder.core.conventions import (
    ERROR_TYPE,
    FLOW_NAME,
    FLOW_STATE,
    HTTP_METHOD,
    HTTP_ROUTE,
    HTTP_STATUS,
    RESOURCE_STATUS,
    RESOURCE_TYPE,
    RPC_METHOD,
    SAMPLING_RESULT,
    SDK_NAME,
    SDK_VERSION,
    SEAM,
    SEAM_STATE,
    SERVICE_NAME,
    SERVICE_VERSION,
    TASK_CLASS,
    TASK_STATE,
)

TAG: Final = "otel-cinder"
"""What the boards find each other by."""

STAGES: Final[Mapping[str, tuple[str, ...]]] = {
    "volume_create_api": (
        "ExtractVolumeRequestTask",
        "QuotaReserveTask",
        "EntryCreateTask",
        "QuotaCommitTask",
        "VolumeCastTask",
    ),
    "volume_create_scheduler": ("ExtractSchedulerSpecTask", "ScheduleCreateVolumeTask"),
    "volume_create_manager": (
        "ExtractVolumeRefTask",
        "OnFailureRescheduleTask",
        "ExtractVolumeSpecTask",
        "NotifyVolumeActionTask",
        "CreateVolumeFromSpecTask",
        "CreateVolumeOnFinishTask",
    ),
}
"""The three flows of a create and their tasks, in the order in which they run."""

TO_SCHEDULER: Final = "cinder-scheduler/create_volume"
TO_VOLUME: Final = "cinder-volume/create_volume"
HANDOFFS: Final = {"volume_create_scheduler": TO_SCHEDULER, "volume_create_manager": TO_VOLUME}
"""The message that starts a flow."""

CREATE: Final = "POST /v3/{project_id}/volumes"
"""The span of the request that asks for a volume."""

_PERCENTILES: Final = {"0.5": "p50", "0.95": "p95", "0.99": "p99"}
_BAD: Final = ((None, GREEN), (0.000001, RED))
"""Anything above 0 went wrong."""
_SHARE: Final = ((None, GREEN), (0.01, YELLOW), (0.05, RED))

# Of the spans of workers: requests and messages that they handle. What they send is the other end's.
_OPERATIONS = (
    series.SPANS.where(series.SPAN_KIND, "=~", "SPAN_KIND_(SERVER|CONSUMER)")
    .where(SERVICE_NAME, "=~", "$service")
    .where(series.SPAN_NAME, "=~", "$operation")
)
_FAILED_OPERATIONS = _OPERATIONS.where(series.STATUS, "=", "STATUS_CODE_ERROR")
_VOLUMES_IN_ERROR = series.RESOURCE_ERRORS.where(RESOURCE_TYPE, "=", "volume")


def _of_service(metric: series.Series) -> series.Series:
    """Of the chosen services, by what the exporter calls them: namespace/name."""
    return metric.where("job", "=~", "(.+/)?($service)")


class Board:
    """One board: its variables, rows and panels."""

    def __init__(self, uid: str, title: str, description: str) -> None:
        self.uid = uid
        self._panels = 0
        self._board = (
            board.Dashboard(title)
            .uid(uid)
            .description(description)
            .tags([TAG])
            .editable()
            .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
            .time("now-1h", "now")
            .refresh("1m")
            .timezone("browser")
            .link(
                board.DashboardLink("The other boards")
                .type(dashboard.DashboardLinkType.DASHBOARDS)
                .tags([TAG])
                .as_dropdown(False)
                .keep_time(True)
                .include_vars(True)
            )
            .with_variable(_data_source("datasource", "Prometheus", "prometheus"))
            .with_variable(_data_source("jaeger", "Jaeger", "jaeger"))
        )

    def choice(self, name: str, text: str, query: str, regex: str = "") -> None:
        """A variable of several values, all of them by default."""
        variable = (
            board.QueryVariable(name)
            .label(text)
            .datasource(PROMETHEUS)
            .query(query)
            .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
            .multi(True)
            .include_all(True)
            .all_value(".*")
            .current(dashboard.VariableOption(selected=True, text=["All"], value=["$__all"]))
        )
        self._board.with_variable(variable.regex(regex) if regex else variable)

    def percentile(self) -> None:
        """Which percentile is shown."""
        self._board.with_variable(
            board.CustomVariable("percentile")
            .label("Percentile")
            .values(", ".join(f"{name} : {share}" for share, name in _PERCENTILES.items()))
            .current(dashboard.VariableOption(selected=True, text="p95", value="0.95"))
        )

    def row(self, title: str, *panels: Panel) -> None:
        """Panels under a heading."""
        self._panels += 1
        self._board.with_row(board.Row(title).id(self._panels))
        for panel in panels:
            self._panels += 1
            panel.build().id_val = self._panels
            self._board.with_panel(panel)

    def build(self) -> dashboard.Dashboard:
        """As Grafana has it."""
        return self._board.build()


def _data_source(name: str, text: str, kind: str) -> board.DatasourceVariable:
    return (
        board.DatasourceVariable(name)
        .label(text)
        .type(kind)
        .current(dashboard.VariableOption(selected=True, text=text, value=kind))
    )


def _percentiles(metric: series.Series, *by: str, legend: str = "") -> list[Query]:
    """The three percentiles, whose exemplars open traces."""
    return [
        Query(quantile(share, metric, *by), f"{legend} {name}".strip(), exemplars=True)
        for share, name in _PERCENTILES.items()
    ]


def glance() -> Board:
    """Cinder at a glance."""
    found = Board(
        "cinder-glance",
        "Cinder at a glance",
        "Is Cinder well? What is asked of it, what fails and why, how long it takes.",
    )
    found.choice("service", "Service", values(series.SPANS, SERVICE_NAME))
    found.choice(
        "operation",
        "Operation",
        values(
            series.SPANS.where(series.SPAN_KIND, "=~", "SPAN_KIND_(SERVER|CONSUMER)").where(
                SERVICE_NAME, "=~", "$service"
            ),
            series.SPAN_NAME,
        ),
    )
    unsound = series.REQUESTS.where(HTTP_STATUS, "=~", "5..")
    found.row(
        "Is it well?",
        number(
            "Requests to the API per second",
            "All requests that the API answered, whatever it answered, on average over the time shown.",
            f"{counted(series.REQUESTS)} / {series.RANGE_S}",
            unit="reqps",
            empty="no requests",
        ),
        number(
            "Requests answered by a server error",
            "Share of the API's answers that were 5xx over the time shown. "
            "Refusals (4xx) are no errors.",
            ratio(counted(unsound), counted(series.REQUESTS)),
            unit="percentunit",
            empty="no requests",
            colours=_SHARE,
        ),
        number(
            "Volumes put into error",
            "Volumes that Cinder gave a status such as error or error_deleting in the time shown, "
            "although perhaps nothing was raised and the request was answered well.",
            or_none(counted(_VOLUMES_IN_ERROR)),
            unit="short",
            empty="no telemetry",
            colours=_BAD,
            decimals=0,
        ),
        number(
            "Longest wait in a queue, p95",
            "Of all kinds of messages, the one that waited longest for a worker: "
            "95 of 100 of its messages waited at most so long.",
            f"max({quantile('0.95', series.WAITS, RPC_METHOD, window=series.RANGE)})",
            unit="s",
            empty="no messages",
            colours=((None, GREEN), (1, YELLOW), (30, RED)),
        ),
        number(
            "Processes that report",
            "Workers of Cinder's services from which metrics arrive now. "
            "One that is missing has stopped, or its otel-cinder is off.",
            f"count({total(series.STARTED, 'job', 'instance')})",
            unit="short",
            empty="none: is otel-cinder on, and does its collector run?",
            colours=((None, GREEN),),
            decimals=0,
        ),
        number(
            "Spans lost on the way",
            "Spans that otel-cinder dropped or could not export in the time shown: "
            "so far traces have gaps. See the board otel-cinder itself.",
            f"({or_none(counted(series.PROCESSED.where(ERROR_TYPE, '!=', '')))})"
            f" + ({or_none(counted(series.EXPORTED.where(ERROR_TYPE, '!=', '')))})",
            unit="short",
            empty="no telemetry",
            colours=_BAD,
            decimals=0,
        ),
    )
    found.row(
        "Requests, errors, duration",
        lines(
            "What does the API answer? (requests per second)",
            "By status code: 2xx went well, 4xx were refused, 5xx are Cinder's own errors.",
            Query(
                per_second(_of_service(series.REQUESTS), HTTP_STATUS),
                f"{{{{{label(HTTP_STATUS)}}}}}",
            ),
            unit="reqps",
            empty="no requests in this time",
            colours={"^2..$": GREEN, "^3..$": BLUE, "^4..$": YELLOW, "^5..$": RED},
            stacked=True,
        ),
        lines(
            "Which operations fail? (failures per second)",
            "Requests and messages whose span is an error: something was raised, or Cinder put a "
            "resource into error, left the user a message or rescheduled.",
            Query(
                per_second(_FAILED_OPERATIONS, SERVICE_NAME, series.SPAN_NAME, ERROR_TYPE),
                "{{service_name}}: {{span_name}} ({{error_type}})",
            ),
            unit="ops",
            empty="nothing failed in this time",
        ),
        lines(
            "How long do the chosen operations take? (seconds)",
            "Percentiles over all operations that are chosen above. The dots are single traces: "
            "click one to open it.",
            *_percentiles(_OPERATIONS),
            unit="s",
            empty="none of these operations in this time",
            colours={"p50": GREEN, "p95": YELLOW, "p99": "orange"},
        ),
        lines(
            "Which operations take longest? (p95, seconds)",
            "95 of 100 took at most so long. Handling a message includes all that the service does "
            "for it; a request's answer comes before most of the work.",
            Query(
                quantile("0.95", _OPERATIONS, SERVICE_NAME, series.SPAN_NAME),
                "{{service_name}}: {{span_name}}",
                exemplars=True,
            ),
            unit="s",
            empty="none of these operations in this time",
        ),
        table(
            "How does each operation fare?",
            "Requests and messages of the time shown, as their spans tell: those that were not "
            "sampled are not among them.",
            {"service_name": "Service", "span_name": "Operation"},
            Column("Handled", counted(_OPERATIONS, SERVICE_NAME, series.SPAN_NAME), "short"),
            Column(
                "Failed",
                ratio(
                    counted(_FAILED_OPERATIONS, SERVICE_NAME, series.SPAN_NAME),
                    counted(_OPERATIONS, SERVICE_NAME, series.SPAN_NAME),
                ),
                "percentunit",
                _SHARE,
            ),
            *(
                Column(
                    name,
                    quantile(
                        share, _OPERATIONS, SERVICE_NAME, series.SPAN_NAME, window=series.RANGE
                    ),
                    "s",
                )
                for share, name in _PERCENTILES.items()
            ),
            empty="none of these operations in this time",
            sort="Handled",
        ),
    )
    reasons = (RESOURCE_TYPE, RESOURCE_STATUS, ERROR_TYPE)
    in_error = _of_service(series.RESOURCE_ERRORS)
    found.row(
        "What failed, and why?",
        table(
            "What was put into error, and why?",
            "Resources that Cinder gave an error status, by the class of the reason, in the time "
            "shown and since the workers that now report have started.",
            {
                "job": "Service",
                **dict(zip(map(label, reasons), ("Resource", "Status", "Reason"), strict=True)),
            },
            Column("In this time", counted(in_error, "job", *reasons), "short", _BAD),
            Column(
                "Since the start",
                f"sum {in_error.by(('job', *reasons))}({in_error.selector()})",
                "short",
            ),
            empty="nothing was put into error",
            sort="In this time",
            size=(10, 9),
        ),
        lines(
            "When was it put into error? (resources)",
            "Each bar counts the resources of five minutes, or more where much time is shown.",
            Query(
                counted(in_error, RESOURCE_TYPE, ERROR_TYPE, window=series.INTERVAL),
                f"{{{{{label(RESOURCE_TYPE)}}}}}: {{{{{label(ERROR_TYPE)}}}}}",
                step="5m",
            ),
            unit="short",
            empty="nothing was put into error",
            bars=True,
            size=(7, 9),
        ),
        table(
            "Which alerts fire now?",
            "Those of prometheus/alerts.yaml, whose descriptions say what each means.",
            {"alertname": "Alert", "severity": "Severity"},
            Column(
                "Times",
                f"count by (alertname, severity) "
                f"({series.ALERTS.where('alertstate', '=', 'firing').selector()})",
                "short",
            ),
            empty="none",
            sort="Times",
            mappings={
                "Severity": {"critical": ("critical", RED), "warning": ("warning", YELLOW)},
            },
            size=(7, 9),
        ),
    )
    called = counted(series.EDGES, "client", "server")
    failed = counted(series.FAILED_EDGES, "client", "server")
    found.row(
        "Who calls whom, and who watches?",
        service_map(
            "Who calls whom? (requests and messages per second, and those that failed)",
            "From the service that sends to the one that handles, by the spans of both; a service has the "
            "sum of what comes to it. user is whoever calls the API.",
            _edges(f"{called} / {series.RANGE_S}", "id", "source", "target"),
            _edges(f"({failed} or 0 * {called}) / {series.RANGE_S}", "id"),
            empty="no calls between services in this time",
        ),
        table(
            "Is the pipeline up?",
            "Whether Prometheus reaches the programs that it gets all this from.",
            {"job": "Program", "instance": "Address"},
            Column("State", f"max by (job, instance) ({series.UP.selector()})", "short"),
            empty="Prometheus scrapes nothing",
            sort="State",
            mappings={"State": {"1": ("up", GREEN), "0": ("down", RED)}},
            size=(6, 10),
        ),
        lines(
            "How full are the collector's queues? (share)",
            "What waits for Jaeger or the next gateway, of what may wait. When one is full, "
            "telemetry is refused or lost.",
            Query(_collector_queues(), "{{instance}}: {{exporter}}"),
            unit="percentunit",
            empty="no collector is scraped",
            threshold=0.8,
            size=(6, 10),
        ),
    )
    return found


def _places(state: str) -> str:
    """Patched places in a state, of the worker of each service that has most of them."""
    found = _of_service(series.SEAMS).where(SEAM_STATE, "=", state)
    return f"max {found.by(('job', SEAM))}({found.selector()})"


def _edges(expression: str, *by: str) -> str:
    """With the labels that the service map goes by."""
    source = f'label_replace({expression}, "source", "$1", "client", "(.+)")'
    target = f'label_replace({source}, "target", "$1", "server", "(.+)")'
    joined = f'label_join({target}, "id", " to ", "client", "server")'
    return f"sum by ({', '.join(by)}) ({joined})"


def _collector_queues() -> str:
    by = ("job", "instance", "exporter")
    clause = series.EXPORT_QUEUE.by(by)
    return (
        f"max {clause}({series.EXPORT_QUEUE.selector()}) "
        f"/ max {clause}({series.EXPORT_QUEUE_CAPACITY.selector()})"
    )


def create() -> Board:
    """Volume create, stage by stage."""
    found = Board(
        "cinder-create",
        "Volume create, stage by stage",
        "The walk of a create: thirteen tasks in three flows and two waits in a queue between them.",
    )
    found.percentile()
    asked = series.REQUESTS.where(HTTP_METHOD, "=", "POST").where(HTTP_ROUTE, "=~", ".*/volumes")
    tasks = series.TASKS.where(FLOW_NAME, "=~", "|".join(STAGES))
    done = tasks.where(TASK_STATE, "=", "SUCCESS")
    handoffs = series.WAITS.where(RPC_METHOD, "=~", f"{TO_SCHEDULER}|{TO_VOLUME}")
    # The volume service casts a create to the scheduler only where it gives a backend up.
    rescheduled = series.SENT.where(RPC_METHOD, "=", TO_SCHEDULER).where("job", "=~", ".*volume")
    found.row(
        "Do creates get through?",
        number(
            "Creates accepted",
            "POST /volumes that the API answered with 202 in the time shown.",
            or_none(counted(asked.where(HTTP_STATUS, "=", "202"))),
            unit="short",
            empty="no telemetry",
            decimals=0,
        ),
        number(
            "Creates refused",
            "POST /volumes answered with 4xx in the time shown: over quota, say, or not well formed.",
            or_none(counted(asked.where(HTTP_STATUS, "=~", "4.."))),
            unit="short",
            empty="no telemetry",
            colours=((None, GREEN), (0.000001, YELLOW)),
            decimals=0,
        ),
        number(
            "Volumes that ended in error",
            "Volumes that were given the status error in the time shown.",
            or_none(counted(_VOLUMES_IN_ERROR.where(RESOURCE_STATUS, "=", "error"))),
            unit="short",
            empty="no telemetry",
            colours=_BAD,
            decimals=0,
        ),
        number(
            "Creates rescheduled",
            "How often a backend was given up and the scheduler asked for another, in the time shown.",
            or_none(counted(rescheduled)),
            unit="short",
            empty="no telemetry",
            colours=((None, GREEN), (0.000001, YELLOW)),
            decimals=0,
        ),
        number(
            "Volumes made per minute",
            "Flows of the volume service that ended in SUCCESS, on average over the time shown.",
            f"60 * {counted(_flows('volume_create_manager', 'SUCCESS'))} / {series.RANGE_S}",
            unit="short",
            empty="none in this time",
        ),
        number(
            "Work per create",
            "Mean time that the tasks of a create take together, over the time shown. "
            "Waits in queues come on top.",
            f"sum({spent(done, FLOW_NAME)} / {counted(series.FLOWS, FLOW_NAME)})",
            unit="s",
            empty="none in this time",
        ),
    )
    found.row(
        "Where does the time go?",
        walk(
            "How long does each stage take? (seconds, in the order of the walk)",
            "The chosen percentile of each task that ended in SUCCESS, and of the two waits in a "
            "queue, over the time shown. CreateVolumeFromSpecTask has the driver's work in it.",
            *_walk(),
            unit="s",
            empty="did not run in this time",
        ),
    )
    found.row(
        "Since when?",
        lines(
            "What does a create take, all stages together? (mean, seconds)",
            "The mean of each stage on top of the others, so that the height is what a create takes.",
            Query(mean(done, FLOW_NAME, TASK_CLASS), f"{{{{{label(TASK_CLASS)}}}}}"),
            Query(mean(handoffs, RPC_METHOD), f"wait for {{{{{label(RPC_METHOD)}}}}}"),
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
                    quantile("$percentile", done.where(FLOW_NAME, "=", flow), TASK_CLASS),
                    f"{{{{{label(TASK_CLASS)}}}}}",
                    exemplars=True,
                ),
                unit="s",
                empty="no creates in this time",
            )
            for flow, service in zip(STAGES, ("API", "scheduler", "volume service"), strict=True)
        ),
        lines(
            "How long do creates wait in a queue? (seconds)",
            "From the cast until a worker took the message up: to the scheduler, and from there to "
            "the volume service.",
            Query(
                quantile("$percentile", handoffs, RPC_METHOD),
                f"{{{{{label(RPC_METHOD)}}}}}",
                exemplars=True,
            ),
            unit="s",
            empty="no creates in this time",
            threshold=30,
        ),
        lines(
            "How long do the drivers' calls take? (seconds)",
            "The chosen percentile of what the volume service calls on its drivers, by their spans.",
            Query(
                quantile(
                    "$percentile",
                    series.SPANS.where(series.SPAN_KIND, "=", "SPAN_KIND_INTERNAL").where(
                        series.SPAN_NAME, "=~", "[A-Za-z0-9_]+[.][a-z0-9_]+"
                    ),
                    series.SPAN_NAME,
                ),
                "{{span_name}}",
                exemplars=True,
            ),
            unit="s",
            empty="no calls of drivers in this time",
        ),
        lines(
            "How do the flows end? (per minute)",
            "SUCCESS: handed on, or made. REVERTED: a task failed and the tasks before it were undone. "
            "A create that found no backend is a SUCCESS of the scheduler's flow.",
            Query(
                "60 * "
                + per_second(
                    series.FLOWS.where(FLOW_NAME, "=~", "|".join(STAGES)), FLOW_NAME, FLOW_STATE
                ),
                f"{{{{{label(FLOW_NAME)}}}}} {{{{{label(FLOW_STATE)}}}}}",
            ),
            unit="short",
            empty="no creates in this time",
            colours={"SUCCESS": GREEN, "REVERTED": RED},
        ),
    )
    slow = Traces("cinder-api", CREATE, limit=100)
    found.row(
        "What went wrong?",
        table(
            "Which tasks failed, and which were reverted?",
            "Of the three flows, in the time shown. A flow reverts all tasks before the one that failed.",
            {label(FLOW_NAME): "Flow", label(TASK_CLASS): "Task", label(TASK_STATE): "State"},
            Column(
                "Times",
                counted(
                    tasks.where(TASK_STATE, "!=", "SUCCESS"), FLOW_NAME, TASK_CLASS, TASK_STATE
                ),
                "short",
            ),
            empty="no task failed",
            sort="Times",
            mappings={
                "State": {
                    "FAILURE": ("FAILURE", RED),
                    "REVERT_FAILURE": ("REVERT_FAILURE", RED),
                    "REVERTED": ("REVERTED", YELLOW),
                }
            },
            size=(12, 9),
        ),
        lines(
            "When were creates rescheduled? (times)",
            "Each bar counts how often in five minutes a backend was given up and the scheduler asked "
            "for another, or more where much time is shown.",
            Query(
                counted(rescheduled, "job", "instance", window=series.INTERVAL),
                "given up by {{instance}}",
                step="5m",
            ),
            unit="short",
            empty="no create was rescheduled",
            bars=True,
            size=(12, 9),
        ),
    )
    found.row(
        "Traces of creates",
        traces(
            "Which of the latest creates took longest?",
            "Of the last hundred in the time shown that Jaeger has, the longest first: from the request "
            "to the last thing that was done for it. Click one to open it.",
            slow,
            empty="Jaeger has no creates of this time",
            sort="Duration",
            size=(24, 10),
        ),
        # error=true would be the search, but in Jaeger's memory storage it finds nothing:
        # jaegertracing/jaeger#8553.
        traces(
            "Which creates found no backend?",
            "Those whose scheduling failed, the latest first. The last event says why; "
            "cinder.scheduler.filter says which filter rejected whom.",
            Traces(
                "cinder-scheduler",
                f"process {TO_SCHEDULER}",
                f"{ERROR_TYPE}=NoValidBackend",
                limit=50,
            ),
            empty="Jaeger has none of this time",
            sort="Start time",
        ),
        traces(
            "Which creates failed on a backend?",
            "Those that the volume service could not make, the latest first; the scheduler was asked "
            "again for those that had attempts left.",
            Traces("cinder-volume", "revert OnFailureRescheduleTask", limit=50),
            empty="Jaeger has none of this time",
            sort="Start time",
        ),
    )
    return found


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
                    f"⧖ wait for {HANDOFFS[flow]}",
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


def queues() -> Board:
    """RPC and queues."""
    found = Board(
        "cinder-rpc",
        "RPC and queues",
        "Messages between Cinder's services: are they taken up, how long do they wait, do calls "
        "get their answers?",
    )
    found.choice("topic", "Topic", values(series.WAITS, RPC_METHOD), "/^([^\\/]+)\\/.*$/")
    found.choice(
        "method",
        "Method",
        values(series.WAITS.where(RPC_METHOD, "=~", "($topic)/.+"), RPC_METHOD),
    )

    def chosen(metric: series.Series) -> series.Series:
        return metric.where(RPC_METHOD, "=~", "$method").where(RPC_METHOD, "=~", "($topic)/.+")

    method = f"{{{{{label(RPC_METHOD)}}}}}"
    timeouts = chosen(series.CALLS).where(ERROR_TYPE, "=", "MessagingTimeout")
    found.row(
        "Do messages get through?",
        number(
            "Messages taken up per second",
            "Casts and calls that workers took from their queues, on average over the time shown.",
            f"{counted(chosen(series.WAITS))} / {series.RANGE_S}",
            unit="cps",
            empty="none in this time",
            size=(6, 4),
        ),
        number(
            "Wait in the queue, p95",
            "95 of 100 of the chosen messages waited at most so long for a worker.",
            quantile("0.95", chosen(series.WAITS), window=series.RANGE),
            unit="s",
            empty="no messages",
            colours=((None, GREEN), (1, YELLOW), (30, RED)),
            size=(6, 4),
        ),
        number(
            "Calls that timed out",
            "Calls whose caller gave up waiting for the answer, in the time shown "
            "(rpc_response_timeout in cinder.conf).",
            or_none(counted(timeouts)),
            unit="short",
            empty="no telemetry",
            colours=_BAD,
            decimals=0,
            size=(6, 4),
        ),
        number(
            "Messages before their time",
            "Messages that came before they were sent, by the clocks of two hosts, in the time shown: "
            "waits cannot be measured well there. Is NTP running?",
            or_none(counted(chosen(series.CLOCK_SKEWS))),
            unit="short",
            empty="no telemetry",
            colours=((None, GREEN), (0.000001, YELLOW)),
            decimals=0,
            size=(6, 4),
        ),
    )
    found.row(
        "Queues",
        lines(
            "How long do messages wait? (p95, seconds)",
            "From the send until a worker took the message up, by topic and method. The dots are single "
            "traces: click one to open it.",
            Query(quantile("0.95", chosen(series.WAITS), RPC_METHOD), method, exemplars=True),
            unit="s",
            empty="no messages in this time",
            threshold=30,
        ),
        heat(
            "How do the waits spread? (messages, by seconds)",
            "All chosen messages. A second band far above the first is a queue of its own that is slow.",
            Query(
                f"sum by (le) (rate({chosen(series.WAITS).selector('_bucket')}[{series.RATE}]))",
                "{{le}}",
                exemplars=True,
            ),
            unit="s",
            empty="no messages in this time",
        ),
        lines(
            "Are casts taken up as fast as they are sent? (casts per second)",
            "Where more are sent than taken up, messages lie in a queue or went to nobody. A fan-out is "
            "sent once and taken up by each worker.",
            Query(per_second(chosen(series.SENT), RPC_METHOD), f"sent {method}"),
            Query(per_second(chosen(series.TAKEN_UP), RPC_METHOD), f"taken up {method}"),
            unit="cps",
            empty="no casts in this time",
        ),
        table(
            "How do messages fare?",
            "Of the time shown; calls have only a wait here. More sent than taken up: they wait, or their "
            "service is not traced. More taken up than sent: a fan-out, or a sender that is not traced.",
            {label(RPC_METHOD): "Topic and method"},
            Column("Sent", counted(chosen(series.SENT), RPC_METHOD), "short"),
            Column("Taken up", counted(chosen(series.TAKEN_UP), RPC_METHOD), "short"),
            Column(
                "Failed",
                ratio(
                    counted(chosen(series.TAKEN_UP).where(ERROR_TYPE, "!=", ""), RPC_METHOD),
                    counted(chosen(series.TAKEN_UP), RPC_METHOD),
                ),
                "percentunit",
                _SHARE,
            ),
            Column(
                "Wait, p95",
                quantile("0.95", chosen(series.WAITS), RPC_METHOD, window=series.RANGE),
                "s",
            ),
            Column(
                "Handling, p95",
                quantile("0.95", chosen(series.HANDLING), RPC_METHOD, window=series.RANGE),
                "s",
            ),
            empty="no casts in this time",
            sort="Sent",
            size=(12, 8),
        ),
    )
    found.row(
        "Work",
        lines(
            "How long does the handling of casts take? (p95, seconds)",
            "All that the service does for a message, flows and drivers included.",
            Query(
                quantile("0.95", chosen(series.HANDLING), RPC_METHOD),
                method,
                exemplars=True,
            ),
            unit="s",
            empty="no casts in this time",
        ),
        lines(
            "How long do callers wait for answers? (p95, seconds)",
            "Calls only: the wait in the queue, the work and the way back together.",
            Query(
                quantile("0.95", chosen(series.CALLS), RPC_METHOD),
                f"{method}, as the caller sees it",
                exemplars=True,
            ),
            Query(
                quantile("0.95", chosen(series.ANSWERING), RPC_METHOD),
                f"{method}, the work alone",
            ),
            unit="s",
            empty="no calls in this time",
        ),
        lines(
            "Which messages fail, and how? (per second)",
            "Casts whose handling raised, and calls that raised in the caller; MessagingTimeout: "
            "nobody answered in time.",
            Query(
                per_second(
                    chosen(series.TAKEN_UP).where(ERROR_TYPE, "!=", ""), RPC_METHOD, ERROR_TYPE
                ),
                f"{method}: {{{{error_type}}}}",
            ),
            Query(
                per_second(
                    chosen(series.CALLS).where(ERROR_TYPE, "!=", ""), RPC_METHOD, ERROR_TYPE
                ),
                f"call {method}: {{{{error_type}}}}",
            ),
            unit="ops",
            empty="no message failed",
            colours={"MessagingTimeout": RED},
        ),
        lines(
            "How long does it take to hand a cast to the broker? (p95, seconds)",
            "A broker that is busy, or away, shows here first: the sender waits for it.",
            Query(
                quantile("0.95", chosen(series.SENDING), RPC_METHOD),
                method,
                exemplars=True,
            ),
            unit="s",
            empty="no casts in this time",
        ),
    )
    return found


def itself() -> Board:
    """otel-cinder itself."""
    found = Board(
        "otel-cinder",
        "otel-cinder itself",
        "Does what is recorded arrive? From the spans in Cinder's processes to Jaeger's door.",
    )
    found.choice("service", "Service", values(series.SPANS, SERVICE_NAME))
    worker = ("job", "instance")
    lost = _of_service(series.PROCESSED).where(ERROR_TYPE, "!=", "")
    unsent = _of_service(series.EXPORTED).where(ERROR_TYPE, "!=", "")
    found.row(
        "In Cinder's processes",
        lines(
            "What is decided about spans? (spans per second)",
            "RECORD_AND_SAMPLE become part of a trace, DROP do not: OTEL_TRACES_SAMPLER decides where a "
            "trace enters Cinder. Metrics count both.",
            Query(
                per_second(_of_service(series.STARTED), "job", SAMPLING_RESULT),
                f"{{{{job}}}} {{{{{label(SAMPLING_RESULT)}}}}}",
            ),
            unit="cps",
            empty="otel-cinder reports from nowhere",
            colours={"DROP": GREY},
        ),
        lines(
            "Do spans get out? (spans per second)",
            "Recorded: sampled and ended. Exported: acknowledged by the collector. "
            "They differ by what waits in the queue and what is lost.",
            Query(
                per_second(_of_service(series.PROCESSED).where(ERROR_TYPE, "=", ""), "job"),
                "{{job}} recorded",
            ),
            Query(
                per_second(_of_service(series.EXPORTED).where(ERROR_TYPE, "=", ""), "job"),
                "{{job}} exported",
            ),
            unit="cps",
            empty="otel-cinder reports from nowhere",
        ),
        lines(
            "How full are the processes' queues? (share)",
            "Spans that wait for their export, of those that may wait (OTEL_BSP_MAX_QUEUE_SIZE). "
            "Full: newer ones are dropped.",
            Query(
                f"{total(_of_service(series.QUEUED), *worker)} "
                f"/ {total(_of_service(series.QUEUE_CAPACITY), *worker)}",
                "{{job}} {{instance}}",
            ),
            unit="percentunit",
            empty="otel-cinder reports from nowhere",
            threshold=0.8,
        ),
        lines(
            "When were spans lost? (spans)",
            "Each bar counts five minutes, or more where much time is shown. queue_full: they came "
            "faster than they were sent. Others: the export failed.",
            Query(
                counted(lost, "job", ERROR_TYPE, window=series.INTERVAL),
                "{{job}} {{error_type}}",
                step="5m",
            ),
            Query(
                counted(unsent, "job", ERROR_TYPE, window=series.INTERVAL),
                "{{job}} export: {{error_type}}",
                step="5m",
            ),
            unit="short",
            empty="no span was lost",
            colours={".*": RED},
            bars=True,
        ),
        table(
            "Which places are patched, and which do not fit?",
            "Places in Cinder's libraries, by group. One that does not fit is missing in this release "
            "of a library, and its spans with it. Those that wait are in modules that have not been "
            "imported, which is right for a service that does not need them.",
            {"job": "Service", label(SEAM): "Group"},
            Column("Do not fit", _places("skipped"), "short", _BAD),
            Column("Patched", _places("on"), "short"),
            Column("Wait", _places("waiting"), "short"),
            empty="otel-cinder reports from nowhere",
            sort="Do not fit",
            size=(12, 10),
        ),
        table(
            "Which versions run where?",
            "Workers that report now, with Cinder's version and that of the OpenTelemetry SDK.",
            {
                "job": "Service",
                "instance": "Worker",
                label(SERVICE_VERSION): "Cinder",
                label(SDK_VERSION): "SDK",
            },
            Column(
                "Workers",
                f"count {series.INFO.by((*worker, SERVICE_VERSION, SDK_VERSION))}"
                f"({_of_service(series.INFO).where(SDK_NAME, '=', 'opentelemetry').selector()})",
                "short",
            ),
            empty="otel-cinder reports from nowhere",
            sort="Service",
            size=(12, 10),
        ),
    )
    at = ("instance",)
    found.row(
        "In the collectors",
        lines(
            "Do collectors take what they are sent? (per second)",
            "Spans and metric points that were accepted, and those that were refused because there was "
            "no memory or the next hop did not take them. Senders try those again.",
            Query(per_second(series.ACCEPTED_SPANS, *at), "{{instance}} spans"),
            Query(per_second(series.ACCEPTED_POINTS, *at), "{{instance}} metric points"),
            Query(per_second(series.REFUSED_SPANS, *at), "{{instance}} spans refused"),
            Query(per_second(series.REFUSED_POINTS, *at), "{{instance}} metric points refused"),
            unit="cps",
            empty="no collector is scraped",
            colours={"refused$": RED},
        ),
        lines(
            "Do spans leave the collectors? (spans per second)",
            "Sent: the next hop, or Jaeger, has them. Failed and not queued are lost.",
            Query(per_second(series.SENT_SPANS, *at, "exporter"), "{{instance}} {{exporter}} sent"),
            Query(
                per_second(series.UNSENT_SPANS, *at, "exporter"), "{{instance}} {{exporter}} failed"
            ),
            Query(
                per_second(series.UNQUEUED_SPANS, *at, "exporter"),
                "{{instance}} {{exporter}} not queued",
            ),
            unit="cps",
            empty="nothing was sent in this time",
            colours={"(failed|not queued)$": RED},
        ),
        lines(
            "How full are the collectors' queues? (share)",
            "What waits, of what may wait, in memory or on disk. While Jaeger is away they fill.",
            Query(_collector_queues(), "{{instance}} {{exporter}}"),
            unit="percentunit",
            empty="no collector is scraped",
            threshold=0.8,
        ),
        lines(
            "How much memory do the collectors hold? (bytes)",
            "Resident memory. The memory limiter begins to refuse below its limit, see collector/.",
            Query(total(series.MEMORY, *at), "{{instance}}"),
            unit="bytes",
            empty="no collector is scraped",
        ),
    )
    found.row(
        "What the gateways keep",
        lines(
            "How many traces are kept? (decisions per second)",
            "Gateways decide about whole traces. With collectors that keep everything there is nothing "
            "to decide.",
            Query(per_second(series.JUDGED, "decision"), "{{decision}}"),
            unit="ops",
            empty="no gateway decides: every trace is kept",
            colours={"^sampled$": GREEN, "^not_sampled$": GREY},
            size=(8, 8),
        ),
        lines(
            "Why are traces kept? (decisions per second)",
            "By the policy that had a reason; several may have had one. rest is the share of all others.",
            Query(
                per_second(series.JUDGED_BY.where("decision", "=", "sampled"), "policy"),
                "{{policy}}",
            ),
            unit="ops",
            empty="no gateway decides: every trace is kept",
            size=(8, 8),
        ),
        lines(
            "How many traces wait for a decision? (traces)",
            "In memory. Beyond num_traces the oldest are given up undecided: that many were in five "
            "minutes, or more where much time is shown.",
            Query(total(series.WAITING, *at), "{{instance}} wait"),
            Query(
                counted(series.GIVEN_UP, *at, window=series.INTERVAL),
                "{{instance}} given up",
                step="5m",
            ),
            unit="short",
            empty="no gateway decides: every trace is kept",
            colours={"given up$": RED},
            size=(8, 8),
        ),
    )
    return found


BOARDS: Final[Sequence[Callable[[], Board]]] = (glance, create, queues, itself)
