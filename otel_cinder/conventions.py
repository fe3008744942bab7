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
"""Attribute name -> its meaning."""

SPANS: dict[str, str] = {}
"""Span name, with its variable parts in angle brackets -> its kind and the work that it covers."""

EVENTS: dict[str, str] = {}
"""Event name -> its meaning, and the span that has it."""

METRICS: dict[str, Metric] = {}
"""Metric name -> its instrument, unit, meaning and attributes."""

SETTINGS: dict[str, str] = {}
"""Environment variable -> its effect."""


class Metric(NamedTuple):
    """One instrument."""

    kind: str
    """``histogram``, ``counter``, ``updowncounter`` or ``gauge``."""
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
SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"
"""The semantic conventions that these names follow; sent with each resource and scope."""
"""The instrumentation scope of every span."""

HTTP_METHOD = http_attributes.HTTP_REQUEST_METHOD
HTTP_STATUS = http_attributes.HTTP_RESPONSE_STATUS_CODE
URL_SCHEME = url_attributes.URL_SCHEME
URL_PATH = url_attributes.URL_PATH

# The request. The contrib package for WSGI sets those of HTTP itself.
for _name, _meaning in {
    HTTP_METHOD: "`POST`",
    HTTP_STATUS: "`202`",
    URL_PATH: "the requested path, without the query string",
    URL_SCHEME: "`http` or `https`",
    server_attributes.SERVER_ADDRESS: "the host that the caller addressed",
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
        "only `host` and `user-agent`, if OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST "
        "names them",
    ),
    "http.response.header.": _attribute(
        "http.response.header.<name>",
        "the headers that OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_RESPONSE names, secrets "
        "masked",
    ),
}
"""Beginnings of names that a request's spans have by the contrib package's own settings."""
HTTP_ROUTE = _attribute(
    http_attributes.HTTP_ROUTE, "the matched route, a template: `/v3/{project_id}/volumes`"
)
REQUEST_ID = _attribute("openstack.request_id", "the `req-…` that Cinder logs and returns")
GLOBAL_REQUEST_ID = _attribute(
    "openstack.global_request_id", "the `req-…` of the service that called Cinder, such as Nova"
)
PROJECT_ID = _attribute("openstack.project_id", "the caller's project")
USER_ID = _attribute("openstack.user_id", "the user who sent the request")
ACTION = _attribute("cinder.action", "the action of a `POST …/action` request: `os-extend`")

# What was asked. On the span of the request or message, and so on each service's first span.
VOLUME_ID = _attribute("cinder.volume.id", "the volume that the operation is about")
VOLUME_SIZE = _attribute("cinder.volume.size", "the requested size, in GiB")
VOLUME_NEW_SIZE = _attribute("cinder.volume.new_size", "the size to extend the volume to, in GiB")
VOLUME_TYPE = _attribute(
    "cinder.volume.type", "the name of its type; the type's id if the name is not known"
)
VOLUME_NAME_LENGTH = _attribute(
    "cinder.volume.name_length",
    "the number of characters in its name; the name itself belongs to the tenant",
)
AVAILABILITY_ZONE = _attribute(
    "cinder.volume.availability_zone", "the availability zone that was requested or chosen"
)
SOURCE = _attribute(
    "cinder.volume.source", "what it is made from: `blank`, `image`, `snapshot`, `volume`, `backup`"
)
SOURCE_ID = _attribute(
    "cinder.volume.source_id", "the id of that image, snapshot, volume or backup"
)
HOST = _attribute(
    "cinder.volume.host", "where it is, once the scheduler has chosen: `host@backend#pool`"
)
SNAPSHOT_ID = _attribute("cinder.snapshot.id", "the snapshot that the operation is about")
BACKUP_ID = _attribute("cinder.backup.id", "the backup that the operation is about")
ATTACHMENT_ID = _attribute("cinder.attachment.id", "the attachment that the operation is about")
GROUP_ID = _attribute("cinder.group.id", "the group that the operation is about")
GROUP_SNAPSHOT_ID = _attribute(
    "cinder.group_snapshot.id", "the group snapshot that the operation is about"
)
INTERRUPTED = _attribute(
    "cinder.interrupted",
    "the status in which a service that ended left the resource: `creating`, `deleting`",
)
ATTEMPT = _attribute(
    "cinder.schedule.attempt",
    "the number of the attempt to find a backend, from 1; above 1, the volume was rescheduled",
)

