"""Locks that processes share: one at a time, with an end to waiting, and free when the holder is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from keel.errors import StoreUnavailable
from keel.store import Store
from tests.support.paths import PROJECT

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join((str(PROJECT / "include"), str(PROJECT)))}
HOLD = """
import os, sys, time
from keel.store import Store
with Store.open(sys.argv[1]) as store, store.lock("a"):
    if len(sys.argv) > 2 and os.fork() == 0:
        sys.stdout = open(os.devnull, "w")
        time.sleep(60)
    print(os.getpid(), flush=True)
    time.sleep(60)
"""


@contextmanager
def holder(url: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock ``a``, and is killed at the end, if not before."""
    command = [sys.executable, "-W", "ignore", "-c", HOLD, url, *arguments]
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert process.stdout is not None
        assert int(process.stdout.readline()) == process.pid
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_lock_excludes_other_processes_and_threads(store: Store) -> None:
    within, seen = 0, []

    def enter() -> None:
        nonlocal within
        for _ in range(5):
            with store.lock("a"):
                within += 1
                seen.append(within)
                time.sleep(0.002)
                within -= 1

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert seen == [1] * 20


def test_locks_of_different_names_are_independent(store: Store) -> None:
    with store.lock("a") as held, store.lock("b/../%c é") as other:
        held()
        other()
    if store.engine.dialect.name == "sqlite":
        names = [path.name for path in Path(store.url.removeprefix("sqlite:///")).parent.glob("*.lock")]
        assert sorted(names) == ["keel.db.a.lock", "keel.db.b%2F..%2F%25c%20%C3%A9.lock"]


def test_lock_wait_times_out_and_kill_of_the_holder_releases(store: Store, store_url: str) -> None:
    with Store.open(store_url, timeout=0.3) as impatient, holder(store_url) as process:
        start = time.monotonic()
        with pytest.raises(StoreUnavailable, match="another process"), impatient.lock("a"):
            pytest.fail("it is held by another process")
        assert 0.25 < time.monotonic() - start < 5
        with impatient.lock("b"):
            pass
        process.send_signal(signal.SIGKILL)
        with store.lock("a"):
            assert time.monotonic() - start < 20


def test_lock_waiter_continues_when_the_holder_is_killed(store: Store, store_url: str) -> None:
    with holder(store_url) as process:
        killed: list[float] = []

        def kill() -> None:
            killed.append(time.monotonic())
            process.send_signal(signal.SIGKILL)

        timer = threading.Timer(0.3, kill)
        timer.start()
        with store.lock("a"):
            assert killed, "it was let in while the other held it"
            assert time.monotonic() - killed[0] < 5
        timer.join()


def test_lock_is_not_held_by_a_child_of_a_killed_holder(store: Store, store_url: str) -> None:
    with holder(store_url, "with a child") as process:
        process.kill()
        process.wait()  # once it is reaped, only its child keeps its group alive
        with store.lock("a"):
            os.killpg(process.pid, 0)  # raises where no process of the group is left


def test_lock_is_released_by_an_error_inside(store: Store) -> None:
    for error in (
        ConnectionResetError("somebody else's"),
        sa.exc.OperationalError("SELECT", {}, Exception("MLflow's")),
    ):
        with pytest.raises(type(error)), store.lock("a"):
            raise error
    with store.lock("a"):
        pass


def test_lock_of_a_store_with_two_paths_is_one(tmp_path: Path, migrated_sqlite: Path) -> None:
    there, other = tmp_path / "keel.db", tmp_path / "other.db"
    there.write_bytes(migrated_sqlite.read_bytes())
    other.symlink_to(there)
    with (
        Store.open(f"sqlite:///{there}") as one,
        Store.open(f"sqlite:///{other}", timeout=0.1) as two,
        one.lock("a"),
        pytest.raises(StoreUnavailable, match=r"fuser .*keel.db.a.lock"),
        two.lock("a"),
    ):
        pytest.fail("it is held")


def test_lock_excludes_after_its_file_was_deleted(tmp_path: Path, migrated_sqlite: Path) -> None:
    path = tmp_path / "keel.db"
    path.write_bytes(migrated_sqlite.read_bytes())
    with Store.open(f"sqlite:///{path}", timeout=0.3) as store, store.lock("a"):
        Path(f"{path}.a.lock").unlink()
        with store.lock("a"), pytest.raises(StoreUnavailable), store.lock("a"):
            pytest.fail("the new file is locked")


@pytest.mark.postgres
def test_lock_lost_by_the_server_is_detected(new_postgres_database) -> None:
    with Store.open(new_postgres_database()) as store:
        with store.lock("a") as held:
            held()
            with store.begin() as connection:
                dropped = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
                connection.execute(sa.text(dropped))
            with pytest.raises(StoreUnavailable):
                held()
        with store.lock("a") as held:
            held()


@pytest.mark.postgres
def test_lock_session_is_not_reused(new_postgres_database) -> None:
    """It has another lock_timeout than the store's own connections, and none of their transactions."""
    with Store.open(new_postgres_database(), timeout=7) as store:
        with store.lock("a"):
            pass
        with store.connect() as connection:
            assert connection.execute(sa.text("SHOW lock_timeout")).scalar() == "0"
            locks = connection.execute(sa.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"))
            assert locks.scalar() == 0
