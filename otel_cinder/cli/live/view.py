"""The view of `live`: a list of requests, and the chosen one as its stages. Draws lines, no terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.cells import cell_len
from rich.text import Text

from otel_cinder.cli.live.rows import SHORT, TELLING, WHOLE, clock_text, row_lines
from otel_cinder.cli.report.markdown import to_markdown
from otel_cinder.reading.notes import notes_of
from otel_cinder.reading.operations import Operation, Operations
from otel_cinder.reading.steps import RUNNING, Step, steps_of, title_of
from otel_cinder.reading.story import duration_text, one_line
from otel_cinder.reading.words import Words

_MESSAGE_S = 8.0
_LEAST_LIST, _MOST_LIST = 3, 10
_NARROW = 72


@dataclass(frozen=True)
class Wanted:
    """Which operations are to be seen."""

    volume: str = ""
    request: str = ""
    errors: bool = False

    def has(self, operation: Operation) -> bool:
        """Return whether an operation is one of them, by what has come of it."""
        if self.errors and not operation.has_error:
            return False
        return all(
            not wanted or any(found.startswith(wanted) for found in operation.ids)
            for wanted in (self.volume, self.request)
        )


class View:
    """What is seen, and the keys that change it."""

    def __init__(
        self,
        operations: Operations,
        words: Words,
        wanted: Wanted,
        variables: list[str],
        overrun: Callable[[], int] = lambda: 0,
    ) -> None:
        self._operations = operations
        self._words = words
        self._wanted = wanted
        self._variables = variables
        self._overrun = overrun
        self._only_errors = wanted.errors
        self._follows = True
        self._filter = ""
        self._is_typing = False
        self._is_whole = False
        self._scroll: int | None = None
        self._page = 10
        self._first = self._most_scroll = 0
        self._chosen = ""
        self._message = ""
        self._message_at = 0.0
        self.is_done = False

    def say(self, sentence: str) -> None:
        """Show a sentence for some seconds."""
        self._message, self._message_at = sentence, time.monotonic()

    def shown(self) -> list[Operation]:
        """The operations in the list, the newest first."""
        wanted = Wanted(self._wanted.volume, self._wanted.request, self._only_errors)
        found = [op for op in self._operations if wanted.has(op) and self._matches(op)]
        return found[::-1]

    def _matches(self, operation: Operation) -> bool:
        sought = self._filter.casefold()
        if not sought:
            return True
        texts = [*operation.ids, *operation.services, title_of(operation.story(self._words))]
        return any(sought in text.casefold() for text in texts)

    # Keys

    def press(self, key: str) -> None:
        """Obey a key: a character, or the name of a key that has none."""
        if self._is_typing:
            self._type(key)
            return
        match key:
            case "q":
                self.is_done = True
            case "up" | "k":
                self._move(-1)
            case "down" | "j":
                self._move(1)
            case "page up":
                self._move(-self._page)
            case "page down" | " ":
                self._move(self._page)
            case "home":
                self._move(-1_000_000)
            case "end":
                self._move(1_000_000)
            case "enter":
                self._is_whole, self._scroll = not self._is_whole, None
            case "escape":
                self._leave()
            case "f":
                self._follows = True
                self._scroll = None
            case "e":
                self._only_errors = not self._only_errors
            case "/":
                self._is_typing = True
            case "n":
                self._save_notes()

    def _type(self, key: str) -> None:
        match key:
            case "enter":
                self._is_typing = False
            case "escape":
                self._is_typing, self._filter = False, ""
            case "backspace":
                self._filter = self._filter[:-1]
            case _ if len(key) == 1 and key.isprintable():
                self._filter += key

    def _leave(self) -> None:
        if self._is_whole:
            self._is_whole, self._scroll = False, None
        else:
            self._filter = ""

    def _move(self, by: int) -> None:
        if self._is_whole:
            at = self._first if self._scroll is None else self._scroll
            self._scroll = max(0, min(self._most_scroll, at + by))
            return
        shown = self.shown()
        if not shown:
            return
        places = {op.trace_id: i for i, op in enumerate(shown)}
        at = places.get(self._chosen, 0)
        self._chosen = shown[max(0, min(len(shown) - 1, at + by))].trace_id
        self._follows = False

    def _save_notes(self) -> None:
        operation = self._operations.get(self._chosen)
        if operation is None:
            return
        name = next((i for i in sorted(operation.ids) if i.startswith("req-")), operation.trace_id)
        safe = "".join(c if c.isalnum() or c == "-" else "_" for c in name)
        text = to_markdown([notes_of(operation.story(self._words))], None)
        try:
            path = _write_new(Path.cwd() / f"notes-{safe[:64]}.md", text)
        except OSError as error:
            self.say(self._words.say("live_not_saved", reason=error.strerror or error))
            return
        self.say(self._words.say("live_saved", path=path))

    # What is drawn

    def lines(self, width: int, height: int) -> list[Text]:
        """The screen: at most ``height`` lines, none wider than ``width``."""
        shown = self.shown()
        self._choose(shown)
        chosen = self._operations.get(self._chosen) if shown else None
        top = (
            []
            if self._is_whole and chosen
            else [self._title(width), *self._list(shown, width, height)]
        )
        bottom = self._bottom(width)
        room = max(0, height - len(top) - len(bottom))
        middle = self._stages(chosen, width, room) if chosen else self._empty(width)
        middle = middle[:room]
        blank = [Text("")] * (room - len(middle))
        drawn = [*top, *middle, *blank, *bottom][:height]
        for line in drawn:
            line.truncate(width)
        return drawn

    def _choose(self, shown: list[Operation]) -> None:
        if not shown:
            return
        if self._follows:
            self._chosen = next((op for op in shown if not op.only_reads), shown[0]).trace_id
        elif all(op.trace_id != self._chosen for op in shown):
            self._chosen = shown[0].trace_id

    def _title(self, width: int) -> Text:
        say, now = self._words.say, time.monotonic()
        everything = list(self._operations)
        running = sum(not op.is_over(now) for op in everything)
        failed = sum(op.has_error for op in everything)
        parts = [say("live_requests", count=len(everything), running=running, failed=failed)]
        if self._follows:
            parts.append(say("live_follows"))
        if self._only_errors:
            parts.append(say("live_only_errors"))
        if self._filter and not self._is_typing:
            parts.append(say("live_filter", text=self._filter))
        text = Text("otel-cinder live", style="bold")
        text.append(f" · {' · '.join(parts)}", style="not bold")
        text.truncate(width, overflow="ellipsis")
        return text

    def _list(self, shown: list[Operation], width: int, height: int) -> list[Text]:
        if not shown:
            return []
        room = min(len(shown), max(_LEAST_LIST, min(_MOST_LIST, height // 4)))
        at = next(i for i, op in enumerate(shown) if op.trace_id == self._chosen)
        first = max(0, min(at - room // 2, len(shown) - room))
        return [self._entry(op, width) for op in shown[first : first + room]] + [
            Text("─" * width, style="dim")
        ]

    def _entry(self, operation: Operation, width: int) -> Text:
        now = time.monotonic()
        story = operation.story(self._words)
        is_chosen = operation.trace_id == self._chosen
        state, style, sign = self._state(operation, now)
        text = Text("▶ " if is_chosen else "  ", style="bold" if is_chosen else "", no_wrap=True)
        text.append(clock_text(story.trace.start_ns)[:8] + "  ")
        text.append(f"{sign} ", style=style)
        text.append(_padded(duration_text(self._age(operation, now)), 7, right=True))
        text.append(f"  {title_of(story)}", style="bold" if is_chosen else "")
        ids = [each[: 12 if each.startswith("req-") else 8] for each in _ids(operation)]
        if width < _NARROW:
            ids = ids[:1]
        text.append("".join(f"  {value}" for value in ids), style="not bold dim")
        if state:
            text.append(f"  {state}", style=style)
        text.truncate(width, overflow="ellipsis")
        return text

    def _state(self, operation: Operation, now: float) -> tuple[str, str, str]:
        """How an operation is doing: in a word, its style and its sign."""
        if not operation.is_over(now):
            return RUNNING, "bold yellow" if operation.has_error else "bold cyan", "▶"
        story = operation.story(self._words)
        if story.final_error:
            return story.final_error.partition(":")[0], "bold red", "✗"
        if operation.has_error:
            return (
                self._words.say("recovered", error=story.any_error.partition(":")[0]),
                "yellow",
                "✓",
            )
        return "", "green", "✓"

    def _age(self, operation: Operation, now: float) -> int:
        trace = operation.trace()
        if operation.is_over(now):
            return trace.end_ns - trace.start_ns
        return max(trace.end_ns, time.time_ns()) - trace.start_ns

    def _stages(self, operation: Operation, width: int, room: int) -> list[Text]:
        steps = steps_of(operation, self._words, self._operations.usual)
        head = self._head(operation, width)
        has_failed = bool(operation.story(self._words).final_error)
        lines, mark = self._drawn(steps, width, WHOLE, has_failed=has_failed)
        for detail in () if self._is_whole else (SHORT, TELLING):
            if len(lines) + len(head) > room:
                lines, mark = self._drawn(steps, width, detail, has_failed=has_failed)
        return head + self._window(lines, mark, max(0, room - len(head)))

    def _drawn(
        self, steps: list[Step], width: int, detail: int, *, has_failed: bool
    ) -> tuple[list[Text], int]:
        """The lines of all rows, and which of them is to be seen in any case."""
        lines: list[Text] = []
        mark = failed = -1
        for step in steps:
            drawn = list(row_lines(step, self._words, width, detail))
            if step.state == RUNNING:
                mark = len(lines) + len(drawn) - 1
            if step.error and has_failed:
                failed = len(lines)
            lines += drawn
        return lines, mark if mark >= 0 else failed if failed >= 0 else len(lines) - 1

    def _window(self, lines: list[Text], mark: int, room: int) -> list[Text]:
        """As many lines as there is room for, and how many there are above and below them."""
        self._page = max(1, room - 3)
        if len(lines) <= room:
            self._first = self._most_scroll = 0
            return lines
        inner = max(1, room - 2)
        self._most_scroll = len(lines) - inner
        first = (
            mark - inner * 2 // 3 if self._scroll is None or not self._is_whole else self._scroll
        )
        first = max(0, min(first, self._most_scroll))
        self._first = first
        say, below = self._words.say, len(lines) - first - inner
        above = Text(say("live_above", count=first) if first else "", style="dim")
        rest = Text(say("live_below", count=below) if below else "", style="dim")
        return [above, *lines[first : first + inner], rest][:room]

    def _head(self, operation: Operation, width: int) -> list[Text]:
        story, now = operation.story(self._words), time.monotonic()
        state, style, sign = self._state(operation, now)
        text = Text(f"{title_of(story)} ", style="bold", no_wrap=True)
        text.append(f"{sign} {state or self._words.say('ended_well')}", style=f"not bold {style}")
        text.append(f" · {duration_text(self._age(operation, now))}", style="not bold")
        ids = " · ".join(_ids(operation))
        text.append(f" · {ids}" if ids else "", style="not bold dim")
        text.truncate(width, overflow="ellipsis")
        return [text]

    def _empty(self, width: int) -> list[Text]:
        say, count = self._words.say, len(list(self._operations))
        if count:
            return [Text(""), Text(say("live_none_shown", count=count), style="yellow")]
        lines = [Text(""), Text(say("live_waiting"), style="bold"), Text(""), Text(say("live_set"))]
        lines += [Text(f"  {variable}", style="cyan") for variable in self._variables]
        lines.append(Text(say("live_why_still_running")))
        for line in lines:
            line.truncate(width, overflow="ellipsis")
        return lines

    def _bottom(self, width: int) -> list[Text]:
        say, lines = self._words.say, []
        if self._operations.dropped:
            told = say(
                "live_dropped",
                spans=self._operations.dropped,
                operations=self._operations.operations_dropped,
            )
            lines.append(Text(told, style="yellow"))
        if self._overrun():
            lines.append(Text(say("live_overrun", spans=self._overrun()), style="bold red"))
        if self._message and time.monotonic() - self._message_at < _MESSAGE_S:
            lines.append(Text(self._message, style="bold yellow"))
        if self._is_typing:
            lines.append(Text(f"/{self._filter}█  {say('live_keys_filter')}"))
        else:
            lines.append(
                Text(say("live_keys_whole" if self._is_whole else "live_keys"), style="dim")
            )
        for line in lines:
            line.truncate(width, overflow="ellipsis")
        return lines


def _ids(operation: Operation) -> list[str]:
    """What an operation is about, to be recognised by: requests first."""
    ids = sorted(operation.ids, key=lambda each: (not each.startswith("req-"), each))
    return [one_line(each) for each in ids[:3]]


def _padded(text: str, width: int, *, right: bool = False) -> str:
    blanks = " " * max(0, width - cell_len(text))
    return blanks + text if right else text + blanks


def _write_new(path: Path, text: str) -> Path:
    """Write a file that is not there yet; adds a number to its name if need be. Raises OSError."""
    for number in range(1, 1000):
        candidate = path if number == 1 else path.with_stem(f"{path.stem}-{number}")
        try:
            with candidate.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            continue
        return candidate
    raise FileExistsError(17, "there are too many of that name", str(path))
