"""A store of many models with a history, as checks every six hours leave it.

    configure(folder, models=50)                        a model.yaml for each
    fill(store, models=50, days=365, now=now)           the rows of the store, without predictions: those have expired

Every third model is in another state: worse than its holdout, without labels, in an experiment, drifted, on probation.
The reports are those of the detector on 20 columns. A check repeats one of a few bodies.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from keel.config import DriftConfig
from keel.grid.reference import ReferenceGrid
from keel.ledger import entries as ledger
from keel.monitoring.drift import detect
from keel.monitoring.quality import check_quality
from keel.monitoring.records import DecisionRecord, Outcome
from keel.monitoring.storage import report_id
from keel.store.database.alert_tables import alerts
from keel.store.database.live_tables import live_monitors
from keel.store.database.tables import counts, decisions, deployments, experiments, hours, label_sums, reports
from keel.store.database.times import to_micros
from keel.window import DAY, HOUR, Window, floor_hour

if TYPE_CHECKING:
    import sqlalchemy as sa

    from keel.store import Store

KINDS = ("worse", "labels", "experiment", "drift", "probation")
"""The state of every third model, in turn."""
COLUMNS, CATEGORICAL = 20, 6
LOOKBACK, EVERY, DELAY = 7 * DAY, 6 * HOUR, DAY
SHIFTS = (0.0, 0.02, 0.04, 0.6)
"""How far the columns moved, by body of a drift report. The last one has drifted."""
LAST = 12
"""Checks at the end in which a model is in its state."""
COUNTS_BYTES, SUMS_BYTES = 1_200, 640
"""Of an hour with 20 columns and of the sums over its labels, about as long as those of the demo."""
GRID = "4" * 64
MODEL = """model: {name}
owner: team {team}
description: One of many models.
target: {{name: happened, kind: binary, label_delay: 24h}}
features: {{{features}}}
check: {{schedule: "0 */6 * * *", lookback: 7d}}
drift: {{alpha: 0.05, psi_warn: 0.1, psi_alert: 0.25}}
performance: {{metric: brier, max_degradation: 0.01, extra_metrics: [roc_auc, log_loss]}}
"""

Row = dict[str, Any]


def names(models: int) -> list[str]:
    """Return the names of the models."""
    return [f"model_{i:03}" for i in range(models)]


def kind_of(number: int) -> str:
    """Return the state of a model by its number."""
    return KINDS[number // 3 % len(KINDS)] if number % 3 == 0 else "fine"


def configure(folder: Path, models: int) -> None:
    """Write a ``model.yaml`` for each model, in a folder of its own."""
    columns = {f"c{i:02}": "categorical" if i < CATEGORICAL else "numeric" for i in range(COLUMNS)}
    listed = ", ".join(f"{name}: {kind}" for name, kind in columns.items())
    for i, name in enumerate(names(models)):
        file = folder / name / "model.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(MODEL.format(name=name, team=i % 7, features=listed))


def fill(store: Store, *, models: int, days: int, now: datetime, hourly: bool = True) -> None:
    """Write the history of each model up to ``now``.

    hourly: with the counts and the sums over the labels of each hour, which are half of a real store's bytes.
    """
    for number, name in enumerate(names(models)):
        world = _Model(name, kind_of(number), days, now, number)
        _insert(store, reports, world.reports())
        _insert(store, decisions, world.decisions())
        world.deploy(store)
        world.raise_alerts(store)
        if hourly:
            for table, rows in world.hours().items():
                _insert(store, table, rows)


def _insert(store: Store, table: sa.Table, rows: list[Row]) -> None:
    """Load many rows at once."""
    if not rows:
        return
    columns = [column.name for column in table.c if column.name in rows[0]]
    kinds = {int: pa.int64(), bytes: pa.binary(), str: pa.string()}
    fields = [next(kinds[type(row[name])] for row in rows if row[name] is not None) for name in columns]
    arrow = pa.table(
        {name: pa.array([row[name] for row in rows], kind) for name, kind in zip(columns, fields, strict=True)}
    )
    database = store._database  # noqa: SLF001 (a test that fills a store faster than its methods do)
    listed = ", ".join(f'"{name}"' for name in columns)
    with database.arrow() as connection:
        connection.ingest("staged_rows", arrow)
        connection.execute(f'INSERT INTO "{table.name}" ({listed}) SELECT {listed} FROM staged_rows')
        connection.execute("DROP TABLE staged_rows")


@dataclass(frozen=True)
class _Model:
    name: str
    kind: str
    days: int
    now: datetime
    number: int

    @property
    def windows(self) -> list[Window]:
        """The windows of the checks, the newest last."""
        end = floor_hour(self.now)
        end -= timedelta(hours=end.hour % 6)
        ends = [end - i * EVERY for i in range(self.days * 4)]
        return [Window(each - LOOKBACK, each) for each in reversed(ends)]

    def state(self, left: int) -> str:
        """Return the state in which a check found the model, with so many checks after it."""
        return self.kind if left < LAST else "fine"

    def reports(self) -> list[Row]:
        """Return the rows of the reports of every check."""
        rows = []
        windows = self.windows
        for i, window in enumerate(windows):
            state = self.state(len(windows) - 1 - i)
            value = 0.16 + 0.004 * np.sin(i / 9 + self.number) + (0.03 if state == "worse" else 0)
            bodies = {
                "drift": _drift()[3 if state == "drift" else i % 3],
                "quality": _quality(),
                "performance": _performance(value, window, state),
                "labels": _labels(window, state),
                "publication": (
                    "published",
                    json.dumps({"address": "https://mlflow.example.com/run", "page": "x" * 200}),
                ),
            }
            for kind, (status, body) in bodies.items():
                identity = report_id(kind, self.name, 1, window)
                rows.append(self._row(window, report_id=identity, kind=kind, status=status, body=body))
        return rows

    def decisions(self) -> list[Row]:
        """Return the rows of the decisions of every check."""
        rows = []
        windows = self.windows
        for i, window in enumerate(windows):
            attention = self.state(len(windows) - 1 - i) in ("worse", "labels", "drift")
            action = "raise_alert" if attention else "all_clear"
            identity = report_id("decision", self.name, 1, window)
            decision = DecisionRecord(
                decision_id=identity, model=self.name, version=1, window=window, action=action, sentence="As decided."
            )
            row = self._row(window, decision_id=identity, action=action, sentence=decision.sentence, run_id=f"run-{i}")
            row["outcome"] = json.dumps(Outcome.of(action, decision, "Done.").to_dict())
            rows.append({**row, "body": json.dumps(decision.to_dict())})
        return rows

    def _row(self, window: Window, **more: Any) -> Row:
        start, end = to_micros(window.start), to_micros(window.end)
        shared = {"model": self.name, "version": 1, "window_start": start, "window_end": end}
        return {**shared, "created_at": end + 60_000_000, **more}

    def deploy(self, store: Store) -> None:
        """Append a year of ledger rows: version 1 in production, and a retraining a month that kept it."""
        began = self.now - self.days * DAY
        aliases = {"production": 1, "staging": None, "previous": None}
        probation = {"version": 1, "previous": None, "since": began.isoformat(), "until": (began + 7 * DAY).isoformat()}
        if self.kind == "probation":
            probation["until"] = (self.now + 3 * DAY).isoformat()
        evidence = {"sentence": "Promoted version 1.", "padding": "e" * 5_000}
        promoted = {"evidence": evidence, "from": dict.fromkeys(aliases), "to": aliases, "probation": probation}
        rows = [
            ("register", began, 0, {"evidence": {"tags": {"padding": "t" * 1_500}}}),
            ("promote", began, 1, promoted),
        ]
        if self.kind != "probation":
            rows.append(("confirm", began + 8 * DAY, 1, {"probation": None, "evidence": {"sentence": "Confirmed."}}))
        for month in range(1, self.days // 30):
            at = began + month * 30 * DAY
            rows.append(("register", at, 1, {"evidence": {"tags": {"padding": "t" * 1_500}}}))
            rows.append(("keep_champion", at, 1, {"evidence": {"sentence": "Kept.", "padding": "k" * 6_000}}))
        with store.begin() as connection:
            for action, at, generation, body in rows:
                ledger.append(
                    connection, model=self.name, at=at, actor="keel", action=action,
                    generation_from=0 if action == "promote" else generation, generation_to=generation, body=body,
                )  # fmt: skip
            values = {**aliases, "generation": 1, "updated_at": to_micros(began)}
            connection.execute(deployments.insert().values(model=self.name, **values))
            if self.kind == "experiment":
                plan = _plan(self.name, self.now - 5 * DAY)
                connection.execute(
                    experiments.insert().values(
                        experiment_id=plan["experiment_id"],
                        model=self.name,
                        status="running",
                        champion=1,
                        challenger=2,
                        plan=json.dumps(plan),
                        started_at=to_micros(self.now - 5 * DAY),
                    )  # fmt: skip
                )
                body = json.dumps({"plan": plan, "n": 14_200, "experiment_id": plan["experiment_id"]})
                row = self._row(self.windows[-1], report_id=f"experiment-{self.name}", kind="experiment", body=body)
                connection.execute(reports.insert().values(**row, status="running"))

    def raise_alerts(self, store: Store) -> None:
        """Store a year of alerts that are over, those that are open, and the state of the live monitors."""
        begins = self.now - LAST * EVERY
        of_kind = {"worse": "performance", "labels": "labels_missing", "drift": "data_drift"}
        rows = [
            self._alert(f"over-{i}", begins - (i + 9) * DAY, "data_drift", over=True) for i in range(self.days // 2)
        ]
        if self.kind in of_kind:
            rows.append(self._alert("open", begins, of_kind[self.kind], over=False))
        with store.begin() as connection:
            connection.execute(alerts.insert(), rows)
            at = to_micros(self.now - timedelta(seconds=20))
            connection.execute(
                live_monitors.insert().values(
                    model=self.name,
                    revision=1,
                    paused=False,
                    version=1,
                    generation=1,
                    predictions_until=1,
                    labels_until=1,
                    rows=1,
                    state=b"s" * 57_000,
                    updated_at=at,
                    stride=1,
                )  # fmt: skip
            )

    def _alert(self, name: str, at: datetime, kind: str, *, over: bool) -> Row:
        seen = to_micros(at)
        return {
            "alert_id": f"{self.name}-{name}", "fingerprint": f"{self.name}-{name}", "model": self.name, "kind": kind,
            "subject": "c01", "severity": "error" if kind == "performance" else "warning",
            "state": "resolved" if over else "firing", "sentence": "c01 has drifted (PSI 0.54 above chance)",
            "evidence": json.dumps({"padding": "e" * 140}), "rank": 0.1, "first_seen": seen, "last_seen": seen,
            "seen": 2, "clear": 0, "resolved_at": seen + 1 if over else None, "updated_at": seen,
        }  # fmt: skip

    def hours(self) -> Mapping[sa.Table, list[Row]]:
        """Return the rows of the counts of every hour, of its marks, and of the sums over its labels."""
        rng = np.random.default_rng(self.number)
        last = to_micros(floor_hour(self.now))
        stamps = [last - i * 3_600_000_000 for i in range(self.days * 24)]
        noise = rng.bytes(COUNTS_BYTES + len(stamps))
        sums = json.dumps({"format": 1, "n": 52, "moments": {"label": [52, "11/0", "s" * SUMS_BYTES]}})
        key = [{"model": self.name, "version": 1, "hour": hour} for hour in stamps]
        payload = [noise[i : i + COUNTS_BYTES] for i in range(len(stamps))]
        return {
            hours: [{**each, "revision": 1, "counted": 1} for each in key],
            counts: [
                {**each, "grid_id": GRID, "revision": 1, "n": 250, "payload": content}
                for each, content in zip(key, payload, strict=True)
            ],
            label_sums: [{**each, "revision": 1, "summed": 1, "n": 52, "body": sums} for each in key],
        }


@cache
def _reference() -> tuple[ReferenceGrid, tuple[pa.Table, ...]]:
    def table(shift: float, seed: int) -> pa.Table:
        rng, n = np.random.default_rng(seed), 4_000
        shares = np.array([0.5, 0.3, 0.2]) + np.array([-shift, shift, 0]) / 2
        texts = {f"c{i:02}": rng.choice(["red", "green", "blue"], n, p=shares) for i in range(CATEGORICAL)}
        return pa.table(texts | {f"c{i:02}": rng.normal(shift, 1, n) for i in range(CATEGORICAL, COLUMNS)})

    reference = table(0.0, 1)
    kinds = {name: "categorical" if i < CATEGORICAL else "numeric" for i, name in enumerate(reference.column_names)}
    grid = ReferenceGrid.fit(reference, kinds, holdout=reference, loss=np.full(4_000, 0.16))
    return grid, tuple(table(shift, 2 + i) for i, shift in enumerate(SHIFTS))


@cache
def _drift() -> list[tuple[str, str]]:
    grid, tables = _reference()
    found = [detect(grid, grid.count(table), DriftConfig()).to_dict() for table in tables]
    return [(str(each["status"]), json.dumps(each)) for each in found]


@cache
def _quality() -> tuple[str, str]:
    grid, tables = _reference()
    found = check_quality(grid, grid.count(tables[0]), config=DriftConfig()).to_dict()
    return str(found["status"]), json.dumps(found)


def _performance(value: float, window: Window, state: str) -> tuple[str, str]:
    status = {"worse": "degraded", "labels": "no_labels"}.get(state, "ok")
    numbers = {
        metric: {"value": value * factor, "standard_error": 0.004, "n": 2_900}
        for metric, factor in (("brier", 1), ("roc_auc", 4), ("log_loss", 3))
    }
    holdout = {
        metric: {"value": 0.16 * factor, "standard_error": 0.002, "n": 19_000}
        for metric, factor in (("brier", 1), ("roc_auc", 4), ("log_loss", 3))
    }
    missing = state == "labels"
    body = {
        "status": status, "metric": "brier", "n": 0 if missing else 2_900, "unusable": 0, "due": 2_950,
        "label_rate": 0.41 if missing else 0.98, "labels_missing": missing, "current": {} if missing else numbers,
        "reference": holdout, "increase": None if missing else value - 0.16, "standard_error": 0.0045,
        "p_value": None if missing else 1e-9 if state == "worse" else 0.4, "loss_change": value - 0.16,
        "explained": 0.001, "unexplained": value - 0.161, "max_degradation": 0.01, "alpha": 0.05, "long_run": None,
        "alarms": [], "explained_alarms": [], "window": window.earlier(DELAY).to_dict(),
        "quarantined": {"hours": 0, "rows": 0},
    }  # fmt: skip
    return status, json.dumps(body)


def _labels(window: Window, state: str) -> tuple[str, str]:
    body = {
        "status": "ok", "n": 2_900, "due": 2_950, "coverage": 0.41 if state == "labels" else 0.98, "mean": 0.24,
        "deviation": 0.43, "late_share": 0.0, "mean_delay_hours": 24.0, "reference": {"n": 19_000, "mean": 0.25},
        "findings": [], "spans": [], "quarantined": {"hours": 0, "rows": 0}, "window": window.to_dict(),
    }  # fmt: skip
    return "ok", json.dumps(body)


def _plan(model: str, start: datetime) -> Row:
    return {
        "experiment_id": f"experiment-{model}", "model": model, "champion": 1, "challenger": 2, "mode": "ab",
        "stages": [{"share": 0.2, "seconds": None}], "salt": "s", "metric": "brier", "margin": 0.0, "alpha": 0.05,
        "max_n": 50_000, "started_at": start.isoformat(), "least": 604_800.0, "most": 5_270_400.0,
        "promised": {"value": 0.16, "standard_error": 0.002, "n": 19_000}, "label_delay": 86_400.0,
    }  # fmt: skip