# Flows and atoms
FLOW_NAME = _attribute("taskflow.flow.name", "the flow's name: `volume_create_api`")
FLOW_UUID = _attribute("taskflow.flow.uuid", "the flow's uuid, as in TaskFlow's log lines")
FLOW_STATE = _attribute("taskflow.flow.state", "the flow's final state: `SUCCESS`, `REVERTED`")
FLOW_STATES = _attribute("taskflow.flow.states", "the flow's states, in order")
FLOW_FAILED_TASK = _attribute(
    "taskflow.flow.failed_task",
    "the task that caused the flow to revert: `CreateVolumeFromSpecTask`",
)
TASK_NAME = _attribute("taskflow.task.name", "the task's full name, as in TaskFlow's log lines")
TASK_UUID = _attribute("taskflow.task.uuid", "the task's uuid, as in TaskFlow's log lines")
TASK_STATE = _attribute(
    "taskflow.task.state", "`SUCCESS`, `FAILURE`, `REVERTED` or `REVERT_FAILURE`"
)
TASK_PROVIDES = _attribute("taskflow.task.provides", "the keys of the task's results")
TASK_CLASS = _attribute(
    "taskflow.task.class", "in metrics: the task's class, which contains no id: `VolumeCastTask`"
)
TASK_RESULTS = _attribute(
    "taskflow.task.results",
    "the results as JSON, secrets masked; only with `OTEL_CINDER_RESULTS=values`",
)
RETRY_NAME = _attribute("taskflow.retry.name", "the retry controller's full name")
RETRY_UUID = _attribute("taskflow.retry.uuid", "the retry controller's uuid")
RETRY_STATE = _attribute(
    "taskflow.retry.state", "`SUCCESS`, `FAILURE`, `REVERTED` or `REVERT_FAILURE`"
)
RETRY_ATTEMPT = _attribute("taskflow.retry.attempt", "the number of the attempt, from 1")
# Spelled out: the constants of these three came with semantic-conventions 0.53b0, and Cinder 26's
# constraints pin 0.51b0.
CODE_FUNCTION = _attribute("code.function.name", "the function that did the work")
CODE_FILE = _attribute("code.file.path", "the file of that function, or of an exported log record")
CODE_LINE = _attribute(
    "code.line.number",
    "the line at which that function begins, or the line that wrote the log line",
)

# Messages
MESSAGING_SYSTEM = _attribute(
    "messaging.system",
    "the broker: `rabbitmq`, `kafka`, `fake`; `oslo.messaging` if it is not known",
)
MESSAGING_OPERATION_NAME = _attribute(
    "messaging.operation.name", "`cast`, `call`, `notify` or `process`"
)
MESSAGING_OPERATION_TYPE = _attribute("messaging.operation.type", "`send` or `process`")
MESSAGING_DESTINATION = _attribute(
    "messaging.destination.name", "where the message goes; for RabbitMQ, `exchange:routing key`"
)
MESSAGING_TEMPLATE = _attribute(
    "messaging.destination.template", "the destination without its host: `cinder-volume.{host}`"
)
MESSAGING_ROUTING_KEY = _attribute(
    "messaging.rabbitmq.destination.routing_key", "the routing key: `cinder-volume.host@lvm.host`"
)
MESSAGING_MESSAGE_ID = _attribute("messaging.message.id", "the id of the notification")
MESSAGING_BATCH = _attribute(
    "messaging.batch.message_count", "how many notifications the listener received at once"
)
# As opentelemetry-instrumentation-oslo-messaging calls them.
NOTIFICATION_EVENT = _attribute(
    "oslo_messaging.notification.event_type", "the notification's event: `volume.create.start`"
)
NOTIFICATION_PRIORITY = _attribute(
    "oslo_messaging.notification.priority", "the notification's priority: `INFO`, `ERROR`"
)
FANOUT = _attribute("cinder.rpc.fanout", "true if every server on the topic gets the message")
CAST_SPAN = _attribute(
    "cinder.rpc.cast.span_id",
    "the span id of the cast or notification that is handled, where that is not the parent: the "
    "collector pairs both by it",
)
RPC_SYSTEM = _attribute("rpc.system.name", "`oslo.messaging`")
RPC_METHOD = _attribute("rpc.method", "topic and method: `cinder-volume/initialize_connection`")
QUEUE_DURATION = _attribute(
    "cinder.rpc.queue.duration",
    "seconds that the message spent in the queue, from the send until a worker took it up. The "
    "time "
    "that the sender needed to reach the broker is part of the cast's duration instead",
)
CLOCK_SKEW = _attribute(
    "cinder.rpc.clock_skew",
    "seconds by which the sender's clock is ahead: the wait in the queue would be negative",
)

