"""Many writers die while a live monitor follows what they store: it reads each row and each label once, in order.

``KEEL_FULL_SIZE=1`` makes it large.
"""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from typing import Any

from keel.store import Store
from tests.support.chaos.arrival_races import require_each_row_once
from tests.support.chaos.kills import FULL_SIZE, TIMEOUT
from tests.support.chaos.live_commits import STATE

ROUNDS, KILLS = (400, 60) if FULL_SIZE else (12, 3)
COMMITS = 500 if FULL_SIZE else 60
RACERS = 4
processes = multiprocessing.get_context("fork")


def test_follower_of_killed_writers_reads_each_row_once(store_url: str) -> None:
    assert require_each_row_once(store_url, rounds=ROUNDS, kills=KILLS) > 100 * ROUNDS


def commit(url: str, barrier: Any, said: Any) -> None:
    """Commit on each revision as soon as everybody is ready, and say on which this process was the first."""
    with Store.open(url, timeout=TIMEOUT) as store:
        for revision in range(COMMITS):
            barrier.wait(TIMEOUT)
            if store.live.commit("m", revision, replace(STATE, rows=revision)):
                said.put(revision)


def test_commit_by_racing_processes_stores_each_revision_once(store_url: str) -> None:
    Store.open(store_url).close()
    barrier, said = processes.Barrier(RACERS), processes.SimpleQueue()
    racers = [processes.Process(target=commit, args=(store_url, barrier, said)) for _ in range(RACERS)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(TIMEOUT)
    assert [racer.exitcode for racer in racers] == [0] * RACERS
    won = []
    while not said.empty():
        won.append(said.get())
    assert sorted(won) == list(range(COMMITS))
    with Store.open(store_url) as store:
        found = store.live.read("m")
    assert found == replace(STATE, rows=COMMITS - 1, revision=COMMITS)
