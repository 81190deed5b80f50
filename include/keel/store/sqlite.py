"""SQLite for SQLAlchemy through ADBC's driver, so that a process has one copy of the SQLite library on a file.

Python's sqlite3 and ADBC's driver are two copies. POSIX drops all of a process's locks on a file when *any* of its
descriptors is closed, so closing a connection of one copy silently unlocks the other's, and a third process may then
delete a WAL still in use (https://www.sqlite.org/howtocorrupt.html, section 2.2). For the same reason nothing in a
process that has a store open may open the store's file with sqlite3.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import adbc_driver_manager
import adbc_driver_sqlite.dbapi as adbc
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.base import SQLiteDialect
from sqlalchemy.engine import URL

DRIVER = "sqlite+keel_adbc"
# The driver takes a column's type from its first batch: without this, 1,024 nulls and then a text would fail.
ONE_BATCH = {"adbc.sqlite.query.batch_rows": str(2**30)}
_CHANGING = ("INSERT", "UPDATE", "DELETE", "REPLACE", "WITH")


def connect(path: str, timeout: float) -> adbc_driver_manager.dbapi.Connection:
    """Open ``path`` in autocommit mode; statements wait up to ``timeout`` seconds for another writer."""
    connection = adbc.connect(path, autocommit=True)
    with closing(connection.cursor()) as cursor:
        cursor.execute(f"PRAGMA busy_timeout={int(timeout * 1000)}")
        cursor.fetchall()
    return connection


class Cursor:
    """A DB-API cursor that takes the whole answer at once, so that no open statement pins a snapshot."""

    arraysize = 1

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._rows: list[tuple[Any, ...]] = []
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Cursor:
        """Run one statement and keep its rows, or how many it changed."""
        self.description, self._rows = self._connection.run(sql, tuple(parameters))
        self.rowcount = len(self._rows) if self.description else -1
        if self.description is None and sql.lstrip()[:7].upper().startswith(_CHANGING):
            _, [(self.rowcount, self.lastrowid)] = self._connection.run("SELECT changes(), last_insert_rowid()")
        return self

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run one statement for each of ``rows``."""
        changed = 0
        for row in rows:
            changed += max(self.execute(sql, row).rowcount, 0)
        self.rowcount = changed

    def fetchone(self) -> tuple[Any, ...] | None:
        """Return the next row, or None."""
        return self._rows.pop(0) if self._rows else None

    def fetchmany(self, size: int = 1) -> list[tuple[Any, ...]]:
        """Return the next ``size`` rows."""
        taken, self._rows = self._rows[:size], self._rows[size:]
        return taken

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return the remaining rows."""
        taken, self._rows = self._rows, []
        return taken

    def close(self) -> None:
        """Drop what was not fetched."""
        self._rows = []


class Connection:
    """A DB-API connection; `begin` opens a writing transaction, without it each statement stands alone."""

    def __init__(self, inner: adbc_driver_manager.dbapi.Connection) -> None:
        self.inner = inner
        self._writing = False

    def run(self, sql: str, parameters: tuple[Any, ...] = ()) -> tuple[Any, list[tuple[Any, ...]]]:
        """Run one statement; return its columns (None if it answers nothing) and rows."""
        with closing(self.inner.cursor(adbc_stmt_kwargs=ONE_BATCH)) as cursor:
            try:
                cursor.execute(sql, parameters or None)
                return (cursor.description, cursor.fetchall()) if cursor.description else (None, [])
            except OSError as error:  # raised while rows are streamed, outside the driver's own hierarchy
                raise adbc.OperationalError(str(error), status_code=adbc_driver_manager.AdbcStatusCode.IO) from error

    def begin(self) -> None:
        """Take the write lock now: a transaction that reads first and then writes could not be retried."""
        self.run("BEGIN IMMEDIATE")
        self._writing = True

    def commit(self) -> None:
        """Commit, if `begin` was called."""
        if self._writing:
            self.run("COMMIT")
            self._writing = False

    def rollback(self) -> None:
        """Roll back, if `begin` was called."""
        if self._writing:
            self._writing = False
            try:
                self.run("ROLLBACK")
            except adbc.Error as error:
                # SQLite itself rolls back on a full disk or an I/O error
                if "no transaction is active" not in str(error):
                    raise

    def cursor(self) -> Cursor:
        """Return a new cursor."""
        return Cursor(self)

    def close(self) -> None:
        """Close the driver's connection."""
        self.inner.close()


class Dialect(SQLiteDialect):
    """SQLAlchemy's SQLite dialect on `Connection`."""

    driver = "keel_adbc"
    supports_statement_cache = True
    default_paramstyle = "qmark"

    @classmethod
    def import_dbapi(cls) -> Any:
        """Return the driver's module, whose errors SQLAlchemy wraps, with what SQLite dialects look for in it."""
        with closing(adbc.connect()) as connection, closing(connection.cursor()) as cursor:
            cursor.execute("SELECT sqlite_version()")
            [[version]] = cursor.fetchall()
        numbers = tuple(int(part) for part in version.split("."))
        return SimpleNamespace(**vars(adbc), Binary=bytes, sqlite_version_info=numbers)

    def create_connect_args(self, url: URL) -> tuple[list[Any], dict[str, Any]]:
        """Return no arguments: connections come from the engine's creator."""
        return [], {}

    def is_disconnect(self, e: Any, connection: Any, cursor: Any) -> bool:
        """Return False: a file does not hang up."""
        return False


registry.register("sqlite.keel_adbc", __name__, "Dialect")
