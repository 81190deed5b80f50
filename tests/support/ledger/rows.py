"""Ledgers for tests: a history of two models, and ways to tamper with it as the database's owner."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from keel.ledger import entries as ledger
from keel.ledger.verification import GENESIS, Row, digest
from keel.store.database.tables import deployments as deployments_table
from keel.store.database.tables import ledger as ledger_table

if TYPE_CHECKING:
    from keel.store import Store

START = datetime(2026, 3, 2, 9, 15, tzinfo=UTC)
NOTHING = {"production": None, "staging": None, "previous": None}
TRIGGERS = {
    "sqlite": ("DROP TRIGGER IF EXISTS ledger_no_update", "DROP TRIGGER IF EXISTS ledger_no_delete"),
    "postgresql": ("DROP TRIGGER IF EXISTS ledger_append_only ON ledger",),
}


def add(store: Store, number: int, **row: Any) -> ledger.Entry:
    values = {
        "model": "toy", "at": START + timedelta(hours=number), "actor": "ada", "action": ledger.Action.CONFIRM,
        "generation_from": 0, "generation_to": 0, "body": {"evidence": {"sentence": f"Row {number}."}}, **row,
    }  # fmt: skip
    with store.begin() as connection:
        return ledger.append(connection, **values)


def change(
    store: Store, number: int, before: Mapping[str, Any], after: Mapping[str, Any], generation: int, **row: Any
) -> ledger.Entry:
    """Append a row that changes the deployment from ``generation`` to the next, with the ``deployments`` row."""
    model = row.get("model", "toy")
    body = {"from": dict(before), "to": dict(after), "evidence": {"sentence": f"Row {number}."}}
    with store.begin() as connection:
        connection.execute(sa.delete(deployments_table).where(deployments_table.c.model == model))
        values = {**after, "generation": generation + 1, "updated_at": 0}
        connection.execute(deployments_table.insert().values(model=model, **values))
    return add(
        store, number, action=ledger.Action.PROMOTE, generation_from=generation, generation_to=generation + 1,
        **{"body": body, **row},
    )  # fmt: skip


def history(store: Store) -> list[ledger.Entry]:
    """Write seven rows of two models, one of which is promoted twice."""
    first = {**NOTHING, "production": 1}
    second = {"production": 2, "staging": None, "previous": 1}
    return [
        add(store, 1, action=ledger.Action.REGISTER),
        change(store, 2, NOTHING, first, 0),
        add(store, 3, model="other", action=ledger.Action.QUARANTINE),
        add(store, 4, generation_from=1, generation_to=1, action=ledger.Action.REGISTER),
        change(store, 5, first, second, 1),
        change(store, 6, NOTHING, first, 0, model="other"),
        add(store, 7, generation_from=2, generation_to=2, action=ledger.Action.CONFIRM),
    ]


@contextmanager
def owned(store: Store) -> Iterator[sa.Connection]:
    """Yield a connection after the triggers are dropped."""
    with store.begin() as connection:
        for statement in TRIGGERS[connection.dialect.name]:
            connection.exec_driver_sql(statement)
        yield connection


class UndoneError(Exception):
    pass


@contextmanager
def undone(store: Store) -> Iterator[sa.Connection]:
    """As `owned`, but roll everything back afterwards."""
    try:
        with owned(store) as connection:
            yield connection
            raise UndoneError
    except UndoneError:
        pass


def put(connection: sa.Connection, rows: list[Row]) -> None:
    """Replace the whole table."""
    connection.execute(sa.delete(ledger_table))
    if rows:
        connection.execute(ledger_table.insert(), [dict(row) for row in rows])


def rewritten(rows: list[Row], number: int, **changes: Any) -> list[Row]:
    """Return the chain with a changed row ``number``, and all hashes from there on recomputed."""
    done, previous = [], GENESIS
    for row in rows:
        new = {**row, **(changes if row["seq"] == number else {}), "previous_hash": previous}
        new["hash"] = previous = digest(new)
        done.append(new)
    return done


def sentence_in(row: Row, sentence: str) -> str:
    """Return a row's body with another sentence in its evidence."""
    return json.dumps({**json.loads(row["body"]), "evidence": {"sentence": sentence}}, sort_keys=True)
