"""Run SQLAlchemy statements through ADBC on both databases, with Arrow tables as input and output."""

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
    pa.large_binary(): sa.LargeBinary(),
}


class ArrowSession:
    """One ADBC connection. SQLAlchemy writes escaped values into the SQL, because the drivers bind rows only."""

    def __init__(self, connection: adbc.Connection, *, is_sqlite: bool) -> None:
        self._connection = connection
        self._is_sqlite = is_sqlite
        # the named parameter style keeps %, which that of psycopg2 would double
        dialect = sqlite_dialect.dialect if is_sqlite else postgresql.dialect
        self._dialect = dialect(paramstyle="named")

    def run(self, statement: str | ClauseElement) -> None:
        """Run a statement and ignore its rows."""
        self._connection.execute(self.sql(statement))

    def fetch(self, statement: str | ClauseElement) -> pa.Table:
        """Return the rows of a query. On SQLite a column without values has the type int64."""
        return self._connection.execute(self.sql(statement))

    def batches(self, statement: str | ClauseElement) -> Iterator[pa.Table]:
        """Yield the rows of a query, from PostgreSQL in parts, from SQLite as one table."""
        yield from self._connection.batches(self.sql(statement))

    def scalar(self, statement: str | ClauseElement) -> int:
        """Return the single integer that a query selects."""
        return int(self.fetch(statement).column(0)[0].as_py())

    def stage(self, rows: pa.Table) -> sa.Table:
        """Bulk-load ``rows`` (strings, floats, int64, bytes) into a temporary table whose columns are c0, c1, …"""
        names = [f"c{i}" for i in range(rows.num_columns)]
        self._connection.ingest(STAGE, rows.rename_columns(names))
        return _stage_table(tuple(rows.schema.types), "temp" if self._is_sqlite else "pg_temp")

    def drop_stage(self) -> None:
        """Drop what `stage` created."""
        self.run(f"DROP TABLE {'temp' if self._is_sqlite else 'pg_temp'}.{STAGE}")

    def insert(self, table: sa.Table) -> sqlite_dialect.Insert | postgresql.Insert:
        """Return an INSERT of this database's dialect, which supports ON CONFLICT."""
        return sqlite_dialect.insert(table) if self._is_sqlite else postgresql.insert(table)

    def sql(self, statement: str | ClauseElement) -> str:
        """Return the SQL of a statement, with its values in it."""
        if isinstance(statement, str):
            return statement
        return str(statement.compile(dialect=self._dialect, compile_kwargs={"literal_binds": True}))

    def texts(self, layout: Layout, name: str, build: Callable[[], Sequence[ClauseElement]]) -> tuple[str, ...]:
        """Return the SQL of a model's statements. It is built at its first use."""
        if name not in layout.texts:
            layout.texts[name] = tuple(map(self.sql, build()))
        return layout.texts[name]


@cache
def _stage_table(types: tuple[pa.DataType, ...], schema: str) -> sa.Table:
    columns: list[sa.Column[Any]] = [sa.Column(f"c{i}", _SQL_TYPES[kind]) for i, kind in enumerate(types)]
    return sa.Table(STAGE, sa.MetaData(), *columns, schema=schema)


@contextmanager
def reading(database: Database) -> Iterator[ArrowSession]:
    """Provide a session for single queries."""
    with database.arrow() as connection:
        yield ArrowSession(connection, is_sqlite=database.is_sqlite)


@contextmanager
def writing(database: Database, subject: str) -> Iterator[ArrowSession]:
    """Provide a session inside one transaction, the only one that writes ``subject``. It is committed at the end.

    Writers of one model take turns on both databases. So they cannot deadlock, and rows that one counts as new are new.
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
    """Return the number of the advisory lock: a signed 64-bit hash of ``subject``."""
    return int.from_bytes(hashlib.sha256(f"keel:{subject}".encode()).digest()[:8], signed=True)
