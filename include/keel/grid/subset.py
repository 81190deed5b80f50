"""A grid without some of its outputs, for rows that have none, such as those that are not scored yet."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from keel.errors import GridMismatch
from keel.grid.counts import TAILS, Counts, Layout

if TYPE_CHECKING:
    from collections.abc import Collection

    from keel.grid.reference import ReferenceGrid


def without_outputs(grid: ReferenceGrid, names: Collection[str]) -> ReferenceGrid:
    """Return a grid without some outputs. Its columns are measured as those of the whole grid, and it has its id.

    Raises
    ------
    GridMismatch
        A name is no output of the grid.

    """
    if unknown := set(names) - set(grid.outputs):
        raise GridMismatch(f"{', '.join(sorted(unknown))}: no output of grid {grid.grid_id[:12]}")
    kept = [i for i, name in enumerate(grid.layout.names) if name not in set(names)]
    losses = None
    if grid.mean_loss is not None:
        ends = np.cumsum([size + len(TAILS) for size in grid.layout.sizes])
        parts = np.split(grid.mean_loss, ends[:-1])
        losses = np.concatenate([parts[i] for i in kept])
    return replace(
        grid,
        columns=tuple(grid.columns[i] for i in kept),
        reference=_counts(grid, grid.reference, kept),
        holdout=None if grid.holdout is None else _counts(grid, grid.holdout, kept),
        mean_loss=losses,
        replaced={name: counts for name, counts in grid.replaced.items() if name not in set(names)},
    )


def _counts(grid: ReferenceGrid, counts: Counts, kept: list[int]) -> Counts:
    layout = counts.layout
    columns = [counts.column(layout.names[i]) for i in kept]
    part = Layout(
        tuple(layout.names[i] for i in kept),
        tuple(layout.kinds[i] for i in kept),
        tuple(layout.sizes[i] for i in kept),
    )
    return Counts.of_columns(grid.grid_id, part, counts.n, columns)
