"""OpenStack's own ways of tracing, switched on beside otel-cinder."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from osprofiler import _utils as osprofiler

from tests.integration.arrivals import arrived, settle
from tests.integration.configuration import Extent, Mode, Tracing
from tests.integration.installation import Installation
from tests.integration.stack import CinderStack
from tests.integration.whole_create import (
    TREE,
    assert_no_span_twice,
    assert_whole_create,
    create_traces,
    request_id,
)
from tests.receiver import Receiver

HMAC_KEY = "c1nder-hmac-k3y"
FACTORY = "oslo_middleware.tracing:TracingMiddleware.factory"


@pytest.fixture
def theirs() -> Iterator[Receiver]:
    """The collector of the others' tracing."""
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def new_traced_stack(
    new_stack: Callable[[Mode, Extent], CinderStack], receiver: Receiver
) -> Callable[[Mode, Extent], CinderStack]:
    """Make a Cinder and start it, traced by us as well."""

    def make(mode: Mode, extent: Extent) -> CinderStack:
        stack = new_stack(mode, extent)
        stack.start(Tracing(receiver.endpoint))
        return stack

    return make


def assert_creates_are_whole(
    stack: CinderStack, receiver: Receiver, headers: Mapping[str, str], tree: str = TREE
) -> None:
    """Make volumes; their traces are this one."""
    settle(receiver)
    receiver.clear()
    answers = stack.create(4, headers=headers)
    stack.wait_available(answer.volume_id for answer in answers)
    spans = arrived(receiver, 4 * len(tree.splitlines()))
    assert_no_span_twice(spans)
    wanted = {answer.request_id for answer in answers}
    traces = [trace for trace in create_traces(spans) if request_id(trace) in wanted]
    for trace in traces:
        assert_whole_create(trace, tree=tree)
    assert len(traces) == 4


@pytest.mark.parametrize("mode", ["eventlet", "uwsgi"])
def test_creates_are_whole_beside_osprofiler(
    mode: Mode,
    new_traced_stack: Callable[[Mode, Extent], CinderStack],
    receiver: Receiver,
    theirs: Receiver,
) -> None:
    """With [profiler] connection_string = otlp://, which sets a global provider before the fork, all
    spans of a create arrive, whether osprofiler traces the request as well or not.
    """
    endpoint = theirs.endpoint.replace("http://", "otlp://")
    options = {"enabled": "true", "hmac_keys": HMAC_KEY, "connection_string": endpoint}
    stack = new_traced_stack(mode, Extent(sections={"profiler": options}))
    for headers in (profiled(), {}):
        assert_creates_are_whole(stack, receiver, headers)


@pytest.mark.parametrize("mode", ["eventlet"])
def test_creates_are_whole_beside_oslo_middlewares_tracing(
    mode: Mode,
    new_traced_stack: Callable[[Mode, Extent], CinderStack],
    installation: Installation,
    receiver: Receiver,
    theirs: Receiver,
    tmp_path: Path,
) -> None:
    """Where oslo.middleware's tracing is set up before the fork and its spans go nowhere, the
    request's span is ours, and all else is below it.
    """
    paste = tmp_path / "api-paste.ini"
    pipeline = (installation.etc / paste.name).read_text()
    assert pipeline.count(" noauth_include_project_id apiv3") == 1
    pipeline = pipeline.replace(" noauth_include_project_id", " tracing noauth_include_project_id")
    paste.write_text(f"{pipeline}\n[filter:tracing]\npaste.filter_factory = {FACTORY}\n")
    options = {"enabled": "true", "otlp_endpoint": theirs.endpoint, "service_name": "cinder-api"}
    extent = Extent(
        options={"api_paste_config": paste}, sections={"oslo_middleware_tracing": options}
    )
    assert_creates_are_whole(new_traced_stack(mode, extent), receiver, {})
    assert theirs.spans() == []


def profiled() -> Mapping[str, str]:
    """Headers by which a client has its request traced by osprofiler."""
    base = "11111111-2222-3333-4444-555555555555"
    packed, hmac = osprofiler.signed_pack({"base_id": base, "parent_id": base}, HMAC_KEY)
    return {"X-Trace-Info": packed.decode(), "X-Trace-HMAC": hmac}
