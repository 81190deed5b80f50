"""Labels that break: nothing is trained, compared, put on probation or tried on them until a person releases them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from keel import deployments, loop, rollout
from keel.cli.standalone.replay import between
from keel.deployments import experiments
from keel.deployments.data_quarantine import release
from keel.errors import InsufficientData
from keel.evaluation.experiment.plan import Stage
from keel.ledger import entries as ledger
from keel.monitoring.label_check import label_baseline
from keel.monitoring.records import StoredLabelsReport
from keel.registry.registry import Registry
from keel.window import HOUR
from keel.workspace import Workspace
from tests.support.experiment_rows import serve
from tests.support.loop_steps import BY, CONFIG, NOW, act, check, first_version, live, open_copy, told
from tests.support.toy import DAY, toy_config, toy_rows

BREAK = NOW + 3 * DAY
METRICS = ["brier", "log_loss", "accuracy", "roc_auc"]
WIDE = toy_config(performance={"metric": "brier", "max_degradation": 0.01, "min_rows": 200, "extra_metrics": METRICS})


@pytest.fixture(scope="module")
def trained(tmp_path_factory, new_home):
    home = new_home(tmp_path_factory.mktemp("trained"))
    with Workspace.open(home=home, environment={}) as ws:
        assert first_version(ws, WIDE).outcome == "promoted"
    return home


@pytest.fixture
def ws(trained, tmp_path):
    with open_copy(trained, tmp_path / "home") as opened:
        yield opened


def broken_from(onset, rows):
    """Return the rows with every label from a time on set to 0."""
    late = rows["time"].to_numpy() >= np.datetime64(onset.replace(tzinfo=None))
    label = np.where(late, 0.0, rows["label"].to_numpy())
    return rows.set_column(rows.schema.get_field_index("label"), "label", pa.array(label))


def held(ws):
    return [(row["start"], row["end"]) for row in ws.store.quarantines("toy", about="labels")]


@pytest.mark.parametrize("metric", METRICS)
def test_labels_that_become_zero_are_quarantined_and_train_nothing(ws, metric):
    config = toy_config(performance={"metric": metric, "max_degradation": 0.01, "min_rows": 200})
    live(ws, broken_from(BREAK, toy_rows(NOW, days=7)), days=7)
    decision, reports = check(ws, NOW + 7 * DAY, config)
    assert decision.action == "quarantine", decision.sentence
    assert decision.about == ("labels",)
    assert "are 0" in decision.sentence
    assert reports["check_performance"].status in ("degraded", "ok")  # which says nothing, and is not acted on
    outcome = loop.quarantine(ws, config, decision, now=NOW + 7 * DAY, **BY)
    assert outcome.outcome == "labels_quarantined"
    assert held(ws) == [(BREAK - HOUR, NOW + 6 * DAY)]
    assert "keel quarantine release toy" in outcome.sentence
    message = told(ws, decision, outcome, config)
    assert {each.kind for each in message.alerts} == {"label_quality"}, "nothing is concluded from broken labels"
    assert {each.severity for each in message.alerts} == {"error"}
    [row] = ledger.entries(ws.store, "toy", "quarantine")
    assert (row.body["evidence"]["about"], row.body["evidence"]["decision_id"]) == ("labels", decision.decision_id)
    assert row.at == NOW + 7 * DAY


def test_check_repeated_after_its_own_quarantine_decides_the_same(ws):
    live(ws, broken_from(BREAK, toy_rows(NOW, days=7)), days=7)
    first, _ = check(ws, NOW + 7 * DAY)
    outcome = loop.quarantine(ws, CONFIG, first, **BY)
    second, _ = check(ws, NOW + 7 * DAY)
    assert (second, loop.quarantine(ws, CONFIG, second, actor="tests", run_id="again")) == (first, outcome)
    assert len(list(ledger.entries(ws.store, "toy", "quarantine"))) == 1


def test_checks_after_a_quarantine_of_labels_still_see_the_inputs_and_remind(ws):
    live(ws, broken_from(BREAK, toy_rows(NOW, days=8, shift=0.0)), days=8)
    decision, _ = check(ws, NOW + 7 * DAY)
    loop.quarantine(ws, CONFIG, decision, **BY)
    later, reports = check(ws, NOW + 7 * DAY + 6 * HOUR)
    assert (later.action, later.about) == ("quarantine", ("labels",))  # six hours more are broken
    body = ws.store.reports.list("toy", "drift", limit=1)[0]["body"]
    assert (body["n"], body["quarantined"]["hours"]) == (7 * 24 * 20, 0)
    assert reports["check_data_quality"].status == "ok"
    # the feed is mended, and nothing new is broken: people are reminded of what is held
    rows = toy_rows(NOW + 8 * DAY, days=3, seed=5)
    loop.quarantine(ws, CONFIG, later, **BY)
    live(ws, rows, days=3, start=NOW + 8 * DAY)
    loop.quarantine(ws, CONFIG, check(ws, NOW + 8 * DAY + 12 * HOUR)[0], **BY)
    mended, _ = check(ws, NOW + 11 * DAY)
    assert (mended.action, mended.about) == ("raise_alert", ("labels",))
    assert "are quarantined" in mended.sentence


def test_released_labels_are_used_and_not_quarantined_again(ws):
    live(ws, broken_from(BREAK, toy_rows(NOW, days=7)), days=7)
    decision, _ = check(ws, NOW + 7 * DAY)
    loop.quarantine(ws, CONFIG, decision, **BY)
    release(ws.store, "toy", BREAK - DAY, NOW + 7 * DAY, actor="ada", now=NOW)
    again, reports = check(ws, NOW + 7 * DAY)
    assert again.action == "retrain"  # a person says that the labels are right: then it is harm
    assert "labels" not in again.about
    assert reports["check_performance"].status == "degraded"


def test_release_of_data_says_nothing_about_its_labels(ws):
    live(ws, broken_from(BREAK, toy_rows(NOW, days=7)), days=7)
    span = (NOW, NOW + 7 * DAY)
    ws.store.quarantine("toy", *span, "a broken column", NOW)
    release(ws.store, "toy", *span, actor="ada", now=NOW)
    decision, _ = check(ws, NOW + 7 * DAY)
    assert (decision.action, decision.about) == ("quarantine", ("labels",))


def test_training_asked_for_by_hand_leaves_broken_labels_out(ws):
    live(ws, broken_from(BREAK, toy_rows(NOW, days=17)), days=17)  # and no check ran in that time
    window = loop.resolve_window(CONFIG, end=NOW + 17 * DAY, now=NOW)
    decision = loop.request_retrain(ws, CONFIG, window=window, reason="routine", run_id="run-9")
    with pytest.raises(InsufficientData, match=r"labels of 2026-02-.* are quarantined .* are 0"):
        loop.retrain(ws, CONFIG, decision, now=NOW + 17 * DAY, **BY)
    assert held(ws)[0][0] == BREAK - HOUR
    assert [row.at for row in ledger.entries(ws.store, "toy", "quarantine")] == [NOW + 17 * DAY]
    sooner = loop.resolve_window(CONFIG, end=NOW + 8 * DAY, now=NOW)
    decision = loop.request_retrain(ws, CONFIG, window=sooner, reason="routine", run_id="run-10")
    trained = loop.retrain(ws, CONFIG, decision, **BY)  # three good days of seven are enough
    assert trained.holdout.rows == (3 * 24 - 1) * 20


def test_comparison_leaves_broken_labels_out_that_no_check_has_seen(ws):
    live(ws, toy_rows(NOW, days=9), days=9)
    window = loop.resolve_window(CONFIG, end=NOW + 8 * DAY, now=NOW)
    decision = loop.request_retrain(ws, CONFIG, window=window, reason="routine", run_id="run-9")
    trained = loop.retrain(ws, CONFIG, decision, **BY)
    with ws.store.begin() as connection:
        connection.exec_driver_sql("UPDATE labels SET label = 0 WHERE id GLOB '20260210T00-0-1[5-9][0-9][0-9]'")
    comparison = rollout.compare(ws, CONFIG, trained)
    [(start, end)] = held(ws)
    assert NOW + 3 * DAY < start < end < NOW + 5 * DAY
    assert comparison.n < trained.holdout.rows


@pytest.mark.slow
def test_probation_is_not_judged_on_broken_labels(ws):
    live(ws, toy_rows(NOW, days=36, flip=True), days=36)
    turned = NOW + 36 * DAY
    decision, _ = check(ws, turned)
    assert act(ws, decision).outcome == "promoted"
    live(ws, broken_from(turned + DAY, toy_rows(turned, days=9, flip=True)), days=9, start=turned)
    watched = rollout.watch(ws, CONFIG, end=turned + 9 * DAY, run_id="watch-1")
    assert watched.verdict not in ("harm", "survived")
    [(start, end)] = held(ws)
    assert (start, end) == (turned + DAY - HOUR, turned + 8 * DAY)
    assert watched.watched.n <= 24 * 20


@pytest.mark.slow
def test_experiment_on_broken_labels_has_no_verdict_until_they_are_released(ws):
    live(ws, toy_rows(NOW, days=36, flip=True), days=36)
    turned = NOW + 36 * DAY
    window = loop.resolve_window(CONFIG, end=turned, now=turned)
    decision = loop.request_retrain(ws, CONFIG, window=window, reason="turned", run_id="run-1")
    loop.retrain(ws, CONFIG, decision, **BY)
    asked = {"challenger": 2, "stages": (Stage(0.5),), "actor": "ada", "reason": "?", "now": turned}
    rollout.start_experiment(ws, CONFIG, run_id="try-1", **asked)
    rows = toy_rows(turned, days=9, flip=True)
    serve(ws, CONFIG, experiments.running(ws.store, "toy"), broken_from(turned + 8 * DAY, rows))
    end = turned + 10 * DAY
    watching = rollout.watch_experiment(ws, CONFIG, end=end, run_id="watch-1")
    assert watching.branch == "no_action"
    assert "are quarantined" in watching.sentence
    release(ws.store, "toy", turned, end, actor="ada", now=end)
    assert rollout.watch_experiment(ws, CONFIG, end=end, run_id="watch-2").branch == "promote"


def test_baseline_of_a_version_without_one_is_measured_on_its_rows(ws, monkeypatch):
    registered, reference = label_baseline(ws, CONFIG, 1), ws.registry.reference("toy", 1)
    older = {name: value for name, value in reference.items() if name != "labels"}
    monkeypatch.setattr(Registry, "reference", lambda self, model, version: older)
    assert label_baseline(ws, CONFIG, 1) == registered
    assert registered.n == reference["training"]["rows"] + reference["holdout"]["rows"]
    with ws.store.begin() as connection:  # a release that did not know the target stored such labels
        connection.exec_driver_sql("UPDATE labels SET label = 2 WHERE label = 1 AND id GLOB '*1'")
    left = label_baseline(ws, CONFIG, 1)
    assert left.n < registered.n
    assert np.isfinite(left.log_odds)  # all that is left is 0 and 1


def test_report_has_the_measures_of_the_labels(ws):
    rows = toy_rows(NOW, days=8)
    live(ws, rows, days=8)
    check(ws, NOW + 8 * DAY)
    [report] = ws.store.reports.list("toy", "labels")
    body = StoredLabelsReport.from_dict(report["body"])
    inside = between(rows, NOW, NOW + 7 * DAY)
    assert (body.status, body.n, body.due, body.coverage) == ("ok", inside.num_rows, inside.num_rows, 1.0)
    assert body.mean == pytest.approx(inside["label"].to_numpy().mean())
    assert body.deviation == pytest.approx(inside["label"].to_numpy().std())
    assert (body.late_share, body.mean_delay_hours) == (0.0, 24.0)
    assert deployments.production_version(ws.store, "toy") == 1


def test_harm_is_also_judged_on_all_labels_of_the_version(ws):
    live(ws, toy_rows(NOW, days=12), days=12)
    check(ws, NOW + 12 * DAY)
    [report] = ws.store.reports.list("toy", "performance")
    whole = report["body"]["long_run"]
    assert (whole["n"], report["body"]["n"]) == (11 * 24 * 20, 7 * 24 * 20)
    assert (whole["unit"], whole["clusters"], whole["level"]) == ("day", 11, 0.05)
    assert (
        whole["lower_bound"]
        < whole["increase"]
        == pytest.approx(whole["value"] - report["body"]["reference"]["brier"]["value"])
    )
