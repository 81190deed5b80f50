"""Which labels a target can have. Every way in asks here: Python, files, tables, replay, the service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from keel.store.database.tables import model_tables

if TYPE_CHECKING:
    from keel.store.database.connections import Database

    TargetKind = Literal["binary", "regression"]

BINARY = (0.0, 1.0)


def target_of(database: Database, model: str, given: TargetKind | None) -> TargetKind | None:
    """Return the kind of a model's target: the given one, which the store keeps, or else the one that it has kept.

    None if nobody has told the store yet.
    """
    mine = model_tables.c.model == model
    with database.connect() as connection:
        kept: TargetKind | None = connection.execute(sa.select(model_tables.c.target).where(mine)).scalar()
    if given is None or given == kept:
        return kept
    with database.begin() as connection:
        connection.execute(sa.update(model_tables).where(mine).values(target=given))
    return given


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
