"""The steps of the loop as tests take them, on the toy model."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from keel import loop, rollout
from keel.alerts.records import Message
from keel.cli.standalone.replay import replay
from keel.workspace import Workspace
from tests.support.toy import DAY, START, toy_config, toy_rows

if TYPE_CHECKING:
    from keel.registry.registry import Registry

HISTORY_DAYS = 40
NOW = START + HISTORY_DAYS * DAY
"""When the first version goes into production."""
CONFIG = toy_config()
BY = {"actor": "tests", "run_id": "run-1"}
"""Who takes the steps, in which run."""


@contextmanager
def open_copy(original: Path, folder: Path, *, registry: Registry | None = None) -> Iterator[Workspace]:
    """Copy all that tests change of a home, the store and the registry's database, and open the copy.

    MLflow keeps where artifacts lie as absolute addresses: those of the original stay there, and are only read.

    registry: in place of the copy's, for tests that only read it; it has loaded the version already.
    """
    shutil.copytree(original, folder)
    with Workspace.open(home=folder, environment={}) as opened:
        yield replace(opened, registry=registry) if registry else opened


def first_version(ws, config=CONFIG):
    """Train version 1 on forty days of history and promote it."""
    replay(ws, config, toy_rows(days=HISTORY_DAYS), start=START, end=NOW)
    window = loop.resolve_window(config, end=NOW, now=NOW)
    decision = loop.request_retrain(ws, config, window=window, reason="the first version", run_id="run-0")
    return act(ws, decision, config)


def act(ws, decision, config=CONFIG):
    """Take a decision to retrain through to its outcome."""
    comparison = rollout.compare(ws, config, loop.retrain(ws, config, decision, **BY))
    step = rollout.promote if comparison.next == "promote" else rollout.keep_champion
    return step(ws, config, comparison.report_id, **BY)


def live(ws, rows, *, days, start=NOW, config=CONFIG):
    return replay(ws, config, rows, start=start, end=start + days * DAY)


def check(ws, end, config=CONFIG, run_id="run-2"):
    """Run the checks of one window and decide."""
    window = loop.resolve_window(config, end=end, now=end)
    counted = loop.count_window(ws, config, window)
    steps = (loop.check_data_quality, loop.check_data_drift, loop.check_performance)
    reports = {step.__name__: step(ws, config, counted) for step in steps}
    return loop.decide(ws, config, counted, run_id=run_id), reports


def told(ws, decision, outcome=None, config=CONFIG, *, now=None, **about) -> Message | None:
    """Notify people of a decision, and return the message that is written; None where nobody is told at once."""
    posted = loop.notify(ws, config, decision, outcome, now=now or decision.window.end, **about)
    return Message.from_dict(ws.store.outbox.message(posted.message_id)) if posted.message_id else None