# Drivers, commands and images
BACKEND = _attribute("cinder.backend", "the backend's name: `lvmdriver-1`")
COMMAND = _attribute("process.executable.name", "the program: `lvcreate`")
COMMAND_LINE = _attribute(
    "process.command_line", "the program with its arguments, secrets masked, cut to a limit"
)
EXIT_CODE = _attribute(
    "process.exit.code",
    "the program's exit code. A code other than 0 does not make the span an error. Over SSH, it is "
    "known only for a program that failed",
)
IMAGE_ID = _attribute("cinder.image.id", "the image")
IMAGE_BYTES = _attribute("cinder.image.bytes", "the bytes that were downloaded or written")
IMAGE_FORMAT = _attribute("cinder.image.format", "the format that the image is converted to: `raw`")

# Outgoing HTTP and SQL, where it is switched on
for _name, _meaning in {
    "db.system.name": "`mysql`",
    "db.namespace": "the database",
    "db.query.summary": "`INSERT volumes`",
    "db.query.text": "the statement, its literals replaced by `?`, at most 1024 characters",
    "db.response.status_code": "the error number that the server returned: `1062`",
    "url.full": "the requested URL, without credentials and query string",
}.items():
    _attribute(_name, _meaning)

# Failures
ERROR_TYPE = _attribute(
    error_attributes.ERROR_TYPE,
    "the error's class; for a remote error, the class that was raised there; `ServiceStopped` if the "
    "process ended before the span",
)
STOPPED = "ServiceStopped"
"""``error.type`` of spans that were open when their process ended."""
EXCEPTION_TYPE = _attribute(
    exception_attributes.EXCEPTION_TYPE, "the exception's class, with its module"
)
EXCEPTION_MESSAGE = _attribute(
    exception_attributes.EXCEPTION_MESSAGE,
    "the exception's message, secrets masked, at most 512 characters",
)
EXCEPTION_STACKTRACE = _attribute(
    exception_attributes.EXCEPTION_STACKTRACE,
    "the exception's frames, without its message; before them, the frames, classes and messages of "
    "its causes",
)
CAUSE = _attribute(
    "cinder.cause",
    "the exceptions that caused this one, the nearest first, at most 8: "
    "`FileNotFoundError: [Errno 2] …`; secrets masked, at most 256 characters each",
)
EXCEPTION_EVENT = _event("exception", "an exception was raised through this span")
RESOURCE_TYPE = _attribute(
    "cinder.resource.type",
    "`volume`, `snapshot`, `backup`, `group`, `group_snapshot`; `service` for a whole backend",
)
RESOURCE_ID = _attribute(
    "cinder.resource.id", "the resource that was set to an error status; for a service, its host"
)
RESOURCE_STATUS = _attribute(
    "cinder.resource.status",
    "that status: `error`, `error_deleting`. `migration_error`: a migration failed. `unsaved`: the "
    "database did not accept the new status. Where Cinder could not schedule the work, or not "
    "delete "
    "a resource that is in use, the status that Cinder restored",
)
REASON = _attribute("cinder.reason", "the reason, secrets masked, at most 512 characters")
MESSAGE_ACTION = _attribute(
    "cinder.user_message.action", "the action that it is about: `schedule allocate volume`"
)
MESSAGE_DETAIL_ID = _attribute(
    "cinder.user_message.detail_id", "Cinder's number for the detail: `002`"
)
MESSAGE_TEXT = _attribute("cinder.user_message.text", "the text of the message")
MESSAGE_LEVEL = _attribute("cinder.user_message.level", "`ERROR`")
RESOURCE_ERROR_EVENT = _event(
    "cinder.resource.error",
    "Cinder set a resource to an error status; an exception need not have been raised. The event "
    "is on "
    "the current span and on the message's local root span, and makes both errors. If the message "
    "is "
    "about another resource, it is on the current span alone, which does not become an error",
)
USER_MESSAGE_EVENT = _event(
    "cinder.user_message",
    "Cinder left the user a message (`cinder message-list`); on the same spans",
)
RESCHEDULE_EVENT = _event(
    "cinder.reschedule",
    "Cinder gave this backend up and asked the scheduler for another. The event is on the "
    "reverting "
    "task and on the message's local root span, and makes both errors",
)

