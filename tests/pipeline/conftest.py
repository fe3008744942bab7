"""The pipeline with its real programs, for the tests of this folder."""

from collections.abc import Iterator

import pytest

from tests.integration.broker import Broker
from tests.integration.database import Database
from tests.integration.installation import Installation
from tests.integration.processes import wait_until
from tests.integration.stack import CinderStack
from tests.integration.whole_create import ROOT
from tests.pipeline.programs import collector_binary, jaeger_binary
from tests.pipeline.region import EXTENT, Region


@pytest.fixture(scope="package")
def region(
    tmp_path_factory: pytest.TempPathFactory,
    installation: Installation,
    broker: Broker,
    database: Database,
) -> Iterator[Region]:
    """A region in which 200 volumes were made, and all was counted and scraped since."""
    collector_binary(), jaeger_binary()  # before Cinder is started for nothing
    folder = tmp_path_factory.mktemp("region")
    cinder = folder / "cinder"
    cinder.mkdir()
    stack = CinderStack("region", "eventlet", installation, broker, database, cinder, EXTENT)
    region = Region(folder, stack)
    try:
        region.start()
        region.run()
        counted = f'sum(traces_span_metrics_calls_total{{span_name="{ROOT}"}})'
        wait_until(
            lambda: region.prometheus.value(counted) >= 200, 300, "the creates to be counted"
        )
        yield region
    finally:
        region.close()
