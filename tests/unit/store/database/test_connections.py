"""Opening a store: the first time, at once by many, and when it cannot be."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from keel.errors import ConfigError, StoreUnavailable
from keel.store import Store
from keel.store.database import sqlite
from keel.store.database.drift_tables import drift_windows
from keel.store.database.migrations import FOLDER, HEAD, VERSION_TABLE
from keel.store.database.tables import metadata
from tests.support.paths import PROJECT
from tests.support.store_fixtures import EVER, FEATURES, NOON, batch

LATER = EVER[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join((str(PROJECT / "include"), str(PROJECT)))}


def python(code: str, *arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-c", code, *arguments]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, **options)  # type: ignore[call-overload]


def test_open_imports_no_heavy_library(migrated_sqlite: Path) -> None:
    code = """
import sys
from keel.store import Store
with Store.open(sys.argv[1]) as store:
    store.reports.list("m")
heavy = ("pandas", "alembic", "mlflow", "scipy", "sklearn", "airflow", "sqlite3")
print([name for name in heavy if name in sys.modules])
"""
    result = python(code, f"sqlite:///{migrated_sqlite}")
    assert result.stdout.strip() == "[]", result.stderr


def test_open_again_keeps_schema_and_rows(store_url: str) -> None:
    with Store.open(store_url) as store:
        store.predictions("m", FEATURES).append(batch(range(3)))
    with Store.open(store_url) as store:
        assert store.predictions("m", FEATURES).append(batch(range(3))).duplicates == 3
        with store.connect() as connection:
            assert connection.execute(sa.text(f"SELECT version_num FROM {VERSION_TABLE}")).scalars().all() == [HEAD]


@pytest.mark.slow
def test_open_by_eight_processes_at_once_works(store_url: str) -> None:
    code = """
import sys, time
from keel.store import Store
time.sleep(max(0, float(sys.argv[2]) - time.time()))
with Store.open(sys.argv[1]) as store:
    store.predictions("m", {"temp": "numeric", "Temp": "numeric"}).times()
    store.predictions(sys.argv[3], {}).times()
