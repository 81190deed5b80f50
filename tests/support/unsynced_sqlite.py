"""SQLite without fsync, for tests whose files do not outlive them.

A commit waits for the disk, 5 to 30 ms each on a virtual machine, and an empty MLflow database takes a hundred of them.
Durability is tested with the default settings: in tests/unit/store, tests/unit/serving and tests/chaos.
"""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

PRAGMA = "PRAGMA synchronous=OFF"


@contextmanager
def unsynced() -> Iterator[None]:
    """Turn fsync off on every SQLite connection that this process opens meanwhile. May be nested."""
    from keel.store.database import adbc

    def unsync(connection: Any, _record: Any) -> None:  # its own each time: SQLAlchemy keeps a listener only once
        if isinstance(connection, sqlite3.Connection):
            connection.execute(PRAGMA)

    synced = adbc.connect_sqlite
    event.listen(Engine, "connect", unsync)
    adbc.connect_sqlite = _unsynced(synced)
    try:
        yield
    finally:
        adbc.connect_sqlite = synced
        event.remove(Engine, "connect", unsync)


def _unsynced(connect: Any) -> Any:
    @functools.wraps(connect)
    def connected(*arguments: Any, **options: Any) -> Any:
        connection = connect(*arguments, **options)
        connection.execute(PRAGMA)
        return connection

    return connected
