"""Every span, attribute, event, metric and setting name, with one line of meaning each.

Names that OpenTelemetry has fixed come from its semantic conventions (1.44); stable ones are
imported, those in development are spelled out because their Python constants move between
releases. The ``openstack.*`` names are those that oslo.messaging's and oslo.middleware's own
tracing emit; the ``taskflow.*`` and ``cinder.*`` names are this project's.
"""

from __future__ import annotations

from typing import NamedTuple

from opentelemetry.semconv.attributes import (
    client_attributes,
    code_attributes,
    error_attributes,
    exception_attributes,
    http_attributes,
    network_attributes,
    server_attributes,
    service_attributes,
    telemetry_attributes,
    url_attributes,
    user_agent_attributes,
)

from otel_cinder import settings

ATTRIBUTES: dict[str, str] = {}
"""Attribute name -> what it says."""

SPANS: dict[str, str] = {}
"""Span name, with its variable parts in angle brackets -> kind and what it covers."""

EVENTS: dict[str, str] = {}
"""Event name -> its meaning, and the span that has it."""

METRICS: dict[str, Metric] = {}
"""Metric name -> its instrument, unit, meaning and attributes."""

SETTINGS: dict[str, str] = {}
"""Environment variable -> what it sets."""


class Metric(NamedTuple):
    """One instrument."""

    kind: str
    """``histogram``, ``counter``, ``updowncounter`` or ``gauge``; the last three are sums of ints."""
    unit: str
    """UCUM: ``s``, ``{message}``."""
    meaning: str
    attributes: tuple[str, ...]


def _attribute(name: str, meaning: str) -> str:
    ATTRIBUTES[name] = meaning
    return name


def _span(name: str, meaning: str) -> None:
    SPANS[name] = meaning


def _event(name: str, meaning: str) -> str:
    EVENTS[name] = meaning
    return name


def _metric(name: str, kind: str, unit: str, meaning: str, *attributes: str) -> str:
    METRICS[name] = Metric(kind, unit, meaning, attributes)
    return name


def _setting(name: str, meaning: str) -> None:
    SETTINGS[name] = meaning


SCOPE = "otel_cinder"
"""The instrumentation scope of every span."""

HTTP_METHOD = http_attributes.HTTP_REQUEST_METHOD
HTTP_STATUS = http_attributes.HTTP_RESPONSE_STATUS_CODE
URL_SCHEME = url_attributes.URL_SCHEME

# The request. The contrib package for WSGI sets those of HTTP itself.
for _name, _meaning in {
    HTTP_METHOD: "`POST`",
    HTTP_STATUS: "`202`",
    url_attributes.URL_PATH: "the path as it was asked for, without the query string",
    URL_SCHEME: "`http` or `https`",
    server_attributes.SERVER_ADDRESS: "the host that the caller named",
    server_attributes.SERVER_PORT: "the port that the API listens on",
    client_attributes.CLIENT_ADDRESS: "the caller's address, or the proxy's",
    client_attributes.CLIENT_PORT: "the caller's port, or the proxy's",
    network_attributes.NETWORK_PROTOCOL_VERSION: "`1.1`",
    user_agent_attributes.USER_AGENT_ORIGINAL: "the caller's program",
}.items():
    _attribute(_name, _meaning)
HEADERS = {
    "http.request.header.": _attribute(
        "http.request.header.<name>",
        "`host` or `user-agent`, where OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST "
        "asks for it; no other",
    ),
    "http.response.header.": _attribute(
        "http.response.header.<name>",
        "what OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_RESPONSE asks for, secrets masked",
    ),
}
"""Beginnings of names that a request's spans have by the contrib package's own settings."""
HTTP_ROUTE = _attribute(
    http_attributes.HTTP_ROUTE, "the matched route, a template: `/v3/{project_id}/volumes`"
)
REQUEST_ID = _attribute("openstack.request_id", "`req-…` that Cinder logs and returns")
GLOBAL_REQUEST_ID = _attribute(
    "openstack.global_request_id", "`req-…` of the service that called Cinder (nova, say)"
)
PROJECT_ID = _attribute("openstack.project_id", "the project that asked")
USER_ID = _attribute("openstack.user_id", "the user who asked")
ACTION = _attribute("cinder.action", "the action of a `POST …/action` request: `os-extend`")

