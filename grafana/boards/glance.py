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
    lines,
    number,
    service_map,
    table,
)
from grafana.series import counted, label, or_none, per_second, quantile, ratio, total, values
from otel_cinder.core.conventions import (
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
    found.row("Is it well?", *_well())
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
        number(
            "Volumes put into error",
            "Volumes that Cinder gave a status such as error or error_deleting in the time shown, "
            "although perhaps nothing was raised and the request was answered well.",
            or_none(counted(VOLUMES_IN_ERROR)),
            unit="short",
            empty="no telemetry",
            colours=BAD,
            decimals=0,
        ),
        number(
            "Longest wait in a queue, p95",
            "Of all kinds of messages, the one that waited longest for a worker: "
            "95 of 100 of its messages waited at most so long.",
            f"max({quantile('0.95', series.WAITS, RPC_METHOD, window=series.RANGE)})",
            unit="s",
            empty="no messages",
            colours=WAIT,
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
            colours=BAD,
            decimals=0,
        ),
    )


def _operations() -> tuple[Panel, ...]:
    """Of what is chosen."""
    return (
        lines(
            "What does the API answer? (requests per second)",
            "By status code: 2xx went well, 4xx were refused, 5xx are Cinder's own errors.",
            Query(
                per_second(of_service(series.REQUESTS), HTTP_STATUS),
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
                SHARE,
            ),
            *(
                Column(
                    name,
                    quantile(
                        share, _OPERATIONS, SERVICE_NAME, series.SPAN_NAME, window=series.RANGE
                    ),
                    "s",
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


def _surroundings() -> tuple[Panel, ...]:
    """The services among each other, and the pipeline that watches them."""
    called = counted(series.EDGES, "client", "server")
    failed = counted(series.FAILED_EDGES, "client", "server")
    return (
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
            Query(collector_queues(), "{{instance}}: {{exporter}}"),
            unit="percentunit",
            empty="no collector is scraped",
            threshold=0.8,
            size=(6, 10),
        ),
    )


def _percentiles(metric: series.Series, *by: str, legend: str = "") -> list[Query]:
    """The three percentiles, whose exemplars open traces."""
    return [
        Query(quantile(share, metric, *by), f"{legend} {name}".strip(), exemplars=True)
        for share, name in PERCENTILES.items()
    ]


def _edges(expression: str, *by: str) -> str:
    """With the labels that the service map goes by."""
    source = f'label_replace({expression}, "source", "$1", "client", "(.+)")'
    target = f'label_replace({source}, "target", "$1", "server", "(.+)")'
    joined = f'label_join({target}, "id", " to ", "client", "server")'
    return f"sum by ({', '.join(by)}) ({joined})"
