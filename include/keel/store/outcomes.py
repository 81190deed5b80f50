"""What an experiment's rows came to: the first row of each entity, with its label once it has one.

An entity counts once, by its first prediction in the experiment: what comes later of it depends on what it was
answered before. A row without an entity is its own. Quarantines do not matter here: they are made after the fact, and
a test that follows the rows must not lose some that it has seen.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from keel.store.arrow import reading
from keel.store.casting import first_occurrences
from keel.store.rows import decode
from keel.store.tables import labels
from keel.store.times import MICROSECOND, to_micros

if TYPE_CHECKING:
    from keel.store.database import Database
    from keel.store.layout import Layout

ASSIGNED = ("time", "arm", "allocation", "entity")
OUTCOMES = (
    "id", "time", "version", "arm", "allocation", "entity", "score", "prediction", "label", "observed_at",
    "shadow_version", "shadow_score", "shadow_prediction",
)  # fmt: skip
_OF_LABEL = frozenset({"label", "observed_at"})


def assigned(database: Database, layout: Layout, experiment: str, start: datetime, end: datetime) -> pa.Table:
    """Return ``time, arm, allocation, entity`` of each entity's first row with an arm, start ≤ time < end, in order."""
    has_arm = layout.table.c.arm.is_not(None)
    return _first_rows(database, layout, experiment, start, end, ("id", *ASSIGNED), has_arm).select(ASSIGNED)


def outcomes(
    database: Database, layout: Layout, experiment: str, start: datetime, end: datetime, label_delay: timedelta
) -> pa.Table:
    """Return `OUTCOMES` of the entities whose first row, start ≤ time < end, has a label, in order of arrival.

    A label has arrived when it is there and due, ``label_delay`` after its row's time: rows of equal maturity. So a
    later ``end`` adds rows behind those of an earlier one, unless rows or labels are stored later than they say.
    """
    rows = _first_rows(database, layout, experiment, start, end, OUTCOMES)
    rows = rows.filter(rows["label"].is_valid())
    observed, due = (rows[name].cast(pa.int64()).to_numpy() for name in ("observed_at", "time"))
    usable_from = np.maximum(observed, due + label_delay // MICROSECOND)
    return rows.take(pa.array(np.argsort(usable_from, kind="stable")))


def _first_rows(
    database: Database,
    layout: Layout,
    experiment: str,
    start: datetime,
    end: datetime,
    names: tuple[str, ...],
    *conditions: sa.ColumnElement[bool],
) -> pa.Table:
    """Return each entity's first row, by time and id; an entity that is null comes as the row's id."""
    table = layout.table
    inside = (table.c.time >= to_micros(start), table.c.time < to_micros(end), table.c.experiment == experiment)
    columns: dict[str, sa.ColumnElement[Any]] = {
        name: labels.c[name] if name in _OF_LABEL else table.c[name] for name in names
    }
    columns["entity"] = sa.func.coalesce(table.c.entity, table.c.id)
    source: sa.FromClause = table
    if _OF_LABEL.intersection(names):
        source = sa.outerjoin(table, labels, sa.and_(labels.c.model == layout.model, labels.c.id == table.c.id))
    selected = [column.label(f"c{i}") for i, column in enumerate(columns.values())]
    query = sa.select(*selected).select_from(source).where(*inside, *conditions).order_by(table.c.time)
    with reading(database) as session:
        found = session.fetch(query)
    rows = decode(found, list(names), {})
    # ties of time in the order of the id's bytes, whatever the server's locale
    if pc.count_distinct(rows["time"]).as_py() < rows.num_rows:
        rows = rows.sort_by([("time", "ascending"), ("id", "ascending")])
    first = first_occurrences(rows["entity"].combine_chunks()) if rows.num_rows else np.array([], dtype=bool)
    return rows.filter(pa.array(first, pa.bool_()))
