"""Tasks and retry controllers that flows of the tests are made of."""

from __future__ import annotations

import time
from typing import Any

from opentelemetry import trace
from taskflow import retry, task


class Succeeds(task.Task):
    """Returns a value."""

    default_provides = "value"

    def execute(self) -> str:
        return "done"

    def revert(self, **_kwargs: Any) -> None:
        """Undo nothing."""


class OpensChild(task.Task):
    """Opens a span of its own in its execute()."""

    def execute(self) -> None:
        with trace.get_tracer("test").start_as_current_span("child"):
            pass


class Seen(task.Task):
    """Remembers the span that is current in execute() and revert()."""

    def __init__(self, name: str, seen: dict[str, int], fails: bool = False) -> None:
        super().__init__(name)
        self.seen, self.fails = seen, fails

    def execute(self) -> None:
        self.seen[self.name] = trace.get_current_span().get_span_context().span_id
        if self.fails:
            raise ValueError("no space left")

    def revert(self, **_kwargs: Any) -> None:
        self.seen["revert " + self.name] = trace.get_current_span().get_span_context().span_id


class Fails(task.Task):
    """Raises, and reverts well."""

    def execute(self) -> None:
        raise ValueError("no space left, password=hunter2")

    def revert(self, **_kwargs: Any) -> None:
        """Undo nothing."""


class RevertFails(task.Task):
    """Raises when it is reverted."""

    def execute(self) -> None:
        """Do nothing."""

    def revert(self, **_kwargs: Any) -> None:
        raise KeyError("gone")


class Sleeps(task.Task):
    """Sleeps for so many seconds."""

    def __init__(self, name: str, seconds: float) -> None:
        super().__init__(name)
        self.seconds = seconds

    def execute(self) -> None:
        time.sleep(self.seconds)


class FailsTwice(task.Task):
    """Succeeds at the third attempt."""

    def __init__(self) -> None:
        super().__init__()
        self.attempts = 0

    def execute(self) -> None:
        self.attempts += 1
        if self.attempts < 3:
            raise ConnectionError(f"attempt {self.attempts}")


class Interrupted(task.Task):
    """The operator presses Ctrl-C."""

    def execute(self) -> None:
        raise KeyboardInterrupt


class NeedsSomething(task.Task):
    """Requires an argument that no atom provides."""

    def execute(self, something: str) -> None:
        """Never run."""


class ThreeTimes(retry.Times):
    """Three attempts."""

    def __init__(self) -> None:
        super().__init__(3, name="tests.ThreeTimes")


class BrokenRetry(retry.Times):
    """Raises when it is asked what to do first."""

    def execute(self, history: Any, *args: Any, **kwargs: Any) -> int:
        raise RuntimeError("broken controller")
