"""Names that no two living processes have."""

from __future__ import annotations

import _socket
import os

import pytest

from otel_cinder.spans import instance_id
from otel_cinder.spans.instance_id import InstanceNames
from tests.unit.racing import race


@pytest.fixture
def service() -> str:
    """A service of which this machine has no other."""
    return f"test-{os.getpid()}"


def test_lowest_free_number_is_taken(service: str) -> None:
    """The first has the plain name, others a number; a released name is taken next."""
    one, two, three = InstanceNames(), InstanceNames(), InstanceNames()
    assert [names.take(service, "node") for names in (one, two, three)] == [
        "node",
        "node:2",
        "node:3",
    ]
    two.release()
    assert two.take(service, "node") == "node:2"
    for names in (one, two, three):
        names.release()


def test_name_stays_until_it_is_released(service: str) -> None:
    """The same request gets the same name again; other services have names of their own."""
    names, others = InstanceNames(), InstanceNames()
    assert names.take(service, "node") == names.take(service, "node") == "node"
    assert others.take(f"{service}-api", "node") == "node"
    names.release()
    others.release()


def test_threads_that_race_have_one_name(service: str) -> None:
    """Threads of one process that ask at the same time get one name, and hold one socket."""
    names = InstanceNames()
    taken: list[str] = []
    race(lambda: taken.append(names.take(service, "node")), threads=8)
    assert len(taken) == 8
    assert len(set(taken)) == 1
    names.release()
    again = InstanceNames()
    assert again.take(service, "node") == "node"
    again.release()


@pytest.mark.parametrize("error", [OSError(1, "no"), OSError(22, "no")])
def test_machine_without_such_sockets(
    service: str, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    """Without such sockets the process id makes the difference."""

    def refuse(*_args: object) -> None:
        raise error

    monkeypatch.setattr(_socket, "socket", refuse)
    names = InstanceNames()
    assert names.take(service, "node") == f"node:{os.getpid()}"
    names.release()


def test_machine_full_of_processes(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After so many of one name the process id is used, rather than to look for ever."""
    monkeypatch.setattr(instance_id, "_MOST", 2)
    first, second = InstanceNames(), InstanceNames()
    assert first.take(service, "node") == "node"
    assert second.take(service, "node") == f"node:{os.getpid()}"
    first.release()
    second.release()


def test_descriptor_that_is_anothers_by_now_is_left_open(service: str) -> None:
    """If the host has closed our descriptor and reuses its number, its file stays open."""
    names = InstanceNames()
    names.take(service, "node")
    (taken,) = names._taken.values()
    read, write = os.pipe()
    os.dup2(read, taken.descriptor)
    names.release()
    os.write(write, b".")
    assert os.read(taken.descriptor, 1) == b"."
    for descriptor in (read, write, taken.descriptor):
        os.close(descriptor)


def test_programs_that_are_started_do_not_hold_it(service: str) -> None:
    """A program that a process runs, and that outlives it, holds no name of it."""
    names = InstanceNames()
    names.take(service, "node")
    (taken,) = names._taken.values()
    assert not os.get_inheritable(taken.descriptor)
    names.release()
