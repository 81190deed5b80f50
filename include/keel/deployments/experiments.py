"""Start and end experiments, in the ledger and in the ``experiments`` table that the scoring service polls.

The ledger is the source of truth. The table is a copy, written in the same transaction, so that the running experiment
is one cheap query and the database itself refuses a second running experiment of a model.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, select

from keel.deployments.history import PROMOTABLE, history
from keel.deployments.ledger_rows import append_entry, lock_ledger
from keel.errors import ExperimentRefused, UnknownExperiment
from keel.evaluation.experiment.plan import Plan
from keel.ledger import entries as ledger
from keel.store.database.tables import experiments as table
from keel.store.database.times import from_micros, to_micros

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

    from keel.ledger.entries import Entry
    from keel.store import Store

RUNNING, ENDED = "running", "ended"


class Outcome(StrEnum):
    """How an experiment ended."""

    PROMOTE = "promote"
    ROLL_BACK = "roll_back"
    NO_DIFFERENCE = "no_difference"
    MISMATCH = "mismatch"
    """Sample ratio mismatch: the arms are not split as planned, so the measurements are not valid."""
    VOID = "void"
    """Its champion left production, or its challenger may not be promoted any more."""
    STOPPED = "stopped"
    """A person stopped it, without a verdict."""


@dataclass(frozen=True)
class Experiment:
    """An experiment: its plan, and how it ended."""

    plan: Plan
    ended_at: datetime | None = None
    outcome: Mapping[str, Any] | None = None
    """``outcome``, ``sentence`` and ``report_id``, from the ledger row that ended it; None while it runs."""

    @property
    def status(self) -> str:
        """Return ``running`` or ``ended``."""
        return RUNNING if self.outcome is None else ENDED

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        ended_at = self.ended_at and self.ended_at.isoformat()
        return {**self.plan.to_dict(), "status": self.status, "ended_at": ended_at, "outcome": self.outcome}


def start(
    store: Store, plan: Plan, *, actor: str, now: datetime, evidence: Mapping[str, Any], run_id: str | None
) -> Experiment:
    """Start an experiment, with its rows in the ledger and in the table in one transaction. Idempotent by its id.

    Raises
    ------
    ExperimentRefused
        Another experiment of the model runs, also if both start at once. Or the status of one of the two versions has
        changed since the plan was made.

    """
    with store.begin() as connection:
        lock_ledger(connection)
        if known := _find(connection, plan.experiment_id):
            return known
        if other := _running(connection, plan.model):
            raise already_running(other.plan)
        # Another connection sees the same rows: the lock keeps other transactions from appending.
        state = history(store, plan.model)
        reached = state.version_statuses.get(plan.challenger)
        status = None if reached is None else (str(reached.status), reached.reason)
        if why := _void_because(plan, state.deployment.production or plan.champion, status):
            raise ExperimentRefused(f"{plan.model}: since the plan was made, {why}; start another experiment")
        body = {"run_id": run_id, "experiment": plan.to_dict(), "evidence": dict(evidence)}
        append_entry(connection, plan.model, actor=actor, action=ledger.Action.EXPERIMENT_START, body=body, now=now)
        started = Experiment(plan)
        connection.execute(table.insert().values(**table_values(started)))
    return started


def end(
    store: Store,
    model: str,
    experiment_id: str,
    *,
    outcome: Outcome,
    actor: str,
    now: datetime,
    evidence: Mapping[str, Any],
    run_id: str | None,
) -> Experiment:
    """End an experiment, in the ledger and in the table. Idempotent by its outcome and report.

    Parameters
    ----------
    evidence
        ``sentence``, and ``report_id`` if an evaluation led to the end.

    Raises
    ------
    ExperimentRefused
        It has ended with another outcome or report.
    UnknownExperiment
        The model has no experiment of that id.

    """
    with store.begin() as connection:
        lock_ledger(connection)
        found = _find(connection, experiment_id)
        if found is None or found.plan.model != model:
            raise unknown_experiment(experiment_id, model, (each.plan for each in _of(connection, model)))
        recorded = {"experiment_id": experiment_id, "outcome": str(outcome), **evidence}
        if found.outcome is not None:
            if all(found.outcome.get(name) == recorded.get(name) for name in ("outcome", "report_id")):
                return found
            raise ExperimentRefused(
                f"{model}: {experiment_id} has ended already ({found.outcome['outcome']}): {found.outcome['sentence']}"
            )
        _record_end(connection, model, found.plan.to_dict(), recorded, actor=actor, now=now, run_id=run_id)
    return Experiment(found.plan, now, _outcome(recorded))


def end_if_void(connection: Connection, entry: Entry) -> None:
    """End a model's running experiment without a verdict, if the row just appended makes it pointless.

    A running experiment always compares the version in production with one that may be promoted: the caller holds
    `lock_ledger` in the transaction of that row.
    """
    aliases, statuses = entry.body.get("to"), entry.body.get("statuses")
    if not (aliases or statuses):
        return
    query = select(table).where(table.c.model == entry.model, table.c.status == RUNNING)
    row = connection.execute(query).first()
    if row is None:
        return
    status = (statuses or {}).get(str(row.challenger))
    production = aliases["production"] if aliases else row.champion
    if why := _void_because(row, production, status and (status["status"], status["reason"])):
        recorded = {"experiment_id": row.experiment_id, "outcome": str(Outcome.VOID)}
        recorded["sentence"] = f"{row.experiment_id} is void: {why}."
        # Plain JSON: a plan that this release cannot read must not block a change of the deployment.
        plan, run_id = json.loads(row.plan), entry.body.get("run_id")
        _record_end(connection, entry.model, plan, recorded, actor=entry.actor, now=entry.at, run_id=run_id)


def running(store: Store, model: str) -> Plan | None:
    """Return the plan of the model's running experiment; None without one."""
    with store.connect() as connection:
        found = _running(connection, model)
    return found.plan if found else None


