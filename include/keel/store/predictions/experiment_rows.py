"""Read the rows of an experiment: the first row of each entity, with its label if it has one.

An entity counts once, with its first prediction in the experiment, because its later requests may depend on the first
answer. A row without an entity counts as an entity of its own. Quarantines do not apply: they are decided afterwards,
and a sequential test must not lose rows that it has used.

An experiment of a week may have millions of rows, which are read every hour. They are therefore read in parts and only
the needed columns, and texts become numbers before the next part is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from keel.store.database.tables import labels
from keel.store.database.times import MICROSECOND, to_micros
from keel.store.predictions.arrow_session import ArrowSession, reading
from keel.store.predictions.casting import UTC_MICROSECONDS
from keel.store.predictions.encoding import decode

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from keel.store.database.connections import Database
    from keel.store.predictions.layout import Layout

TEXT = pa.dictionary(pa.int32(), pa.string())
ALWAYS = {
    "time": UTC_MICROSECONDS,
    "entity": pa.uint64(),
    "arm": TEXT,
    "allocation": pa.float64(),
    "version": pa.int64(),
    "label": pa.float64(),
    "observed_at": UTC_MICROSECONDS,
}
OUTPUTS = {
    "score": pa.float64(),
    "prediction": pa.float64(),
    "shadow_version": pa.int64(),
    "shadow_score": pa.float64(),
    "shadow_prediction": pa.float64(),
}
_OF_LABEL = frozenset({"label", "observed_at"})
_PORTION = timedelta(hours=6) // MICROSECOND
"""The time range of one query on SQLite. A server sends its rows in parts."""
_FEW = 200_000
"""Rows held before rows that do not count are dropped."""


def experiment_rows(
    database: Database, layout: Layout, experiment: str, start: datetime, end: datetime, outputs: Sequence[str]
) -> tuple[pa.Table, pa.Table]:
    """Return each entity's first row, start ≤ time < end, and each entity's first row with an arm, by time and id.

    Columns `ALWAYS` and the named ones of `OUTPUTS`. entity: a 64-bit hash of the entity, or of the id of a row without
    one. Among ten million entities two share a hash with a probability of 3 in a million; one of them is then lost.
    label, observed_at: null without a label. If every row has an arm, both results are the same table.
    """
    types = {**ALWAYS, **{name: OUTPUTS[name] for name in outputs}}
    found = kept = pa.schema(list(types.items())).empty_table()
    with reading(database) as session:
        for portion in _portions(session, database, layout, experiment, (to_micros(start), to_micros(end)), types):
            found = pa.concat_tables([found, portion])
            if found.num_rows > 2 * kept.num_rows + _FEW:
                counting = _first(found) | _first_with_arm(found) if found["arm"].null_count else _first(found)
                found = kept = _of(found, counting)
    first = _of(found, _first(found))
    return first, _of(found, _first_with_arm(found)) if found["arm"].null_count else first


def _portions(
    session: ArrowSession,
    database: Database,
    layout: Layout,
    experiment: str,
    between: tuple[int, int],
    types: dict[str, pa.DataType],
) -> Iterator[pa.Table]:
    table = layout.table
    # the order of the id's bytes, whatever the server's locale
    by_id = table.c.id if database.is_sqlite else sa.collate(table.c.id, "C")
    columns: dict[str, sa.ColumnElement[Any]] = {
        name: labels.c[name] if name in _OF_LABEL else table.c[name] for name in types
    }
    columns["entity"] = sa.func.coalesce(table.c.entity, table.c.id)
    source = sa.outerjoin(table, labels, sa.and_(labels.c.model == layout.model, labels.c.id == table.c.id))
    selected = [column.label(f"c{i}") for i, column in enumerate(columns.values())]
    query = sa.select(*selected).select_from(source).where(table.c.experiment == experiment)
    query = query.order_by(table.c.time, by_id)
    for start, end in _ranges(session, table, between) if database.is_sqlite else [between]:
        for rows in session.batches(query.where(table.c.time >= start, table.c.time < end)):
            yield _narrow(decode(rows, list(types), {}), types)


def _ranges(session: ArrowSession, table: sa.Table, between: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Split a time range into ranges with rows, because SQLite's driver would return all rows at once."""
    start, end = between
    while start < end:
        next_row = sa.select(sa.func.min(table.c.time)).where(table.c.time >= start, table.c.time < end)
        first = session.fetch(next_row).column(0)[0].as_py()
        if first is None:
            return
        start = min(first + _PORTION, end)
        yield first, start


def _narrow(rows: pa.Table, types: dict[str, pa.DataType]) -> pa.Table:
    from pandas.util import hash_array

    entities = rows["entity"].combine_chunks().to_numpy(zero_copy_only=False)
    hashes = pa.array(hash_array(entities, categorize=False))
    arms = rows["arm"].combine_chunks().dictionary_encode()
    rows = rows.set_column(1, "entity", hashes).set_column(2, "arm", arms)
    # copied, because the driver's buffers take up to twice the space
    return rows.cast(pa.schema(list(types.items()))).take(np.arange(len(rows)))


def _first(rows: pa.Table) -> NDArray[np.bool_]:
    """Return a mask of the rows that are the first of their entity."""
    from pandas import Series

    again: NDArray[np.bool_] = Series(rows["entity"].to_numpy()).duplicated().to_numpy()
    return ~again


def _first_with_arm(rows: pa.Table) -> NDArray[np.bool_]:
    """Return a mask of the rows that are the first of their entity among those with an arm."""
    found: NDArray[np.bool_] = rows["arm"].is_valid().to_numpy()
    found[found] = _first(rows.select(["entity"]).filter(pa.array(found)))
    return found


def _of(rows: pa.Table, chosen: NDArray[np.bool_]) -> pa.Table:
    return rows if chosen.all() else rows.filter(pa.array(chosen))
