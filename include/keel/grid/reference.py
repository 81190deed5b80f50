"""The reference grid: the cells of every column, with the counts and mean losses of a version's training rows.

It is fitted once, at training, and saved with the version. Every later window is a vector of counts on it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from keel.errors import ConfigError, GridMismatch, InsufficientData, SchemaError, suggestion
from keel.grid import archive
from keel.grid.cell_losses import losses_by_bin
from keel.grid.column_grid import ColumnGrid, fit_categorical, fit_numeric
from keel.grid.counts import TAILS, ColumnCounts, Counts, Floats, Integers, Layout
from keel.grid.kernel import assign_rows, count_column
from keel.grid.tables import batches_of, gather, number_of_rows
from keel.grid.threads import in_threads
from keel.stats.drift.psi import decile_starts
from keel.values.columns import is_frame, read_column
from keel.values.names import as_configured

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

KINDS = ("numeric", "categorical")


@dataclass(frozen=True, eq=False)
class ReferenceGrid:
    """The cells of every column, and the reference's counts on them.

    Parameters
    ----------
    columns
        Features first, then outputs, each in the order given.
    n_features
        Number of features.
    n_reference
        Rows that the features are counted on.
    reference
        Counts of every column. Those of outputs come from the holdout, so a column's rows are its own `ColumnCounts.n`.
    holdout
        The holdout's counts; None without a holdout.
    mean_loss
        The holdout's mean loss on each column's cells followed by its tails, flat, in the order of the columns. A cell
        without holdout rows has the overall mean. None without losses.
    overall_loss
        The holdout's mean loss; None without losses.
    replaced
        Other references of some columns: see `with_references`. They are no part of the grid's bytes and id.

    """

    columns: tuple[ColumnGrid, ...]
    n_features: int
    n_reference: int
    reference: Counts
    holdout: Counts | None = None
    mean_loss: Floats | None = None
    overall_loss: float | None = None
    replaced: Mapping[str, ColumnCounts] = field(default_factory=dict)

    @classmethod
    def fit(
        cls,
        table: Any,
        features: Mapping[str, str],
        *,
        holdout: Any | None = None,
        outputs: Mapping[str, str] | None = None,
        loss: Any | None = None,
    ) -> ReferenceGrid:
        """Fit a grid to the rows that a version is trained on.

        Parameters
        ----------
        table, holdout
            A pyarrow Table, a pandas DataFrame, or an iterable of record batches.
        features, outputs
            Name to ``"numeric"`` or ``"categorical"``. Outputs (score, prediction) are fitted to the holdout.
        loss
            Loss of each holdout row, shape (rows,). The means skip NaN.

        Raises
        ------
        ConfigError
            For an unknown kind, a name that is both feature and output, and outputs or losses without a holdout.
        SchemaError
            For a column that the table lacks, and losses of another length than the holdout.
        InsufficientData
            For a reference or a holdout without rows.

        """
        outputs = dict(outputs or {})
        _check_kinds(features, outputs)
        if holdout is None and (outputs or loss is not None):
            raise ConfigError("outputs and losses are counted on a holdout; pass holdout= as well")
        reference = _single_table(table, features, "reference")
        n_reference = number_of_rows(reference)
        columns = _fit_columns(reference, features)
        counts = _count_columns(columns, reference)
        holdout_counts = losses = overall_loss = None
        if holdout is not None:
            rows = _single_table(holdout, {**features, **outputs}, "holdout")
            columns += _fit_columns(rows, outputs)
            # Two tables are compared with the first one as its own holdout: it is counted once.
            held_out = (
                [*counts, *_count_columns(columns[len(features) :], rows)]
                if holdout is table
                else _count_columns(columns, rows)
            )
            holdout_counts = Counts.of_columns("", _layout(columns), number_of_rows(rows), held_out)
            counts += held_out[len(features) :]
            if loss is not None:
                losses, overall_loss = _mean_losses(columns, rows, np.asarray(loss, dtype=np.float64))
        content = archive.Content(
            columns=tuple(columns),
            n_features=len(features),
            n_reference=n_reference,
            reference=Counts.of_columns("", _layout(columns), n_reference, counts),
            holdout=holdout_counts,
            mean_loss=losses,
            overall_loss=overall_loss,
        )
        return cls._of(content)

    @classmethod
    def _of(cls, content: archive.Content) -> ReferenceGrid:
        content = content.identified()
        return cls(**{name: getattr(content, name) for name in archive.FIELDS})

    @property
    def grid_id(self) -> str:
        """SHA-256 of the grid's content, in hexadecimal."""
        return self.reference.grid_id

    @property
    def layout(self) -> Layout:
        """Columns, kinds and numbers of cells."""
        return self.reference.layout

    @property
    def kinds(self) -> dict[str, str]:
        """Kind of every column, features and outputs."""
        return {column.name: column.kind for column in self.columns}

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features."""
        return self.layout.names[: self.n_features]

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return self.layout.names[self.n_features :]

    def column(self, name: str) -> ColumnGrid:
        """Return the grid of one column; KeyError for a name that the grid does not have."""
        return self.columns[self.layout.index[name]]

    def with_references(self, columns: Mapping[str, ColumnCounts]) -> ReferenceGrid:
        """Return the same cells, with other rows as the reference of some columns: those of an earlier window.

        Counts of one grid are counts of the other. Holdout, losses and knots stay the grid's own.

        Raises
        ------
        GridMismatch
            The grid has no such column, or the counts are not on its cells.

        """
        for name, counts in columns.items():
            position = self.layout.index.get(name)
            if position is None or (counts.kind, len(counts.cells)) != (
                self.layout.kinds[position],
                self.layout.sizes[position],
            ):
                raise GridMismatch(f"{name}: these counts are not on the cells of grid {self.grid_id[:12]}")
        return replace(self, replaced={**self.replaced, **columns})

    @cached_property
    def reference_columns(self) -> dict[str, ColumnCounts]:
        """The reference's counts by column, the replaced ones included."""
        return {name: self.replaced.get(name) or self.reference.column(name) for name in self.layout.names}

    @property
    def least_reference(self) -> int:
        """Rows of the feature whose reference has fewest."""
        return min((self.reference_columns[name].n for name in self.features), default=self.n_reference)

    @cached_property
    def decile_starts(self) -> dict[str, Integers]:
        """First cell of each of the reference's deciles, by numeric column that has values."""
        return {
            name: decile_starts(counts.cells)
            for name, counts in self.reference_columns.items()
            if counts.kind == "numeric" and counts.n_counted
        }

    @cached_property
    def _losses(self) -> dict[str, Floats]:
        if self.mean_loss is None or self.holdout is None or self.overall_loss is None:
            return {}
        sizes = [size + len(TAILS) for size in self.layout.sizes]
        parts = np.split(self.mean_loss, np.cumsum(sizes)[:-1])
        return {
            name: losses_by_bin(part, self.holdout.column(name), self.reference.column(name), self.overall_loss)
            for name, part in zip(self.layout.names, parts, strict=True)
        }

    def losses_of(self, name: str) -> Floats | None:
        """Return the mean loss around each of one column's cells, then of its tails; None without losses.

        Shape (cells + 5,). See `keel.grid.cell_losses`.
        """
        return self._losses.get(name)

    def count(self, table: Any) -> Counts:
        """Count a window: a pyarrow Table, a pandas DataFrame, or an iterable of record batches of any size.

        The data never raises an error. A column that a table lacks counts as `absent`, a value of another type as
        `invalid`, an unknown category as `other`. Columns outside the grid are ignored. Small arrow batches are joined
        first; memory is that of about `keel.grid.tables.PORTION_ROWS` rows, or of the largest batch.

        Raises
        ------
        TypeError
            For anything else than a table or batches.

        """
        total: Counts | None = None
        for batch in gather(batches_of(table)):
            columns = _count_columns(self.columns, batch)
            counts = Counts.of_columns(self.grid_id, self.layout, number_of_rows(batch), columns)
            total = counts if total is None else total + counts
        return Counts.zero(self) if total is None else total

    def to_bytes(self) -> bytes:
        """Return the grid as one ``.npz`` archive without pickles. Equal grids give equal bytes."""
        return archive.dump(archive.Content(**{name: getattr(self, name) for name in archive.FIELDS}))

    @classmethod
    def from_bytes(cls, data: bytes) -> ReferenceGrid:
        """Read the bytes that `to_bytes` wrote; SchemaError for all others."""
        return cls._of(archive.parse(data))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the grid to one file, which is replaced as a whole."""
        target = Path(path)
        partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
        partial.write_bytes(self.to_bytes())
        partial.replace(target)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ReferenceGrid:
        """Read a saved grid; SchemaError with the path for any other file."""
        try:
            return cls.from_bytes(Path(path).read_bytes())
        except SchemaError as error:
            raise SchemaError(f"{path}: {error}") from error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ReferenceGrid) and (other.grid_id, other.replaced) == (self.grid_id, self.replaced)

    def __hash__(self) -> int:
        return hash(self.grid_id)

    def __repr__(self) -> str:
        return f"ReferenceGrid({len(self.columns)} columns, {self.n_reference} rows, {self.grid_id[:12]})"


def _check_kinds(features: Mapping[str, str], outputs: Mapping[str, str]) -> None:
    for name, kind in [*features.items(), *outputs.items()]:
        if kind not in KINDS:
            raise ConfigError(f"{name}: unknown kind {kind!r}{suggestion(str(kind), KINDS)}; valid: {', '.join(KINDS)}")
    both = sorted(set(features) & set(outputs))
    if both:
        raise ConfigError(f"columns that are both feature and output: {', '.join(both)}")
    if not features and not outputs:
        raise ConfigError("a grid needs at least one column")


def _single_table(data: Any, needed: Iterable[str], what: str) -> Any:
    batches = list(batches_of(data))
    if len(batches) == 1:
        table = batches[0]
    else:
        as_tables = [_as_table(batch) for batch in batches]
        table = pa.concat_tables(as_tables, promote_options="permissive") if as_tables else pa.table({})
    names = list(table.columns) if is_frame(table) else table.schema.names
    missing = [name for name in needed if name not in names and not as_configured(names, [name])]
    if missing and batches:
        near = suggestion(missing[0], [str(name) for name in names])
        raise SchemaError(f"the {what} has no column {', '.join(map(repr, missing))}{near}")
    if number_of_rows(table) == 0:
        raise InsufficientData(feature=what, needed=1, got=0)
    return table


def _as_table(batch: Any) -> pa.Table:
    if is_frame(batch):
        return pa.Table.from_pandas(batch, preserve_index=False)
    return pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch


def _fit_columns(table: Any, kinds: Mapping[str, str]) -> list[ColumnGrid]:
    def fit(name: str) -> ColumnGrid:
        column = read_column(table, name)
        return fit_numeric(name, column) if kinds[name] == "numeric" else fit_categorical(name, column)

    return in_threads(fit, list(kinds), number_of_rows(table))


def _layout(columns: list[ColumnGrid]) -> Layout:
    return Layout(
        tuple(c.name for c in columns),
        tuple(c.kind for c in columns),
        tuple(c.size for c in columns),
    )


def _count_columns(columns: Iterable[ColumnGrid], table: Any) -> list[ColumnCounts]:
    rows = number_of_rows(table)

    def count(grid: ColumnGrid) -> tuple[str, ColumnCounts]:
        return grid.name, count_column(grid, read_column(table, grid.name), rows)

    columns = list(columns)
    # Text last, so that helper threads start with it: a column of text takes longest, and a long task is best early.
    counted = dict(in_threads(count, sorted(columns, key=lambda grid: grid.kind == "categorical"), rows))
    return [counted[grid.name] for grid in columns]


def _mean_losses(columns: list[ColumnGrid], table: Any, loss: Floats) -> tuple[Floats, float]:
    rows = number_of_rows(table)
    if loss.shape != (rows,):
        raise SchemaError(f"loss has shape {loss.shape}, the holdout {rows} rows")
    known = np.isfinite(loss)
    if not known.any():
        raise InsufficientData(feature="loss", needed=1, got=0)
    overall = float(loss[known].mean())

    def means(grid: ColumnGrid) -> Floats:
        cells = assign_rows(grid, read_column(table, grid.name), rows)[known]
        size = grid.size + len(TAILS)
        count = np.bincount(cells, minlength=size)
        total = np.bincount(cells, weights=loss[known], minlength=size)
        return np.where(count > 0, total / np.maximum(count, 1), overall)

    return np.concatenate([means(grid) for grid in columns]), overall
