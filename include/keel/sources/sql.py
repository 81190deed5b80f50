"""Read a table or view of a database: the store's own, or any that SQLAlchemy has a driver for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import adbc_driver_manager
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from keel.errors import ConfigError, StoreUnavailable, suggestion
from keel.sources import PART_ROWS, Source
from keel.store.database.connections import Database, parse_url
from keel.store.database.failures import is_unavailable
from keel.store.database.redaction import redacted_url, without_passwords

if TYPE_CHECKING:
    from keel.store import Store

TIMEOUT = 30.0
LISTED = 20
_BATCH_ROWS = "adbc.sqlite.query.batch_rows"
# In SQLite each value has its own type, and the driver needs one type per column. So all values are read as text, and
# null as an empty text. SQLite's own text of a fraction has 15 digits, which is another number.
_AS_TEXT = (
    "CASE typeof({0}) WHEN 'text' THEN {0} WHEN 'integer' THEN CAST({0} AS TEXT) "
    "WHEN 'real' THEN printf('%!.17g', {0}) ELSE '' END"
)


@contextmanager
def open_table(store: Store, table: str, database: str | None = None) -> Iterator[Source]:
    """Open a table or view, ``schema.name`` or ``name``, of the database at a URL, or of the store's own.

    An SQLite file is read with the store's copy of the SQLite library. Two copies in one process may damage a file that
    both have open.

    Raises
    ------
    ConfigError
        The URL is invalid, or the table is missing. The message lists the tables.
    StoreUnavailable
        The database does not answer.

    """
    url = store.engine.url if database is None else _url(database)
    name = f"{table} in {redacted_url(url)}"
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        with _answering(url):
            engine = sa.create_engine(url)
        try:
            yield _opened(engine, table, name, None)
        finally:
            engine.dispose()
        return
    opened = Database(url, TIMEOUT)
    try:
        yield _opened(opened.engine, table, name, opened if opened.is_sqlite else None)
    finally:
        opened.close()


def _url(text: str) -> sa.URL:
    try:
        url = sa.make_url(text)
    except (ArgumentError, ValueError):
        raise ConfigError("--database: cannot be read; an example is postgresql://user:password@host/name") from None
    if url.get_backend_name() not in ("sqlite", "postgresql", "postgres"):
        return url
    parsed = parse_url(text)
    if parsed.get_backend_name() == "sqlite" and not Path(str(parsed.database)).is_file():
        raise ConfigError(f"--database: there is no file {parsed.database}")
    return parsed


def _opened(engine: sa.Engine, table: str, name: str, sqlite: Database | None) -> Source:
    with _answering(engine.url), engine.connect().execution_options(keel_read=True) as connection:
        inspector = sa.inspect(connection)
        schema, _, bare = ("", "", table) if inspector.has_table(table) else table.rpartition(".")
        if not inspector.has_table(bare, schema or None):
            raise _no_table(inspector, engine, name, bare, schema or None)
        columns = tuple(column["name"] for column in inspector.get_columns(bare, schema or None))
    read = _through_arrow if sqlite else _through_rows
    target = sa.table(bare, schema=schema or None)

    def parts(chosen: Sequence[str]) -> Iterator[pa.Table]:
        yield from _guarded(engine.url, read(sqlite or engine, target, chosen))

    return Source(name, columns, parts)


def _no_table(inspector: sa.Inspector, engine: sa.Engine, name: str, bare: str, schema: str | None) -> ConfigError:
    known = inspector.get_schema_names() if schema else []
    if schema and schema not in known:
        return ConfigError(f"{name}: there is no schema {schema!r}; there are {', '.join(sorted(known))}")
    there = sorted([*inspector.get_table_names(schema), *inspector.get_view_names(schema)])
    listed = ", ".join(there[:LISTED]) + (", …" if len(there) > LISTED else "")
    return ConfigError(f"{name}: there is no such table{suggestion(bare, there)}; there are {listed or 'none'}")


def _through_arrow(database: Any, table: sa.TableClause, columns: Sequence[str]) -> Iterator[pa.Table]:
    quote = database.engine.dialect.identifier_preparer.quote_identifier
    values = ", ".join(f"{_AS_TEXT.format(quote(name))} AS {quote(name)}" for name in columns)
    where = ".".join(quote(part) for part in (table.schema, table.name) if part)
    with database.arrow() as connection:
        yield from connection.batches(f"SELECT {values} FROM {where}", {_BATCH_ROWS: str(PART_ROWS)})


def _through_rows(engine: Any, table: sa.TableClause, columns: Sequence[str]) -> Iterator[pa.Table]:
    chosen: list[sa.ColumnClause[Any]] = [sa.column(name) for name in columns]
    options = {"stream_results": True, "max_row_buffer": PART_ROWS, "keel_read": True}
    with engine.connect().execution_options(**options) as connection:
        for rows in connection.execute(sa.select(*chosen).select_from(table)).partitions(PART_ROWS):
            yield pa.table(dict(zip(columns, map(_array, columns, zip(*rows, strict=True)), strict=True)))


def _array(name: str, values: Sequence[Any]) -> pa.Array:
    """Return the values of a driver as a column, with UUIDs as texts."""
    kinds = {type(value).__module__ for value in values}
    if "uuid" in kinds:
        return pa.array([None if value is None else str(value) for value in values], pa.string())
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        raise ConfigError(f"column {name!r}: has values that are neither texts, numbers nor times") from None


def _guarded(url: sa.URL, parts: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield the parts. Errors of the driver while it reads are translated."""
    iterator = iter(parts)
    while True:
        with _answering(url):
            part = next(iterator, None)
        if part is None:
            return
        yield part


@contextmanager
def _answering(url: sa.URL) -> Iterator[None]:
    """Translate a driver's errors to StoreUnavailable or ConfigError, without the password."""
    try:
        yield
    except (NoSuchModuleError, ModuleNotFoundError):
        raise ConfigError(f"--database: no driver for {url.drivername!r} is installed") from None
    except (SQLAlchemyError, adbc_driver_manager.Error, OSError) as error:
        said = without_passwords(str(getattr(error, "orig", None) or error), url)
        place = redacted_url(url)
        if is_unavailable(error):
            raise StoreUnavailable(f"the database at {place} does not answer ({said})") from None
        raise ConfigError(f"the database at {place} cannot be read: {said}") from None
