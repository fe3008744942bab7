"""The pipeline with its real programs, for the tests of this folder."""

from collections.abc import Iterator

import pytest

from grafana import series
from grafana.boards.board import VOLUMES_IN_ERROR
from otel_cinder.conventions import FLOW_NAME, FLOW_STATE, HTTP_STATUS, RESOURCE_STATUS
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
        wait_until(lambda: _is_counted(region), 300, "the creates to be counted")
        yield region
    finally:
        region.close()


def _is_counted(region: Region) -> bool:
    """True once Prometheus has the last of the creates, from the collector and from each service."""
    refused = series.REQUESTS.where(HTTP_STATUS, "=", "413").events
    in_error = VOLUMES_IN_ERROR.where(RESOURCE_STATUS, "=", "error").events
    reverted = (
        series.FLOWS.where(FLOW_NAME, "=", "volume_create_manager")
        .where(FLOW_STATE, "=", "REVERTED")
        .events
    )
    least = {
        f'traces_span_metrics_calls_total{{span_name="{ROOT}"}}': sum(
            map(len, region.creates.values())
        ),
        refused: len(region.creates["over quota"]),
        in_error: len(region.creates["fits nowhere"]) + len(region.creates["fails everywhere"]),
        reverted: 2 * len(region.creates["fails everywhere"]),
    }
    # Ten seconds ago: a rate needs more than one scrape.
    return all(
        region.prometheus.value(f"sum({each} offset 10s)") >= count for each, count in least.items()
    )
