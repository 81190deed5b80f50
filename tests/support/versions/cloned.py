"""Models whose versions are trained once a session and registered again under new names, for tests of rollout's steps.

Everything is real: the store, MLflow, the artifacts and their checksums in the ledger. A clone shares the files of the
version that was trained, so that a model with two versions costs a tenth of a second.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from keel import deployments
from keel.deployments.history import History, Status, history
from keel.ledger import entries as ledger
from tests.support.toy import DAY, START, toy_config, toy_rows
from tests.support.versions.toy import pin_of, toy_candidate

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.registry.pin import Pin
    from keel.workspace import Workspace

TRAINED_UNTIL = START + 5 * DAY
"""Until when the versions have seen rows, their holdouts included."""
NOW = START + 12 * DAY
"""When the tests begin: a week of rows has come since."""
NAMES = (f"clone_{number}" for number in itertools.count())
RIGHT, INVERTED = "right", "inverted"
"""What a version has learned: the toy world's relation, or its opposite."""


@dataclass(frozen=True)
class Trained:
    """The two versions that all clones share, by what they have learned."""

    ws: Workspace
    sources: Mapping[str, tuple[Any, Pin]]

    @classmethod
    def in_workspace(cls, ws: Workspace) -> Trained:
        """Train and register them; this takes seconds."""
        config, sources = toy_config(model="trained"), {}
        for name, flip in ((RIGHT, False), (INVERTED, True)):
            version = ws.registry.register(config, toy_candidate(flip=flip), run_name=name)
            source = ws.registry.client.get_model_version("trained", str(version.version))
            sources[name] = (source, pin_of(ws.registry, version.version, "trained"))
        return cls(ws, sources)

    def model(self, *learned: str, production: int | None = 1, **config: Any) -> ClonedModel:
        """Return a new model whose versions have learned this, the first of them in production."""
        made = ClonedModel(self, toy_config(model=next(NAMES), **config))
        self.ws.registry.client.create_registered_model(made.name)
        for each in learned:
            made.register(each, sync=False)
        if production is not None:
            made.deploy(production=production)
        else:
            made.sync()
        return made


@dataclass(frozen=True)
class ClonedModel:
    """One model under a name of its own."""

    trained: Trained
    config: ModelConfig

    @property
    def ws(self) -> Workspace:
        return self.trained.ws

    @property
    def name(self) -> str:
        return self.config.model

    @property
    def state(self) -> History:
        return history(self.ws.store, self.name)

    @property
    def statuses(self) -> dict[int, str]:
        return {version: str(reached.status) for version, reached in self.state.version_statuses.items()}

    @property
    def aliases(self) -> dict[str, int]:
        return self.ws.registry.aliases(self.name)

    def rows(self, action: str | None = None) -> list[ledger.Entry]:
        """Return the ledger rows of an action, or all."""
        return list(ledger.entries(self.ws.store, self.name, action))

    def everything(self) -> tuple[Any, ...]:
        """Return what must be as it was when nothing was done."""
        deployment = deployments.read(self.ws.store, self.name)
        return deployment, [row.hash for row in self.rows()], self.aliases, self.decisions

    @property
    def decisions(self) -> list[str]:
        return sorted(decision["decision_id"] for decision in self.ws.store.decisions.list(self.name))

    def sync(self) -> None:
        """Let MLflow's aliases and tags follow the ledger."""
        deployments.sync_aliases(self.ws.store, self.ws.registry, self.name)

    def register(
        self, learned: str, *, actor: str = "trainer", changed_file: str | None = None, sync: bool = True
    ) -> int:
        """Register a version, pinned in the ledger, and return its number.

        changed_file: its path, where a file is not what the ledger says was registered.
        sync: let MLflow follow, which takes as long as all the rest.
        """
        source, pin = self.trained.sources[learned]
        client = self.ws.registry.client
        made = client.create_model_version(self.name, source.source, source.run_id, model_id=source.model_id)
        version = int(made.version)
        files = {**pin.files, **({changed_file: "0" * 64} if changed_file else {})}
        artifacts = {"version": version, "run_id": pin.run_id, "files": files}
        deployments.append(
            self.ws.store,
            self.name,
            actor=actor,
            action=ledger.Action.REGISTER,
            now=NOW,
            body={"artifacts": artifacts, "evidence": {"sentence": "registered"}},
            statuses={version: (Status.CANDIDATE, "registered")},
        )
        if sync:
            self.sync()
        return version

    def deploy(self, *, statuses: Any = None, probation: Any = None, **places: int | None) -> None:
        """Change the deployment, without any of the steps under test."""
        before = self.state.deployment
        body = {"evidence": {"sentence": "deployed"}, **({"probation": probation} if probation else {})}
        deployments.change(
            self.ws.store,
            self.ws.registry,
            before,
            replace(before, **places),
            actor="setup",
            action=ledger.Action.PROMOTE,
            body=body,
            now=NOW,
            statuses=statuses or {},
        )

    def probation(self, version: int, previous: int | None, *, since: datetime = NOW, days: float = 7) -> None:
        """Put a version into production, where it is on probation."""
        until = since + timedelta(days=days)
        self.deploy(
            production=version,
            previous=previous,
            probation={
                "version": version,
                "previous": previous,
                "since": since.isoformat(),
                "until": until.isoformat(),
            },
        )

    def note(self, version: int, status: Status, reason: str = "noted") -> None:
        """Give a version a status."""
        deployments.append(
            self.ws.store,
            self.name,
            actor="setup",
            action=ledger.Action.DECLINE,
            now=NOW,
            body={"evidence": {"sentence": reason}, "approval": {"report_id": None}},
            statuses={version: (status, reason)},
        )
        self.sync()

    def log(
        self,
        start: datetime,
        *,
        days: float,
        by: int | None = 1,
        flip: bool = False,
        labels: bool = True,
        per_hour: int = 20,
        seed: int = 7,
    ) -> None:
        """Log predictions that a version has made, and their labels a label delay later."""
        rows = toy_rows(start, days=days, flip=flip, per_hour=per_hour, seed=seed)
        predictions = self.ws.predictions(self.config)
        answered = rows.drop_columns(["label"])
        if by is not None:
            score, decided = self.ws.registry.load(self.config, by).score(rows)
            version = pa.array([by] * rows.num_rows, pa.int64())
            for name, values in (("version", version), ("score", score), ("prediction", decided)):
                answered = answered.append_column(name, pa.array(values))
        predictions.append(answered)
        if labels:
            times = rows["time"].to_numpy() + np.timedelta64(self.config.target.label_delay)
            observed = pa.array(times, pa.timestamp("us", "UTC"))
            predictions.add_labels(rows.select(["id", "label"]).append_column("observed_at", observed))

    def with_policy(self, **promotion: Any) -> ClonedModel:
        """Return the same model under another promotion policy."""
        changes = {f"promotion.{name}": value for name, value in promotion.items()}
        return replace(self, config=self.config.with_overrides(changes))
