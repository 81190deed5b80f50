"""Versions without files in a real MLflow registry, and changes of their deployment."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keel import deployments
from keel.deployments import transitions
from keel.deployments.history import Status, history
from keel.ledger import entries as ledger
from keel.registry.registry import Registry
from tests.support.store_fixtures import NOON

if TYPE_CHECKING:
    from keel.deployments import Deployment, Reconciled
    from keel.store import Store

NAMES = (f"model_{number}" for number in itertools.count())


def with_production(current: Deployment, version: int) -> Deployment:
    """Return the next deployment, with ``version`` in production and the present one as previous."""
    staging = None if current.staging == version else current.staging
    return replace(current, production=version, staging=staging, previous=current.production)


def open_registry(folder: Path) -> Registry:
    """Open a new MLflow on a SQLite file."""
    return Registry(f"sqlite:///{folder / 'mlflow.db'}")


@dataclass(frozen=True)
class CheapModel:
    """A model in a store and in a registry, with methods to change its deployment."""

    store: Store
    registry: Registry
    name: str

    @classmethod
    def new(cls, store: Store, registry: Registry, versions: int) -> CheapModel:
        """Register a model with a number of versions."""
        name = next(NAMES)
        client = registry.client
        client.create_registered_model(name)
        run = client.create_run(client.create_experiment(name))
        made = cls(store, registry, name)
        for _ in range(versions):
            client.create_model_version(name, run.info.artifact_uri, run.info.run_id)
        registered = dict.fromkeys(range(1, versions + 1), (Status.CANDIDATE, "registered"))
        made.append(ledger.Action.REGISTER, statuses=registered)
        made.sync_aliases()
        return made

    @property
    def now(self) -> Deployment:
        return deployments.read(self.store, self.name)

    @property
    def aliases(self) -> dict[str, int]:
        return self.registry.aliases(self.name)

    @property
    def tags(self) -> dict[int, str | None]:
        return {v.version: v.tags.get("keel.status") for v in self.registry.versions(self.name)}

    @property
    def rows(self) -> list[ledger.Entry]:
        return list(ledger.entries(self.store, self.name))

    @property
    def out_of_band(self) -> list[str]:
        """The sentences of the rows about changes outside Keel."""
        return [row.body["evidence"]["sentence"] for row in self.rows if row.action == ledger.Action.OUT_OF_BAND]

    @property
    def sync_pending(self) -> bool:
        return deployments.sync_pending(self.store, self.name)

    def change(self, *, current: Deployment | None = None, statuses: Any = None, **aliases: int | None) -> Deployment:
        """Change the present deployment, or ``current``, and sync the registry."""
        before = current or self.now
        return deployments.change(
            self.store, self.registry, before, replace(before, **aliases), actor="tests", now=NOON,
            action=ledger.Action.PROMOTE, body={"evidence": {"sentence": "changed"}}, statuses=statuses or {},
        )  # fmt: skip

    def commit(self, **aliases: int | None) -> Deployment:
        """Change the deployment and stop before the registry is synced."""
        before = self.now
        return transitions.swap(
            self.store, before, replace(before, **aliases), actor="tests", now=NOON, action=ledger.Action.PROMOTE,
            body={"evidence": {"sentence": "changed"}},
        )  # fmt: skip

    def append(self, action: str, *, statuses: Any = None, **body: Any) -> ledger.Entry:
        return deployments.append(
            self.store, self.name, actor="tests", action=action, body=body, now=NOON, statuses=statuses or {}
        )

    def sync_aliases(self) -> list[deployments.Finding]:
        return deployments.sync_aliases(self.store, self.registry, self.name)

    def reconcile(self, *, adopt: bool = True) -> Reconciled:
        return deployments.reconcile(self.store, self.registry, self.name, actor="watcher", now=NOON, adopt=adopt)

    def move(self, alias: str, version: int | None) -> None:
        """Move an alias in MLflow, outside Keel."""
        if version is None:
            self.registry.client.delete_registered_model_alias(self.name, alias)
        else:
            self.registry.client.set_registered_model_alias(self.name, alias, str(version))

    def delete(self, version: int) -> None:
        """Delete a version in MLflow, outside Keel; MLflow removes its aliases too."""
        self.registry.client.delete_model_version(self.name, str(version))

    def require_agreement(self) -> None:
        """Assert that ledger, row, aliases and tags agree."""
        state = history(self.store, self.name)
        assert ledger.verify(self.store).broken_at is None
        assert self.now == state.deployment
        existing = set(self.tags)
        assert self.aliases == {a: v for a, v in self.now.aliases.items() if v in existing}
        assert self.tags == {v: str(s.status) for v, s in state.version_statuses.items() if v in existing}
        assert not self.sync_pending
