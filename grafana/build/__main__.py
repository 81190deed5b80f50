"""Write the dashboards: ``python -m grafana.build``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from grafana.build import prometheus_boards, store_boards

if TYPE_CHECKING:
    from grafana.build.parts import Json

FOLDER = Path(__file__).resolve().parents[1] / "dashboards"
BOARDS = (
    store_boards.fleet, store_boards.drift, store_boards.performance, prometheus_boards.serving, store_boards.alerts,
    prometheus_boards.health,
)  # fmt: skip


def boards() -> dict[str, Json]:
    """Return the dashboards by the names of their files."""
    return {f"{board.__name__}.json": board() for board in BOARDS}


def text(board: Json) -> str:
    """Return a dashboard as its file has it."""
    return json.dumps(board, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name, board in boards().items():
        (FOLDER / name).write_text(text(board))
