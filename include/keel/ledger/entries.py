"""The rows of the ledger: append them, read them, verify the chain.

The hash of a row covers its content and the hash of the row before it, and rows are numbered without a gap. Therefore a
changed, removed, added or moved row breaks the chain from there on. The database's triggers refuse updates and deletes.
The chain shows where these were bypassed (`keel.ledger.verification`). Signed checkpoints show where the chain was
rewritten (`keel.ledger.checkpoints`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, LargeBinary, cast, func, literal, select, text

from keel.errors import LedgerBroken
from keel.ledger import verification
from keel.ledger.verification import COLUMNS, GENESIS, NUMBERS, Row, Verification, digest
from keel.store.database.tables import ledger as ledger_table
from keel.store.database.times import from_micros, to_micros

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from keel.store import Store

__all__ = [
    "GENESIS",
    "Action",
    "Entry",
    "Verification",
    "append",
    "digest",
    "entries",
    "parse_entry",
    "stored_rows",
    "table_rows",
    "verify",
]


class Action(StrEnum):
    """The actions that rows record; the values are stored."""

    REGISTER = "register"
    KEEP_CHAMPION = "keep_champion"
    STAGE = "stage"
    APPROVE = "approve"
    DECLINE = "decline"
    PROMOTE = "promote"
    CONFIRM = "confirm"
    ROLLBACK = "rollback"
    OUT_OF_BAND = "out_of_band"
    EXPERIMENT_START = "experiment_start"
    EXPERIMENT_END = "experiment_end"
    QUARANTINE = "quarantine"
    """Of data: an interval is excluded from training and from later checks."""
    RELEASE_QUARANTINE = "release_quarantine"
    CORRECT_LABELS = "correct_labels"
    """Wrong labels were replaced; the table ``label_corrections`` has both values."""
    RELEASE_VERSION = "release_version"
    """A rejected or quarantined version is reinstated."""
    DELETE_VERSION = "delete_version"
    SILENCE = "silence"
    """Nobody is told of some alerts until a stated time."""
    END_SILENCE = "end_silence"
    ACCEPT_DRIFT = "accept_drift"
    """A column's values in a window become its reference until another version is in production."""
    WITHDRAW_ACCEPTANCE = "withdraw_acceptance"
    """The training rows are a column's reference again."""


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


def append(
    connection: Connection,
    *,
    model: str,
    at: datetime,
    actor: str,
    action: str,
    generation_from: int,
    generation_to: int,
    body: Mapping[str, Any],
) -> Entry:
    """Append one row in the caller's transaction, so that a change and its record are atomic, and return it."""
    if connection.dialect.name == "postgresql":  # SQLite allows one writer at a time anyway
        connection.execute(text("LOCK TABLE ledger IN SHARE ROW EXCLUSIVE MODE"))
    last = select(ledger_table.c.seq, ledger_table.c.hash).order_by(ledger_table.c.seq.desc()).limit(1)
    head = connection.execute(last).first()
    values = {
        # Not a database sequence: PostgreSQL leaves a gap after a rollback, which would look like a removed row.
        "seq": head.seq + 1 if head else 1,
        # A user name of digits is a number in Airflow's native templates, and text in the column.
        "model": model,
        "at": to_micros(at),
        "actor": str(actor),
        "action": str(action),
        "generation_from": generation_from,
        "generation_to": generation_to,
        "body": json.dumps(body, sort_keys=True),
        "previous_hash": head.hash if head else GENESIS,
    }
    values["hash"] = digest(values)
    connection.execute(ledger_table.insert().values(**values))
    return parse_entry(values)


def entries(store: Store, model: str | None = None, action: str | None = None) -> Iterator[Entry]:
    """Yield the rows in order, of one model and one action, or of all.

    Raises
    ------
    LedgerBroken
        A row cannot be read: it was changed after it was written.

    """
    query = select(ledger_table).order_by(ledger_table.c.seq)
    if model is not None:
        query = query.where(ledger_table.c.model == model)
    if action is not None:
        query = query.where(ledger_table.c.action == str(action))
    try:
        with store.connect() as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
    except UnicodeDecodeError as error:
        raise LedgerBroken(f"the ledger cannot be read ({error}); to find the row: keel ledger verify") from None
    for row in rows:
        try:
            entry = parse_entry(row)
        except (ArithmeticError, TypeError, ValueError) as error:
            raise LedgerBroken(f"row {row['seq']} of the ledger cannot be read: {error}") from None
        yield entry


def parse_entry(row: Row) -> Entry:
    """Return a row of the table as an entry."""
    return Entry(**{**row, "at": from_micros(row["at"]), "body": json.loads(row["body"])})


def table_rows(connection: Connection) -> list[Row]:
    """Return every row of the table in order, whatever values it holds.

    SQLite stores any type in any column, and bytes that are not UTF-8. Such a value is returned as a text that matches
    no hash, so that verification finds it.
    """
    query = select(ledger_table).order_by(ledger_table.c.seq)
    if connection.dialect.name == "postgresql":
        return [dict(row) for row in connection.execute(query).mappings()]
    query = query.with_only_columns(*(part for column in ledger_table.c for part in _typed(column)))
    return [
        {name: _plain(name, row[name], row[f"{name}_type"]) for name in COLUMNS}
        for row in connection.execute(query).mappings()
    ]


def stored_rows(store: Store) -> list[Row]:
    """Return `table_rows`, on a new connection."""
    with store.connect() as connection:
        return table_rows(connection)


def verify(store: Store) -> Verification:
    """Verify every row of the store (`keel.ledger.verification.verify`)."""
    return verification.verify(stored_rows(store))


def _typed(column: ColumnElement[Any]) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """Return a column's bytes, and the type that SQLite stored them with in this row."""
    name = str(column.key)
    # Concatenating an empty text turns a missing type into text.
    return cast(column, LargeBinary).label(name), (func.typeof(column) + literal("")).label(f"{name}_type")


def _plain(name: str, value: bytes | None, kind: str) -> int | str:
    content = value or b""
    if kind != ("integer" if name in NUMBERS else "text"):
        return f"{kind} {content!r}"
    return int(content) if name in NUMBERS else content.decode("utf-8", "surrogateescape")
