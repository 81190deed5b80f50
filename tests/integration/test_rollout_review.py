"""Steps of a rollout that run twice, late or at the same time as others."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from keel import deployments, rollout
from keel.deployments import versions
from keel.deployments.history import Status, history
from keel.errors import NotApproved, StaleGeneration
from keel.ledger import entries as ledger
from keel.monitoring.records import ProbationDecision, StoredProbationReport
from keel.monitoring.storage import store_decision
from keel.window import Window, now_utc
from tests.integration.test_rollout import (
    ASKED,
    SECOND,
    TURNED,
    agree,
    ask,
    challenge,
    force_nonsense,
    roll_back,
    turned,
    ws,
)
from tests.support.loop_steps import BY, CONFIG, live
from tests.support.toy import DAY, toy_rows

__all__ = ["turned", "ws"]
ANSWERED = datetime(2026, 11, 23, tzinfo=UTC)


def answer(ws, config, comparison, *, by, approved, at=ANSWERED):
    return rollout.approve(
        ws,
        config,
        comparison.report_id,
        approved=approved,
        approver=by,
        approver_id=by,
        dag_id="toy.promote",
        run_id="run-1",
        responded_at=at,
    )


def actions(ws):
    return [row.action for row in ledger.entries(ws.store, "toy")]


@pytest.mark.parametrize("by", ["grace", None])
def test_late_decline_leaves_the_status_of_a_promoted_version(ws, by):
    """One run still waits for an answer when another has promoted the version, and taken it back."""
    waiting = challenge(ws, ASKED)
    agree(ws, ASKED, waiting, by="grace")
    rollout.promote(ws, ASKED, waiting.report_id, **BY)
    answer(ws, ASKED, waiting, by=by, approved=False)
    assert history(ws.store, "toy").status(2) is Status.PRODUCTION
    roll_back(ws)
    answer(ws, ASKED, waiting, by=by, approved=False, at=ANSWERED + DAY)
    assert history(ws.store, "toy").status(2) is Status.QUARANTINED
    assert actions(ws).count("decline") == 2


def test_every_decline_counts_also_by_the_same_person(ws):
    first = challenge(ws, ASKED)
    answer(ws, ASKED, first, by="grace", approved=False)
    versions.reinstate(ws.store, ws.registry, "toy", 2, reason="a mistake", actor="ada", now=now_utc())
    answer(ws, ASKED, first, by="grace", approved=False)  # a task that runs again takes no release back
    assert history(ws.store, "toy").status(2) is Status.CANDIDATE
    second = rollout.compare(ws, ASKED, ask(ws, ASKED, version=2))
    answer(ws, ASKED, second, by="grace", approved=False)
    assert history(ws.store, "toy").status(2) is Status.REJECTED
    answer(ws, ASKED, second, by="grace", approved=False)  # the same answer, by a task that runs again
    assert actions(ws).count("decline") == 2


def test_approve_recorded_again_adds_no_row(ws):
    comparison = challenge(ws, ASKED)
    agree(ws, ASKED, comparison, by="grace")
    assert agree(ws, ASKED, comparison, by="grace").outcome == "approved"
    assert actions(ws).count("approve") == 1


def test_approval_is_invalid_after_a_repeated_question_without_one(ws):
    comparison = challenge(ws, ASKED)
    agree(ws, ASKED, comparison, by="grace")
    answer(ws, ASKED, comparison, by=None, approved=False, at=ANSWERED + DAY)
    with pytest.raises(NotApproved, match="no person answered in time"):
        rollout.promote(ws, ASKED, comparison.report_id, **BY)
    answer(ws, ASKED, comparison, by="grace", approved=True, at=ANSWERED + 2 * DAY)
    assert rollout.promote(ws, ASKED, comparison.report_id, **BY).outcome == "promoted"


def test_approval_of_another_generation_is_named_in_the_error(ws):
    comparison = challenge(ws, ASKED)
    agree(ws, ASKED, comparison, by="grace")
    rollout.stage(ws, ASKED, comparison.report_id, **BY)
    with pytest.raises(NotApproved, match="grace approved.*the deployment has changed since"):
        rollout.promote(ws, ASKED, comparison.report_id, **BY)


def test_person_who_staged_another_version_may_approve_this_one(ws):
    first = challenge(ws, SECOND)
    rollout.stage(ws, SECOND, first.report_id, actor="ada", run_id="run-1")
    other = challenge(ws, SECOND.with_overrides({"retrain.seed": 1}), run_id="run-2")
    rollout.stage(ws, SECOND, other.report_id, actor="carol", run_id="run-2")
    comparison = rollout.compare(ws, SECOND, ask(ws, SECOND, version=2))
    assert agree(ws, SECOND, comparison, by="carol").outcome == "approved"


def test_confirm_again_adds_no_row(ws):
    rollout.promote(ws, CONFIG, challenge(ws).report_id, **BY)
    live(ws, toy_rows(TURNED, days=8, flip=True, seed=6), days=8, start=TURNED)
    watched = rollout.watch(ws, CONFIG, end=TURNED + 8 * DAY, run_id="watch-1")
    outcome = rollout.confirm(ws, CONFIG, watched.decision_id, actor="keel", run_id="watch-1")
    assert rollout.confirm(ws, CONFIG, watched.decision_id, actor="keel", run_id="watch-1") == outcome
    assert actions(ws).count("confirm") == 1


def test_confirm_ends_no_other_probation(ws, monkeypatch):
    """Another version goes into production between reading and writing."""
    first = challenge(ws)
    other = challenge(ws, CONFIG.with_overrides({"retrain.seed": 1}), run_id="run-2")
    rollout.promote(ws, CONFIG, first.report_id, **BY)
    live(ws, toy_rows(TURNED, days=8, flip=True, seed=6), days=8, start=TURNED)
    watched = rollout.watch(ws, CONFIG, end=TURNED + 8 * DAY, run_id="watch-1")
    asked = ask(ws, version=other.challenger, force=True, end=TURNED + 8 * DAY)
    forced = rollout.compare(ws, CONFIG, asked)
    as_it_was = history(ws.store, "toy")
    rollout.promote(ws, CONFIG, forced.report_id, **BY)
    with monkeypatch.context() as patched:
        patched.setattr("keel.rollout.probation.history", lambda *_: as_it_was)
        with pytest.raises(StaleGeneration):
            rollout.confirm(ws, CONFIG, watched.decision_id, actor="keel", run_id="watch-1")
    with pytest.raises(StaleGeneration, match="not on probation any more"):
        rollout.confirm(ws, CONFIG, watched.decision_id, actor="keel", run_id="watch-1")
    with pytest.raises(StaleGeneration, match="no decision .* to end a probation"):
        rollout.confirm(ws, CONFIG, "watch-0", actor="keel", run_id="watch-1")
    assert history(ws.store, "toy").probation.version == 3


@pytest.mark.slow
def test_rollback_by_a_run_that_rolled_back_another_version_before(ws):
    """Names of runs are people's to give, and a run that is cleared keeps its own."""
    rollout.promote(ws, CONFIG, challenge(ws).report_id, **BY)
    assert roll_back(ws).version == 1
    other = challenge(ws, CONFIG.with_overrides({"retrain.seed": 1}), run_id="run-2")
    bad = rollout.promote(ws, CONFIG, other.report_id, **BY).version
    report = StoredProbationReport(verdict="harm", sentence="harm")
    decided = ProbationDecision(
        decision_id="watch-0",
        model="toy",
        version=bad,
        window=Window(TURNED, TURNED + DAY),
        sentence="harm",
        verdict="harm",
        branch="rollback",
        reason="harm",
        target=1,
        watched=report,
    )
    harm = store_decision(ws, decided, run_id="rollback-1")
    assert rollout.rollback(ws, CONFIG, harm.decision_id, actor="keel", run_id="rollback-1").version == 1
    assert deployments.read(ws.store, "toy").production == 1
    again = rollout.rollback(ws, CONFIG, harm.decision_id, actor="keel", run_id="rollback-1")
    assert (again.version, again.rolled_back_version) == (1, bad)
    assert actions(ws).count("rollback") == 2


