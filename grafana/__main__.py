"""``python -m grafana``: write the boards as JSON anew, for Grafana's provisioning."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from grafana.boards import BOARDS, Board

FOLDER: Final = Path(__file__).with_name("dashboards")


def text(board: Board) -> str:
    """A board as it is written."""
    return json.dumps(board.build(), cls=JSONEncoder, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write all boards."""
    for make in BOARDS:
        board = make()
        (FOLDER / f"{board.uid}.json").write_text(text(board), encoding="utf-8")


if __name__ == "__main__":
    main()
