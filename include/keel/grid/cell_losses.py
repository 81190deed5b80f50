"""The mean loss on each cell of a column, from the holdout's rows on and around it.

A numeric column has up to 2,049 cells, and a holdout has few rows on each. Where a reference of few rows has all its
values as knots, its rows lie on the knots, and those of the holdout and of every window between them. A mean loss of
each cell alone would then differ between reference and window although nothing has changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from keel.stats.drift.psi import BINS, decile_starts

if TYPE_CHECKING:
    from keel.grid.counts import ColumnCounts, Floats

ROWS_PER_BIN = 30
"""Holdout rows of a bin: the standard error of its mean loss is then a fifth of the loss's standard deviation."""
MAX_BINS = 100


def losses_by_bin(mean_loss: Floats, holdout: ColumnCounts, reference: ColumnCounts, overall: float) -> Floats:
    """Return the mean loss of every cell's bin, followed by the tails' own, shape (cells + 5,).

    A bin holds about an equal part of the reference: as many bins as the holdout has rows for, ten at least and
    `MAX_BINS` at most. A frequent value is a bin of its own. A bin without holdout rows has the overall mean. The cells
    of a categorical column stay apart.

    mean_loss: of the holdout's rows on each cell and tail, shape (cells + 5,).
    """
    if reference.kind != "numeric" or not reference.n_counted:
        return mean_loss
    bins = int(np.clip(holdout.n_counted // ROWS_PER_BIN, BINS, MAX_BINS))
    starts = decile_starts(reference.cells, bins=bins)
    size = len(reference.cells)
    rows = np.add.reduceat(holdout.cells, starts)
    sums = np.add.reduceat(holdout.cells * mean_loss[:size], starts)
    means = np.where(rows > 0, sums / np.maximum(rows, 1), overall)
    return np.concatenate([np.repeat(means, np.diff(starts, append=size)), mean_loss[size:]])
