"""Run SQL through ADBC's drivers: Arrow tables out, and bulk loads.

This does not use the drivers' own ``dbapi`` modules. They import pandas by way of pyarrow.dataset, which costs every
task that opens the store half a second.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any

import adbc_driver_manager as adbc
import pyarrow as pa


class Connection:
    """One connection in autocommit mode, for one thread at a time. SQL begins and ends transactions."""

    def __init__(self, database: adbc.AdbcDatabase, options: dict[str, str] | None = None) -> None:
        self._database = database
        self._options = options or {}
        try:
            self._connection = adbc.AdbcConnection(database)
        except BaseException:
            database.close()
            raise

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> pa.Table:
        """Run one statement and return its rows; a table without columns if it has none.

        parameters: for the statement's ``?``; numbers, texts, bytes or None.
        """
        with adbc.AdbcStatement(self._connection) as statement:
            statement.set_options(**self._options)
            statement.set_sql_query(sql)
            if parameters:
                statement.prepare()
                values = [one(value) for value in parameters]
                statement.bind(pa.record_batch(values, names=[str(i) for i in range(len(values))]))
            stream, _ = statement.execute_query()
            try:
                with pa.RecordBatchReader.from_stream(stream) as reader:
                    return reader.read_all()
            except OSError as error:  # Arrow's error for a failure of the driver while it streams rows
                raise adbc.OperationalError(str(error), status_code=adbc.AdbcStatusCode.IO) from error

    def batches(self, sql: str, options: dict[str, str] | None = None) -> Iterator[pa.Table]:
        """Run one query and yield its rows in parts, without holding all of them.

        options: of this statement. They override those of the connection.
        """
        with adbc.AdbcStatement(self._connection) as statement:
            statement.set_options(**{**self._options, **(options or {})})
            statement.set_sql_query(sql)
            stream, _ = statement.execute_query()
            try:
                with pa.RecordBatchReader.from_stream(stream) as reader:
                    for batch in reader:
                        yield pa.Table.from_batches([batch])
            except OSError as error:
                raise adbc.OperationalError(str(error), status_code=adbc.AdbcStatusCode.IO) from error

    def ingest(self, name: str, table: pa.Table) -> None:
        """Load ``table`` into a new temporary table ``name``."""
        with adbc.AdbcStatement(self._connection) as statement:
            options = {
                adbc.StatementOptions.INGEST_TARGET_TABLE.value: name,
                adbc.StatementOptions.INGEST_MODE.value: adbc.INGEST_OPTION_MODE_CREATE,
                adbc.StatementOptions.INGEST_TEMPORARY.value: "true",
            }
            statement.set_options(**options)
            statement.bind_stream(table)
            statement.execute_update()

    def close(self) -> None:
        """Close the connection. An open transaction is rolled back."""
        self._connection.close()
        self._database.close()


def one(value: int | float | str | bytes | None) -> pa.Array:
    """Return an array of one value. It is built from buffers, because ``pa.array`` and ``pa.scalar`` import pandas.

    >>> [one(value).to_pylist() for value in (True, -2, 0.5, "é", b"", None)]
    [[1], [-2], [0.5], ['é'], [b''], [None]]
    """
    if value is None:
        return pa.nulls(1)
    if isinstance(value, int | float):
        kind, code = (pa.float64(), "<d") if isinstance(value, float) else (pa.int64(), "<q")
        return pa.Array.from_buffers(kind, 1, [None, pa.py_buffer(struct.pack(code, value))])
    kind, data = (pa.string(), value.encode()) if isinstance(value, str) else (pa.binary(), value)
    ends = pa.py_buffer(struct.pack("<ii", 0, len(data)))
    return pa.Array.from_buffers(kind, 1, [None, ends, pa.py_buffer(data)])


def connect_sqlite(path: str, timeout: float) -> Connection:
    """Open a SQLite file. Statements wait up to ``timeout`` seconds for another writer."""
    import adbc_driver_sqlite

    # The driver takes a column's type from its first batch. By default, 1,024 nulls followed by a text would fail.
    options = {adbc_driver_sqlite.StatementOptions.BATCH_ROWS.value: str(2**30)}
    connection = Connection(adbc_driver_sqlite.connect(path), options)
    connection.execute(f"PRAGMA busy_timeout={int(timeout * 1000)}")
    # a staged batch is in memory already
    connection.execute("PRAGMA temp_store=MEMORY")
    return connection


def connect_postgresql(uri: str) -> Connection:
    """Connect to a PostgreSQL server."""
    import adbc_driver_postgresql

    return Connection(adbc_driver_postgresql.connect(uri))