"""
    start = str(time.time() + 2)
    command = [sys.executable, "-W", "ignore", "-c", code, store_url, start]
    processes = [
        subprocess.Popen([*command, "mM"[i % 2] + "odel"], env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
        for i in range(8)
    ]
    errors = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 8, errors


def test_migrations_and_definitions_agree(store: Store) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with store.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, metadata) == []


def test_head_is_the_last_migration() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_open_schema_of_a_newer_keel_raises(store: Store, store_url: str) -> None:
    with store.begin() as connection:
        connection.execute(sa.text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(ConfigError, match="revision 9999.*upgrade Keel"):
        Store.open(store_url)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mysql://u:hunter2@host/db", "'mysql'"),
        ("hunter2", "cannot be read"),
        ("", "cannot be read"),
        ("postgresql://u:hunter2@host:port/db", "cannot be read"),
        ("sqlite://", "plain file"),
        ("sqlite:///:memory:", "plain file"),
        ("sqlite:///x.db?mode=ro", "plain file"),
        ("sqlite:///file:x.db", "plain file"),
        ("sqlite+aiosqlite:///x.db", "'sqlite.aiosqlite'"),
    ],
)
def test_open_unsupported_url_names_supported_ones(url: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says + ".*sqlite:////absolute.*postgresql://") as caught:
        Store.open(url)
    assert "hunter2" not in str(caught.value)


def test_open_relative_path_is_relative_to_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Store.open("sqlite:///new/folder/keel.db") as store:
        monkeypatch.chdir("/")
        store.predictions("m", FEATURES).append(batch(range(1)))
    assert (tmp_path / "new" / "folder" / "keel.db").exists()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_open_unreachable_server_raises_without_its_password() -> None:
    port = free_port()
    with pytest.raises(StoreUnavailable, match=rf"keel:\*\*\*@127.0.0.1:{port}/prod.*refused.*is up") as caught:
        Store.open(f"postgresql://keel:p%40ss%2Fword@127.0.0.1:{port}/prod", timeout=2)
    assert not {"p@ss/word", "p%40ss%2Fword"} & set(str(caught.value).split("'"))
    assert "ss/word" not in str(caught.value)
    assert "ss%2Fword" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert not caught.value.permanent


def test_open_folder_that_cannot_be_created_raises(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="sqlite:///.*/file/keel.db"):
        Store.open(f"sqlite:///{tmp_path}/file/keel.db")


def test_open_file_that_is_no_store_raises(tmp_path: Path) -> None:
    (tmp_path / "keel.db").write_text("not a database, but long enough to be read as one" * 100)
    with pytest.raises(StoreUnavailable, match="damaged or not a Keel store"):
        Store.open(f"sqlite:///{tmp_path}/keel.db")


def test_locked_store_raises_after_the_timeout(store_url: str) -> None:
    with Store.open(store_url) as holder, Store.open(store_url, timeout=0.5) as waiter:
        log, table = waiter.predictions("m", FEATURES), batch(range(1))
        with holder.begin() as connection:
            if holder.engine.dialect.name != "sqlite":
                connection.execute(sa.text("LOCK TABLE hours, quarantines IN ACCESS EXCLUSIVE MODE"))
            for write in (lambda: log.append(table), lambda: waiter.quarantine("m", NOON, LATER, "", NOON)):
                with pytest.raises(StoreUnavailable, match="another process holds it"):
                    write()
        assert log.append(table).stored == 1
        waiter.quarantine("m", NOON, LATER, "", NOON)


@pytest.mark.postgres
def test_statement_that_takes_too_long_is_ended_in_reads_and_writes(
    new_postgres_database: Callable[[], str],
) -> None:
    with Store.open(new_postgres_database(), statement_timeout=0.2) as store:
        for transaction in (store.connect, store.begin):
            began = time.monotonic()
            with pytest.raises(StoreUnavailable), transaction() as connection:
                connection.execute(sa.text("SELECT pg_sleep(20)"))
            assert time.monotonic() - began < 5
        assert store.reports.list("m") == []


def test_readers_do_not_wait_for_the_writer(store_url: str) -> None:
    with Store.open(store_url, timeout=0.5) as store:
        log = store.predictions("m", FEATURES)
        log.append(batch(range(2)))
        with store.begin() as connection:
            connection.execute(sa.text("UPDATE hours SET revision = 9"))
            assert log.dirty_hours(LATER)[0][2] == 1
            assert log.read(NOON, LATER)[0].num_rows == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not write")
def test_read_only_store_is_readable_and_names_the_reason() -> None:
    # not pytest's own folder, which nobody else may enter
    with tempfile.TemporaryDirectory(prefix="keel-ro-") as name:
        folder = Path(name)
        with Store.open(f"sqlite:///{folder}/keel.db") as store:
            store.predictions("m", FEATURES).append(batch(range(1)))
            # while another process has it open: a WAL file can be read only next to its index
            folder.chmod(0o755)
            code = """
import sys, os, datetime
sys.path[:0] = sys.argv[2].split(os.pathsep)
from keel.store import Store
from keel.errors import StoreUnavailable
now = datetime.datetime.now(datetime.UTC)
Store.open(sys.argv[1]).close()  # what Python imports on the way may be out of reach later
os.setgid(65534); os.setuid(65534)
with Store.open(sys.argv[1]) as store:
    print(store.predictions("m", {}).times() is not None)
    try:
        store.quarantine("m", now, now + datetime.timedelta(1), "", now)
    except StoreUnavailable as error:
        print(error)
"""
            result = python(code, f"sqlite:///{folder}/keel.db", ENVIRONMENT["PYTHONPATH"])
    assert result.stdout.startswith("True\n"), result.stderr
    assert "make it writable" in result.stdout


def test_many_rows_take_a_statement_each_on_sqlite(
    migrated_sqlite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, statements = sqlite.Connection.run, []

    def counted(self: sqlite.Connection, sql: str, *parameters: object) -> object:
        statements.append(sql)
        return run(self, sql, *parameters)

    row = {"kind": "drift", "window_start": 1, "window_end": 2, "status": "ok", "n": 3}
    rows = [{"report_id": str(number), "model": "m", "version": 1, **row} for number in range(50)]
    path = shutil.copy(migrated_sqlite, tmp_path)
    with Store.open(f"sqlite:///{path}") as store, store.begin() as connection:
        monkeypatch.setattr(sqlite.Connection, "run", counted)
        assert connection.execute(sa.insert(drift_windows), rows).rowcount == 50
    assert 50 <= len([sql for sql in statements if sql not in ("BEGIN IMMEDIATE", "COMMIT")]) <= 52


def test_full_disk_raises_and_loses_no_stored_row(tmp_path: Path) -> None:
    code = """
