"""Promotion, probation and rollback on a real store and registry, with a model whose truth is known."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from keel import deployments, loop, rollout
from keel.deployments.history import Status, history
from keel.errors import (
    ArtifactChanged,
    NotApproved,
    NothingToRollBackTo,
    NotPromotable,
    RegistryUnavailable,
    StaleGeneration,
)
from keel.evaluation.holdout.comparison import NotShownBetter
from keel.ledger import entries as ledger
from keel.registry.registry import Registry
from tests.support.loop_steps import BY, CONFIG, NOW, act, check, live, open_copy
from tests.support.loop_steps import told as message_about
from tests.support.toy import DAY, toy_rows

TURNED = NOW + 36 * DAY
"""When thirty-six days have passed in which the relation was the opposite of what version 1 learned."""
ASKED = CONFIG.with_overrides({"promotion.approval": "required"})
SECOND = CONFIG.with_overrides({"promotion.approval": "second_person"})


@pytest.fixture(scope="module")
def turned(tmp_path_factory, toy_home):
    """A home in which version 1 serves a world that has turned round, and labels say so."""
    home = tmp_path_factory.mktemp("turned") / "home"
    with open_copy(toy_home, home) as ws:
        live(ws, toy_rows(NOW, days=40, flip=True), days=36)
    return home


@pytest.fixture
def ws(turned, tmp_path):
    with open_copy(turned, tmp_path / "home") as opened:
        yield opened


def challenge(ws, config=CONFIG, *, run_id="run-1", actor="tests", end=TURNED):
    """Train a challenger on the world as it is now and compare it."""
    window = loop.resolve_window(config, end=end, now=end)
    decision = loop.request_retrain(ws, config, window=window, reason="the world has turned", run_id=run_id)
    return rollout.compare(ws, config, loop.retrain(ws, config, decision, actor=actor, run_id=run_id))


def agree(ws, config, comparison, *, by, approved=True, run_id="run-1"):
    return rollout.approve(
        ws,
        config,
        comparison.report_id,
        approved=approved,
        approver=by,
        approver_id=by,
        dag_id="toy.promote",
        run_id=run_id,
        responded_at=datetime(2026, 11, 23, tzinfo=UTC),
    )


def ask(ws, config=CONFIG, *, version=None, force=False, end=TURNED + 3 * DAY, actor="ada", run_id="promote-1"):
    return rollout.request_promotion(
        ws, config, version=version, reason="it is time", force=force, end=end, actor=actor, run_id=run_id
    )


def roll_back(ws, *, version=None, run_id="rollback-1", actor="ada"):
    decision = rollout.request_rollback(
        ws, CONFIG, reason="customers complain", version=version, end=TURNED, actor=actor, run_id=run_id
    )
    return rollout.rollback(ws, CONFIG, decision.decision_id, actor=actor, run_id=run_id)


@pytest.fixture
def cut_off(ws, monkeypatch):
    """The workspace as one sees it whose registry is gone."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return replace(ws, registry=Registry("http://127.0.0.1:9"))


def whole(ws):
    """What must be as it was when nothing was done."""
    rows = [entry.hash for entry in ledger.entries(ws.store)]
    return deployments.read(ws.store, "toy"), rows, ws.registry.aliases("toy")


def statuses(ws):
    return {v.version: v.tags["keel.status"] for v in ws.registry.versions("toy")}


def test_promote_records_versions_evidence_and_probation_in_the_ledger(ws):
    comparison = challenge(ws)
    assert (comparison.verdict, comparison.next) == ("pass", "promote")
    rollout.promote(ws, CONFIG, comparison.report_id, **BY)
    [row] = [e for e in ledger.entries(ws.store, "toy", "promote") if e.generation_to == 2]
    assert row.body["from"] == {"production": 1, "staging": None, "previous": None}
    assert row.body["to"] == {"production": 2, "staging": None, "previous": 1}
    assert row.body["evidence"]["lower_bound"] > 0
    assert row.body["evidence"]["holdout"]["end"] == (TURNED - DAY).isoformat()
    assert row.body["probation"]["version"] == 2
    assert statuses(ws) == {1: "previous", 2: "production"}
    assert history(ws.store, "toy").probation.until == TURNED + 7 * DAY


def test_promote_without_approval_changes_nothing(ws):
    comparison = challenge(ws, ASKED)
    assert comparison.next == "stage"
    before = whole(ws)
    with pytest.raises(NotApproved, match="no person has approved this comparison"):
        rollout.promote(ws, ASKED, comparison.report_id, **BY)
    assert whole(ws) == before


