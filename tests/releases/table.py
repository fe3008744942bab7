"""docs/releases.md: what was tried, and what came of it. `make matrix` writes it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "releases.md"

_COLUMNS = (
    "OpenStack",
    "Cinder",
    "Python",
    "libraries",
    "OpenTelemetry",
    "services",
    "create",
    "failing create",
    "attach",
)

_HEAD = """\
# What was tried

[`make matrix`](../CONTRIBUTING.md#tests-of-the-releases) installs the Cinder of each OpenStack release, adds otel-cinder as [requirements](../requirements/README.md) says, runs what the table names, and writes this page. The numbers are spans of one trace. On all rows, a trace has the same spans, attributes and events (over RabbitMQ, a message also has its queue's name, and a reschedule one log line more), and no place of Cinder or its libraries is left unpatched.

Each release is installed in a virtualenv of its own, and `pip freeze` is compared before and after: nothing that Cinder had moves. A create fails because the driver does; Cinder then tries again, and gives up. *Mixed* is a cloud in the middle of an upgrade: cinder-api is one release behind.

Rows with pre-releases of the libraries may fail. They tell what is to come.

"""


class Table:
    """Rows of the page. Those that are not tried anew stay as they are."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._keys = len(_COLUMNS) - 3
        for line in PAGE.read_text().splitlines() if PAGE.exists() else ():
            cells = tuple(cell.strip() for cell in line.strip("|").split("|"))
            if len(cells) == len(_COLUMNS) and cells[0] not in (_COLUMNS[0], "---"):
                self._add(cells)

    @contextlib.contextmanager
    def row(self, *keys: str) -> Iterator[dict[str, int]]:
        """Add a row: the caller puts in how many spans each operation made."""
        spans: dict[str, int] = {}
        try:
            yield spans
        except BaseException:
            self._add((*keys, "fails", "", ""))
            raise
        self._add((*keys, *(str(spans.get(name, "")) for name in _COLUMNS[self._keys :])))

    def write(self) -> None:
        """Write the page: by release, the oldest first, and as they were tried."""
        lines = [_COLUMNS, ("---",) * len(_COLUMNS), *self._rows.values()]
        PAGE.write_text(_HEAD + "".join(f"| {' | '.join(cells)} |\n" for cells in lines))

    def _add(self, cells: tuple[str, ...]) -> None:
        # Not the version of OpenTelemetry: it may be a newer one this time.
        key = (*cells[:4], cells[5])
        self._rows[key] = cells
        self._rows = dict(sorted(self._rows.items(), key=lambda row: _major(row[1])))


def _major(cells: tuple[str, ...]) -> int:
    """The newest Cinder of a row, such as `28.0.0` or `28.0.0 and 29.0.0`."""
    return int(cells[1].split()[-1].partition(".")[0])
