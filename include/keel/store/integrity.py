"""What a store needs now and then: freed space given back, and a look at whether all of it still fits together."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from keel.store.database.tables import counts, hours, label_sums, labels, metadata, model_tables
from keel.store.database.times import HOUR, from_micros
from keel.store.predictions.dirty_hours import hour_of
from keel.store.predictions.layout import find_layout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keel.store.database import adbc
    from keel.store.database.connections import Database
    from keel.store.predictions.layout import Layout

INCREMENTAL = 2
"""SQLite's auto_vacuum mode in which freed pages are given back in small steps; new stores have it."""
STEP_PAGES, PAUSE = 1_000, 0.02
"""Pages given back at once, about 4 MB, and seconds in which others may write: SQLite has one writer at a time."""
FREE_SHARE = 0.25
"""Free part of the file of an older store from which rewriting all of it, while nobody can write, is worth it."""
MOST_NAMED = 10
"""Hours that are named of each kind of fault."""


def compact(database: Database) -> tuple[int, int]:
    """Let freed space be used again and bring the planner's statistics up to date; return the bytes before and after.

    SQLite's file becomes smaller; PostgreSQL keeps most of the space for the next rows. Others may read and write
    meanwhile. Only where an older SQLite store is rewritten once, to be compacted in small steps from then on, do
    writers wait, at most as long as their timeout.
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
    page_size = _pragma(connection, "page_size")
    before, free = _pragma(connection, "page_count"), _pragma(connection, "freelist_count")
    if _pragma(connection, "auto_vacuum") == INCREMENTAL:
        while free:
            connection.execute(f"PRAGMA incremental_vacuum({STEP_PAGES})")
            free, left = _pragma(connection, "freelist_count"), free
            if free >= left:  # somebody deletes faster than this frees
                break
            time.sleep(PAUSE)
    elif free >= FREE_SHARE * before:
        connection.execute(f"PRAGMA auto_vacuum={INCREMENTAL}")
        connection.execute("VACUUM")
    for pragma in ("analysis_limit=1000", "optimize"):  # without a limit it would read every index to its end
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return before * page_size, _pragma(connection, "page_count") * page_size


def _pragma(connection: adbc.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").column(0)[0].as_py())


def _tables(database: Database) -> list[str]:
    with database.connect() as connection:
        of_models = connection.execute(sa.select(model_tables.c.table_name)).scalars().all()
    return [*metadata.tables, *of_models]


def verify(database: Database, *, thorough: bool = False) -> list[str]:
    """Return a sentence for each fault found; none where all is well. Changes nothing and keeps nobody from writing.

    SQLite's own check of the file (``thorough``: of every index entry too), and on both databases whether rows, marks,
    counts and sums of what has not expired agree. What the ledger says is `keel ledger verify`'s.
    """
    found = _damage(database, "integrity_check" if thorough else "quick_check") if database.is_sqlite else []
    if found:  # what is in a damaged file says nothing
        return found
    with database.connect() as connection:
        models = connection.execute(sa.select(model_tables.c.model, model_tables.c.expired_before)).all()
    for model, expired in models:
        with database.connect() as connection:
            layout = find_layout(connection, model, {})
        assert layout is not None
        found.extend(_faults(database, layout, expired))
    return found


def _damage(database: Database, check: str) -> list[str]:
    with database.arrow() as connection:
        said = connection.execute(f"PRAGMA {check}({MOST_NAMED})").column(0).to_pylist()
    advice = "restore the file from a backup, and look at the disk"
    return [] if said == ["ok"] else [f"the file is damaged ({line}): {advice}" for line in said]


def _faults(database: Database, layout: Layout, expired: int | None) -> Iterator[str]:
    """Look at one model, each question in one statement, so that what is written meanwhile is no fault."""
    queries = {
        "{rows} rows that no check will ever count: append one more row of that hour": _unmarked(layout, expired),
        "{rows} rows, and counts of {kept}: was something changed by hand?": _miscounted(layout, expired),
        "{rows} labelled rows, and sums of {kept}: was something changed by hand?": _missummed(layout, expired),
    }
    for sentence, query in queries.items():
        with database.connect() as connection:
            hours_found = connection.execute(query).all()
        for version, hour, rows, kept in hours_found[:MOST_NAMED]:
            says = sentence.format(rows=rows, kept=kept)
            yield f"{layout.model}: the hour {from_micros(hour):%Y-%m-%d %H:%M} of version {version} has {says}"
        if len(hours_found) > MOST_NAMED:
            yield f"{layout.model}: and {len(hours_found) - MOST_NAMED:,} more hours like these"


def _unmarked(layout: Layout, expired: int | None) -> sa.Select[*tuple[Any, ...]]:
    rows = layout.table.c
    hour = hour_of(rows.time)
    mark = sa.and_(hours.c.model == layout.model, hours.c.version == rows.version, hours.c.hour == hour)
    query = sa.select(rows.version, hour.label("of"), sa.func.count(), sa.literal(0))
    query = query.where(rows.version.is_not(None), ~sa.exists().where(mark))
    return _not_expired(query, rows.time, expired).group_by(rows.version, sa.text("2")).order_by(sa.text("2"))


def _miscounted(layout: Layout, expired: int | None) -> sa.Select[*tuple[Any, ...]]:
    """Hours whose counts are as of now; those of another grid, or of rows that came since, are not."""
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
