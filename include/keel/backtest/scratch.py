"""The workspace of one policy: a store and a registry of its own, and checkpoints from which it goes on.

A step that is interrupted leaves rows, a version or half of a promotion behind. The next run therefore puts both
databases back to where they were after the last complete step, so that it takes the same decisions and gives new
versions the same numbers.

The databases do not wait for the disk. They survive the end of the process in whatever way it ends; after a power
failure they may be damaged, and the backtest has to begin again.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.pool import Pool

from keel.registry.mlflow_client import versions_beside_runs
from keel.store.database.adbc import Connection as ArrowConnection
from keel.store.database.sqlite import Connection as StoreConnection
from keel.workspace import Workspace

PRAGMA = "PRAGMA synchronous=OFF"
STORE, REGISTRY = "keel.db", "mlflow.db"


@contextmanager
def open_workspace(folder: Path) -> Iterator[Workspace]:
    """Open the workspace in a folder, whatever the environment says about the installation's own.

    A copy of a workspace registers new artifacts beside those of the original, whose place its MLflow remembers.
    """
    with Workspace.open(home=folder, environment={}) as ws, versions_beside_runs(ws.registry.tracking_uri):
        yield ws


@contextmanager
def unsynced(folder: Path) -> Iterator[None]:
    """Let commits to the SQLite files in a folder not wait for the disk."""

    def connected(connection: Any, _record: Any) -> None:
        if isinstance(connection, sqlite3.Connection):
            [(_, _, path)] = connection.execute("PRAGMA database_list").fetchall()
            run: Callable[[str], Any] = connection.execute
        elif isinstance(connection, StoreConnection | ArrowConnection):
            run = connection.run if isinstance(connection, StoreConnection) else connection.execute
            path = run("PRAGMA database_list")["file"][0].as_py()
        else:
            return
        if Path(path).is_relative_to(folder):
            run(PRAGMA)

    event.listen(Pool, "connect", connected)
    try:
        yield
    finally:
        event.remove(Pool, "connect", connected)


def write_checkpoint(ws: Workspace, folder: Path, number: int) -> None:
    """Copy both databases of a workspace as the state after ``number`` steps, in place of earlier copies."""
    saved = folder / f"{number:05d}"
    part = saved.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    with ws.store.connect() as connection:
        connection.exec_driver_sql("VACUUM INTO ?", (str(part / STORE),))
    _copy(ws.home / REGISTRY, part / REGISTRY)
    part.rename(saved)
    for other in folder.iterdir():
        if other != saved:
            shutil.rmtree(other)


def restore_checkpoint(home: Path, folder: Path) -> int | None:
    """Put a workspace's databases back to its last checkpoint. Returns its number; None where there is none.

    The workspace must be closed.
    """
    saved = max((path for path in folder.glob("[0-9]*") if not path.suffix), default=None)
    if saved is None:
        return None
    home.mkdir(parents=True, exist_ok=True)
    for leftover in home.glob(f"{STORE}*"):
        leftover.unlink()
    shutil.copyfile(saved / STORE, home / STORE)
    _copy(saved / REGISTRY, home / REGISTRY)
    return int(saved.name)


def _copy(source: Path, target: Path) -> None:
    """Copy an SQLite file while MLflow has it open."""
    with closing(sqlite3.connect(source)) as there, closing(sqlite3.connect(target)) as here:
        here.execute(PRAGMA)
        there.backup(here)
