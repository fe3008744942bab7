"""A small HTTP server that answers as a traced cinder-api does."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests

from otel_cinder.cli.run import marking


class Api:
    """What answers a client: as cinder-api does, with spans for whoever is told to receive them."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.traceparents: list[str] = []
        self.flags: list[str] = ["01"]
        """Of the answers' `traceresponse`, the last one for all later answers; empty: none."""
        self.endpoint = ""
        """Where its spans go, by OTLP over HTTP; empty: nowhere."""
        self.late = False
        """Whether the spans come after the answer."""
        self.taken_up = True
        """Whether the message that each request sends has arrived."""

    def answer(self, traceparent: str) -> str:
        """Take note of a request, and return the `traceresponse`."""
        self.traceparents.append(traceparent)
        flags = self.flags.pop(0) if len(self.flags) > 1 else self.flags[0]
        trace_id, parent_id = traceparent.split("-")[1:3]
        span_id = f"{len(self.traceparents):016x}"
        if flags == "01" and self.endpoint:
            ids = (trace_id, span_id, parent_id)
            if self.late:
                threading.Thread(target=self._export, args=ids).start()
            else:
                self._export(*ids)
        return flags and f"00-{trace_id}-{span_id}-{flags}"

    def _export(self, trace_id: str, span_id: str, parent_id: str) -> None:
        sent, received = f"c{span_id[1:]}", f"d{span_id[1:]}"
        message = {"rpc.method": "cinder-volume/create_volume"}
        # In the order in which they end.
        spans = [
            ("cinder-api", "cast", 4, sent, span_id, message),
            ("cinder-api", "POST /v3/volumes", 2, span_id, parent_id, {}),
        ]
        if self.taken_up:
            spans.append(("cinder-volume", "process", 5, received, sent, message))
        for service, name, kind, own, parent, attributes in spans:
            now = time.time_ns()
            body = marking.export(
                service, name, kind, (trace_id, own, parent), (now, now), attributes
            )
            self.send(body)

    def send(self, export: dict[str, Any]) -> None:
        """Send one export of OTLP/JSON."""
        requests.post(f"{self.endpoint}/v1/traces", json=export, timeout=30)


@contextmanager
def serving(kind: type[Api] = Api) -> Iterator[Api]:
    """An API on the loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            said = api.answer(self.headers.get("traceparent", "---"))
            self.send_response(202)
            if said:
                self.send_header("traceresponse", said)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keep the terminal quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        api = kind(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield api
        finally:
            server.shutdown()
            thread.join()
