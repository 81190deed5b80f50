"""Number a model's predictions and labels in the order in which they are stored, and read them in that order.

A row that is stored takes the next numbers of its model's counter, in the transaction that stores it. Writers of one
model take turns (`keel.store.predictions.arrow_session.writing`), so numbers are committed in order: a reader that has
seen a number has seen all smaller ones that will ever be. Numbers are unique over a model's predictions and labels.
Some are never used. Rows and labels stored before the store had numbers have none.

A reader that keeps the last number it has read reads each prediction once. For pairs of a prediction and its label it
keeps two numbers, P and L, and has then read the pairs whose prediction has a number up to P and whose label one up to
L. `settled` raises P, and `late_labels` raises L, so each pair is read once, whichever of the two comes first.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from keel.store.database.tables import arrivals, labels
from keel.store.database.times import to_micros
from keel.store.predictions.arrow_session import ArrowSession, reading
from keel.store.predictions.encoding import LABEL_ARRIVAL, decode, decode_packed
from keel.store.predictions.layout import ARRIVAL, OUTPUTS, Layout

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

    from keel.store.database.connections import Database

    Insert = sqlite.Insert | postgresql.Insert

OF_ROW = (ARRIVAL, "id", "time", "version", *OUTPUTS)
OF_PAIR = (*OF_ROW, "label", "observed_at", LABEL_ARRIVAL)
"""Columns of a prediction with its label."""
MOST_COUNTED = 10_000_000
"""Waiting rows that are counted."""
_NO_NUMBER = 2**63 - 1
"""Above every arrival number."""


def with_offsets(rows: pa.Table) -> pa.Table:
    """Return the rows with their position in the batch, from 1, as last column."""
    return rows.append_column(ARRIVAL, pa.array(np.arange(1, rows.num_rows + 1)))


def number(model: str, offset: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    """Return the number of a row at an offset behind the last number that the model has taken."""
    last = sa.select(arrivals.c.last).where(arrivals.c.model == model).scalar_subquery()
    return sa.func.coalesce(last, 0) + offset


def advance(session: ArrowSession, model: str, stage: sa.Table, offset: sa.ColumnElement[int]) -> Insert:
    """Return the statement that takes the numbers of a staged batch."""
    taken = sa.select(sa.literal(model, sa.Text), sa.func.max(offset)).select_from(stage).where(sa.true())
    insert = session.insert(arrivals).from_select(["model", "last"], taken)
    return insert.on_conflict_do_update(index_elements=["model"], set_={"last": arrivals.c.last + insert.excluded.last})


def last_arrival(database: Database, model: str) -> int:
    """Return the last number that the model's predictions and labels have taken, 0 before the first."""
    with database.connect() as connection:
        return connection.execute(sa.select(arrivals.c.last).where(arrivals.c.model == model)).scalar() or 0


def waiting(
    database: Database, layout: Layout, version: int, *, after: int, labels_after: int | None
) -> tuple[int, int]:
    """Return the numbers of the version's rows behind ``after``, and of labels of any version behind ``labels_after``.

    Neither is above `MOST_COUNTED`: counting more takes longer than anybody who asks wants to wait. labels_after: None
    where nobody reads labels, so that none waits and none is counted.
    """
    n_rows = count_arrived(database, layout, version, after=after, limit=MOST_COUNTED)
    if labels_after is None:
        return n_rows, 0
    of_labels = sa.select(labels.c.arrival).where(labels.c.model == layout.model, labels.c.arrival > labels_after)
    return n_rows, _count(database, of_labels, limit=MOST_COUNTED)


def count_arrived(database: Database, layout: Layout, version: int, *, after: int, limit: int) -> int:
    """Return how many rows of the version have a number > ``after``, at most ``limit``."""
    table = layout.table
    rows = sa.select(table.c[ARRIVAL]).where(table.c.version == version, table.c[ARRIVAL] > after)
    return _count(database, rows, limit=limit)


def _count(database: Database, rows: sa.Select[Any], *, limit: int) -> int:
    with database.connect() as connection:
        query = sa.select(sa.func.count()).select_from(rows.limit(limit).subquery())
        return int(connection.execute(query).scalar_one())


