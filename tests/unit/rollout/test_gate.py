"""Comparing: on rows neither version has seen, with the request as it was stored."""

from __future__ import annotations

from datetime import datetime

import pyarrow as pa
import pytest

from keel import rollout
from keel.deployments.history import Status
from keel.monitoring.records import DataSlice, TrainedVersion
from tests.support.toy import DAY
from tests.support.versions.cloned import INVERTED, NOW, RIGHT, TRAINED_UNTIL

HOLDOUT = DataSlice(start=TRAINED_UNTIL, end=NOW - DAY, rows=1, sha256="0")


@pytest.fixture(scope="module")
def seen(trained):
    """A model whose world is as version 2 has learned; it may be compared, and nothing may change it."""
    model = trained.model(INVERTED, RIGHT, RIGHT)
    model.log(TRAINED_UNTIL, days=6)
    return model


def trained_version(model, challenger=2, champion=1, **more):
    """What `keel.loop.retrain` returns."""
    return TrainedVersion(
        decision_id=f"decision-{challenger}",
        model=model.name,
        challenger=challenger,
        champion=champion,
        mlflow_run_id=model.state.pins[challenger].run_id,
        until=NOW,
        requested_by="airflow",
        training=HOLDOUT,
        holdout=HOLDOUT,
        metrics={},
        sentence="trained",
        **more,
    )


def compare(model, request):
    return rollout.compare(model.ws, model.config, request)


def requested(model, *, version=2, run_id="promote-1", force=False, end=NOW):
    return rollout.request_promotion(
        model.ws, model.config, version=version, reason="it is time", force=force, end=end, actor="ada", run_id=run_id
    )


def test_compare_a_better_challenger_passes_with_its_evidence(seen):
    found = compare(seen, trained_version(seen))
    assert (found.verdict, found.next, found.champion, found.challenger) == ("pass", "promote", 1, 2)
    assert found.lower_bound > 0
    assert found.n == 6 * 24 * 20
    assert (found.holdout.start, found.holdout.end) == (TRAINED_UNTIL, NOW - DAY)
    stored = seen.ws.store.reports.get(found.report_id)
    assert (stored["kind"], stored["version"], stored["status"]) == ("comparison", 2, "pass")
    assert "next" not in stored["body"] or stored["body"]["next"] is None


def test_compare_again_is_the_same_comparison(seen):
    assert compare(seen, trained_version(seen)) == compare(seen, trained_version(seen))


def test_compare_stores_which_live_decisions_would_flip(seen):
    found = compare(seen, trained_version(seen))
    flips = found.flips
    logged = 6 * 24 * 20
    assert (flips["n"], flips["answered_by_champion"], flips["unusable"]) == (logged, logged, 0)
    rows = pa.concat_tables(seen.ws.predictions(seen.config).read(TRAINED_UNTIL, NOW))
    _, new = seen.ws.registry.load(seen.config, 2).score(rows)
    old = rows["prediction"].to_numpy()
    assert flips["changed"] == (old != new).sum() > logged / 2
    assert (flips["up"], flips["down"]) == ((new > old).sum(), (new < old).sum())
    assert set(found.score_curves) == {"champion", "challenger"}
    assert "flips" not in found.to_ledger()


def test_compare_before_the_last_predictions_does_not_look_at_them(seen):
    until = TRAINED_UNTIL + 3 * DAY
    found = compare(seen, trained_version(seen).model_copy(update={"until": until}))
    assert datetime.fromisoformat(found.flips["end"]) < until
    assert found.flips["n"] == 3 * 24 * 20


def test_compare_excludes_quarantined_data_from_the_flips_but_not_quarantined_labels(new_model):
    model, days = new_model(INVERTED, RIGHT), 3
    model.log(TRAINED_UNTIL, days=days)
    for about, start, n in (("labels", 0, days * 24 * 20), ("data", 1, (days - 1) * 24 * 20)):
        since = TRAINED_UNTIL + start * DAY
        model.ws.store.quarantine(model.name, since, since + DAY, "broken", NOW, about=about)
        flips = compare(model, trained_version(model)).flips
        assert flips["n"] == flips["answered_by_champion"] == n