# Scheduling
FILTER = _attribute("cinder.scheduler.filter", "the filter's class: `CapacityFilter`")
HOSTS_BEFORE = _attribute(
    "cinder.scheduler.hosts_before", "the number of backends before the filter"
)
HOSTS_AFTER = _attribute("cinder.scheduler.hosts_after", "the number of backends that passed it")
HOSTS_REJECTED = _attribute(
    "cinder.scheduler.hosts_rejected",
    "the backends that did not pass, at most 16: `host@backend#pool`",
)
WEIGHT = _attribute(
    "cinder.scheduler.weight",
    "the weight of the chosen backend; each weigher adds at most 1. Left out if it is infinite or "
    "NaN",
)
FILTER_EVENT = _event(
    "cinder.scheduler.filter", "one filter's verdict; on the task or message that schedules"
)
CHOICE_EVENT = _event("cinder.scheduler.choice", "the scheduler chose this backend, by its weight")

# Log lines
LOG_MESSAGE = _attribute("log.message", "the log line, secrets masked, at most 512 characters")
LOG_LEVEL = _attribute("log.level", "`INFO`, `WARNING`, `ERROR`")
LOG_LOGGER = _attribute("log.logger", "the logger: `cinder.volume.manager`")
LOG_SOURCE = _attribute("log.source", "file and line that wrote it: `manager.py:817`")
LOG_REASON = _attribute(
    "log.reason",
    "the exception that was logged, or being handled at a line of WARNING or above, and its causes, "
    "the nearest first, each with its class and message",
)
LOG_RESOURCE = _attribute(
    "log.resource", "what the line is about, if it says so: `volume-<id>`, as in Cinder's log"
)
LOG_DROPPED = _attribute(
    "log.dropped",
    "the number of lines that were left out: a span keeps 64, then 16 more at WARNING or above, "
    "then 16 more at ERROR or above",
)
LOG_DROPPED_WARNINGS = _attribute(
    "log.dropped.warnings", "how many of these were at WARNING or above"
)
LOG_EVENT = _event("log", "a log line was written while the span was current")

# What has not ended
STILL_RUNNING = _attribute(
    "cinder.still_running",
    "`true` on a still-running span: its work had not ended when it was sent; its duration is "
    "the age at that moment",
)
OPEN_SPANS = _attribute(
    "cinder.still_running.spans",
    "names of the open spans in this service, one in the other, from the request or message inwards",
)
OPEN_SECONDS = _attribute(
    "cinder.still_running.seconds", "for how many seconds each of these is open"
)
TASKS_DONE = _attribute("cinder.still_running.tasks_done", "tasks of the flow that have succeeded")
TASKS_TO_COME = _attribute(
    "cinder.still_running.tasks_to_come", "tasks of the flow that have not begun"
)
WAITS_FOR = _attribute(
    "cinder.still_running.waits_for",
    "whose answer is waited for: `cinder-volume/initialize_connection (openstack:cinder-volume.host)`",
)
BLOCKS_HUB = _attribute(
    "cinder.still_running.blocks_hub",
    "`true`: the work blocks eventlet's hub, so every other request of this process waits for it",
)
STACKTRACE = _attribute(
    "code.stacktrace",
    "the frames of the working thread or greenthread, the innermost first, at most 32: file, line "
    "and function, no values",
)

# The resource
SERVICE_NAME = _attribute(
    service_attributes.SERVICE_NAME,
    "`cinder-api`, `cinder-scheduler`, `cinder-volume`, `cinder-backup`",
)
SERVICE_VERSION = _attribute(service_attributes.SERVICE_VERSION, "Cinder's version")
SERVICE_NAMESPACE = _attribute("service.namespace", "`cinder`")
SERVICE_INSTANCE = _attribute(
    "service.instance.id",
    "the manager's host (`host@backend`), or the machine, or both where they differ. A number is "
    "added "
    "if another process already has that id. It stays the same after a restart",
)