# What was asked. On the span of the request or message, and so on each service's first span.
VOLUME_ID = _attribute("cinder.volume.id", "the volume that the operation is about")
VOLUME_SIZE = _attribute("cinder.volume.size", "its size as asked for, in GiB")
VOLUME_NEW_SIZE = _attribute("cinder.volume.new_size", "the size to extend it to, in GiB")
VOLUME_TYPE = _attribute("cinder.volume.type", "its type's name, or id where that is all there is")
VOLUME_NAME_LENGTH = _attribute(
    "cinder.volume.name_length", "characters of its name; the name itself is the tenant's"
)
AVAILABILITY_ZONE = _attribute("cinder.volume.availability_zone", "the zone asked for or chosen")
SOURCE = _attribute(
    "cinder.volume.source", "what it is made from: `blank`, `image`, `snapshot`, `volume`, `backup`"
)
SOURCE_ID = _attribute("cinder.volume.source_id", "id of the image, snapshot, volume or backup")
HOST = _attribute("cinder.volume.host", "where it is, once chosen: `host@backend#pool`")
SNAPSHOT_ID = _attribute("cinder.snapshot.id", "the snapshot that the operation is about")
BACKUP_ID = _attribute("cinder.backup.id", "the backup that the operation is about")
ATTACHMENT_ID = _attribute("cinder.attachment.id", "the attachment that the operation is about")
GROUP_ID = _attribute("cinder.group.id", "the group that the operation is about")
GROUP_SNAPSHOT_ID = _attribute(
    "cinder.group_snapshot.id", "the group's snapshot that the operation is about"
)
INTERRUPTED = _attribute(
    "cinder.interrupted",
    "the status in which a service that had ended left what is cleaned up: `creating`, `deleting`",
)
ATTEMPT = _attribute(
    "cinder.schedule.attempt", "which attempt to find a backend this is, from 1; more: rescheduled"
)

# Flows and atoms
FLOW_NAME = _attribute("taskflow.flow.name", "the flow's name: `volume_create_api`")
FLOW_UUID = _attribute("taskflow.flow.uuid", "the flow's uuid, as in TaskFlow's log lines")
FLOW_STATE = _attribute("taskflow.flow.state", "the state the flow ended in: `SUCCESS`, `REVERTED`")
FLOW_STATES = _attribute("taskflow.flow.states", "the states the flow went through, in order")
FLOW_FAILED_TASK = _attribute(
    "taskflow.flow.failed_task", "the task for which it reverted: `CreateVolumeFromSpecTask`"
)
TASK_NAME = _attribute("taskflow.task.name", "the task's full name, as in TaskFlow's log lines")
TASK_UUID = _attribute("taskflow.task.uuid", "the task's uuid, as in TaskFlow's log lines")
TASK_STATE = _attribute(
    "taskflow.task.state", "`SUCCESS`, `FAILURE`, `REVERTED` or `REVERT_FAILURE`"
)
TASK_PROVIDES = _attribute("taskflow.task.provides", "the keys of the results that it provides")
TASK_CLASS = _attribute(
    "taskflow.task.class", "the task's class, in metrics, where no id may get in: `VolumeCastTask`"
)
TASK_RESULTS = _attribute(
    "taskflow.task.results",
    "the results as JSON, secrets masked; with `OTEL_CINDER_RESULTS=values` only",
)
RETRY_NAME = _attribute("taskflow.retry.name", "the retry controller's full name")
RETRY_UUID = _attribute("taskflow.retry.uuid", "the retry controller's uuid")
RETRY_STATE = _attribute(
    "taskflow.retry.state", "`SUCCESS`, `FAILURE`, `REVERTED` or `REVERT_FAILURE`"
)
RETRY_ATTEMPT = _attribute("taskflow.retry.attempt", "which attempt this is, from 1")
CODE_FUNCTION = _attribute(code_attributes.CODE_FUNCTION_NAME, "the function that did the work")
CODE_FILE = _attribute(code_attributes.CODE_FILE_PATH, "the file that logged")
CODE_LINE = _attribute(code_attributes.CODE_LINE_NUMBER, "the line that logged")