def test_staged_version_is_promoted_once_a_person_approves(ws):
    comparison = challenge(ws, ASKED)
    assert rollout.stage(ws, ASKED, comparison.report_id, **BY).outcome == "staged"
    assert rollout.stage(ws, ASKED, comparison.report_id, **BY).outcome == "staged"
    assert ws.registry.aliases("toy") == {"production": 1, "staging": 2}
    assert statuses(ws) == {1: "production", 2: "staging"}
    again = rollout.compare(ws, ASKED, ask(ws, ASKED))
    assert (again.challenger, again.prior_comparisons) == (2, 1)
    assert again.holdout.end > comparison.holdout.end
    assert agree(ws, ASKED, again, by="grace").outcome == "approved"
    rollout.promote(ws, ASKED, again.report_id, actor="ada", run_id="promote-1")
    assert ws.registry.aliases("toy") == {"production": 2, "previous": 1}
    [row] = [e for e in ledger.entries(ws.store, "toy", "promote") if e.generation_to == 3]
    assert row.body["approval"]["approver"] == "grace"


@pytest.mark.parametrize(
    ("config", "refused"),
    [
        (ASKED, {None: "this one has none", "": "this one has none", "airflow": "this one has none"}),
        (ASKED.with_overrides({"promotion.approvers": ["grace"]}), {"ada": "not among promotion.approvers: grace"}),
        (SECOND, dict.fromkeys(("ada", "tests"), "another person must approve it")),
    ],
)
def test_approve_by_an_invalid_approver_is_refused(ws, config, refused):
    """``tests`` has had the version trained, ``ada`` asks for its promotion."""
    rollout.stage(ws, config, challenge(ws, config).report_id, **BY)
    comparison = rollout.compare(ws, config, ask(ws, config))
    before = whole(ws)
    for by, message in refused.items():
        with pytest.raises(NotApproved, match=message):
            agree(ws, config, comparison, by=by)
        with pytest.raises(NotApproved):
            rollout.promote(ws, config, comparison.report_id, **BY)
        assert whole(ws) == before


def test_approval_is_valid_for_its_comparison_and_generation_only(ws):
    comparison = challenge(ws, ASKED)
    agree(ws, ASKED, comparison, by="grace")
    other = challenge(ws, ASKED.with_overrides({"retrain.seed": 1}), run_id="run-2")
    with pytest.raises(NotApproved, match="no person has approved this comparison"):
        rollout.promote(ws, ASKED, other.report_id, **BY)
    rollout.stage(ws, ASKED, other.report_id, **BY)
    with pytest.raises(NotApproved, match="the deployment has changed since"):
        rollout.promote(ws, ASKED, comparison.report_id, **BY)
    assert deployments.read(ws.store, "toy").production == 1


def test_approval_by_a_removed_approver_is_invalid(ws):
    comparison = challenge(ws, ASKED)
    agree(ws, ASKED, comparison, by="grace")
    with pytest.raises(NotApproved, match="grace is not among"):
        rollout.promote(ws, ASKED.with_overrides({"promotion.approvers": ["ada"]}), comparison.report_id, **BY)


@pytest.mark.parametrize(("by", "status"), [("grace", "rejected"), (None, "candidate")])
def test_decline_and_missing_answer_leave_production_unchanged(ws, by, status):
    comparison = challenge(ws, ASKED)
    rollout.stage(ws, ASKED, comparison.report_id, **BY)
    outcome = agree(ws, ASKED, comparison, by=by, approved=False)
    assert outcome.outcome == "declined"
    assert ws.registry.aliases("toy") == {"production": 1}
    assert statuses(ws) == {1: "production", 2: status}
    with pytest.raises((NotApproved, NotPromotable)):
        rollout.promote(ws, ASKED, comparison.report_id, **BY)


@pytest.mark.parametrize("report_id", [None, "", "comparison-0000000000000000"])
def test_promote_an_unknown_comparison_changes_nothing(ws, report_id):
    before = whole(ws)
    with pytest.raises(NotShownBetter, match="has no comparison"):
        rollout.promote(ws, CONFIG, report_id, **BY)
    with pytest.raises(NotShownBetter):
        rollout.approve(
            ws,
            ASKED,
            report_id,
            approved=True,
            approver="grace",
            approver_id="1",
            dag_id="d",
            run_id="r",
            responded_at=datetime(2026, 11, 23, tzinfo=UTC),
        )
    assert whole(ws) == before


