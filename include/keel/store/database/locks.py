"""Locks with a name, shared by all processes on one store; each is free again when its holder ends, however it ends.

On SQLite an ``flock`` on a file beside the store, on PostgreSQL a session's advisory lock. Neither is a row, so a
process that is killed leaves nothing behind that somebody would have to clean up. Not re-entrant.
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
from keel.store.database.failures import shown, translated

if TYPE_CHECKING:
    from keel.store.database.connections import Database

PAUSE = 0.02
"""Seconds between two tries for a file's lock: well below the time for which one is held."""
# A host that vanishes without a word would otherwise keep its session, and with it the lock, for two hours.
_SESSION = (
    "SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3; "
    "SET lock_timeout = {milliseconds}"
)
_descriptors: set[int] = set()

Held = Callable[[], None]
"""Raises StoreUnavailable if the lock was lost, which a server that ends a session can do; otherwise nothing."""


@contextmanager
def hold(database: Database, name: str) -> Iterator[Held]:
    """Hold the lock ``name``; wait for it as long as the store waits for other writers.

    Raises
    ------
    StoreUnavailable
        Somebody else has held it all that time, or the store cannot be reached.

    """
    with (_hold_file if database.is_sqlite else _hold_session)(database, name) as held:
        yield held


@contextmanager
def _hold_file(database: Database, name: str) -> Iterator[Held]:
    # The same file for everybody, also for who reaches the store by another name.
    path = Path(f"{os.path.realpath(str(database.url.database))}.{quote(name, safe='')}.lock")
    with translated(database.url):
        descriptor = _locked(path, time.monotonic() + database.timeout)
    if descriptor is None:
        raise StoreUnavailable(
            f"the store at {shown(database.url)}: another process has held the lock {name} for {database.timeout:g} s: "
            f"try again, and look for a stuck process (fuser {path} names it)"
        )
    with _not_for_children(descriptor):
        try:
            yield lambda: None
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)


def _locked(path: Path, deadline: float) -> int | None:
    """Return a descriptor of the locked file, or None when time is up."""
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
    """Whether the file is still there: a lock on one that somebody has deleted keeps nobody out."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


@contextmanager
def _hold_session(database: Database, name: str) -> Iterator[Held]:
    key = int.from_bytes(hashlib.sha256(f"keel/{name}".encode()).digest()[:8], "big", signed=True)
    with translated(database.url):
        connection = database.engine.connect().execution_options(isolation_level="AUTOCOMMIT", keel_read=True)
    connection.detach()  # never lent to anybody else; closing it ends the session, and frees the lock
    try:
        with translated(database.url):
            connection.exec_driver_sql(_SESSION.format(milliseconds=int(database.timeout * 1000)))
            connection.execute(sa.text("SELECT pg_advisory_lock(:key)"), {"key": key})

        def held() -> None:
            with translated(database.url):  # a session that has ended answers no more
                connection.execute(sa.text("SELECT 1"))

        with _not_for_children(connection.connection.fileno()):
            yield held
    finally:
        connection.close()


@contextmanager
def _not_for_children(descriptor: int) -> Iterator[None]:
    """Keep a lock's descriptor from what this process forks, which could outlive it and go on holding the lock."""
    _descriptors.add(descriptor)
    try:
        yield
    finally:
        _descriptors.discard(descriptor)


def _let_go() -> None:
    # Not closed: whoever closes this number later must not hit a file that got it meanwhile.
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in _descriptors:
        os.dup2(nothing, descriptor, inheritable=False)
    os.close(nothing)
    _descriptors.clear()


os.register_at_fork(after_in_child=_let_go)
