"""Starts, of which each process tells; and stops the way systemd does them by default: SIGTERM to
parents and workers, all at once.
"""

import re
from collections import Counter
from collections.abc import Callable

import pytest

from tests.integration.arrivals import settle
from tests.integration.configuration import MODES, Mode, Tracing
from tests.integration.stack import CinderStack
from tests.integration.whole_create import (
    assert_no_span_twice,
    assert_whole_create,
    create_traces,
    request_id,
)
from tests.receiver import Receiver

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

# Spans leave only with a full batch, which no test here makes, or when the process ends.
NEVER_ON_ITS_OWN = {
    "OTEL_BSP_SCHEDULE_DELAY": "3600000",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "2048",
}


SAID = re.compile(
    r" (\d+) INFO otel_cinder \[-\] otel-cinder \S+ traces (\S+)(?: \(\S+\))?: (\d+) places patched, "
    r"(?:\d+ wait for modules that are not imported; )?"
    r"spans and metrics go to (\S+) \(http/protobuf\); the sampler is parentbased_always_on\.$",
    re.MULTILINE,
)


def assert_each_process_has_said_that_it_is_traced(stack: CinderStack, receiver: Receiver) -> None:
    """Each log has one line of each process, parents too, with default levels."""
    for service, log in stack.logs().items():
        said = SAID.findall(log)
        family = {str(process.pid) for process in stack.services[service].family()}
        assert Counter(pid for pid, *_ in said) == Counter(family), service
        assert {(name, endpoint) for _, name, _, endpoint in said} == {(service, receiver.endpoint)}
        assert all(int(places) >= 40 for *_, places, _ in said)


@pytest.mark.parametrize("mode", MODES)
def test_start_is_logged_and_stop_of_a_control_group_sends_waiting_spans(
    mode: Mode, new_stack: Callable[[Mode], CinderStack], receiver: Receiver
) -> None:
    """All that was recorded before the first SIGTERM arrives, although workers get a second one."""
    stack = new_stack(mode)
    stack.start(Tracing(receiver.endpoint, env=NEVER_ON_ITS_OWN))
    settle(receiver)
    receiver.clear()
    answers = stack.create(16)
    stack.wait_available(answer.volume_id for answer in answers)
    assert receiver.spans() == []
    assert_each_process_has_said_that_it_is_traced(stack, receiver)
    stack.terminate_all()
    stack.wait_ended(60)
    spans = settle(receiver)
    assert_no_span_twice(spans)
    wanted = {answer.request_id for answer in answers}
    traces = [trace for trace in create_traces(spans) if request_id(trace) in wanted]
    for trace in traces:
        assert_whole_create(trace)
    assert len(traces) == 16
