"""The reference of the live monitors: the bins of every column in every context, with the reference's rows on them.

It is made at training, from the rows that the grid is fitted to, and saved with the version. Later rows are only
assigned to its bins.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from keel.grid import context_archive
from keel.grid.bin_assigner import BinAssigner
from keel.grid.bins import WIDTH, BinnedColumn, bin_column
from keel.grid.context_values import Contexts, known_by_cells, most_frequent
from keel.grid.counts import TAILS
from keel.grid.kernel import assign_rows
from keel.grid.tables import number_of_rows
from keel.grid.threads import in_threads
from keel.values.columns import read_column

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from keel.grid.column_grid import ColumnGrid
    from keel.grid.counts import ColumnCounts, Integers
    from keel.grid.reference import ReferenceGrid

CHOOSING_SHARE = 0.25
"""Share of the reference that chooses the bins of a column; the others are counted, see `keel.grid.bins`."""
_SEED = 20_240_101


@dataclass(frozen=True, eq=False)
class ContextReference:
    """Bins and reference counts of every monitored column, by context.

    Parameters
    ----------
    grid_id
        The grid of the version.
    contexts
        How a row's context is found.
    columns
        The monitored columns: features first, then outputs. A column that is a context is not monitored.
    counts
        Reference rows on each bin, shape (columns, contexts, `WIDTH`); the last bin is that of the tails. Rows that
        chose the bins are not among them. All are zero where the reference is not known by context: ranks are then
        learned from the rows to come.
    remarks
        Sentences about what people should know of this reference.

    """

    grid_id: str
    contexts: Contexts
    columns: tuple[BinnedColumn, ...]
    counts: Integers
    remarks: tuple[str, ...] = ()

    @classmethod
    def fit(
        cls, grid: ReferenceGrid, table: Any, *, holdout: Any | None = None, context: Sequence[str] = ()
    ) -> ContextReference:
        """Choose bins and count the reference on them.

        Parameters
        ----------
        grid
            The grid fitted to these rows.
        table, holdout
            One arrow table or DataFrame each. Features are counted on ``table``, outputs on ``holdout``. ``time`` is
            read where a context is part of it.
        context
            Features, ``hour`` or ``weekday``, see `keel.grid.context_values`.

        Raises
        ------
        ConfigError
            For a context that is none of them.

        """
        contexts = Contexts.named(context, _features(grid))
        tables = [table] if holdout is None else [table, holdout]
        codes = [contexts.codes(rows) for rows in tables]
        contexts, remarks = most_frequent(contexts, np.concatenate(codes))
        n = len(contexts.labels)
        placed = [contexts.positions(each) for each in codes]
        choosing = [np.random.default_rng(_SEED + i).random(len(each)) < CHOOSING_SHARE for i, each in enumerate(codes)]
        monitored = [column for column in grid.columns if column.name not in contexts.names]

        def binned(column: ColumnGrid) -> tuple[BinnedColumn, Integers]:
            part = 0 if column.name in grid.features else len(tables) - 1
            rows = number_of_rows(tables[part])
            cells = assign_rows(column, read_column(tables[part], column.name), rows)
            return _binned(column, cells, placed[part], choosing[part], n)

        made = in_threads(binned, monitored, max(map(len, codes)))
        return cls._of(grid.grid_id, contexts, made, remarks)

    @classmethod
    def of_grid(cls, grid: ReferenceGrid, context: Sequence[str] = ()) -> ContextReference:
        """Return what a grid alone tells, for a version without a reference by context, or with another context.

        The bins are those of all rows. Without contexts the counts are the reference's, else they are zero, because the
        grid does not know its rows by context.

        Raises
        ------
        ConfigError
            For a context that is no feature of the grid and not ``hour`` or ``weekday``.

        """
        contexts, remarks = known_by_cells(Contexts.named(context, _features(grid)), grid.reference_columns)
        rng = np.random.default_rng(_SEED)
        monitored = [column for column in grid.columns if column.name not in contexts.names]
        made = [_binned_alone(column, grid.reference_columns[column.name], contexts, rng) for column in monitored]
        if contexts.names:
            what = " and ".join(contexts.names)
            remarks.append(
                f"The version has no reference by {what}. The monitors learn from new rows what is usual in a context, "
                "and find less until then. The next version has such a reference."
            )
        return cls._of(grid.grid_id, contexts, made, remarks)

    @classmethod
    def _of(
        cls, grid_id: str, contexts: Contexts, made: list[tuple[BinnedColumn, Integers]], remarks: list[str]
    ) -> ContextReference:
        counts = np.stack([c for _, c in made]) if made else np.zeros((0, len(contexts.labels), WIDTH), dtype=np.int64)
        return cls(grid_id, contexts, tuple(column for column, _ in made), counts, tuple(remarks))

    @property
    def context(self) -> tuple[str, ...]:
        """The names that contexts are made of, as configured."""
        return self.contexts.names

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the monitored columns."""
        return tuple(column.grid.name for column in self.columns)

    @property
    def labels(self) -> tuple[str, ...]:
        """A text for each context; with contexts, the last is ``other``."""
        return self.contexts.labels

    def select(self, names: Collection[str]) -> ContextReference:
        """Return the reference of some columns, in its own order; names it does not have are ignored."""
        kept = [i for i, name in enumerate(self.names) if name in names]
        return replace(self, columns=tuple(self.columns[i] for i in kept), counts=self.counts[kept])

    def assign(self, table: Any) -> tuple[NDArray[np.int8], NDArray[np.intp]]:
        """Return the bin of each row in each column, shape (columns, rows), and each row's context, shape (rows,).

        table: an arrow table or a DataFrame. No content raises an error: what is no value of a column is on the bin of
        the tails, and so is a column that the table lacks.
        """
        return self._assigner.bins(table, context := self.contexts.assign(table)), context

    @cached_property
    def _assigner(self) -> BinAssigner:
        return BinAssigner(self.columns)

    def to_bytes(self) -> bytes:
        """Return the reference as one ``.npz`` archive without pickles. Equal references give equal bytes."""
        return context_archive.dump(self.grid_id, self.contexts, self.columns, self.counts, self.remarks)

    @classmethod
    def from_bytes(cls, data: bytes) -> ContextReference:
        """Read the bytes that `to_bytes` wrote; SchemaError for all others."""
        return cls(*context_archive.parse(data))


