"""Experiments from their start to what their verdict leads to, on a real store and registry, with a known truth.

Version 1 has learned a world that has turned round since, version 2 the world as it is. What rows are like decides
which of them is better.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from keel import deployments, loop, rollout
from keel.deployments import experiments
from keel.deployments.history import Status, history
from keel.errors import (
    ArtifactChanged,
    ExperimentRefused,
    NoProductionVersion,
    NotApproved,
    NotPromotable,
    RegistryUnavailable,
    StaleGeneration,
    UnknownExperiment,
)
from keel.evaluation.experiment.plan import Stage
from keel.evaluation.holdout.comparison import NotShownBetter
from keel.ledger import entries as ledger
from keel.monitoring.records import ReconcileRecord, TrainedVersion
from keel.registry.registry import Registry
from keel.workspace import Workspace
from tests.support.experiment_rows import serve
from tests.support.loop_steps import BY, CONFIG, NOW, first_version, live, open_copy, told
from tests.support.toy import DAY, START, toy_rows

TURNED = NOW + 36 * DAY
ASKED = CONFIG.with_overrides({"promotion.approval": "required"})
SECOND = CONFIG.with_overrides({"promotion.approval": "second_person"})
HALF = (Stage(0.5),)
PER_HOUR = 20
LASTS = 9
"""Days of rows: a verdict takes a week at least."""
LATER = LASTS + 1
"""When their labels are there."""
NEVER = datetime(2100, 1, 1, tzinfo=UTC)


def prepare(ws):
    """Let version 1 serve a world that has turned round, and train version 2 on that."""
    live(ws, toy_rows(NOW, days=40, flip=True), days=36)
    window = loop.resolve_window(CONFIG, end=TURNED, now=TURNED)
    decision = loop.request_retrain(ws, CONFIG, window=window, reason="the world has turned", run_id="run-1")
    assert loop.retrain(ws, CONFIG, decision, actor="trainer", run_id="run-1").challenger == 2


@pytest.fixture(scope="module")
def turned(tmp_path_factory, toy_home):
    home = tmp_path_factory.mktemp("turned") / "home"
    with open_copy(toy_home, home) as ws:
        prepare(ws)
    return home


@pytest.fixture
def ws(turned, tmp_path):
    with open_copy(turned, tmp_path / "home") as opened:
        yield opened


def start(ws, config=CONFIG, *, run_id="try-1", **asked):
    given = {"challenger": 2, "stages": HALF, "actor": "ada", "reason": "is it better?", "now": TURNED, **asked}
    decision = rollout.start_experiment(ws, config, run_id=run_id, **given)
    assert decision.action == "start_experiment"
    return experiments.running(ws.store, "toy")


def rows_of(*, better=2, seed=11, days=LASTS):
    """Rows on which the version is better; 0: neither."""
    if better:
        return toy_rows(TURNED, days=days, per_hour=PER_HOUR, seed=seed, flip=better == 2)
    parts = [toy_rows(TURNED, days=days, per_hour=PER_HOUR // 2, seed=seed + flip, flip=bool(flip)) for flip in (0, 1)]
    return pa.concat_tables(parts).sort_by("time")


def watch(ws, days, config=CONFIG, *, run_id="watch-1"):
    return rollout.watch_experiment(ws, config, end=TURNED + days * DAY, run_id=run_id)


def conclude(ws, decision, config=CONFIG, *, run_id="watch-1", actor="keel"):
    return conclude_by_id(ws, decision.decision_id, config, run_id=run_id, actor=actor)


def conclude_by_id(ws, decision_id, config=CONFIG, *, run_id="watch-1", actor="keel"):
    return rollout.conclude_experiment(ws, config, decision_id, actor=actor, run_id=run_id)


def ends(ws):
    return [row.body["evidence"] for row in ledger.entries(ws.store, "toy", "experiment_end")]


def statuses(ws):
    return {v: str(s.status) for v, s in history(ws.store, "toy").version_statuses.items()}


def whole(ws):
    rows = [entry.hash for entry in ledger.entries(ws.store)]
    return deployments.read(ws.store, "toy"), rows, ws.registry.aliases("toy"), experiments.list_all(ws.store, "toy")


def test_better_version_is_promoted_with_its_evidence_in_the_ledger(ws):
    plan = start(ws)
    serve(ws, CONFIG, plan, rows_of())
    early = watch(ws, 5)
    assert (early.branch, early.outcome, early.decision_id) == ("no_action", "running", "")
    watched = watch(ws, LATER)
    assert (watched.branch, watched.outcome) == ("promote", "promote")
    outcome = conclude(ws, watched)
    assert (outcome.outcome, outcome.version, outcome.basis) == ("promoted", 2, "experiment")
    assert deployments.read(ws.store, "toy").production == 2
    assert ws.registry.aliases("toy") == {"production": 2, "previous": 1}
    assert experiments.running(ws.store, "toy") is None
    [end] = ends(ws)
    assert (end["outcome"], end["look"]["verdict"], end["comparison"]["verdict"]) == ("promote", "promote", "pass")
    [row] = [r for r in ledger.entries(ws.store, "toy", "promote") if r.body["to"]["production"] == 2]
    assert row.body["evidence"]["experiment_id"] == plan.experiment_id
    assert row.body["evidence"]["lower_bound"] > 0
    assert row.body["evidence"]["report_id"] == end["comparison_id"]
    assert row.body["probation"]["since"] >= (TURNED + LASTS * DAY).isoformat()
    assert ledger.verify(ws.store).broken_at is None
    message = told(ws, watched, outcome)
    assert {(each.kind, each.change) for each in message.alerts} == {("experiment", "event"), ("promotion", "event")}
    assert any("Promoted version 2" in each.sentence for each in message.alerts)


def test_worse_version_is_rejected_and_the_champion_kept(ws):
    serve(ws, CONFIG, start(ws), rows_of(better=1))
    watched = watch(ws, LATER)
    assert (watched.branch, watched.outcome) == ("end_experiment", "roll_back")
    outcome = conclude(ws, watched)
    assert (outcome.outcome, outcome.version) == ("kept_champion", 1)
    assert statuses(ws) == {1: "production", 2: "rejected"}
    [line] = told(ws, watched, outcome).alerts
    assert (line.kind, line.sentence[:15]) == ("experiment", "Kept champion 1")
    with pytest.raises(NotPromotable, match="rejected"):
        start(ws, run_id="try-2")


def test_experiment_without_a_difference_leaves_the_challenger_a_candidate(ws):
    serve(ws, CONFIG, start(ws, max_outcomes=1_200), rows_of(better=0))
    watched = watch(ws, LATER)
    assert (watched.branch, watched.outcome) == ("end_experiment", "no_difference")
    assert conclude(ws, watched).outcome == "kept_champion"
    assert statuses(ws) == {1: "production", 2: "candidate"}
    assert experiments.list_all(ws.store, "toy")[0].outcome["outcome"] == "no_difference"
    assert start(ws, run_id="try-2") is not None


def test_clearly_harmful_challenger_is_rejected_before_the_minimum_duration(ws):
    serve(ws, CONFIG, start(ws), rows_of(better=1))
    for hours in (24, 48, 49):
        assert watch(ws, hours / 24).branch == "no_action"
    watched = watch(ws, 4.5)
    assert (watched.branch, watched.outcome) == ("end_experiment", "roll_back")
    assert conclude(ws, watched).outcome == "kept_champion"
    standing = history(ws.store, "toy").version_statuses[2]
    assert standing.status == Status.REJECTED
    assert "the limit during the first 7d" in standing.reason
    [report] = ws.store.reports.list("toy", "experiment")
    assert (report["report_id"], report["status"]) == (watched.report_id, "roll_back")
    assert ends(ws)[-1]["look"]["cause"] == "harm"
    assert [point["n"] for point in report["body"].pop("path")] == [1, 481, 501, 1000]  # the looks, not in the ledger
    assert ends(ws)[-1]["look"] == report["body"]


def test_experiment_without_labels_ends_at_its_maximum_duration(ws):
    plan = start(ws)
    assert plan.max_duration == 60 * DAY + CONFIG.target.label_delay
    serve(ws, CONFIG, plan, rows_of(), labels=False)
    assert watch(ws, 59).branch == "no_action"
    watched = watch(ws, 90)  # nobody has looked for a month
    assert (watched.branch, watched.outcome) == ("end_experiment", "no_difference")
    assert f"none of {LASTS * 24 * PER_HOUR:,} answered rows" in watched.sentence
    outcome = conclude(ws, watched)
    assert outcome.outcome == "kept_champion"
    assert "has a usable label" in told(ws, watched, outcome).alerts[0].sentence
    assert statuses(ws) == {1: "production", 2: "candidate"}
    assert history(ws.store, "toy").experiment is None


def test_unplanned_split_ends_the_experiment_without_a_verdict(ws):
    serve(ws, CONFIG, start(ws), rows_of(), challenger_share=0.7)
    watched = watch(ws, LATER)
    assert (watched.branch, watched.outcome) == ("end_experiment", "mismatch")
    assert "not split as planned" in watched.sentence
    outcome = conclude(ws, watched)
    assert (outcome.outcome, outcome.version) == ("experiment_ended", 1)
    assert statuses(ws) == {1: "production", 2: "candidate"}
    [line] = told(ws, watched, outcome).alerts
    assert (line.kind, line.severity) == ("experiment", "warning")
    assert "not split as planned" in line.sentence


def test_shadow_is_compared_on_the_same_rows(ws):
    plan = start(ws, mode="shadow", stages=())
    rows = rows_of()
    serve(ws, CONFIG, plan, rows)
    watched = watch(ws, LATER)
    assert (watched.branch, watched.outcome) == ("promote", "promote")
    assert conclude(ws, watched).outcome == "promoted"


def promote_by_hand(ws, version):
    request = rollout.request_promotion(
        ws, CONFIG, version=version, reason="at once", force=True, end=TURNED, actor="bob", run_id="by-hand"
    )
    return rollout.promote(ws, CONFIG, rollout.compare(ws, CONFIG, request).report_id, actor="bob", run_id="by-hand")


def test_promotion_outside_the_experiment_makes_it_void(ws):
    plan = start(ws)
    promote_by_hand(ws, 2)
    assert experiments.running(ws.store, "toy") is None
    watched = watch(ws, LATER)
    assert (watched.branch, watched.outcome, watched.version) == ("end_experiment", "void", 2)
    assert watch(ws, LATER) == watched, "the same run again"
    assert conclude(ws, watched).outcome == "experiment_ended"
    assert watch(ws, LATER, run_id="watch-2").branch == "no_action", "told once"
    assert len(ends(ws)) == 1
    assert ends(ws)[-1]["sentence"].startswith(
        f"{plan.experiment_id} is void: version 2 is in production, not version 1"
    )
    assert deployments.read(ws.store, "toy").production == 2


@pytest.mark.slow
def test_rollback_of_the_champion_makes_it_void_and_another_can_start(ws):
    """The champion is on probation while it is tried against another."""
    promote_by_hand(ws, 2)
    window = loop.resolve_window(CONFIG, end=TURNED, now=TURNED)
    again = CONFIG.with_overrides({"retrain.seed": 1})
    decision = loop.request_retrain(ws, again, window=window, reason="another", run_id="run-3")
    assert loop.retrain(ws, again, decision, **BY).challenger == 3
    start(ws, challenger=3)
    assert history(ws.store, "toy").probation.version == 2
    back = rollout.request_rollback(
        ws, CONFIG, reason="complaints", version=None, end=TURNED + DAY, actor="ada", run_id="back"
    )
    rollout.rollback(ws, CONFIG, back.decision_id, actor="ada", run_id="back")
    assert start(ws, challenger=3, run_id="try-2").champion == 1
    assert [end["outcome"] for end in ends(ws)] == ["void"]


def test_rejected_challenger_makes_the_experiment_void(ws):
    start(ws)
    deployments.append(
        ws.store,
        "toy",
        actor="ada",
        action="decline",
        body={},
        now=TURNED,
        statuses={2: (Status.REJECTED, "no")},
    )
    watched = watch(ws, 1)
    assert (watched.outcome, "version 2, the challenger, is rejected (no)" in watched.sentence) == ("void", True)


def test_stopped_experiment_ignores_an_earlier_verdict(ws):
    serve(ws, CONFIG, start(ws), rows_of())
    watched = watch(ws, LATER)
    for _ in range(2):  # the same run again
        stopped = rollout.stop_experiment(ws, CONFIG, actor="ada", run_id="stop-1", reason="too dear", now=TURNED + DAY)
        assert stopped.action == "stop_experiment"
    before = whole(ws)
    with pytest.raises(ExperimentRefused, match=r"has ended already \(stopped\).*too dear"):
        conclude(ws, watched)
    with pytest.raises(ExperimentRefused, match="no experiment is running"):
        rollout.stop_experiment(ws, CONFIG, actor="ada", run_id="stop-2", reason="again", now=TURNED + DAY)
    assert whole(ws) == before
    assert statuses(ws) == {1: "production", 2: "candidate"}


def test_stop_of_another_experiment_stops_none(ws):
    plan = start(ws)
    stop = {"actor": "ada", "run_id": "stop-1", "reason": "too dear", "now": TURNED + DAY}
    with pytest.raises(ExperimentRefused, match=f"experiment-before is not running: {plan.experiment_id} is"):
        rollout.stop_experiment(ws, CONFIG, experiment_id="experiment-before", **stop)
    assert experiments.running(ws.store, "toy") == plan
    rollout.stop_experiment(ws, CONFIG, experiment_id=plan.experiment_id, **stop)
    assert experiments.running(ws.store, "toy") is None


def test_stop_that_runs_again_stops_no_later_experiment(ws):
    stop = {"actor": "ada", "run_id": "stop-1", "reason": "too dear", "now": TURNED + DAY}
    start(ws)
    rollout.stop_experiment(ws, CONFIG, **stop)
    other = start(ws, run_id="try-2")
    rollout.stop_experiment(ws, CONFIG, **stop)
    assert experiments.running(ws.store, "toy") == other


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ({"challenger": 1}, ExperimentRefused, "cannot be compared with itself; versions that can be promoted: 2"),
        ({"challenger": 9}, NotPromotable, "version 9 is not known.*can be promoted: 2"),
        ({"challenger": None}, ExperimentRefused, "no version is staged; name a challenger: .*: 2"),
        ({"stages": (Stage(1.0),)}, ExperimentRefused, r"allocation \(1.0\) must lie between 0 and 1"),
        ({"stages": (Stage(0.0),)}, ExperimentRefused, r"allocation \(0.0\) must lie between 0 and 1"),
        ({"stages": ()}, ExperimentRefused, "needs an allocation"),
        ({"mode": "shadow"}, ExperimentRefused, "a shadow experiment has no allocation"),
        (
            {"metric": "mae"},
            ExperimentRefused,
            "'mae' has no loss per row of a binary target; use one of: accuracy, brier",
        ),
        (
            {"metric": "accuracy"},
            ExperimentRefused,
            "accuracy is not a metric of the policy: brier",
        ),
        ({"margin": -0.01}, ExperimentRefused, r"margin -0.01 is below the policy's 0 "),
        ({"alpha": 0.2}, ExperimentRefused, r"alpha 0.2 is above the policy\'s 0.05 \(promotion.alpha\)"),
        ({"max_outcomes": 0}, ExperimentRefused, "max_outcomes"),
        ({"min_duration": DAY}, ExperimentRefused, "a verdict before 7 days"),
        (
            {"max_duration": 8 * DAY},
            ExperimentRefused,
            r"max_duration \(8d\) must be longer than min_duration and .*label_delay together",
        ),
    ],
)
def test_start_with_an_invalid_parameter_names_it_and_writes_nothing(ws, asked, error, message):
    before = whole(ws)
    with pytest.raises(error, match=message):
        start(ws, **asked)
    assert whole(ws) == before


def test_start_of_a_second_experiment_is_refused(ws):
    plan = start(ws)
    assert start(ws) == plan  # the same run again
    before = whole(ws)
    with pytest.raises(ExperimentRefused, match=f"{plan.experiment_id} runs already"):
        start(ws, run_id="try-2")
    assert whole(ws) == before


def test_start_for_a_model_without_retrain_is_refused(ws):
    with pytest.raises(ExperimentRefused, match=r"has no section retrain, so there is no toy\.promote"):
        start(ws, CONFIG.model_copy(update={"retrain": None}), challenger=2, stages=HALF)
    assert experiments.list_all(ws.store, "toy") == []


def test_start_without_a_production_version_is_refused(tmp_path):
    with Workspace.open(home=tmp_path, environment={}) as ws, pytest.raises(NoProductionVersion, match="toy.retrain"):
        start(ws)


def test_start_with_a_changed_artifact_is_refused(ws):
    from tests.support.versions.toy import files_of

    model = next(path for name, path in files_of(ws.registry, 2).items() if name.endswith("model.skops"))
    registered = model.read_bytes()  # where it was made: the other tests have it from there too
    before = whole(ws)
    try:
        model.write_bytes(registered[:-1] + bytes([registered[-1] ^ 1]))
        with pytest.raises(ArtifactChanged, match="version 2"):
            start(ws)
    finally:
        model.write_bytes(registered)
    assert whole(ws) == before


def test_interrupted_verdict_is_completed_by_its_retry_once(ws, monkeypatch):
    serve(ws, CONFIG, start(ws), rows_of())
    watched = watch(ws, LATER)

    def away(*_, **__):
        raise RegistryUnavailable("gone")

    with monkeypatch.context() as patched:
        patched.setattr(Registry, "preflight", away)
        with pytest.raises(RegistryUnavailable):
            conclude(ws, watched)
    assert experiments.running(ws.store, "toy") is None  # nobody is answered by the challenger meanwhile
    assert deployments.read(ws.store, "toy").production == 1
    assert watch(ws, LATER).decision_id == watched.decision_id  # the whole run again
    assert watch(ws, LATER + 1, run_id="watch-2").branch == "no_action"
    for _ in range(2):
        assert conclude(ws, watched).outcome == "promoted"
    assert [end["outcome"] for end in ends(ws)] == ["promote"]
    assert len([r for r in ledger.entries(ws.store, "toy", "promote") if r.body["to"]["production"] == 2]) == 1


def test_conclude_reads_the_stored_decision_and_nothing_else(ws):
    plan = start(ws)
    serve(ws, CONFIG, plan, rows_of(better=1))
    verdict = watch(ws, LATER)
    before = whole(ws)
    for decision_id in ("end-0000000000000000", "", None, rollout_decision_of(ws)):
        with pytest.raises(StaleGeneration, match="no decision .* to end an experiment"):
            conclude_by_id(ws, decision_id)
    with pytest.raises(StaleGeneration, match="no decision .* to end an experiment"):
        conclude(ws, verdict, CONFIG.model_copy(update={"model": "other"}))
    with pytest.raises(NotShownBetter, match="version 2 is not promoted"):
        rollout.promote(ws, CONFIG, verdict.comparison_id, **BY)
    assert whole(ws) == before
    assert conclude(ws, verdict).outcome == "kept_champion"
    assert statuses(ws) == {1: "production", 2: "rejected"}


def rollout_decision_of(ws):
    """The id of a decision of another kind."""
    return next(d["decision_id"] for d in ws.store.decisions.list("toy") if d["action"] == "retrain")


def offer(ws, config=ASKED):
    serve(ws, config, start(ws, config), rows_of())
    watched = watch(ws, LATER, config)
    assert (watched.branch, watched.outcome) == ("stage", "promote")
    outcome = conclude(ws, watched, config)
    assert (outcome.outcome, outcome.until) == ("staged", TURNED + LATER * DAY)
    return outcome


def ask(ws, config, experiment, *, end=TURNED + LATER * DAY, run_id="promote-1", actor="bob", version=2):
    request = rollout.request_promotion(
        ws,
        config,
        version=version,
        reason="tried",
        force=False,
        end=end,
        actor=actor,
        run_id=run_id,
        experiment=experiment,
    )
    return rollout.compare(ws, config, request)


def agree(ws, config, comparison, *, by):
    return rollout.approve(
        ws,
        config,
        comparison.report_id,
        approved=True,
        approver=by,
        approver_id=by,
        dag_id="toy.promote",
        run_id="promote-1",
        responded_at=TURNED,
    )


def test_approval_after_an_experiment_shows_its_verdict(ws):
    offered = offer(ws)
    assert ws.registry.aliases("toy") == {"production": 1, "staging": 2}
    asked = ask(ws, ASKED, offered.experiment_id)
    assert (asked.next, asked.basis, asked.requested_by) == ("stage", "experiment", "bob")
    body = rollout.approval_request(ws, ASKED, asked.report_id).body
    assert f"Measured by the experiment {offered.experiment_id} in production" in body
    with pytest.raises(NotApproved, match="no person has approved this comparison"):
        rollout.promote(ws, ASKED, asked.report_id, **BY)
    agree(ws, ASKED, asked, by="grace")
    assert rollout.promote(ws, ASKED, asked.report_id, **BY).outcome == "promoted"
    assert deployments.read(ws.store, "toy").production == 2


@pytest.mark.parametrize("by", ["ada", "bob", "trainer"])
def test_person_who_started_the_experiment_counts_as_a_requester(ws, by):
    """``ada`` has started it, ``bob`` asks for the promotion, ``trainer`` had the version trained."""
    asked = ask(ws, SECOND, offer(ws, SECOND).experiment_id)
    with pytest.raises(NotApproved, match=f"{by} requested this promotion"):
        agree(ws, SECOND, asked, by=by)
    agree(ws, SECOND, asked, by="grace")


def test_old_and_unknown_experiments_are_no_evidence(ws):
    offered = offer(ws)
    late = ask(ws, ASKED, offered.experiment_id, end=TURNED + 30 * DAY)
    assert (late.verdict, late.next) == ("inconclusive", "keep_champion")
    assert "promotion.max_label_age" in late.reason
    with pytest.raises(UnknownExperiment, match="'experiment-9'; it has"):
        ask(ws, ASKED, "experiment-9", run_id="promote-2")


def test_old_experiment_stays_old_for_a_request_in_the_past(ws):
    offered = offer(ws)
    ws.predictions(CONFIG).append(toy_rows(TURNED + 30 * DAY, days=1).drop_columns(["label"]))
    late = ask(ws, ASKED, offered.experiment_id)
    assert (late.verdict, late.next) == ("inconclusive", "keep_champion")
    assert "promotion.max_label_age" in late.reason


def test_experiment_without_a_pass_is_no_evidence(ws):
    plan = start(ws)
    with pytest.raises(ExperimentRefused, match="no evidence for version 2: it is still running"):
        ask(ws, CONFIG, plan.experiment_id)
    rollout.stop_experiment(ws, CONFIG, actor="ada", run_id="stop", reason="enough", now=TURNED)
    with pytest.raises(ExperimentRefused, match="no evidence for version 2: stopped"):
        ask(ws, CONFIG, plan.experiment_id, run_id="promote-2")


def test_comparison_after_a_training_rests_on_no_experiment(ws):
    """A task says of a training's challenger that an experiment speaks for it."""
    plan = start(ws)
    trained = next(d["body"] for d in ws.store.decisions.list("toy") if d["action"] == "retrain")
    said = {
        "decision_id": trained["decision_id"],
        "champion": 1,
        "challenger": 2,
        "experiment": plan.experiment_id,
        "holdout": slice_of(TURNED - 7 * DAY),
        "until": TURNED.isoformat(),
        "model": "toy",
        "mlflow_run_id": ws.registry.resolve("toy", version=2).run_id,
        "requested_by": "ada",
        "sentence": "trained",
        "training": slice_of(START),
        "metrics": {},
    }
    assert rollout.compare(ws, CONFIG, TrainedVersion.from_dict(said)).basis is None


