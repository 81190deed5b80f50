"""The loop on a real store and a real registry, with a model whose truth is known."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import sqlalchemy as sa

from keel import deployments, loop, rollout
from keel.alerts.digest import flush_digests
from keel.cli.standalone.replay import replay
from keel.config import get_model
from keel.deployments.data_quarantine import release
from keel.errors import (
    ConfigError,
    InsufficientData,
    NoProductionVersion,
    RegistryUnavailable,
    StaleGeneration,
    StoreUnavailable,
    TrainingFailed,
    UnknownModel,
    UnknownVersion,
)
from keel.evaluation.holdout.comparison import NotShownBetter
from keel.ledger import entries as ledger
from keel.loop import notification
from keel.monitoring.storage import CHECKS
from keel.monitoring.window_counts import window_counts
from keel.store.database.tables import metadata
from keel.store.predictions.log import PredictionLog
from keel.window import Window
from keel.workspace import Workspace
from tests.support.loop_steps import BY, CONFIG, NOW, act, check, live, told
from tests.support.toy import DAY, START, toy_config, toy_rows


def usable_counts(ws, window):
    return window_counts(ws, CONFIG, 1, ws.registry.grid("toy", 1), window, decided_before=window.end).usable


def everything(ws):
    """Every row of every small table."""
    with ws.store.connect() as connection:
        return {t.name: sorted(map(tuple, connection.execute(sa.select(t))), key=repr) for t in metadata.sorted_tables}


def test_first_version_is_described_completely(ws):
    version = ws.registry.resolve("toy", alias="production")
    assert version.version == 1
    assert version.tags["keel.reason"] == "Requested: the first version"
    assert version.tags["keel.training_end"] == (NOW - 8 * DAY).isoformat()
    assert {"keel.data_sha256", "keel.code", "keel.parent", "keel.threshold", "keel.training_start"} <= set(
        version.tags
    )
    reference = ws.registry.reference("toy", 1)
    assert reference["holdout"]["rows"] == 7 * 24 * 20
    assert 0.1 < reference["metrics"]["brier"]["value"] < 0.2
    assert ws.registry.grid("toy", 1).reference.n == reference["training"]["rows"]


def test_window_without_a_fault_is_all_clear_and_silent(ws):
    live(ws, toy_rows(NOW, days=8), days=8)
    decision, reports = check(ws, NOW + 8 * DAY)
    assert decision.action == "all_clear", decision.sentence
    assert reports["check_performance"].status == "ok"
    assert told(ws, decision) is None
    assert ws.store.alerts.list("toy") == []


def test_metric_by_which_no_version_was_measured_is_said_with_the_way_out(ws):
    live(ws, toy_rows(NOW, days=8), days=8)
    config = CONFIG.with_overrides({"performance.metric": "log_loss"})
    decision, reports = check(ws, NOW + 8 * DAY, config)
    assert (decision.action, reports["check_performance"].status) == ("raise_alert", "undefined")
    assert "was not measured by log_loss on its holdout, but by brier, roc_auc" in decision.sentence
    assert "Set performance.metric back, or train a version" in decision.sentence
    window = loop.resolve_window(config, end=NOW + 8 * DAY, now=NOW + 8 * DAY)
    asked = loop.request_retrain(ws, config, window=window, reason="another metric", run_id="run-3")
    comparison = rollout.compare(ws, config, loop.retrain(ws, config, asked, **BY))
    assert comparison.metric == "log_loss"
    assert "log_loss" in ws.registry.reference("toy", comparison.challenger)["metrics"]


def test_window_checked_again_leaves_the_same_rows(ws):
    live(ws, toy_rows(NOW, days=8, shift=0.5), days=8)
    first, _ = check(ws, NOW + 8 * DAY)
    loop.record(ws, CONFIG, first, None, channels=["outbox"])
    before = everything(ws)
    second, _ = check(ws, NOW + 8 * DAY)
    loop.record(ws, CONFIG, second, None, channels=["outbox"])
    assert second == first
    assert everything(ws) == before


def test_count_window_counts_only_new_hours(ws):
    rows = toy_rows(NOW, days=9)
    live(ws, rows, days=8)
    window = loop.resolve_window(CONFIG, end=NOW + 8 * DAY, now=NOW)
    assert loop.count_window(ws, CONFIG, window).counted_hours == 8 * 24
    live(ws, rows, days=9)
    later = loop.resolve_window(CONFIG, end=NOW + 8 * DAY + timedelta(hours=6), now=NOW)
    counted = loop.count_window(ws, CONFIG, later)
    assert counted.counted_hours == 6
    assert counted.rows == 7 * 24 * 20


def test_count_window_reads_only_new_hours(ws, monkeypatch):
    rows = toy_rows(NOW, days=3)
    live(ws, rows, days=2)
    window = loop.resolve_window(CONFIG, end=NOW + 2 * DAY, now=NOW)
    loop.count_window(ws, CONFIG, window)
    late = toy_rows(NOW + timedelta(hours=5), days=1 / 24, seed=1)
    replay(ws, CONFIG, late, start=NOW, end=NOW + DAY)
    live(ws, rows, days=2.25)
    spans = []
    read = PredictionLog.read

    def noted(log, start, end, version=None):
        spans.append((start - NOW, end - NOW))
        return read(log, start, end, version)

    monkeypatch.setattr(PredictionLog, "read", noted)
    loop.count_window(ws, CONFIG, loop.resolve_window(CONFIG, end=NOW + 2.25 * DAY, now=NOW))
    hour = timedelta(hours=1)
    assert spans == [(5 * hour, 6 * hour), (48 * hour, 54 * hour)]


@pytest.mark.slow
def test_count_window_counts_the_last_hours_of_a_replaced_version(ws):
    live(ws, toy_rows(NOW, days=36, flip=True), days=36)
    decision = loop.request_retrain(
        ws, CONFIG, window=loop.resolve_window(CONFIG, end=NOW + 36 * DAY, now=NOW), reason="harm", run_id="r"
    )
    assert act(ws, decision).outcome == "promoted"
    live(ws, toy_rows(NOW + 36 * DAY, days=1, flip=True), days=1, start=NOW + 36 * DAY)
    log = ws.predictions(CONFIG)
    stranger = toy_rows(NOW + 36 * DAY, days=1 / 24, seed=7).drop_columns(["label"])
    log.append(stranger.append_column("version", pa.array([77] * stranger.num_rows)))
    counted = loop.count_window(ws, CONFIG, loop.resolve_window(CONFIG, end=NOW + 37 * DAY, now=NOW))
    assert (counted.version, counted.counted_hours) == (2, 24)
    old = usable_counts(ws, Window(NOW, NOW + 36 * DAY))
    assert old.n == 36 * 24 * 20
    assert {version for version, _, _ in log.dirty_hours(NOW + 40 * DAY)} == {77}  # the registry has no such version


def test_feature_removed_from_the_configuration_is_named_and_no_break(ws):
    live(ws, toy_rows(NOW, days=8), days=8)
    less = CONFIG.model_copy(update={"features": {"x": "numeric", "colour": "categorical"}})
    with pytest.raises(ConfigError, match="features: version 1 needs z, which is not configured any more: put it back"):
        check(ws, NOW + 8 * DAY, less)
    window = loop.resolve_window(less, end=NOW + 8 * DAY, now=NOW)
    decision = loop.request_retrain(ws, less, window=window, reason="without z", run_id="run-4")
    outcome = act(ws, decision, less)  # what cannot be compared with the champion does not replace it
    assert (outcome.outcome, outcome.version) == ("kept_champion", 1)
    assert "Champion 1 cannot be scored: toy: features: version 1 needs z" in outcome.sentence


def test_late_rows_are_counted_into_their_hour(ws):
    rows = toy_rows(NOW, days=8)
    early = rows.filter(pc.not_equal(pc.index_in(rows["colour"], pa.array(["blue"])), 0).fill_null(True))
    live(ws, early, days=8)
    window = loop.resolve_window(CONFIG, end=NOW + 8 * DAY, now=NOW)
    counted = loop.count_window(ws, CONFIG, window)
    live(ws, rows, days=8)
    recounted = loop.count_window(ws, CONFIG, window)
    assert recounted.rows > counted.rows
    grid = ws.registry.grid("toy", 1)
    log = ws.predictions(CONFIG)
    assert usable_counts(ws, window) == grid.count(log.read(window.start, window.end, 1))


def test_drift_without_harm_alerts_and_does_not_retrain(ws):
    rows = toy_rows(NOW, days=8)
    moved = rows.set_column(rows.schema.get_field_index("z"), "z", pc.add(rows["z"], 2.0))
    live(ws, moved, days=8)
    decision, _ = check(ws, NOW + 8 * DAY)
    assert decision.action == "raise_alert"
    assert "z" in decision.sentence
    assert "Labels show no harm" in decision.sentence
    assert told(ws, decision) is None, "a warning waits for the digest"
    [alert] = ws.store.alerts.list("toy")
    assert (alert["kind"], alert["subject"], alert["severity"], alert["state"]) == (
        "data_drift", "z", "warning", "pending",
    )  # fmt: skip


@pytest.mark.slow
def test_a_drift_is_told_in_one_digest_and_its_end_in_another(ws):
    """A week of drift was a mail a day once."""
    rows = toy_rows(NOW, days=21)
    moved = [value + 2 if index < 6 * 24 * 20 else value for index, value in enumerate(rows["z"].to_pylist())]
    live(ws, rows.set_column(rows.schema.get_field_index("z"), "z", pa.array(moved)), days=21)
    told_of = []
    for quarter in range(5 * 4, 20 * 4 + 1):
        now = NOW + quarter * timedelta(hours=6)
        decision, _ = check(ws, now)
        assert told(ws, decision) is None
        told_of += [
            (news.alert.subject, news.change) for each in flush_digests(ws, [CONFIG], now=now) for news in each.news
        ]
    assert told_of == [("z", "firing"), ("z", "resolved")]
    [alert] = ws.store.alerts.list("toy")
    assert alert["resolution"] == "12 checks in a row were clear"


def test_harm_without_a_retraining_is_told_by_the_check_that_finds_it_and_once(ws):
    config = CONFIG.model_copy(update={"retrain": None})
    live(ws, toy_rows(NOW, days=10, flip=True), days=10)
    first, _ = check(ws, NOW + 9 * DAY, config)
    message = told(ws, first, config=config, run_url="http://airflow/run")
    assert ("performance", "error", "firing") in {(each.kind, each.severity, each.change) for each in message.alerts}
    assert "http://airflow/run" in message.links.values()
    [delivery] = ws.store.outbox.deliveries()
    assert (delivery["channel"], delivery["recipient"]) == ("email", "oncall@example.com")
    assert told(ws, first, config=config) == message, "the same task again"
    again, _ = check(ws, NOW + 9 * DAY + timedelta(hours=6), config)
    assert told(ws, again, config=config) is None
    assert len(ws.store.outbox.deliveries()) == 1


def test_harm_retrains_and_promotes_a_better_challenger_once(ws):
    live(ws, toy_rows(NOW, days=36, flip=True), days=36)
    end = NOW + 36 * DAY
    decision, _ = check(ws, end)
    assert decision.action == "retrain"
    training = loop.retrain(ws, CONFIG, decision, **BY)
    assert loop.retrain(ws, CONFIG, decision, **BY) == training  # the same rows never train twice
    comparison = rollout.compare(ws, CONFIG, training)
    assert comparison.verdict == "pass"
    outcome = rollout.promote(ws, CONFIG, comparison.report_id, actor="tests", run_id="run-3")
    before = everything(ws)
    assert rollout.promote(ws, CONFIG, comparison.report_id, actor="tests", run_id="run-3") == outcome
    assert everything(ws) == before
    assert ws.registry.aliases("toy") == {"production": 2, "previous": 1}
    assert ws.registry.resolve("toy", version=2).tags["keel.parent"] == "1"
    assert [v.tags["keel.status"] for v in ws.registry.versions("toy")] == ["previous", "production"]
    message = told(ws, decision, outcome)
    assert [(each.kind, each.subject) for each in message.alerts] == [("promotion", "version 2")]
    [promotion] = [each for each in ws.store.alerts.list("toy") if each["kind"] == "promotion"]
    assert promotion["evidence"]["lower_bound"] > 0
    [harm] = [each for each in ws.store.alerts.list("toy") if each["kind"] == "performance"]
    assert (harm["state"], harm["resolution"], harm["told_at"]) == ("resolved", "version 2 was promoted", None)


@pytest.mark.slow
def test_retraining_starts_its_cooldown_once_its_version_is_registered(ws):
    live(ws, toy_rows(NOW, days=36, flip=True), days=36)
    end = NOW + 36 * DAY
    first, _ = check(ws, end - timedelta(hours=6))
    second, _ = check(ws, end - timedelta(hours=3))
    assert [first.action, second.action] == ["retrain", "retrain"], "the first one has trained nothing"
    loop.retrain(ws, CONFIG, second, **BY)
    third, _ = check(ws, end)
    assert third.action == "raise_alert"
    assert "the last retrain is cooling down" in third.sentence


def test_retrain_trains_once_though_a_label_arrives_late(ws):
    rows = toy_rows(NOW, days=36, flip=True)
    late = rows.slice(20 * 24 * 20, 1)
    without = pc.if_else(pc.equal(rows["id"], late["id"][0]), None, rows["label"])
    live(ws, rows.set_column(rows.schema.get_field_index("label"), "label", without), days=36)
    window = loop.resolve_window(CONFIG, end=NOW + 36 * DAY, now=NOW)

    def ask(run_id="run-4", reason="it hurts"):
        return loop.request_retrain(ws, CONFIG, window=window, reason=reason, run_id=run_id)

    decision = ask()
    first = loop.retrain(ws, CONFIG, decision, **BY)
    assert first.challenger == 2
    assert ws.registry.resolve("toy", version=2).tags["keel.decision_id"] == decision.decision_id
    label = late.select(["id", "label"]).append_column("observed_at", pc.add(late["time"], 20 * DAY))
    assert ws.predictions(CONFIG).add_labels(label).stored == 1
    assert loop.retrain(ws, CONFIG, decision, **BY) == first
    assert act(ws, decision).outcome == "promoted"
    assert ask().decision_id == decision.decision_id  # cleared when its own version is in production
    assert loop.retrain(ws, CONFIG, ask(), **BY).challenger == 2
    reseeded = CONFIG.with_overrides({"retrain.seed": 1})
    assert loop.retrain(ws, reseeded, decision, **BY).challenger == 3
    another = ask("run-5")
    assert another.decision_id != decision.decision_id
    assert loop.retrain(ws, CONFIG, another, **BY).challenger == 4


def test_equal_challenger_keeps_the_champion_once(ws):
    live(ws, toy_rows(NOW, days=8), days=8)
    window = loop.resolve_window(CONFIG, end=NOW + 8 * DAY, now=NOW)
    decision = loop.request_retrain(ws, CONFIG, window=window, reason="routine", run_id="run-4")
    outcome = act(ws, decision)
    assert outcome.outcome == "kept_champion"
    rows = len(list(ledger.entries(ws.store)))
    assert act(ws, decision) == outcome
    assert len(list(ledger.entries(ws.store))) == rows
    assert deployments.read(ws.store, "toy").production == 1
    assert ws.registry.resolve("toy", version=2).tags["keel.status"] == "rejected"


@pytest.mark.slow
def test_holdout_is_later_than_all_training_data_of_both_versions(ws):
    live(ws, toy_rows(NOW, days=36, flip=True), days=36)
    decision, _ = check(ws, NOW + 36 * DAY)
    act(ws, decision)
    live(ws, toy_rows(NOW + 36 * DAY, days=2, flip=True), days=2, start=NOW + 36 * DAY)
    # two days later most of the new holdout was version 2's own holdout, and none of it its training data
    window = loop.resolve_window(CONFIG, end=NOW + 38 * DAY, now=NOW)
    asked = loop.request_retrain(ws, CONFIG, window=window, reason="again", run_id="run-5")
    comparison = rollout.compare(ws, CONFIG, loop.retrain(ws, CONFIG, asked, **BY))
    assert comparison.prior_comparisons == 1
    assert rollout.compare(ws, CONFIG, loop.retrain(ws, CONFIG, asked, **BY)) == comparison
    learned = datetime.fromisoformat(ws.registry.reference("toy", 2)["training"]["end"])
    assert comparison.holdout.start >= learned
    # a holdout so long that it would reach into the champion's training rows is cut to what the champion has not seen
    long = CONFIG.with_overrides({"retrain.holdout": "20d"})
    asked = loop.request_retrain(ws, long, window=window, reason="a long holdout", run_id="run-6")
    comparison = rollout.compare(ws, long, loop.retrain(ws, long, asked, **BY))
    assert comparison.holdout.start == learned
    assert comparison.prior_comparisons == 2


def test_retrain_cools_down(ws):
    live(ws, toy_rows(NOW, days=9, flip=True), days=9)
    decision, _ = check(ws, NOW + 8 * DAY)
    assert decision.action == "retrain"
    loop.retrain(ws, CONFIG, decision, **BY)
    again, _ = check(ws, NOW + 8 * DAY + timedelta(hours=6))
    assert again.action == "raise_alert"
    assert "cooling down" in again.sentence
    assert check(ws, NOW + 9 * DAY)[0].action == "retrain"


@pytest.mark.slow
def test_promotion_compared_with_another_champion_is_refused(ws):
    live(ws, toy_rows(NOW, days=36, flip=True), days=36)
    decision, _ = check(ws, NOW + 36 * DAY)
    comparison = rollout.compare(ws, CONFIG, loop.retrain(ws, CONFIG, decision, **BY))
    other = rollout.compare(ws, CONFIG, loop.retrain(ws, CONFIG.with_overrides({"retrain.seed": 1}), decision, **BY))
    rollout.promote(ws, CONFIG, other.report_id, **BY)
    with pytest.raises(StaleGeneration, match="production is version 3, not 1"):
        rollout.promote(ws, CONFIG, comparison.report_id, **BY)
    assert deployments.read(ws.store, "toy").production == 3


def times_of_quarantines(ws):
    """Return when things were quarantined, by the store and by the ledger."""
    held = [row["created_at"] for row in ws.store.quarantines("toy")]
    return held + [row.at for row in ledger.entries(ws.store, "toy", "quarantine")]


@pytest.mark.parametrize("column", ["x", "colour"])
def test_missing_column_quarantines_only_its_hours(ws, column):
    rows = toy_rows(NOW, days=8)
    live(ws, rows, days=6)
    broken = NOW + 6 * DAY
    live(ws, rows.drop_columns([column]), days=1, start=broken)
    live(ws, rows, days=1, start=broken + DAY)
    decision, reports = check(ws, NOW + 8 * DAY)
    assert reports["check_data_quality"].status == "broken"
    assert decision.action == "quarantine"
    assert column in decision.sentence
    outcome = loop.quarantine(ws, CONFIG, decision, actor="tests", run_id="run-2", now=NOW + 8 * DAY)
    assert outcome.quarantined == (Window(broken, broken + DAY),)
    assert times_of_quarantines(ws) == [NOW + 8 * DAY] * 2
    kept = ws.predictions(CONFIG).labelled(NOW, NOW + 7 * DAY)
    assert pc.max(kept["time"]).as_py() < broken  # labels of the last day have not come yet
    assert loop.quarantine(ws, CONFIG, decision, actor="tests", run_id="run-2") == outcome
    assert len(ws.store.quarantines("toy")) == 1


def test_quarantine_spares_good_days_between_a_stray_row_and_a_break(ws):
    rows = toy_rows(NOW, days=8)
    without = rows.drop_columns(["x"])
    hour, third = timedelta(hours=1), NOW + 3 * DAY
    live(ws, without.slice(0, 1), days=1)
    live(ws, rows, days=3)
    live(ws, without, days=0.25, start=third)
    live(ws, rows, days=0.25, start=third + 6 * hour)
    live(ws, without, days=0.5, start=third + 12 * hour)
    live(ws, rows, days=4, start=third + DAY)
    decision, _ = check(ws, NOW + 7 * DAY)
    outcome = loop.quarantine(ws, CONFIG, decision, actor="tests", run_id="run-2")
    assert outcome.quarantined == (Window(NOW, NOW + hour), Window(third, third + DAY))
    assert outcome.sentence == (
        "Quarantined predictions of toy from 2026-02-10 00:00 to 2026-02-14 00:00 UTC, in 2 spans."
    )
    assert ws.predictions(CONFIG).labelled(NOW, third).num_rows == 3 * 24 * 20 - 20


HOUR = timedelta(hours=1)
BREAK = NOW + 6 * DAY
"""When twelve hours without a column begin."""


def broken_half_day(ws):
    """Return the decision on eight days with a break of twelve hours, which is quarantined as it ends."""
    rows = toy_rows(NOW, days=8)
    live(ws, rows, days=6)
    live(ws, rows.drop_columns(["x"]), days=0.5, start=BREAK)
    live(ws, rows, days=1.5, start=BREAK + 12 * HOUR)
    decision, _ = check(ws, BREAK + 12 * HOUR)
    assert decision.action == "quarantine"
    loop.quarantine(ws, CONFIG, decision, actor="tests", run_id="run-2")
    return decision


@pytest.mark.parametrize("hours", [6, 36])
def test_checks_after_a_quarantine_see_the_rest_of_the_window(ws, hours):
    broken_half_day(ws)
    end = BREAK + (12 + hours) * HOUR
    decision, reports = check(ws, end)
    assert decision.action == "all_clear", decision.sentence
    assert reports["check_data_quality"].status == "ok"
    assert reports["check_data_drift"].sentence.endswith("Quarantined and excluded: 240 rows of 12 h.")
    bodies = {kind: ws.store.reports.list("toy", kind, limit=1)[0]["body"] for kind in CHECKS}
    assert bodies["quality"]["quarantined"] == bodies["drift"]["quarantined"] == {"hours": 12, "rows": 240}
    assert bodies["drift"]["n"] == min(7 * 24, 6 * 24 + 12 + hours) * 20 - 240
    # labels are checked on a window one day earlier, which has the break only when it reaches a day beyond it
    late = 240 if hours == 36 else 0
    assert bodies["performance"]["quarantined"]["rows"] == late
    arrived = min(7 * 24, 5 * 24 + 12 + hours) * 20
    assert bodies["performance"]["n"] == arrived - late


def test_window_checked_again_after_its_own_quarantine_gives_the_same(ws):
    rows = toy_rows(NOW, days=8)
    live(ws, rows, days=5)
    live(ws, rows.drop_columns(["x"]), days=2, start=NOW + 5 * DAY)
    end = NOW + 7 * DAY
    first, found = check(ws, end)
    outcome = loop.quarantine(ws, CONFIG, first, actor="tests", run_id="run-2")
    before = everything(ws)
    for _ in range(2):
        second, again = check(ws, end)
        assert (second, again) == (first, found)
        assert loop.quarantine(ws, CONFIG, second, actor="tests", run_id="run-3") == outcome
    assert everything(ws) == before
    check(ws, end + 6 * HOUR)  # a later window leaves them out, and changes nothing for the first either
    assert check(ws, end) == (first, found)


def test_break_that_goes_on_is_quarantined_part_by_part(ws):
    rows = toy_rows(NOW, days=8)
    live(ws, rows, days=6)
    live(ws, rows.drop_columns(["x"]), days=1, start=BREAK)
    live(ws, rows, days=1, start=BREAK + DAY)
    for hours in (12, 24):
        decision, _ = check(ws, BREAK + hours * HOUR)
        assert decision.action == "quarantine"
        outcome = loop.quarantine(ws, CONFIG, decision, actor="tests", run_id="run-2")
        expected = Window(BREAK + (hours - 12) * HOUR, BREAK + hours * HOUR)
        assert outcome.quarantined == (expected,)
    assert check(ws, BREAK + 2 * DAY)[0].action == "all_clear"
    assert [e.action for e in ledger.entries(ws.store, "toy")] == ["register", "promote", "quarantine", "quarantine"]


def test_window_that_is_quarantined_as_a_whole_raises_an_alert(ws):
    rows = toy_rows(NOW, days=2)
    live(ws, rows.drop_columns(["x"]), days=1)
    decision, _ = check(ws, NOW + DAY)
    loop.quarantine(ws, CONFIG, decision, actor="tests", run_id="run-2")
    later, reports = check(ws, NOW + DAY + 6 * HOUR)
    assert reports["check_data_quality"].status == "empty"
    assert later.action == "raise_alert"
    assert "all 480 predictions of the window are in quarantined hours" in later.sentence
    first = told(ws, decision)
    assert {(each.kind, each.severity) for each in first.alerts} >= {("data_quality", "error")}
    assert told(ws, later) is None, "it is known that the data is broken"
    [blind] = [each for each in ws.store.alerts.list("toy") if each["subject"] == ""]
    assert (blind["kind"], blind["state"]) == ("data_quality", "firing")


def test_released_hours_are_not_quarantined_again_by_later_windows(ws):
    decision = broken_half_day(ws)
    [stretch] = ws.store.quarantines("toy")
    release(ws.store, "toy", stretch["start"], stretch["end"], actor="ada", now=NOW)
    for hours in (18, 24, 36):
        later, reports = check(ws, BREAK + hours * HOUR)
        assert later.action != "quarantine", later.sentence
        assert reports["check_data_quality"].status == "ok"
        assert ws.store.reports.list("toy", "drift", limit=1)[0]["body"]["n"] == min(7 * 24, 6 * 24 + hours) * 20  # all
    # the window that found them finds them again when it is checked again, and leaves the release as it is
    again, _ = check(ws, BREAK + 12 * HOUR)
    assert again == decision
    outcome = loop.quarantine(ws, CONFIG, again, actor="tests", run_id="run-3")
    assert (outcome.outcome, outcome.quarantined) == ("released", ())
    assert {each.kind for each in told(ws, again, outcome).alerts} == {"data_quality"}
    assert ws.store.quarantines("toy") == []


def test_window_released_as_a_whole_is_checked_except_for_its_form(ws):
    live(ws, toy_rows(NOW, days=2).drop_columns(["x"]), days=1)
    decision, _ = check(ws, NOW + DAY)
    loop.quarantine(ws, CONFIG, decision, actor="tests", run_id="run-2")
    release(ws.store, "toy", NOW, NOW + DAY, actor="ada", now=NOW)
    _, reports = check(ws, NOW + DAY + 6 * HOUR)
    assert reports["check_data_quality"].status == "ok"
    assert ws.store.reports.list("toy", "drift", limit=1)[0]["body"]["n"] == 480


@pytest.mark.parametrize(
    ("column", "values", "action"),
    [
        ("x", lambda n: pa.array(["warm"] * n), "quarantine"),
        ("x", lambda n: pa.nulls(n, pa.float64()), "quarantine"),
        ("x", lambda n: pa.array([float("inf")] * n), "quarantine"),
        ("colour", lambda n: pa.array(["mauve"] * n), "quarantine"),
        ("x", lambda n: pa.array([0.25] * n), "retrain"),  # a constant is a distribution, and here it hurts
    ],
    ids=["another type", "all missing", "infinite", "unseen category", "constant"],
)
def test_bad_values_have_a_named_outcome(ws, column, values, action):
    rows = toy_rows(NOW, days=8)
    good = live(ws, rows, days=4)
    bad = rows.set_column(rows.schema.get_field_index(column), column, values(rows.num_rows))
    stored = replay(ws, CONFIG, rows.slice(0, 0), start=NOW, end=NOW)
    assert stored.predictions == 0
    log = ws.predictions(CONFIG)
    tail = bad.filter(pc.greater_equal(bad["time"], pa.scalar(NOW + 4 * DAY, pa.timestamp("us", "UTC"))))
    scored = (
        tail.append_column("version", pa.array([1] * tail.num_rows, pa.int64()))
        .append_column("score", pa.array([0.5] * tail.num_rows))
        .append_column("prediction", pa.array([1.0] * tail.num_rows))
    )
    assert log.append(scored.drop_columns(["label"])).stored == tail.num_rows
    assert good.predictions + tail.num_rows == 8 * 24 * 20
    labels = tail.select(["id", "label"]).append_column("observed_at", pc.add(tail["time"], DAY))
    log.add_labels(labels)
    decision, _ = check(ws, NOW + 9 * DAY)
    assert decision.action == action, decision.sentence
    assert ('"mauve" (' in decision.sentence) is (column == "colour"), "an unseen category is named"


def test_extra_column_is_ignored_and_named(ws):
    rows = toy_rows(NOW, days=8).append_column("surprise", pa.array(["!"] * (8 * 24 * 20)))
    live(ws, rows, days=8)
    assert check(ws, NOW + 8 * DAY)[0].action == "all_clear"


def test_empty_window_is_an_alert(ws):
    decision, reports = check(ws, NOW + 30 * DAY)
    assert reports["check_data_quality"].status == "empty"
    assert decision.action == "raise_alert"
    assert "no prediction of the production version arrived" in decision.sentence
    assert [(each.kind, each.severity) for each in told(ws, decision).alerts] == [("no_predictions", "error")]


@pytest.mark.parametrize(
    ("every", "is_told"),
    [(1, True), (160, False), (8 * 24 * 20, False)],
    ids=["twenty an hour", "three a day", "one ever"],
)
def test_empty_window_is_told_only_where_the_usual_traffic_makes_it_improbable(ws, every, is_told):
    config = CONFIG.with_overrides({"check.lookback": "6h"})
    rows = toy_rows(NOW, days=8)
    live(ws, rows.take(list(range(0, rows.num_rows, every))), days=8)
    decision, reports = check(ws, NOW + 8 * DAY + timedelta(hours=6), config)
    assert (reports["check_data_quality"].status, decision.action) == ("empty", "raise_alert")
    assert (told(ws, decision, config=config) is not None) is is_told
    weeks_later, _ = check(ws, NOW + 70 * DAY, config)
    assert told(ws, weeks_later, config=config) is not None or is_told


def test_each_check_that_no_schedule_starts_lowers_the_level_of_the_next(ws, monkeypatch):
    seen, observe_check = [], notification.observe_check

    def observe(*about, levels):
        seen.append(levels.harm)
        return observe_check(*about, levels=levels)

    monkeypatch.setattr(notification, "observe_check", observe)
    config = CONFIG.with_overrides({"alerts.email": ["ann@example.com"]})
    for hour in (0, 1, 2, 2):  # the same window again is no further look
        told(ws, check(ws, NOW + 8 * DAY + timedelta(hours=hour), config)[0], config=config)
    first, second, third, again = seen
    assert (second, third, again) == pytest.approx((first / 2, first / 3, first / 3))


def test_window_that_ended_before_the_promotion_is_no_alert(ws):
    """Version 1 went into production at `NOW`; a check that began before finds it when it counts."""
    decision, _ = check(ws, NOW)
    assert (decision.action, decision.version) == ("all_clear", 1)
    assert decision.sentence.startswith(f"Nothing was checked: the version is in production since {NOW:%Y-%m-%d %H:%M}")
    assert told(ws, decision) is None
    later, _ = check(ws, NOW + DAY, run_id="run-3")
    assert (later.action, later.about) == ("raise_alert", ("no predictions",))


def test_window_of_one_row_is_not_checked(ws):
    live(ws, toy_rows(NOW, days=8).slice(0, 1), days=8)
    decision, reports = check(ws, NOW + DAY)
    assert reports["check_data_drift"].status == "insufficient"
    assert "not checked" in decision.sentence


def test_drift_without_labels_retrains(ws):
    late = toy_config(target={"name": "bought", "label_delay": "20d"})
    live(ws, toy_rows(NOW, days=8, shift=2.0), days=8, config=late)
    decision, reports = check(ws, NOW + 8 * DAY, late)
    assert reports["check_performance"].status == "no_labels"
    assert decision.action == "retrain"


def test_labels_that_stop_arriving_raise_an_alert(ws):
    rows = toy_rows(NOW, days=8)
    live(ws, rows, days=1.125)  # the labels of the first three hours come in, and then no more
    forever = toy_config(target={"name": "bought", "label_delay": "90d"})
    live(ws, rows, days=8, config=forever)
    decision, _ = check(ws, NOW + 8 * DAY)
    assert decision.action == "raise_alert"
    assert decision.about == ("missing labels",)
    assert "Labels of only 2% of the 3,360 matured predictions have arrived." in decision.sentence
    report = ws.store.reports.list("toy", "performance")[0]["body"]
    assert (report["due"], report["label_rate"], report["labels_missing"]) == (3_360, 60 / 3_360, True)
    assert told(ws, decision) is None, "a warning waits for the digest"
    assert [each["kind"] for each in ws.store.alerts.list("toy")] == ["labels_missing"]
    by_design = CONFIG.with_overrides({"performance.min_label_rate": 0})
    assert check(ws, NOW + 8 * DAY, by_design)[0].action == "all_clear"


def test_duplicate_ids_and_unmatched_labels_lose_nothing(ws):
    rows = toy_rows(NOW, days=2)
    assert live(ws, rows, days=2).predictions == rows.num_rows
    again = live(ws, rows, days=2)
    assert (again.predictions, again.labels) == (0, 0)
    orphan = pa.table({"id": ["nobody"], "label": [1.0], "observed_at": rows["time"].slice(0, 1)})
    assert ws.predictions(CONFIG).add_labels(orphan).unmatched == 1


def test_model_without_a_production_version_names_how_to_get_one(tmp_path):
    with Workspace.open(home=tmp_path, environment={}) as ws:
        window = loop.resolve_window(CONFIG, end=NOW, now=NOW)
        with pytest.raises(NoProductionVersion, match=r"airflow dags trigger toy\.retrain"):
            loop.count_window(ws, CONFIG, window)


def test_unknown_versions_and_models_name_what_exists(ws):
    with pytest.raises(UnknownVersion, match=r"no version 9; versions: 1; aliases: production → 1"):
        ws.registry.resolve("toy", version=9)
    with pytest.raises(UnknownVersion, match=r"no alias 'productoin'; did you mean 'production'\?"):
        ws.registry.resolve("toy", alias="productoin")
    with pytest.raises(UnknownVersion, match="no versions in the registry yet"):
        ws.registry.resolve("nothing")
    with pytest.raises(UnknownModel, match="did you mean 'flight_delay'"):
        get_model("flight_dealy")


def test_retrain_on_too_few_rows_names_how_many_are_needed(ws):
    early = loop.resolve_window(CONFIG, end=START + 9 * DAY, now=NOW)
    strict = CONFIG.with_overrides({"retrain.min_rows": 5_000})
    decision = loop.request_retrain(ws, strict, window=early, reason="too early", run_id="run-8")
    with pytest.raises(InsufficientData, match="labelled training rows: needs at least 5000 rows"):
        loop.retrain(ws, strict, decision, **BY)


def test_pipeline_that_raises_or_is_missing_is_named(ws):
    window = loop.resolve_window(CONFIG, end=NOW, now=NOW)
    missing = CONFIG.with_overrides({"retrain.pipeline": "tests.no_such_pipeline"})
    decision = loop.request_retrain(ws, missing, window=window, reason="missing", run_id="run-9")
    with pytest.raises(ConfigError, match=r"no module named 'tests\.no_such_pipeline'"):
        loop.retrain(ws, missing, decision, **BY)
    broken = CONFIG.with_overrides({"retrain.pipeline": "tests.support.toy"})  # a module without build()
    with pytest.raises(TrainingFailed, match=r"tests\.support\.toy: AttributeError"):
        loop.retrain(ws, broken, decision, **BY)


@pytest.mark.slow
def test_unreachable_store_or_registry_is_never_all_clear(ws, tmp_path):
    with pytest.raises(StoreUnavailable):
        Workspace.open(home=tmp_path, store_url="postgresql://keel:secret@127.0.0.1:1/keel", environment={})
    live(ws, toy_rows(NOW, days=1), days=1)
    nowhere = Workspace.open(home=ws.home, tracking_uri="http://127.0.0.1:1", environment={})
    with nowhere, pytest.raises(RegistryUnavailable, match="does not answer"):
        check(nowhere, NOW + DAY)


def test_decide_without_all_reports_is_an_error(ws):
    live(ws, toy_rows(NOW, days=8), days=8)
    window = loop.resolve_window(CONFIG, end=NOW + 8 * DAY, now=NOW)
    counted = loop.count_window(ws, CONFIG, window)
    loop.check_data_drift(ws, CONFIG, counted)
    with pytest.raises(Exception, match="no quality, performance report"):
        loop.decide(ws, CONFIG, counted, run_id="run-10")


def test_ledger_has_every_transition_and_shows_tampering(ws):
    live(ws, toy_rows(NOW, days=36, flip=True), days=36)
    decision, _ = check(ws, NOW + 36 * DAY)
    act(ws, decision)
    rows = list(ledger.entries(ws.store, "toy"))
    assert [(r.action, r.generation_from, r.generation_to) for r in rows] == [
        ("register", 0, 0), ("promote", 0, 1), ("register", 1, 1), ("promote", 1, 2),
    ]  # fmt: skip
    assert rows[3].body["from"]["production"] == 1
    assert rows[3].body["to"] == {"production": 2, "staging": None, "previous": 1}
    assert rows[3].body["evidence"]["lower_bound"] > 0
    assert ledger.verify(ws.store).broken_at is None
    with ws.store.begin() as connection:  # the owner of the database can drop its triggers
        triggers = connection.execute(sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars().all()
        for name in triggers:
            connection.execute(sa.text(f'DROP TRIGGER "{name}"'))
        connection.execute(sa.text("UPDATE ledger SET actor = 'nobody' WHERE seq = 1"))
    assert ledger.verify(ws.store).broken_at == 1


def test_rejected_challenger_cannot_be_promoted(ws):
    """As when a person starts the skipped task by hand."""
    live(ws, toy_rows(NOW, days=8), days=8)
    window = loop.resolve_window(CONFIG, end=NOW + 8 * DAY, now=NOW)
    decision = loop.request_retrain(ws, CONFIG, window=window, reason="routine", run_id="run-4")
    comparison = rollout.compare(ws, CONFIG, loop.retrain(ws, CONFIG, decision, **BY))
    assert comparison.verdict == "fail"
    with pytest.raises(NotShownBetter, match="version 2 is not promoted: Challenger 2 against champion 1"):
        rollout.promote(ws, CONFIG, comparison.report_id, actor="tests", run_id="run-4")
    assert deployments.read(ws.store, "toy").production == 1


def test_metric_undefined_on_the_holdout_is_none_in_records(ws):
    rows = toy_rows(NOW, days=9)
    ones = rows.set_column(rows.schema.get_field_index("label"), "label", pa.array([1.0] * rows.num_rows))
    live(ws, ones, days=9)
    window = loop.resolve_window(CONFIG, end=NOW + 8 * DAY, now=NOW)
    decision = loop.request_retrain(ws, CONFIG, window=window, reason="routine", run_id="run-4")
    with pytest.raises(InsufficientData, match="labels of 2026-.* are quarantined .*keel quarantine release toy"):
        loop.retrain(ws, CONFIG, decision, **BY)
    [held] = ws.store.quarantines("toy", about="labels")
    release(ws.store, "toy", held["start"], held["end"], actor="tests", now=NOW)  # a person says that they are right
    training = loop.retrain(ws, CONFIG, decision, **BY)
    assert training.metrics["roc_auc"] is None
    json.dumps([training.to_dict(), rollout.compare(ws, CONFIG, training).to_dict()], allow_nan=False)


def test_same_verdict_from_another_run_is_recorded_once(ws):
    live(ws, toy_rows(NOW, days=8), days=8)
    window = loop.resolve_window(CONFIG, end=NOW + 8 * DAY, now=NOW)
    decision = loop.request_retrain(ws, CONFIG, window=window, reason="routine", run_id="run-4")
    comparison = rollout.compare(ws, CONFIG, loop.retrain(ws, CONFIG, decision, **BY))
    for run_id in ("run-4", "run-5"):
        rollout.keep_champion(ws, CONFIG, comparison.report_id, actor="tests", run_id=run_id)
    assert [e.action for e in ledger.entries(ws.store, "toy")] == ["register", "promote", "register", "keep_champion"]