import resource, signal, sys
from keel.store import Store
from keel.errors import StoreUnavailable
from tests.support.store_fixtures import FEATURES, EVER, batch
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with Store.open(sys.argv[1]) as store:
    log = store.predictions("m", FEATURES)
    log.append(batch(range(10)))
    # no file may grow further: what a process sees of a full disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
    try:
        log.append(batch(range(10, 100_000)))
    except StoreUnavailable as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(log.count(*EVER), log.append(batch(range(10, 20))).stored, log.count(*EVER))
"""
    result = python(code, f"sqlite:///{tmp_path}/keel.db")
    assert "does not answer" in result.stdout, result.stderr
    assert result.stdout.endswith("10 10 20\n"), result.stdout + result.stderr


def test_file_that_is_gone_takes_no_rows_and_another_in_its_place_is_read(tmp_path: Path) -> None:
    path, other = tmp_path / "keel.db", tmp_path / "backup.db"
    with Store.open(f"sqlite:///{other}") as backup:
        backup.predictions("m", FEATURES).append(batch(range(7)))
    with Store.open(f"sqlite:///{path}") as store:
        log = store.predictions("m", FEATURES)
        log.append(batch(range(3)))
        path.rename(tmp_path / "away.db")
        with pytest.raises(StoreUnavailable, match="the file is gone"):
            log.append(batch(range(3, 6)))
        with pytest.raises(StoreUnavailable, match="the file is gone"):
            store.reports.list("m")
        assert not path.exists()
        for file in tmp_path.glob("keel.db-*"):
            file.unlink()
        other.rename(path)
        assert (log.count(*EVER), log.append(batch(range(8))).stored) == (7, 1)
    with Store.open(f"sqlite:///{path}") as again:
        assert again.predictions("m", FEATURES).count(*EVER) == 8


def test_fork_gives_the_child_its_own_connections(store_url: str) -> None:
    code = """
import os, sys
from keel.store import Store
from tests.support.store_fixtures import FEATURES, EVER, batch
with Store.open(sys.argv[1]) as store:
    log = store.predictions("m", FEATURES)
    log.append(batch(range(10)))
    children = []
    for child in range(3):
        pid = os.fork()
        if not pid:
            for i in range(5):
                log.append(batch([f"{child}-{i}"]))
            os._exit(0 if log.count(*EVER) >= 15 else 1)
        children.append(pid)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    print(codes, log.count(*EVER), log.append(batch(range(12))).stored)
"""
    result = python(code, store_url)
    assert result.stdout == "[0, 0, 0] 25 2\n", result.stderr


def test_one_store_serves_many_threads(store: Store) -> None:
    log = store.predictions("m", FEATURES)
    stored: list[int] = []

    def work(number: int) -> None:
        for i in range(5):
            stored.append(log.append(batch(range(i * 10, i * 10 + 15))).stored)
            store.quarantine(f"m{number}", NOON, LATER, "", NOON)
            log.dirty_hours(LATER)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(stored) == log.count(NOON, LATER) == 55


def test_sqlite_file_is_opened_by_one_copy_of_the_library(tmp_path: Path) -> None:
    """A process's locks on the file survive whatever the store does; see `keel.store.database.sqlite`."""
    path = tmp_path / "keel.db"
    with Store.open(f"sqlite:///{path}") as store:
        log = store.predictions("m", FEATURES)
        with store.connect() as held:
            held.execute(sa.text("SELECT 1"))
            with Store.open(f"sqlite:///{path}") as other:
                other.predictions("m", FEATURES).append(batch(range(2)))
            log.append(batch(range(4)))
            inode = path.stat().st_ino
            assert any(f":{inode} " in line for line in Path("/proc/locks").read_text().splitlines())
