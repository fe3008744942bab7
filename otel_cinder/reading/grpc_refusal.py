"""Answers a gRPC client that came to a port of OTLP over HTTP: with a sentence, in its own protocol.

Just enough of HTTP/2 (RFC 9113) to tell it: the client's headers are not read, ours are not compressed.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator
from typing import BinaryIO, Final
from urllib.parse import quote

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""With which every HTTP/2 connection begins."""

_DATA, _HEADERS, _SETTINGS, _PING, _GOAWAY = 0, 1, 4, 6, 7
_ACK, _END_STREAM, _END_HEADERS = 1, 1, 4
_UNIMPLEMENTED: Final = 12  # a gRPC status that no exporter tries again after
_STATUS_200: Final = b"\x88"  # RFC 7541, appendix A
_LONGEST_FRAME: Final = 1 << 16
_MOST_FRAMES: Final = 1000


def refuse(reading: BinaryIO, connection: socket.socket, sentence: str) -> None:
    """Answer the first call on a connection with ``sentence``; raises OSError when it breaks off."""
    reading.read(len(PREFACE))
    connection.sendall(_frame(_SETTINGS))
    for kind, flags, stream, payload in _frames(reading):
        if kind == _SETTINGS and not flags & _ACK:
            connection.sendall(_frame(_SETTINGS, _ACK))
        elif kind == _PING and not flags & _ACK:
            connection.sendall(_frame(_PING, _ACK, payload=payload))
        elif kind == _HEADERS:
            answer = _frame(_HEADERS, _END_STREAM | _END_HEADERS, stream, _headers(sentence))
            goodbye = _frame(_GOAWAY, payload=struct.pack(">II", stream, 0) + sentence.encode())
            connection.sendall(answer + goodbye)
            break
    # What is not read would have the kernel reset the connection, and the answer would be lost.
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(1.0)
        for _ in _frames(reading):
            pass


def _frames(reading: BinaryIO) -> Iterator[tuple[int, int, int, bytes]]:
    """Kind, flags, stream and payload of each frame until the connection ends, or has gone on too long."""
    for _ in range(_MOST_FRAMES):
        head = reading.read(9)
        if len(head) < 9:
            return
        length = int.from_bytes(head[:3], "big")
        if length > _LONGEST_FRAME:
            return
        stream = int.from_bytes(head[5:], "big") & 0x7FFFFFFF
        yield head[3], head[4], stream, reading.read(length)


def _frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + payload


def _headers(sentence: str) -> bytes:
    fields = {
        "content-type": "application/grpc",
        "grpc-status": str(_UNIMPLEMENTED),
        "grpc-message": quote(sentence, safe=" !\"#$&'()*+,-./:;<=>?@[]^_`{|}~"),
    }
    return _STATUS_200 + b"".join(
        b"\x00" + _text(name) + _text(value) for name, value in fields.items()
    )


def _text(text: str) -> bytes:
    """A string as RFC 7541 writes it, uncompressed."""
    encoded = text.encode("ascii")
    rest = len(encoded) - 127
    if rest < 0:
        return bytes([len(encoded)]) + encoded
    length = b"\x7f"
    while rest >= 128:
        length += bytes([rest % 128 + 128])
        rest //= 128
    return length + bytes([rest]) + encoded
