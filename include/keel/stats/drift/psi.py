"""Population stability index: the distance between two distributions, and its excess over chance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from keel.stats.drift.cells import Integers

JEFFREYS = 0.5
"""Added to every cell. With a floor such as 1e-4 instead, one empty cell decides the index."""
BINS = 10
"""Deciles, for which the customary thresholds .1 and .25 are meant."""


def psi(reference: ArrayLike, current: ArrayLike, *, prior: float = JEFFREYS) -> float:
    """Return PSI = Σ (q − p) ln(q / p) in nats, ≥ 0, with the reference's shares p and the window's shares q.

    reference, current: non-negative counts on the same cells (the reference's deciles, or categories), shape (cells,).
    prior: added to each cell. Cells that are empty on both sides are skipped.
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
    """Return PSI less (cells − 1)(1/n_r + 1/n), its expectation without a change; may be negative.

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
    """Return the first cell of each bin, ascending from 0, so that a bin holds about a tenth of the reference.

    A cell with a tenth or more is a bin of its own. With deciles only, a reference of 95% ones and 5% zeros would be a
    single bin, and its index 0 for every window. The cells between two such cells become as many bins as they have
    tenths, at least one, also without reference rows: a window that moves into the gap between two atoms has drifted.
    The first and the last bin are open.

    reference: counts with at least one row, shape (cells,). bins: 10 for deciles.

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
    # A cut after the run's last row would give a bin without reference rows.
    return [begin, *sorted({int(cut) for cut in cuts if cut < end and cumulative[cut - 1] < before + mass})]
