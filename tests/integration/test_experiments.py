"""Experiments from their start to what their verdict leads to, on a real store and registry, with a known truth.

Version 1 has learned a world that has turned round since, version 2 the world as it is. What rows are like decides
which of them is better.
"""

from __future__ import annotations

import shutil

import pyarrow as pa
import pytest

from keel import loop, rollout
from keel.errors import (
    ArtifactChanged,
    ExperimentRefused,
    NoProductionVersion,
    NotPromotable,
)
from keel.lifecycle import deployments, experiments, ledger
from keel.lifecycle.experiment import Stage
from keel.lifecycle.history import history
from keel.workspace import Workspace
from tests.steps import BY, CONFIG, NOW, first_version, live
from tests.toy import DAY, toy_rows
from tests.tried import serve

TURNED = NOW + 36 * DAY
ASKED = CONFIG.with_overrides({"promotion.approval": "required"})
SECOND = CONFIG.with_overrides({"promotion.approval": "second_person"})
HALF = (Stage(0.5),)
PER_HOUR = 60


def prepare(ws):
    """Let version 1 serve a world that has turned round, and train version 2 on that."""
    first_version(ws)
    live(ws, toy_rows(NOW, days=40, flip=True), days=36)
    window = loop.resolve_window(CONFIG, end=TURNED, now=TURNED)
    decision = loop.request_retrain(ws, CONFIG, window=window, reason="the world has turned", run_id="run-1")
    assert loop.retrain(ws, CONFIG, decision, actor="trainer", run_id="run-1")["challenger"] == 2


@pytest.fixture(scope="module")
def turned(tmp_path_factory):
    home = tmp_path_factory.mktemp("turned")
    with Workspace.open(home=home, environment={}) as ws:
        prepare(ws)
    return home


@pytest.fixture
def ws(turned, tmp_path):
    home = tmp_path / "home"
    shutil.copytree(turned, home)
    with Workspace.open(home=home, environment={}) as opened:
        yield opened


def start(ws, config=CONFIG, *, run_id="try-1", **asked):
    given = {"challenger": 2, "stages": HALF, "actor": "ada", "reason": "is it better?", "now": TURNED, **asked}
    decision = rollout.start_experiment(ws, config, run_id=run_id, **given)
    assert decision["action"] == "start_experiment"
    return experiments.running(ws.store, "toy")


