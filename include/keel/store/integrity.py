"""Compact the store, and verify that rows, marks, counts, sums and arrival numbers agree, and alerts with messages."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from keel.store.database.tables import arrivals, counts, hours, label_sums, labels, metadata, model_tables
from keel.store.database.times import HOUR, from_micros
from keel.store.outbox_faults import find_faults
from keel.store.predictions.dirty_hours import hour_of
from keel.store.predictions.layout import ARRIVAL, find_layout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keel.store.database import adbc
    from keel.store.database.connections import Database
    from keel.store.predictions.layout import Layout

INCREMENTAL = 2
"""SQLite's auto_vacuum mode that frees pages in small steps. New stores have it."""
STEP_PAGES, PAUSE = 1_000, 0.02
"""Pages freed at once, about 4 MB, and the seconds between two steps in which other writers get their turn."""
FREE_SHARE = 0.25
"""Share of free pages from which an older store is rewritten as a whole. Nothing can be written meanwhile."""
MAX_NAMED = 10
"""Hours named per kind of fault."""


def compact(database: Database) -> tuple[int, int]:
    """Free the space of deleted rows and update the planner's statistics. Returns the bytes before and after.

    SQLite's file shrinks. PostgreSQL keeps most of the space for later rows. Other processes may read and write
    meanwhile. An older SQLite store is rewritten once, so that it can be compacted in steps from then on. During that
    rewrite writers wait, at most for their timeout.
    """
    if database.is_sqlite:
        with database.arrow() as connection:
            return _compact_sqlite(connection)
    names = [database.engine.dialect.identifier_preparer.quote_identifier(name) for name in _tables(database)]
    size = sa.text("SELECT COALESCE(SUM(pg_total_relation_size(CAST(n AS regclass))), 0) FROM UNNEST(:names) n")
    with database.connect() as connection:
        # VACUUM cannot run inside a transaction
        connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        before = int(connection.execute(size, {"names": names}).scalar_one())
        for name in names:
            connection.exec_driver_sql(f"VACUUM (ANALYZE) {name}")
        return before, int(connection.execute(size, {"names": names}).scalar_one())


def _compact_sqlite(connection: adbc.Connection) -> tuple[int, int]:
    page_size = pragma(connection, "page_size")
    before, free = pragma(connection, "page_count"), pragma(connection, "freelist_count")
    if pragma(connection, "auto_vacuum") == INCREMENTAL:
        while free:
            connection.execute(f"PRAGMA incremental_vacuum({STEP_PAGES})")
            free, left = pragma(connection, "freelist_count"), free
            if free >= left:  # another process deletes faster than this frees
                break
            time.sleep(PAUSE)
    elif free >= FREE_SHARE * before:
        connection.execute(f"PRAGMA auto_vacuum={INCREMENTAL}")
        connection.execute("VACUUM")
    for setting in ("analysis_limit=1000", "optimize"):  # without a limit ANALYZE reads whole indexes
        connection.execute(f"PRAGMA {setting}")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return before * page_size, pragma(connection, "page_count") * page_size


def pragma(connection: adbc.Connection, name: str) -> int:
    """Return the integer value of a SQLite pragma."""
    return int(connection.execute(f"PRAGMA {name}").column(0)[0].as_py())


def _tables(database: Database) -> list[str]:
    with database.connect() as connection:
        of_models = connection.execute(sa.select(model_tables.c.table_name)).scalars().all()
    return [*metadata.tables, *of_models]


def verify(database: Database, *, thorough: bool = False) -> list[str]:
    """Return a sentence for each fault, or an empty list. Reads only, and blocks no writer.

    Runs SQLite's own check of the file; with ``thorough`` also of every index entry. On both databases it compares
    rows, marks, counts and sums that have not expired, arrival numbers with their counter, and alerts with messages,
    deliveries and tries. `keel ledger verify` checks the ledger.
    """
    found = _damage(database, "integrity_check" if thorough else "quick_check") if database.is_sqlite else []
    if found:  # the content of a damaged file is no evidence
        return found
    with database.connect() as connection:
        models = connection.execute(sa.select(model_tables.c.model, model_tables.c.expired_before)).all()
    for model, expired in models:
        with database.connect() as connection:
            layout = find_layout(connection, model, {})
        assert layout is not None
        found.extend(_faults(database, layout, expired))
        found.extend(_number_ahead(database, layout))
    found.extend(find_faults(database, most=MAX_NAMED))
    return found


