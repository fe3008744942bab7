"""A benchmark's report: a table, and a verdict on each bound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from benchmarks import estimates
from benchmarks.estimates import Estimate, Round


@dataclass(frozen=True)
class Check:
    """A measured value and the most that it may be."""

    what: str
    value: Estimate
    bound: float
    unit: str = ""

    @property
    def holds(self) -> bool:
        """True if the value is within its bound."""
        return self.value.value <= self.bound

    @property
    def close(self) -> bool:
        """True if the bound lies within the interval: another run may decide differently."""
        return self.value.low <= self.bound <= self.value.high


@dataclass
class Report:
    """One benchmark's table of what was measured, its checks, and remarks."""

    title: str
    columns: Sequence[str] = ()
    rows: list[Sequence[str]] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failed: bool = False
    """Set where nothing could be measured although it had to be."""

    @property
    def passed(self) -> bool:
        """True if every bound holds."""
        return not self.failed and all(check.holds for check in self.checks)

    def print(self, console: Console) -> None:
        """Print the table, the checks and the remarks."""
        if self.rows:
            table = Table(title=self.title, title_justify="left", title_style="bold")
            for index, column in enumerate(self.columns):
                table.add_column(column, justify="right" if index else "left")
            for row in self.rows:
                table.add_row(*row)
            console.print(table)
        else:
            console.print(f"[bold]{self.title}[/bold]")
        if self.checks:
            table = Table("bound", title_justify="left")
            for column in ("measured", "95 % interval", "at most", ""):
                table.add_column(column, justify="right")
            for check in self.checks:
                table.add_row(*_cells(check))
            console.print(table)
        for note in self.notes:
            console.print(note, style="dim", highlight=False)
        console.print()


def interval(estimate: Estimate, digits: int = 1) -> str:
    """The interval of an estimate, for a table's cell."""
    return f"{estimate.low:.{digits}f} to {estimate.high:.{digits}f}"


def comparison(
    rounds: Sequence[Round], base: str, variants: Sequence[str], reference: str, digits: int = 1
) -> list[Sequence[str]]:
    """Rows for ``base`` and each variant: its cost, what it adds, that one's interval, and what it adds
    divided by what ``reference`` adds.
    """
    rows: list[Sequence[str]] = [
        (base, f"{estimates.typical(rounds, base).value:.{digits}f}", "", "", "")
    ]
    for name in variants:
        added = estimates.added(rounds, name, base)
        cost = estimates.typical(rounds, name).value
        share = estimates.ratio(rounds, name, reference, base).value
        rows.append(
            (name, f"{cost:.{digits}f}", f"{added.value:.1f}", interval(added), f"{share:.2f}")
        )
    return rows


def _cells(check: Check) -> Sequence[str]:
    verdict = "[green]PASS[/green]" if check.holds else "[bold red]over[/bold red]"
    return (
        check.what,
        f"{check.value.value:.2f}{check.unit}",
        interval(check.value, 2),
        f"{check.bound:.2f}{check.unit}",
        verdict + (" (close)" if check.close else ""),
    )
