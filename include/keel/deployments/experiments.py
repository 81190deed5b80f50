"""Which experiments run and ran: rows of the ledger, and the table that the scoring service polls.

The ledger is the truth. The table `experiments` holds what its rows add up to, written in the same transaction, so that
"what runs now" is one cheap query and the database itself refuses a second one of the same model.
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
    """The arms have other shares than were assigned, so that nothing that was measured can be believed."""
    VOID = "void"
    """Its champion serves no longer, or its challenger may not any more."""
    STOPPED = "stopped"
    """By a person, without a verdict."""


@dataclass(frozen=True)
class Experiment:
    """One experiment: what was fixed beforehand, and how it ended."""

    plan: Plan
    ended_at: datetime | None = None
    outcome: Mapping[str, Any] | None = None
    """As in the evidence of the row that ended it: ``outcome``, ``sentence``, ``report_id``; None while it runs."""

    @property
    def status(self) -> str:
        """Whether it runs."""
        return RUNNING if self.outcome is None else ENDED

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        ended_at = self.ended_at and self.ended_at.isoformat()
        return {**self.plan.to_dict(), "status": self.status, "ended_at": ended_at, "outcome": self.outcome}


def start(
    store: Store, plan: Plan, *, actor: str, now: datetime, evidence: Mapping[str, Any], run_id: str | None
) -> Experiment:
    """Begin an experiment: its row in the ledger and in the table, in one transaction. The same id again adds nothing.

    Raises
    ------
    ExperimentRefused
        Another one of the model runs; of two that start at once, one gets this. Or one of the two versions is not where
        it was when the plan was made.

    """
    with store.begin() as connection:
        lock_ledger(connection)
        if known := _find(connection, plan.experiment_id):
            return known
        if other := _running(connection, plan.model):
            raise already_runs(other.plan)
        # Another connection, which sees the same rows: nobody can add one before this transaction ends.
        state = history(store, plan.model)
        standing = state.version_statuses.get(plan.challenger)
        station = None if standing is None else (str(standing.status), standing.reason)
        if why := _void_because(plan, state.deployment.production or plan.champion, station):
            raise ExperimentRefused(f"{plan.model}: meanwhile, {why}: look again, and start another")
        body = {"run_id": run_id, "experiment": plan.to_dict(), "evidence": dict(evidence)}
        append_entry(connection, plan.model, actor=actor, action=ledger.Action.EXPERIMENT_START, body=body, now=now)
        begun = Experiment(plan)
        connection.execute(table.insert().values(**_values(begun)))
    return begun


def end(
    store: Store, model: str, experiment_id: str, *,
    outcome: Outcome, actor: str, now: datetime, evidence: Mapping[str, Any], run_id: str | None,
) -> Experiment:  # fmt: skip
    """End an experiment. Ending it again with the same outcome and report adds nothing.

    evidence: ``sentence``, and ``report_id`` where a look has led to it.

    Raises
    ------
    ExperimentRefused
        It has ended in another way meanwhile.
    UnknownExperiment
        The model has none of that id.

    """
    with store.begin() as connection:
        lock_ledger(connection)
        found = _find(connection, experiment_id)
        if found is None or found.plan.model != model:
            raise unknown(experiment_id, model, (each.plan for each in _of(connection, model)))
        said = {"experiment_id": experiment_id, "outcome": str(outcome), **evidence}
        if found.outcome is not None:
            if all(found.outcome.get(name) == said.get(name) for name in ("outcome", "report_id")):
                return found
            raise ExperimentRefused(
                f"{model}: {experiment_id} has ended already ({found.outcome['outcome']}): {found.outcome['sentence']}"
            )
        _ended(connection, model, found.plan.to_dict(), said, actor=actor, now=now, run_id=run_id)
    return Experiment(found.plan, now, _outcome(said))


def end_if_void(connection: Connection, entry: Entry) -> None:
    """End a model's running experiment without a verdict, if the row that was just added leaves nothing to compare.

    The caller holds `lock_ledger` in the transaction of that row, so a running experiment always compares the version
    in production with one that may go there.
    """
    places, stations = entry.body.get("to"), entry.body.get("statuses")
    if not (places or stations):
        return
    query = select(table).where(table.c.model == entry.model, table.c.status == RUNNING)
    row = connection.execute(query).first()
    if row is None:
        return
    station = (stations or {}).get(str(row.challenger))
    production = places["production"] if places else row.champion
    if why := _void_because(row, production, station and (station["status"], station["reason"])):
        said = {"experiment_id": row.experiment_id, "outcome": str(Outcome.VOID)}
        said["sentence"] = f"{row.experiment_id} is void: {why}."
        # As it is: a plan that this Keel cannot read keeps nobody from changing the deployment.
        plan, run_id = json.loads(row.plan), entry.body.get("run_id")
        _ended(connection, entry.model, plan, said, actor=entry.actor, now=entry.at, run_id=run_id)


def running(store: Store, model: str) -> Plan | None:
    """Return the model's running experiment, None without one."""
    with store.connect() as connection:
        found = _running(connection, model)
    return found.plan if found else None