SDK_LANGUAGE = _attribute(telemetry_attributes.TELEMETRY_SDK_LANGUAGE, "`python`")
SDK_NAME = _attribute(telemetry_attributes.TELEMETRY_SDK_NAME, "`opentelemetry`")
SDK_VERSION = _attribute(
    telemetry_attributes.TELEMETRY_SDK_VERSION, "the version of opentelemetry-sdk"
)

OVERFLOW = _attribute(
    "otel.metric.overflow", "`true`: the series that collects everything beyond 2000 attribute sets"
)
SAMPLING_RESULT = _attribute("otel.span.sampling_result", "`DROP` or `RECORD_AND_SAMPLE`")
SEAM = _attribute("otel_cinder.seam", "the seam, a group of patched places: `rpc`")
SEAM_STATE = _attribute(
    "otel_cinder.seam.state",
    "`on`, `skipped` (it does not fit this version) or `waiting` (for a module that is not "
    "imported)",
)

WITHOUT_TEXT = (
    # Numbers, and true or false.
    HTTP_STATUS,
    server_attributes.SERVER_PORT,
    client_attributes.CLIENT_PORT,
    VOLUME_SIZE,
    VOLUME_NEW_SIZE,
    VOLUME_NAME_LENGTH,
    ATTEMPT,
    RETRY_ATTEMPT,
    CODE_LINE,
    MESSAGING_BATCH,
    FANOUT,
    QUEUE_DURATION,
    CLOCK_SKEW,
    EXIT_CODE,
    IMAGE_BYTES,
    HOSTS_BEFORE,
    HOSTS_AFTER,
    WEIGHT,
    LOG_DROPPED,
    LOG_DROPPED_WARNINGS,
    STILL_RUNNING,
    OPEN_SECONDS,
    BLOCKS_HUB,
    OVERFLOW,
    # One of a few words.
    URL_SCHEME,
    SOURCE,
    FLOW_STATE,
    FLOW_STATES,
    TASK_STATE,
    RETRY_STATE,
    MESSAGING_SYSTEM,
    MESSAGING_OPERATION_NAME,
    MESSAGING_OPERATION_TYPE,
    RPC_SYSTEM,
    LOG_LEVEL,
    RESOURCE_TYPE,
    SAMPLING_RESULT,
    SEAM,
    SEAM_STATE,
    # Names in source code: of a class, a function, a file, a route, a message.
    HTTP_ROUTE,
    FLOW_NAME,
    FLOW_FAILED_TASK,
    TASK_NAME,
    TASK_CLASS,
    TASK_PROVIDES,
    RETRY_NAME,
    CODE_FUNCTION,
    CODE_FILE,
    RPC_METHOD,
    ERROR_TYPE,
    EXCEPTION_TYPE,
    FILTER,
    LOG_LOGGER,
    # Ids that Keystone, oslo.middleware and TaskFlow make.
    PROJECT_ID,
    USER_ID,
    REQUEST_ID,
    FLOW_UUID,
    TASK_UUID,
    RETRY_UUID,
    # Services, their hosts and backends.
    MESSAGING_DESTINATION,
    MESSAGING_TEMPLATE,
    MESSAGING_ROUTING_KEY,
    HOST,
    BACKEND,
    SERVICE_NAME,
    SERVICE_VERSION,
    SERVICE_NAMESPACE,
    SERVICE_INSTANCE,
    SDK_LANGUAGE,
    SDK_NAME,
    SDK_VERSION,
)
"""Attributes that the collector's redaction passes over: neither a caller, nor a command, nor an
exception chooses what is in them. A new attribute is looked at until it is on this list."""

