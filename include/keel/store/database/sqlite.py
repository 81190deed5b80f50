"""SQLite for SQLAlchemy through ADBC's driver, so that a process uses one copy of the SQLite library per file.

Python's sqlite3 and ADBC's driver contain two copies. POSIX drops all locks of a process on a file when *any* of its
descriptors is closed. Closing a connection of one copy therefore unlocks those of the other, and another process may
delete a WAL that is in use (https://www.sqlite.org/howtocorrupt.html, section 2.2). For the same reason no code may
open the store's file with sqlite3 in a process that has the store open.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import adbc_driver_manager
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.base import SQLiteDialect

from keel.store.database import adbc

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy.engine import URL

DRIVER = "sqlite+keel_adbc"
_CHANGING = ("INSERT", "UPDATE", "DELETE", "REPLACE", "WITH")
_CHANGED = "SELECT total_changes()"
_ERRORS = (
    "Error Warning InterfaceError DatabaseError DataError OperationalError IntegrityError InternalError "
    "ProgrammingError NotSupportedError"
)


class Cursor:
    """A DB-API cursor that reads all rows at once, so that no open statement holds a snapshot."""

    arraysize = 1

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._rows: list[tuple[Any, ...]] = []
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Cursor:
        """Run one statement and hold its rows, or the number of rows it changed."""
        answer = self._connection.run(sql, parameters)
        self._rows = rows_of(answer)
        self.description = [(field.name, field.type, None, None, None, None, None) for field in answer.schema] or None
        self.rowcount = len(self._rows) if self.description else -1
        if self.description is None and sql.lstrip()[:7].upper().startswith(_CHANGING):
            counted = self._connection.run("SELECT changes(), last_insert_rowid()")
            [(self.rowcount, self.lastrowid)] = rows_of(counted)
        return self

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run one statement for each of ``rows``."""
        [(before,)] = rows_of(self._connection.run(_CHANGED))
        for row in rows:
            self._connection.run(sql, row)
        [(after,)] = rows_of(self._connection.run(_CHANGED))
        self.rowcount = after - before

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
        """Discard the rows that were not fetched."""
        self._rows = []


class Connection:
    """A DB-API connection. `begin` opens a writing transaction; without it each statement is its own."""

    def __init__(self, inner: adbc.Connection) -> None:
        self._inner = inner
        self._writing = False

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> pa.Table:
        """Run one statement and return its rows."""
        return self._inner.execute(sql, parameters)

    def begin(self) -> None:
        """Take the write lock now. A transaction that took it after its first read could not be retried."""
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
            except adbc_driver_manager.Error as error:
                # SQLite itself rolls back on a full disk or an I/O error
                if "no transaction is active" not in str(error):
                    raise

    def cursor(self) -> Cursor:
        """Return a new cursor."""
        return Cursor(self)

    def close(self) -> None:
        """Close the driver's connection."""
        self._inner.close()


class Dialect(SQLiteDialect):
    """SQLAlchemy's SQLite dialect on `Connection`."""

    driver = "keel_adbc"
    supports_statement_cache = True
    default_paramstyle = "qmark"

    @classmethod
    def import_dbapi(cls) -> Any:
        """Return the attributes that SQLAlchemy expects of a driver's module."""
        with closing(adbc.connect_sqlite(":memory:", 0)) as connection:
            [(version,)] = rows_of(connection.execute("SELECT sqlite_version()"))
        return SimpleNamespace(
            **{name: getattr(adbc_driver_manager, name) for name in _ERRORS.split()},
            Binary=bytes,
            paramstyle="qmark",
            sqlite_version_info=tuple(int(part) for part in version.split(".")),
        )

    def create_connect_args(self, url: URL) -> tuple[list[Any], dict[str, Any]]:
        """Return no arguments, because the engine's creator makes connections."""
        return [], {}

    def _get_server_version_info(self, connection: Any) -> Any:
        return self.dbapi.sqlite_version_info  # type: ignore[union-attr]

    def is_disconnect(self, e: Any, connection: Any, cursor: Any) -> bool:
        """Return False: a file has no server that could disconnect."""
        return False


def rows_of(table: pa.Table) -> list[tuple[Any, ...]]:
    """Return a table's rows as tuples."""
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


registry.register("sqlite.keel_adbc", __name__, "Dialect")