def slice_of(start):
    return {"start": start.isoformat(), "end": (start + 6 * DAY).isoformat(), "rows": 1, "sha256": "0"}


def test_stricter_policy_at_the_verdict_prevents_the_promotion(ws):
    serve(ws, CONFIG, start(ws), rows_of())
    stricter = CONFIG.with_overrides({"promotion.margin": 0.5})
    watched = watch(ws, LATER, stricter)
    assert (watched.branch, watched.outcome) == ("end_experiment", "promote")
    assert "the policy has changed since it began" in watched.sentence
    assert conclude(ws, watched, stricter).outcome == "kept_champion"
    assert statuses(ws) == {1: "production", 2: "candidate"}


@pytest.mark.slow
def test_label_delay_is_fixed_at_the_start_and_a_longer_one_prevents_the_promotion(ws):
    """Or its outcomes would come in another order, and what was shown would be tried a second time."""
    plan = start(ws)
    serve(ws, CONFIG, plan, rows_of())
    as_begun, *others = (
        rollout.evaluate_experiment(ws, changed, plan, end=TURNED + LATER * DAY).to_dict()
        for changed in (CONFIG, *(CONFIG.model_copy(update={"target": delayed(hours)}) for hours in (0, 96)))
    )
    assert as_begun["verdict"] == "promote"
    assert others == [as_begun, as_begun]
    watched = watch(ws, LATER, CONFIG.model_copy(update={"target": delayed(96)}))
    assert (watched.branch, watched.outcome) == ("end_experiment", "promote")
    assert "labels counted 1d after their rows" in watched.sentence