@pytest.mark.slow
def test_rollback_after_harm_goes_to_the_version_it_was_compared_with(ws):
    rollout.promote(ws, CONFIG, challenge(ws).report_id, **BY)
    bad = force_nonsense(ws).version
    ws.registry.set_aliases("toy", {"previous": 1})
    rollout.reconcile(ws, CONFIG, actor="keel", run_id="reconcile")
    assert deployments.read(ws.store, "toy").previous == 1
    live(ws, toy_rows(TURNED, days=4, flip=True, seed=5), days=4, start=TURNED)
    watched = rollout.watch(ws, CONFIG, end=TURNED + 5 * DAY, run_id="watch-1")
    assert (watched.branch, watched.version) == ("rollback", bad)
    assert rollout.rollback(ws, CONFIG, watched.decision_id, actor="keel", run_id="watch-1").version == 2


@pytest.mark.slow
def test_rollback_resumes_an_interrupted_probation(ws):
    rollout.promote(ws, CONFIG, challenge(ws).report_id, **BY)
    force_nonsense(ws)
    roll_back(ws)
    probation = history(ws.store, "toy").probation
    assert (probation.version, probation.previous, probation.since) == (2, 1, TURNED)
    assert probation.until == TURNED + CONFIG.promotion.probation


def test_probation_begins_at_the_approval_and_not_at_the_request(ws):
    comparison = challenge(ws, ASKED)
    live(ws, toy_rows(TURNED, days=9, flip=True, seed=6), days=9, start=TURNED)  # they took nine days
    agree(ws, ASKED, comparison, by="grace")
    rollout.promote(ws, ASKED, comparison.report_id, **BY)
    probation = history(ws.store, "toy").probation
    assert probation.since == TURNED + 9 * DAY
    assert probation.until == TURNED + 9 * DAY + CONFIG.promotion.probation


@pytest.mark.slow
def test_champion_that_cannot_be_scored_can_be_replaced_by_force(ws):
    """The way out of a broken production version that has no previous one."""
    comparison = challenge(ws)
    ws.registry.client.delete_model_version("toy", "1")
    found = rollout.compare(ws, CONFIG, ask(ws, version=comparison.challenger, end=TURNED))
    assert (found.verdict, found.next) == ("inconclusive", "keep_champion")
    assert "hampion 1 cannot be scored: toy has no version 1" in found.sentence
    assert rollout.keep_champion(ws, CONFIG, found.report_id, **BY).outcome == "kept_champion"
    forced = rollout.compare(ws, CONFIG, ask(ws, version=2, force=True, end=TURNED, run_id="promote-2"))
    assert rollout.promote(ws, CONFIG, forced.report_id, **BY).version == 2
    assert deployments.read(ws.store, "toy").production == 2


@pytest.mark.slow
def test_old_run_that_is_cleared_keeps_the_current_champion(ws):
    first = challenge(ws)
    rollout.promote(ws, CONFIG, first.report_id, **BY)
    challenge(ws, CONFIG.with_overrides({"retrain.seed": 1}), run_id="run-2")
    rollout.promote(ws, CONFIG, rollout.compare(ws, CONFIG, ask(ws, version=3, force=True, end=TURNED)).report_id, **BY)
    cleared = challenge(ws)
    assert (cleared.champion, cleared.challenger, cleared.next) == (3, 2, "keep_champion")
