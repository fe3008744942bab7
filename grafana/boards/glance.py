"""Cinder at a glance."""

from __future__ import annotations

from grafana import series
from grafana.boards.board import (
    BAD,
    PERCENTILES,
    SHARE,
    VOLUMES_IN_ERROR,
    WAIT,
    Board,
    collector_queues,
    of_service,
)
from grafana.panels import (
    BLUE,
    GREEN,
    LOG,
    RED,
    YELLOW,
    Column,
    Panel,
    Query,
    cell,
    count,
    lines,
    number,
    search,
    service_map,
    table,
)
from grafana.series import (
    counted,
    in_progress,
    label,
    or_none,
    per_second,
    quantile,
    ratio,
    since,
    total,
    values,
)
from otel_cinder.conventions import (
    BACKEND,
    ERROR_TYPE,
    HTTP_METHOD,
    HTTP_ROUTE,
    HTTP_STATUS,
    RESOURCE_STATUS,
    RESOURCE_TYPE,
    RPC_METHOD,
    SERVICE_NAME,
)

# Of the spans of workers: requests and messages that they handle. What they send is the other end's.
_OPERATIONS = (
    series.SPANS.where(series.SPAN_KIND, "=~", "SPAN_KIND_(SERVER|CONSUMER)")
    .where(SERVICE_NAME, "=~", "$service")
    .where(series.SPAN_NAME, "=~", "$operation")
)
_FAILED_OPERATIONS = _OPERATIONS.where(series.STATUS, "=", "STATUS_CODE_ERROR")
_LOST = (
    series.PROCESSED.where(ERROR_TYPE, "!=", ""),
    series.EXPORTED.where(ERROR_TYPE, "!=", ""),
    series.UNSENT_SPANS,
)
_SPANS = series.PROCESSED.where(ERROR_TYPE, "=", "")
_ON_BACKENDS = "(.+/)?cinder-volume"
_DRIVER_CALLS = series.SPANS.where(BACKEND, "!=", "").where(
    series.SPAN_KIND, "=", "SPAN_KIND_INTERNAL"
)
_NO_EXPORTER = (
    "openstack-exporter is not scraped; it is optional, and grafana/README.md says how to add it"
)