_span("<METHOD> <route>", "SERVER, a request to the API: `POST /v3/{project_id}/volumes`")
_span("<flow>", "INTERNAL, one run of a TaskFlow flow: `volume_create_api`")
_span("<Task>", "INTERNAL, one task while it executes: `QuotaReserveTask`")
_span("revert <Task>", "INTERNAL, one task while it reverts")
_span("retry <Retry>", "INTERNAL, one attempt of a retry controller")
_span("revert retry <Retry>", "INTERNAL, a retry controller while it reverts")
_span(
    "cast <topic>/<method>",
    "PRODUCER, a message that is sent without waiting for an answer. If the message names no "
    "method, "
    "the name has only the topic, here and below",
)
_span(
    "process <topic>/<method>",
    "CONSUMER, the handling of a cast: below the request or message in which it was sent, linked to "
    "the cast",
)
_span(
    "notify <topic>/<event>",
    "PRODUCER, a notification that is sent: `notify notifications/volume.create.start`. Its "
    "payload is "
    "not recorded. Cinder sends notifications only if `[oslo_messaging_notifications] driver` "
    "names a "
    "driver that sends",
)
_span(
    "process <topic>/<event>",
    "CONSUMER, the handling of a notification by a listener in which otel-cinder is on. A batch of "
    "several is `process <topic>`, with a link to each producer",
)
_span(
    "<topic>/<method>",
    "CLIENT, a call that waits for its answer; SERVER, the handling of that call",
)
_span(
    "<Driver>.<method>",
    "INTERNAL, a call of the manager on its driver: `LVMVolumeDriver.create_volume`",
)
_span("execute <program>", "INTERNAL, a command: `execute lvcreate`")
_span("privsep <function>", "INTERNAL, a function in the privileged daemon: `privsep umount`")
_span("download image", "INTERNAL, the download of an image from Glance to a file")
_span("convert image", "INTERNAL, `qemu-img convert`")
_span("upload image", "INTERNAL, the upload of a volume to Glance")
_span(
    "clean up <resource>",
    "INTERNAL, a service cleans up interrupted work on a volume, snapshot or backup, at its start "
    "or "
    "when it is asked to: it finishes a deletion, or sets the resource to error",
)
_span("migrate key of <resource>", "INTERNAL, a volume or backup gets an encryption key of its own")
_span(
    "set <resource> to error",
    "INTERNAL, a service sets a resource to an error status at its start, where nothing else is "
    "traced",
)
_span(
    "<METHOD>",
    "CLIENT, a request to Keystone, Glance or Nova; SERVER, a request to the API that matched no "
    "route",
)
_span(
    "still running <name>",
    "INTERNAL, a span that is open for OTEL_CINDER_STILL_RUNNING seconds, told while it is open: below "
    "its nearest ancestor that has ended, or the message's cast, linked to the open span. It comes "
    "again after 30 s, 2 min, 10 min and each hour. Not told once the span itself has ended",
)
_span("<VERB> <table>", "CLIENT, an SQL statement: `INSERT volumes`")
_span("<VERB>", "CLIENT, an SQL statement without a table: `SHOW`")

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
    "how long it took to hand a cast or a notification to the broker",
    *_SENT,
)
MESSAGING_SENT = _metric(
    "messaging.client.sent.messages",
    "counter",
    "{message}",
    "casts and notifications that were sent; notifications have no `rpc.method`",
    *_SENT,
)
MESSAGING_PROCESS_DURATION = _metric(
    "messaging.process.duration", "histogram", "s", "how long the handling of a cast took", *_SENT
)
MESSAGING_CONSUMED = _metric(
    "messaging.client.consumed.messages",
    "counter",
    "{message}",
    "casts that a worker took up. Minus the count of `messaging.process.duration`, it is the "
    "number in "
    "progress",
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
    "messages that arrived before they were sent, by the two hosts' clocks; they are not counted "
    "as waits",
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
    "resources that were set to an error status, by the class of the reason",
    RESOURCE_TYPE,
    RESOURCE_STATUS,
    ERROR_TYPE,
)

# What has not ended, as it is at each collection.
OPEN_OPERATIONS = _metric(
    "cinder.open.operations",
    "updowncounter",
    "{operation}",
    "requests and messages in progress; an action's name is not known before it ends",
    HTTP_METHOD,
    HTTP_ROUTE,
    ACTION,
    RPC_METHOD,
)
OLDEST_OPERATION = _metric(
    "cinder.open.operations.oldest",
    "gauge",
    "s",
    "for how long the oldest of these has been in progress; 0: there is none",
    HTTP_METHOD,
    HTTP_ROUTE,
    ACTION,
    RPC_METHOD,
)
OPEN_DRIVER_CALLS = _metric(
    "cinder.open.driver_calls",
    "updowncounter",
    "{call}",
    "calls on drivers that have not returned",
    CODE_FUNCTION,
)
OLDEST_DRIVER_CALL = _metric(
    "cinder.open.driver_calls.oldest",
    "gauge",
    "s",
    "for how long the oldest of these has run; 0: there is none",
    CODE_FUNCTION,
)
STILL_RUNNING_LEFT_OUT = _metric(
    "otel_cinder.still_running.left_out",
    "counter",
    "{span}",
    "still-running spans that were not sent, because one request had more than 16 at a time",
)

