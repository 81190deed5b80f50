"""Promoting and staging: only what a stored comparison shows, what people agreed to, and only once."""

from __future__ import annotations

from datetime import timedelta

import pytest

from keel import rollout
from keel.deployments.history import Status
from keel.errors import ArtifactChanged, NotApproved, NotPromotable, RegistryUnavailable, StaleGeneration
from keel.evaluation.holdout.comparison import NotShownBetter
from keel.registry.registry import Registry
from tests.support.rollout_steps import BY, promote, stage, store_comparison
from tests.support.toy import DAY
from tests.support.versions.cloned import INVERTED, NOW, RIGHT


@pytest.fixture
def model(new_model):
    """Version 1 is in production, version 2 a candidate."""
    return new_model(INVERTED, RIGHT)


def test_promote_a_passed_challenger_puts_it_into_production_on_probation(model):
    outcome = promote(model, store_comparison(model, "pass"))
    assert (outcome.outcome, outcome.version, outcome.generation) == ("promoted", 2, 2)
    assert model.aliases == {"production": 2, "previous": 1}
    assert model.statuses == {1: "previous", 2: "production"}
    row = model.rows("promote")[-1]
    assert row.body["from"] == {"production": 1, "staging": None, "previous": None}
    assert row.body["to"] == {"production": 2, "staging": None, "previous": 1}
    assert (row.actor, row.body["run_id"]) == (BY["actor"], BY["run_id"])
    assert row.body["evidence"]["lower_bound"] > 0
    assert row.body["approval"] is None
    probation = model.state.probation
    assert (probation.version, probation.previous) == (2, 1)
    assert (probation.since, probation.until) == (NOW, NOW + model.config.promotion.probation)


def test_promote_again_changes_nothing(model):
    comparison = store_comparison(model, "pass")
    first = promote(model, comparison)
    before = model.everything()
    assert promote(model, comparison) == first
    assert model.everything() == before


def test_promote_leaves_a_third_version_archived_and_staging_as_it_was(model):
    model.register(RIGHT)
    model.deploy(previous=1, production=2, staging=None)
    model.deploy(staging=model.register(RIGHT))
    promote(model, store_comparison(model, "pass", champion=2, challenger=3))
    assert model.aliases == {"production": 3, "previous": 2, "staging": 4}
    assert model.statuses == {1: "archived", 2: "previous", 3: "production", 4: "staging"}


def test_promote_the_first_version_of_a_model_without_a_champion(new_model):
    model = new_model(RIGHT, production=None)
    promote(model, store_comparison(model, "pass", champion=None, challenger=1))
    assert model.aliases == {"production": 1}
    assert model.state.probation.previous is None


@pytest.mark.parametrize("verdict", ["fail", "inconclusive"])
def test_promote_without_a_pass_is_not_shown_unless_a_person_forces_it(model, verdict):
    before = model.everything()
    with pytest.raises(NotShownBetter, match="version 2"):
        promote(model, store_comparison(model, verdict))
    assert model.everything() == before
    forced = store_comparison(model, verdict, report_id="forced", forced_by="ada")
    assert promote(model, forced).forced_by == "ada"


@pytest.mark.parametrize("report_id", [None, "comparison-0", "another"])
def test_promote_believes_no_comparison_that_was_not_stored(model, new_model, report_id):
    """A task may write anything into what it hands on; so may one of another model."""
    other = new_model(INVERTED, RIGHT)
    store_comparison(other, "pass", report_id="another")
    before = model.everything()
    with pytest.raises(NotShownBetter, match="no comparison"):
        promote(model, report_id)
    assert model.everything() == before


def test_promote_when_another_version_is_in_production_is_stale(model):
    comparison = store_comparison(model, "pass")
    model.deploy(production=model.register(RIGHT), previous=1)
    before = model.everything()
    with pytest.raises(StaleGeneration, match="production is version 3, not 1"):
        promote(model, comparison)
    first = store_comparison(model, "pass", champion=None, report_id="first")
    with pytest.raises(StaleGeneration, match=rf"version 3.*{model.name}\.promote.*2"):
        promote(model, first)
    assert model.everything() == before