def listed(store: Store, model: str) -> list[Experiment]:
    """Return a model's experiments, newest first."""
    with store.connect() as connection:
        return _of(connection, model)


def get(store: Store, model: str, experiment_id: str) -> Experiment:
    """Return one experiment; `UnknownExperiment` lists those that there are."""
    known = listed(store, model)
    found = next((each for each in known if each.plan.experiment_id == experiment_id), None)
    if found is None:
        raise unknown(experiment_id, model, (each.plan for each in known))
    return found


def rebuild(store: Store, model: str | None = None) -> list[str]:
    """Write the table anew from the ledger, for one model or all; return the models whose rows were not right.

    Whether the ledger itself is what was written is for `keel.ledger.entries.verify` to say first.
    """
    with store.begin() as connection:
        lock_ledger(connection)
        # Another connection, which sees the same rows: nobody can add one before this transaction ends.
        right = fold(ledger.entries(store, model))
        there = set(connection.execute(select(table.c.model).distinct()).scalars())
        wrong = []
        for name in sorted(there | right.keys()) if model is None else [model]:
            must_be = right.get(name, [])
            kept = connection.execute(select(table).where(table.c.model == name)).mappings()
            if {row["experiment_id"]: dict(row) for row in kept} == {e.plan.experiment_id: _values(e) for e in must_be}:
                continue
            connection.execute(delete(table).where(table.c.model == name))
            for each in must_be:
                connection.execute(table.insert().values(**_values(each)))
            wrong.append(name)
    return wrong


def fold(entries: Iterable[Entry]) -> dict[str, list[Experiment]]:
    """Return by model what the rows of the ledger say of experiments, the newest first."""
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


def already_runs(plan: Plan) -> ExperimentRefused:
    """Describe that a model has an experiment already."""
    return ExperimentRefused(
        f"{plan.model}: {plan.experiment_id} runs already (version {plan.challenger} against {plan.champion}), and a "
        f"model has one experiment at a time; to end it without a verdict: keel experiment stop {plan.model} --reason …"
    )


def unknown(experiment_id: str, model: str, known: Iterable[Plan]) -> UnknownExperiment:
    """Describe an id that a model has no experiment of."""
    names = ", ".join(plan.experiment_id for plan in known)
    return UnknownExperiment(f"{model} has no experiment {experiment_id!r}; it has: {names or 'none'}")


def _void_because(plan: Plan | Row[Any], production: int | None, station: tuple[str, str] | None) -> str:
    """Say why an experiment can come to no verdict; empty while it can. station: of the challenger, and why."""
    if production != plan.champion:
        now = "no version" if production is None else f"version {production}"
        compared = f"which version {plan.challenger} was compared with"
        return f"{now} is in production, not version {plan.champion}, {compared}"
    if station is not None and station[0] not in PROMOTABLE:
        return f"version {plan.challenger}, the challenger, is {station[0]} ({station[1]})"
    return ""


def _ended(
    connection: Connection, model: str, plan: Mapping[str, Any], said: Mapping[str, Any], *,
    actor: str, now: datetime, run_id: str | None,
) -> None:  # fmt: skip
    body = {"run_id": run_id, "experiment": None, "evidence": {**said, "plan": plan}}
    append_entry(connection, model, actor=actor, action=ledger.Action.EXPERIMENT_END, body=body, now=now)
    outcome = json.dumps(_outcome(said), sort_keys=True)
    mine = table.c.experiment_id == said["experiment_id"]
    connection.execute(table.update().where(mine).values(status=ENDED, ended_at=to_micros(now), outcome=outcome))


def _outcome(evidence: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the table keeps of the evidence; the ledger has all of it."""
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


def _values(each: Experiment) -> dict[str, Any]:
    plan, ended_at = each.plan, each.ended_at
    return {
        "experiment_id": plan.experiment_id, "model": plan.model, "status": each.status, "champion": plan.champion,
        "challenger": plan.challenger, "plan": json.dumps(plan.to_dict(), sort_keys=True),
        "started_at": to_micros(plan.started_at), "ended_at": ended_at and to_micros(ended_at),
        "outcome": None if each.outcome is None else json.dumps(each.outcome, sort_keys=True),
    }  # fmt: skip
