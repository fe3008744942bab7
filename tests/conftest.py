"""What tests of several folders share."""

from collections.abc import Iterator

import pytest

from tests.integration.broker import Broker


def pytest_addoption(parser: pytest.Parser) -> None:
    """Make the goldens anew, from what the tests see."""
    parser.addoption("--update-goldens", action="store_true", help="remake tests/*/golden/*.txt")


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
    """What oslo.messaging's transport_url wants, for tests without Cinder."""
    return broker.url()
