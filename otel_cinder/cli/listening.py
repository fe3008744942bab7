"""The option --listen, shared by the commands that receive OTLP."""

from __future__ import annotations

import click

from otel_cinder.cli.traces import fail
from otel_cinder.reading.endpoint import Endpoint
from otel_cinder.reading.words import Words

_LARGEST_PORT = 65535


class _Address(click.ParamType):  # type: ignore[type-arg]
    """HOST:PORT, as a pair; the host of an IPv6 address in brackets, and the loopback by default."""

    name = "HOST:PORT"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        host, colon, port = value.rpartition(":")
        if not colon or not (port.isascii() and port.isdecimal()) or int(port) > _LARGEST_PORT:
            self.fail(
                f"Write --listen as HOST:PORT, such as 127.0.0.1:4318: {value!r} is not.",
                param,
                ctx,
            )
        return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)


listens = click.option(
    "--listen",
    default="127.0.0.1:4318",
    show_default=True,
    type=_Address(),
    help="Where to receive OTLP over HTTP from Cinder's services.",
)
"""Give a command the option about its address."""


def start(
    endpoint: Endpoint, address: tuple[str, int], sentence: str, words: Words, status: int = 2
) -> None:
    """Make an endpoint listen; ends the program with this of `Words.sentences` if it cannot."""
    host, port = address
    try:
        endpoint.start()
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        fail(words.sentence(sentence, address=f"{host}:{port}", why=reason), status)
