"""otel-cinder itself."""

from __future__ import annotations

from grafana import series
from grafana.boards.board import BAD, Board, collector_queues, of_service
from grafana.panels import GREEN, GREY, LOG, RED, YELLOW, Column, Panel, Query, lines, table
from grafana.series import counted, given_up, label, per_second, ratio, total, values
from otel_cinder.conventions import (
    ERROR_TYPE,
    SAMPLING_RESULT,
    SDK_NAME,
    SDK_VERSION,
    SEAM,
    SEAM_STATE,
    SERVICE_NAME,
    SERVICE_VERSION,
)


def telemetry() -> Board:
    """otel-cinder itself."""
    found = Board(
        "otel-cinder",
        "otel-cinder itself",
        "Does what is recorded arrive? Follows the spans from Cinder's processes to Jaeger.",
    )
    found.choice("service", "Service", values(series.SPANS, SERVICE_NAME))
    found.row("In Cinder's processes", *_processes())
    found.row("In the collectors", *_collectors())
    found.row("What the gateways keep", *_gateways())
    return found


def _processes() -> tuple[Panel, ...]:
    """Where spans are recorded."""
    worker = ("job", "instance")
    versions = ("job", SERVICE_VERSION, SDK_VERSION)
    lost = of_service(series.PROCESSED).where(ERROR_TYPE, "!=", "")
    unsent = of_service(series.EXPORTED).where(ERROR_TYPE, "!=", "")
    recorded = counted(_recorded(), "job", window=series.INTERVAL)
    return (
        lines(
            "What is decided about spans? (spans per second)",
            "RECORD_AND_SAMPLE: the span becomes part of a trace. DROP: it does not. "
            "OTEL_TRACES_SAMPLER decides, where a trace enters Cinder. Metrics count both.",
            Query(
                per_second(of_service(series.STARTED), "job", SAMPLING_RESULT),
                f"{{{{job}}}} {{{{{label(SAMPLING_RESULT)}}}}}",
            ),
            unit="cps",
            empty="otel-cinder reports from nowhere",
            colours={"DROP": GREY},
            scale=LOG,
        ),
        lines(
            "Do spans get out? (spans per second)",
            "Recorded: sampled and ended. Exported: acknowledged by the collector. The difference "
            "is what waits in the queue and what is lost.",
            Query(per_second(_recorded(), "job"), "{{job}} recorded"),
            Query(
                per_second(of_service(series.EXPORTED).where(ERROR_TYPE, "=", ""), "job"),
                "{{job}} exported",
            ),
            unit="cps",
            empty="otel-cinder reports from nowhere",
            scale=LOG,
        ),
        lines(
            "How full are the processes' queues? (share)",
            "Spans that wait for export, as a share of the queue's size "
            "(OTEL_BSP_MAX_QUEUE_SIZE). If a queue is full, newer spans are dropped.",
            Query(
                f"{total(of_service(series.QUEUED), *worker)} "
                f"/ {total(of_service(series.QUEUE_CAPACITY), *worker)}",
                "{{job}} {{instance}}",
            ),
            unit="percentunit",
            empty="otel-cinder reports from nowhere",
            threshold=0.8,
            maximum=1,
            size=(8, 8),
        ),
        lines(
            "When were spans lost? (spans)",
            "Each bar counts five minutes, or more if a long time is shown. queue_full: spans "
            "came faster than they were sent. All others: the export failed.",
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
            empty="no loss was reported",
            colours={".*": RED},
            bars=True,
            size=(8, 8),
        ),
        lines(
            "Which share of the spans was lost? (share)",
            "Of the spans that a service's processes recorded, those that its queues dropped or that "
            "could not be exported, in five minutes, or in more if a long time is shown.",
            Query(
                f"({_none_of(lost, recorded)} + {_none_of(unsent, recorded)}) / ({recorded} > 0)",
                "{{job}}",
                step="5m",
            ),
            unit="percentunit",
            empty="otel-cinder reports from nowhere",
            at_least=0.01,
            size=(8, 8),
        ),
        table(
            "Which places are patched, and which do not fit?",
            "Places in Cinder's libraries, by group. A place that does not fit is missing in this "
            "release of a library, and so are its spans. A place that waits is in a module that "
            "is not imported yet; that is normal if the service does not need the module.",
            {"job": "Service", label(SEAM): "Group"},
            Column("Do not fit", _places("skipped"), "short", BAD),
            Column("Patched", _places("on"), "short"),
            Column("Wait", _places("waiting"), "short"),
            empty="otel-cinder reports from nowhere",
            sort="Do not fit",
            size=(12, 10),
        ),
        table(
            "Which versions run, in how many workers?",
            "The versions of Cinder and of the OpenTelemetry SDK in the workers that report now. "
            "If a service has two rows, some of its workers were not restarted. Their names are "
            "in target_info, in Prometheus.",
            {"job": "Service", label(SERVICE_VERSION): "Cinder", label(SDK_VERSION): "SDK"},
            Column(
                "Workers",
                f"count {series.INFO.by(versions)}"
                f"({of_service(series.INFO).where(SDK_NAME, '=', 'opentelemetry').selector()})",
                "short",
            ),
            empty="otel-cinder reports from nowhere",
            sort="Service",
            descending=False,
            size=(12, 10),
        ),
    )


