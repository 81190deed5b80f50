"""An installation with two versions to benchmark."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from keel import deployments, loop
from keel.cli.standalone.replay import replay
from keel.ledger import entries as ledger
from keel.workspace import Workspace
from tests.support.toy import DAY, START, toy_config, toy_rows

CONFIG = toy_config()
HISTORY_DAYS = 40
END = START + HISTORY_DAYS * DAY
NOW = END + DAY


def two_versions(home: Path) -> None:
    """Create version 1 of the toy model in production, a day of its predictions, and version 2 as a candidate."""
    with Workspace.open(home=home, environment={}) as ws:
        replay(ws, CONFIG, toy_rows(days=HISTORY_DAYS), start=START, end=END)
        trained(ws, END)
        current = deployments.read(ws.store, CONFIG.model)
        how = {"action": ledger.Action.PROMOTE, "actor": "tests", "body": {}, "now": END}
        deployments.change(ws.store, ws.registry, current, replace(current, production=1), **how)
        replay(ws, CONFIG, toy_rows(END, days=1), start=END, end=NOW)
        trained(ws, NOW)


def trained(ws: Workspace, end) -> None:
    window = loop.resolve_window(CONFIG, end=end, now=end)
    decision = loop.request_retrain(ws, CONFIG, window=window, reason="to measure it", run_id=f"run-{end:%d}")
    loop.retrain(ws, CONFIG, decision, actor="tests", run_id="run-1")
