"""``python -m grafana``: write the boards as JSON anew, for Grafana's provisioning."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard

from grafana.boards import BOARDS

FOLDER: Final = Path(__file__).with_name("dashboards")

# What the SDK writes unasked, its defaults, and not each Grafana from 11 to 13 has.
_OF_VARIABLES: Final = ("allowCustomValue", "auto", "auto_count", "auto_min")
_OF_LINKS: Final = ("placement",)
_OF_ANNOTATIONS: Final = ("builtIn", "placement")
_OF_OPTIONS: Final = {
    "bargauge": ("legend",),
    "heatmap": ("selectionMode",),
    "stat": ("percentChangeColorMode",),
    "table": ("footer",),
}


def text(board: dashboard.Dashboard) -> str:
    """A board as it is written."""
    found = json.loads(json.dumps(board, cls=JSONEncoder))
    for variable in found["templating"]["list"]:
        _drop(variable, _OF_VARIABLES)
    for link in found["links"]:
        _drop(link, _OF_LINKS)
    for annotation in found["annotations"]["list"]:
        _drop(annotation, _OF_ANNOTATIONS)
    for panel in found["panels"]:
        _drop(panel.get("options"), _OF_OPTIONS.get(panel["type"], ()))
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write all boards."""
    for make in BOARDS:
        board = make()
        (FOLDER / f"{board.uid}.json").write_text(text(board.build()), encoding="utf-8")


def _drop(found: Any, keys: tuple[str, ...]) -> None:
    for key in keys:
        found.pop(key, None)


if __name__ == "__main__":
    main()