def test_compare_names_without_secrets_what_kept_it_from_counting_flips_and_still_decides(seen, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("could not connect to postgresql://keel:s3cret@host/keel")

    expected = compare(seen, trained_version(seen))
    monkeypatch.setattr("keel.rollout.comparison_details.recent_predictions", fail)
    found = compare(seen, trained_version(seen))
    assert found.flips == {"fault": "RuntimeError; the task's log says more"}
    assert found.model_copy(update={"flips": None}) == expected.model_copy(update={"flips": None})


def test_compare_whose_page_cannot_be_made_decides_and_logs_its_record(seen, monkeypatch):
    def fail(*_, **__):
        raise KeyError("count")

    logged = []
    monkeypatch.setattr("keel.rollout.gate.page", fail)
    monkeypatch.setattr(seen.ws.registry, "log_report", lambda *given: logged.append(given))

    found = compare(seen, trained_version(seen))

    assert found.verdict == "pass"
    assert [(name, record["verdict"], pages) for _, name, record, pages in logged] == [("comparison", "pass", {})]


@pytest.mark.parametrize(
    ("policy", "verdict", "next_step"),
    [
        ({"approval": "required"}, "pass", "stage"),
        ({"margin": 0.9}, "fail", "keep_champion"),
        ({"min_rows": 100_000}, "inconclusive", "keep_champion"),
    ],
)
def test_compare_follows_the_policy(seen, policy, verdict, next_step):
    found = compare(seen.with_policy(**policy), trained_version(seen))
    assert (found.verdict, found.next) == (verdict, next_step)


def test_compare_without_a_champion_passes_without_rows(seen):
    found = compare(seen, trained_version(seen, champion=None))
    assert (found.verdict, found.n, found.next) == ("pass", 0, "promote")
    reference = seen.ws.registry.reference(seen.name, 2)
    metric = seen.config.performance.metric
    assert found.sentence == (
        "There is no champion to compare version 2 with. On its holdout of "
        f"{reference['holdout']['rows']:,} labelled rows, {metric} is {reference['metrics'][metric]['value']:.4f}."
    )


def test_compare_without_a_champion_by_another_metric_than_measured_says_so(seen):
    config = seen.config.with_overrides({"performance.metric": "accuracy"})
    found = rollout.compare(seen.ws, config, trained_version(seen, champion=None))
    assert found.sentence.endswith("labelled rows, accuracy is not known.")


def test_compare_the_champion_with_itself_fails_without_rows(seen):
    found = compare(seen, trained_version(seen, challenger=1))
    assert (found.verdict, found.n, found.next) == ("fail", 0, "keep_champion")


def test_compare_without_labels_is_inconclusive(seen):
    found = compare(seen, requested(seen, run_id="late", end=NOW + 60 * DAY))
    assert (found.verdict, found.n, found.next) == ("inconclusive", 0, "keep_champion")


def test_compare_reads_a_persons_request_as_it_was_stored(seen):
    request = requested(seen, run_id="forged", force=True)
    forged = request.model_copy(update={"challenger": 3, "requested_by": "airflow", "forced_by": "root"})
    found = compare(seen, forged)
    assert (found.challenger, found.requested_by, found.forced_by) == (2, "ada", "ada")


def test_compare_a_request_that_was_not_stored_forces_nothing_and_rests_on_no_experiment(seen):
    request = requested(seen, run_id="made-up").model_copy(
        update={"decision_id": "request-0", "forced_by": "root", "experiment": "experiment-1"}
    )
    found = compare(seen.with_policy(margin=0.9), request)
    assert (found.verdict, found.forced_by, found.basis, found.next) == ("fail", None, None, "keep_champion")


def test_compare_a_forced_request_is_promoted_whatever_the_verdict(seen):
    found = compare(seen.with_policy(margin=0.9), requested(seen, run_id="forced", force=True))
    assert (found.verdict, found.next) == ("fail", "promote")
    assert "ada forces the promotion: it is time" in found.sentence


@pytest.mark.parametrize("status", [Status.REJECTED, Status.QUARANTINED, Status.ARCHIVED])
def test_compare_a_version_that_may_not_be_promoted_fails_with_its_reason(new_model, status):
    model = new_model(INVERTED, RIGHT)
    model.note(2, status, "it did harm")
    found = compare(model, trained_version(model))
    assert (found.verdict, found.n, found.next) == ("fail", 0, "keep_champion")
    assert f"version 2 is {status}: it did harm" in found.reason


def test_compare_that_runs_again_after_its_promotion_returns_the_same_comparison(new_model):
    model = new_model(INVERTED, RIGHT)
    model.log(TRAINED_UNTIL, days=6)
    first = compare(model, trained_version(model))
    rollout.promote(model.ws, model.config, first.report_id, actor="tests", run_id="run-1")
    assert compare(model, trained_version(model)) == first


def test_compare_with_a_champion_that_cannot_be_scored_is_inconclusive_and_names_the_way_out(new_model):
    model = new_model(production=None)
    model.register(INVERTED, changed_file="keel/reference.json")
    model.register(RIGHT)
    model.deploy(production=1)
    found = compare(model, requested(model))
    assert (found.verdict, found.next) == ("inconclusive", "keep_champion")
    assert "champion 1 cannot be scored" in found.reason
    assert "force" in found.reason