def delayed(hours):
    return CONFIG.target.model_copy(update={"label_delay": timedelta(hours=hours)})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("policy", "passes", "status"),
    [
        ({"promotion.segments": ["colour"], "promotion.segment_margin": 0.2}, True, "production"),
        ({"promotion.max_size_mb": 1e-6}, False, "rejected"),
    ],
)
def test_other_requirements_of_the_policy_can_take_a_pass_away(ws, policy, passes, status):
    config = CONFIG.with_overrides(policy)
    serve(ws, config, start(ws, config), rows_of())
    watched = watch(ws, LATER, config)
    assert (watched.outcome, watched.branch) == ("promote", "promote" if passes else "end_experiment")
    conclude(ws, watched, config)
    assert statuses(ws)[2] == status


def test_versions_of_a_running_experiment_are_not_pruned(ws):
    from keel.deployments.version_retention import prune

    config = CONFIG.with_overrides({"promotion.keep_versions": "0s"})
    start(ws)
    assert prune(ws.store, ws.registry, config, now=TURNED + 900 * DAY, actor="keel", dry_run=True) == []
    rollout.stop_experiment(ws, CONFIG, actor="ada", run_id="stop", reason="enough", now=TURNED)
    assert [d.version for d in prune(ws.store, ws.registry, config, now=NEVER, actor="keel", dry_run=True)] == [2]


