"""A server on the loopback that answers GETs as a test says."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

NOWHERE = "http://127.0.0.1:1"
"""Nothing listens there."""

Answer = tuple[int, Any]


@contextmanager
def answering(answer: Callable[[str, dict[str, list[str]], Any], Answer]) -> Iterator[str]:
    """The server's URL. ``answer`` gets path, query and headers; it returns a status, and a body as
    bytes or as what becomes JSON.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            status, content = answer(parts.path, parse_qs(parts.query), self.headers)
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            if status in (301, 302):
                self.send_header("Location", NOWHERE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep the terminal quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
