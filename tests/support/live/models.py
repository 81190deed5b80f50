"""Models whose predictions arrive row by row, for tests of the live monitors: a real store, a real version."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from keel import deployments
from keel.deployments import transitions
from keel.ledger import entries as ledger
from keel.monitoring.alarms import Verdict
from keel.monitoring.live.catch_up import catch_up
from keel.monitoring.live.starting import forget_references
from keel.monitoring.records import LiveAlarm
from keel.registry.registry import Registry
from keel.store.database.live_tables import live_monitors, live_references
from keel.store.predictions.log import PredictionLog
from keel.workspace import Workspace
from tests.support.toy import DAY, START, toy_config

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from keel.config import ModelConfig
    from keel.monitoring.records import LiveProgress
    from keel.store import Store
    from keel.store.live import StoredMonitors
    from tests.support.versions.cloned import Trained

PROMOTED = START + 12 * DAY
"""When version 1 goes into production, in the data's time."""
MINUTE = timedelta(minutes=1)


@dataclass
class LiveModel:
    """A model with a version in production, and the clock of its traffic: a prediction a minute.

    Versions 1 and 2 of the registry's model ``trained`` exist, and their files are not checked against the ledger.
    """

    ws: Workspace
    config: ModelConfig
    now: datetime = PROMOTED
    ids: Any = field(default_factory=itertools.count)

    @classmethod
    def new(cls, trained: Trained, store: Store, *, promoted: bool = True, **changes: Any) -> LiveModel:
        """Return the model in a store of its own; ``changes`` are sections of its configuration."""
        ws = Workspace(trained.ws.home, store, Registry(trained.ws.registry.tracking_uri))
        made = cls(ws, toy_config(model="trained", **changes))
        if promoted:
            made.promote(1)
        return made

    def configured(self, **changes: Any) -> LiveModel:
        """Return the same model under another configuration."""
        return LiveModel(self.ws, toy_config(model="trained", **changes), self.now, self.ids)

    def promote(self, version: int | None, *, action: str = ledger.Action.PROMOTE) -> None:
        """Put a version into production now, by the data's clock."""
        self._change(action, production=version, previous=deployments.read(self.ws.store, "trained").production)

    def stage(self, version: int) -> None:
        self._change(ledger.Action.STAGE, staging=version)

    def _change(self, action: str, **aliases: int | None) -> None:
        before = deployments.read(self.ws.store, "trained")
        body = {"evidence": {"sentence": "changed"}}
        after = replace(before, **aliases)
        transitions.swap(self.ws.store, before, after, actor="tests", now=self.now, action=action, body=body)

    def arrive(self, n: int, *, version: int = 1, versions: Any = None, seed: int = 0, **columns: Any) -> pa.Table:
        """Store n predictions, one a minute from now on, and return them.

        versions: of each row, in place of one. columns: values in place of the usual; None: without the column.
        """
        rng = np.random.default_rng([seed, next(self.ids)])
        x = rng.normal(0, 1, n)
        score = 1 / (1 + np.exp(-1.5 * x))
        usual = {
            "id": [f"p{next(self.ids)}" for _ in range(n)],
            "time": pa.array([self.now + i * MINUTE for i in range(n)], pa.timestamp("us", "UTC")),
            "version": pa.array([version] * n, pa.int64()) if versions is None else versions,
            "score": score,
            "prediction": (score > 0.5).astype(float),
            "x": x,
            "z": rng.exponential(1, n),
            "colour": pa.array(rng.choice(["red", "green", "blue"], n, p=[0.5, 0.3, 0.2])),
        }
        shown = {name: value for name, value in {**usual, **columns}.items() if value is not None}
        table = pa.table(shown)
        self.ws.predictions(self.config).append(table)
        self.now += n * MINUTE
        return table

    def shifted(self, n: int, by: float, **columns: Any) -> pa.Table:
        """Store predictions whose x has moved."""
        x = np.random.default_rng([1, next(self.ids)]).normal(by, 1, n)
        return self.arrive(n, **{"x": x, **columns})

    def label(self, rows: pa.Table, labels: Any) -> None:
        """Store labels of predictions, observed now."""
        times = pa.array([self.now] * rows.num_rows, pa.timestamp("us", "UTC"))
        table = pa.table({"id": rows["id"], "label": labels, "observed_at": times})
        self.ws.predictions(self.config).add_labels(table)

    def catch_up(self, **options: Any) -> LiveProgress:
        return catch_up(self.ws, self.config, **{"now": self.now, **options})

    def judge(self, *alarms: LiveAlarm, by: str = "decision-1", verdict: Verdict = Verdict.CONFIRMED) -> None:
        """Close alarms as a check does; without any, all open ones."""
        verdicts = {alarm.alarm_id: verdict for alarm in alarms or self.open}
        self.ws.store.live.judge("trained", verdicts, by)

    @property
    def open(self) -> list[LiveAlarm]:
        return [LiveAlarm.from_dict(each) for each in self.ws.store.live.open_alarms("trained")]

    @property
    def subjects(self) -> set[str]:
        """What the open alarms are about."""
        return {alarm.subject for alarm in self.open}

    @property
    def stored(self) -> StoredMonitors:
        found = self.ws.store.live.read("trained")
        assert found is not None
        return found

    def damage(self, state: bytes) -> None:
        """Replace the saved state."""
        with self.ws.store.begin() as connection:
            connection.execute(sa.update(live_monitors).values(state=state))

    def damage_reference(self, body: bytes) -> None:
        """Replace what the monitors compare with, also for a process that has read it before."""
        forget_references()
        with self.ws.store.begin() as connection:
            connection.execute(sa.update(live_references).values(body=body))

    def without_registry(self, folder: Path) -> LiveModel:
        """Return the same model with a registry that has no versions, in a process that has read no reference."""
        forget_references()
        ws = Workspace(folder, self.ws.store, Registry(f"sqlite:///{folder / 'away' / 'mlflow.db'}"))
        return LiveModel(ws, self.config, self.now, self.ids)

    def watch_pages(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """Return a list that will have the limit of each page that is read."""
        limits: list[int] = []
        arrived = PredictionLog.arrived

        def watched(log: PredictionLog, version: int, *, after: int, limit: int) -> pa.Table:
            limits.append(limit)
            return arrived(log, version, after=after, limit=limit)

        monkeypatch.setattr(PredictionLog, "arrived", watched)
        return limits
