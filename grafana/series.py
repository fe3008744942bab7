"""The series in Prometheus: the names of `otel_cinder.conventions` as they arrive there, and the
expressions that the boards and their variables are made of.

A metric `a.b` in seconds arrives as `a_b_seconds`, a counter with `_total` behind, an attribute `c.d`
as the label `c_d`: the translation of the OpenTelemetry specification, which the collector's
Prometheus exporter does. A worker is identified by `job` (namespace and name of its service) and
`instance`. `tests/pipeline/test_dashboards.py` holds all of it against the real thing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from otel_cinder import conventions

RATE: Final = "$__rate_interval"
"""Grafana's window for rates: at least four times the step, see `panels.STEP`."""
RANGE: Final = "$__range"
"""The whole of what the board shows."""
RANGE_S: Final = "$__range_s"
"""The same as a number of seconds."""
INTERVAL: Final = "$__interval"
"""From one point of the graph to the next."""

_OF_ALL: Final = ("job", "instance")


def label(attribute: str) -> str:
    """The label that an attribute becomes."""
    return attribute.replace(".", "_")


@dataclass(frozen=True)
class Series:
    """All series of one metric, or those that some matchers leave."""

    name: str
    kind: str
    labels: tuple[str, ...]
    matchers: tuple[str, ...] = ()

    def where(self, attribute: str, operator: str, value: str) -> Series:
        """Only those whose label compares so. Raises KeyError for an attribute that it has not."""
        if attribute not in self.labels and attribute not in _OF_ALL:
            raise KeyError(f"{self.name} has no {attribute}")
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return replace(self, matchers=(*self.matchers, f'{label(attribute)}{operator}"{escaped}"'))

    def selector(self, suffix: str = "") -> str:
        """As PromQL selects it; the suffix is one of a histogram's."""
        matchers = ", ".join(self.matchers)
        return f"{self.name}{suffix}" + (f"{{{matchers}}}" if matchers else "")

    @property
    def events(self) -> str:
        """The counting series: a counter itself, a histogram's count."""
        return self.selector("_count" if self.kind == "histogram" else "")

    def by(self, attributes: tuple[str, ...]) -> str:
        """An aggregation's clause. Raises KeyError for an attribute that it has not."""
        for attribute in attributes:
            if attribute not in self.labels and attribute not in _OF_ALL:
                raise KeyError(f"{self.name} has no {attribute}")
        return f"by ({', '.join(label(attribute) for attribute in attributes)}) "


def of(metric: str) -> Series:
    """The series of a metric of `conventions`."""
    kind, unit, _, attributes = conventions.METRICS[metric]
    name = label(metric)
    if unit == "s":
        name += "_seconds"
    if kind == "counter":
        name += "_total"
    return Series(name, kind, attributes)


def _collector(name: str, *labels: str, kind: str = "counter") -> Series:
    return Series(f"otelcol_{name}", kind, labels)


# What otel-cinder measures.
REQUESTS = of(conventions.HTTP_SERVER_DURATION)
SENDING = of(conventions.MESSAGING_SEND_DURATION)
SENT = of(conventions.MESSAGING_SENT)
HANDLING = of(conventions.MESSAGING_PROCESS_DURATION)
TAKEN_UP = of(conventions.MESSAGING_CONSUMED)
CALLS = of(conventions.RPC_CLIENT_DURATION)
ANSWERING = of(conventions.RPC_SERVER_DURATION)
WAITS = of(conventions.RPC_QUEUE_DURATION)
CLOCK_SKEWS = of(conventions.RPC_CLOCK_SKEWS)
FLOWS = of(conventions.FLOW_DURATION)
TASKS = of(conventions.TASK_DURATION)
RESOURCE_ERRORS = of(conventions.RESOURCE_ERRORS)
OPEN_OPERATIONS = of(conventions.OPEN_OPERATIONS)
OLDEST_OPERATION = of(conventions.OLDEST_OPERATION)
STARTED = of(conventions.SPANS_STARTED)
PROCESSED = of(conventions.SPANS_PROCESSED)
EXPORTED = of(conventions.SPANS_EXPORTED)
QUEUED = of(conventions.QUEUE_SIZE)
QUEUE_CAPACITY = of(conventions.QUEUE_CAPACITY)
SEAMS = of(conventions.SEAMS)

# What the collector's connectors make of spans; their own dimensions are spelled as there.
SPAN_NAME: Final = "span.name"
SPAN_KIND: Final = "span.kind"
STATUS: Final = "status.code"
_OF_SPANS = (
    conventions.SERVICE_NAME,
    SPAN_NAME,
    SPAN_KIND,
    STATUS,
    conventions.ERROR_TYPE,
    conventions.BACKEND,
)
SPANS = Series("traces_span_metrics_duration_milliseconds", "histogram", _OF_SPANS)


