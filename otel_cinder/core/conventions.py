"""Every span, attribute and setting name, with one line of meaning each.

Names that OpenTelemetry has fixed come from its semantic conventions (1.44); stable ones are
imported, those in development are spelled out because their Python constants move between
releases. The ``openstack.*`` names are those that oslo.messaging's and oslo.middleware's own
tracing emit; the ``taskflow.*`` and ``cinder.*`` names are this project's.
"""

from __future__ import annotations

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

from otel_cinder.core import settings

ATTRIBUTES: dict[str, str] = {}
"""Attribute name -> what it says."""

SPANS: dict[str, str] = {}
"""Span name, with its variable parts in angle brackets -> kind and what it covers."""

SETTINGS: dict[str, str] = {}
"""Environment variable -> what it sets."""


def _attribute(name: str, meaning: str) -> str:
    ATTRIBUTES[name] = meaning
    return name


def _span(name: str, meaning: str) -> None:
    SPANS[name] = meaning


def _setting(name: str, meaning: str) -> None:
    SETTINGS[name] = meaning


SCOPE = "otel_cinder"
"""The instrumentation scope of every span."""

# The request. The contrib package for WSGI sets those of HTTP itself.
for _name, _meaning in {
    http_attributes.HTTP_REQUEST_METHOD: "`POST`",
    http_attributes.HTTP_RESPONSE_STATUS_CODE: "`202`",
    url_attributes.URL_PATH: "the path as it was asked for, without the query string",
    url_attributes.URL_SCHEME: "`http` or `https`",
    server_attributes.SERVER_ADDRESS: "the host that the caller named",
    server_attributes.SERVER_PORT: "the port that the API listens on",
    client_attributes.CLIENT_ADDRESS: "the caller's address, or the proxy's",
    client_attributes.CLIENT_PORT: "the caller's port, or the proxy's",
    network_attributes.NETWORK_PROTOCOL_VERSION: "`1.1`",
    user_agent_attributes.USER_AGENT_ORIGINAL: "the caller's program",
}.items():
    _attribute(_name, _meaning)
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

# Flows and atoms
FLOW_NAME = _attribute("taskflow.flow.name", "the flow's name: `volume_create_api`")
FLOW_UUID = _attribute("taskflow.flow.uuid", "the flow's uuid, as in TaskFlow's log lines")
FLOW_STATE = _attribute("taskflow.flow.state", "the state the flow ended in: `SUCCESS`, `REVERTED`")
FLOW_STATES = _attribute("taskflow.flow.states", "the states the flow went through, in order")
TASK_NAME = _attribute("taskflow.task.name", "the task's full name, as in TaskFlow's log lines")
TASK_UUID = _attribute("taskflow.task.uuid", "the task's uuid, as in TaskFlow's log lines")
TASK_STATE = _attribute(
    "taskflow.task.state", "`SUCCESS`, `FAILURE`, `REVERTED` or `REVERT_FAILURE`"
)
TASK_PROVIDES = _attribute("taskflow.task.provides", "the keys of the results that it provides")
RETRY_NAME = _attribute("taskflow.retry.name", "the retry controller's full name")
RETRY_UUID = _attribute("taskflow.retry.uuid", "the retry controller's uuid")
RETRY_STATE = _attribute(
    "taskflow.retry.state", "`SUCCESS`, `FAILURE`, `REVERTED` or `REVERT_FAILURE`"
)
RETRY_ATTEMPT = _attribute("taskflow.retry.attempt", "which attempt this is, from 1")
CODE_FUNCTION = _attribute("code.function.name", "the function that did the work")

# Messages
MESSAGING_SYSTEM = _attribute("messaging.system", "the real broker: `rabbitmq`, `kafka`, `fake`")
MESSAGING_OPERATION_NAME = _attribute("messaging.operation.name", "`cast`, `call` or `process`")
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
FANOUT = _attribute("cinder.rpc.fanout", "true when every server on the topic gets the message")
RPC_SYSTEM = _attribute("rpc.system.name", "`oslo.messaging`")
RPC_METHOD = _attribute("rpc.method", "topic and method: `cinder-volume/initialize_connection`")
QUEUE_DURATION = _attribute(
    "cinder.rpc.queue.duration", "seconds from the send until a worker took the message up"
)
CLOCK_SKEW = _attribute(
    "cinder.rpc.clock_skew",
    "seconds by which the sender's clock is ahead, seen as a negative wait in the queue",
)

# Failures
ERROR_TYPE = _attribute(error_attributes.ERROR_TYPE, "class of the error; remote ones as raised")
EXCEPTION_TYPE = _attribute(exception_attributes.EXCEPTION_TYPE, "class, with its module")
EXCEPTION_MESSAGE = _attribute(
    exception_attributes.EXCEPTION_MESSAGE, "message, with secrets masked, at most 512 characters"
)
EXCEPTION_STACKTRACE = _attribute(
    exception_attributes.EXCEPTION_STACKTRACE, "the frames, without the message"
)
EXCEPTION_EVENT = "exception"

# The resource
SERVICE_NAME = _attribute(
    service_attributes.SERVICE_NAME,
    "`cinder-api`, `cinder-scheduler`, `cinder-volume`, `cinder-backup`",
)
SERVICE_VERSION = _attribute(service_attributes.SERVICE_VERSION, "Cinder's version")
SERVICE_NAMESPACE = _attribute("service.namespace", "`cinder`")
SERVICE_INSTANCE = _attribute(
    "service.instance.id", "host, backend and worker; differs between workers"
)

SDK_LANGUAGE = _attribute(telemetry_attributes.TELEMETRY_SDK_LANGUAGE, "`python`")
SDK_NAME = _attribute(telemetry_attributes.TELEMETRY_SDK_NAME, "`opentelemetry`")
SDK_VERSION = _attribute(telemetry_attributes.TELEMETRY_SDK_VERSION, "of opentelemetry-sdk")

_span("<METHOD> <route>", "SERVER, one request to the API: `POST /v3/{project_id}/volumes`")
_span("<flow>", "INTERNAL, one run of a TaskFlow flow: `volume_create_api`")
_span("<Task>", "INTERNAL, one task while it executes: `QuotaReserveTask`")
_span("revert <Task>", "INTERNAL, one task while it reverts")
_span("retry <Retry>", "INTERNAL, one attempt of a retry controller")
_span("revert retry <Retry>", "INTERNAL, a retry controller while it reverts")
_span("cast <topic>/<method>", "PRODUCER, a message sent without waiting for an answer")
_span("process <topic>/<method>", "CONSUMER, the handling of a cast")
_span("<topic>/<method>", "CLIENT where the call waits for its answer, SERVER where it is handled")

_setting(settings.ENABLED, "`true` switches tracing on (default: off)")
_setting(
    settings.DISABLED_SEAMS,
    "comma-separated seams to leave alone: `http`, `flows`, `rpc`, `concurrency` (default: none)",
)
_setting(
    settings.TRUST_INBOUND,
    "`true` lets an HTTP caller's `traceparent` decide the sampling (default: false)",
)
_setting(
    settings.PERIODIC,
    "`true` lets heartbeats and periodic messages start traces of their own (default: false)",
)
