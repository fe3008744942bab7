"""The last line of defence: what no span, event, metric or log record may carry any further."""

import os
import re
from collections.abc import Iterator

import pytest

from otel_cinder import conventions
from tests.integration.processes import wait_until
from tests.pipeline.certificates import loopback
from tests.pipeline.otlp import Client, Sink, gauge, record, span
from tests.pipeline.programs import CHECKOUT, Collector

PLANTED = "0planted0"  # part of every secret
# Attributes whose names say that the value is a secret, whatever it looks like.
NAMES = (
    *("auth_token", "X-Auth-Token", "http.request.header.authorization", "user.password"),
    *("adminPass", "DB_PASSWORD", "client.secret", "chap.user", "node.session.auth.username"),
    *("connection_info", "cinder.connection_info.data", "http.request.header.cookie"),
    *("passphrase", "encryption.passphrase", "db.pwd", "access_key", "api_key", "ceph.keyring"),
    *("ssh.private_key", "server.user_data", "clientSecret", "Credential", "secret_access_key"),
)
# Secrets that look like what they are, within other text.
SHAPES = (
    f"token is gAAAAABm{PLANTED}abcdefghijklmnop== or so",
    f"got eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI{PLANTED}.c2ln{PLANTED}",
    f"Authorization: Bearer {PLANTED}.abc/def+0=",
    f"rabbit://cinder:{PLANTED}@192.0.2.1:5672/",
    f"-----BEGIN RSA PRIVATE KEY-----\n{PLANTED}\n{PLANTED}\n-----END RSA PRIVATE KEY-----",
    f"cut off: -----BEGIN PRIVATE KEY-----\n{PLANTED}",
)
# Secrets that their surroundings tell, in texts but not in names.
TOLD = (
    f"Authorization: Basic YWRtaW46{PLANTED}Zg==",
    f"key = AQ{PLANTED}{'a' * 29}==",
    f"rabbit://one:gone@192.0.2.1:5672,two:{PLANTED}@192.0.2.2:5672//",
    f"X-Auth-Token: {PLANTED}0123456789abcdef",
    f"auth_password = {PLANTED}, lun 3",
    f"{{'auth_password': '{PLANTED}', 'lun': 3}}",
    f'{{"client_secret": "{PLANTED}"}}',
    f"OS_PASSWORD={PLANTED} OS_USERNAME=admin cinder list",
)


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    """A sink behind the collector instead of a Jaeger, to see the exported data."""
    sink = Sink()
    sink.start()
    yield sink
    sink.stop()


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory, sink: Sink) -> Iterator[Collector]:
    """The collector for one host."""
    folder = tmp_path_factory.mktemp("redaction")
    collector = Collector("all-in-one", folder, JAEGER_ENDPOINT=sink.address)
    try:
        collector.start()
        yield collector
    finally:
        collector.kill()


@pytest.fixture(scope="module")
def one_host(collector: Collector) -> Iterator[Client]:
    """A client of it."""
    client = Client(collector.otlp_grpc)
    yield client
    client.close()


def test_secrets_reach_no_store(one_host: Client, sink: Sink) -> None:
    """Secrets by name and by shape are masked in names, attributes, lists, events and statuses."""
    trace_id = os.urandom(16)
    named = dict.fromkeys(NAMES, PLANTED)
    texts = (*SHAPES, *TOLD)
    for number, text in enumerate(texts):
        name = text if text in SHAPES else SHAPES[0]
        one_host.send(
            span(
                trace_id,
                f"name {name}",
                error=text,
                text=text,
                texts=["other", text],
                events=[{"log.message": text, **named}],
                event_name=f"event {name}",
                number=number,
                **named,
            )
        )
    wait_until(lambda: len(_of(sink, trace_id)) == len(texts), 30, "the spans")
    for arrived in _of(sink, trace_id):
        assert PLANTED not in repr(arrived)
        assert "****" in arrived.name
        assert "****" in arrived.events[0].name
        assert "****" in arrived.status_message
        assert "****" in arrived.attributes["text"]
        assert {arrived.attributes[name] for name in NAMES} == {"****"}