def _collectors() -> tuple[Panel, ...]:
    """Where they pass."""
    at = ("instance",)
    door = ("instance", "receiver")
    way = ("instance", "exporter")
    return (
        lines(
            "What do collectors take? (per second)",
            "Spans and metric points that were accepted. Do not add them up: each passes through "
            "several collectors, and through a gateway twice, as otlp from an agent and as "
            "otlp/peers from a gateway. Jaeger is a collector, too.",
            Query(per_second(series.ACCEPTED_SPANS, *door), "{{instance}} {{receiver}} spans"),
            Query(
                per_second(series.ACCEPTED_POINTS, *door), "{{instance}} {{receiver}} metric points"
            ),
            unit="cps",
            empty="no collector is scraped, or nothing is sent to one",
            scale=LOG,
        ),
        lines(
            "Do spans leave the collectors? (spans per second)",
            "Spans that reached the next hop, or Jaeger; for load_balancing, a gateway's queue "
            "for its peer. A gateway that samples sends Jaeger less than it accepts.",
            Query(per_second(series.SENT_SPANS, *way), "{{instance}} {{exporter}}"),
            unit="cps",
            empty="nothing was sent in this time",
            scale=LOG,
        ),
        lines(
            "What did collectors refuse or lose? (spans, metric points, log records)",
            "Each bar counts five minutes, or more if a long time is shown. Refused: there was no "
            "memory, a queue was full, or the next hop did not accept. The sender tries again, "
            "and each try counts. Not counted: what waits in a gateway's memory for a peer when "
            "the gateway stops.",
            *(
                Query(
                    counted(each, *by, window=series.INTERVAL),
                    f"{{{{instance}}}} {{{{{by[-1]}}}}} {what}",
                    step="5m",
                )
                for each, by, what in (
                    (series.REFUSED_SPANS, door, "spans refused"),
                    (series.FAILED_SPANS, door, "spans refused further on"),
                    (series.REFUSED_POINTS, door, "metric points refused"),
                    (series.FAILED_POINTS, door, "metric points refused further on"),
                    (series.REFUSED_RECORDS, door, "log records refused"),
                    (series.FAILED_RECORDS, door, "log records refused further on"),
                    (series.UNSENT_SPANS, way, "spans lost"),
                    (series.UNSENT_POINTS, way, "metric points lost"),
                    (series.UNSENT_RECORDS, way, "log records lost"),
                    (series.OFF_THE_MAP, at, "spans too many for the service map"),
                )
            ),
            unit="short",
            empty="no loss was reported",
            colours={"refused": YELLOW, "lost$": RED, "map$": GREY},
            bars=True,
            at_least=10,
        ),
        lines(
            "Which share of the spans did collectors lose? (share)",
            "Of the spans that a collector accepted, those that it gave up, in five minutes, or in "
            "more if a long time is shown. What it refused is not lost: the sender has it.",
            Query(
                ratio(
                    counted(series.UNSENT_SPANS, *at, window=series.INTERVAL),
                    counted(series.ACCEPTED_SPANS, *at, window=series.INTERVAL),
                ),
                "{{instance}}",
                step="5m",
            ),
            unit="percentunit",
            empty="no collector is scraped, or nothing is sent to one",
            at_least=0.01,
        ),
        collector_queues(size=(12, 8)),
        lines(
            "How much memory do the collectors hold? (bytes)",
            "Resident memory. The memory limiter begins to refuse data below its limit, see "
            "collector/.",
            Query(total(series.MEMORY, *at), "{{instance}}"),
            unit="bytes",
            empty="no collector is scraped",
        ),
    )


def _gateways() -> tuple[Panel, ...]:
    """Where most are let go."""
    at = ("instance",)
    return (
        lines(
            "How many traces are kept? (decisions per second)",
            "Gateways decide about whole traces. Collectors that keep everything decide nothing.",
            Query(per_second(series.JUDGED, "decision"), "{{decision}}"),
            unit="ops",
            empty="no gateway that samples is scraped",
            colours={"^sampled$": GREEN, "^not_sampled$": GREY},
        ),
        lines(
            "Why are traces kept? (decisions per second)",
            "By the policy that gave the first reason. rest is the sample that is kept without a "
            "reason, before more is known of a trace; some of those traces fail later.",
            Query(
                per_second(series.JUDGED_BY.where("decision", "=", "sampled"), "policy"),
                "{{policy}}",
            ),
            unit="ops",
            empty="no gateway that samples is scraped",
        ),
        lines(
            "How many traces wait for a decision? (traces)",
            "Traces in memory. Beyond num_traces, the oldest are given up without a decision. "
            "Given up: how many were in five minutes, or more if a long time is shown.",
            Query(total(series.WAITING, *at), "{{instance}} wait"),
            Query(
                given_up(*at, window=series.INTERVAL),
                "{{instance}} given up",
                step="5m",
            ),
            unit="short",
            empty="no gateway that samples is scraped",
            colours={"given up$": RED},
        ),
        lines(
            "Which share of the traces is given up? (share)",
            "Of the traces that a gateway decided about or gave up, those that it gave up, in five "
            "minutes, or in more if a long time is shown.",
            Query(
                ratio(
                    given_up(*at, window=series.INTERVAL),
                    f"({given_up(*at, window=series.INTERVAL)}) "
                    f"+ {counted(series.JUDGED, *at, window=series.INTERVAL)}",
                ),
                "{{instance}}",
                step="5m",
            ),
            unit="percentunit",
            empty="no gateway that samples is scraped",
            at_least=0.01,
        ),
    )


def _recorded() -> series.Series:
    return of_service(series.PROCESSED).where(ERROR_TYPE, "=", "")


def _none_of(lost: series.Series, whole: str) -> str:
    """Losses of each service, 0 where it has none."""
    return f"({counted(lost, 'job', window=series.INTERVAL)} or 0 * {whole})"


def _places(state: str) -> str:
    """Patched places in a state, of the worker of each service that has most of them."""
    found = of_service(series.SEAMS).where(SEAM_STATE, "=", state)
    return f"max {found.by(('job', SEAM))}({found.selector()})"
