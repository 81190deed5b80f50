"""Probation: harm is rolled back, a version that passes is confirmed, and people are notified of an extension once."""

from __future__ import annotations

from datetime import timedelta

import pytest

from keel import loop, rollout
from keel.deployments import versions
from keel.errors import StaleGeneration
from keel.monitoring.records import ReconcileRecord
from tests.support.rollout_steps import promote, store_comparison
from tests.support.toy import DAY
from tests.support.versions.cloned import INVERTED, NOW, RIGHT


@pytest.fixture
def good(new_model):
    """Version 2, which is right, is on probation after version 1, which is not."""
    made = new_model(INVERTED, RIGHT)
    made.probation(2, 1)
    return made


def reconciled_with(*findings):
    return ReconcileRecord.from_dict({"model": "toy", "findings": findings})


def watch(model, days, *, run_id="watch-1", findings=()):
    reconciled = reconciled_with(*findings)
    return rollout.watch(model.ws, model.config, end=NOW + days * DAY, run_id=run_id, reconciled=reconciled)


def confirm(model, decision_id, *, run_id="watch-1"):
    return rollout.confirm(model.ws, model.config, decision_id, actor="keel", run_id=run_id)


def test_watch_without_a_probation_stores_nothing(new_model):
    model = new_model(RIGHT)
    found = watch(model, 1)
    assert (found.verdict, found.branch, found.decision_id, found.report_id) == ("none", "no_action", "", None)
    assert (model.decisions, model.ws.store.reports.list(model.name)) == ([], [])


def test_watch_with_findings_and_no_probation_notifies(new_model):
    model = new_model(RIGHT)
    found = watch(model, 1, findings=["The alias moved.", "Another did."])
    assert (found.branch, found.sentence) == ("notify", "The alias moved.")
    assert found.findings == ("The alias moved.", "Another did.")
    assert model.decisions == [found.decision_id]


def test_watch_a_harmful_version_rolls_back_to_the_version_it_was_compared_with(new_model):
    model = new_model(RIGHT, INVERTED)
    model.probation(2, 1)
    model.log(NOW, days=3, by=2)
    found = watch(model, 4)
    assert (found.verdict, found.branch, found.version, found.target) == ("harm", "rollback", 2, 1)
    assert found.watched.current_loss > found.watched.previous_loss
    assert watch(model, 4) == found
    outcome = rollout.rollback(model.ws, model.config, found.decision_id, actor="keel", run_id="watch-1")
    assert (outcome.version, model.statuses[2]) == (1, "quarantined")
    assert watch(model, 4, run_id="watch-2").branch == "no_action"


def test_watch_before_the_end_takes_no_action_and_stores_a_report_only(good):
    good.log(NOW, days=2, by=2)
    found = watch(good, 3)
    assert (found.branch, found.watched.over, found.decision_id) == ("no_action", False, "")
    [report] = good.ws.store.reports.list(good.name, "probation")
    assert (report["report_id"], report["version"]) == (found.report_id, 2)
    assert good.decisions == []
    with pytest.raises(StaleGeneration, match="no decision"):
        confirm(good, found.decision_id)


def test_confirm_ends_a_probation_that_was_passed_once(good):
    good.log(NOW, days=8, by=2)
    found = watch(good, 8)
    assert (found.verdict, found.branch, found.watched.over) == ("survived", "confirm", True)
    outcome = confirm(good, found.decision_id)
    assert (outcome.outcome, outcome.version) == ("confirmed", 2)
    assert good.state.probation is None
    before = good.everything()
    assert confirm(good, found.decision_id) == outcome
    assert good.everything() == before
    assert len(good.rows("confirm")) == 1


def test_confirm_after_another_promotion_ends_no_other_probation(good):
    good.log(NOW, days=8, by=2)
    found = watch(good, 8)
    good.register(RIGHT)
    promote(good, store_comparison(good, "pass", champion=2, challenger=3))
    with pytest.raises(StaleGeneration, match="version 2 is not on probation any more"):
        confirm(good, found.decision_id)
    assert good.state.probation.version == 3


def test_confirm_excludes_a_change_that_comes_between(good, monkeypatch):
    """The deployment changes between reading the state and recording the confirmation."""
    good.log(NOW, days=8, by=2)
    found = watch(good, 8)
    as_it_was = good.state
    good.deploy(staging=good.register(RIGHT))
    with monkeypatch.context() as patched:
        patched.setattr("keel.rollout.probation.history", lambda *_: as_it_was)
        with pytest.raises(StaleGeneration):
            confirm(good, found.decision_id)
    assert good.rows("confirm") == []


def test_confirm_a_decision_that_does_not_end_it_is_refused(good):
    found = watch(good, 1, findings=["The alias moved."])
    assert found.branch == "notify"
    for decision_id in (found.decision_id, "", "watch-0"):
        with pytest.raises(StaleGeneration):
            confirm(good, decision_id)
    assert good.state.probation is not None


def test_watch_without_labels_extends_the_probation_and_notifies_once(good):
    good.log(NOW, days=8, by=2, labels=False)
    extension = good.config.promotion.probation_extension
    first = watch(good, 9)
    assert (first.verdict, first.branch, first.watched.over) == ("inconclusive", "notify", False)
    assert first.watched.extended_until == NOW + 7 * DAY + extension
    assert watch(good, 10, run_id="watch-2").branch == "notify", "people were not notified yet"
    loop.record(good.ws, good.config, first, None, channels=["outbox"])
    assert watch(good, 10, run_id="watch-2").branch == "no_action"
    assert watch(good, 9) == first, "the same run again"


def test_watch_after_the_extension_ends_an_inconclusive_probation(good):
    good.log(NOW, days=8, by=2, labels=False)
    found = watch(good, 7 + good.config.promotion.probation_extension / DAY + 1)
    assert (found.verdict, found.branch) == ("inconclusive", "confirm")
    assert confirm(good, found.decision_id).outcome == "probation_over"
    assert good.state.probation is None


def test_watch_a_version_without_a_previous_one_compares_it_with_its_baseline(new_model):
    model = new_model(RIGHT)
    model.probation(1, None)
    model.log(NOW, days=8, by=1)
    found = watch(model, 8)
    assert (found.verdict, found.branch, found.target) == ("survived", "confirm", None)


def test_watch_counts_labels_only_after_the_label_delay(good):
    good.log(NOW, days=1, by=2)
    delay = good.config.target.label_delay / DAY
    assert watch(good, delay / 2).watched.n == 0
    assert watch(good, 1 + delay).watched.n == 24 * 20


def test_watch_after_a_person_ended_the_probation_takes_no_action(good):
    versions.end_probation(
        good.ws.store, good.ws.registry, good.name, 2, reason="it is fine", actor="ada", now=NOW + timedelta(hours=1)
    )
    assert watch(good, 1).branch == "no_action"


def test_watch_deployment_lets_the_probation_come_first(good):
    good.log(NOW, days=8, by=2)
    found = rollout.watch_deployment(
        good.ws, good.config, end=NOW + 8 * DAY, run_id="watch-1", reconciled=reconciled_with("The alias moved.")
    )
    assert (found.action, found.branch, found.findings) == ("watch", "confirm", ("The alias moved.",))
