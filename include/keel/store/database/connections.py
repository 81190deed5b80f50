"""Connect to the store: its URL, the SQLAlchemy engine and the pool of ADBC connections."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import adbc_driver_manager
import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import QueuePool

from keel.errors import ConfigError, StoreUnavailable
from keel.store.database import adbc, sqlite
from keel.store.database.failures import translated
from keel.store.database.redaction import redacted_url

_SQLITE = frozenset({"sqlite", "sqlite+pysqlite"})
_POSTGRESQL = frozenset({"postgresql", "postgres", "postgresql+psycopg2", "postgresql+psycopg"})
_SUPPORTED = "sqlite:////absolute/path.db and postgresql://user:password@host:5432/database"
# Enough for the threads of a task. The scoring service's threads wait for the one writer in any case.
_POOL_SIZE, _MAX_OVERFLOW = 4, 12
_KEEPALIVES = {"keepalives_idle": "30", "keepalives_interval": "10", "keepalives_count": "3"}
"""Of PostgreSQL: a server that has vanished from the network is given up after a minute, not after two hours."""
_inherited: list[object] = []


def parse_url(url: str) -> sa.URL:
    """Return the URL with Keel's driver and an absolute path.

    Raises ConfigError for any other scheme. The message names what is supported, and no password.
    """
    try:
        parsed = sa.make_url(url)
    except (ArgumentError, ValueError):
        raise ConfigError(f"the store's URL cannot be read; supported are {_SUPPORTED}") from None
    if parsed.drivername in _SQLITE:
        if not parsed.database or parsed.database.startswith((":memory:", "file:")) or parsed.query or parsed.host:
            raise ConfigError(f"a store on SQLite is a plain file without options; supported are {_SUPPORTED}")
        return parsed.set(drivername=sqlite.DRIVER, database=str(Path(parsed.database).absolute()))
    if parsed.drivername in _POSTGRESQL:
        return parsed.set(drivername="postgresql+psycopg2")
    raise ConfigError(f"a store cannot be kept at a {parsed.drivername!r} URL; supported are {_SUPPORTED}")


class Database:
    """Connections to one store: ``engine`` for small tables, ``arrow`` connections for columns of data.

    After a fork the child makes connections of its own, and does not touch its parent's. A SQLite file that is replaced
    is connected to anew; one that is gone is `StoreUnavailable`.
    """

    def __init__(self, url: sa.URL, timeout: float) -> None:
        self.url = url
        self.timeout = timeout
        self.statement_timeout: float | None = None
        """Seconds after which PostgreSQL ends a statement of the engine's; None: never."""
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self._file: tuple[int, int] | None = None
        self._changing = threading.Lock()
        self._reconnect()

    def _reconnect(self) -> None:
        self._process = os.getpid()
        pool: dict[str, Any] = {"pool_size": _POOL_SIZE, "max_overflow": _MAX_OVERFLOW}
        options: dict[str, Any] = {"poolclass": QueuePool, "pool_timeout": self.timeout, **pool}
        if self.is_sqlite:
            self._engine = sa.create_engine(self.url, creator=lambda: sqlite.Connection(self._open()), **options)
        else:
            self._engine = sa.create_engine(self._bounded(), pool_pre_ping=True, **options)
        sa.event.listen(self._engine, "begin", self._begin)
        # the pool accepts any object with a close()
        self._arrow = QueuePool(cast("Any", self._open), timeout=self.timeout, reset_on_return=None, **pool)

    @property
    def engine(self) -> sa.Engine:
        """The SQLAlchemy engine. A transaction takes SQLite's write lock at its begin, unless it only reads."""
        self._stay_current()
        return self._engine

    @contextmanager
    def connect(self) -> Iterator[sa.Connection]:
        """Provide a SQLAlchemy connection for queries."""
        with translated(self.url), self.engine.connect().execution_options(keel_read=True) as connection:
            yield connection

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """Provide a SQLAlchemy connection inside a transaction that is committed at the end."""
        with translated(self.url), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def arrow(self) -> Iterator[adbc.Connection]:
        """Provide an ADBC connection in autocommit mode. An error inside closes it, which ends its transaction."""
        self._stay_current()
        with translated(self.url):
            pooled = self._take()
            try:
                yield pooled.dbapi_connection
            except BaseException:
                pooled.invalidate()
                raise
            finally:
                pooled.close()

    def close(self) -> None:
        """Close every connection that is not in use."""
        if os.getpid() == self._process:
            self._engine.dispose()
            self._arrow.dispose()

    def prepare_file(self) -> None:
        """Create SQLite's folder and switch the file to WAL mode, in which readers and the writer do not wait."""
        if not self.is_sqlite:
            return
        path = Path(str(self.url.database))
        path.parent.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + self.timeout
        with self.arrow() as connection:
            while not in_wal_mode(connection, deadline):
                time.sleep(0.01)

    def _take(self) -> Any:
        for _ in range(_POOL_SIZE):
            pooled = self._arrow.connect()
            if self.is_sqlite or answers(pooled.dbapi_connection):
                return pooled
            pooled.invalidate()  # the server closed the connection while it was idle
        return self._arrow.connect()

    def _bounded(self) -> sa.URL:
        connect = {"connect_timeout": str(max(2, int(self.timeout)))}
        return self.url.update_query_dict({**connect, **_KEEPALIVES, **self.url.query})

    def _open(self) -> adbc.Connection:
        if self.is_sqlite:
            return adbc.connect_sqlite(str(self.url.database), self.timeout)
        uri = self._bounded().set(drivername="postgresql").render_as_string(hide_password=False)
        return adbc.connect_postgresql(uri)

    def _begin(self, connection: sa.Connection) -> None:
        if self.statement_timeout is not None and not self.is_sqlite:
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = {int(self.statement_timeout * 1000)}")
        if connection.get_execution_options().get("keel_read"):
            return
        if self.is_sqlite:
            connection.connection.dbapi_connection.begin()  # type: ignore[union-attr]
        else:
            connection.exec_driver_sql(self.lock_timeout)

    @property
    def lock_timeout(self) -> str:
        """The statement that limits how long a PostgreSQL transaction waits, as SQLite's busy timeout does."""
        return f"SET LOCAL lock_timeout = {int(self.timeout * 1000)}"

    def _stay_current(self) -> None:
        """Connect anew after a fork, and to the file that has taken the place of SQLite's, as from a backup."""
        if os.getpid() != self._process:
            # Kept alive, because collecting them would close the parent's sockets and files.
            _inherited.extend((self._engine, self._arrow))
            self._reconnect()
        if not self.is_sqlite or self._file == (found := self._find_file()):
            return
        with self._changing:
            if self._file is not None and self._file != found:
                self.close()
                self._reconnect()
            self._file = found

    def _find_file(self) -> tuple[int, int] | None:
        """Return which file SQLite's path leads to; None before it is made.

        Raises `StoreUnavailable` where it was there before: open connections would still write into the file that is
        gone, and nobody would ever read it.
        """
        try:
            status = os.stat(str(self.url.database))
        except OSError:
            if self._file is None:
                return None
            raise StoreUnavailable(
                f"{redacted_url(self.url)}: the file is gone: put it back, or start Keel anew to make another"
            ) from None
        return status.st_dev, status.st_ino


def answers(connection: Any) -> bool:
    """Return whether the server of an idle connection answers."""
    try:
        connection.execute("SELECT 1")
    except adbc_driver_manager.Error:
        return False
    return True


def in_wal_mode(connection: adbc.Connection, deadline: float) -> bool:
    """Switch a SQLite file to WAL mode. Returns False if another process has locked it to do the same."""
    try:
        if _journal_mode(connection, "journal_mode") == "wal":
            return True
        # lets `keel.store.integrity` free pages in small steps; only a file without tables accepts this
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        return _journal_mode(connection, "journal_mode=wal") == "wal"
    except adbc_driver_manager.OperationalError as error:
        # SQLite does not wait for this lock, whatever the busy timeout
        if "locked" not in str(error) or time.monotonic() > deadline:
            raise
    return False


def _journal_mode(connection: adbc.Connection, pragma: str) -> str:
    return str(connection.execute(f"PRAGMA {pragma}").column(0)[0].as_py())