# Messages
MESSAGING_SYSTEM = _attribute(
    "messaging.system",
    "the real broker: `rabbitmq`, `kafka`, `fake`; `oslo.messaging` where it is not known",
)
MESSAGING_OPERATION_NAME = _attribute(
    "messaging.operation.name", "`cast`, `call`, `notify` or `process`"
)
MESSAGING_OPERATION_TYPE = _attribute("messaging.operation.type", "`send` or `process`")
MESSAGING_DESTINATION = _attribute(
    "messaging.destination.name", "where the message goes; for RabbitMQ `exchange:routing key`"
)
MESSAGING_TEMPLATE = _attribute(
    "messaging.destination.template", "the destination without its host: `cinder-volume.{host}`"
)
MESSAGING_ROUTING_KEY = _attribute(
    "messaging.rabbitmq.destination.routing_key", "the routing key: `cinder-volume.host@lvm.host`"
)
MESSAGING_MESSAGE_ID = _attribute("messaging.message.id", "a notification's own id")
MESSAGING_BATCH = _attribute(
    "messaging.batch.message_count", "how many notifications a listener takes up at once"
)
# As opentelemetry-instrumentation-oslo-messaging calls them.
NOTIFICATION_EVENT = _attribute(
    "oslo_messaging.notification.event_type", "what a notification is about: `volume.create.start`"
)
NOTIFICATION_PRIORITY = _attribute(
    "oslo_messaging.notification.priority", "a notification's priority: `INFO`, `ERROR`"
)
FANOUT = _attribute("cinder.rpc.fanout", "true when every server on the topic gets the message")
RPC_SYSTEM = _attribute("rpc.system.name", "`oslo.messaging`")
RPC_METHOD = _attribute("rpc.method", "topic and method: `cinder-volume/initialize_connection`")
QUEUE_DURATION = _attribute(
    "cinder.rpc.queue.duration",
    "seconds in the queue, from the send until a worker took the message up; the time that the "
    "sender needed to reach the broker is the cast's own",
)
CLOCK_SKEW = _attribute(
    "cinder.rpc.clock_skew",
    "seconds by which the sender's clock is ahead, seen as a negative wait in the queue",
)

# Drivers, commands and images
BACKEND = _attribute("cinder.backend", "the backend's name: `lvmdriver-1`")
COMMAND = _attribute("process.executable.name", "the program: `lvcreate`")
COMMAND_LINE = _attribute(
    "process.command_line", "the program with its arguments, secrets masked, bounded"
)
EXIT_CODE = _attribute(
    "process.exit.code",
    "what the program returned; not 0 alone is no error. Over SSH only of one that failed",
)
IMAGE_ID = _attribute("cinder.image.id", "the image")
IMAGE_BYTES = _attribute("cinder.image.bytes", "bytes that were downloaded or written")
IMAGE_FORMAT = _attribute("cinder.image.format", "the format that an image is converted to: `raw`")

# Outgoing HTTP and SQL, where it is switched on
for _name, _meaning in {
    "db.system.name": "`mysql`",
    "db.namespace": "the database",
    "db.query.summary": "`INSERT volumes`",
    "db.query.text": "the statement, its literals replaced by `?`, at most 1024 characters",
    "db.response.status_code": "the server's number for an error: `1062`",
    "url.full": "what was asked for, without credentials and query string",
}.items():
    _attribute(_name, _meaning)

# Failures
ERROR_TYPE = _attribute(error_attributes.ERROR_TYPE, "class of the error; remote ones as raised")
EXCEPTION_TYPE = _attribute(exception_attributes.EXCEPTION_TYPE, "class, with its module")
EXCEPTION_MESSAGE = _attribute(
    exception_attributes.EXCEPTION_MESSAGE, "message, with secrets masked, at most 512 characters"
)
EXCEPTION_STACKTRACE = _attribute(
    exception_attributes.EXCEPTION_STACKTRACE,
    "the frames, without the message; before them frames, class and message of what it came of",
)
CAUSE = _attribute(
    "cinder.cause",
    "what an exception came of, the nearest first, at most 8: `FileNotFoundError: [Errno 2] …`; "
    "secrets masked, at most 256 characters each",
)
EXCEPTION_EVENT = _event("exception", "what was raised; on the span that it passed through")
RESOURCE_TYPE = _attribute(
    "cinder.resource.type",
    "`volume`, `snapshot`, `backup`, `group`, `group_snapshot`; `service` for a whole backend",
)
RESOURCE_ID = _attribute(
    "cinder.resource.id", "the resource that was put into an error status; a service's host"
)
RESOURCE_STATUS = _attribute(
    "cinder.resource.status",
    "that status: `error`, `error_deleting`; `migration_error` where a migration failed; "
    "what Cinder restored where it only could not schedule, or could not delete what is in use; "
    "`unsaved` where the database did not take its new status",
)
REASON = _attribute("cinder.reason", "why, with secrets masked, at most 512 characters")
MESSAGE_ACTION = _attribute("cinder.user_message.action", "`schedule allocate volume`")
MESSAGE_DETAIL_ID = _attribute("cinder.user_message.detail_id", "Cinder's number for it: `002`")
MESSAGE_TEXT = _attribute("cinder.user_message.text", "what the user is told")
MESSAGE_LEVEL = _attribute("cinder.user_message.level", "`ERROR`")
RESOURCE_ERROR_EVENT = _event(
    "cinder.resource.error",
    "a resource was put into an error status, although nothing may have been raised; "
    "on the span at work and on the message's, which it makes errors. If the resource is not what "
    "the message is about, on the span at work alone, which stays as it is",
)
USER_MESSAGE_EVENT = _event(
    "cinder.user_message", "what Cinder lets the user know (`cinder message-list`); as above"
)
RESCHEDULE_EVENT = _event(
    "cinder.reschedule",
    "Cinder gives this backend up and asks the scheduler for another; "
    "on the reverting task and the message's span, which it makes errors",
)