def test_compare_reads_the_stored_request_and_ignores_forged_fields(ws):
    """Whoever forces says which version, and whoever asks has asked."""
    config = CONFIG.with_overrides({"promotion.margin": 0.9})
    other, wanted = challenge(ws, config), challenge(ws, config, end=TURNED - DAY, run_id="run-2")
    assert other.challenger != wanted.challenger
    asked = ask(ws, config, version=wanted.challenger, force=True, end=TURNED)

    forged = {"challenger": other.challenger, "requested_by": "nobody", "reason": "trust me"}
    found = rollout.compare(ws, config, asked.model_copy(update=forged))

    assert (found.challenger, found.requested_by, found.forced_by) == (wanted.challenger, "ada", "ada")
    assert "ada forces the promotion: it is time" in found.sentence


def test_promote_a_report_of_another_kind_is_refused(ws):
    decision, _ = check(ws, TURNED)
    drift = next(r["report_id"] for r in ws.store.reports.list("toy", "drift"))
    with pytest.raises(NotShownBetter, match="has no comparison"):
        rollout.promote(ws, CONFIG, drift, **BY)
    assert decision.action == "retrain"


def test_request_promotion_of_an_ineligible_version_names_the_way_out(ws):
    rollout.promote(ws, CONFIG, challenge(ws).report_id, **BY)
    window = loop.resolve_window(CONFIG, end=TURNED, now=TURNED)
    decision = loop.request_retrain(ws, CONFIG, window=window, reason="again", run_id="run-2")
    again = CONFIG.with_overrides({"retrain.seed": 1})
    assert act(ws, decision, again).outcome == "kept_champion"
    before = whole(ws)
    for version, message in (
        (9, "version 9 is not known to Keel.*can be promoted: none"),
        (2, "in production already"),
        (1, "is previous.*toy.rollback"),
        (3, "is rejected.*keel versions reinstate toy 3"),
        (None, "no version is staged"),
    ):
        with pytest.raises(NotPromotable, match=message):
            ask(ws, version=version)
    roll_back(ws)
    with pytest.raises(NotPromotable, match=r"is quarantined \(customers complain\).*keel versions reinstate toy 2"):
        ask(ws, version=2)
    assert before[0].production == 2


def test_promote_a_version_that_does_not_fit_the_features_is_refused(ws):
    comparison = challenge(ws)
    before = whole(ws)
    without = CONFIG.model_copy(update={"features": {"x": "numeric", "colour": "categorical"}})
    with pytest.raises(NotPromotable, match="z"):
        rollout.promote(ws, without, comparison.report_id, **BY)
    assert whole(ws) == before


def test_compare_without_labels_in_the_holdout_is_inconclusive(ws):
    comparison = challenge(ws, ASKED)
    rollout.stage(ws, ASKED, comparison.report_id, **BY)
    later = rollout.compare(ws, ASKED, ask(ws, ASKED, end=TURNED + 60 * DAY))
    assert (later.verdict, later.next) == ("inconclusive", "keep_champion")
    assert rollout.keep_champion(ws, ASKED, later.report_id, **BY).outcome == "kept_champion"
    assert statuses(ws)[2] == "staging"  # nothing was concluded against it either
    with pytest.raises(NotShownBetter, match="(?i)inconclusive"):
        rollout.promote(ws, ASKED, later.report_id, **BY)


def test_rollback_restores_the_previous_version_and_a_second_one_is_refused(ws):
    rollout.promote(ws, CONFIG, challenge(ws).report_id, **BY)
    outcome = roll_back(ws)
    assert (outcome.outcome, outcome.version) == ("rolled_back", 1)
    assert deployments.read(ws.store, "toy").production == 1
    assert ws.registry.aliases("toy") == {"production": 1}
    assert statuses(ws) == {1: "production", 2: "quarantined"}
    before = whole(ws)
    assert roll_back(ws).version == 1  # the same run again has done it
    with pytest.raises(NothingToRollBackTo, match="version 1 has no previous version; .*: none"):
        roll_back(ws, run_id="rollback-2")
    with pytest.raises(NothingToRollBackTo, match="version 2 is quarantined"):
        roll_back(ws, version=2, run_id="rollback-3")
    with pytest.raises(NothingToRollBackTo, match="version 7 is not known"):
        roll_back(ws, version=7, run_id="rollback-4")
    assert whole(ws) == before


def test_rollback_without_a_registry_changes_the_deployment(ws, cut_off):
    rollout.promote(ws, CONFIG, challenge(ws).report_id, **BY)
    with pytest.raises(RegistryUnavailable):
        roll_back(cut_off)
    assert deployments.read(ws.store, "toy").production == 1
    assert ws.registry.aliases("toy")["production"] == 2
    assert rollout.reconcile(ws, CONFIG, actor="tests", run_id="reconcile").completed
    assert ws.registry.aliases("toy") == {"production": 1}


