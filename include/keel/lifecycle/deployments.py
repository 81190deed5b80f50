"""Which version is where: one row per model, changed by compare-and-swap, every change with its ledger row.

The row is the truth. MLflow's aliases are its projection, set after the fact and repaired by whoever looks next.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from keel.errors import NoProductionVersion, StaleGeneration
from keel.lifecycle import ledger
from keel.store.tables import deployments as deployments_table
from keel.store.times import to_micros

if TYPE_CHECKING:
    from keel.lifecycle.registry import Registry
    from keel.store import Store


@dataclass(frozen=True)
class Deployment:
    """Where a model's versions stand; generation 0 means nothing was ever deployed."""

    model: str
    production: int | None = None
    staging: int | None = None
    previous: int | None = None
    generation: int = 0

    @property
    def aliases(self) -> dict[str, int | None]:
        """What MLflow's aliases must say."""
        return {"production": self.production, "staging": self.staging, "previous": self.previous}

    def with_production(self, version: int) -> Deployment:
        """Return the next deployment, in which ``version`` serves and the present one can be gone back to."""
        if version == self.production:
            return self
        staging = None if self.staging == version else self.staging
        return replace(self, production=version, staging=staging, previous=self.production)


def read(store: Store, model: str) -> Deployment:
    """Return the deployment of a model, an empty one where there is none."""
    with store.connect() as connection:
        row = connection.execute(select(deployments_table).where(deployments_table.c.model == model)).mappings().first()
    if row is None:
        return Deployment(model)
    return Deployment(**{name: row[name] for name in ("model", "production", "staging", "previous", "generation")})


def production_version(store: Store, model: str) -> int:
    """Return the version in production; `NoProductionVersion` says how to get one."""
    version = read(store, model).production
    if version is None:
        raise NoProductionVersion(f"{model} has no production version; train one: airflow dags trigger {model}.retrain")
    return version


def change(
    store: Store, registry: Registry, current: Deployment, wanted: Deployment, *,
    actor: str, action: str, body: Mapping[str, Any], now: datetime,
) -> Deployment:  # fmt: skip
    """Replace ``current`` by ``wanted`` if nobody else has changed it, record it, and set the aliases.

    Raises
    ------
    StaleGeneration
        Somebody changed the deployment first; nothing was written.

    """
    changed = replace(wanted, generation=current.generation + 1)
    values = {**changed.aliases, "generation": changed.generation, "updated_at": to_micros(now)}
    try:
        with store.begin() as connection:
            if current.generation == 0:
                connection.execute(deployments_table.insert().values(model=current.model, **values))
            else:
                swapped = connection.execute(
                    deployments_table.update()
                    .where(deployments_table.c.model == current.model)
                    .where(deployments_table.c.generation == current.generation)
                    .values(**values)
                )
                if swapped.rowcount != 1:
                    raise stale(current)
            ledger.append(
                connection, model=current.model, at=now, actor=actor, action=action,
                generation_from=current.generation, generation_to=changed.generation,
                body={**body, "from": current.aliases, "to": changed.aliases},
            )  # fmt: skip
    except IntegrityError as error:
        raise stale(current) from error
    project(registry, changed)
    return changed


def note_once(store: Store, model: str, *, actor: str, action: str, body: Mapping[str, Any], now: datetime) -> None:
    """Record what was decided without changing the deployment, such as keeping the champion.

    The same evidence again, by a retry or by another run of the same window, adds nothing.
    """
    if any(e.body.get("evidence") == body.get("evidence") for e in ledger.entries(store, model, action)):
        return
    generation = read(store, model).generation
    with store.begin() as connection:
        ledger.append(
            connection, model=model, at=now, actor=actor, action=action,
            generation_from=generation, generation_to=generation, body=body,
        )  # fmt: skip


def project(registry: Registry, deployment: Deployment) -> list[str]:
    """Make the registry's aliases say what the deployment says; idempotent; returns the aliases that changed."""
    return registry.set_aliases(deployment.model, deployment.aliases)


def stale(current: Deployment, expected: int | None = None) -> StaleGeneration:
    """Describe a deployment that is not what a decision was made about."""
    if expected is not None:
        about = f"production is version {current.production}, not {expected} any more"
    else:
        about = f"the deployment is no longer at generation {current.generation}"
    return StaleGeneration(f"{current.model}: {about}; read it again and decide again")