def rows_of(days, *, better=2, seed=11):
    """Rows on which the version is better; 0: neither."""
    if better:
        return toy_rows(TURNED, days=days, per_hour=PER_HOUR, seed=seed, flip=better == 2)
    parts = [toy_rows(TURNED, days=days, per_hour=PER_HOUR // 2, seed=seed + flip, flip=bool(flip)) for flip in (0, 1)]
    return pa.concat_tables(parts).sort_by("time")


def watch(ws, days, config=CONFIG, *, run_id="watch-1"):
    return rollout.watch_experiment(ws, config, end=TURNED + days * DAY, run_id=run_id)


def conclude(ws, decision, config=CONFIG, *, run_id="watch-1", actor="keel"):
    return rollout.conclude_experiment(ws, config, decision, actor=actor, run_id=run_id)


def ends(ws):
    return [row.body["evidence"] for row in ledger.entries(ws.store, "toy", "experiment_end")]


def statuses(ws):
    return {v: str(s.status) for v, s in history(ws.store, "toy").standings.items()}


def whole(ws):
    rows = [entry.hash for entry in ledger.entries(ws.store)]
    return deployments.read(ws.store, "toy"), rows, ws.registry.aliases("toy"), experiments.listed(ws.store, "toy")


def test_the_better_version_is_promoted_with_the_evidence_in_the_ledger(ws):
    plan = start(ws)
    serve(ws, CONFIG, plan, rows_of(2))
    early = watch(ws, 1.2)
    assert (early["branch"], early["outcome"], early["decision_id"]) == ("nothing", "running", None)
    watched = watch(ws, 3)
    assert (watched["branch"], watched["outcome"]) == ("promote", "promote")
    outcome = conclude(ws, watched)
    assert (outcome["outcome"], outcome["version"], outcome["basis"]) == ("promoted", 2, "experiment")
    assert deployments.read(ws.store, "toy").production == 2
    assert ws.registry.aliases("toy") == {"production": 2, "previous": 1}
    assert experiments.running(ws.store, "toy") is None
    [end] = ends(ws)
    assert (end["outcome"], end["look"]["verdict"], end["comparison"]["verdict"]) == ("promote", "promote", "pass")
    [row] = [r for r in ledger.entries(ws.store, "toy", "promote") if r.body["to"]["production"] == 2]
    assert row.body["evidence"]["experiment_id"] == plan.experiment_id
    assert row.body["evidence"]["lower_bound"] > 0
    assert row.body["evidence"]["report_id"] == end["comparison_id"]
    assert row.body["probation"]["since"] >= (TURNED + 2 * DAY).isoformat()
    assert ledger.verify(ws.store).broken_at is None
    message = loop.compose_message(ws, CONFIG, watched, outcome)
    assert message["subject"] == "[Keel] toy: promoted version 2"
    assert "In the experiment" in message["text"]
    assert "retrained" not in message["text"]


def test_the_worse_version_is_rejected_and_the_champion_stays(ws):
    serve(ws, CONFIG, start(ws), rows_of(2, better=1))
    watched = watch(ws, 3)
    assert (watched["branch"], watched["outcome"]) == ("end_experiment", "roll_back")
    outcome = conclude(ws, watched)
    assert (outcome["outcome"], outcome["version"]) == ("kept_champion", 1)
    assert statuses(ws) == {1: "production", 2: "rejected"}
    assert loop.compose_message(ws, CONFIG, watched, outcome)["subject"] == "[Keel] toy: kept champion 1"
    with pytest.raises(NotPromotable, match="rejected"):
        start(ws, run_id="try-2")


def test_without_a_difference_the_champion_stays_and_the_challenger_stays_a_candidate(ws):
    serve(ws, CONFIG, start(ws, max_n=1_200), rows_of(2, better=0))
    watched = watch(ws, 3)
    assert (watched["branch"], watched["outcome"]) == ("end_experiment", "no_difference")
    assert conclude(ws, watched)["outcome"] == "kept_champion"
    assert statuses(ws) == {1: "production", 2: "candidate"}
    assert experiments.listed(ws.store, "toy")[0].outcome["outcome"] == "no_difference"
    assert start(ws, run_id="try-2") is not None


def test_a_split_that_is_not_the_stated_one_ends_it_without_a_verdict(ws):
    serve(ws, CONFIG, start(ws), rows_of(2), challenger_share=0.7)
    watched = watch(ws, 3)
    assert (watched["branch"], watched["outcome"]) == ("end_experiment", "mismatch")
    assert "not split as planned" in watched["sentence"]
    outcome = conclude(ws, watched)
    assert (outcome["outcome"], outcome["version"]) == ("experiment_ended", 1)
    assert statuses(ws) == {1: "production", 2: "candidate"}
    assert "has ended without a verdict" in loop.compose_message(ws, CONFIG, watched, outcome)["subject"]


def test_a_shadow_is_judged_on_the_same_rows_and_answers_nobody(ws):
    plan = start(ws, mode="shadow", stages=())
    rows = rows_of(4)
    serve(ws, CONFIG, plan, rows)
    watched = watch(ws, 5)
    assert (watched["branch"], watched["outcome"]) == ("promote", "promote")
    assert conclude(ws, watched)["outcome"] == "promoted"


def promote_by_hand(ws, version):
    request = rollout.request_promotion(
        ws, CONFIG, version=version, reason="at once", force=True, end=TURNED, actor="bob", run_id="by-hand"
    )
    return rollout.promote(ws, CONFIG, rollout.compare(ws, CONFIG, request), actor="bob", run_id="by-hand")


def test_a_promotion_by_another_way_makes_it_void(ws):
    plan = start(ws)
    promote_by_hand(ws, 2)
    watched = watch(ws, 3)
    assert (watched["branch"], watched["outcome"], watched["version"]) == ("end_experiment", "void", 2)
    assert conclude(ws, watched)["outcome"] == "experiment_ended"
    assert experiments.running(ws.store, "toy") is None
    assert ends(ws)[-1]["sentence"].startswith(
        f"{plan.experiment_id} is void: version 2 is in production, not version 1"
    )
    assert deployments.read(ws.store, "toy").production == 2


def test_a_rollback_of_its_champion_makes_it_void_and_leaves_room_for_another(ws):
    """The champion is on probation while it is tried against another."""
    promote_by_hand(ws, 2)
    window = loop.resolve_window(CONFIG, end=TURNED, now=TURNED)
    again = CONFIG.with_overrides({"retrain.seed": 1})
    decision = loop.request_retrain(ws, again, window=window, reason="another", run_id="run-3")
    assert loop.retrain(ws, again, decision, **BY)["challenger"] == 3
    start(ws, challenger=3)
    assert history(ws.store, "toy").probation.version == 2
    back = rollout.request_rollback(
        ws, CONFIG, reason="complaints", version=None, end=TURNED + DAY, actor="ada", run_id="back"
    )
    rollout.rollback(ws, CONFIG, back, actor="ada", run_id="back")
    assert start(ws, challenger=3, run_id="try-2").champion == 1  # which ends the one that is void
    assert [end["outcome"] for end in ends(ws)] == ["void"]


def test_a_challenger_that_is_rejected_from_elsewhere_makes_it_void(ws):
    start(ws)
    deployments.note(
        ws.store, "toy", actor="ada", action="decline", body={}, now=TURNED,
        statuses={2: (experiments_status(ws), "no")},
    )  # fmt: skip
    watched = watch(ws, 1)
    assert (watched["outcome"], "version 2, the challenger, is rejected (no)" in watched["sentence"]) == ("void", True)


def experiments_status(ws):
    from keel.lifecycle.history import Status

    return Status.REJECTED


def test_a_person_stops_it_and_a_verdict_of_before_does_nothing_any_more(ws):
    serve(ws, CONFIG, start(ws), rows_of(2))
    watched = watch(ws, 3)
    for _ in range(2):  # the same run again
        stopped = rollout.stop_experiment(ws, CONFIG, actor="ada", run_id="stop-1", reason="too dear", now=TURNED + DAY)
        assert stopped["action"] == "stop_experiment"
    before = whole(ws)
    with pytest.raises(ExperimentRefused, match=r"has ended already \(stopped\).*too dear"):
        conclude(ws, watched)
    with pytest.raises(ExperimentRefused, match="no experiment runs"):
        rollout.stop_experiment(ws, CONFIG, actor="ada", run_id="stop-2", reason="again", now=TURNED + DAY)
    assert whole(ws) == before
    assert statuses(ws) == {1: "production", 2: "candidate"}


def test_a_retried_stop_does_not_stop_what_began_since(ws):
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
            "'mae' has no loss per row of a binary target; it can be: accuracy, brier",
        ),
        (
            {"metric": "accuracy"},
            ExperimentRefused,
            "accuracy is not what the model is judged by, which is policy: brier",
        ),
        ({"margin": -0.01}, ExperimentRefused, r"margin -0.01 is below 0, which is policy"),
        ({"alpha": 0.2}, ExperimentRefused, r"alpha 0.2 is above promotion.alpha \(0.05\)"),
        ({"max_n": 0}, ExperimentRefused, "max_n"),
    ],
)
def test_what_cannot_be_tried_is_refused_by_name_and_nothing_is_written(ws, asked, error, message):
    before = whole(ws)
    with pytest.raises(error, match=message):
        start(ws, **asked)
    assert whole(ws) == before


def test_a_second_experiment_on_the_model_is_refused(ws):
    plan = start(ws)
    assert start(ws) == plan  # the same run again
    before = whole(ws)
    with pytest.raises(ExperimentRefused, match=f"{plan.experiment_id} runs already"):
        start(ws, run_id="try-2")
    assert whole(ws) == before


def test_a_model_without_a_production_version_has_nothing_to_try_against(tmp_path):
    with Workspace.open(home=tmp_path, environment={}) as ws, pytest.raises(NoProductionVersion, match="toy.retrain"):
        start(ws)


def test_a_changed_artifact_is_never_tried(ws):
    from tests.versions import files_of

    model = next(path for name, path in files_of(ws.registry, 2).items() if name.endswith("model.skops"))
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(bytes(content))
    before = whole(ws)
    with pytest.raises(ArtifactChanged, match="version 2"):
        start(ws)
    assert whole(ws) == before
