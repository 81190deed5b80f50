"""Counts of a window on a reference grid. They are integers, so batches add up to the same counts in any order.

Every column of the grid has

- cells. A numeric column with k knots has 2k + 1: ``(-inf, k0), {k0}, (k0, k1), {k1}, …, (k_last, inf)``.
  A categorical column has one for each category of the vocabulary, and a last one, `other`, for all other categories;
- five tails (`TAILS`) for values that lie on no cell. Cells and tails of a column sum to the rows;
- if numeric, the least and the greatest finite value, and the summed distance of values beyond the reference's range.
  Distances are summed in whole units of `OVERSHOOT_UNIT`, because a sum of floats depends on the order of addition.
"""

from __future__ import annotations

import json
import math
import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from keel.errors import GridMismatch, SchemaError

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

TAILS = ("missing", "neg_inf", "pos_inf", "invalid", "absent")
"""Null or NaN; minus infinity; plus infinity; a value of another type than the column's; the table lacks the column."""

OVERSHOOT_UNIT = 2.0**-16
"""Resolution of summed distances beyond the reference's range, in units of the column's scale."""
OVERSHOOT_LIMIT = 2.0**20
"""The greatest distance of one value, in scales: a sum over 10⁸ rows still fits 64 bits."""

_MAGIC = b"KEELCNT1"
_WIDTHS = (np.uint8, np.uint16, np.uint32, np.int64)


@dataclass(frozen=True)
class Layout:
    """The names, kinds and numbers of cells of a grid's columns."""

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    sizes: tuple[int, ...]

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """Where each column's cells start in the flat vector, and where the last column's stop."""
        return (0, *np.cumsum(self.sizes, dtype=np.int64).tolist())

    @cached_property
    def index(self) -> dict[str, int]:
        """Position of each column by name."""
        return {name: i for i, name in enumerate(self.names)}


class HasLayout(Protocol):
    """The part of a grid that counts need."""

    @property
    def grid_id(self) -> str: ...  # noqa: D102

    @property
    def layout(self) -> Layout: ...  # noqa: D102


@dataclass(frozen=True, eq=False)
class ColumnCounts:
    """The counts of one column.

    Parameters
    ----------
    kind
        ``"numeric"`` or ``"categorical"``.
    cells
        Shape (cells,), int64.
    missing, neg_inf, pos_inf, invalid, absent
        The tails, in rows; see `TAILS`.
    minimum, maximum
        Of the finite values; None without any, and for a categorical column.
    below, above
        Summed distance of the values beyond the reference's range, in units of `OVERSHOOT_UNIT` scales.

    """

    kind: str
    cells: Integers
    missing: int = 0
    neg_inf: int = 0
    pos_inf: int = 0
    invalid: int = 0
    absent: int = 0
    minimum: float | None = None
    maximum: float | None = None
    below: int = 0
    above: int = 0

    @cached_property
    def n_counted(self) -> int:
        """Rows on a cell: neither missing, infinite, invalid nor absent."""
        return int(self.cells.sum())

    @cached_property
    def n(self) -> int:
        """All rows."""
        return self.n_counted + sum(self.tails)

    @property
    def tails(self) -> tuple[int, int, int, int, int]:
        """The tails, in the order of `TAILS`."""
        return (self.missing, self.neg_inf, self.pos_inf, self.invalid, self.absent)

    @property
    def infinite(self) -> int:
        """Rows with an infinity of either sign."""
        return self.neg_inf + self.pos_inf

    @property
    def other(self) -> int:
        """Rows with a category outside the vocabulary; 0 for a numeric column."""
        return int(self.cells[-1]) if self.kind == "categorical" else 0

    def __add__(self, other: ColumnCounts) -> ColumnCounts:
        return ColumnCounts(
            self.kind,
            self.cells + other.cells,
            missing=self.missing + other.missing,
            neg_inf=self.neg_inf + other.neg_inf,
            pos_inf=self.pos_inf + other.pos_inf,
            invalid=self.invalid + other.invalid,
            absent=self.absent + other.absent,
            minimum=min((m for m in (self.minimum, other.minimum) if m is not None), default=None),
            maximum=max((m for m in (self.maximum, other.maximum) if m is not None), default=None),
            below=self.below + other.below,
            above=self.above + other.above,
        )

    def all_cells(self) -> Integers:
        """Cells followed by tails, shape (cells + 5,)."""
        return np.append(self.cells, np.array(self.tails, dtype=np.int64))


