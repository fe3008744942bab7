"""The boards and data sources of grafana/ as they are committed, for the tests that look at them."""

import json
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "grafana" / "dashboards"
BOARDS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))
}


def panels(uid: str) -> list[dict[str, Any]]:
    """Return a board's panels without the rows that they stand in."""
    return [panel for panel in BOARDS[uid]["panels"] if panel["type"] != "row"]


def data_sources() -> dict[str, Any]:
    """Return the provisioned data sources by their uids."""
    path = ROOT / "grafana" / "provisioning" / "datasources" / "otel-cinder.yaml"
    return {source["uid"]: source for source in yaml.safe_load(path.read_text())["datasources"]}


def alerts() -> dict[str, str]:
    """Return each alert's expression."""
    groups = yaml.safe_load((ROOT / "prometheus" / "alerts.yaml").read_text())["groups"]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}