def list_all(store: Store, model: str) -> list[Experiment]:
    """Return a model's experiments, newest first."""
    with store.connect() as connection:
        return _of(connection, model)


def get(store: Store, model: str, experiment_id: str) -> Experiment:
    """Return one experiment; `UnknownExperiment` lists those that exist."""
    known = list_all(store, model)
    found = next((each for each in known if each.plan.experiment_id == experiment_id), None)
    if found is None:
        raise unknown_experiment(experiment_id, model, (each.plan for each in known))
    return found


def rebuild(store: Store, model: str | None = None) -> list[str]:
    """Rebuild the table from the ledger, for one model or all, and return the models whose rows were wrong.

    A table that is gone is created. The caller verifies the ledger first (`keel.ledger.entries.verify`).
    """
    with store.begin() as connection:
        lock_ledger(connection)
        table.create(connection, checkfirst=True)
        # Another connection sees the same rows: the lock keeps other transactions from appending.
        right = fold(ledger.entries(store, model))
        stored = set(connection.execute(select(table.c.model).distinct()).scalars())
        wrong = []
        for name in sorted(stored | right.keys()) if model is None else [model]:
            wanted = {each.plan.experiment_id: table_values(each) for each in right.get(name, [])}
            rows = connection.execute(select(table).where(table.c.model == name)).mappings()
            if {row["experiment_id"]: dict(row) for row in rows} == wanted:
                continue
            connection.execute(delete(table).where(table.c.model == name))
            for values in wanted.values():
                connection.execute(table.insert().values(**values))
            wrong.append(name)
    return wrong


def fold(entries: Iterable[Entry]) -> dict[str, list[Experiment]]:
    """Return the experiments of ledger rows by model, newest first."""
    found = dict[str, dict[str, Experiment]]()
    for entry in entries:
        if entry.action == ledger.Action.EXPERIMENT_START:
            plan = Plan.from_dict(entry.body["experiment"])
            found.setdefault(entry.model, {})[plan.experiment_id] = Experiment(plan)
        elif entry.action == ledger.Action.EXPERIMENT_END:
            evidence = entry.body["evidence"]
            plan = found[entry.model][evidence["experiment_id"]].plan
            found[entry.model][plan.experiment_id] = Experiment(plan, entry.at, _outcome(evidence))
    return {model: sorted(each.values(), key=_newest_first) for model, each in found.items()}