def arrived(database: Database, layout: Layout, version: int, *, after: int, limit: int) -> pa.Table:
    """Return up to ``limit`` rows of the version with a number > ``after``, in order of their numbers.

    Columns `OF_ROW` and the features in their own types: invalid and absent values are null.
    """
    table, names = layout.table, [*OF_ROW, *layout.kinds]
    columns = [layout.column(name).label(f"c{i}") for i, name in enumerate(layout.stored_names(names))]
    query = sa.select(*columns).where(table.c.version == version, table.c[ARRIVAL] > after)
    with reading(database) as session:
        stored = session.fetch(query.order_by(table.c[ARRIVAL]).limit(limit))
    return decode_packed(stored, names, layout)


def settled(
    database: Database,
    layout: Layout,
    version: int,
    *,
    after: int,
    mature: datetime,
    labels_until: int,
    limit: int,
    mature_until: int = 0,
    unlabelled: bool = False,
) -> tuple[int, pa.Table]:
    """Return the new P, at most ``limit`` rows of the version behind ``after``, and the pairs in between.

    All rows up to P are dated ``mature`` or earlier, or have a number up to ``mature_until``. Pairs: those with after <
    number of the prediction ≤ P and number of the label ≤ ``labels_until``, in order of the prediction's. Labels stored
    before the store had numbers are among them. unlabelled: return the other rows as well, whose label is null.
    """
    with reading(database) as session:
        # Mostly the first row already waits. A page of rows that wait is never joined with labels.
        for rows in (1, limit):
            page = _page(layout, version, after, rows)
            young = sa.and_(page.c.time > to_micros(mature), page.c[ARRIVAL] > mature_until)
            end = session.scalar(sa.select(sa.func.coalesce(sa.func.min(page.c[ARRIVAL]), _NO_NUMBER)).where(young))
            if end < _NO_NUMBER:
                break
        page = _page(layout, version, after, limit, before=end)
        label = sa.and_(
            labels.c.model == layout.model,
            labels.c.id == page.c.id,
            sa.func.coalesce(labels.c.arrival, 0) <= labels_until,
        )
        columns = [page.c[name] for name in OF_ROW] + [labels.c.label, labels.c.observed_at, labels.c.arrival]
        query = sa.select(*_numbered(columns)).select_from(sa.outerjoin(page, labels, label)).order_by(page.c[ARRIVAL])
        found = decode(session.fetch(query), list(OF_PAIR), {})
    until = found[ARRIVAL][-1].as_py() if found.num_rows else after
    return until, found if unlabelled else found.filter(found["label"].is_valid())


def late_labels(
    database: Database,
    layout: Layout,
    version: int,
    *,
    predictions_until: int,
    after: int,
    limit: int,
    predictions_after: int = 0,
) -> tuple[int, pa.Table]:
    """Return the new L, at most ``limit`` labels of any version behind ``after``, and the pairs in between.

    Pairs: those of the version with predictions_after < number of the prediction ≤ ``predictions_until`` and after <
    number of the label ≤ L, in order of the label's.
    """
    table = layout.table
    newer = sa.select(labels.c.id, labels.c.label, labels.c.observed_at, labels.c.arrival)
    newer = newer.where(labels.c.model == layout.model, labels.c.arrival > after)
    page = newer.order_by(labels.c.arrival).limit(limit).subquery()
    mine = sa.and_(
        table.c.id == page.c.id,
        table.c.version == version,
        table.c[ARRIVAL] > predictions_after,
        table.c[ARRIVAL] <= predictions_until,
    )
    columns = [table.c[name] for name in OF_ROW] + [page.c.label, page.c.observed_at, page.c.arrival]
    query = sa.select(*_numbered(columns)).select_from(sa.outerjoin(page, table, mine)).order_by(page.c.arrival)
    with reading(database) as session:
        found = decode(session.fetch(query), list(OF_PAIR), {})
    until = found[LABEL_ARRIVAL][-1].as_py() if found.num_rows else after
    return until, found.filter(found["id"].is_valid())


def _page(layout: Layout, version: int, after: int, limit: int, *, before: int | None = None) -> sa.Subquery:
    table = layout.table
    query = sa.select(*(table.c[name] for name in OF_ROW)).where(table.c.version == version, table.c[ARRIVAL] > after)
    if before is not None:
        query = query.where(table.c[ARRIVAL] < before)
    return query.order_by(table.c[ARRIVAL]).limit(limit).subquery()


def _numbered(columns: list[Any]) -> list[sa.Label[Any]]:
    return [column.label(f"c{i}") for i, column in enumerate(columns)]
