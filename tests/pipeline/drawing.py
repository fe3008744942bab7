"""What Grafana's own code makes of a board, asked of real programs as Grafana asks."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.boards import BOARDS, ROOT, panels
from tests.integration.processes import missing
from tests.pipeline.programs import HTTP, built
from tests.pipeline.region import Region

SOURCE = ROOT / "grafana" / "drawing"
WINDOW_S = 3600
"""The whole region in view, as the time that a board shows."""


def chosen(window_s: int, step_s: int = 0) -> dict[str, str]:
    """Return what Grafana would put for variables, with all values chosen.

    ``step_s``: from point to point of a graph; by default a single point has the whole time.
    """
    return {
        "__rate_interval": f"{4 * step_s or window_s}s",
        "__range": f"{window_s}s",
        "__range_s": str(window_s),
        "__interval": f"{step_s or window_s}s",
        "percentile": "0.95",
        "slow": "1us",
        "service": ".*",
        "operation": ".*",
        "topic": ".*",
        "method": ".*",
    }


def with_variables(expression: str, values: Mapping[str, str]) -> str:
    """Return an expression as Grafana sends it, its variables replaced."""
    replaced = re.sub(
        r"\$(?!\d)(?:\{(\w+)\}|(\w+))", lambda name: values[name[1] or name[2]], expression
    )
    assert "$__" not in replaced
    return replaced


class Asking:
    """A region's answers to a board's queries, from ``start`` to ``end``, a point each ``step_s``."""

    def __init__(self, region: Region, window_s: int, step_s: int) -> None:
        self._region = region
        self.window_s, self.step_s = window_s, step_s
        self.end = time.time()
        self.start = self.end - window_s

    def board(self, uid: str) -> list[dict[str, Any]]:
        """Return a board's panels, each with the answers to its queries."""
        return [
            {**panel, "answers": [self._answer(target) for target in panel["targets"]]}
            for panel in panels(uid)
        ]

    def _answer(self, target: dict[str, Any]) -> dict[str, Any]:
        if target.get("queryType") == "search":
            return {"target": target, "result": self._traces(target)}
        if target.get("instant"):
            expression = with_variables(target["expr"], chosen(self.window_s))
            asked: dict[str, object] = {"time": self.end}
            way = "query"
        else:
            # What counts bars of five minutes counts shorter ones in a short time.
            step = 6 * self.step_s if target["interval"] != "1m" else self.step_s
            expression = with_variables(target["expr"], chosen(self.window_s, step))
            # Grafana asks for whole steps. The one that has begun is asked for as at its end, or what
            # happened in the last minute would be in no bar.
            last = self.end + -self.end % step
            asked = {"start": last - self.window_s, "end": last, "step": step}
            way = "query_range"
        answer = HTTP.get(
            f"{self._region.prometheus.url}/api/v1/{way}",
            params={"query": expression, **asked},
            timeout=60,
        ).json()
        assert answer["status"] == "success", answer
        return {"target": target, "result": answer["data"]["result"]}

    def _traces(self, target: dict[str, Any]) -> list[dict[str, Any]]:
        asked = {
            "service": target["service"],
            "operation": target["operation"],
            "limit": target["limit"],
            "start": int(self.start * 1e6),
            "end": int(self.end * 1e6),
        }
        if "tags" in target:
            asked["tags"] = json.dumps(dict(tag.split("=") for tag in target["tags"].split()))
        answer = HTTP.get(f"{self._region.jaeger.url}/api/traces", params=asked, timeout=60).json()
        return [_trace(each) for each in answer["data"]]


def _trace(found: dict[str, Any]) -> dict[str, Any]:
    spans = found["spans"]
    first = min(spans, key=lambda span: span["startTime"])
    service = found["processes"][first["processID"]]["serviceName"]
    return {
        "id": found["traceID"],
        "name": f"{service}: {first['operationName']}",
        "start": first["startTime"] / 1000,
        "duration": max(span["startTime"] + span["duration"] for span in spans)
        - first["startTime"],
    }


