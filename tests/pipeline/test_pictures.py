"""The boards as a browser draws them, with Grafana's own components; `make picture` keeps the pictures."""

from pathlib import Path

import pytest

from tests.pipeline.drawing import Asking, Page
from tests.pipeline.region import Region

# How many lines of a board's grid are worth a picture.
LINES = {"cinder-glance": 46, "cinder-create": 47, "cinder-rpc": 47, "otel-cinder": 44}
AGE = "time() - min(min_over_time(timestamp(otel_sdk_span_started_total)[1h:5s]))"
DRAWN_BY_A_CANVAS = "timeseries"


@pytest.mark.nightly
@pytest.mark.parametrize("uid", LINES)
def test_a_board_is_drawn(
    region: Region, uid: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """A real browser shows each panel with its title, and each graph that is not empty."""
    window_s = round(region.prometheus.value(AGE)) + 20
    page = Page(Asking(region, window_s, max(5, window_s // 80)), uid, LINES[uid], tmp_path)
    text = page.text()
    for panel in page.panels:
        assert panel["title"].replace("'", "&#39;") in text or panel["title"] in text
    graphs = [
        panel
        for panel in page.panels
        if panel["type"] == DRAWN_BY_A_CANVAS and any(each["result"] for each in panel["answers"])
    ]
    assert text.count("<canvas") == len(graphs) > 0
    picture = page.picture()
    assert picture.startswith(b"\x89PNG")
    kept = request.config.getoption("--pictures")
    if kept:
        assert len(picture) < 200_000, "too much for the docs: show fewer lines"
        (Path(kept) / f"{uid}.png").write_bytes(picture)