# Scheduling
FILTER = _attribute("cinder.scheduler.filter", "the filter's class: `CapacityFilter`")
HOSTS_BEFORE = _attribute("cinder.scheduler.hosts_before", "backends that came to the filter")
HOSTS_AFTER = _attribute("cinder.scheduler.hosts_after", "backends that passed it")
HOSTS_REJECTED = _attribute(
    "cinder.scheduler.hosts_rejected", "those that did not pass, at most 16: `host@backend#pool`"
)
WEIGHT = _attribute(
    "cinder.scheduler.weight",
    "the chosen backend's weight, of 1 a weigher at best; left out if it is infinite or NaN",
)
FILTER_EVENT = _event(
    "cinder.scheduler.filter", "one filter's verdict; on the task or message that schedules"
)
CHOICE_EVENT = _event("cinder.scheduler.choice", "the backend that was chosen, by its weight")

# Log lines
LOG_MESSAGE = _attribute("log.message", "the line, secrets masked, at most 512 characters")
LOG_LEVEL = _attribute("log.level", "`INFO`, `WARNING`, `ERROR`")
LOG_LOGGER = _attribute("log.logger", "the logger: `cinder.volume.manager`")
LOG_RESOURCE = _attribute(
    "log.resource", "what the line is about, where it says so: `volume-<id>`, as in Cinder's log"
)
LOG_DROPPED = _attribute(
    "log.dropped",
    "lines that are not there: a span takes 64, then 16 more at WARNING or above, then 16 at ERROR",
)
LOG_DROPPED_WARNINGS = _attribute("log.dropped.warnings", "those of them at WARNING or above")
LOG_EVENT = _event("log", "a log line written while the span was current")

# The resource
SERVICE_NAME = _attribute(
    service_attributes.SERVICE_NAME,
    "`cinder-api`, `cinder-scheduler`, `cinder-volume`, `cinder-backup`",
)
SERVICE_VERSION = _attribute(service_attributes.SERVICE_VERSION, "Cinder's version")
SERVICE_NAMESPACE = _attribute("service.namespace", "`cinder`")
SERVICE_INSTANCE = _attribute(
    "service.instance.id",
    "the manager's host (`host@backend`), or the machine, or both where they differ; with a number "
    "where another process has that: the same after a restart",
)

SDK_LANGUAGE = _attribute(telemetry_attributes.TELEMETRY_SDK_LANGUAGE, "`python`")
SDK_NAME = _attribute(telemetry_attributes.TELEMETRY_SDK_NAME, "`opentelemetry`")
SDK_VERSION = _attribute(telemetry_attributes.TELEMETRY_SDK_VERSION, "of opentelemetry-sdk")

OVERFLOW = _attribute(
    "otel.metric.overflow", "`true`: what came after a metric's 2000th set of attributes"
)
SAMPLING_RESULT = _attribute("otel.span.sampling_result", "`DROP` or `RECORD_AND_SAMPLE`")
SEAM = _attribute("otel_cinder.seam", "a group of patched places: `rpc`")
SEAM_STATE = _attribute("otel_cinder.seam.state", "`on`, `skipped` (does not fit) or `waiting`")