def _number_ahead(database: Database, layout: Layout) -> Iterator[str]:
    """Yield a fault if rows have numbers that their counter has not reached: it would give them again."""
    number = layout.table.c[ARRIVAL]
    taken = sa.union_all(
        sa.select(number.label("taken")).where(number > 0),
        sa.select(labels.c.arrival).where(labels.c.model == layout.model, labels.c.arrival > 0),
    ).subquery()
    last = sa.select(arrivals.c.last).where(arrivals.c.model == layout.model).scalar_subquery()
    with database.connect() as connection:  # one statement, so that concurrent writes are no fault
        query = sa.select(sa.func.coalesce(sa.func.max(taken.c.taken), 0), sa.func.coalesce(last, 0))
        highest, reached = connection.execute(query).one()
    if highest > reached:
        yield (
            f"{layout.model}: a row has the arrival number {highest:,}, and the counter stands at {reached:,}: "
            "live monitors will miss rows; was the store changed outside Keel?"
        )


def _damage(database: Database, check: str) -> list[str]:
    with database.arrow() as connection:
        said = connection.execute(f"PRAGMA {check}({MAX_NAMED})").column(0).to_pylist()
    advice = "restore the file from a backup, and look at the disk"
    return [] if said == ["ok"] else [f"the file is damaged ({line}): {advice}" for line in said]


def _faults(database: Database, layout: Layout, expired: int | None) -> Iterator[str]:
    """Yield the faults of one model. Each query is one statement, so that concurrent writes are no fault."""
    queries = {
        "{rows} rows that no check will ever count: append one more row of that hour": _unmarked(layout, expired),
        "{rows} rows, but counts of {stored}: was the store changed outside Keel?": _miscounted(layout, expired),
        "{rows} labelled rows, but sums of {stored}: was the store changed outside Keel?": _missummed(layout, expired),
    }
    for sentence, query in queries.items():
        with database.connect() as connection:
            hours_found = connection.execute(query).all()
        for version, hour, rows, stored in hours_found[:MAX_NAMED]:
            fault = sentence.format(rows=rows, stored=stored)
            yield f"{layout.model}: the hour {from_micros(hour):%Y-%m-%d %H:%M} of version {version} has {fault}"
        if len(hours_found) > MAX_NAMED:
            yield f"{layout.model}: {len(hours_found) - MAX_NAMED:,} more hours have the same fault"


def _unmarked(layout: Layout, expired: int | None) -> sa.Select[*tuple[Any, ...]]:
    rows = layout.table.c
    hour = hour_of(rows.time)
    mark = sa.and_(hours.c.model == layout.model, hours.c.version == rows.version, hours.c.hour == hour)
    query = sa.select(rows.version, hour.label("of"), sa.func.count(), sa.literal(0))
    query = query.where(rows.version.is_not(None), ~sa.exists().where(mark))
    return _not_expired(query, rows.time, expired).group_by(rows.version, sa.text("2")).order_by(sa.text("2"))


def _miscounted(layout: Layout, expired: int | None) -> sa.Select[*tuple[Any, ...]]:
    """Select hours whose counts are current but differ from their rows."""
    done = sa.and_(hours.c.model == layout.model, hours.c.revision == hours.c.counted)
    same = [counts.c[name] == hours.c[name] for name in ("model", "version", "hour", "revision")]
    source = sa.join(hours, counts, sa.and_(*same)).outerjoin(layout.table, _inside(layout, hours))
    found = sa.func.count(layout.table.c.id)
    query = sa.select(hours.c.version, hours.c.hour, found, counts.c.n).select_from(source).where(done)
    query = _not_expired(query, hours.c.hour, expired)
    query = query.group_by(hours.c.version, hours.c.hour, counts.c.grid_id, counts.c.n)
    return query.having(found != counts.c.n).order_by(hours.c.hour)


def _missummed(layout: Layout, expired: int | None) -> sa.Select[*tuple[Any, ...]]:
    done = sa.and_(label_sums.c.model == layout.model, label_sums.c.revision == label_sums.c.summed)
    of_row = sa.and_(labels.c.model == layout.model, labels.c.id == layout.table.c.id)
    source = sa.outerjoin(label_sums, layout.table, _inside(layout, label_sums)).outerjoin(labels, of_row)
    found = sa.func.count(labels.c.id)
    query = sa.select(label_sums.c.version, label_sums.c.hour, found, label_sums.c.n).select_from(source).where(done)
    query = _not_expired(query, label_sums.c.hour, expired)
    query = query.group_by(label_sums.c.version, label_sums.c.hour, label_sums.c.n)
    return query.having(found != label_sums.c.n).order_by(label_sums.c.hour)


def _inside(layout: Layout, marks: sa.Table) -> sa.ColumnElement[bool]:
    rows, mark = layout.table.c, marks.c
    return sa.and_(rows.version == mark.version, rows.time >= mark.hour, rows.time < mark.hour + HOUR)


def _not_expired(
    query: sa.Select[*tuple[Any, ...]], time: sa.ColumnElement[int], expired: int | None
) -> sa.Select[*tuple[Any, ...]]:
    return query if expired is None else query.where(time >= expired)
