"""`live` without a terminal: a line for each stage as it ends, so that `| tee` makes a log of it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.text import Text

from otel_cinder.cli.live.rows import clock_text, details
from otel_cinder.cli.plain_text import print_line
from otel_cinder.cli.table import STYLES
from otel_cinder.reading.notes import ending
from otel_cinder.reading.operations import Operation, Operations
from otel_cinder.reading.steps import RUNNING, Step, steps_of, title_of
from otel_cinder.reading.story import duration_text, one_line
from otel_cinder.reading.words import Words

if TYPE_CHECKING:
    from rich.console import Console

    from otel_cinder.cli.live.view import Wanted


class Lines:
    """Prints what is new of the operations that are wanted."""

    def __init__(
        self, operations: Operations, words: Words, wanted: Wanted, console: Console
    ) -> None:
        self._operations = operations
        self._words = words
        self._wanted = wanted
        self._console = console
        self._told: dict[str, set[str]] = {}
        """By trace id: what was printed of it."""
        self._ended: set[str] = set()
        self._dropped = 0

    def tell(self, touched: Iterable[Operation]) -> None:
        """Print the stages that have come since the last time."""
        for operation in touched:
            if operation.services and self._wanted.has(operation):
                self._tell(operation)
        self._tell_ends()
        self._forget()

    def say(self, sentence: str) -> None:
        """Print a sentence that is about no operation."""
        self._print(Text(f"{clock_text(time.time_ns())} {sentence}", style="bold yellow"))

    def _tell(self, operation: Operation) -> None:
        is_new = operation.trace_id not in self._told
        told = self._told.setdefault(operation.trace_id, set())
        if is_new:
            start = clock_text(operation.trace().start_ns)
            title = title_of(operation.story(self._words))
            self._print(
                Text(
                    f"{start} {_short(operation)} {self._words.say('live_begins')}: {title}", "bold"
                )
            )
        new = [
            step for step in steps_of(operation, self._words, self._operations.usual) if step.stage
        ]
        for step in sorted(new, key=_end):
            key = _key(step)
            if key not in told:
                told.add(key)
                self._print(self._line(operation, step))
                for detail in details(step, self._words):
                    self._print(Text(" " * 13) + detail)

    def _line(self, operation: Operation, step: Step) -> Text:
        state = step.state or "·"
        duration = "" if step.duration_ns is None else duration_text(step.duration_ns)
        text = Text(f"{clock_text(_end(step))} {_short(operation)} ")
        text.append(f"{one_line(step.service):16} ", style="dim")
        style = "bold cyan" if step.state == RUNNING else STYLES[step.tone]
        text.append(f"{state:9} ", style=style)
        text.append(f"{duration:>7}  {'  ' * step.level}{step.words}")
        text.append(f"  ({step.name})", style="dim")
        return text

    def _tell_ends(self) -> None:
        now = time.monotonic()
        for trace_id in self._told.keys() - self._ended:
            operation = self._operations.get(trace_id)
            if operation is not None and operation.is_over(now):
                self._ended.add(trace_id)
                self._print(self._ending(operation))

    def _ending(self, operation: Operation) -> Text:
        story = operation.story(self._words)
        trace = story.trace
        took = duration_text(trace.end_ns - trace.start_ns)
        ids = " ".join(sorted(operation.ids))
        said = f"{self._words.say('live_ends')}: {title_of(story)} · {ending(story)} · {took}"
        style = "bold red" if story.final_error else "bold"
        text = Text(f"{clock_text(trace.end_ns)} {_short(operation)} {said}", style)
        text.append(f" · {one_line(ids)} · {trace.trace_id}", style="not bold dim")
        return text

    def _forget(self) -> None:
        """Say what was dropped, and forget it as well."""
        for trace_id in [t for t in self._told if self._operations.get(t) is None]:
            del self._told[trace_id]
            self._ended.discard(trace_id)
        dropped = self._operations.dropped
        if dropped and dropped >= 2 * self._dropped:  # not a line for each
            self._dropped = dropped
            count = self._operations.operations_dropped
            self.say(self._words.say("live_dropped", spans=dropped, operations=count))

    def _print(self, text: Text) -> None:
        print_line(text, self._console)


def _short(operation: Operation) -> str:
    return operation.trace_id[:8]


def _key(step: Step) -> str:
    stage = step.stage
    return f"{stage.kind == 'wait'} {stage.span.span_id}" if stage else ""


def _end(step: Step) -> int:
    """When a stage ended, in ns; a wait ends where its message's handling begins."""
    if step.stage is None:
        return 0
    span = step.stage.span
    return span.start_ns if step.stage.kind == "wait" else max(span.start_ns, span.end_ns)
