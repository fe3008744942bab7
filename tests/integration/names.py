"""Compares received names with the tables from which `docs/reference.md` is made."""

import re
from collections.abc import Iterable, Iterator

from otel_cinder import conventions
from otel_cinder.reading.trace import SpanRecord
from tests.receiver import Receiver

# The patterns of the angle-bracketed parts of listed names.
PARTS = {
    "METHOD": "CONNECT|DELETE|GET|HEAD|HTTP|OPTIONS|PATCH|POST|PUT|QUERY|TRACE",
    "route": r"/\S*(?: [\w-]+)?",
    "topic": r"[\w-]+",
    "method": r"\w+",
    "program": r"[\w.+-]+",
    "function": r"\w+",
    "resource": "volume|snapshot|backup|group|group_snapshot|service",
    "VERB": "[A-Z]+",
    "name": ".+",
    "table": r"[\w.]+",
}
WORD = r"[\w.]+"
# Where that may be any word: the attribute that says that it is one of these.
SIGNS = {
    "flow": conventions.FLOW_NAME,
    "Task": conventions.TASK_NAME,
    "Retry": conventions.RETRY_NAME,
    "Driver": conventions.CODE_FUNCTION,
    "VERB": "db.system.name",
    "name": conventions.STILL_RUNNING,
}


def unlisted(receiver: Receiver) -> list[str]:
    """Name everything that arrived and is not on the list, each once."""
    names = [*_of_spans(receiver.spans()), *_of_metrics(receiver)]
    for line in receiver.logs():
        names += _of_attributes({**line.resource, **line.attributes}, f"log {line.body}")
    return sorted(set(names))


def _pattern(listed: str) -> tuple[re.Pattern[str], str | None]:
    """A listed name's pattern, and the attribute that a span of such a name has."""
    parts = re.split(r"<(\w+)>", listed)
    signs = [SIGNS[part] for part in parts[1::2] if part in SIGNS]
    regex = "".join(
        f"(?:{PARTS.get(part, WORD)})" if index % 2 else re.escape(part)
        for index, part in enumerate(parts)
    )
    return re.compile(regex), next(iter(signs), None)


PATTERNS = [_pattern(name) for name in conventions.SPANS]


def _of_spans(spans: Iterable[SpanRecord]) -> Iterator[str]:
    for span in spans:
        if not any(
            pattern.fullmatch(span.name) and (sign is None or sign in span.attributes)
            for pattern, sign in PATTERNS
        ):
            yield f"span {span.name}"
        for where in (span.attributes, span.resource, *(link.attributes for link in span.links)):
            yield from _of_attributes(where, span.name)
        for event in span.events:
            if event.name not in conventions.EVENTS:
                yield f"event {event.name} of {span.name}"
            yield from _of_attributes(event.attributes, event.name)


def _of_metrics(receiver: Receiver) -> Iterator[str]:
    for point in receiver.metrics():
        listed = conventions.METRICS.get(point.name)
        if listed is None:
            yield f"metric {point.name}"
            continue
        if point.unit != listed.unit:
            yield f"unit {point.unit} of metric {point.name}"
        for name in set(point.attributes) - {*listed.attributes, conventions.OVERFLOW}:
            yield f"attribute {name} of metric {point.name}"


def _of_attributes(attributes: Iterable[str], where: str) -> Iterator[str]:
    for name in attributes:
        if name not in conventions.ATTRIBUTES and not name.startswith(tuple(conventions.HEADERS)):
            yield f"attribute {name} of {where}"