def _edges(name: str) -> Series:
    """Without those one end of which no span tells: they lead nowhere on a map."""
    found = Series(f"traces_service_graph_request_{name}", "counter", ("client", "server"))
    return found.where("client", "!=", "unknown").where("server", "!=", "unknown")


EDGES = _edges("total")
FAILED_EDGES = _edges("failed_total")

# What the collector says of itself.
ACCEPTED_SPANS = _collector("receiver_accepted_spans", "receiver")
REFUSED_SPANS = _collector("receiver_refused_spans", "receiver")
ACCEPTED_POINTS = _collector("receiver_accepted_metric_points", "receiver")
REFUSED_POINTS = _collector("receiver_refused_metric_points", "receiver")
REFUSED_RECORDS = _collector("receiver_refused_log_records", "receiver")
FAILED_SPANS = _collector("receiver_failed_spans", "receiver")
FAILED_POINTS = _collector("receiver_failed_metric_points", "receiver")
FAILED_RECORDS = _collector("receiver_failed_log_records", "receiver")
SENT_SPANS = _collector("exporter_sent_spans", "exporter")
# What a gateway can't hand to its peers is refused, and comes again.
_LOSING = ("exporter", "!~", "load_balancing/.*")
UNSENT_SPANS = _collector("exporter_send_failed_spans", "exporter").where(*_LOSING)
UNSENT_POINTS = _collector("exporter_send_failed_metric_points", "exporter").where(*_LOSING)
UNSENT_RECORDS = _collector("exporter_send_failed_log_records", "exporter").where(*_LOSING)
EXPORT_QUEUE = _collector("exporter_queue_size", "exporter", kind="gauge")
EXPORT_QUEUE_CAPACITY = _collector("exporter_queue_capacity", "exporter", kind="gauge")
MEMORY = _collector("process_memory_rss", kind="gauge")
JUDGED = _collector("processor_tail_sampling_global_count_traces_sampled", "decision")
JUDGED_BY = _collector("processor_tail_sampling_count_traces_sampled", "decision", "policy")
REMOVED = _collector("processor_tail_sampling_sampling_trace_removal_age", kind="histogram")
WAITING = _collector("processor_tail_sampling_sampling_traces_on_memory", kind="gauge")

OFF_THE_MAP = _collector("connector_servicegraph_dropped_spans")

# What openstack-exporter asks Cinder's API for, where it is scraped as well.
VOLUMES_IN_STATUS = Series("openstack_cinder_volume_status_counter", "gauge", ("status",))
VOLUME_GB = Series("openstack_cinder_volume_gb", "gauge", ("id", "status", "volume_type"))
SERVICE_STATE = Series(
    "openstack_cinder_agent_state", "gauge", ("service", "hostname", "adminState", "disabledReason")
)
POOL_FREE_GB = Series("openstack_cinder_pool_capacity_free_gb", "gauge", ("name",))
POOL_TOTAL_GB = Series("openstack_cinder_pool_capacity_total_gb", "gauge", ("name",))

# What Prometheus adds.
UP = Series("up", "gauge", ())
ALERTS = Series("ALERTS", "gauge", ("alertname", "alertstate", "severity"))
INFO = Series(
    "target_info",
    "gauge",
    (conventions.SERVICE_VERSION, conventions.SDK_NAME, conventions.SDK_VERSION),
)

ALL: Final = tuple(value for value in list(globals().values()) if isinstance(value, Series))
"""Every series that a board, a variable or an alert may ask for."""


def total(series: Series, *by: str) -> str:
    """A gauge's sum."""
    return f"sum {series.by(by)}({series.selector()})"


def per_second(series: Series, *by: str) -> str:
    """Events per second. The first event of a series is not seen: for what fails take counted()."""
    return f"sum {series.by(by)}(rate({series.events}[{RATE}]))"


def counted(series: Series, *by: str, window: str = RANGE) -> str:
    """Events in a window. A series that is born in it counts whole.

    A counter is born with its first event already in it. increase() takes that value for the level
    to start from, so of a single failure it would not see any. One that is born in the window and
    then begins anew there, as a restarted service's does, has its first value counted as well.
    """
    selector, before = series.events, f"{_name(series)} offset {window}"
    grown = f"increase({selector}[{window}])"
    born = f"last_over_time({selector}[{window}]) unless {before}"
    anew = f"({grown} + min_over_time({selector}[{window}])) unless {before}"
    once = f"{born} unless resets({selector}[{window}]) > 0"
    return f"sum {series.by(by)}({once} or {anew} or {grown})"


