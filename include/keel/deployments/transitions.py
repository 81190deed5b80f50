"""Change the ``deployments`` row of a model and append the ledger row that records why, in one transaction.

A change is a compare-and-swap on the row's generation. The ledger is the source of truth. The row repeats its newest
state, so that one SQL statement can compare and swap it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, delete, select, text

from keel.deployments import experiments
from keel.deployments.history import Deployment, Status, changed_statuses, fold
from keel.deployments.ledger_rows import append_entry, find_entry, lock_ledger, read_deployment
from keel.errors import StaleGeneration
from keel.ledger import entries as ledger
from keel.store.database.tables import arrivals
from keel.store.database.tables import deployments as deployments_table
from keel.store.database.tables import ledger as ledger_table
from keel.store.database.times import to_micros
from keel.store.live import close_earlier
from keel.store.records import insert

if TYPE_CHECKING:
    from keel.ledger.entries import Entry
    from keel.store import Store

Statuses = Mapping[int, tuple[Status, str]]
"""The new status of each version, with its reason."""
NONE: Statuses = MappingProxyType({})


def read(store: Store, model: str) -> Deployment:
    """Return the deployment of a model; an empty one if the model has none."""
    with store.connect() as connection:
        return read_deployment(connection, model)


def swap(
    store: Store,
    current: Deployment,
    wanted: Deployment,
    *,
    actor: str,
    action: str,
    body: Mapping[str, Any],
    now: datetime,
    statuses: Statuses = NONE,
) -> Deployment:
    """Replace ``current`` by ``wanted`` unless another process changed it, and record the change, in one transaction.

    Parameters
    ----------
    statuses
        Statuses that do not follow from the new deployment.

    Raises
    ------
    StaleGeneration
        Another process changed the deployment first; nothing was written.

    """
    changed = replace(wanted, generation=current.generation + 1)
    reason = body.get("evidence", {}).get("sentence") or action
    derived = {version: (status, reason) for version, status in changed_statuses(current, changed).items()}
    with store.begin() as connection:
        if not _swapped(connection, current, changed, now):
            raise stale_generation(current)
        entry = ledger.append(
            connection,
            model=current.model,
            at=now,
            actor=actor,
            action=action,
            generation_from=current.generation,
            generation_to=changed.generation,
            body={
                **_with_statuses(body, {**derived, **statuses}),
                "from": current.aliases,
                "to": changed.aliases,
                "arrival": _last_arrival(connection, current.model),
            },
        )
        experiments.end_if_void(connection, entry)
        if changed.production is not None and changed.production != current.production:
            close_earlier(connection, current.model, changed.production, by=f"ledger row {entry.seq}")
    return changed


def append(
    store: Store,
    model: str,
    *,
    actor: str,
    action: str,
    body: Mapping[str, Any],
    now: datetime,
    statuses: Statuses = NONE,
) -> Entry:
    """Append a row that does not change the deployment, such as a registration or an approval, and return it."""
    with store.begin() as connection:
        lock_ledger(connection)
        entry = append_entry(
            connection, model, actor=actor, action=action, body=_with_statuses(body, statuses), now=now
        )
        experiments.end_if_void(connection, entry)
        return entry


def append_once(
    store: Store,
    model: str,
    *,
    actor: str,
    action: str,
    identity: Mapping[str, Any],
    body: Mapping[str, Any],
    now: datetime,
) -> Entry | None:
    """Record an act that changes neither the deployment nor a status, such as keeping the champion, and return its row.

    None, and no new row, where the act is `recorded` already. The check and the new row are one transaction, so of
    several runs that record the same act at once only one adds a row.
    """
    with store.begin() as connection:
        lock_ledger(connection)
        if find_entry(connection, model, action, identity):
            return None
        return append_entry(connection, model, actor=actor, action=action, body=body, now=now)


def recorded(store: Store, model: str, action: str, identity: Mapping[str, Any]) -> Entry | None:
    """Return the last ledger row by which this very act was recorded; None if it was not.

    A step that runs again asks this before it acts. A run's id alone does not tell one act from another: one run may
    roll back two versions, and one question may be answered twice. So each step names its own ``identity``: the part of
    its row's body that no other act of the model has, such as ``{"evidence": {"report_id": …}}``. It is matched against
    the rows themselves, so that rows of every earlier release count too.
    """
    with store.connect() as connection:
        return find_entry(connection, model, action, identity)


def rebuild(store: Store, model: str | None = None) -> list[Deployment]:
    """Rebuild the ``deployments`` row of a model, or of all, from the ledger, and return the rows that were wrong.

    A table that is gone is created. The caller verifies the ledger first (`keel.ledger.entries.verify`).
    """
    with store.begin() as connection:
        deployments_table.create(connection, checkfirst=True)
        if connection.dialect.name == "postgresql":  # the same locking order as a change
            connection.execute(text("LOCK TABLE deployments IN SHARE ROW EXCLUSIVE MODE"))
        lock_ledger(connection)
        stored = set(connection.execute(select(deployments_table.c.model)).scalars())
        known = set(connection.execute(select(ledger_table.c.model).distinct()).scalars())
        wrong = []
        for name in sorted(stored | known) if model is None else [model]:
            # Another connection sees the same rows: the lock keeps other transactions from appending.
            rows = list(ledger.entries(store, name))
            right = fold(name, rows).deployment
            if read_deployment(connection, name) != right:
                at = next((row.at for row in reversed(rows) if "to" in row.body), None)
                _write(connection, right, at)
                wrong.append(right)
    return wrong


def stale_generation(current: Deployment, expected: int | None = None) -> StaleGeneration:
    """Return the error for a deployment that changed after a decision about it was made."""
    if expected is not None:
        what = f"production is version {current.production}, not {expected}"
    else:
        what = f"the deployment is no longer at generation {current.generation}"
    return StaleGeneration(f"{current.model}: {what}; read it and decide again")


def _swapped(connection: Connection, current: Deployment, changed: Deployment, now: datetime) -> bool:
    values = {**changed.aliases, "generation": changed.generation, "updated_at": to_micros(now)}
    if current.generation == 0:
        first = insert(connection, deployments_table).values(model=current.model, **values).on_conflict_do_nothing()
        return connection.execute(first).rowcount == 1
    same = (deployments_table.c.model == current.model) & (deployments_table.c.generation == current.generation)
    return connection.execute(deployments_table.update().where(same).values(**values)).rowcount == 1


def _last_arrival(connection: Connection, model: str) -> int:
    """Return the last number of a row that was stored before the change: what follows belongs to the new deployment."""
    return connection.execute(select(arrivals.c.last).where(arrivals.c.model == model)).scalar() or 0


def _write(connection: Connection, right: Deployment, at: datetime | None) -> None:
    connection.execute(delete(deployments_table).where(deployments_table.c.model == right.model))
    if at is not None:
        values = {**right.aliases, "generation": right.generation, "updated_at": to_micros(at)}
        connection.execute(deployments_table.insert().values(model=right.model, **values))


def _with_statuses(body: Mapping[str, Any], statuses: Statuses) -> dict[str, Any]:
    plain = {str(version): {"status": str(status), "reason": reason} for version, (status, reason) in statuses.items()}
    return {**body, "statuses": plain} if plain else dict(body)