def _features(grid: ReferenceGrid) -> dict[str, ColumnGrid]:
    return {column.name: column for column in grid.columns[: grid.n_features]}


def _binned(
    column: ColumnGrid, cells: Integers, context: NDArray[np.intp], choosing: NDArray[np.bool_], n: int
) -> tuple[BinnedColumn, Integers]:
    size = column.size + len(TAILS)
    flat = context * size + cells
    chosen, counted = (np.bincount(flat[rows], minlength=n * size).reshape(n, size) for rows in (choosing, ~choosing))
    made, bins = bin_column(column, chosen)
    return made, _count_bins(bins, counted)


def _count_bins(bins: NDArray[np.int8], rows: Integers) -> Integers:
    """Return the rows on each bin, shape (contexts, `WIDTH`).

    bins, rows: of each cell and tail, shape (contexts, cells + 5).
    """
    counted = np.zeros((len(rows), WIDTH), dtype=np.int64)
    contexts, cells = np.nonzero(rows)
    np.add.at(counted, (contexts, bins[contexts, cells]), rows[contexts, cells])
    return counted


def _binned_alone(
    column: ColumnGrid, counts: ColumnCounts, contexts: Contexts, rng: np.random.Generator
) -> tuple[BinnedColumn, Integers]:
    """Return the bins of a column whose rows are not known by context, and its counts: zero if there are contexts."""
    rows = counts.all_cells()
    # as many on each cell as if they were any quarter of the reference's rows
    chosen = rng.multivariate_hypergeometric(rows, round(counts.n * CHOOSING_SHARE), method="marginals")
    made, bins = bin_column(column, chosen[None, :])
    if not contexts.names:
        return made, _count_bins(bins, (rows - chosen)[None, :])
    n = len(contexts.labels)
    everywhere = replace(made, edges=np.repeat(made.edges, n, axis=0), bins=np.repeat(made.bins, n, axis=0))
    return everywhere, np.zeros((n, WIDTH), dtype=np.int64)
