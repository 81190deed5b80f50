"""Many want the same thing at once: one gets it, the others are told so, and nobody's work is taken for a hand's."""

from __future__ import annotations

import itertools
import multiprocessing
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from keel.errors import StaleGeneration
from keel.lifecycle import deployments, ledger
from tests.chaos.harness import TIMEOUT, TRIALS, World, require_agreement, require_consistent, require_whole_ledger
from tests.deployed import with_production
from tests.store_fixtures import NOON

if TYPE_CHECKING:
    from keel.lifecycle.registry import Registry
    from keel.store import Store

RACERS = 8
processes = multiprocessing.get_context("fork")


def promote(store: Store, registry: Registry, current: deployments.Deployment, version: int) -> None:
    deployments.change(
        store, registry, current, with_production(current, version),
        actor=f"racer {version}", action=ledger.Action.PROMOTE, body={"evidence": {"sentence": "raced"}}, now=NOON,
    )  # fmt: skip


def race(world: World, version: int, barrier: Any, said: Any) -> None:
    """Promote one version from each generation as soon as everybody is ready; say who won, or what went wrong."""
    with world.open() as (store, registry):
        for generation in range(TRIALS):
            current = deployments.read(store, world.model)
            assert current.generation == generation
            barrier.wait(TIMEOUT)
            try:
                promote(store, registry, current, version)
                said.put((generation, version))
            except StaleGeneration:
                said.put((generation, None))
            barrier.wait(TIMEOUT)  # nobody reads on before all have tried


def test_of_eight_promoters_from_one_generation_exactly_one_wins(world: World) -> None:
    world.register(RACERS)
    barrier, said = processes.Barrier(RACERS), processes.Queue()
    racers = [processes.Process(target=race, args=(world, version, barrier, said)) for version in range(1, RACERS + 1)]
    for racer in racers:
        racer.start()
    outcomes = [said.get(timeout=TIMEOUT) for _ in range(TRIALS * RACERS)]
    for racer in racers:
        racer.join(TIMEOUT)
    assert [racer.exitcode for racer in racers] == [0] * RACERS
    winners = {}
    for generation, outcome in itertools.groupby(sorted(outcomes, key=lambda o: o[0]), key=lambda o: o[0]):
        won = [version for _, version in outcome if version is not None]
        assert len(won) == 1, f"generation {generation}: {won} have won"
        winners[generation + 1] = won[0]
    with world.open() as (store, registry):
        require_whole_ledger(store, world.model)
        promoted = {row.generation_to: row.actor for row in ledger.entries(store, world.model, ledger.Action.PROMOTE)}
        assert promoted == {generation: f"racer {version}" for generation, version in winners.items()}
        require_agreement(store, registry, world.model)  # by itself: each has projected before it said that it won
    assert not require_consistent(world).out_of_band


def keep_promoting(world: World, _: Any, said: Any) -> None:
    """Promote the version after the one in production, again and again."""
    won = lost = 0
    with world.open() as (store, registry):
        while won < TRIALS:
            current = deployments.read(store, world.model)
            try:
                promote(store, registry, current, (current.production or 0) % 3 + 1)
                won += 1
            except StaleGeneration:
                lost += 1
    said.put({"won": won, "lost": lost, "looks": 0})


def keep_looking(world: World, over: Any, said: Any) -> None:
    looks = 0
    with world.open() as (store, registry):
        while looks == 0 or not over.is_set():
            deployments.reconcile(store, registry, world.model, actor="tests", now=NOON, adopt=True)
            looks += 1
    said.put({"won": 0, "lost": 0, "looks": looks})


def test_reconcilers_never_take_a_promoter_for_a_hand(world: World) -> None:
    world.register(3)
    over, said = processes.Event(), processes.Queue()
    jobs: list[Callable[..., None]] = [keep_promoting] * 3 + [keep_looking] * 2
    running = [processes.Process(target=job, args=(world, over, said)) for job in jobs]
    for process in running:
        process.start()
    counted = [said.get(timeout=TIMEOUT + 5 * TRIALS) for _ in range(3)]  # the promoters: the others go on till then
    over.set()
    counted += [said.get(timeout=TIMEOUT) for _ in range(2)]
    for process in running:
        process.join(TIMEOUT)
    assert [process.exitcode for process in running] == [0] * len(running)
    total = {name: sum(counts[name] for counts in counted) for name in counted[0]}
    assert total["looks"] >= 5, total
    with world.open() as (store, registry):
        require_whole_ledger(store, world.model)
        assert list(ledger.entries(store, world.model, ledger.Action.OUT_OF_BAND)) == []
        assert deployments.read(store, world.model).generation == total["won"]
        require_agreement(store, registry, world.model)
