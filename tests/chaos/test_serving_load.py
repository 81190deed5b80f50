"""Two services on one folder under load, while PostgreSQL ends connections at random and refuses some rows.

``KEEL_FULL_SIZE=1``: 200,000 rows instead of 3,000.
"""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import psycopg2
import pytest

from keel.workspace import Workspace
from tests.support.chaos.kills import FULL_SIZE
from tests.support.chaos.serving_load import (
    Installation,
    postgres,
    require_everything_stored,
    sending,
    until_stored,
)
from tests.support.loop_steps import CONFIG, first_version
from tests.support.serving.echo_server import answers, exchange
from tests.support.serving.process import ROW, ForkedServing, write_models

pytestmark = [pytest.mark.integration, pytest.mark.postgres, pytest.mark.timeout(3600)]

ROWS = 200_000 if FULL_SIZE else 3_000
STEPS = 40 if FULL_SIZE else 4
"""How often rows that the store refuses, and requests that the service refuses, come in between."""
SHIPPING_SECONDS = 900.0 if FULL_SIZE else 120.0
SIZES = "1,1,5,50,100"
ROWS_OF_A_REQUEST = 3
"""Of those that the store refuses."""
TERMINATIONS = 2.0
"""Ended connections a second, on average."""
END_ONE = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend'"
    " AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1"
)
REFUSE = """
    CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'nobody foresaw this'; END $$;
    CREATE OR REPLACE TRIGGER refuse BEFORE INSERT ON predictions_toy FOR EACH ROW WHEN (NEW.id LIKE 'odd-%')
    EXECUTE FUNCTION refuse()
"""
BODY = json.dumps({"dataframe_records": [ROW], "keel": {"ids": ["never-1"]}}).encode()
NEVER = b"POST /models/toy/invocations HTTP/1.1\r\nHost: %b\r\nContent-Type: application/json\r\n%b\r\n%b"
HOST = b"127.0.0.1"
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
REFUSED = (
    (NEVER % (b"example.org", b"Connection: close\r\n" + LENGTH, BODY), 421),
    (NEVER % (HOST, LENGTH + b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n" + BODY), 400),
    (NEVER % (HOST, b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n" + BODY), 501),
    (NEVER % (HOST, LENGTH + b"X: " + b"a" * 70_000 + b"\r\n", BODY), 431),
)
"""Requests that are refused; none of their rows may be stored."""


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with postgres() as (url, without_store):
        home = tmp_path_factory.mktemp("load") / "home"
        with Workspace.open(home=home, store_url=url, environment={}) as ws:
            first_version(ws)
        write_models(home, CONFIG)
        yield Installation(home, url, without_store)


@contextlib.contextmanager
def ending_connections(url: str) -> Iterator[list[float]]:
    """End a random connection again and again; yields the times at which one was ended."""
    ended: list[float] = []
    stopping, chance = threading.Event(), random.Random(7)

    def run() -> None:
        with contextlib.closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            while not stopping.wait(chance.expovariate(TERMINATIONS)):
                cursor.execute(END_ONE)
                if cursor.fetchall():
                    ended.append(time.monotonic())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield ended
    finally:
        stopping.set()
        thread.join()


@contextlib.contextmanager
def refusing_rows(url: str) -> Iterator[Callable[[], None]]:
    """Let the store refuse rows whose id begins with ``odd-``, for a reason that the service does not know.

    Yields a function that ends that.
    """
    execute(url, REFUSE)
    yield lambda: execute(url, "DROP FUNCTION IF EXISTS refuse() CASCADE")


def execute(url: str, statement: str) -> None:
    """Execute a statement; again if this connection is the one that is ended."""
    for _ in range(20):
        with (
            contextlib.suppress(psycopg2.OperationalError, psycopg2.InterfaceError),
            contextlib.closing(psycopg2.connect(url)) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(statement)
            connection.commit()
            return
    raise AssertionError(f"no connection lasts for {statement}")


def send_odd_rows(serving: ForkedServing, number: int) -> dict[str, float]:
    """Send rows that the store refuses for now, and requests that the service refuses; return the answered rows."""
    ids = [f"odd-{number}-{serving.port}-{row}" for row in range(ROWS_OF_A_REQUEST)]
    assert serving.predict(*[ROW] * len(ids), ids=ids).json()["keel"]["ids"] == ids
    for request, status in REFUSED:
        assert [found for found, _ in answers(exchange(("127.0.0.1", serving.port), request, seconds=30))] == [status]
    return dict.fromkeys(ids, ROW["x"])


def test_two_services_on_one_folder_store_what_they_answer(installation: Installation) -> None:
    before = {name for name, _ in installation.predictions() + installation.labels()}
    odd: dict[str, float] = {}
    began = time.monotonic()
    with (
        installation.serving() as one,
        installation.serving() as other,
        refusing_rows(installation.store_url) as accept_rows,
    ):
        with (
            ending_connections(installation.store_url) as ended,
            sending(one, 1, SIZES) as first,
            sending(other, 2, SIZES) as second,
        ):
            for number in range(STEPS):
                for serving in (one, other):
                    odd |= send_odd_rows(serving, number)
                for client in (first, second):
                    client.until_answered(ROWS // (2 * STEPS))
            for client in (first, second):
                client.finish()
            seconds = time.monotonic() - began
        until_only_refused_wait(one, other, len(odd) // ROWS_OF_A_REQUEST)
        assert "nobody foresaw this" in spool_of(one)["refusal"]
        accept_rows()
        for serving in (one, other):
            until_stored(serving, SHIPPING_SECONDS)
        for serving in (one, other):
            assert serving.stop() == 0
    both = SimpleNamespace(
        sent=first.sent | second.sent,
        predicted=first.predicted | second.predicted | odd,
        labelled=first.labelled | second.labelled,
    )
    assert not first.refused + second.refused
    assert len(both.predicted) >= ROWS
    assert len(ended) > 3
    require_everything_stored(installation, both, before, in_flight=0)
    print(
        f"{len(both.predicted):,} rows and {len(both.labelled):,} labels answered and stored, {len(ended)} connections"
    )
    print(f"ended, {len(odd)} rows refused meanwhile; {seconds:.0f} s of load")


def spool_of(serving: ForkedServing) -> dict[str, Any]:
    return serving.client.get("/version").json()["spool"]


def until_only_refused_wait(one: ForkedServing, other: ForkedServing, refused: int) -> None:
    """Wait until the store has all but the refused records, which wait aside."""
    deadline = time.monotonic() + SHIPPING_SECONDS
    while True:
        states = [spool_of(serving) for serving in (one, other)]
        waiting, aside = (sum(state[name] for state in states) for name in ("records", "deferred"))
        if waiting == aside == refused:
            return
        assert time.monotonic() < deadline, states
        time.sleep(0.2)
