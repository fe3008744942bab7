"""No secret leaves: wherever one is planted in real Cinder, no export has it."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from otel_cinder import conventions
from tests.corpus import COMMAND, CONFIGURED, CORPUS, EXCEPTION, Planted, drawn, survivors
from tests.integration.arrivals import settle
from tests.integration.broker import Broker
from tests.integration.configuration import (
    BACKEND,
    BACKEND_FOLDER,
    BACKUP,
    PROJECT,
    SERVICES,
    Extent,
    Tracing,
)
from tests.integration.database import Database
from tests.integration.glance import Glance
from tests.integration.installation import Installation
from tests.integration.operations import CONNECTOR, Operations, place
from tests.integration.processes import root_access
from tests.integration.stack import CinderStack
from tests.receiver import Receiver

UNMASKED_FOLDER = Path(__file__).parent / "unmasked"
GIB = 1 << 24
OTHER = "two"

EVERYTHING = {
    "OTEL_CINDER_LOG_LEVEL": "DEBUG",
    "OTEL_CINDER_RESULTS": "values",
    "OTEL_CINDER_CLIENTS": "true",
    # What operators ask for, not knowing what is in a header.
    "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST": ".*",
    "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_RESPONSE": ".*",
    "OTEL_METRICS_EXPORTER": "otlp",
    "OTEL_METRIC_EXPORT_INTERVAL": "1000",
}
AS_RECORDS = {**EVERYTHING, "OTEL_LOGS_EXPORTER": "otlp", "OTEL_BLRP_SCHEDULE_DELAY": "200"}
UNMASKED = {"PYTHONPATH": f"{BACKEND_FOLDER}:{UNMASKED_FOLDER}"}

# That all that carries texts has been at work.
REACHED = (
    "***",
    "LeakyDriver.create_volume",
    "the array was asked with",
    "taskflow.task.results",
    "process.command_line",
    "exception.message",
    "cinder.reason",
    "taskflow.task.duration",
    # Wherever it works.
    "LeakyDriver.migrate_volume",
    "PosixBackupDriver.backup",
    "download image",
    "upload image",
    "create_group_snapshot",
    "os-unmanage",
)

# What a request itself brings; the corpus' own texts are said by the driver.
REQUESTED: list[Planted] = []


def plant(place: str, kind: str) -> Planted:
    """Draw a secret that must not be exported."""
    REQUESTED.append(drawn(place, kind))
    return REQUESTED[-1]


TOKEN = plant("a request's token", "hex")
HEADERS = {
    "X-Auth-Token": TOKEN.secret,
    "X-Service-Token": plant("a service's token", "fernet").secret,
    "X-Subject-Token": plant("another's token", "hex").secret,
    "Authorization": f"Bearer {plant('a bearer', 'jwt').secret}",
    "Cookie": f"theme=dark; session={plant('a cookie', 'alnum').secret}",
    "User-Agent": f"script/1.0 (password={plant('a user agent', 'alnum').secret})",
    "X-Storage-Token": plant("a storage token", "uuid").secret,
}
METADATA = plant("a volume's metadata", "alnum")
HINT = plant("a scheduler hint", "alnum")
REFERENCE = plant("a manage reference", "alnum")
CHAP = plant("a connector's password", "symbols")
IMAGE = plant("an image's metadata", "alnum")
QUERY = plant("a query", "alnum")
CONNECTION = {
    "auth_method": "CHAP",
    "auth_username": plant("a CHAP user", "alnum").secret,
    "auth_password": plant("a CHAP password", "symbols").secret,
    "discovery_auth_password": plant("a discovery password", "alnum").secret,
    "secret_uuid": plant("a secret's uuid", "uuid").secret,
    "keyring": f"[client.cinder]\n\tkey = {plant('a keyring', 'ceph').secret}\n",
    "dhchap_secret": plant("an NVMe secret", "dhchap").secret,
}
BACKEND_PASSWORD = plant("a backend's password", "symbols")


@dataclass(frozen=True)
class Secretive(Extent):
    """A Cinder whose configuration is full of secrets, and whose callers have real tokens."""

    def configuration(self, **values: object) -> str:
        """Return cinder.conf with one option for each secret that the corpus wants there."""
        configured = [planted.secret for planted in CORPUS if planted.place == CONFIGURED]
        text = super().configuration(**values)
        leaky = f"leaky.LeakyDriver\nleaky_password = {_option(BACKEND_PASSWORD.secret)}"
        text = text.replace("sparse_files.SparseFileDriver", leaky)
        text += "[unknown_to_cinder]\n"
        for number, secret in enumerate(configured):
            text += f"array_{number}_password = {_option(secret)}\n"
        return text


class SecretiveStack(CinderStack):
    """Asks as somebody whom keystone has let in, with a token and more."""

    def _headers(self) -> dict[str, str]:
        return {
            "OpenStack-API-Version": "volume 3.70",
            "X-User-Id": "admin",
            "X-Project-Id": PROJECT,
            "X-Roles": "admin",
            **HEADERS,
        }


def _option(secret: str) -> str:
    return secret.replace("$", "$$")


@pytest.fixture(scope="module")
def stack(
    tmp_path_factory: pytest.TempPathFactory,
    installation: Installation,
    broker: Broker,
    database: Database,
    glance: Glance,
) -> Iterator[CinderStack]:
    """Cinder under eventlet behind keystone's half of the pipeline, not started yet.

    Two backends, a backup service and Glance, so that everything can be asked for.
    """
    root_access()
    folder = tmp_path_factory.mktemp("secrets")
    paste = (installation.etc / "api-paste.ini").read_text()
    # There is no keystone to ask: the headers that it would set come with the requests.
    (folder / "api-paste.ini").write_text(
        paste.replace("authtoken keystonecontext", "keystonecontext")
    )
    (folder / "plants.json").write_text(json.dumps(plants()))
    options = {
        "debug": "true",
        "auth_strategy": "keystone",
        "api_paste_config": folder / "api-paste.ini",
        "glance_api_servers": glance.url,
        "backup_driver": "cinder.backup.drivers.posix.PosixBackupDriver",
    }
    backends = {BACKEND: 1000, OTHER: 500}
    stack = SecretiveStack(
        f"cinder_{folder.name}",
        "eventlet",
        installation,
        broker,
        database,
        folder,
        Secretive(backends, (*SERVICES, BACKUP), options),
    )
    yield stack
    stack.close()


def plants() -> dict[str, Any]:
    """Return what the driver is to say."""
    return {
        "lines": [_said(planted) for planted in CORPUS if planted.form != "value"]
        + [f"login failed for admin/{BACKEND_PASSWORD.secret}", f"{TOKEN.secret} has expired"],
        "commands": [_said(planted).split(" ") for planted in CORPUS if planted.place == COMMAND],
        "errors": [
            _said(planted)
            for planted in CORPUS
            if planted.place == EXCEPTION and len(_said(planted)) < 200
        ],
        "connection": CONNECTION,
    }


def _said(planted: Planted) -> str:
    return str(planted.said)


def much(stack: CinderStack) -> None:
    """Ask for what has most of the secrets, and for what fails."""
    cinder = Operations(stack)
    metadata = {"password": METADATA.secret, "auth_key": METADATA.secret}
    answer = stack.request(
        "POST",
        "volumes",
        {
            "volume": {"name": "tested", "size": 1, "metadata": metadata},
            "OS-SCH-HNT:scheduler_hints": {"auth_token": HINT.secret},
        },
    )
    assert answer.status_code == 202, answer.text
    volume = answer.json()["volume"]["id"]
    cinder.wait("volumes", volume, "available")
    others = [cinder.volume() for _ in range(5)]
    stack.get(f"volumes/{volume}?token={QUERY.secret}")
    image = {"metadata": {"admin_password": IMAGE.secret, "architecture": "x86"}}
    cinder.ask("POST", f"volumes/{volume}/action", {"os-set_image_metadata": image}, 200)
    snapshot = cinder.snapshot(volume)
    cinder.volume(snapshot_id=snapshot)
    cinder.volume(source_volid=volume)
    cinder.extend(volume, 2)
    cinder.wait("volumes", volume, "available")
    _attach(cinder, volume, 200)
    (stack.folder / "volumes" / BACKEND / "found").write_bytes(b"x" * GIB)
    _manage(cinder)
    another = f"another-{time.time_ns()}"
    cinder.volume_type(another)
    cinder.retype(volume, another, "never")
    time.sleep(1)
    cinder.wait("volumes", volume, "available")
    for method in ("create_volume", "extend_volume", "create_snapshot", "initialize_connection"):
        stack.fail("as planted", method)
    failing = cinder.create()
    cinder.wait("volumes", failing, "error")
    cinder.extend(others[0], 2)
    cinder.wait("volumes", others[0], "error_extending")
    body = {"snapshot": {"volume_id": others[1], "name": "tested"}}
    snapshot_failing = cinder.ask("POST", "snapshots", body)["snapshot"]["id"]
    cinder.wait("snapshots", snapshot_failing, "error")
    _attach(cinder, others[2], 500)
    stack.fail("as planted", "delete_volume")
    cinder.delete("volumes", others[3])
    cinder.wait("volumes", others[3], "error_deleting")
    stack.heal()
    cinder.delete("snapshots", snapshot)
    cinder.wait("snapshots", snapshot, "deleted")
    cinder.delete("volumes", others[4])
    cinder.wait("volumes", others[4], "deleted")


def _attach(cinder: Operations, volume: str, expect: int) -> None:
    connector = {**CONNECTOR, "auth_password": CHAP.secret, "multipath": False}
    body = {"attachment": {"volume_uuid": volume, "connector": connector, "mode": "rw"}}
    answer = cinder.ask("POST", "attachments", body, expect)
    if expect == 200:
        cinder.complete(answer["attachment"]["id"])
        cinder.detach(answer["attachment"]["id"])


def _manage(cinder: Operations) -> None:
    reference = {"source-name": "found", "api_key": REFERENCE.secret}
    body = {"volume": {"host": f"node@{BACKEND}#{BACKEND}", "ref": reference, "name": "managed"}}
    managed = cinder.ask("POST", "manageable_volumes", body)["volume"]["id"]
    cinder.wait("volumes", managed, "available")
    cinder.act("volumes", managed, "os-unmanage")
    cinder.wait("volumes", managed, "deleted")


def everything(stack: CinderStack, glance: Glance) -> None:
    """Ask for all that Cinder does, with secrets wherever a request may have one."""
    much(stack)
    cinder = Operations(stack)
    _copy(cinder, glance)
    _group(cinder)


def _copy(cinder: Operations, glance: Glance) -> None:
    """Downloads, uploads, migrations to another backend and back, backups and restores."""
    image = glance.add_image("tested", b"bootable" * (1 << 20), admin_password=IMAGE.secret)
    volume = cinder.volume(imageRef=image)
    cinder.upload(volume)
    cinder.wait("volumes", volume, "available")
    cinder.migrate(volume, OTHER)
    cinder.wait("volumes", volume, "available", host=place(OTHER), migration_status="success")
    back = f"back-{time.time_ns()}"
    cinder.volume_type(back, volume_backend_name=BACKEND)
    cinder.retype(volume, back, "on-demand")
    cinder.wait("volumes", volume, "available", host=place(BACKEND), migration_status="success")
    backup = cinder.backup(volume)
    cinder.restore(backup, volume)
    cinder.wait("volumes", volume, "available")
    cinder.wait("backups", backup, "available")
    cinder.delete("backups", backup)
    cinder.wait("backups", backup, "deleted")


def _group(cinder: Operations) -> None:
    name = f"grouped-{time.time_ns()}"
    group = cinder.group(cinder.group_type(name), cinder.volume_type(name))
    cinder.volume(group_id=group, volume_type=name)
    snapshot = cinder.group_snapshot(group)
    cinder.delete("group_snapshots", snapshot)
    cinder.wait("group_snapshots", snapshot, "deleted")
    cinder.act("groups", group, "delete", {"delete-volumes": True})
    cinder.wait("groups", group, "deleted")


def exported(
    stack: CinderStack, receiver: Receiver, env: dict[str, str], ask: Callable[[], None]
) -> str:
    """Run Cinder so, ask for something, and return all that any signal has said of it."""
    services = stack.extent.services
    receiver.clear()
    stack.restart(Tracing(receiver.endpoint, services, env), services)
    ask()
    settle(receiver)
    stack.terminate(services)
    stack.wait_ended(60, services)
    bodies = b"\n".join(receiver.bodies).decode(errors="replace")
    (stack.folder / "exported").write_text(bodies)  # to look at when something is in it
    return bodies


def passed_over(receiver: Receiver) -> str:
    """Return what stands in the attributes that the collector's redaction does not look at."""
    carriers: list[Any] = [*receiver.spans(), *receiver.metrics(), *receiver.logs()]
    events = [event for span in receiver.spans() for event in span.events]
    found = [each.attributes for each in [*carriers, *events]]
    found += [each.resource for each in carriers]
    return "\n".join(
        f"{name}={attributes[name]}"
        for attributes in found
        for name in conventions.WITHOUT_TEXT
        if name in attributes
    )


