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
    RED,
    YELLOW,
    Column,
    Panel,
    Query,
    count,
    lines,
    number,
    service_map,
    table,
)
from grafana.series import counted, label, or_none, per_second, quantile, ratio, total, values
from otel_cinder.conventions import (
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
    found.row("What is running now, and since when?", _running())
    found.row("Requests, errors, duration", *_operations())
    found.row("What failed, and why?", *_reasons())
    found.row("Who calls whom, and who watches?", *_surroundings())
    return found


def _well() -> tuple[Panel, ...]:
    """Of all of Cinder, whatever is chosen."""
    unsound = series.REQUESTS.where(HTTP_STATUS, "=~", "5..")
    return (
        number(
            "Requests to the API per second",
            "All requests that the API answered, with any status, on average over the time shown.",
            f"{counted(series.REQUESTS)} / {series.RANGE_S}",
            unit="reqps",
            empty="no requests",
        ),
        number(
            "Requests answered by a server error",
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
            "gave up, in the time shown. Traces have gaps. The board otel-cinder itself shows "
            "where.",
            " + ".join(f"({or_none(counted(lost))})" for lost in _LOST),
            colours=BAD,
        ),
    )


def _running() -> Panel:
    """What has not ended."""
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
        ),
        table(
            "How does each operation fare?",
            "Requests and messages in the time shown, counted by their spans. Those that "
            "OTEL_TRACES_SAMPLER leaves out in Cinder are missing; those that a gateway does not "
            "keep are counted.",
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
        ),
    )


def _reasons() -> tuple[Panel, ...]:
    """What was put into error, and which alerts fire."""
    reasons = (RESOURCE_TYPE, RESOURCE_STATUS, ERROR_TYPE)
    in_error = of_service(series.RESOURCE_ERRORS)
    return (
        table(
            "What was put into error, and why?",
            "Resources that Cinder set to an error status, by the class of the reason, in the "
            "time shown, and since the workers that now report were started.",
            {
                "job": "Service",
                **dict(zip(map(label, reasons), ("Resource", "Status", "Reason"), strict=True)),
            },
            Column("In this time", counted(in_error, "job", *reasons), "short", BAD),
            Column(
                "Since the start",
                f"sum {in_error.by(('job', *reasons))}({in_error.selector()})",
                "short",
            ),
            empty="nothing in error was reported",
            sort="In this time",
            size=(10, 9),
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
            size=(7, 9),
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
            size=(7, 9),
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
            size=(6, 10),
        ),
        collector_queues(size=(6, 10)),
    )


def _edges(expression: str, *by: str) -> str:
    """With the labels that the service map goes by."""
    source = f'label_replace({expression}, "source", "$1", "client", "(.+)")'
    target = f'label_replace({source}, "target", "$1", "server", "(.+)")'
    joined = f'label_join({target}, "id", " to ", "client", "server")'
    return f"sum by ({', '.join(by)}) ({joined})"
