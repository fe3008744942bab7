"""Room for a call's frames: no piece of stack is mapped and unmapped over and over."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from typing import Any

import pytest

from otel_cinder.patching.stack_room import call_with_room

CALLS, DEPTHS = 100, 300

SOME_PIECE_IS_KEPT = sys.version_info >= (3, 13)
"""Since one of its later releases: https://github.com/python/cpython/issues/142183."""


def leaf() -> None:
    """The loop's function: larger than a frame beneath it, so that at some depths it won't fit."""


leaf.__code__ = leaf.__code__.replace(co_stacksize=100)


def at_depth(depth: int) -> int:
    """Page faults of a loop of calls that runs under ``depth`` frames."""
    if depth:
        return at_depth(depth - 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(CALLS):
        leaf()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def worst(call: Callable[..., Any]) -> int:
    """Page faults of the unluckiest loop of all."""
    return max(int(call(at_depth, depth)) for depth in range(DEPTHS))


@pytest.mark.skipif(sys.version_info < (3, 11), reason="its frames are in no pieces")
def test_no_loop_maps_a_piece_of_stack_each_time_round() -> None:
    """Called as they are, some depth makes each call a page fault; with room, none does, nor with room in room."""
    if not SOME_PIECE_IS_KEPT:
        assert worst(lambda function, depth: function(depth)) >= CALLS
    assert worst(call_with_room) < CALLS // 4
    assert call_with_room(worst, call_with_room) < CALLS // 4


def test_it_passes_arguments_and_exceptions_on() -> None:
    """Nothing else changes."""
    assert call_with_room(dict, [("a", 1)], b=2) == {"a": 1, "b": 2}
    with pytest.raises(ZeroDivisionError):
        call_with_room(divmod, 1, 0)
