"""Fixtures of tests in several folders."""

import signal
from collections.abc import Iterator

import pytest

from tests.integration.broker import Broker
from tests.integration.database import TEMPLATE, Database
from tests.integration.installation import Installation


def pytest_addoption(parser: pytest.Parser) -> None:
    """Make the goldens and the docs' pictures anew, from what the tests see."""
    parser.addoption("--update-goldens", action="store_true", help="remake tests/*/golden/*.txt")
    parser.addoption("--update-table", action="store_true", help="add to docs/releases.md")
    parser.addoption("--pictures", metavar="FOLDER", help="keep the pictures of the boards there")


def pytest_configure() -> None:
    """Let Ctrl-C reach the programs that are tested: a shell starts what is in its background deaf to it."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the first test that needs Glance, or the region, the time that it takes to make it."""
    for item in items:
        if not {"glance", "region"}.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A RabbitMQ of our own."""
    broker = Broker(tmp_path_factory.mktemp("rabbitmq"))
    try:
        broker.start()
        yield broker
    finally:
        broker.close()


@pytest.fixture(scope="session")
def broker_url(broker: Broker) -> str:
    """A value for oslo.messaging's transport_url, for tests without Cinder."""
    return broker.url()


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The wheel, built once and installed next to Cinder."""
    return Installation(tmp_path_factory.mktemp("installation"))


@pytest.fixture(scope="session")
def database(
    tmp_path_factory: pytest.TempPathFactory, installation: Installation
) -> Iterator[Database]:
    """A MariaDB of our own, which has Cinder's schema ready to copy."""
    folder = tmp_path_factory.mktemp("mariadb")
    database = Database(folder)
    try:
        database.start()
        configuration = folder / "cinder.conf"
        configuration.write_text(
            f"[DEFAULT]\nstate_path = {folder}\n[database]\nconnection = {database.url(TEMPLATE)}\n"
        )
        database.make_template(
            installation.python, installation.script("cinder-manage"), configuration
        )
        yield database
    finally:
        database.close()
