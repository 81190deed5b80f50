"""Which labels a target can have. Every way in asks here: Python, files, tables, replay, the service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    TargetKind = Literal["binary", "regression"]

BINARY = (0.0, 1.0)


def wanted(target: TargetKind | None) -> str:
    """Return in words which labels a target of this kind can have; None: of any kind."""
    return "0 or 1 for a binary target" if target == "binary" else "a finite number"


def are_possible(values: pa.Array, target: TargetKind | None) -> pa.BooleanArray:
    """Return a mask of the labels, float64, that a target of this kind can have. A null is none of them.

    >>> are_possible(pa.array([0.0, 2.0, None]), "binary").to_pylist()
    [True, False, False]
    """
    if target == "binary":
        return pc.is_in(values, pa.array(BINARY))
    return pc.fill_null(pc.is_finite(values), False)
