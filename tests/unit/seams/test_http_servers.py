"""Behind real servers a client gets from a traced application what it gets from a bare one."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from tests.receiver import Receiver
from tests.unit import scripts
from tests.unit.seams.served import APPS

SERVERS = ("eventlet", "waitress", "wsgiref", "uwsgi")
MODULE = "tests.unit.seams.served"
PORT = re.compile(r"^port (\d+)$|bound to TCP address 127\.0\.0\.1:(\d+)", re.MULTILINE)
VARIES = re.compile(rb"(?im)^(?:date|traceresponse): .*\r\n")

EVENTLET = f"""
import warnings; warnings.simplefilter("ignore")
import eventlet; eventlet.monkey_patch()
import runpy, sys; sys.argv = ["served", "eventlet"]
runpy.run_module("{MODULE}", run_name="__main__")
"""


def command(server: str) -> list[str]:
    if server == "eventlet":
        return [sys.executable, "-c", EVENTLET]
    if server == "uwsgi":
        program = pathlib.Path(sys.executable).parent / "uwsgi"
        arguments = (
            "--http-socket 127.0.0.1:0 --master --processes 1 --threads 4 --offload-threads 1"
        )
        return [
            str(program),
            *arguments.split(),
            "--die-on-term",
            "--module",
            f"{MODULE}:uwsgi_application",
        ]
    return [sys.executable, "-m", MODULE, server]


class Served:
    """A server of our applications, and what it has exported."""

    def __init__(self, port: int, receiver: Receiver) -> None:
        self._port = port
        self._receiver = receiver
        self.asked = 0
        """Requests to traced applications."""

    def answer(self, path: str, method: str = "GET", most: int | None = None) -> bytes:
        """All that the server sends, or its beginning: the client goes away then."""
        self.asked += path.startswith("/traced/")
        lines = f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", "", ""
        with socket.create_connection(("127.0.0.1", self._port), timeout=60) as connection:
            connection.sendall("\r\n".join(lines).encode())
            parts = []
            while most is None or sum(map(len, parts)) < most:
                try:
                    part = connection.recv(65_536)
                except ConnectionResetError:
                    part = b"<reset>"
                parts.append(part)
                if part in (b"", b"<reset>"):
                    break
        return b"".join(parts)

    def both(self, name: str, method: str = "GET") -> tuple[bytes, bytes]:
        """The bare and the traced answer, without the date and the trace's id."""
        bare, traced = (self.answer(f"/{way}/{name}", method) for way in ("bare", "traced"))
        return VARIES.sub(b"", bare), VARIES.sub(b"", traced)

    def closed(self) -> dict[str, int]:
        """How often each application's bodies were closed, by its path."""
        counts: dict[str, int] = json.loads(self.answer("/bare/closed").partition(b"\r\n\r\n")[2])
        return counts

    def spans(self) -> int:
        return len(self._receiver.spans())


def eventually(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 60
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture(scope="module", params=SERVERS)
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """Each of the servers, with its applications bare and traced."""
    log = tmp_path_factory.mktemp("served") / "log"
    with contextlib.ExitStack() as stack:
        receiver = stack.enter_context(Receiver())
        env = scripts.environment(
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
                "OTEL_BSP_SCHEDULE_DELAY": "100",
                "OTEL_METRICS_EXPORTER": "none",
            }
        )
        output = stack.enter_context(log.open("wb"))
        process = subprocess.Popen(
            command(request.param),
            env=env,
            cwd=scripts.ROOT,
            stdout=output,
            stderr=output,
            start_new_session=True,  # a group of its own, with uWSGI's workers
        )
        stack.callback(process.wait, 60)
        stack.callback(os.killpg, process.pid, signal.SIGKILL)
        assert eventually(lambda: PORT.search(log.read_text()) or process.poll() is not None)
        match = PORT.search(log.read_text())
        assert match, log.read_text()
        yield Served(int(match[1] or match[2]), receiver)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("name", sorted(set(APPS) - {"endless", "closed"}))
def test_client_gets_the_same(served: Served, name: str, method: str) -> None:
    """Status, headers and body are the same bytes, whatever the application does."""
    bare, traced = served.both(name, method)
    assert traced == bare


def test_answer_names_its_trace(served: Served) -> None:
    """An ordinary answer has the one header more."""
    assert b"\r\ntraceresponse: 00-" in served.answer("/traced/whole").lower()
    assert b"traceresponse" not in served.answer("/bare/whole").lower()


def test_client_that_goes_away(served: Served) -> None:
    """The stream of a client that left is closed, traced or not."""
    for way in ("bare", "traced"):
        assert served.answer(f"/{way}/endless", most=100_000)
    assert eventually(lambda: {"bare/endless", "traced/endless"} <= set(served.closed()))


def test_bodies_are_closed_as_often(served: Served) -> None:
    """No body is closed more or less often because it is traced."""
    for name in ("stream", "sized", "raises_in_the_stream", "raises_for_its_iterator"):
        served.both(name)

    def is_same() -> bool:
        by_way: dict[str, dict[str, int]] = {"bare": {}, "traced": {}}
        for path, count in served.closed().items():
            way, _, name = path.partition("/")
            by_way[way][name] = count
        return by_way["bare"] == by_way["traced"] and by_way["bare"]["stream"] > 0

    assert eventually(is_same)


def test_each_request_is_a_span(served: Served) -> None:
    """Every request's span ends, however the request ended."""
    served.both("stream")
    assert eventually(lambda: served.spans() == served.asked)
