"""Read and append ledger rows inside a caller's transaction, together with the change that they record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, text

from keel.deployments.history import Deployment
from keel.ledger import entries as ledger
from keel.store.database.tables import deployments
from keel.store.database.tables import ledger as ledger_table

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from keel.ledger.entries import Entry


def lock_ledger(connection: Connection) -> None:
    """Keep other transactions from appending rows until this one ends; SQLite allows one writer at a time anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("LOCK TABLE ledger IN SHARE ROW EXCLUSIVE MODE"))


def read_deployment(connection: Connection, model: str) -> Deployment:
    """Return the deployment of a model; an empty one if the model has none."""
    row = connection.execute(select(deployments).where(deployments.c.model == model)).mappings().first()
    if row is None:
        return Deployment(model)
    return Deployment(**{name: row[name] for name in ("model", "production", "staging", "previous", "generation")})


def append_entry(
    connection: Connection, model: str, *, actor: str, action: str, body: Mapping[str, Any], now: datetime
) -> Entry:
    """Append a row that does not change the deployment; the caller has called `lock_ledger`."""
    generation = read_deployment(connection, model).generation
    return ledger.append(
        connection,
        model=model,
        at=now,
        actor=actor,
        action=action,
        generation_from=generation,
        generation_to=generation,
        body=body,
    )


def find_entry(connection: Connection, model: str, action: str, identity: Mapping[str, Any]) -> Entry | None:
    """Return the last row of an action whose body contains ``identity``, nested mappings included; None without one."""
    wanted = json.loads(json.dumps(identity))  # as the rows hold it: lists for tuples, text for keys
    query = select(ledger_table).where(ledger_table.c.model == model, ledger_table.c.action == str(action))
    rows = connection.execute(query.order_by(ledger_table.c.seq.desc())).mappings()
    found = (ledger.parse_entry(dict(row)) for row in rows)
    return next((entry for entry in found if _contains(entry.body, wanted)), None)


def _contains(found: object, wanted: object) -> bool:
    if not isinstance(wanted, Mapping):
        return found == wanted
    return isinstance(found, Mapping) and all(
        name in found and _contains(found[name], value) for name, value in wanted.items()
    )