def test_what_is_ours_passes_unharmed(one_host: Client, sink: Sink) -> None:
    """Every attribute on the list in the docs keeps its value, even a long text with ids and paths."""
    text = (
        "Authorization failed for req-0e5f6c1a-9a7e-4c41-8a5c-0a1d2f3b4c5d: see "
        "/v3/c1de0000000000000000000000000001/volumes, http://192.0.2.1:8776/v3 and user@example.org"
    )
    ours = dict.fromkeys(conventions.ATTRIBUTES, text)
    trace_id = os.urandom(16)
    one_host.send(span(trace_id, error=text, events=[ours], **ours))
    wait_until(lambda: len(_of(sink, trace_id)) == 1, 30, "the span")
    (arrived,) = _of(sink, trace_id)
    assert arrived.status_message == text
    assert arrived.attributes == ours
    assert arrived.events[0].attributes == ours


def test_each_text_of_ours_is_looked_at(one_host: Client, sink: Sink) -> None:
    """A secret is masked in every attribute on the list in the docs but those without text."""
    trace_id = os.urandom(16)
    texts = dict.fromkeys(set(conventions.ATTRIBUTES) - set(conventions.WITHOUT_TEXT), SHAPES[0])
    one_host.send(span(trace_id, events=[texts], **texts))
    wait_until(lambda: len(_of(sink, trace_id)) == 1, 30, "the span")
    (arrived,) = _of(sink, trace_id)
    for attributes in (arrived.attributes, arrived.events[0].attributes):
        assert [name for name, value in attributes.items() if PLANTED in value] == []
        assert set(attributes) == set(texts)


def test_secrets_in_metrics_reach_no_store(one_host: Client, collector: Collector) -> None:
    """Attributes of metrics are masked, and those of ours pass unharmed, values and names alike."""
    text = "RPC call cinder-scheduler/create_volume, lvm@one#pool: 3"
    texts = (*SHAPES, *TOLD)
    for number, secret in enumerate(texts):
        planted = {"text": secret, **dict.fromkeys(NAMES, PLANTED)}
        one_host.export_metrics(gauge(f"planted.{number}", planted, resource=planted))
    for name, ours in conventions.METRICS.items():
        one_host.export_metrics(gauge(f"passed.{name}", dict.fromkeys(ours.attributes, text)))

    def series(prefix: str) -> list[str]:
        return [line for line in collector.exported().splitlines() if line.startswith(prefix)]

    wait_until(lambda: len(series("planted_")) == len(texts), 30, "what has secrets")
    wait_until(lambda: len(series("passed_")) == len(conventions.METRICS), 30, "what is ours")
    assert PLANTED not in collector.exported()
    for line in series("planted_"):
        assert line.count('="****"') >= len(NAMES)
        assert re.search(r'[{,]text="(?:[^"\\]|\\.)*\*{4}', line)
    for name, ours in conventions.METRICS.items():
        (line,) = series(f"passed_{name.replace('.', '_')}{{")
        assert line.count(f'="{text}"') == len(ours.attributes)


def test_secrets_in_log_records_reach_no_store(tmp_path) -> None:
    """The agent masks log records, in attributes and bodies, before they leave the host."""
    certificates = loopback(tmp_path)
    sink = Sink(certificates)
    sink.start()
    gateway = Collector("gateway", tmp_path, certificates=certificates, LOGS_ENDPOINT=sink.address)
    gateway.configurations.append(CHECKOUT / "collector" / "gateway-logs.yaml")
    gateway.settings["GATEWAY_PEERS"] = f"[{gateway.peer}]"
    agent = Collector(
        "agent", tmp_path, certificates=certificates, GATEWAY_ENDPOINT=gateway.otlp_grpc
    )
    client = Client(agent.otlp_grpc)
    try:
        gateway.start()
        agent.start()
        texts = (*SHAPES, *TOLD)
        for text in texts:
            client.export_logs(record(text, text=text, **dict.fromkeys(NAMES, PLANTED)))
        masked = len(texts) * (2 + len(NAMES))
        wait_until(lambda: repr(sink.logs).count("****") >= masked, 30, "the log records")
        arrived = repr(sink.logs)
        assert PLANTED not in arrived
    finally:
        client.close()
        agent.kill()
        gateway.kill()
        sink.stop()


def _of(sink: Sink, trace_id: bytes):
    return [each for each in sink.spans() if each.trace_id == trace_id.hex()]