@pytest.mark.slow
def test_watch_deployment_evaluates_the_probation_before_the_experiment(ws):
    """One thing a run: what was found by hand is told with whatever the run leads to."""
    serve(ws, CONFIG, start(ws), rows_of())
    moved = ("The alias staging was moved by hand.",)
    found = ReconcileRecord.from_dict({"model": "toy", "findings": moved})
    looked = rollout.watch_deployment(ws, CONFIG, end=TURNED + LATER * DAY, run_id="watch-1", reconciled=found)
    assert looked.action in ("watch", "end_experiment")
    if looked.action == "watch":  # the first version's probation is over, and has come to its end
        assert looked.branch in ("confirm", "rollback")
        rollout.confirm(ws, CONFIG, looked.decision_id, actor="keel", run_id="watch-1")
        looked = rollout.watch_deployment(ws, CONFIG, end=TURNED + LATER * DAY, run_id="watch-2", reconciled=found)
    assert (looked.branch, looked.findings) == ("promote", moved)
    outcome = conclude(ws, looked)
    lines = told(ws, looked, outcome).alerts
    assert any(each.kind == "out_of_band" and "moved by hand" in each.sentence for each in lines)


@pytest.mark.slow
def test_whole_experiment_on_each_database(tmp_path, store_url):
    with Workspace.open(home=tmp_path / "home", store_url=store_url, environment={}) as ws:
        first_version(ws)
        prepare(ws)
        plan = start(ws)
        with pytest.raises(ExperimentRefused, match="runs already"):
            start(ws, run_id="try-2")
        serve(ws, CONFIG, plan, rows_of())
        assert experiments.running(ws.store, "toy") == plan
        watched = watch(ws, LATER)
        assert conclude(ws, watched).outcome == "promoted"
        assert experiments.running(ws.store, "toy") is None
        assert experiments.rebuild(ws.store) == []
        assert deployments.rebuild(ws.store) == []
        assert ledger.verify(ws.store).broken_at is None