def test_promote_without_a_registry_changes_nothing(ws, cut_off):
    comparison = challenge(ws)
    before = whole(ws)
    with pytest.raises(RegistryUnavailable):
        rollout.promote(cut_off, CONFIG, comparison.report_id, **BY)
    assert whole(ws) == before


def test_promote_interrupted_after_the_change_is_completed_by_its_retry(ws, monkeypatch):
    comparison = challenge(ws)

    def away(*_):
        raise RegistryUnavailable("gone")

    with monkeypatch.context() as patched:
        patched.setattr(Registry, "set_aliases", away)
        with pytest.raises(RegistryUnavailable):
            rollout.promote(ws, CONFIG, comparison.report_id, **BY)
    assert deployments.read(ws.store, "toy").production == 2
    assert ws.registry.aliases("toy") == {"production": 1}
    rows = len(list(ledger.entries(ws.store)))
    assert rollout.promote(ws, CONFIG, comparison.report_id, **BY).outcome == "promoted"
    assert ws.registry.aliases("toy") == {"production": 2, "previous": 1}
    assert len(list(ledger.entries(ws.store))) == rows


def test_promote_a_changed_artifact_is_refused(ws):
    comparison = challenge(ws)
    source = ws.registry.client.get_model_version_download_uri("toy", "2")
    model = Path(source.removeprefix("file://")) / "model.skops"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(bytes(content))
    before = whole(ws)
    with pytest.raises(ArtifactChanged, match="version 2"):
        rollout.promote(ws, CONFIG, comparison.report_id, **BY)
    assert whole(ws) == before


def force_nonsense(ws, run_id="run-3"):
    """Train on labels that mean nothing, and force the version into production."""
    config = CONFIG.with_overrides({"retrain.pipeline": "tests.support.pipelines.shuffled"})
    comparison = challenge(ws, config, run_id=run_id)
    assert comparison.next == "keep_champion"
    decision = ask(ws, version=comparison.challenger, force=True, end=TURNED, run_id=f"force-{run_id}")
    forced = rollout.compare(ws, CONFIG, decision)
    assert (forced.next, forced.forced_by) == ("promote", "ada")
    return rollout.promote(ws, CONFIG, forced.report_id, actor="ada", run_id=f"force-{run_id}")


def test_harm_on_probation_rolls_back_and_quarantines_the_version(ws):
    rollout.promote(ws, CONFIG, challenge(ws).report_id, **BY)
    bad = force_nonsense(ws).version
    live(ws, toy_rows(TURNED, days=3, flip=True, seed=5), days=3, start=TURNED)
    live(ws, toy_rows(TURNED, days=3, flip=True, seed=5), days=1, start=TURNED + 3 * DAY)
    watched = rollout.watch(ws, CONFIG, end=TURNED + 4 * DAY, run_id="watch-1")
    assert (watched.verdict, watched.branch, watched.version) == ("harm", "rollback", bad)
    outcome = rollout.rollback(ws, CONFIG, watched.decision_id, actor="keel", run_id="watch-1")
    assert outcome.version == 2
    assert statuses(ws)[bad] == "quarantined"
    assert rollout.watch(ws, CONFIG, end=TURNED + 4 * DAY, run_id="watch-2").branch == "no_action"
    # the same cycle again finds the same version, and leaves it where it is
    config = CONFIG.with_overrides({"retrain.pipeline": "tests.support.pipelines.shuffled"})
    again = challenge(ws, config, run_id="run-3")
    assert (again.challenger, again.next) == (bad, "keep_champion")
    with pytest.raises(NotPromotable):
        ask(ws, version=bad, force=True, run_id="force-again")


def test_passed_probation_is_confirmed_once(ws):
    rollout.promote(ws, CONFIG, challenge(ws).report_id, **BY)
    live(ws, toy_rows(TURNED, days=8, flip=True, seed=6), days=8, start=TURNED)
    early = rollout.watch(ws, CONFIG, end=TURNED + 3 * DAY, run_id="watch-1")
    assert (early.verdict, early.branch) == ("watching", "no_action")
    with pytest.raises(StaleGeneration):
        rollout.confirm(ws, CONFIG, early.decision_id, actor="keel", run_id="watch-1")
    watched = rollout.watch(ws, CONFIG, end=TURNED + 8 * DAY, run_id="watch-2")
    assert (watched.verdict, watched.branch) == ("survived", "confirm")
    assert rollout.confirm(ws, CONFIG, watched.decision_id, actor="keel", run_id="watch-2").outcome == "confirmed"
    assert history(ws.store, "toy").probation is None
    assert rollout.watch(ws, CONFIG, end=TURNED + 8 * DAY, run_id="watch-3").branch == "no_action"