_span("<METHOD> <route>", "SERVER, one request to the API: `POST /v3/{project_id}/volumes`")
_span("<flow>", "INTERNAL, one run of a TaskFlow flow: `volume_create_api`")
_span("<Task>", "INTERNAL, one task while it executes: `QuotaReserveTask`")
_span("revert <Task>", "INTERNAL, one task while it reverts")
_span("retry <Retry>", "INTERNAL, one attempt of a retry controller")
_span("revert retry <Retry>", "INTERNAL, a retry controller while it reverts")
_span(
    "cast <topic>/<method>",
    "PRODUCER, a message sent without waiting for an answer; a message that names no method has the "
    "topic alone, here and below",
)
_span("process <topic>/<method>", "CONSUMER, the handling of a cast")
_span(
    "notify <topic>/<event>",
    "PRODUCER, a notification that is sent, its payload left out: "
    "`notify notifications/volume.create.start`; there are none unless `[oslo_messaging_notifications] "
    "driver` names one that sends",
)
_span(
    "process <topic>/<event>",
    "CONSUMER, the handling of a notification by a listener in which otel-cinder is on; of a batch of "
    "several `process <topic>`, linked to each that was sent",
)
_span("<topic>/<method>", "CLIENT where the call waits for its answer, SERVER where it is handled")
_span(
    "<Driver>.<method>",
    "INTERNAL, a call of the manager on its driver: `LVMVolumeDriver.create_volume`",
)
_span("execute <program>", "INTERNAL, a command: `execute lvcreate`")
_span("privsep <function>", "INTERNAL, a function in the privileged daemon: `privsep umount`")
_span("download image", "INTERNAL, an image on its way from Glance to a file")
_span("convert image", "INTERNAL, `qemu-img convert`")
_span("upload image", "INTERNAL, a volume on its way to Glance")
_span(
    "clean up <resource>",
    "INTERNAL, what a service does at its start, or when it is asked to, about work on a volume, "
    "snapshot or backup that was interrupted: it deletes the rest, or sets it to error",
)
_span("migrate key of <resource>", "INTERNAL, a volume or backup gets an encryption key of its own")
_span(
    "set <resource> to error",
    "INTERNAL, a resource is put into an error status where nothing else is traced: at a start",
)
_span("<METHOD>", "CLIENT, a request to Keystone, Glance, Nova; SERVER where no route matched")
_span("<VERB> <table>", "CLIENT, an SQL statement: `INSERT volumes`")
_span("<VERB>", "CLIENT, one of no table: `SHOW`")

# Durations of spans that may not be sampled, and so of everything.
HTTP_SERVER_DURATION = _metric(
    "http.server.request.duration",
    "histogram",
    "s",
    "how long the API took to answer",
    HTTP_METHOD,
    HTTP_STATUS,
    HTTP_ROUTE,
    ACTION,
    URL_SCHEME,
    ERROR_TYPE,
)
_TAKEN_UP = (
    MESSAGING_SYSTEM,
    MESSAGING_OPERATION_NAME,
    MESSAGING_TEMPLATE,
    RPC_METHOD,
    FANOUT,
)
_SENT = (*_TAKEN_UP, ERROR_TYPE)
MESSAGING_SEND_DURATION = _metric(
    "messaging.client.operation.duration",
    "histogram",
    "s",
    "how long it took to hand a cast, or a notification, to the broker",
    *_SENT,
)
MESSAGING_SENT = _metric(
    "messaging.client.sent.messages",
    "counter",
    "{message}",
    "casts that were sent; notifications, which have no `rpc.method`, too",
    *_SENT,
)
MESSAGING_PROCESS_DURATION = _metric(
    "messaging.process.duration", "histogram", "s", "how long the handling of a cast took", *_SENT
)
MESSAGING_CONSUMED = _metric(
    "messaging.client.consumed.messages",
    "counter",
    "{message}",
    "casts that were taken up; those of them that are not in the count of `messaging.process.duration`"
    " are in progress",
    *_TAKEN_UP,
)
_CALL = (RPC_SYSTEM, RPC_METHOD, ERROR_TYPE)
RPC_CLIENT_DURATION = _metric(
    "rpc.client.call.duration", "histogram", "s", "how long a call waited for its answer", *_CALL
)
RPC_SERVER_DURATION = _metric(
    "rpc.server.call.duration", "histogram", "s", "how long the handling of a call took", *_CALL
)
RPC_QUEUE_DURATION = _metric(
    QUEUE_DURATION, "histogram", "s", "how long a message waited for a worker", RPC_METHOD
)
RPC_CLOCK_SKEWS = _metric(
    "cinder.rpc.clock_skews",
    "counter",
    "{message}",
    "messages that came before they were sent, by the clocks: not among the waits",
    RPC_METHOD,
)
FLOW_DURATION = _metric(
    "taskflow.flow.duration", "histogram", "s", "how long a flow took", FLOW_NAME, FLOW_STATE
)
TASK_DURATION = _metric(
    "taskflow.task.duration",
    "histogram",
    "s",
    "how long a task took to execute or to revert",
    TASK_CLASS,
    TASK_STATE,
    FLOW_NAME,
)
RESOURCE_ERRORS = _metric(
    "cinder.resource.errors",
    "counter",
    "{resource}",
    "resources put into an error status, by the class of the reason",
    RESOURCE_TYPE,
    RESOURCE_STATUS,
    ERROR_TYPE,
)