# Our own health, by the names that OpenTelemetry has for its SDKs.
SPANS_STARTED = _metric(
    "otel.sdk.span.started",
    "counter",
    "{span}",
    "spans that were started, sampled or not",
    SAMPLING_RESULT,
)
SPANS_PROCESSED = _metric(
    "otel.sdk.processor.span.processed",
    "counter",
    "{span}",
    "sampled spans that ended; with `error.type=queue_full`, spans that were dropped",
    ERROR_TYPE,
)
SPANS_EXPORTED = _metric(
    "otel.sdk.exporter.span.exported",
    "counter",
    "{span}",
    "spans that were sent; with `error.type`, spans that could not be sent. `error.type` is an "
    "HTTP or "
    "gRPC status, the class of an error, or `rejected` for spans that the collector rejected in a "
    "request that it accepted",
    ERROR_TYPE,
)
QUEUE_SIZE = _metric(
    "otel.sdk.processor.span.queue.size", "updowncounter", "{span}", "spans that wait to be sent"
)
QUEUE_CAPACITY = _metric(
    "otel.sdk.processor.span.queue.capacity",
    "updowncounter",
    "{span}",
    "spans that the queue can hold",
)
LOGS_PROCESSED = _metric(
    "otel.sdk.processor.log.processed",
    "counter",
    "{log_record}",
    "log records to export; with `error.type=queue_full`, records that were dropped",
    ERROR_TYPE,
)
LOGS_EXPORTED = _metric(
    "otel.sdk.exporter.log.exported",
    "counter",
    "{log_record}",
    "log records that were sent; with `error.type`, as for spans, records that could not be sent",
    ERROR_TYPE,
)
SEAMS = _metric(
    "otel_cinder.seams", "gauge", "{place}", "places to patch, by their state", SEAM, SEAM_STATE
)

_setting(settings.ENABLED, "`true` switches tracing on (default: off)")
_setting(
    settings.DISABLED_SEAMS,
    "the seams that are not patched, separated by commas: "
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
    "the lowest level at which log lines become events: `DEBUG`, `INFO`, `WARNING`, `ERROR`, "
    "`CRITICAL` "
    "or `OFF` (default: INFO). A line that Cinder itself does not log is not recorded either. "
    "TaskFlow's lines about the states of tasks and flows repeat the spans: they become events only "
    "at `DEBUG`",
)
_setting(
    settings.RESULTS,
    "`values` records what tasks return, secrets masked; `keys` only the keys (default: `keys`)",
)
_setting(
    settings.TEXTS,
    "`templates` records no free text, if you must be certain that no secret leaves: log lines "
    "become "
    "the templates in the source, exceptions their class and place, commands their program. Paths "
    "of "
    "URLs and results are left out. `masked` records texts, and masks the secrets that it "
    "recognizes "
    "(default: `masked`)",
)
_setting(
    settings.STILL_RUNNING,
    "after how many seconds a request or message that has not ended is shown in its trace, as a span "
    "`still running …`; `off` shows what has ended only (default: 10)",
)
_setting(
    settings.MESSAGE_PARENT,
    "`cast` makes the handling of a message a child of its cast, for a backend that pairs both by "
    "parent. With `local_root` it is a child of the request or message in which the cast was sent, "
    "and links to the cast. Obeyed by the service that handles the message (default: `local_root`)",
)
_setting(
    settings.CLIENTS,
    "`true` traces outgoing HTTP (Keystone, Glance, Nova), and SQL through PyMySQL without its "
    "parameters; needs `pip install otel-cinder[clients]` (default: false)",
)
_setting(
    settings.QUERY_HEADERS,
    "not for services: the headers, such as a token or a tenant, that `otel-cinder show`, `report` and "
    "`run` send to Jaeger or Tempo: `authorization=Bearer%20TOKEN,x-scope-orgid=TENANT`, as "
    "`OTEL_EXPORTER_OTLP_HEADERS` is written; `--header` prevails (default: none)",
)