def test_probation_without_labels_is_extended_notified_once_and_ended(ws):
    rollout.promote(ws, CONFIG, challenge(ws).report_id, **BY)
    unlabelled = toy_rows(TURNED, days=8, flip=True, seed=6)
    unlabelled = unlabelled.set_column(
        unlabelled.column_names.index("label"), "label", pa.nulls(len(unlabelled), pa.float64())
    )
    live(ws, unlabelled, days=8, start=TURNED)
    since, extension = history(ws.store, "toy").probation.until, CONFIG.promotion.probation_extension
    told = rollout.watch(ws, CONFIG, end=since + DAY, run_id="watch-1")
    assert (told.verdict, told.branch, told.watched.over) == ("inconclusive", "notify", False)
    assert "It is extended until 2026-04-15 00:00 UTC at the latest" in told.sentence
    loop.record(ws, CONFIG, told, None, channels=["outbox"])
    late = rollout.watch(ws, CONFIG, end=since + 20 * DAY, run_id="watch-2")
    assert (late.verdict, late.branch) == ("inconclusive", "no_action")
    assert rollout.watch(ws, CONFIG, end=since + DAY, run_id="watch-1").branch == "notify"  # the same task again
    with pytest.raises(StaleGeneration):
        rollout.confirm(ws, CONFIG, late.decision_id, actor="keel", run_id="watch-2")
    over = rollout.watch(ws, CONFIG, end=since + extension + DAY, run_id="watch-3")
    assert (over.verdict, over.branch) == ("inconclusive", "confirm")
    outcome = rollout.confirm(ws, CONFIG, over.decision_id, actor="keel", run_id="watch-3")
    assert outcome.outcome == "probation_over"
    [line] = message_about(ws, over, outcome).alerts
    assert (line.kind, line.severity) == ("probation", "warning")
    assert history(ws.store, "toy").probation is None
    assert rollout.watch(ws, CONFIG, end=since + 30 * DAY, run_id="watch-4").branch == "no_action"


def test_probation_passes_with_labels_of_its_extension(ws):
    """Forty labels a day are too few in seven days, and enough in four weeks."""
    rollout.promote(ws, CONFIG, challenge(ws).report_id, **BY)
    rows = toy_rows(TURNED, days=25, flip=True, seed=6)
    live(ws, rows.take(np.arange(0, len(rows), 12)), days=25, start=TURNED)
    until = history(ws.store, "toy").probation.until
    assert rollout.watch(ws, CONFIG, end=until + DAY, run_id="watch-1").verdict == "inconclusive"
    watched = rollout.watch(ws, CONFIG, end=TURNED + 25 * DAY, run_id="watch-2")
    assert (watched.verdict, watched.branch) == ("survived", "confirm")


def test_alias_moved_outside_keel_is_adopted_and_notified(ws):
    rollout.promote(ws, CONFIG, challenge(ws).report_id, **BY)
    ws.registry.set_aliases("toy", {"production": 1})
    found = rollout.reconcile(ws, CONFIG, actor="keel", run_id="reconcile")
    watched = rollout.watch(ws, CONFIG, end=TURNED + timedelta(hours=1), run_id="watch-1", reconciled=found)
    assert watched.branch == "notify"
    [line] = message_about(ws, watched).alerts
    assert (line.kind, line.subject, line.evidence["found"]) == ("out_of_band", "production", 1)
    assert "alias production of toy was moved outside Keel" in line.sentence
    assert deployments.read(ws.store, "toy").production == 1
    assert Status.PRODUCTION is history(ws.store, "toy").status(1)


def test_rollback_without_a_stored_decision_changes_nothing(ws):
    rollout.promote(ws, CONFIG, challenge(ws).report_id, **BY)
    live(ws, toy_rows(TURNED, days=3, flip=True, seed=5), days=2, start=TURNED)
    watched = rollout.watch(ws, CONFIG, end=TURNED + 2 * DAY, run_id="watch-1")
    before = whole(ws)
    for decision_id in (None, "watch-0", watched.decision_id):
        with pytest.raises(StaleGeneration, match="no decision .* to roll back"):
            rollout.rollback(ws, CONFIG, decision_id, **BY)
    assert whole(ws) == before