@pytest.mark.parametrize("status", [Status.REJECTED, Status.QUARANTINED, Status.ARCHIVED, Status.DELETED])
def test_promote_a_version_whose_status_changed_meanwhile_is_not_promotable(model, status):
    comparison = store_comparison(model, "pass")
    model.note(2, status, "customers complain")
    with pytest.raises(NotPromotable, match=rf"version 2 is {status} \(customers complain\)"):
        promote(model, comparison)


def test_promote_a_changed_artifact_is_refused(model):
    model.register(RIGHT, changed_file="keel/grid.npz")
    comparison = store_comparison(model, "pass", challenger=3)
    before = model.everything()
    with pytest.raises(ArtifactChanged, match="version 3"):
        promote(model, comparison)
    assert model.everything() == before


def test_promote_needs_the_features_that_the_version_was_trained_with(model):
    model.log(NOW - DAY, days=1 / 24)
    comparison = store_comparison(model, "pass")
    fewer = model.config.model_copy(update={"features": {"x": "numeric", "colour": "categorical"}})
    with pytest.raises(NotPromotable, match="z"):
        rollout.promote(model.ws, fewer, comparison, **BY)


def test_promote_without_the_approval_that_the_policy_asks_for_changes_nothing(model):
    asking = model.with_policy(approval="required")
    before = model.everything()
    with pytest.raises(NotApproved, match="needs the approval of a person"):
        promote(asking, store_comparison(asking, "pass"))
    assert model.everything() == before


def test_promote_whose_registry_goes_away_after_the_change_is_completed_by_its_retry(model, monkeypatch):
    comparison = store_comparison(model, "pass")

    def away(*_):
        raise RegistryUnavailable("gone")

    with monkeypatch.context() as patched:
        patched.setattr(Registry, "set_aliases", away)
        with pytest.raises(RegistryUnavailable, match="generation 2"):
            promote(model, comparison)
    assert model.state.deployment.production == 2
    assert model.aliases == {"production": 1}
    rows = len(model.rows())
    assert promote(model, comparison).outcome == "promoted"
    assert model.aliases == {"production": 2, "previous": 1}
    assert len(model.rows()) == rows


@pytest.mark.parametrize(
    ("last_request", "since"),
    [
        (timedelta(days=-2), timedelta(0)),  # the comparison's end is later than the last request
        (timedelta(days=3), timedelta(days=3)),  # people took three days to agree
    ],
)
def test_promote_begins_the_probation_at_the_last_request_or_the_comparisons_end(model, last_request, since):
    model.log(NOW + last_request - timedelta(hours=1), days=1 / 24)
    promote(model, store_comparison(model, "pass"))
    assert model.state.probation.since == NOW + since


def test_stage_makes_the_challenger_the_staging_version_once(model):
    comparison = store_comparison(model, "pass")
    outcome = stage(model, comparison)
    assert (outcome.outcome, outcome.version) == ("staged", 2)
    assert model.aliases == {"production": 1, "staging": 2}
    assert model.statuses == {1: "production", 2: "staging"}
    rows = len(model.rows())
    assert stage(model, comparison).outcome == "staged"
    assert len(model.rows()) == rows


def test_stage_another_version_makes_the_one_staged_before_a_candidate_again(model):
    stage(model, store_comparison(model, "pass"))
    model.register(RIGHT)
    stage(model, store_comparison(model, "pass", challenger=3, report_id="other"))
    assert model.aliases == {"production": 1, "staging": 3}
    assert model.statuses == {1: "production", 2: "candidate", 3: "staging"}


def test_stage_a_rejected_or_unshown_version_is_refused(model):
    with pytest.raises(NotShownBetter):
        stage(model, store_comparison(model, "fail"))
    model.note(2, Status.REJECTED)
    with pytest.raises(NotPromotable):
        stage(model, store_comparison(model, "pass", report_id="other"))
