"""Who may talk to whom, where data leaves a host: those with a certificate of one authority."""

import os
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import requests

from tests.integration.processes import wait_until
from tests.pipeline.certificates import BOTH, LOOPBACK, Authority, Certificates
from tests.pipeline.otlp import Client, span
from tests.pipeline.programs import HTTP, Collector, Jaeger


class Place:
    """A gateway and a Jaeger, and the certificates of whoever comes."""

    def __init__(self, folder: Path) -> None:
        ours, theirs = Authority(folder / "ours"), Authority(folder / "theirs")
        both = ours.issue("loopback", LOOPBACK, BOTH)
        self.right = ours.issue("node", "DNS:node", "clientAuth")
        self.none = Certificates(folder / "nobody")
        self.none.folder.mkdir()
        self.none.ca.write_bytes(both.ca.read_bytes())
        # It knows our authority, as anybody may, but another one has signed its certificate.
        self.strange = theirs.issue("stranger", "DNS:stranger", "clientAuth")
        self.strange.ca.write_bytes(both.ca.read_bytes())
        # Two for our gateway's address: another authority's, and one that is good for agents only.
        self.impostor = theirs.issue("impostor", LOOPBACK, BOTH)
        self.agents_only = ours.issue("agents-only", LOOPBACK, "clientAuth")
        self.jaeger = Jaeger("memory", folder, certificates=both)
        self.gateway = Collector(
            "gateway",
            folder,
            certificates=both,
            JAEGER_ENDPOINT=self.jaeger.otlp_grpc,
            SAMPLING_PERCENTAGE=100,
        )
        self.gateway.settings["GATEWAY_PEERS"] = f"[{self.gateway.peer}]"
        self.doors = {
            "gateway": self.gateway.otlp_grpc,
            "peer": self.gateway.peer,
            "jaeger": self.jaeger.otlp_grpc,
        }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A gateway and a Jaeger with mutual TLS."""
    place = Place(tmp_path_factory.mktemp("tls"))
    try:
        place.jaeger.start()
        place.gateway.start()
        yield place
    finally:
        place.gateway.kill()
        place.jaeger.kill()


@pytest.mark.parametrize("door", ["gateway", "peer", "jaeger"])
@pytest.mark.parametrize("who", ["plain", "none", "strange"])
def test_strangers_are_refused(place: Place, door: str, who: str) -> None:
    """Without TLS, without a certificate, or with another authority's, nothing is taken."""
    trace_id = os.urandom(16)
    refused = Client(place.doors[door], None if who == "plain" else getattr(place, who))
    with pytest.raises(grpc.RpcError) as error:
        refused.send(span(trace_id))
    assert error.value.code() == grpc.StatusCode.UNAVAILABLE
    refused.close()
    welcome = os.urandom(16)
    client = Client(place.doors[door], place.right)
    client.send(span(welcome))
    client.close()
    wait_until(lambda: bool(place.jaeger.spans(welcome.hex())), 30, "what was sent rightly")
    assert not place.jaeger.spans(trace_id.hex())


def test_metrics_are_for_those_with_a_certificate(place: Place) -> None:
    """The gateway's Prometheus endpoint answers the right certificate, and no other or none."""
    url = f"https://{place.gateway.prometheus}/metrics"
    ca, right, strange = str(place.right.ca), place.right, place.strange
    assert HTTP.get(url, verify=ca, cert=(str(right.cert), str(right.key)), timeout=10).ok
    for cert in (None, (str(strange.cert), str(strange.key))):
        with pytest.raises(requests.ConnectionError):
            HTTP.get(url, verify=ca, cert=cert, timeout=10)
    assert HTTP.get(url.replace("https", "http"), timeout=10).status_code == 400


IMPOSTORS = {
    "impostor": "certificate signed by unknown authority",
    "agents_only": "certificate specifies an incompatible key usage",
}


@pytest.mark.parametrize("who", IMPOSTORS)
def test_an_agent_sends_nothing_to_an_impostor(place: Place, tmp_path: Path, who: str) -> None:
    """An agent hands nothing to what listens in the gateway's place, but keeps it for the gateway."""
    address = place.gateway.otlp_grpc
    place.gateway.stop()
    false = Collector(
        "gateway", tmp_path, certificates=getattr(place, who), OTLP_GRPC_ENDPOINT=address
    )
    agent = Collector("agent", tmp_path, certificates=place.right, GATEWAY_ENDPOINT=address)
    trace_id = os.urandom(16)
    try:
        false.start()
        agent.start()
        client = Client(agent.otlp_grpc)
        client.send(span(trace_id))
        client.close()
        wait_until(
            lambda: IMPOSTORS[who] in agent.log.read_text(), 30, "the agent to see who that is"
        )
        assert false.count("otelcol_receiver_accepted_spans") == 0
    finally:
        false.kill()
        place.gateway.start()
    try:
        wait_until(lambda: bool(place.jaeger.spans(trace_id.hex())), 60, "the span")
    finally:
        agent.kill()
