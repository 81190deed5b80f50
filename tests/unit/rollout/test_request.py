"""Requests for a promotion: which version, who forces it, and on which evidence."""

from __future__ import annotations

import pytest

from keel import rollout
from keel.deployments.history import Status
from keel.errors import NotApproved, NotPromotable, UnknownExperiment
from tests.support.toy import DAY
from tests.support.versions.cloned import INVERTED, NOW, RIGHT


@pytest.fixture
def model(new_model):
    """Version 1 is in production, versions 2 and 3 are candidates."""
    return new_model(INVERTED, RIGHT, RIGHT)


def request(model, *, version=2, force=False, actor="ada", run_id="promote-1", **more):
    return rollout.request_promotion(
        model.ws,
        model.config,
        version=version,
        reason="it is time",
        force=force,
        end=NOW,
        actor=actor,
        run_id=run_id,
        **more,
    )


def test_request_promotion_names_both_versions_the_holdout_and_who_requested(model):
    found = request(model)
    assert (found.champion, found.challenger, found.requested_by, found.forced_by) == (1, 2, "ada", None)
    delay, holdout = model.config.target.label_delay, model.config.retrain.holdout
    assert (found.holdout.start, found.holdout.end) == (NOW - delay - holdout, NOW - delay)
    assert (found.until, found.mlflow_run_id) == (NOW, model.state.pins[2].run_id)
    assert model.ws.store.decisions.get(found.decision_id)["run_id"] == "promote-1"


def test_request_promotion_of_the_same_run_returns_the_first_request(model):
    first = request(model)
    assert request(model, version=3, actor="bob") == first
    assert request(model, version=3, run_id="promote-2") != first
    assert len(model.decisions) == 2


def test_request_promotion_without_a_version_takes_the_staged_one(model):
    with pytest.raises(NotPromotable, match="no version is staged; name one: versions that can be promoted: 2, 3"):
        request(model, version=None)
    model.deploy(staging=3)
    assert request(model, version=None).challenger == 3


@pytest.mark.parametrize(
    ("status", "way"),
    [
        (Status.REJECTED, "to make it a candidate again: keel versions reinstate"),
        (Status.QUARANTINED, "once the harm is understood: keel versions reinstate"),
        (Status.ARCHIVED, "to roll back to it"),
        (Status.PREVIOUS, "to roll back to it"),
        (Status.PRODUCTION, "in production already"),
        (Status.DELETED, "train another"),
    ],
)
def test_request_promotion_of_a_version_that_may_not_names_the_way_out(model, status, way):
    model.note(2, status, "noted")
    with pytest.raises(NotPromotable, match=rf"version 2 is {status} \(noted\); .*{way}.*can be promoted: 3"):
        request(model)
    assert model.decisions == []


def test_request_promotion_of_an_unknown_version_is_refused(model):
    with pytest.raises(NotPromotable, match="version 9 is not known to Keel"):
        request(model, version=9)


def test_request_promotion_by_force_names_the_person_and_needs_one(model):
    assert request(model, force=True).forced_by == "ada"
    for actor in ("airflow", ""):
        with pytest.raises(NotApproved, match="only a person may force"):
            request(model, force=True, actor=actor, run_id="promote-2")


def test_request_promotion_on_an_unknown_experiment_is_refused(model):
    with pytest.raises(UnknownExperiment, match="experiment-9"):
        request(model, experiment="experiment-9")


def test_request_promotion_widens_an_end_to_the_full_hour(model):
    found = rollout.request_promotion(
        model.ws,
        model.config,
        version=2,
        reason="it is time",
        force=False,
        end=NOW - DAY / 100,
        actor="ada",
        run_id="promote-1",
    )
    assert found.until == NOW
