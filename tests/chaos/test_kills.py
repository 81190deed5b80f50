"""A process that changes a deployment is killed, anywhere: the next to look finds everything in order, or puts it so.

``KEEL_FULL_SIZE=1`` makes it large, ``KEEL_CHAOS_TRIALS`` sets the number of kills at random times.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from keel import deployments
from keel.ledger import entries as ledger
from keel.registry.registry import Registry
from tests.support.chaos.kills import (
    FULL_SIZE,
    TRIALS,
    World,
    numbers_of,
    random_delays,
    require_consistent,
    run,
    run_until_killed,
)
from tests.support.store_fixtures import NOON
from tests.support.versions.cheap import with_production

A_FEW_PROMOTIONS = 0.5
"""Seconds; one takes about 0.1."""
WAYS = (1, 2) if FULL_SIZE else (1,)
"""From which version: to the one the alias staging is set, to the other it is removed."""


@pytest.fixture
def deployed(world: World) -> World:
    """Versions 1 and 2 have both been in production, and 2 is."""
    world.register(3)
    run(promotion(world))
    run(promotion(world))
    return world


def promotion(world: World) -> Callable[[], int]:
    """Promote versions 1 and 2 in turn; version 3 is staged with the one and no longer with the other."""

    def promote() -> int:
        with world.open() as (store, registry):
            current = deployments.read(store, world.model)
            other = 2 if current.production == 1 else 1
            wanted = replace(with_production(current, other), staging=3 if other == 1 else None)
            changed = deployments.change(
                store, registry, current, wanted,
                actor="tests", action=ledger.Action.PROMOTE, body={"evidence": {"sentence": "in turn"}}, now=NOON,
            )  # fmt: skip
            return changed.generation

    return promote


def look(world: World) -> Callable[[], bool]:
    """Reconcile, and return whether there was something to adopt."""

    def reconcile() -> bool:
        with world.open() as (store, registry):
            found = deployments.reconcile(store, registry, world.model, actor="tests", now=NOON, adopt=True)
            return bool(found.out_of_band)

    return reconcile


def production(world: World) -> int | None:
    with world.open() as (store, _):
        return deployments.read(store, world.model).production


def rows_out_of_band(world: World) -> int:
    with world.open() as (store, _):
        return len(list(ledger.entries(store, world.model, ledger.Action.OUT_OF_BAND)))


def require_repaired(world: World) -> bool:
    """Whatever was cut short is completed by one look, and nothing of it taken for somebody's hand."""
    looked = require_consistent(world)
    assert not looked.out_of_band, looked.sentence
    assert rows_out_of_band(world) == 0
    return looked.completed


def test_a_promoter_killed_before_and_after_each_step(deployed: World) -> None:
    for start in WAYS:
        boundaries = run(promotion(deployed)).boundaries
        assert {"before COMMIT", "after COMMIT", "after set_registered_model_alias"} <= set(boundaries)
        completed = []
        for number in numbers_of(boundaries, deployed.store_url):
            while production(deployed) != start:
                run(promotion(deployed))
                assert not require_repaired(deployed), "a promotion that ends by itself leaves nothing to complete"
            ended = run(promotion(deployed), kill_at=number)
            assert ended.killed, boundaries[number]
            if require_repaired(deployed):
                completed.append(number)
        first, last = (i for i, name in enumerate(boundaries) if name == "after COMMIT")
        expected = [number for number in numbers_of(boundaries, deployed.store_url) if first <= number < last]
        assert completed == expected, "what a commit has begun is completed, and nothing else"


def test_a_promoter_killed_at_random_times(deployed: World) -> None:
    completed = 0
    for delay in random_delays(TRIALS, longest=A_FEW_PROMOTIONS):
        run_until_killed(promotion(deployed), delay)
        completed += require_repaired(deployed)
        run(promotion(deployed))
        assert not require_repaired(deployed)
    assert completed, "no kill hit a projection"


@pytest.mark.parametrize("removed", [False, True], ids=["moved", "removed"])
def test_a_reconciler_killed_anywhere_records_what_a_hand_did_once(deployed: World, removed: bool) -> None:
    """The hand moves the alias production, or removes the alias previous."""
    client = Registry(deployed.tracking_uri).client

    def hand() -> int | None:
        serving = production(deployed)
        if removed:
            client.delete_registered_model_alias(deployed.model, "previous")
            return serving
        other = 2 if serving == 1 else 1
        client.set_registered_model_alias(deployed.model, "production", str(other))
        return other

    hand()
    boundaries = run(look(deployed)).boundaries
    late = 0
    for rows, number in enumerate(numbers_of(boundaries, deployed.store_url), start=1):
        expected = hand()
        assert rows_out_of_band(deployed) == rows
        ended = run(look(deployed), kill_at=number)
        assert ended.killed, boundaries[number]
        late += not require_consistent(deployed).out_of_band
        assert production(deployed) == expected
    assert rows_out_of_band(deployed) == rows + 1
    assert late, "no kill was after the hand's work was recorded"
