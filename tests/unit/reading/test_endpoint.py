"""The OTLP/HTTP endpoint, met by what is no OTLP/HTTP, and by what is broken."""

from __future__ import annotations

import gzip
import http.client
import socket
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import requests
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_cinder.reading import endpoint
from otel_cinder.reading.endpoint import Endpoint, Export

PROTOBUF = "application/x-protobuf"


class Kept(Endpoint):
    """Keeps what is taken, and what is refused."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[Export] = []
        self.refused: list[str] = []

    def accept(self, export: Export) -> None:
        self.taken.append(export)

    def refuse(self, client: str, sentence: str) -> None:
        self.refused.append(sentence)


@pytest.fixture
def kept() -> Iterator[Kept]:
    """An endpoint on a free port."""
    with Kept() as kept:
        yield kept


def body() -> bytes:
    """An export of one span."""
    request = ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.add(trace_id=b"\1" * 16, span_id=b"\2" * 8)
    return request.SerializeToString()


def post(kept: Kept, data: bytes, sort: str = PROTOBUF, **headers: str) -> requests.Response:
    """Send a body to /v1/traces."""
    sent = {"Content-Type": sort, **{k.replace("_", "-"): v for k, v in headers.items()}}
    return requests.post(f"{kept.endpoint}/v1/traces", data=data, headers=sent, timeout=10)


def test_a_grpc_client_is_told_what_to_set(kept: Kept) -> None:
    """A real gRPC exporter's call fails at once, with the variable to change."""
    grpc = pytest.importorskip("grpc")
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc

    with grpc.insecure_channel(urlsplit(kept.endpoint).netloc) as channel:
        stub = trace_service_pb2_grpc.TraceServiceStub(channel)
        with pytest.raises(grpc.RpcError) as failed:
            stub.Export(ExportTraceServiceRequest(), timeout=30)
    assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED
    sentence = failed.value.details()
    assert sentence.startswith("Set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf")
    assert kept.refused == [sentence]
    assert post(kept, body()).status_code == 200


def test_a_tls_client_is_recognised(kept: Kept) -> None:
    """Who comes with https is named as such, and the next one is taken."""
    port = urlsplit(kept.endpoint).port
    context = ssl.create_default_context()
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as raw,
        pytest.raises(OSError),
    ):
        context.wrap_socket(raw, server_hostname="localhost")
    assert post(kept, body()).status_code == 200
    assert [s.partition(":")[0] for s in kept.refused] == ["Write http"]


@pytest.mark.parametrize(
    ("data", "headers", "status", "sentence"),
    [
        (b"\xff\xff", {}, 400, "Send ExportTraceServiceRequest as OTLP has it"),
        (b"{", {"sort": "application/json"}, 400, "the body is none in JSON"),
        (b"\xff", {"sort": "application/json"}, 400, "the body is none in JSON"),
        (b"x", {"sort": "text/html"}, 415, "Send application/x-protobuf or application/json"),
        (b"x", {"Content_Encoding": "gzip"}, 400, "Mend the body: it is not gzip"),
        (gzip.compress(body())[:-9], {"Content_Encoding": "gzip"}, 400, "cut short"),
        (b"x", {"Content_Encoding": "br"}, 415, "Send it with gzip"),
    ],
)
def test_what_is_broken_gets_a_sentence(
    kept: Kept, data: bytes, headers: dict[str, str], status: int, sentence: str
) -> None:
    """A status as OTLP has it, with the sentence in it; and the next export is taken."""
    answer = post(kept, data, **headers)
    assert answer.status_code == status
    if "json" in answer.headers["Content-Type"]:
        said = answer.json()["message"]
    else:
        said = Status.FromString(answer.content).message
    assert sentence in said
    assert kept.refused == [said]
    assert kept.taken == []
    assert post(kept, body()).status_code == 200
    assert len(kept.taken) == 1


def test_a_body_that_unpacks_to_too_much_is_refused(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small body that becomes a large one takes no memory."""
    monkeypatch.setattr(endpoint, "_LARGEST", 10_000)
    answer = post(kept, gzip.compress(b"\0" * 50_000), Content_Encoding="gzip")
    assert answer.status_code == 413
    assert post(kept, b"\0" * 20_000).status_code == 413
    assert kept.taken == []


def test_chunks_are_put_together(kept: Kept) -> None:
    """A body without a length, in chunks, is taken as any other."""
    connection = http.client.HTTPConnection(urlsplit(kept.endpoint).netloc, timeout=10)
    whole = body()
    connection.request(
        "POST",
        "/v1/traces",
        body=iter([whole[:5], whole[5:]]),
        headers={"Content-Type": PROTOBUF, "Transfer-Encoding": "chunked"},
        encode_chunked=True,
    )
    assert connection.getresponse().status == 200
    connection.close()
    assert [export.body for export in kept.taken] == [whole]


def test_a_browser_is_told_what_this_is(kept: Kept) -> None:
    """Any other method gets a sentence in plain text."""
    answer = requests.get(kept.endpoint, timeout=10)
    assert (answer.status_code, answer.headers["Content-Type"]) == (
        405,
        "text/plain; charset=utf-8",
    )
    assert answer.text.startswith("POST to /v1/traces")


def test_headers_go_along_except_those_of_the_connection(kept: Kept) -> None:
    """What a forwarder needs to pass on is kept: a tenant, a token, the encoding."""
    post(
        kept, gzip.compress(body()), Content_Encoding="gzip", X_Scope_OrgID="a", Connection="close"
    )
    [export] = kept.taken
    assert export.headers["X-Scope-OrgID"] == "a"
    assert export.headers["Content-Encoding"] == "gzip"
    assert not {"Host", "Connection", "Content-Length"} & set(export.headers)
    assert (export.sent, export.body) == (gzip.compress(body()), body())
