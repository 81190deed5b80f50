"""The append-only, hash-chained record of every transition.

Each row's hash covers its content and the hash of the row before it, so a changed, removed or reordered row
breaks the chain from there on. The database's own triggers refuse updates and deletes; the chain shows where
somebody got around them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, text

from keel.store.tables import ledger as ledger_table
from keel.store.times import from_micros, to_micros

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from keel.store import Store

GENESIS = "0" * 64


@dataclass(frozen=True)
class Entry:
    """One row of the ledger."""

    seq: int
    model: str
    at: datetime
    actor: str
    action: str
    generation_from: int
    generation_to: int
    body: Mapping[str, Any]
    previous_hash: str
    hash: str

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return {**self.__dict__, "at": self.at.isoformat(), "body": dict(self.body)}


@dataclass(frozen=True)
class Verification:
    """Whether the chain holds, and if not, the first row that breaks it."""

    entries: int
    broken_at: int | None
    reason: str


def append(
    connection: Connection, *, model: str, at: datetime, actor: str, action: str,
    generation_from: int, generation_to: int, body: Mapping[str, Any],
) -> None:  # fmt: skip
    """Add one row inside the caller's transaction, so that a change and its record are one."""
    if connection.dialect.name == "postgresql":  # SQLite's writers are alone anyway
        connection.execute(text("LOCK TABLE ledger IN SHARE ROW EXCLUSIVE MODE"))
    head = connection.execute(select(ledger_table.c.hash).order_by(ledger_table.c.seq.desc()).limit(1)).scalar()
    values = {
        # A user name of digits comes as a number out of Airflow's native templates, and back as text from the column.
        "model": model, "at": to_micros(at), "actor": str(actor), "action": action,
        "generation_from": generation_from, "generation_to": generation_to,
        "body": json.dumps(body, sort_keys=True), "previous_hash": head or GENESIS,
    }  # fmt: skip
    connection.execute(ledger_table.insert().values(**values, hash=digest(values)))


def entries(store: Store, model: str | None = None, action: str | None = None) -> Iterator[Entry]:
    """Yield the rows in order, of one model and one action or of all."""
    query = select(ledger_table).order_by(ledger_table.c.seq)
    if model is not None:
        query = query.where(ledger_table.c.model == model)
    if action is not None:
        query = query.where(ledger_table.c.action == action)
    with store.connect() as connection:
        rows = connection.execute(query).mappings().all()
    for row in rows:
        yield Entry(**{**row, "at": from_micros(row["at"]), "body": json.loads(row["body"])})


def verify(store: Store) -> Verification:
    """Recompute every hash from the first row on."""
    with store.connect() as connection:
        rows = connection.execute(select(ledger_table).order_by(ledger_table.c.seq)).mappings().all()
    expected = GENESIS
    for row in rows:
        if row["previous_hash"] != expected:
            return Verification(len(rows), row["seq"], "a row before it was changed, removed or moved")
        if digest(dict(row)) != row["hash"]:
            return Verification(len(rows), row["seq"], "its content does not match its hash")
        expected = row["hash"]
    return Verification(len(rows), None, "the chain holds")


def digest(row: Mapping[str, Any]) -> str:
    """SHA-256 over a row's content and the hash before it."""
    covered = ("model", "at", "actor", "action", "generation_from", "generation_to", "body", "previous_hash")
    return hashlib.sha256(json.dumps([row[name] for name in covered]).encode()).hexdigest()
