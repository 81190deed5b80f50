"""Which experiments run: the ledger's rows, the table that is polled, and what happens when two begin at once."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from keel.deployments import experiments, transitions
from keel.deployments.consistency import find_disagreements
from keel.deployments.experiments import Outcome
from keel.deployments.history import Deployment, Status, history
from keel.errors import ExperimentRefused, StaleGeneration, UnknownExperiment
from keel.evaluation.experiment.plan import Plan, Stage
from keel.ledger import entries as ledger
from keel.store.database.tables import experiments as table
from tests.support.store_fixtures import NOON

PLAN = Plan(
    experiment_id="experiment-1", model="toy", champion=1, challenger=2, mode="ab", stages=(Stage(0.5),), salt="s",
    metric="brier", margin=0.0, alpha=0.05, max_outcomes=10_000, started_at=NOON,
)  # fmt: skip
OTHER = replace(PLAN, experiment_id="experiment-2", salt="t", started_at=NOON + timedelta(days=1))


def begin(store, plan=PLAN):
    return experiments.start(
        store, plan, actor="ada", now=NOON, evidence={"sentence": "It began.", "reason": "why not"}, run_id="run-1"
    )


def finish(store, plan=PLAN, outcome=Outcome.NO_DIFFERENCE, report_id="experiment-look-1"):
    return experiments.end(
        store, "toy", plan.experiment_id, outcome=outcome, actor="keel", now=NOON + timedelta(hours=1), run_id="run-2",
        evidence={"sentence": "It ended.", "report_id": report_id, "n": 7},
    )  # fmt: skip


def rows(store):
    return [(row.action, row.body["evidence"].get("outcome")) for row in ledger.entries(store, "toy")]


def test_a_running_experiment_is_in_the_ledger_and_in_the_table(store):
    assert experiments.running(store, "toy") is None
    begin(store)
    assert experiments.running(store, "toy") == PLAN
    assert history(store, "toy").experiment == PLAN
    [row] = ledger.entries(store, "toy")
    assert (row.action, row.actor, row.body["evidence"]["reason"]) == ("experiment_start", "ada", "why not")
    finish(store)
    assert experiments.running(store, "toy") is None
    assert history(store, "toy").experiment is None
    [ended] = experiments.list_all(store, "toy")
    assert (ended.status, ended.outcome["outcome"], ended.outcome["sentence"]) == (
        "ended",
        "no_difference",
        "It ended.",
    )
    assert ended.ended_at == NOON + timedelta(hours=1)
    assert ledger.verify(store).broken_at is None
    assert find_disagreements(store) == []


def test_starting_or_ending_twice_adds_no_row(store):
    for _ in range(2):
        begin(store)
    for _ in range(2):
        finish(store)
    assert begin(store).outcome["outcome"] == "no_difference"  # a start that is retried late begins nothing anew
    assert rows(store) == [("experiment_start", None), ("experiment_end", "no_difference")]


def test_a_second_experiment_is_refused_while_the_first_runs(store):
    begin(store)
    with pytest.raises(ExperimentRefused, match=r"experiment-1 runs already .*keel experiment stop toy"):
        begin(store, OTHER)
    begin(store, replace(OTHER, experiment_id="experiment-3", model="other"))  # of another model
    finish(store)
    begin(store, OTHER)
    assert [each.plan.experiment_id for each in experiments.list_all(store, "toy")] == ["experiment-2", "experiment-1"]
    assert experiments.running(store, "toy") == OTHER


@pytest.mark.parametrize("change", [{"outcome": Outcome.STOPPED}, {"report_id": "experiment-look-2"}])
def test_an_ended_experiment_cannot_end_with_another_outcome(store, change):
    begin(store)
    finish(store)
    before = rows(store)
    with pytest.raises(ExperimentRefused, match=r"has ended already \(no_difference\): It ended"):
        finish(store, **change)
    assert rows(store) == before


def test_an_unknown_experiment_raises_an_error_that_lists_the_known_ones(store):
    begin(store)
    with pytest.raises(UnknownExperiment, match="it has: experiment-1"):
        finish(store, OTHER)
    with pytest.raises(UnknownExperiment, match="'experiment-9'; it has: experiment-1"):
        experiments.get(store, "toy", "experiment-9")
    with pytest.raises(UnknownExperiment, match="it has: none"):
        experiments.get(store, "other", "experiment-1")


def deploy(store, current, *, statuses=None, **places):
    return transitions.swap(
        store, current, replace(current, **places), actor="bob", action=ledger.Action.PROMOTE, now=NOON,
        body={"evidence": {"sentence": "changed"}, "run_id": "run-3"}, statuses=statuses or {},
    )  # fmt: skip


REJECTED = {2: (Status.REJECTED, "no")}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda store, at: deploy(store, at, production=3, previous=1), "version 3 is in production, not version 1"),
        (lambda store, at: deploy(store, at, production=2, previous=1), "version 2 is in production, not version 1"),
        (lambda store, at: deploy(store, at, production=None), "no version is in production, not version 1"),
        (lambda store, at: deploy(store, at, statuses=REJECTED), r"version 2, the challenger, is rejected \(no\)"),
        (
            lambda store, at: transitions.append(
                store, "toy", actor="bob", action="out_of_band", body={"run_id": "run-3"}, now=NOON,
                statuses={2: (Status.DELETED, "gone")},
            ),
            r"version 2, the challenger, is deleted \(gone\)",
        ),
    ],
    ids=["replaced", "promoted", "taken away", "rejected", "deleted"],
)  # fmt: skip
def test_a_change_that_makes_the_comparison_pointless_voids_the_experiment(store, change, says):
    at = deploy(store, Deployment("toy"), production=1)
    begin(store)
    change(store, at)
    assert experiments.running(store, "toy") is None
    assert history(store, "toy").experiment is None
    [ended] = experiments.list_all(store, "toy")
    assert ended.outcome["outcome"] == "void"
    assert re.search(f"experiment-1 is void: {says}", ended.outcome["sentence"])
    row = list(ledger.entries(store, "toy"))[-1]
    assert (row.action, row.actor, row.at, row.body["run_id"]) == ("experiment_end", "bob", NOON, "run-3")
    assert experiments.rebuild(store) == []
    assert ledger.verify(store).broken_at is None
    assert find_disagreements(store) == []


def test_a_change_that_leaves_both_versions_in_place_does_not_end_the_experiment(store):
    at = deploy(store, Deployment("toy"), production=1)
    begin(store)
    at = deploy(store, at, staging=2)
    at = deploy(store, at, staging=None, statuses={2: (Status.CANDIDATE, "not now"), 3: (Status.REJECTED, "no")})
    deploy(store, Deployment("other"), production=7, statuses=REJECTED)
    transitions.append(store, "toy", actor="bob", action="confirm", body={"probation": None}, now=NOON)
    with pytest.raises(StaleGeneration):
        deploy(store, Deployment("toy"), production=3)
    assert experiments.running(store, "toy") == PLAN


def test_an_unreadable_plan_does_not_block_a_change_of_the_deployment(store):
    at = deploy(store, Deployment("toy"), production=1)
    begin(store)
    with store.begin() as connection:
        connection.execute(sa.update(table).values(plan='{"from": "the future"}'))
    deploy(store, at, production=3)
    with store.connect() as connection:
        assert connection.execute(sa.select(table.c.status)).scalars().all() == ["ended"]


@pytest.mark.parametrize(("production", "statuses"), [(3, None), (1, REJECTED)])
def test_an_experiment_whose_versions_have_changed_is_not_started(store, production, statuses):
    deploy(store, Deployment("toy"), production=production, statuses=statuses)
    with pytest.raises(ExperimentRefused, match="toy: since the plan was made, version .*; start another experiment"):
        begin(store)
    assert experiments.list_all(store, "toy") == []


def test_an_experiment_of_another_model_cannot_be_ended(store):
    begin(store)
    with pytest.raises(UnknownExperiment, match="other has no experiment 'experiment-1'; it has: none"):
        experiments.end(
            store, "other", PLAN.experiment_id, outcome=Outcome.STOPPED, actor="eve", now=NOON, run_id="run-3",
            evidence={"sentence": "Not mine."},
        )  # fmt: skip
    assert experiments.running(store, "toy") == PLAN


def test_of_two_experiments_started_at_once_one_is_refused(store):
    barrier, said = threading.Barrier(2), []

    def contend(plan):
        barrier.wait()
        try:
            begin(store, plan)
            said.append("begun")
        except ExperimentRefused:
            said.append("refused")

    threads = [threading.Thread(target=contend, args=(plan,)) for plan in (PLAN, OTHER)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said) == ["begun", "refused"]
    assert len(rows(store)) == 1
    assert experiments.running(store, "toy") == history(store, "toy").experiment


def test_the_database_refuses_a_second_running_experiment(store):
    begin(store)
    with pytest.raises(sa.exc.IntegrityError), store.engine.begin() as connection:
        connection.execute(table.insert().values(**experiments.table_values(experiments.Experiment(OTHER))))


def test_changed_lost_and_invented_experiments_are_disagreements_until_the_rebuild(store):
    begin(store)
    finish(store)
    begin(store, OTHER)
    ghost = experiments.table_values(experiments.Experiment(replace(PLAN, model="ghost", experiment_id="ghost")))
    changes = [
        (sa.update(table).where(table.c.status == "running").values(challenger=3), "toy", OTHER.experiment_id),
        (sa.update(table).where(table.c.status == "ended").values(outcome="{}"), "toy", PLAN.experiment_id),
        (sa.delete(table).where(table.c.status == "running"), "toy", OTHER.experiment_id),
        (table.insert().values(**ghost), "ghost", "ghost"),
    ]
    for change, model, name in changes:
        assert find_disagreements(store) == []
        with store.begin() as connection:
            connection.execute(change)
        assert find_disagreements(store) == [
            f"{model}: the experiments table differs from the ledger in {name}; "
            f"to rebuild it from the ledger: keel ledger rebuild {model}"
        ]
        assert experiments.rebuild(store, model) == [model]


def test_rebuild_restores_the_table_of_experiments_from_the_ledger(store):
    begin(store)
    finish(store)
    begin(store, OTHER)
    right = experiments.list_all(store, "toy")
    assert experiments.rebuild(store) == []
    with store.begin() as connection:
        connection.execute(sa.delete(table))
    assert experiments.rebuild(store, "toy") == ["toy"]
    assert experiments.list_all(store, "toy") == right
    with store.begin() as connection:
        connection.execute(sa.update(table).where(table.c.status == "running").values(challenger=3))
        connection.execute(
            table.insert().values(
                **experiments.table_values(experiments.Experiment(replace(PLAN, model="x", experiment_id="x")))
            )
        )
    assert experiments.rebuild(store) == ["toy", "x"]
    assert experiments.list_all(store, "x") == []
