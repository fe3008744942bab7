"""The boards: a module for each, and what they share in `board`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from grafana.boards.board import Board
from grafana.boards.create import create
from grafana.boards.glance import glance
from grafana.boards.rpc import rpc
from grafana.boards.telemetry import telemetry

BOARDS: Final[Sequence[Callable[[], Board]]] = (glance, create, rpc, telemetry)
