"""SQLAlchemy statements run through ADBC, with Arrow tables going in and coming out; the same for both databases."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects import sqlite as sqlite_dialect

if TYPE_CHECKING:
    from sqlalchemy.sql import ClauseElement

    from keel.store.database import adbc
    from keel.store.database.connections import Database
    from keel.store.predictions.layout import Layout

STAGE = "keel_stage"
_SQL_TYPES: dict[pa.DataType, sa.types.TypeEngine[Any]] = {
    pa.string(): sa.Text(),
    pa.float64(): sa.Double(),
    pa.int64(): sa.BigInteger(),
}


class ArrowSession:
    """One ADBC connection. Values are written into the SQL, escaped by SQLAlchemy: the drivers bind rows, not names."""

    def __init__(self, connection: adbc.Connection, *, is_sqlite: bool) -> None:
        self._connection = connection
        self._is_sqlite = is_sqlite
        # a named parameter style leaves % alone, which psycopg2's would double
        dialect = sqlite_dialect.dialect if is_sqlite else postgresql.dialect
        self._dialect = dialect(paramstyle="named")

    def run(self, statement: str | ClauseElement) -> None:
        """Run a statement and ignore what it answers."""
        self._connection.execute(self._sql(statement))

    def fetch(self, statement: str | ClauseElement) -> pa.Table:
        """Return a query's rows; on SQLite a column without values has the type int64."""
        return self._connection.execute(self._sql(statement))

    def batches(self, statement: str | ClauseElement) -> Iterator[pa.Table]:
        """Yield a query's rows as they come: from PostgreSQL in portions, from SQLite all at once."""
        yield from self._connection.batches(self._sql(statement))

    def scalar(self, statement: str | ClauseElement) -> int:
        """Return the one integer that a query answers."""
        return int(self.fetch(statement).column(0)[0].as_py())

    def stage(self, rows: pa.Table) -> sa.Table:
        """Bulk-load ``rows`` (strings, floats, int64) into a temporary table whose columns are c0, c1, …"""
        names = [f"c{i}" for i in range(rows.num_columns)]
        self._connection.ingest(STAGE, rows.rename_columns(names))
        return _stage_table(tuple(rows.schema.types), "temp" if self._is_sqlite else "pg_temp")

    def drop_stage(self) -> None:
        """Drop what `stage` created."""
        self.run(f"DROP TABLE {'temp' if self._is_sqlite else 'pg_temp'}.{STAGE}")

    def insert(self, table: sa.Table) -> sqlite_dialect.Insert | postgresql.Insert:
        """Return an INSERT of this database's own dialect, which knows ON CONFLICT."""
        return sqlite_dialect.insert(table) if self._is_sqlite else postgresql.insert(table)

    def _sql(self, statement: str | ClauseElement) -> str:
        if isinstance(statement, str):
            return statement
        return str(statement.compile(dialect=self._dialect, compile_kwargs={"literal_binds": True}))

    def texts(self, layout: Layout, name: str, build: Callable[[], Sequence[ClauseElement]]) -> tuple[str, ...]:
        """Return the SQL of a model's statements, built at their first use."""
        if name not in layout.texts:
            layout.texts[name] = tuple(map(self._sql, build()))
        return layout.texts[name]


@cache
def _stage_table(types: tuple[pa.DataType, ...], schema: str) -> sa.Table:
    columns: list[sa.Column[Any]] = [sa.Column(f"c{i}", _SQL_TYPES[kind]) for i, kind in enumerate(types)]
    return sa.Table(STAGE, sa.MetaData(), *columns, schema=schema)


@contextmanager
def reading(database: Database) -> Iterator[ArrowSession]:
    """Lend a session for single queries."""
    with database.arrow() as connection:
        yield ArrowSession(connection, is_sqlite=database.is_sqlite)


@contextmanager
def writing(database: Database, subject: str) -> Iterator[ArrowSession]:
    """Lend a session inside one transaction, committed at the end, alone among the writers of ``subject``.

    Writers of one model take turns, on PostgreSQL as on SQLite: none can deadlock with another, and what one counts
    as new is new.
    """
    with database.arrow() as connection:
        session = ArrowSession(connection, is_sqlite=database.is_sqlite)
        session.run("BEGIN IMMEDIATE" if database.is_sqlite else "BEGIN")
        if not database.is_sqlite:
            session.run(database.lock_timeout)
            session.run(f"SELECT pg_advisory_xact_lock({lock_key(subject)})")
        yield session
        session.run("COMMIT")


def lock_key(subject: str) -> int:
    """Return the advisory lock's number, a signed 64-bit hash of ``subject``."""
    return int.from_bytes(hashlib.sha256(f"keel:{subject}".encode()).digest()[:8], signed=True)
