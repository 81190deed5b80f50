"""What only a server does: hang up, refuse, share its database with others."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg2
import pytest
import sqlalchemy as sa

from keel.errors import StoreUnavailable
from keel.store import Store
from tests.support.store_fixtures import EVER, FEATURES, batch

pytestmark = [pytest.mark.postgres, pytest.mark.integration]


@pytest.fixture
def url(new_postgres_schema: Callable[[], str]) -> str:
    return new_postgres_schema()


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with Store.open(url, timeout=5) as opened:
        yield opened


def administer(server: str, statement: str) -> None:
    connection = psycopg2.connect(server)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(statement)
    connection.close()


HANG_UP = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename = 'postgres'"
)


def test_connections_that_the_server_closed_while_idle_are_replaced(store: Store, postgres_server: str) -> None:
    log = store.predictions("m", FEATURES)
    log.append(batch(range(2)))
    administer(postgres_server, HANG_UP)
    assert log.append(batch(range(4))).stored == 2
    assert log.count(*EVER) == 4


def test_a_connection_lost_in_the_middle_says_so_and_the_next_one_works(store: Store, postgres_server: str) -> None:
    log = store.predictions("m", FEATURES)

    def lose_the_connection() -> None:
        with store.begin() as connection:
            administer(postgres_server, HANG_UP)
            connection.execute(sa.text("SELECT 1"))

    with pytest.raises(StoreUnavailable, match="does not answer"):
        lose_the_connection()
    assert log.append(batch(range(2))).stored == 2


def test_a_user_who_may_not_write_is_told_so_without_the_password(url: str, postgres_server: str) -> None:
    Store.open(url).close()
    administer(postgres_server, "DROP ROLE IF EXISTS reader")
    administer(postgres_server, "CREATE ROLE reader LOGIN PASSWORD 'hunter2'")
    with pytest.raises(StoreUnavailable) as caught:
        Store.open(url.replace("postgres:@", "reader:hunter2@"), timeout=5).predictions("m", FEATURES)
    assert "let this user create, read and write tables" in str(caught.value)
    assert "reader:***@" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_database_that_does_not_exist(postgres_server: str) -> None:
    with pytest.raises(StoreUnavailable, match="create the database"):
        Store.open(postgres_server.replace("/postgres?", "/nowhere?"), timeout=5)


def test_a_schema_can_be_shared_with_another_alembic_user(url: str) -> None:
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg2://"))
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE alembic_version (version_num text)"))
        connection.execute(sa.text("INSERT INTO alembic_version VALUES ('theirs')"))
    with Store.open(url) as store:
        store.predictions("m", FEATURES).append(batch(range(1)))
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalars().all() == ["theirs"]
    engine.dispose()


def test_writers_of_the_same_ids_in_opposite_order_do_not_deadlock(store: Store, url: str) -> None:
    import threading

    ids = [f"p{i}" for i in range(3000)]
    results: list[int] = []
    with Store.open(url) as other:

        def write(opened: Store, names: list[str]) -> None:
            results.append(opened.predictions("m", FEATURES).append(batch(names)).stored)

        threads = [
            threading.Thread(target=write, args=(opened, ids[:: 1 if i % 2 else -1]))
            for i, opened in enumerate((store, other) * 4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(results) == [0] * 7 + [3000]