def planted_in_logs(stack: CinderStack) -> set[Planted]:
    """Return what Cinder itself has logged, and so had in its hands."""
    return survivors([*CORPUS, *REQUESTED], "\n".join(stack.logs().values()))


@pytest.mark.parametrize("env", [EVERYTHING, AS_RECORDS], ids=["events", "records"])
def test_no_secret_is_exported(
    stack: CinderStack, receiver: Receiver, glance: Glance, env: dict[str, str]
) -> None:
    """In every operation, and at every place of a secret, no span, metric or log record has it."""
    exported_text = exported(stack, receiver, env, lambda: everything(stack, glance))
    for reached in REACHED:
        assert reached in exported_text
    left = survivors([*CORPUS, *REQUESTED], exported_text)
    assert sorted(planted.name for planted in left) == []


@pytest.mark.parametrize("env", [EVERYTHING, AS_RECORDS], ids=["events", "records"])
def test_without_redaction_they_would_be(
    stack: CinderStack, receiver: Receiver, env: dict[str, str]
) -> None:
    """With redaction taken out of the services most of the same secrets are exported.

    None of them stands in an attribute that the collector's redaction passes over.
    """
    found = exported(stack, receiver, {**env, **UNMASKED}, lambda: much(stack))
    left = survivors([*CORPUS, *REQUESTED], found)
    assert len(left) >= 120, sorted(planted.name for planted in left)
    unseen = passed_over(receiver)
    assert "code.function.name=" in unseen
    assert sorted(planted.name for planted in survivors([*CORPUS, *REQUESTED], unseen)) == []
