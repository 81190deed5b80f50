"""Ranks of new rows among all earlier ones of their context, as p-values, and bets on them.

The values of each column are in bins that have an order. A row's p-value is its rank among all earlier rows of the same
column and context, the reference included, with ties broken at random. While those rows are exchangeable within their
context, p-values are independent and uniform on [0, 1], whatever order the contexts arrive in. So a daily cycle with
the hour of the day as context does not look like a change. Each bet multiplies its wealth by a factor with an expected
value of 1 for a uniform p-value.

Sources: Vovk, Gammerman & Shafer, Algorithmic Learning in a Random World, 2005 (smoothed online ranks; Mondrian
contexts); Vovk et al. 2021, arXiv 2102.10439 (testing exchangeability by bets on such ranks).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

LOCATION_BETS: Floats = np.array([-1.8, -1.0, -0.5, 0.5, 1.0, 1.8])
"""Slopes ε of the bets 1 + ε(p − ½), which gain when values move up (ε < 0) or down. |ε| < 2 keeps them positive."""
SCALE_BETS: Floats = np.array([-5.0, -2.5, 2.5, 5.0])
"""Slopes ε of the bets 1 + ε((p − ½)² − 1/12), which gain when values spread (ε > 0) or gather. −12 < ε < 6 likewise.
Any location bet is above .1 and below 1.9, and any scale bet above .16 and below 1.84."""
BETS = len(LOCATION_BETS) + len(SCALE_BETS)

_PORTION = 255
"""Rows ranked at once. Their counts fit in a byte, and the product of as many factors in a float: .1²⁵⁵ > 10⁻³⁰⁸."""
_LANES = 8
"""Counts in one 64-bit integer, which are summed together."""


class ConformalRanks:
    """The bins of d columns in C contexts, counted so far. Its size does not depend on the rows that it has counted.

    counts: shape (d, C, K), whole numbers ≥ 0; the last axis is in the order of the bins. They start with those of the
    reference, or with zeros: ranks are then learned from the rows alone. A column with fewer than K bins leaves the
    others at zero. ``counts`` of one object, given to another, continues it exactly.

    >>> ranks = ConformalRanks([[[1, 1]]])
    >>> ranks.p_values([[0, 1]], [0, 0], [[0.5, 0.5]]).tolist()  # (1 + 0.5 · 2) / 3, then (0 + 0.5 · 2) / 4
    [[0.6666666666666666, 0.25]]
    >>> ranks.counts.tolist()
    [[[2, 2]]]
    """

    def __init__(self, counts: ArrayLike) -> None:
        given = np.asarray(counts)
        if given.ndim != 3 or 0 in given.shape[1:] or not (given >= 0).all() or (given != np.floor(given)).any():
            raise ValueError("counts must be whole numbers from 0, of shape (columns, contexts, bins)")
        self._bins = given.shape[2]
        # lane j holds the rows in bin j or above; there is at least one lane of zeros behind the last bin
        lanes = (self._bins // _LANES + 1) * _LANES
        self._at_least = np.zeros((given.shape[1], given.shape[0], lanes), dtype=np.int64)
        self._at_least[:, :, : self._bins] = _suffix_sums(given.swapaxes(0, 1))
        self._steps = np.tri(self._bins, lanes, dtype=np.uint8).view(np.uint64)

    @property
    def counts(self) -> Integers:
        """Rows counted so far, shape (d, C, K); a copy."""
        at_least = self._at_least[:, :, : self._bins + 1]
        return np.ascontiguousarray((at_least[:, :, :-1] - at_least[:, :, 1:]).swapaxes(0, 1))

    def restart(self, column: int, counts: ArrayLike | None = None) -> None:
        """Replace one column's counts, shape (C, K). None empties them: later rows are then ranked among themselves."""
        shape = (len(self._at_least), self._bins)
        given = np.zeros(shape) if counts is None else np.asarray(counts)
        if given.shape != shape:
            raise ValueError(f"counts of a column must have the shape {shape}, not {given.shape}")
        self._at_least[:, column, : self._bins] = _suffix_sums(given)

    def p_values(self, bins: ArrayLike, contexts: ArrayLike, uniforms: ArrayLike) -> Floats:
        """Count n rows, in order, and return their p-values, shape (d, n), in [0, 1].

        Parameters
        ----------
        bins
            Shape (d, n), integers in [0, K).
        contexts
            Shape (n,), integers in [0, C).
        uniforms
            Shape (d, n), in [0, 1), independent of the rows. The same numbers give the same p-values.

        A row's p-value is (G + U·E)/N of the rows of its column and context so far, itself included: N in all, G in a
        greater bin, E in the same one. How rows are divided into calls does not change a bit of the result.

        Raises
        ------
        ValueError
            For numbers of another kind, shape or range. Nothing is then counted.
        """
        b, c, u = np.asarray(bins), np.asarray(contexts), np.asarray(uniforms, dtype=np.float64)
        n_contexts, d, _ = self._at_least.shape
        if c.ndim != 1 or b.shape != (d, len(c)) or u.shape != b.shape:
            raise ValueError(
                f"bins and uniforms must have the shape ({d}, rows) and contexts (rows,), not {b.shape}, {u.shape} and "
                f"{c.shape}"
            )
        if b.dtype.kind not in "iu" or c.dtype.kind not in "iu":
            raise ValueError(f"bins and contexts must be integers, not {b.dtype} and {c.dtype}")
        if b.size and not (b.min() >= 0 and b.max() < self._bins and c.min() >= 0 and c.max() < n_contexts):
            raise ValueError(f"bins must be from 0 to {self._bins - 1} and contexts from 0 to {n_contexts - 1}")
        if not ((u >= 0) & (u < 1)).all():  # NaN compares false
            raise ValueError("uniforms must be numbers from 0, below 1")
        found = np.empty(b.shape)
        for start in range(0, len(c), _PORTION):
            rows = slice(start, start + _PORTION)
            found[:, rows] = self._count(b[:, rows], c[rows], u[:, rows])
        return found

    def _count(self, bins: NDArray[np.int8], contexts: Integers, uniforms: Floats) -> Floats:
        """Return the p-values of at most `_PORTION` rows. Rows of one context are brought together for it."""
        _, d, lanes = self._at_least.shape
        order = np.argsort(contexts, kind="stable")
        context, b = contexts[order], bins.T[order].astype(np.intp)
        last = np.flatnonzero(np.append(context[1:] != context[:-1], True))
        sizes = np.diff(last, prepend=-1)
        # eight counts of a byte each are summed as one integer: none of them exceeds 255, so none carries
        new = np.cumsum(self._steps.take(b, axis=0), axis=0)
        before = np.concatenate([np.zeros_like(new[:1]), new[last[:-1]]])
        new -= np.repeat(before, sizes, axis=0)

        # flat positions in the counts before these rows and in those of these rows: twice as fast as three indices
        at_old, at_new = (context[:, None] * d + np.arange(d)) * lanes, np.arange(b.size).reshape(b.shape) * lanes
        old, fresh = self._at_least.reshape(-1), new.view(np.uint8).reshape(-1)
        total = old.take(at_old) + fresh.take(at_new)
        at_old += b
        at_new += b
        equal = old.take(at_old) + fresh.take(at_new)
        at_old += 1
        at_new += 1
        greater = old.take(at_old) + fresh.take(at_new)
        equal -= greater
        for row in last.tolist():  # one by one: together they would take memory that the system must first provide
            self._at_least[context[row]] += new[row].view(np.uint8).astype(np.int64)
        p_values = np.empty(b.shape)
        p_values[order] = (greater + uniforms.T[order] * equal) / total
        return p_values.T

    def log_factors(self, bins: ArrayLike, contexts: ArrayLike, uniforms: ArrayLike, *, block_size: int) -> Floats:
        """Count a page of whole blocks, in order, and return each block's log factors, shape (blocks, d, bets).

        The parameters are those of `p_values`. A page gives the same bits as its blocks one by one.
        """
        rows = np.shape(contexts)[0]
        if block_size < 1 or rows % block_size:
            raise ValueError(f"{rows} rows are not a whole number of blocks of {block_size}")
        p_values = self.p_values(bins, contexts, uniforms)
        starts = range(0, rows, block_size)
        found = np.empty((len(starts), len(p_values), BETS))
        for block, start in enumerate(starts):
            found[block] = log_bets(p_values[:, start : start + block_size])
        return found