@dataclass(frozen=True, eq=False)
class Counts:
    """The counts of a window on one grid. Counts of the same grid are added with ``+`` and `sum`.

    Parameters
    ----------
    grid_id, layout
        The grid's.
    n
        Rows.
    cells
        The cells of all columns, shape (sum of the layout's sizes,).
    tails
        Shape (columns, 5), in the order of `TAILS`.
    overshoot
        Shape (columns, 2): below and above the reference's range.
    extremes
        Shape (columns, 2): the least and the greatest finite value; (inf, -inf) without any.

    """

    grid_id: str
    layout: Layout
    n: int
    cells: Integers
    tails: Integers
    overshoot: Integers
    extremes: Floats

    def __post_init__(self) -> None:
        for array in (self.cells, self.tails, self.overshoot, self.extremes):
            array.setflags(write=False)

    @classmethod
    def zero(cls, grid: HasLayout) -> Counts:
        """Return the counts of no rows: the neutral element of ``+``."""
        columns = len(grid.layout.names)
        return cls(
            grid_id=grid.grid_id,
            layout=grid.layout,
            n=0,
            cells=np.zeros(grid.layout.offsets[-1], dtype=np.int64),
            tails=np.zeros((columns, len(TAILS)), dtype=np.int64),
            overshoot=np.zeros((columns, 2), dtype=np.int64),
            extremes=np.tile(np.array([math.inf, -math.inf]), (columns, 1)),
        )

    @classmethod
    def of_columns(cls, grid_id: str, layout: Layout, n: int, columns: list[ColumnCounts]) -> Counts:
        """Join the counts of a table's columns, which are in the layout's order."""
        return cls(
            grid_id=grid_id,
            layout=layout,
            n=n,
            cells=np.concatenate([c.cells for c in columns]) if columns else np.zeros(0, dtype=np.int64),
            tails=np.array([c.tails for c in columns], dtype=np.int64).reshape(len(columns), len(TAILS)),
            overshoot=np.array([(c.below, c.above) for c in columns], dtype=np.int64).reshape(len(columns), 2),
            extremes=np.array(
                [
                    (math.inf if c.minimum is None else c.minimum, -math.inf if c.maximum is None else c.maximum)
                    for c in columns
                ],
                dtype=np.float64,
            ).reshape(len(columns), 2),
        )

    def column(self, name: str) -> ColumnCounts:
        """Return the counts of one column; KeyError for a name that the grid does not have."""
        i = self.layout.index[name]
        start, stop = self.layout.offsets[i], self.layout.offsets[i + 1]
        missing, neg_inf, pos_inf, invalid, absent = self.tails[i].tolist()
        below, above = self.overshoot[i].tolist()
        minimum, maximum = self.extremes[i].tolist()
        return ColumnCounts(
            kind=self.layout.kinds[i],
            cells=self.cells[start:stop],
            missing=missing,
            neg_inf=neg_inf,
            pos_inf=pos_inf,
            invalid=invalid,
            absent=absent,
            minimum=None if math.isinf(minimum) else minimum,
            maximum=None if math.isinf(maximum) else maximum,
            below=below,
            above=above,
        )

    def __add__(self, other: object) -> Counts:
        if not isinstance(other, Counts):
            return self if other == 0 else NotImplemented
        if other.grid_id != self.grid_id or other.layout != self.layout:
            raise GridMismatch(f"counts of grid {self.grid_id[:12]} and of grid {other.grid_id[:12]} cannot be added")
        return Counts(
            grid_id=self.grid_id,
            layout=self.layout,
            n=self.n + other.n,
            cells=self.cells + other.cells,
            tails=self.tails + other.tails,
            overshoot=self.overshoot + other.overshoot,
            extremes=np.column_stack(
                [
                    np.minimum(self.extremes[:, 0], other.extremes[:, 0]),
                    np.maximum(self.extremes[:, 1], other.extremes[:, 1]),
                ]
            ),
        )

    __radd__ = __add__

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Counts):
            return NotImplemented
        return (
            (self.grid_id, self.layout, self.n) == (other.grid_id, other.layout, other.n)
            and np.array_equal(self.cells, other.cells)
            and np.array_equal(self.tails, other.tails)
            and np.array_equal(self.overshoot, other.overshoot)
            and np.array_equal(self.extremes, other.extremes)
        )

    def __hash__(self) -> int:
        return hash((self.grid_id, self.n, self.cells.tobytes()))

    def __repr__(self) -> str:
        return f"Counts(n={self.n}, columns={len(self.layout.names)}, grid={self.grid_id[:12]})"

    def to_bytes(self) -> bytes:
        """Return compact bytes, which `from_bytes` reads on any machine. Equal counts give equal bytes."""
        width = next(w for w in _WIDTHS if self.cells.max(initial=0) <= np.iinfo(w).max)
        header = json.dumps(
            {
                "grid_id": self.grid_id,
                "n": self.n,
                "names": self.layout.names,
                "kinds": self.layout.kinds,
                "sizes": self.layout.sizes,
                "dtype": np.dtype(width).newbyteorder("<").str,
            },
            separators=(",", ":"),
        ).encode()
        body = b"".join(
            [
                len(header).to_bytes(4, "little"),
                header,
                self.cells.astype(np.dtype(width).newbyteorder("<")).tobytes(),
                self.tails.astype("<i8").tobytes(),
                self.overshoot.astype("<i8").tobytes(),
                self.extremes.astype("<f8").tobytes(),
            ]
        )
        return _MAGIC + zlib.compress(body, 6)

    @classmethod
    def from_bytes(cls, data: bytes) -> Counts:
        """Read the bytes that `to_bytes` wrote; SchemaError for all others."""
        if data[: len(_MAGIC)] != _MAGIC:
            raise SchemaError("these bytes are not counts of this version of Keel")
        try:
            return cls._parse(zlib.decompress(data[len(_MAGIC) :]))
        except (zlib.error, ValueError, KeyError, TypeError) as error:
            raise SchemaError(f"the bytes of these counts are damaged: {error}") from error

    @classmethod
    def _parse(cls, body: bytes) -> Counts:
        end = 4 + int.from_bytes(body[:4], "little")
        head: dict[str, Any] = json.loads(body[4:end])
        layout = Layout(tuple(head["names"]), tuple(head["kinds"]), tuple(head["sizes"]))
        columns = len(layout.names)
        shapes = [
            (np.dtype(head["dtype"]), (layout.offsets[-1],)),
            (np.dtype("<i8"), (columns, len(TAILS))),
            (np.dtype("<i8"), (columns, 2)),
            (np.dtype("<f8"), (columns, 2)),
        ]
        arrays = []
        for dtype, shape in shapes:
            size = math.prod(shape)
            arrays.append(np.frombuffer(body, dtype, count=size, offset=end).reshape(shape))
            end += size * dtype.itemsize
        if end != len(body):
            raise ValueError(f"{len(body) - end} bytes too many")
        cells, tails, overshoot, extremes = arrays
        return cls(
            head["grid_id"],
            layout,
            head["n"],
            cells.astype(np.int64),
            tails.astype(np.int64),
            overshoot.astype(np.int64),
            extremes.astype(np.float64),
        )
