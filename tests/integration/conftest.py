"""Real servers and real Cinder for the tests of this folder."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.broker import Broker
from tests.integration.complaints import complaints
from tests.integration.configuration import SMALL, Extent, Mode
from tests.integration.database import Database
from tests.integration.glance import Glance
from tests.integration.installation import Installation
from tests.integration.names import unlisted
from tests.integration.operations import Operations
from tests.integration.processes import server_binary
from tests.integration.stack import CinderStack
from tests.integration.watch import Watch
from tests.receiver import Receiver

LOG_TAIL = 4_000


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """A collector on the loopback that can be told to fail."""
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def new_stack(
    tmp_path_factory: pytest.TempPathFactory,
    installation: Installation,
    broker: Broker,
    database: Database,
) -> Iterator[Callable[..., CinderStack]]:
    """Make Cinders that are not started yet, and end them with the module."""
    stacks: list[CinderStack] = []

    def make(mode: Mode, extent: Extent = SMALL) -> CinderStack:
        for running in stacks:  # two processors bear one Cinder at a time
            running.close()
        folder = tmp_path_factory.mktemp(mode)
        name = f"cinder_{folder.name}"
        stacks.append(CinderStack(name, mode, installation, broker, database, folder, extent))
        return stacks[-1]

    yield make
    for stack in stacks:
        stack.close()


@pytest.fixture
def cinder(stack: CinderStack) -> Operations:
    """Operations whose answers are this test's own."""
    return Operations(stack)


@pytest.fixture
def watch(cinder: Operations, receiver: Receiver, request: pytest.FixtureRequest) -> Watch:
    """The traces of what `cinder` is asked for."""
    return Watch(cinder, receiver, request.config.getoption("--update-goldens"))


@pytest.fixture(scope="session")
def glance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Glance]:
    """The image service."""
    server_binary("qemu-img", "qemu-utils")
    glance = Glance(tmp_path_factory.mktemp("glance"))
    try:
        glance.start()
        yield glance
    finally:
        glance.close()


@pytest.fixture(autouse=True)
def unsoiled_logs(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test with a Cinder: its logs have nothing that tracing brought in."""
    yield
    stack = request.node.funcargs.get("stack")
    if isinstance(stack, CinderStack):
        assert not complaints(stack.new_logs())


@pytest.fixture(autouse=True)
def listed_names(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test with a collector: nothing arrived that is not on the list in the docs."""
    yield
    receiver = request.node.funcargs.get("receiver")
    if isinstance(receiver, Receiver):
        assert not unlisted(receiver)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Function) -> Iterator[None]:
    """Show the end of each service's log with a failure."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    stack = getattr(item, "funcargs", {}).get("stack")
    if report.failed and isinstance(stack, CinderStack):
        for service, log in stack.logs().items():
            where: Path = stack.folder / f"{service}.log"
            report.sections.append((f"{service}, the end of {where}", log[-LOG_TAIL:]))