def quantile(share: str, series: Series, *by: str, window: str = RATE) -> str:
    """A histogram's quantile, in the unit of the histogram; single events count as in counted().

    Nothing where nothing was measured: the comparison leaves out what is not a number.
    """
    series.by(by)
    clause = f"by ({', '.join([*map(label, by), 'le'])}) "
    return f"histogram_quantile({share}, sum {clause}({_grown(series, '_bucket', window)})) >= 0"


def buckets(series: Series, window: str) -> str:
    """Events in each of a histogram's buckets and those below it, counted as in counted()."""
    return f"sum by (le) ({_grown(series, '_bucket', window)})"


def mean(series: Series, *by: str) -> str:
    """A histogram's mean, in the unit of the histogram; single events count as in counted()."""
    clause = series.by(by)
    return (
        f"sum {clause}({_grown(series, '_sum', RATE)}) "
        f"/ (sum {clause}({_grown(series, '_count', RATE)}) > 0)"
    )


def spent(series: Series, *by: str) -> str:
    """All that a histogram has measured in the time shown, added up."""
    return f"sum {series.by(by)}({_grown(series, '_sum', RANGE)})"


def waiting(sent: Series, taken: Series, *by: str, window: str = RANGE) -> str:
    """Messages that were sent in a window and not taken up in it; fan-outs and failed sends left out.

    In whole messages: increase() makes fractions. The senders' and the receivers' counters do not
    live equally long, so that only what both have counted in the window can be compared.
    """
    one = conventions.FANOUT, "=", ""
    out = counted(sent.where(*one).where(conventions.ERROR_TYPE, "=", ""), *by, window=window)
    up = counted(taken.where(*one), *by, window=window)
    return f"clamp_min(round({out} - ({up} or 0 * {out})), 0)"


def in_progress(taken: Series, handled: Series, *by: str) -> str:
    """Messages that workers have taken up and not handled yet.

    Computed for each worker: both its counters begin anew when it does.
    """
    each = ("job", "instance", *by)
    up = f"sum {taken.by(each)}({taken.events})"
    done = f"sum {handled.by(each)}({handled.events})"
    return f"sum {taken.by(by)}(clamp_min({up} - ({done} or 0 * {up}), 0))"


def ratio(part: str, whole: str) -> str:
    """A share from 0 to 1; nothing where there is no whole, 0 where there is no part of it."""
    return f"({part} or 0 * ({whole})) / (({whole}) > 0)"


def or_none(expression: str) -> str:
    """0 instead of nothing, but only while otel-cinder reports: otherwise nothing was counted."""
    return f"{expression} or 0 * sum({STARTED.selector()})"


def given_up(*by: str, window: str) -> str:
    """Traces that a gateway forgot in a window without a decision.

    What it counts as dropped too early has all that it kept as well: those are gone before their time
    to decide has come.
    """
    clause = REMOVED.by(by)

    def so_far(offset: str = "") -> str:
        return f"sum {clause}({REMOVED.events}{offset}) - sum {clause}({JUDGED.selector()}{offset})"

    before = f"{so_far(f' offset {window}')} or 0 * ({so_far()})"
    return f"clamp_min({so_far()} - ({before}), 0)"


def restarted(*by: str) -> str:
    """Workers whose counters began anew since the step before: they were started again."""
    each = STARTED.by(("job", "instance"))
    anew = f"max {each}(resets({STARTED.selector()}[{RATE}])) > 0"
    return f"count {STARTED.by(by)}({anew})"


def since(series: Series, *by: str) -> str:
    """For how many seconds a gauge has been there with these labels, at most the time shown."""
    first = f"min_over_time(timestamp({series.selector()})[{RANGE}:1m])"
    return f"time() - min {series.by(by)}({first}) and {total(series, *by)}"


def values(series: Series, attribute: str) -> str:
    """The values of a variable: those of a label."""
    series.by((attribute,))
    return f"label_values({series.events}, {label(attribute)})"


def _name(series: Series) -> str:
    """The name of the counting series, without matchers."""
    return f"{series.name}_count" if series.kind == "histogram" else series.name


def _grown(series: Series, suffix: str, window: str) -> str:
    """By how much each of a histogram's series has grown in a window, from 0 where it was born."""
    selector = series.selector(suffix)
    before = f"{series.name}{suffix} offset {window}"
    return f"last_over_time({selector}[{window}]) unless {before} or increase({selector}[{window}])"
