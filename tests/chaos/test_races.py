"""Many want the same thing at once: one gets it, the others are told so, and nobody's work is taken for a hand's."""

from __future__ import annotations

import itertools
import multiprocessing
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from keel import deployments
from keel.deployments.history import Status, history
from keel.errors import NotPromotable, StaleGeneration
from keel.ledger import entries as ledger
from keel.rollout.decline import reject
from keel.rollout.eligibility import require_promotable
from keel.workspace import Workspace
from tests.support.chaos.kills import (
    TIMEOUT,
    TRIALS,
    World,
    numbers_of,
    require_agreement,
    require_consistent,
    require_whole_ledger,
    run,
    watch,
)
from tests.support.store_fixtures import NOON
from tests.support.toy import toy_config
from tests.support.versions.cheap import with_production

if TYPE_CHECKING:
    from keel.registry.registry import Registry
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


def take_promotion(world: World) -> str:
    """Promote version 2 if it may still be promoted, as ``<model>.promote`` does."""
    with world.open() as (store, registry):
        state = history(store, world.model)
        try:
            require_promotable(state, 2)
            promote(store, registry, state.deployment, 2)
        except (NotPromotable, StaleGeneration) as error:
            return type(error).__name__
    return "promoted"


def take_rejection(world: World) -> str:
    """Reject version 2, as a comparison that it fails does."""
    config = toy_config().model_copy(update={"model": world.model})
    with world.open() as (store, registry):
        evidence = {"evidence": {"sentence": "worse"}}
        reject(
            Workspace(Path(), store, registry), config, 2, (Status.REJECTED, "worse"), actor="tests",
            action=ledger.Action.KEEP_CHAMPION, identity=evidence, body=evidence,
        )  # fmt: skip
    return "rejected"


def meet(world: World, first: Callable[[World], str], then: Callable[[World], str], number: int) -> list[str]:
    """Stop the first step at boundary ``number`` until the other has ended, or waits for what the first one holds."""
    reached, ended, said = processes.Event(), processes.Event(), processes.Queue()

    def hold() -> None:
        passed = itertools.count()

        def boundary(_: str) -> None:
            if next(passed) == number:
                reached.set()
                ended.wait(0.3)

        watch(boundary)
        said.put((0, first(world)))

    def come_between() -> None:
        assert reached.wait(TIMEOUT)
        said.put((1, then(world)))
        ended.set()

    both = [processes.Process(target=step) for step in (hold, come_between)]
    for process in both:
        process.start()
    for process in both:
        process.join(TIMEOUT)
    assert [process.exitcode for process in both] == [0, 0]
    return [word for _, word in sorted(said.get(timeout=TIMEOUT) for _ in both)]


@pytest.mark.parametrize("steps", [(take_rejection, take_promotion), (take_promotion, take_rejection)])
def test_of_a_promotion_and_a_no_to_the_same_version_one_counts(world: World, steps: Any) -> None:
    def prepared(name: str) -> World:
        fresh = replace(world, model=name)
        fresh.register(2)
        with fresh.open() as (store, registry):
            promote(store, registry, deployments.read(store, name), 1)
        return fresh

    alone = prepared("alone")
    boundaries = run(lambda: steps[0](alone)).boundaries
    read = next(number for number, name in enumerate(boundaries) if name.startswith("after SELECT ledger"))
    counted = set()
    for number in numbers_of(boundaries[: boundaries.index("after COMMIT") + 1])[read // 2 :]:
        fresh = prepared(f"toy-{number}")
        words = meet(fresh, *steps, number)
        with fresh.open() as (store, registry):
            require_agreement(store, registry, fresh.model)
            said = [row.action for row in ledger.entries(store, fresh.model) if "2" in row.body.get("statuses", {})]
            assert len(said) == 2, (boundaries[number], words, said)  # the first is its registration
            station = {"promote": Status.PRODUCTION, "keep_champion": Status.REJECTED}[said[1]]
            assert history(store, fresh.model).status(2) is station, boundaries[number]
            counted.add(said[1])
    assert "keep_champion" in counted if steps[0] is take_promotion else "promote" in counted
