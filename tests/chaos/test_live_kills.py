"""Processes that run the live monitors are killed anywhere, or race: each prediction and label counts exactly once.

Counted exactly once means: the same number of rows, and the same state to the bit, as a run that nobody disturbed.

``KEEL_FULL_SIZE=1``: a kill at every boundary instead of every other, ``KEEL_CHAOS_TRIALS`` sets the number of kills at
random times.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from keel.monitoring.live.poll import Poll
from keel.registry.registry import Registry
from keel.store import Store
from keel.workspace import Workspace
from tests.support.chaos.kills import FULL_SIZE, TRIALS, numbers_of, random_delays, run, run_until_killed
from tests.support.live.models import LiveModel
from tests.support.versions.cloned import Trained

if TYPE_CHECKING:
    from keel.store.live import StoredMonitors

SOME = 150
"""Rows that wait for each process: fifteen blocks."""
LIVE = {"block_size": 10, "context": None, "columns": ["x", "z", "colour"]}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, new_home: Callable[[Path], Path]) -> Iterator[Trained]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")  # nothing of it is open when we fork
        with Workspace.open(home=new_home(tmp_path_factory.mktemp("trained")), environment={}) as ws:
            yield Trained.in_workspace(ws)


@dataclass
class Monitored:
    """A model whose monitors have just started, with the state of then."""

    model: LiveModel
    url: str
    begun: StoredMonitors

    def open(self) -> Workspace:
        ws = self.model.ws
        return Workspace(ws.home, Store.open(self.url, timeout=20), Registry(ws.registry.tracking_uri))

    def polls(self) -> Callable[[], None]:
        """Return what a triggerer's thread does, until nothing is waiting."""
        now = self.model.now

        def poll() -> None:
            process = Poll(self.open)
            while process.run({"trained"}, now=now).behind:
                pass
            process.close()

        return poll

    def arrive(self, rows: int = SOME) -> None:
        """Store predictions and their labels."""
        table = self.model.arrive(rows)
        labels = (np.random.default_rng(rows).random(rows) < table["score"].to_numpy()).astype(float)
        self.model.label(table, labels)

    def require_exactly_once(self) -> None:
        """Run what is left, then all of it again in one undisturbed process: the results are the same."""
        run(self.polls())
        disturbed = self.model.stored
        assert min(disturbed.rows, disturbed.labels_until) > 1000
        assert self.model.ws.store.live.commit("trained", disturbed.revision, self.begun)
        run(self.polls())
        undisturbed = self.model.stored
        assert (disturbed.rows, disturbed.predictions_until) == (undisturbed.rows, undisturbed.predictions_until)
        assert disturbed.labels_until == undisturbed.labels_until
        assert disturbed.state == undisturbed.state


@pytest.fixture
def monitored(trained: Trained, store: Store, store_url: str, monkeypatch: pytest.MonkeyPatch) -> Monitored:
    model = LiveModel.new(trained, store, live=LIVE)
    monkeypatch.setattr("keel.monitoring.live.poll.read_models", lambda: ({"trained": model.config}, []))
    model.catch_up()
    return Monitored(model, store_url, model.stored)


def test_poll_killed_before_and_after_each_step_counts_every_row_once(monitored: Monitored) -> None:
    monitored.arrive()
    boundaries = run(monitored.polls()).boundaries
    assert {"before COMMIT", "after COMMIT"} <= set(boundaries)
    committed, lost = [], []
    for number in numbers_of(boundaries):
        before = monitored.model.stored.rows
        monitored.arrive()
        ended = run(monitored.polls(), kill_at=number)
        if ended.killed:
            (committed if monitored.model.stored.rows > before else lost).append(number)
    assert committed, "no kill came after the commit"
    assert lost, "no kill came before the commit"
    monitored.require_exactly_once()


def test_poll_killed_at_random_times_counts_every_row_once(monitored: Monitored) -> None:
    for delay in random_delays(max(TRIALS, 20), longest=0.6):
        monitored.arrive()
        run_until_killed(monitored.polls(), delay)
    monitored.require_exactly_once()


def test_polls_that_race_count_every_row_once(monitored: Monitored) -> None:
    for _ in range(10 if FULL_SIZE else 4):
        monitored.arrive(20 * SOME)
        children = [fork(monitored.polls()) for _ in range(3)]
        for child in children:
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    monitored.require_exactly_once()


def fork(step: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        try:
            step()
            os._exit(0)
        finally:
            os._exit(1)
    return child
