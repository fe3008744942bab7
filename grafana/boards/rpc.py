"""RPC and queues."""

from __future__ import annotations

from grafana import series
from grafana.boards.board import BAD, ODD, SHARE, WAIT, Board
from grafana.panels import (
    LOG,
    RED,
    Column,
    Panel,
    Query,
    count,
    heat,
    lines,
    number,
    table,
)
from grafana.series import (
    buckets,
    counted,
    in_progress,
    label,
    or_none,
    per_second,
    quantile,
    ratio,
    values,
    waiting,
)
from otel_cinder.conventions import ERROR_TYPE, FANOUT, RPC_METHOD

_METHOD = f"{{{{{label(RPC_METHOD)}}}}}"


def rpc() -> Board:
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
    found.row("Do messages get through?", *_outcomes())
    found.row("Queues", *_queues())
    found.row("Work", *_work())
    return found


def _outcomes() -> tuple[Panel, ...]:
    """Sent, taken up and waiting messages."""
    casts = counted(_chosen(series.TAKEN_UP))
    calls = counted(_chosen(series.ANSWERING))
    timeouts = _chosen(series.CALLS).where(ERROR_TYPE, "=", "MessagingTimeout")
    return (
        number(
            "Taken up per second",
            "Casts and calls that workers took from their queues, on average over the time shown.",
            f"(({casts} or 0 * {calls}) + ({calls} or 0 * {casts})) / {series.RANGE_S}",
            unit="cps",
            empty="none in this time",
            size=(4, 4),
        ),
        number(
            "Wait in the queue, p95",
            "95 of 100 of the chosen messages waited no longer than this for a worker. Busy "
            "methods weigh most: choose one method to see it alone.",
            quantile("0.95", _chosen(series.WAITS), window=series.RANGE),
            unit="s",
            empty="no messages",
            colours=WAIT,
            size=(4, 4),
        ),
        count(
            "Casts that wait",
            "Casts that were sent in the time shown and that no worker has taken up yet: sent "
            "minus taken up, without fan-outs. A service that is not traced seems to take nothing "
            "up. Each process reports once a minute, so casts that were sent just now may be "
            "included. After a restart, the number may be off by a few.",
            or_none(_waiting()),
            size=(4, 4),
        ),
        count(
            "Casts in progress",
            "Casts that a worker has taken up and is still handling: taken up minus handled. One "
            "long create counts as one. If a worker is killed, the casts that it was handling "
            "disappear after five minutes.",
            or_none(in_progress(_chosen(series.TAKEN_UP), _chosen(series.HANDLING))),
            size=(4, 4),
        ),
        count(
            "Calls that timed out",
            "Calls whose caller gave up waiting for the answer, in the time shown "
            "(rpc_response_timeout in cinder.conf); beside it, their share.",
            or_none(counted(timeouts)),
            share=ratio(counted(timeouts), counted(_chosen(series.CALLS))),
            colours=BAD,
            size=(4, 4),
        ),
        count(
            "Messages before their time",
            "Messages that arrived before they were sent, by the clocks of two hosts, in the time "
            "shown; beside it, their number as a share of those whose wait was measured. Is NTP "
            "running? Without it, waits cannot be measured well.",
            or_none(counted(_chosen(series.CLOCK_SKEWS))),
            share=ratio(counted(_chosen(series.CLOCK_SKEWS)), counted(_chosen(series.WAITS))),
            colours=ODD,
            size=(4, 4),
        ),
    )


