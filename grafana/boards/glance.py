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
    found.row("Is all of Cinder well? (whatever is chosen above)", *_well())
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
            colours=SHARE,
        ),
        count(
            "Volumes put into error",
            "Volumes that Cinder gave a status such as error or error_deleting in the time shown, "
            "although perhaps nothing was raised and the request was answered well.",
            or_none(counted(VOLUMES_IN_ERROR)),
            colours=BAD,
        ),
        number(
            "Longest wait in a queue, p95",
            "Of all kinds of messages, the one that waited longest for a worker: "
            "95 of 100 of its messages waited at most so long. Those that still wait are not counted: "
            "see RPC and queues.",
            f"max({quantile('0.95', series.WAITS, RPC_METHOD, window=series.RANGE)})",
            unit="s",
            empty="no messages",
            colours=WAIT,
        ),
        count(
            "Processes that report",
            "Workers of Cinder's services from which metrics came in the last five minutes, busy or idle; "
            "those of an API under uWSGI report from their first request on. Another one that is missing "
            "has stopped, or its otel-cinder is off.",
            f"count({total(series.STARTED, 'job', 'instance')})",
            empty="none: is otel-cinder on, and does its collector run?",
        ),
        count(
            "Spans lost on the way",
            "Spans that Cinder's processes dropped or could not export, and that collectors gave up, in "
            "the time shown: traces have gaps. The board otel-cinder itself says where.",
            " + ".join(f"({or_none(counted(lost))})" for lost in _LOST),
            colours=BAD,
        ),
    )


def _operations() -> tuple[Panel, ...]:
    """Of what is chosen."""
    return (
        lines(
            "What does the API answer? (requests per second)",
            "By status code: 2xx went well, 4xx were refused, 5xx are Cinder's own errors. All of the "
            "API, whatever is chosen above. A single answer, the first of its kind, is no rate yet: "
            "the share of server errors above has it.",
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
            "Requests and messages whose span is an error: something was raised, or Cinder put a "
            "resource into error, left the user a message or rescheduled. One create that fails may be "
            "a failure in several services. Each bar counts five minutes, or more where much time is "
            "shown.",
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
            "Percentiles by service, over all that is chosen above. As long as that is everything, quick "
            "answers and long work are mixed: choose an operation. The dots are single traces: click one "
            "to open it.",
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
            "95 of 100 took at most so long. Handling a message includes all that the service does "
            "for it; a request's answer comes before most of the work.",
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
            "Requests and messages of the time shown, counted by their spans: what OTEL_TRACES_SAMPLER "
            "leaves out in Cinder is not among them, what a gateway lets go is.",
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
            "Resources that Cinder gave an error status, by the class of the reason, in the time "
            "shown and since the workers that now report have started.",
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
            "Each bar counts the resources of five minutes, or more where much time is shown.",
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
            "Those of prometheus/alerts.yaml. What each means, and where to look then, stands on "
            "Prometheus' page of alerts.",
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
            "From the service that sends to the one that handles, by the spans of both; a service has the "
            "sum of what comes to it. user is whoever calls the API, or sends a message that has no trace. "
            "A queue (openstack:cinder-volume.{host}) or a server is on the map where no service answered "
            "in ten minutes, or where it is not traced.",
            _edges(f"{called} / {series.RANGE_S}", "id", "source", "target"),
            _edges(f"({failed} or 0 * {called}) / {series.RANGE_S}", "id"),
            empty="no calls between services in this time",
        ),
        table(
            "Is the pipeline up?",
            "Whether Prometheus reaches the programs that it gets all this from, those that are down "
            "first. cinder is where a collector passes on what Cinder's services measure, not Cinder.",
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
