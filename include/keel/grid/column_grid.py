"""The cells of one column, chosen from the rows that a model version was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from keel.grid.rounding import EXACT_BITS, FLOAT32_BITS, knot_bounds, merge_roundings
from keel.values.columns import read_categories, read_numbers
from keel.values.scalars import category_in, has_variants

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keel.grid.counts import Floats

MAX_KNOTS = 1024
"""Knots of a numeric column: a cell between two holds at most 1/1023 of the reference, which bounds the error of KS."""
MAX_CATEGORIES = 1000
"""Categories kept by name, the most frequent of the reference (ties by name); the rest are counted as `other`."""

_SCALE_WIDTHS = ((0.25, 0.75), (0.1, 0.9), (0.05, 0.95), (0.01, 0.99), (0.0, 1.0))
_SCALE_RESOLUTION = 1e-12
"""A spread below this share of the values' own size is rounding, not spread."""


@dataclass(frozen=True, eq=False)
class ColumnGrid:
    """One column's cells.

    Parameters
    ----------
    name, kind
        The column's name, and ``"numeric"`` or ``"categorical"``.
    knots
        Numeric: shape (k,), ascending, finite. Categorical: empty.
    vocabulary
        Categorical: the categories that have a cell of their own. Numeric: empty.
    scale
        Numeric: the unit of distances, which is the reference's interquartile range. Where more than half of the
        reference is one value, it is the first of the central 80, 90, 98 and 100% ranges that has a width; 0 for a
        constant.
    novel
        Categorical: how many reference rows would be `other` if each were left out in turn (Good–Turing).
    novel_variance
        The variance of ``novel`` as an estimate of the rate of `other` in new rows.
    cut
        Categorical: the reference's count of the most frequent category outside the vocabulary; 0 without one.
    bits
        Numeric: the significant bits to which a value must agree with a knot to be on it. `FLOAT32_BITS`; `EXACT_BITS`
        in grids of format 1, whose stored counts were made that way.

    """

    name: str
    kind: str
    knots: Floats
    vocabulary: tuple[str, ...] = ()
    scale: float = 0.0
    novel: int = 0
    novel_variance: int = 0
    cut: int = 0
    bits: int = EXACT_BITS

    @property
    def size(self) -> int:
        """Number of cells, tails not included."""
        return 2 * len(self.knots) + 1 if self.kind == "numeric" else len(self.vocabulary) + 1

    @cached_property
    def knot_bounds(self) -> tuple[Floats, Floats]:
        """The least and the greatest value on each knot, shape (k,) each."""
        return knot_bounds(self.knots, self.bits)

    @cached_property
    def positions(self) -> dict[str, int]:
        """Cell of each category, by the name that `keel.values` reads it as; earlier releases kept other spellings."""
        positions: dict[str, int] = {}
        for i, category in enumerate(self.vocabulary):
            positions.setdefault(category_in(category), i)
        return positions

    @cached_property
    def names(self) -> pa.Array:
        """The names in `positions`, in its order, as arrow texts."""
        return pa.array(list(self.positions), pa.string())

    @cached_property
    def has_variants(self) -> bool:
        """Whether a text that is no category's name may be one of them, as ``True`` for ``true`` and ``3.0`` for 3."""
        return any(map(has_variants, self.positions))

    @cached_property
    def holds_numbers(self) -> bool:
        """Whether any category is the name of a number or a boolean, so that numbers may be categories here."""
        return any(_is_number_name(category) for category in self.vocabulary)


def _is_number_name(text: str) -> bool:
    if text in {"true", "false"}:
        return True
    try:
        float(text)
    except ValueError:
        return False
    return True


def fit_numeric(name: str, column: Any) -> ColumnGrid:
    """Lay knots over the finite values: all of them when at most `MAX_KNOTS` are distinct, else quantiles.

    Quantiles are values of the reference, never between two, so that a repeated value is always a knot. Values that
    differ by rounding only are one value: see `keel.grid.rounding`.
    """
    values, _ = read_numbers(column)
    values = np.sort(values[np.isfinite(values)]) + 0.0  # turns -0.0 into 0.0: equal knots must have equal bytes
    if not len(values):
        return ColumnGrid(name, "numeric", np.zeros(0))
    first = np.r_[True, values[1:] != values[:-1]]
    distinct, starts = values[first], np.flatnonzero(first)
    merged = merge_roundings(distinct, np.diff(starts, append=len(values)))
    if merged is not distinct:
        values = merged[np.cumsum(first) - 1]
    knots = merged if merged is distinct else merged[np.r_[True, merged[1:] != merged[:-1]]]  # both ascend
    if len(knots) > MAX_KNOTS:
        knots = np.unique(values[np.rint(np.linspace(0, len(values) - 1, MAX_KNOTS)).astype(np.int64)])
    return ColumnGrid(name, "numeric", knots, scale=_scale(values), bits=FLOAT32_BITS)


def _scale(values: Floats) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        for low, high in _SCALE_WIDTHS:
            a, b = np.quantile(values, [low, high])
            if b - a > _SCALE_RESOLUTION * max(abs(a), abs(b)):
                return float(b - a) if np.isfinite(b - a) else float(np.finfo(np.float64).max)
    return 0.0


def fit_categorical(name: str, column: Any) -> ColumnGrid:
    """Take the categories, the most frequent first, ties by name."""
    categories = read_categories(column)
    frequency: dict[str, int] = {}
    totals = np.bincount(categories.codes, minlength=len(categories.labels))
    for label, count in zip(categories.labels, totals.tolist(), strict=True):
        if count and isinstance(label, str):
            frequency[label] = frequency.get(label, 0) + count
    ranked = sorted(frequency, key=lambda label: (-frequency[label], label))
    novel, variance = _leave_one_out(frequency, ranked)
    cut = frequency[ranked[MAX_CATEGORIES]] if len(ranked) > MAX_CATEGORIES else 0
    return ColumnGrid(
        name, "categorical", np.zeros(0), tuple(ranked[:MAX_CATEGORIES]), novel=novel, novel_variance=variance, cut=cut
    )


def _leave_one_out(frequency: Mapping[str, int], ranked: list[str]) -> tuple[int, int]:
    """Return how many rows would be `other` if each were left out of the reference, and the variance of that number.

    A category leaves the vocabulary when its last row is left out, or when the first category outside now ranks before
    it. The number estimates the rate of `other` in new rows without the bias of counting it on the rows that chose the
    vocabulary. Its variance is that of a difference to the true rate: Σ c over the categories that leave when one row
    does, plus Σ c(c − 1) over those that leave when two do (Good 1953; Robbins 1968, for categories with one row).
    """
    first_out = ranked[MAX_CATEGORIES] if len(ranked) > MAX_CATEGORIES else None

    def leaves(label: str, count: int) -> bool:
        if first_out is None:
            return count <= 0
        return (-count, label) >= (-frequency[first_out], first_out)

    novel = variance = 0
    for label, count in frequency.items():
        if leaves(label, count - 1):
            novel += count
        elif leaves(label, count - 2):
            variance += count * (count - 1)
    return novel, novel + variance
