"""Population stability index: how far a distribution has moved, and how much of that chance would do alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from keel.stats.drift.cells import Integers

JEFFREYS = 0.5
"""Added to every cell: with a floor such as 1e-4 in its place, one empty cell decides the index."""
BINS = 10
"""Deciles: the convention behind the customary thresholds .1 and .25."""


def psi(reference: ArrayLike, current: ArrayLike, *, prior: float = JEFFREYS) -> float:
    """PSI = Σ (q − p) ln(q / p) in nats, ≥ 0, with p and q the reference's and the window's shares.

    reference, current: shape (cells,), non-negative counts on the same cells: the ten reference deciles, or
    categories. ``prior`` is added to each cell; cells empty on both sides are left out.
    Source: Yurdakul & Naranjo 2020, eq. 1.

    >>> psi([10, 10], [10, 10])
    0.0
    >>> round(psi([500, 500], [250, 750]), 4)
    0.274
    """
    r, c = _occupied(reference, current)
    if len(r) < 2:
        return 0.0
    p = (r + prior) / (r.sum() + prior * len(r))
    q = (c + prior) / (c.sum() + prior * len(c))
    return float(((q - p) * np.log(q / p)).sum())


def psi_excess(value: float, reference: ArrayLike, current: ArrayLike) -> float:
    """PSI less (cells − 1)(1/n_r + 1/n), its expectation when nothing has changed; may be negative.

    Source: Yurdakul & Naranjo 2020, section 3.

    >>> round(psi_excess(0.2, [50, 50], [50, 50]), 4)
    0.18
    """
    r, c = _occupied(reference, current)
    return value - (len(r) - 1) * (1 / float(r.sum()) + 1 / float(c.sum()))


def _occupied(reference: ArrayLike, current: ArrayLike) -> tuple[Integers, Integers]:
    r, c = np.asarray(reference), np.asarray(current)
    occupied = (r + c) > 0
    return (r, c) if occupied.all() else (r[occupied], c[occupied])


def decile_starts(reference: ArrayLike, *, bins: int = BINS) -> Integers:
    """First cell of each bin, ascending from 0, so that a bin holds about a tenth of the reference.

    reference: shape (cells,), counts with at least one row. A cell with a tenth or more is a bin of its own: cut at
    deciles only, a reference of 95% ones and 5% zeros would be a single bin and its index 0 for any window. What lies
    between two such cells is cut into as many bins as it has tenths, at least one, also where the reference has
    nothing: a window that moves into the gap between two atoms has moved. The first and last bin are open.

    >>> decile_starts([0, 95, 0, 5, 0]).tolist()
    [0, 1, 2]
    >>> decile_starts(np.ones(30, dtype=int)).tolist()
    [0, 3, 6, 9, 12, 15, 18, 21, 24, 27]
    """
    r = np.asarray(reference, dtype=np.int64)
    total = int(r.sum())
    heavy = np.flatnonzero((r * bins >= total) & (r > 0))
    if len(heavy) == len(r):
        return np.arange(len(r))
    cumulative = np.cumsum(r)
    starts: list[int] = []
    begin = 0
    for end in [*heavy.tolist(), len(r)]:
        if begin < end:
            starts.extend(_cut_run(cumulative, begin, end, total, bins))
        if end < len(r):
            starts.append(end)
        begin = end + 1
    return np.array(starts, dtype=np.int64)


def _cut_run(cumulative: Integers, begin: int, end: int, total: int, bins: int) -> list[int]:
    before = int(cumulative[begin - 1]) if begin else 0
    mass = int(cumulative[end - 1]) - before
    parts = max(1, round(bins * mass / total))
    targets = before + mass * np.arange(1, parts) / parts
    cuts = begin + 1 + np.searchsorted(cumulative[begin : end - 1], targets, side="left")
    # A cut after the run's last row would leave a bin without reference: its open end belongs to the bin before.
    return [begin, *sorted({int(cut) for cut in cuts if cut < end and cumulative[cut - 1] < before + mass})]
