"""A home as ``keel demo`` leaves it, with nine months of real flights, and its store on PostgreSQL.

home = copy_home(tmp_path / "home")         # a whole home to start servers on
copy_store(demo_home(), postgres_url)       # its store alone, on another database
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from conftest import NEEDS_TOOL
from keel.store import Store
from keel.store.database.migrations import VERSION_TABLE
from tests.support.paths import PROJECT

if TYPE_CHECKING:
    from keel.store.database import adbc

LAST_STEP = "SELECT count(*) FROM live_alarms WHERE judged_by IS NOT NULL"
"""Of the demo: a check has judged the alarm of the live monitors."""
ROWS_AT_ONCE = 50_000


def demo_home() -> Path:
    """Return the folder that the last ``make demo`` left; without one, skip the test, as the demo takes minutes.

    Nobody may change the folder: others read it.
    """
    made = PROJECT / ".keel" / "demo"
    if not is_complete(made):
        pytest.skip(f"{NEEDS_TOOL}: the demo's data in .keel/demo (make demo)")
    return made


def is_complete(home: Path) -> bool:
    """Return whether the demo came to its end in this folder."""
    store = home / "keel.db"
    if not store.is_file() or not (home / "mlflow.db").is_file():
        return False
    try:
        with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
            return bool(connection.execute(LAST_STEP).fetchone()[0])
    except sqlite3.Error:
        return False


def copy_home(to: Path) -> Path:
    """Copy the demo's home, without its logs, and return ``to``: a ``KEEL_HOME`` to change and start servers on."""
    shutil.copytree(demo_home(), to, ignore=shutil.ignore_patterns("logs", "running", "*.lock"))
    (to / "logs").mkdir()
    return to


def copy_store(home: Path, url: str) -> None:
    """Copy the SQLite store of a home, of this release or an earlier one, into an empty PostgreSQL database."""
    with tempfile.TemporaryDirectory(prefix="keel-store-") as folder:
        path = Path(folder) / "keel.db"
        with closing(sqlite3.connect(home / "keel.db")) as old, closing(sqlite3.connect(path)) as new:
            old.backup(new)
        with Store.open(f"sqlite:///{path}") as source, Store.open(url) as target:
            _copy_tables(source, target)


def _copy_tables(source: Store, target: Store) -> None:
    tables = sa.MetaData()
    tables.reflect(source.engine, only=lambda name, _: not name.startswith("sqlite_") and name != VERSION_TABLE)
    known = sa.inspect(target.engine).get_table_names()
    with source._database.arrow() as reader, target._database.arrow() as writer:
        for table in tables.tables.values():
            if table.name not in known:
                _create(target.engine, table)
            _copy_rows(reader, writer, _quoted(target.engine, table.name))
    sequences = "SELECT setval(pg_get_serial_sequence('{0}', 'seq'), max(seq)) FROM {0} HAVING count(*) > 0"
    with target.begin() as connection:
        for name in ("ledger", "alert_events"):
            connection.execute(sa.text(sequences.format(name)))
    with target.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("ANALYZE"))


def _create(engine: sa.Engine, table: sa.Table) -> None:
    for column in table.columns:  # SQLite's REAL keeps 8 bytes, PostgreSQL's only 4
        column.type = sa.Double() if isinstance(column.type, sa.REAL | sa.Float) else column.type
    with engine.begin() as connection:
        table.create(connection)


def _quoted(engine: sa.Engine, name: str) -> str:
    return engine.dialect.identifier_preparer.quote_identifier(name)


def _copy_rows(reader: adbc.Connection, writer: adbc.Connection, name: str) -> None:
    schema = writer.execute(f"SELECT * FROM {name} LIMIT 0").schema
    names = ", ".join(f'"{each}"' for each in schema.names)
    rows: Any = reader.execute(f"SELECT {names} FROM {name}")
    columns = [_as(rows.column(each.name), each.type) for each in schema]
    for batch in pa.Table.from_arrays(columns, names=schema.names).to_batches(max_chunksize=ROWS_AT_ONCE):
        writer.ingest("copied", pa.Table.from_batches([batch]))
        writer.execute(f"INSERT INTO {name} ({names}) SELECT {names} FROM copied")
        writer.execute("DROP TABLE copied")


def _as(column: Any, kind: Any) -> Any:
    """Return a column of SQLite, which has no booleans, as the other database's type."""
    if column.null_count == len(column):  # the driver takes a column without a value for numbers
        return pa.nulls(len(column), kind)
    if pa.types.is_boolean(kind):
        return column.cast(pa.int64()).cast(kind)
    return column.cast(kind)
