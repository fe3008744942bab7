"""Collectors with scripted answers over real sockets: OTLP's own, and other servers'."""

from __future__ import annotations

import contextlib
import pathlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


@dataclass
class Listener:
    """A port, and the requests that arrived there."""

    port: int
    requests: list[bytes] = field(default_factory=list)
    """Head and body of each, as they came."""

    @property
    def endpoint(self) -> str:
        """The base URL, without TLS."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def bodies(self) -> list[bytes]:
        return [request.partition(b"\r\n\r\n")[2] for request in self.requests]

    def header(self, name: str, number: int = -1) -> str:
        """A header of a request; of the last one if no other is wanted."""
        head = self.requests[number].partition(b"\r\n\r\n")[0].decode()
        headers = [line.partition(":") for line in head.split("\r\n")[1:]]
        return next((value.strip() for key, _, value in headers if key.lower() == name), "")


@contextlib.contextmanager
def listening(
    serve: Callable[[socket.socket], None], context: ssl.SSLContext | None = None
) -> Iterator[int]:
    """Give each connection to ``serve``, in a thread of its own; over TLS with ``context``."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def one(connection: socket.socket) -> None:
            with contextlib.suppress(OSError), connection:
                if context is None:
                    serve(connection)
                else:
                    with _greeted(connection, context) as tls:
                        serve(tls)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=one, args=(server.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def _greeted(connection: socket.socket, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    """Begin TLS. Who is refused may finish speaking: a reset could overtake the reason."""
    with context.wrap_socket(
        connection.dup(), server_side=True, do_handshake_on_connect=False
    ) as tls:
        try:
            tls.do_handshake()
        except ssl.SSLError:
            connection.settimeout(5)
            while connection.recv(65536):
                pass
            raise
        yield tls


def read(connection: socket.socket) -> bytes:
    """One request of HTTP; empty when the connection is closed."""
    request = b""
    while b"\r\n\r\n" not in request:
        some = connection.recv(65536)
        if not some:
            return b""
        request += some
    head, _, body = request.partition(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def answer(
    status: int = 200,
    body: bytes = b"",
    kind: str = "application/x-protobuf",
    reason: str = "",
    **headers: str,
) -> bytes:
    """An answer of HTTP, with a header for each other argument."""
    lines = [
        f"HTTP/1.1 {status} {reason}",
        f"content-length: {len(body)}",
        *([f"content-type: {kind}"] if kind else []),
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


@contextlib.contextmanager
def collector(
    *answers: bytes | Callable[[bytes], bytes], context: ssl.SSLContext | None = None
) -> Iterator[Listener]:
    """Gives these answers in turn, the last one for ever. A function is asked with the request."""
    listener = Listener(0)

    def serve(connection: socket.socket) -> None:
        while request := read(connection):
            answer = answers[min(len(listener.requests), len(answers) - 1)]
            listener.requests.append(request)
            connection.sendall(answer(request) if callable(answer) else answer)

    with listening(serve, context) as listener.port:
        yield listener


def certificate(folder: pathlib.Path, *names: str) -> tuple[pathlib.Path, pathlib.Path]:
    """A certificate that is its own authority, for names such as ``IP:127.0.0.1``; and its key."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=me "
        f"-addext subjectAltName={','.join(names)} -keyout {key} -out {cert}".split(),
        check=True,
        capture_output=True,
    )
    return cert, key


def server_context(cert: pathlib.Path, key: pathlib.Path) -> ssl.SSLContext:
    """For a server with this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context