def already_running(plan: Plan) -> ExperimentRefused:
    """Return the error for a model that has a running experiment."""
    return ExperimentRefused(
        f"{plan.model}: {plan.experiment_id} runs already (version {plan.challenger} against {plan.champion}), and a "
        f"model has one experiment at a time; to end it without a verdict: keel experiment stop {plan.model} --reason …"
    )


def unknown_experiment(experiment_id: str, model: str, known: Iterable[Plan]) -> UnknownExperiment:
    """Return the error for an id that no experiment of the model has."""
    names = ", ".join(plan.experiment_id for plan in known)
    return UnknownExperiment(f"{model} has no experiment {experiment_id!r}; it has: {names or 'none'}")


def _void_because(plan: Plan | Row[Any], production: int | None, status: tuple[str, str] | None) -> str:
    """Return why an experiment cannot reach a verdict; empty if it can. status: the challenger's, with its reason."""
    if production != plan.champion:
        now = "no version" if production is None else f"version {production}"
        return f"{now} is in production, not version {plan.champion}, the champion"
    if status is not None and status[0] not in PROMOTABLE:
        return f"version {plan.challenger}, the challenger, is {status[0]} ({status[1]})"
    return ""


def _record_end(
    connection: Connection,
    model: str,
    plan: Mapping[str, Any],
    evidence: Mapping[str, Any],
    *,
    actor: str,
    now: datetime,
    run_id: str | None,
) -> None:
    body = {"run_id": run_id, "experiment": None, "evidence": {**evidence, "plan": plan}}
    append_entry(connection, model, actor=actor, action=ledger.Action.EXPERIMENT_END, body=body, now=now)
    outcome = json.dumps(_outcome(evidence), sort_keys=True)
    this = table.c.experiment_id == evidence["experiment_id"]
    connection.execute(table.update().where(this).values(status=ENDED, ended_at=to_micros(now), outcome=outcome))


def _outcome(evidence: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of the evidence that the table stores; the ledger has all of it."""
    return {name: evidence.get(name) for name in ("outcome", "sentence", "report_id", "comparison_id")}


def _newest_first(each: Experiment) -> tuple[float, str]:
    return -each.plan.started_at.timestamp(), each.plan.experiment_id


def _of(connection: Connection, model: str) -> list[Experiment]:
    found = connection.execute(select(table).where(table.c.model == model)).all()
    return sorted(map(_read, found), key=_newest_first)


def _find(connection: Connection, experiment_id: str) -> Experiment | None:
    row = connection.execute(select(table).where(table.c.experiment_id == experiment_id)).first()
    return None if row is None else _read(row)


def _running(connection: Connection, model: str) -> Experiment | None:
    query = select(table).where(table.c.model == model, table.c.status == RUNNING)
    row = connection.execute(query).first()
    return None if row is None else _read(row)


def _read(row: Row[Any]) -> Experiment:
    ended_at = None if row.ended_at is None else from_micros(row.ended_at)
    return Experiment(Plan.from_dict(json.loads(row.plan)), ended_at, row.outcome and json.loads(row.outcome))


def table_values(each: Experiment) -> dict[str, Any]:
    """Return an experiment as a row of the table."""
    plan, ended_at = each.plan, each.ended_at
    return {
        "experiment_id": plan.experiment_id,
        "model": plan.model,
        "status": each.status,
        "champion": plan.champion,
        "challenger": plan.challenger,
        "plan": json.dumps(plan.to_dict(), sort_keys=True),
        "started_at": to_micros(plan.started_at),
        "ended_at": ended_at and to_micros(ended_at),
        "outcome": None if each.outcome is None else json.dumps(each.outcome, sort_keys=True),
    }