def _queues() -> tuple[Panel, ...]:
    """On the way."""
    return (
        lines(
            "How long do messages wait? (p95, seconds)",
            "From the send until a worker took the message up, by topic and method. The dots are "
            "single traces: click one to open it. Messages that still wait are not included: see "
            "how many wait. Nor is the time in which the broker could not be reached: see how "
            "long it takes to hand a cast to the broker.",
            Query(quantile("0.95", _chosen(series.WAITS), RPC_METHOD), _METHOD, exemplars=True),
            unit="s",
            empty="no messages in this time",
            threshold=30,
            scale=LOG,
        ),
        heat(
            "How do the waits spread? (messages, by seconds)",
            "All chosen messages. Each column counts five minutes, or more if a long time is "
            "shown. A second band far above the first is another queue, which is slow.",
            Query(
                buckets(_chosen(series.WAITS), series.INTERVAL),
                "{{le}}",
                exemplars=True,
                step="5m",
            ),
            unit="s",
            empty="no messages in this time",
        ),
        lines(
            "Are casts taken up as fast as they are sent? (casts per second)",
            "If more casts are sent than taken up, they wait in a queue, or no service receives "
            "them. Fan-outs are not included: they are sent once, and each worker takes them up.",
            Query(per_second(_to_one(series.SENT), RPC_METHOD), f"sent {_METHOD}"),
            Query(per_second(_to_one(series.TAKEN_UP), RPC_METHOD), f"taken up {_METHOD}"),
            unit="cps",
            empty="no casts in this time",
            scale=LOG,
        ),
        lines(
            "How many casts wait, and how many are in progress? (casts)",
            "Waiting: sent in the hour before, and not yet taken up. In progress: taken up, and "
            "not yet handled; a long create stays here until it ends. Fan-outs are not counted as "
            "waiting.",
            Query(_waiting(RPC_METHOD, window="1h"), f"waiting {_METHOD}"),
            Query(
                in_progress(_chosen(series.TAKEN_UP), _chosen(series.HANDLING), RPC_METHOD),
                f"in progress {_METHOD}",
            ),
            unit="short",
            empty="no casts in this time",
        ),
        table(
            "How do messages fare?",
            "Counts are for the time shown, but the number in progress is the current one. Calls have "
            "only a wait here. If messages wait and none is taken up, their service is down, hangs, or "
            "is not traced. If more are taken up than sent, it is a fan-out, or the sender is not "
            "traced.",
            {label(RPC_METHOD): "Topic and method"},
            Column("Sent", counted(_chosen(series.SENT), RPC_METHOD), "short"),
            Column("Taken up", counted(_chosen(series.TAKEN_UP), RPC_METHOD), "short"),
            Column("Waiting", _waiting(RPC_METHOD), "short"),
            Column(
                "In progress",
                in_progress(_chosen(series.TAKEN_UP), _chosen(series.HANDLING), RPC_METHOD),
                "short",
            ),
            Column(
                "Failed",
                ratio(
                    counted(_chosen(series.HANDLING).where(ERROR_TYPE, "!=", ""), RPC_METHOD),
                    counted(_chosen(series.HANDLING), RPC_METHOD),
                ),
                "percentunit",
                SHARE,
            ),
            Column(
                "Wait, p95",
                quantile("0.95", _chosen(series.WAITS), RPC_METHOD, window=series.RANGE),
                "s",
            ),
            Column(
                "Handling, p95",
                quantile("0.95", _chosen(series.HANDLING), RPC_METHOD, window=series.RANGE),
                "s",
            ),
            empty="no messages in this time",
            sort="Sent",
            size=(24, 8),
        ),
    )


def _work() -> tuple[Panel, ...]:
    """Once they are taken up."""
    return (
        lines(
            "How long does the handling of casts take? (p95, seconds)",
            "All that the service does for a message, flows and drivers included.",
            Query(
                quantile("0.95", _chosen(series.HANDLING), RPC_METHOD),
                _METHOD,
                exemplars=True,
            ),
            unit="s",
            empty="no casts in this time",
            scale=LOG,
        ),
        lines(
            "How long do callers wait for answers? (p95, seconds)",
            "Calls only: the wait in the queue, the work and the way back together.",
            Query(
                quantile("0.95", _chosen(series.CALLS), RPC_METHOD),
                f"{_METHOD}, as the caller sees it",
                exemplars=True,
            ),
            Query(
                quantile("0.95", _chosen(series.ANSWERING), RPC_METHOD),
                f"{_METHOD}, the work alone",
            ),
            unit="s",
            empty="no calls in this time",
            scale=LOG,
        ),
        lines(
            "Which messages fail, when and how? (messages)",
            "Casts whose handling raised an exception, and calls that raised one in the caller. "
            "MessagingTimeout: no answer came in time. Each bar counts five minutes, or more if a "
            "long time is shown.",
            *(
                Query(
                    counted(
                        _chosen(each).where(ERROR_TYPE, "!=", ""),
                        RPC_METHOD,
                        ERROR_TYPE,
                        window=series.INTERVAL,
                    ),
                    f"{kind} {_METHOD}: {{{{error_type}}}}",
                    step="5m",
                )
                for kind, each in (("cast", series.HANDLING), ("call", series.CALLS))
            ),
            unit="short",
            empty="no failed message was reported",
            colours={"MessagingTimeout": RED},
            bars=True,
        ),
        lines(
            "How long does it take to hand a cast to the broker? (p95, seconds)",
            "If the broker is busy or down, it shows here first: the sender waits for it.",
            Query(
                quantile("0.95", _chosen(series.SENDING), RPC_METHOD),
                _METHOD,
                exemplars=True,
            ),
            unit="s",
            empty="no casts in this time",
            scale=LOG,
        ),
    )


def _chosen(metric: series.Series) -> series.Series:
    return metric.where(RPC_METHOD, "=~", "$method").where(RPC_METHOD, "=~", "($topic)/.+")


def _to_one(metric: series.Series) -> series.Series:
    return _chosen(metric).where(FANOUT, "=", "")


def _waiting(*by: str, window: str = series.RANGE) -> str:
    return waiting(_chosen(series.SENT), _chosen(series.TAKEN_UP), *by, window=window)