def glance() -> Board:
    """Cinder at a glance."""
    found = Board(
        "cinder-glance",
        "Cinder at a glance",
        "Is Cinder healthy? Which requests does it get, what fails and why, how long does it take?",
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
    found.row("Is Cinder healthy? (all of it, whatever you choose above)", *_well())
    found.row("What is running now, and where?", _running(), _backends())
    found.row("Requests, errors, duration", *_operations())
    found.row("What failed, and why?", *_reasons())
    found.row("Who calls whom, and who watches?", *_surroundings())
    found.row("As Cinder's API has it (only with openstack-exporter)", *_exported())
    return found


def _well() -> tuple[Panel, ...]:
    """Of all of Cinder, whatever is chosen."""
    unsound = series.REQUESTS.where(HTTP_STATUS, "=~", "5..")
    return (
        number(
            "API requests per second",
            "All requests that the API answered, with any status, on average over the time shown.",
            f"{counted(series.REQUESTS)} / {series.RANGE_S}",
            unit="reqps",
            empty="no requests",
        ),
        number(
            "API server errors",
            "The share of the API's answers that were 5xx, over the time shown. Refused requests "
            "(4xx) do not count.",
            ratio(counted(unsound), counted(series.REQUESTS)),
            unit="percentunit",
            empty="no requests",
            colours=SHARE,
        ),
        count(
            "Volumes put into error",
            "Volumes that Cinder set to a status such as error or error_deleting in the time "
            "shown. The request may have been answered normally, and no exception need have been "
            "raised.",
            or_none(counted(VOLUMES_IN_ERROR)),
            colours=BAD,
        ),
        number(
            "Longest wait in a queue, p95",
            "The kind of message that waited longest for a worker: 95 of 100 of its messages "
            "waited no longer than this. For messages that still wait, see RPC and queues.",
            f"max({quantile('0.95', series.WAITS, RPC_METHOD, window=series.RANGE)})",
            unit="s",
            empty="no messages",
            colours=WAIT,
        ),
        count(
            "Processes that report",
            "Workers of Cinder's services that sent metrics in the last five minutes, busy or "
            "idle. Workers of an API under uWSGI report from their first request on. If any other "
            "worker is missing, it has stopped, or otel-cinder is off in it.",
            f"count({total(series.STARTED, 'job', 'instance')})",
            empty="none: is otel-cinder on, and does its collector run?",
        ),
        count(
            "Spans lost on the way",
            "Spans that Cinder's processes dropped or could not export, and spans that collectors "
            "gave up, in the time shown; beside it, their share of all spans. Traces have gaps. The "
            "board otel-cinder itself shows where.",
            _lost(),
            share=f"({_lost()}) / ({counted(_SPANS)} > 0)",
            colours=BAD,
        ),
    )


def _running() -> Panel:
    """Open operations."""
    by = ("job", HTTP_METHOD, HTTP_ROUTE, RPC_METHOD)
    headings = ("Service", "Method", "Route", "Message")
    return table(
        "What is running now, and since when?",
        "Requests and messages that have not ended, as they were when metrics were last collected. "
        "What takes more than ten seconds is in its trace too, with where it is: search for the tag "
        "cinder.still_running=true.",
        dict(zip(map(label, by), headings, strict=True)),
        Column(
            "Running",
            f"sum {series.OPEN_OPERATIONS.by(by)}({series.OPEN_OPERATIONS.selector()}) > 0",
            "short",
        ),
        Column(
            "The oldest for",
            f"max {series.OLDEST_OPERATION.by(by)}({series.OLDEST_OPERATION.selector()}) > 0",
            "s",
            WAIT,
        ),
        empty="nothing is running",
        sort="The oldest for",
        size=(12, 7),
    )


def _backends() -> Panel:
    """Each worker of the volume service, busy or idle."""
    at = ("instance",)

    def on_backends(metric: series.Series) -> series.Series:
        return metric.where("job", "=~", _ON_BACKENDS)

    idle = f"0 * {total(on_backends(series.STARTED), *at)}"
    handled = counted(on_backends(series.HANDLING), *at)
    failed = counted(on_backends(series.HANDLING).where(ERROR_TYPE, "!=", ""), *at)
    in_error = counted(on_backends(series.RESOURCE_ERRORS), *at)
    busy = in_progress(on_backends(series.TAKEN_UP), on_backends(series.HANDLING), *at)
    oldest = on_backends(series.OLDEST_OPERATION)
    return table(
        "What does each backend do?",
        "Each worker of cinder-volume that reports, idle ones with zeros. A backend that is missing "
        "here does not report: its worker is down, or is not traced. Casts were handled, or set a "
        "resource to error, in the time shown; the rest is how it is now.",
        {"instance": "Backend"},
        Column("Handled", f"{handled} or {idle}", "short"),
        Column("Failed", f"{ratio(failed, handled)} or {idle}", "percentunit", SHARE),
        Column("In error", f"{in_error} or {idle}", "short", BAD),
        Column("In progress", f"{busy} or {idle}", "short"),
        Column("Oldest", f"max {oldest.by(at)}({oldest.selector()}) or {idle}", "s", WAIT),
        empty="no worker of cinder-volume reports",
        sort="In progress",
        size=(12, 7),
    )


def _operations() -> tuple[Panel, ...]:
    """Of what is chosen."""
    return (
        lines(
            "What does the API answer? (requests per second)",
            "By status code: 2xx succeeded, 4xx were refused, 5xx are Cinder's own errors. This "
            "is all of the API, whatever you choose above. The first answer of its kind makes no "
            "rate yet, but the share of server errors above contains it.",
            Query(
                per_second(series.REQUESTS, HTTP_STATUS),
                f"{{{{{label(HTTP_STATUS)}}}}}",
            ),
            unit="reqps",
            empty="no requests in this time",
            colours={"^2..$": GREEN, "^3..$": BLUE, "^4..$": YELLOW, "^5..$": RED},
            stacked=True,
        ),
        lines(
            "Which operations fail, and when? (failures)",
            "Requests and messages whose span is an error: an exception was raised, or Cinder set "
            "a resource to error, left the user a message or rescheduled. One failed create may "
            "count as a failure in several services. Each bar counts five minutes, or more if a "
            "long time is shown.",
            Query(
                counted(
                    _FAILED_OPERATIONS,
                    SERVICE_NAME,
                    series.SPAN_NAME,
                    ERROR_TYPE,
                    window=series.INTERVAL,
                ),
                "{{service_name}}: {{span_name}} ({{error_type}})",
                step="5m",
            ),
            unit="short",
            empty="no failure was reported",
            bars=True,
        ),
        lines(
            "How long do the chosen operations take? (milliseconds)",
            "Percentiles by service, over all operations chosen above. Choose one operation: "
            "otherwise quick answers and long work are mixed. The dots are single traces: click "
            "one to open it.",
            *(
                Query(
                    quantile(share, _OPERATIONS, SERVICE_NAME),
                    f"{{{{service_name}}}} {name}",
                    exemplars=True,
                )
                for share, name in PERCENTILES.items()
            ),
            unit="ms",
            empty="none of these operations in this time",
            scale=LOG,
        ),
        lines(
            "Which operations take longest? (p95, milliseconds)",
            "95 of 100 took no longer than this. The time of a message includes all that the "
            "service does for it. A request is answered before most of the work is done.",
            Query(
                quantile("0.95", _OPERATIONS, SERVICE_NAME, series.SPAN_NAME),
                "{{service_name}}: {{span_name}}",
                exemplars=True,
            ),
            unit="ms",
            empty="none of these operations in this time",
            scale=LOG,
        ),
        table(
            "How does each operation fare?",
            "Requests and messages in the time shown, counted by their spans. Those that "
            "OTEL_TRACES_SAMPLER leaves out in Cinder are missing; those that a gateway does not "
            "keep are counted. Click an operation to see its traces.",
            {"service_name": "Service", "span_name": "Operation"},
            Column("Handled", counted(_OPERATIONS, SERVICE_NAME, series.SPAN_NAME), "short"),
            Column(
                "Failed",
                ratio(
                    counted(_FAILED_OPERATIONS, SERVICE_NAME, series.SPAN_NAME),
                    counted(_OPERATIONS, SERVICE_NAME, series.SPAN_NAME),
                ),
                "percentunit",
                SHARE,
            ),
            *(
                Column(
                    name,
                    quantile(
                        share, _OPERATIONS, SERVICE_NAME, series.SPAN_NAME, window=series.RANGE
                    ),
                    "ms",
                )
                for share, name in PERCENTILES.items()
            ),
            empty="none of these operations in this time",
            sort="Handled",
            links={
                "Operation": ("Its traces in Jaeger", search(cell("Service"), cell("Operation")))
            },
        ),
    )


def _reasons() -> tuple[Panel, ...]:
    """What was put into error, and which alerts fire."""
    reasons = ("instance", RESOURCE_TYPE, RESOURCE_STATUS, ERROR_TYPE)
    headings = ("Where", "Resource", "Status", "Reason")
    in_error = of_service(series.RESOURCE_ERRORS)
    calls = (BACKEND, series.SPAN_NAME, ERROR_TYPE)
    failed_calls = _DRIVER_CALLS.where(series.STATUS, "=", "STATUS_CODE_ERROR")
    return (
        table(
            "What failed first, and on which backend?",
            "Drivers' calls that raised an exception, in the time shown. Most errors of volumes "
            "begin here. What Cinder makes of them comes later: after the last attempt, the reason "
            "of an error is NoValidBackend, whatever the backends said. Share: of all such calls on that "
            "backend.",
            dict(zip(map(label, calls), ("Backend", "Call", "Error"), strict=True)),
            Column("Times", counted(failed_calls, *calls), "short", BAD),
            Column(
                "Share",
                f"{counted(failed_calls, *calls)} / on (cinder_backend, span_name) group_left () "
                f"{counted(_DRIVER_CALLS, *calls[:2])}",
                "percentunit",
                SHARE,
            ),
            empty="no driver's call failed",
            sort="Times",
            links={"Call": ("Its traces in Jaeger", search("cinder-volume", cell("Call")))},
            size=(24, 6),
        ),
        table(
            "What was put into error, and why?",
            "Resources that Cinder set to an error status, by the service or backend that did it "
            "and the class of the last reason, in the time shown, and since the workers that now "
            "report were started.",
            {"job": "Service", **dict(zip(map(label, reasons), headings, strict=True))},
            Column("In this time", counted(in_error, "job", *reasons), "short", BAD),
            Column(
                "Since the start",
                f"sum {in_error.by(('job', *reasons))}({in_error.selector()})",
                "short",
            ),
            empty="nothing in error was reported",
            sort="In this time",
            size=(24, 6),
        ),
        lines(
            "When was it put into error? (resources)",
            "Each bar counts the resources of five minutes, or more if a long time is shown.",
            Query(
                counted(in_error, RESOURCE_TYPE, ERROR_TYPE, window=series.INTERVAL),
                f"{{{{{label(RESOURCE_TYPE)}}}}}: {{{{{label(ERROR_TYPE)}}}}}",
                step="5m",
            ),
            unit="short",
            empty="nothing in error was reported",
            bars=True,
            size=(12, 9),
        ),
        table(
            "Which alerts fire now?",
            "The alerts of prometheus/alerts.yaml. Prometheus' page of alerts says what each "
            "means and where to look.",
            {"alertname": "Alert", "severity": "Severity"},
            Column(
                "Times",
                f"count by (alertname, severity) "
                f"({series.ALERTS.where('alertstate', '=', 'firing').selector()})",
                "short",
            ),
            empty="no alert fires",
            sort="Times",
            mappings={
                "Severity": {"critical": ("critical", RED), "warning": ("warning", YELLOW)},
            },
            size=(12, 9),
        ),
    )


def _surroundings() -> tuple[Panel, ...]:
    """The services among each other, and the pipeline that watches them."""
    called = counted(series.EDGES, "client", "server")
    failed = counted(series.FAILED_EDGES, "client", "server")
    return (
        service_map(
            "Who calls whom? (requests and messages per second, and those that failed)",
            "From the service that sends to the service that handles, by the spans of both. A "
            "service shows the sum of what arrives at it. user is whoever calls the API, or sends "
            "a message without a trace. A queue (openstack:cinder-volume.{host}) or a server is "
            "on the map if no service answered in ten minutes, or if the service is not traced.",
            _edges(f"{called} / {series.RANGE_S}", "id", "source", "target"),
            _edges(f"({failed} or 0 * {called}) / {series.RANGE_S}", "id"),
            empty="no calls between services in this time",
            size=(10, 10),
        ),
        table(
            "Is the pipeline up?",
            "Can Prometheus reach the programs that all of this comes from? Those that are down "
            "come first. The job cinder is the collector's port with the metrics of Cinder's "
            "services; it is not Cinder.",
            {"job": "Program", "instance": "Address"},
            Column("State", f"max by (job, instance) ({series.UP.selector()})", "short"),
            empty="Prometheus scrapes nothing",
            sort="State",
            descending=False,
            mappings={"State": {"1": ("up", GREEN), "0": ("down", RED)}},
            size=(7, 10),
        ),
        collector_queues(size=(7, 10)),
    )


def _exported() -> tuple[Panel, ...]:
    """What another exporter asks Cinder for; nothing of it is otel-cinder's."""
    moving = series.VOLUME_GB.where("status", "=~", ".*ing(-.*)?|reserved").where(
        "status", "!~", "in-use|.*error.*"
    )
    services = ("service", "hostname", "adminState", "disabledReason")
    free, whole = (
        f"sum {each.by(('name',))}({each.selector()})"
        for each in (series.POOL_FREE_GB, series.POOL_TOTAL_GB)
    )
    return (
        lines(
            "How many volumes are in which status? (volumes)",
            "All volumes in Cinder's database by their status, whoever made them and when. Statuses "
            "without a volume are left out.",
            Query(f"{total(series.VOLUMES_IN_STATUS, 'status')} > 0", "{{status}}"),
            unit="short",
            empty=_NO_EXPORTER,
            colours={"error": RED, "^available$": GREEN, "^in-use$": BLUE},
            stacked=True,
            size=(12, 9),
        ),
        table(
            "Which volumes are between two statuses, and since when?",
            "Volumes that are being created, deleted, attached and so on. Cinder does not end such a "
            "status by itself if the service that worked on it is gone. The age is at most the time "
            "shown: choose a longer one to see more.",
            {"id": "Volume", "status": "Status"},
            Column(
                "For",
                since(moving, "id", "status"),
                "s",
                ((None, GREEN), (600, YELLOW), (3600, RED)),
            ),
            empty=f"none, or {_NO_EXPORTER}",
            sort="For",
            size=(12, 9),
        ),
        table(
            "Which services does Cinder hold to be up?",
            "What `cinder service-list` says: a service is up if it reported within "
            "service_down_time. A service can be up here and take nothing from its queue.",
            dict(zip(services, ("Service", "Host", "Admin state", "Reason"), strict=True)),
            Column(
                "State",
                f"max {series.SERVICE_STATE.by(services)}({series.SERVICE_STATE.selector()})",
                "short",
            ),
            empty=_NO_EXPORTER,
            sort="State",
            descending=False,
            mappings={"State": {"1": ("up", GREEN), "0": ("down", RED)}},
            size=(12, 9),
        ),
        table(
            "How full are the pools?",
            "As the backends last told the scheduler. What a driver calls infinite or unknown is "
            "not a share.",
            {"name": "Pool"},
            Column("Free", free, "decgbytes"),
            Column("Total", whole, "decgbytes"),
            Column(
                "Used",
                f"1 - {free} / {whole}",
                "percentunit",
                ((None, GREEN), (0.8, YELLOW), (0.95, RED)),
            ),
            empty=_NO_EXPORTER,
            sort="Used",
            size=(12, 9),
        ),
    )


def _lost() -> str:
    return " + ".join(f"({or_none(counted(lost))})" for lost in _LOST)


def _edges(expression: str, *by: str) -> str:
    """With the labels that the service map goes by."""
    source = f'label_replace({expression}, "source", "$1", "client", "(.+)")'
    target = f'label_replace({source}, "target", "$1", "server", "(.+)")'
    joined = f'label_join({target}, "id", " to ", "client", "server")'
    return f"sum by ({', '.join(by)}) ({joined})"
