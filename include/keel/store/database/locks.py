"""Named locks that all processes on one store share.

On SQLite a lock is an ``flock`` on a file beside the store, on PostgreSQL an advisory lock of a session. Both are
released when their holder ends, also if it is killed: there is no row that would have to be cleaned up. Locks are not
re-entrant.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import sqlalchemy as sa

from keel.errors import StoreUnavailable
from keel.store.database.failures import translated
from keel.store.database.redaction import redacted_url

if TYPE_CHECKING:
    from keel.store.database.connections import Database

PAUSE = 0.02
"""Seconds between two tries for a file lock. Locks are held much longer."""
# Without keepalives a host that loses its connection keeps its session, and with it the lock, for two hours.
_SESSION = (
    "SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3; "
    "SET lock_timeout = {milliseconds}"
)
_descriptors: set[int] = set()

Held = Callable[[], None]
"""Raises StoreUnavailable if the lock was lost because the server ended the session. Does nothing otherwise."""


@contextmanager
def hold(database: Database, name: str) -> Iterator[Held]:
    """Hold the lock ``name``. Waits for it as long as the store waits for other writers.

    Raises
    ------
    StoreUnavailable
        Another process held it all that time, or the store cannot be reached.

    """
    with (_hold_file if database.is_sqlite else _hold_session)(database, name) as held:
        yield held


@contextmanager
def _hold_file(database: Database, name: str) -> Iterator[Held]:
    # The same file for all processes, also for one that reaches the store through a symbolic link.
    path = Path(f"{os.path.realpath(str(database.url.database))}.{quote(name, safe='')}.lock")
    with translated(database.url):
        descriptor = _locked(path, time.monotonic() + database.timeout)
    if descriptor is None:
        raise StoreUnavailable(
            f"the store at {redacted_url(database.url)}: another process has held the lock {name} for "
            f"{database.timeout:g} s: try again, and look for a stuck process (fuser {path} names it)"
        )
    with _not_for_children(descriptor):
        try:
            yield lambda: None
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)


def _locked(path: Path, deadline: float) -> int | None:
    """Return a descriptor of the locked file, or None after the deadline."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(path, descriptor):
                return descriptor
        except BlockingIOError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if time.monotonic() >= deadline:
            return None
        time.sleep(PAUSE)


def _is_at(path: Path, descriptor: int) -> bool:
    """Return whether the file is still there. A lock on a deleted file excludes no other process."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


@contextmanager
def _hold_session(database: Database, name: str) -> Iterator[Held]:
    key = int.from_bytes(hashlib.sha256(f"keel/{name}".encode()).digest()[:8], "big", signed=True)
    with translated(database.url):
        connection = database.engine.connect().execution_options(isolation_level="AUTOCOMMIT", keel_read=True)
    connection.detach()  # never returned to the pool; closing it ends the session and releases the lock
    try:
        with translated(database.url):
            connection.exec_driver_sql(_SESSION.format(milliseconds=int(database.timeout * 1000)))
            connection.execute(sa.text("SELECT pg_advisory_lock(:key)"), {"key": key})

        def held() -> None:
            with translated(database.url):  # fails if the session has ended
                connection.execute(sa.text("SELECT 1"))

        with _not_for_children(connection.connection.fileno()):
            yield held
    finally:
        connection.close()


@contextmanager
def _not_for_children(descriptor: int) -> Iterator[None]:
    """Keep a lock's descriptor from child processes, which could outlive this one and hold the lock."""
    _descriptors.add(descriptor)
    try:
        yield
    finally:
        _descriptors.discard(descriptor)


def _release_in_child() -> None:
    # Not closed: a later close of this number must not close another file that got it in between.
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in _descriptors:
        os.dup2(nothing, descriptor, inheritable=False)
    os.close(nothing)
    _descriptors.clear()


os.register_at_fork(after_in_child=_release_in_child)