# Our own health, by the names that OpenTelemetry has for its SDKs.
SPANS_STARTED = _metric(
    "otel.sdk.span.started", "counter", "{span}", "spans, sampled and not", SAMPLING_RESULT
)
SPANS_PROCESSED = _metric(
    "otel.sdk.processor.span.processed",
    "counter",
    "{span}",
    "sampled spans that ended; with `error.type=queue_full` those that were dropped",
    ERROR_TYPE,
)
SPANS_EXPORTED = _metric(
    "otel.sdk.exporter.span.exported",
    "counter",
    "{span}",
    "spans that were sent; with `error.type` those that could not be: an HTTP or gRPC status, "
    "`rejected` of a request that was taken, the class of an error",
    ERROR_TYPE,
)
QUEUE_SIZE = _metric(
    "otel.sdk.processor.span.queue.size", "updowncounter", "{span}", "spans that wait to be sent"
)
QUEUE_CAPACITY = _metric(
    "otel.sdk.processor.span.queue.capacity", "updowncounter", "{span}", "spans that may wait"
)
LOGS_PROCESSED = _metric(
    "otel.sdk.processor.log.processed",
    "counter",
    "{log_record}",
    "log records that were to be exported; with `error.type=queue_full` those that were dropped",
    ERROR_TYPE,
)
LOGS_EXPORTED = _metric(
    "otel.sdk.exporter.log.exported",
    "counter",
    "{log_record}",
    "log records that were sent; with `error.type`, as for spans, those that could not be",
    ERROR_TYPE,
)
SEAMS = _metric(
    "otel_cinder.seams", "gauge", "{place}", "patched places, by how they fare", SEAM, SEAM_STATE
)

_setting(settings.ENABLED, "`true` switches tracing on (default: off)")
_setting(
    settings.DISABLED_SEAMS,
    "comma-separated seams to leave alone: "
    + ", ".join(f"`{name}`" for name in settings.SEAMS)
    + " (default: none)",
)
_setting(
    settings.TRUST_INBOUND,
    "`true` lets an HTTP caller's `traceparent` decide the sampling (default: false)",
)
_setting(
    settings.PERIODIC,
    "`true` lets heartbeats and periodic messages start traces of their own (default: false)",
)
_setting(
    settings.TRACERESPONSE,
    "`false` leaves the `traceresponse` header out of the API's answers (default: true)",
)
_setting(
    settings.LOG_LEVEL,
    "from which level on log lines become events: `DEBUG`, `INFO`, `WARNING`, `ERROR`, `CRITICAL` "
    "or `OFF` (default: INFO); what Cinder itself does not log is not seen",
)
_setting(
    settings.RESULTS,
    "`values` shows what tasks return, secrets masked, and not only its keys (default: `keys`)",
)
_setting(
    settings.TEXTS,
    "`templates` records no free text, for who must be certain that no secret leaves: log lines as the "
    "templates as in the source, exceptions by class and place, commands by program, no "
    "paths of URLs, no results (default: `masked`, which records texts with their secrets masked, "
    "as far as they are known for secrets)",
)
_setting(
    settings.CLIENTS,
    "`true` traces outgoing HTTP (keystone, glance, nova) and SQL without its parameters, where it "
    "goes by PyMySQL; needs `pip install otel-cinder[clients]` (default: false)",
)