def bundle(entry: str, folder: Path, *options: str) -> Path:
    """Return one of our scripts with Grafana's code in it, as esbuild makes it."""
    esbuild = built("drawing", "node_modules/.bin/esbuild", ["grafana/drawing/package-lock.json"])
    packages = esbuild.parents[1]
    sources = folder / "drawing"
    shutil.copytree(SOURCE, sources, dirs_exist_ok=True)
    (sources / "node_modules").unlink(missing_ok=True)
    (sources / "node_modules").symlink_to(packages)
    bundled = folder / f"{Path(entry).stem}.js"
    subprocess.run(
        [
            *(esbuild, sources / entry, "--bundle", f"--outfile={bundled}", *options),
            *("--loader:.ttf=dataurl", "--log-level=error"),
        ],
        check=True,
        timeout=120,
    )
    return bundled


def shown(found: list[dict[str, Any]], folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Return, for each panel's title, the columns, series or numbers that Grafana would show."""
    node = ("--platform=node", "--format=cjs", "--loader:.css=empty")
    script = bundle("shown.js", folder, *node)
    asked, answered = folder / "asked.json", folder / "answered.json"
    asked.write_text(json.dumps(found))
    done = subprocess.run(
        ["node", script, asked, answered],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    drawn = json.loads(answered.read_text())
    return {panel["title"]: each for panel, each in zip(found, drawn, strict=True)}


PAGE = """\
<!doctype html>
<meta charset="utf-8">
<link rel="stylesheet" href="page.css">
<style>body {{ background: #f4f5f5; font-family: "DejaVu Sans", sans-serif; font-size: 13px }}</style>
<script type="application/json" id="data">{data}</script>
<div id="board"></div>
<script src="page.js"></script>
"""
WIDTH_PX, LINE_PX, HEAD_PX = 1408, 38, 56
"""As in page.jsx: the page, a line of the board's grid, and what is above it."""
SCALE = 0.75


class Page:
    """A board's first lines as a page, which a real browser draws."""

    def __init__(self, asking: Asking, uid: str, lines: int, folder: Path) -> None:
        board = BOARDS[uid]

        def above(panel: dict[str, Any]) -> bool:
            return panel["gridPos"]["y"] + panel["gridPos"]["h"] <= lines

        self.panels = [panel for panel in asking.board(uid) if above(panel)]
        rows = [each for each in board["panels"] if each["type"] == "row" and above(each)]
        data = {
            "board": {"title": board["title"], "rows": rows, "panels": self.panels},
            "start": asking.start,
            "end": asking.end,
        }
        options = ("--format=iife", "--jsx=automatic", '--define:process.env.NODE_ENV="production"')
        bundle("page.jsx", folder, *options)
        self._page = folder / "page.html"
        self._page.write_text(PAGE.format(data=json.dumps(data).replace("<", "\\u003c")))
        self._height_px = HEAD_PX + lines * LINE_PX
        self._folder = folder

    def text(self) -> str:
        """Return the page's HTML once it is drawn."""
        return self._browse("--dump-dom")

    def picture(self) -> bytes:
        """Return the page as a PNG."""
        found = self._folder / "page.png"
        self._browse(f"--screenshot={found}")
        return found.read_bytes()

    def _browse(self, what: str) -> str:
        done = subprocess.run(
            [
                *(_browser(), "--headless=new", "--no-sandbox", "--disable-gpu"),
                *("--hide-scrollbars", f"--force-device-scale-factor={SCALE}"),
                f"--user-data-dir={self._folder / 'browser'}",
                f"--window-size={WIDTH_PX},{self._height_px}",
                *("--virtual-time-budget=20000", what, self._page.as_uri()),
            ],
            check=True,
            capture_output=True,
            text=True,
            timeout=180,
        )
        return done.stdout


def _browser() -> str | Path:
    return shutil.which("chromium") or missing("No chromium (Debian: chromium).")
