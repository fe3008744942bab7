"""What Jaeger keeps over a restart."""

import os
from pathlib import Path

import pytest

from tests.pipeline.otlp import Client, span
from tests.pipeline.programs import Jaeger


@pytest.mark.parametrize(("storage", "remembers"), [("badger", True), ("memory", False)])
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_trace_after_a_restart(tmp_path: Path, storage: str, remembers: bool, end: str) -> None:
    """Badger has what it acknowledged, even after kill -9; memory forgets."""
    jaeger = Jaeger(storage, tmp_path)
    trace_id = os.urandom(16)
    try:
        jaeger.start()
        client = Client(jaeger.otlp_grpc)
        client.send(span(trace_id), span(trace_id))
        client.close()
        getattr(jaeger, end)()
        jaeger.start()
        assert len(jaeger.spans(trace_id.hex())) == (2 if remembers else 0)
    finally:
        jaeger.kill()