def log_bets(p_values: Floats) -> Floats:
    """Return the logarithm of each bet's factor over a block: shape (d, bets), location bets first.

    p_values: shape (d, n), in [0, 1].

    >>> log_bets(np.array([[0.0, 1.0]])).round(3)[0].tolist()
    [-1.661, -0.288, -0.065, -0.065, -0.288, -1.661, -3.584, -1.078, 0.697, 1.212]
    """
    d, n = p_values.shape
    found = np.zeros((d, BETS))
    for start in range(0, n, _PORTION):
        found += np.log(_factors(p_values[:, start : start + _PORTION])).T
    return found


def _factors(p_values: Floats) -> Floats:
    """Return the product of each bet's factors over at most `_PORTION` rows, shape (bets, d)."""
    distance = np.ascontiguousarray(p_values.T) - 0.5
    factors = np.empty((BETS, *distance.shape))
    split = len(LOCATION_BETS)
    np.multiply(LOCATION_BETS[:, None, None], distance, out=factors[:split])
    np.multiply(SCALE_BETS[:, None, None], distance * distance - 1 / 12, out=factors[split:])
    factors += 1
    return factors.prod(axis=1)


def _suffix_sums(counts: NDArray[np.generic]) -> Integers:
    """Return, for each bin, the counts of it and all above it."""
    sums: Integers = np.cumsum(counts.astype(np.int64)[..., ::-1], axis=-1)[..., ::-1]
    return sums
