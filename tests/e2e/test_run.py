"""`otel-cinder run` with OpenStack's own clients, in a virtualenv of their own, on real Cinder."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

from otel_cinder.cli.demo import cinder_conf
from requirements.installing import Virtualenv
from tests.receiver import Receiver

pytest.importorskip("cinder")

COMMAND = Path(sys.executable).with_name("otel-cinder")
PROJECT = cinder_conf.PROJECT
STARTS_WITHIN = 120  # seconds, on a busy machine
ENVIRONMENT = {
    **{
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OTEL_", "OS_", "PYTHON"))
    },
    "LC_ALL": "C.UTF-8",
    "NO_PROXY": "127.0.0.1",
}


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a virtualenv that has OpenStack's clients, and nothing of OpenTelemetry's."""
    virtualenv = Virtualenv(tmp_path_factory.mktemp("clients") / "venv", sys.executable)
    virtualenv.install("python-openstackclient", "python-cinderclient")
    assert not any("opentelemetry" in line for line in virtualenv.freeze())
    return virtualenv.folder / "bin"


@pytest.fixture(scope="module")
def listen() -> str:
    """Where `run` is to listen: Cinder is told before it is there."""
    with Receiver() as receiver:
        return receiver.endpoint.removeprefix("http://")


@pytest.fixture(scope="module")
def cinder(listen: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The project's URL at a Cinder whose services export to `listen`."""
    folder = tmp_path_factory.mktemp("cinder")
    with Receiver() as receiver:
        port = int(receiver.endpoint.rpartition(":")[2])
    cinder_conf.write(
        folder, transport_url="fake://", exchange="run", host=cinder_conf.HOST, port=port
    )
    module = "otel_cinder.cli.demo.one_process"
    arguments = [str(folder / "cinder.conf"), str(folder / "conf.d"), str(port)]
    url = f"http://127.0.0.1:{port}/v3/{PROJECT}"
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env=cinder_conf.environment(ENVIRONMENT, f"http://{listen}"),
            cwd=folder,
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + STARTS_WITHIN
        while not _knows_its_backend(url):
            assert process.poll() is None, (folder / "output").read_text()[-3000:]
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait(60)


def _knows_its_backend(url: str) -> bool:
    headers = {"X-Auth-Token": f"admin:{PROJECT}"}
    try:
        answer = requests.get(f"{url}/scheduler-stats/get_pools", headers=headers, timeout=10)
    except requests.RequestException:
        return False
    return answer.ok and bool(answer.json()["pools"])


def openstack(clients: Path, cinder: str, *arguments: str) -> list[str]:
    """A command line of python-openstackclient, without a Keystone."""
    access = ("--os-auth-type", "admin_token", "--os-token", f"admin:{PROJECT}")
    return [str(clients / "openstack"), *access, "--os-endpoint", cinder, *arguments]


def run(listen: str, *arguments: str, command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run it to its end, with a pipe for each of its files."""
    return subprocess.run(
        [COMMAND, "run", "--listen", listen, *arguments, "--", *command],
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )


def test_openstack_volume_create_is_one_trace(clients: Path, listen: str, cinder: str) -> None:
    """The command, its requests, and all that Cinder's three services did until the volume was made."""
    asked = ("volume", "create", "--size", "1", "-f", "json", "vol-1")
    done = run(listen, command=openstack(clients, cinder, *asked))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["name"] == "vol-1"
    assert "openstack volume create" in done.stderr
    assert "without a parent" not in done.stderr
    assert f"admin:{PROJECT}" not in done.stderr
    names = [line.lstrip("│└├─◂▸ ").split("  ")[0] for line in done.stderr.splitlines()]
    request = names.index(f"POST {cinder.removeprefix('http://')}/volumes")
    assert names[request + 1] == "POST /v3/{project_id}/volumes"
    below = names[request:]
    assert below.index("cast cinder-scheduler/create_volume") < below.index(
        "process cinder-volume/create_volume"
    )
    assert below[-1] == "CreateVolumeOnFinishTask"
    assert "otel-cinder:" not in done.stderr


@pytest.fixture
def keystone(cinder: str) -> Iterator[tuple[str, list[str]]]:
    """Keystone's two answers to a password, with a catalog that leads to Cinder: URL, traceparents."""
    traceparents: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            version = {"id": "v3.14", "status": "stable", "links": [{"rel": "self", "href": url}]}
            self._answer(200, {"version": version})

        def do_POST(self) -> None:
            assert b"xyzzy" in self.rfile.read(int(self.headers["Content-Length"]))
            catalog = [
                {
                    "id": kind,
                    "type": kind,
                    "name": kind,
                    "endpoints": [
                        {"id": kind, "interface": "public", "region_id": "r", "url": address}
                    ],
                }
                for kind, address in (("identity", url), ("block-storage", cinder))
            ]
            token = {
                "methods": ["password"],
                "expires_at": "2999-01-01T00:00:00.000000Z",
                "issued_at": "2026-01-01T00:00:00.000000Z",
                "user": {"id": "u", "name": "u", "domain": {"id": "default", "name": "Default"}},
                "project": {"id": PROJECT, "name": "p", "domain": {"id": "default", "name": "D"}},
                "roles": [{"id": "a", "name": "admin"}],
                "catalog": catalog,
            }
            self._answer(201, {"token": token})

        def _answer(self, status: int, content: object) -> None:
            traceparents.append(self.headers.get("traceparent", ""))
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("X-Subject-Token", f"admin:{PROJECT}")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep the terminal quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        url = f"http://127.0.0.1:{server.server_address[1]}/v3"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield url, traceparents
        finally:
            server.shutdown()
            thread.join()


def test_keystones_requests_are_in_the_trace(
    clients: Path, listen: str, cinder: str, keystone: tuple[str, list[str]]
) -> None:
    """With a password: Keystone gets the same trace, and neither password nor token is shown."""
    url, traceparents = keystone
    access = f"--os-auth-url {url} --os-username u --os-password xyzzy --os-project-name p "
    access += "--os-user-domain-id default --os-project-domain-id default"
    command = [str(clients / "openstack"), *access.split(), "volume", "list", "-f", "json"]
    done = run(listen, command=command)
    assert done.returncode == 0, done.stderr
    assert isinstance(json.loads(done.stdout), list)
    trace_id = done.stderr.partition("trace ")[2][:32]
    assert len(traceparents) >= 2
    assert {each.split("-")[1] for each in traceparents} == {trace_id}
    assert f"POST {url.removeprefix('http://')}/auth/tokens" in done.stderr
    assert "GET /v3/{project_id}/volumes/detail" in done.stderr
    assert "xyzzy" not in done.stderr
    assert f"admin:{PROJECT}" not in done.stderr


def test_cinder_create_is_told_in_chinese(clients: Path, listen: str, cinder: str) -> None:
    """python-cinderclient too; as notes, in the language that is asked for."""
    command = [str(clients / "cinder"), "--os-auth-type", "noauth", "--os-endpoint", cinder]
    access = ["--os-user-id", "admin", "--os-project-id", PROJECT]
    arguments = ("--format", "table", "--lang", "zh")
    done = run(listen, *arguments, command=[*command, *access, "create", "1", "--name", "vol-2"])
    assert done.returncode == 0, done.stderr
    assert re.search(r"\| name +\| vol-2", done.stdout)
    assert "把状态改为 available 并发出通知" in done.stderr
    assert "结束时没有错误" in done.stderr


def test_a_command_that_fails_shows_why(clients: Path, listen: str, cinder: str) -> None:
    """A type that does not exist: the exit status is the client's, and the trace has the refusal."""
    asked = ("volume", "create", "--size", "1", "--type", "none-such", "vol-3")
    done = run(listen, command=openstack(clients, cinder, *asked))
    assert done.returncode == 1
    assert done.stdout == ""
    assert "exit status 1" in done.stderr
    assert re.search(r"POST /v3/\{project_id\}/volumes .* HTTP 404", done.stderr)
