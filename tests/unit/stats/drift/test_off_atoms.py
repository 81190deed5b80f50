"""The rows off the frequent values: when they are asked, and that their test has its level and finds their changes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from keel.stats.drift.measures import ColumnComparison, measure_off_atoms
from keel.stats.drift.off_atoms import off_atoms

SHARE = 0.05
"""Of the rows, off the atom."""


def counts(rng: np.random.Generator, rows: int, shares: np.ndarray) -> np.ndarray:
    """Return rows on an atom and on 50 cells off it."""
    return rng.multinomial(rows, np.r_[0, 1 - SHARE, SHARE * shares])


def compare(reference: np.ndarray, current: np.ndarray) -> dict[str, float | int | None]:
    return measure_off_atoms(
        ColumnComparison("numeric", reference, current, int(reference.sum()), int(current.sum()), resamples=199)
    )


EVEN = np.full(50, 1 / 50)
UPPER = np.r_[np.zeros(40), np.full(10, 1 / 10)]


@pytest.mark.parametrize("rows", [100, 500, 5000])
def test_off_atoms_without_a_change_keeps_its_level(rows: int) -> None:
    rng = np.random.default_rng(rows)
    trials, rejected = 400, 0
    for _ in range(trials):
        found = compare(counts(rng, 5000, EVEN), counts(rng, rows, EVEN))
        rejected += found.get("p_value", 1.0) <= 0.05
    assert rejected / trials <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / trials)


@pytest.mark.parametrize("rows", [500, 5000, 50_000])
def test_off_atoms_finds_what_the_psi_of_all_rows_does_not_show(rows: int) -> None:
    rng = np.random.default_rng(rows)
    for _ in range(20):
        found = compare(counts(rng, 5000, EVEN), counts(rng, rows, UPPER))
        assert found["p_value"] < 1e-4
        assert found["excess"] > 0.25
        assert found["share"] == pytest.approx(SHARE, abs=0.03)


@pytest.mark.parametrize(
    ("reference", "current"),
    [
        ([10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10], [1] * 11),
        ([0, 45, 4, 5, 6, 7, 8, 8, 9, 8, 0], [1] * 11),
        ([0, 100, 0], [0, 90, 10]),
        ([0, 95, 0, 5, 0], [0, 50, 0, 50, 0]),
        ([0, 95, 2, 3, 0], [0, 50, 0, 0, 0]),
    ],
    ids=["no atom", "less than half on atoms", "constant", "one value off the atom", "nothing off the atom"],
)
def test_off_atoms_is_not_asked(reference: list[int], current: list[int]) -> None:
    assert off_atoms(reference, current) is None
    assert compare(np.array(reference), np.array(current)) == {}
