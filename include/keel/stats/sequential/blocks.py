"""Compare two versions on the same rows in blocks, in the order of the labels' arrival."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from keel.stats.metrics.losses import Floats

Integers = NDArray[np.int64]
Times = NDArray[np.datetime64]


def block_ends(times: Times, label: Floats, *, rows: int, span: np.timedelta64, each_class: int = 0) -> Integers:
    """Return the end of each block, ascending: the number of rows up to its last one. Later rows are in no block yet.

    A block ends with the first row at which it has ``rows`` rows, covers ``span``, and has ``each_class`` rows with a
    label above 0 and as many others. So later rows never change a block that has ended.

    times: of the predictions, shape (n,), in the order of the labels' arrival. A prediction older than one before it
    does not end a block.
    """
    latest = np.maximum.accumulate(times)
    positive = np.cumsum(label > 0)
    classes = (positive, np.arange(1, len(label) + 1) - positive)
    ends, start = [], 0
    while start < len(label):
        before = [int(count[start - 1]) if start else 0 for count in classes]
        enough = [int(np.searchsorted(*pair)) for pair in zip(classes, np.add(before, each_class), strict=True)]
        last = max(start + rows - 1, int(np.searchsorted(latest, latest[start] + span)), *enough)
        if last >= len(label):
            break
        start = last + 1
        ends.append(start)
    return np.array(ends, dtype=np.int64)


def block_means(values: Floats, ends: Integers) -> Floats:
    """Return the mean of each block's values.

    >>> block_means(np.array([1.0, 3.0, 5.0, 9.0]), np.array([2, 3])).tolist()
    [2.0, 5.0]
    """
    if not len(ends):
        return np.empty(0)
    totals: Floats = np.add.reduceat(values[: ends[-1]], np.append(0, ends[:-1]))
    return totals / np.diff(ends, prepend=0)


def lost_pairs(label: Floats, score: Floats, previous: Floats, ends: Integers, *, context: int) -> Floats:
    """Return, for each block, the share of pairs that ``previous`` ranks correctly less that of ``score``, in [−1, 1].

    A pair is a positive and a negative of which at least one is in the block, and the other in the block or in the
    ``context`` blocks before it. So the result is a difference of two areas under the ROC curve, over new pairs in each
    block. It is 0 for a block without pairs. label: 0/1.
    """
    lost, starts = np.zeros(len(ends)), np.concatenate([[0], ends])[:-1].astype(np.int64)
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        first = starts[max(0, i - context)]
        positive, is_new = label[first:end] > 0, np.arange(first, end) >= start
        kinds = ((positive & is_new, ~positive), (positive & ~is_new, ~positive & is_new))
        pairs = sum(int(above.sum()) * int(below.sum()) for above, below in kinds)
        if pairs:
            before, now = (
                sum(_in_order(s[first:end][above], s[first:end][below]) for above, below in kinds)
                for s in (previous, score)
            )
            lost[i] = (before - now) / pairs
    return lost


def _in_order(above: Floats, below: Floats) -> float:
    """Count the pairs with the higher score in ``above``; ties count half."""
    ordered = np.sort(below)
    lower, not_higher = (np.searchsorted(ordered, above, side=side).sum() for side in ("left", "right"))
    return float(lower + not_higher) / 2
