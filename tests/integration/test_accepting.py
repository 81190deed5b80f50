"""Accepting a drift on a real store and a real registry, and comparing a window with the one before it."""

from __future__ import annotations

from datetime import timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from keel import loop
from keel.alerts.accepting import accept_drift, withdraw_acceptance
from keel.errors import ConfigError, InsufficientData, SchemaError, StoreUnavailable, UnknownWindow
from keel.ledger import entries as ledger
from keel.ledger.narrative import describe
from keel.monitoring.records import StoredConsecutiveReport, StoredDriftReport, StoredQualityReport
from keel.monitoring.storage import read_report
from keel.reports.check import collect, page
from keel.reports.text import plain
from keel.store import accepted as accepted_table
from keel.window import Window
from keel.workspace import Workspace
from tests.support.loop_steps import CONFIG, NOW, check, live, open_copy
from tests.support.toy import DAY, toy_config, toy_rows

WEEK = timedelta(days=7)
PREVIOUS = toy_config(drift={"min_rows": 200, "against": ["training", "previous"]})
SAID = {"reason": "the shop sells more expensive things now", "actor": "ann", "now": NOW + 8 * DAY}


@pytest.fixture(scope="module")
def registry(toy_home):
    """The registry of all workspaces here: nothing changes it."""
    with Workspace.open(home=toy_home, environment={}) as opened:
        yield opened.registry


@pytest.fixture
def ws(toy_home, registry, tmp_path):
    with open_copy(toy_home, tmp_path / "home", registry=registry) as opened:
        yield opened


@pytest.fixture(scope="module")
def moved_home(toy_home, registry, tmp_path_factory):
    """A home in which z has moved since version 1 is in production, as the check of the last week says."""
    home = tmp_path_factory.mktemp("moved") / "home"
    with open_copy(toy_home, home, registry=registry) as ws:
        live(ws, moved_rows(NOW, 8, 2.0), days=8)
        decision, _ = check(ws, NOW + 8 * DAY)
    assert decision.action == "raise_alert"
    return home


@pytest.fixture
def moved(moved_home, registry, tmp_path):
    with open_copy(moved_home, tmp_path / "home", registry=registry) as opened:
        yield opened


def moved_rows(start, days, by, *, seed=0):
    """Rows whose z is moved; z is in no relation to the label, so this does no harm."""
    rows = toy_rows(start, days=days, seed=seed)
    return rows.set_column(rows.schema.get_field_index("z"), "z", pc.add(rows["z"], by))


def drift_of(ws, end, kind=StoredDriftReport, config=CONFIG):
    report = read_report(ws, kind, "toy", 1, Window(end - config.check.lookback, end))
    assert report is not None
    return report


def go_on(ws, days, by, *, start):
    live(ws, moved_rows(start, days, by, seed=1), days=days, start=start)


def test_the_same_level_is_quiet_and_a_further_move_is_found(moved):
    decision, _ = check(moved, NOW + 8 * DAY)
    assert decision.action == "raise_alert"
    [accepted] = accept_drift(moved, CONFIG, "z", **SAID)
    assert (accepted.window, accepted.rows, accepted.accepted_by) == (decision.window, 7 * 24 * 20, "ann")

    go_on(moved, 8, 2.0, start=NOW + 8 * DAY)
    quiet, _ = check(moved, NOW + 16 * DAY)
    report = drift_of(moved, NOW + 16 * DAY)
    assert quiet.action == "all_clear"
    assert report.features["z"].severity == "ok"
    assert report.features["z"].accepted == accepted
    assert report.features["x"].accepted is None
    assert "Compared with an accepted window: z." in report.sentence

    go_on(moved, 8, 3.5, start=NOW + 16 * DAY)
    further, _ = check(moved, NOW + 24 * DAY)
    assert further.action == "raise_alert"
    assert drift_of(moved, NOW + 24 * DAY).features["z"].severity == "drift"


def test_a_move_back_to_the_training_rows_is_a_further_move(moved):
    accept_drift(moved, CONFIG, "z", **SAID)
    go_on(moved, 8, 0.0, start=NOW + 8 * DAY)
    check(moved, NOW + 16 * DAY)
    assert drift_of(moved, NOW + 16 * DAY).features["z"].severity == "drift"


def test_another_acceptance_replaces_the_first_and_the_ledger_has_both(moved):
    accept_drift(moved, CONFIG, "z", **SAID)
    go_on(moved, 8, 3.5, start=NOW + 8 * DAY)
    check(moved, NOW + 16 * DAY)
    [second] = accept_drift(moved, CONFIG, ["z"], **{**SAID, "actor": "ben", "now": NOW + 16 * DAY})
    check(moved, NOW + 16 * DAY)
    report = drift_of(moved, NOW + 16 * DAY)
    assert report.features["z"].severity == "ok"
    assert report.features["z"].accepted == second
    rows = list(ledger.entries(moved.store, "toy", ledger.Action.ACCEPT_DRIFT))
    assert [row.actor for row in rows] == ["ann", "ben"]
    assert "Reason: the shop sells more expensive things now" in describe(rows[0])
    assert ledger.verify(moved.store).broken_at is None


def test_the_same_window_again_changes_nothing(moved):
    first = accept_drift(moved, CONFIG, "z", **SAID)
    assert accept_drift(moved, CONFIG, "z", **{**SAID, "actor": "ben"}) == first
    assert len(list(ledger.entries(moved.store, "toy", ledger.Action.ACCEPT_DRIFT))) == 1


def test_the_open_alert_is_over_at_once_and_does_not_come_back(moved):
    config = toy_config(alerts={"email": ["oncall@example.com"], "fire_after": 1, "digest": None})
    decision, _ = check(moved, NOW + 8 * DAY)
    loop.notify(moved, config, decision, now=NOW + 8 * DAY)
    [alert] = moved.store.alerts.list("toy")
    assert (alert["kind"], alert["subject"], alert["state"]) == ("data_drift", "z", "firing")

    accept_drift(moved, config, "z", **SAID)
    [alert] = moved.store.alerts.list("toy")
    assert alert["state"] == "resolved"
    assert "ann accepted the drift of z as the new normal" in alert["resolution"]
    assert moved.store.alerts.events(alert["alert_id"])[-1]["event"] == "told"

    go_on(moved, 8, 2.0, start=NOW + 8 * DAY)
    quiet, _ = check(moved, NOW + 16 * DAY)
    assert loop.notify(moved, config, quiet, now=NOW + 16 * DAY).message_id is None
    assert len(moved.store.alerts.list("toy")) == 1


def test_a_withdrawn_acceptance_compares_with_the_training_rows_again(moved):
    accept_drift(moved, CONFIG, "z", **SAID)
    check(moved, NOW + 8 * DAY)
    assert drift_of(moved, NOW + 8 * DAY).features["z"].severity == "ok"
    [withdrawn] = withdraw_acceptance(moved, CONFIG, "z", reason="it was a promotion", actor="ben", now=NOW + 9 * DAY)
    assert withdrawn.accepted_by == "ann"
    check(moved, NOW + 8 * DAY)
    assert drift_of(moved, NOW + 8 * DAY).features["z"].severity == "drift"
    [row] = ledger.entries(moved.store, "toy", ledger.Action.WITHDRAW_ACCEPTANCE)
    assert describe(row).startswith("The acceptance of a drift was withdrawn by ben.")
    with pytest.raises(ConfigError, match="no drift of z is accepted for version 1"):
        withdraw_acceptance(moved, CONFIG, "z", reason="again", actor="ben", now=NOW + 9 * DAY)


def test_an_older_window_keeps_its_result_when_it_is_checked_again(ws):
    live(ws, moved_rows(NOW, 10, 2.0), days=10)
    earlier, later = NOW + 9 * DAY, NOW + 10 * DAY
    check(ws, earlier)
    check(ws, later)
    before = drift_of(ws, earlier)
    accept_drift(ws, CONFIG, "z", **SAID)
    check(ws, earlier)
    check(ws, later)
    assert drift_of(ws, earlier) == before
    assert drift_of(ws, later).features["z"].severity == "ok"


def test_a_window_that_was_compared_with_an_accepted_one_keeps_its_result_when_another_is_accepted(moved):
    accept_drift(moved, CONFIG, "z", **SAID)
    earlier, later = NOW + 10 * DAY, NOW + 20 * DAY
    go_on(moved, 2, 2.0, start=NOW + 8 * DAY)
    go_on(moved, 10, 4.0, start=earlier)
    check(moved, earlier)
    before = drift_of(moved, earlier)
    assert before.features["z"].severity == "ok"
    check(moved, later)
    [second] = accept_drift(moved, CONFIG, "z", **{**SAID, "now": later})
    drawn = collect(moved, CONFIG, 1, Window(earlier - WEEK, earlier)).charts["z"]
    check(moved, earlier)
    check(moved, later)
    assert drift_of(moved, earlier) == before
    assert collect(moved, CONFIG, 1, Window(earlier - WEEK, earlier)).charts["z"] == drawn
    assert drift_of(moved, later).features["z"].accepted == second
    withdraw_acceptance(moved, CONFIG, "z", reason="both were wrong", actor="ben", now=later)
    assert moved.store.accepted.of_version("toy", 1) == []


def test_a_column_that_few_rows_deliver_is_no_reference(ws):
    """A reference of few rows would find nothing any more."""
    rows, last = moved_rows(NOW, 8, 4.0), NOW + 8 * DAY - timedelta(hours=1)
    is_late = pc.greater_equal(rows["time"], pa.scalar(last, type=rows["time"].type))
    live(ws, rows.filter(pc.invert(is_late)).drop_columns(["z"]), days=8)
    live(ws, rows.filter(is_late), days=8)
    check(ws, NOW + 8 * DAY)
    with pytest.raises(InsufficientData, match=r"at least 200 rows, got 20: .* that deliver z"):
        accept_drift(ws, CONFIG, "z", **SAID)
    assert ws.store.accepted.of_version("toy", 1) == []


def test_another_version_has_its_own_reference(moved):
    """The row is of version 1; what another version is compared with is its own training rows."""
    accept_drift(moved, CONFIG, "z", **SAID)
    assert [row.column for row in moved.store.accepted.of_version("toy", 1)] == ["z"]
    assert moved.store.accepted.of_version("toy", 2) == []


def test_counts_and_ledger_row_are_written_together_or_not_at_all(moved, monkeypatch):
    def fail(*args, **kwargs):
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr("keel.alerts.accepting.append_entry", fail)
    with pytest.raises(StoreUnavailable):
        accept_drift(moved, CONFIG, "z", **SAID)
    assert moved.store.accepted.of_version("toy", 1) == []


def test_missing_values_are_quiet_as_data_quality_too(ws):
    """The column's reference is the accepted window, of whatever check: else one of them would warn for ever."""
    rows = toy_rows(NOW, days=16)
    gaps = pc.if_else(pa.array([i % 4 == 0 for i in range(rows.num_rows)]), None, rows["z"])
    live(ws, rows.set_column(rows.schema.get_field_index("z"), "z", gaps), days=16)
    check(ws, NOW + 8 * DAY)
    assert drift_of(ws, NOW + 8 * DAY, StoredQualityReport).status == "warn"
    accept_drift(ws, CONFIG, "z", **SAID)
    decision, _ = check(ws, NOW + 16 * DAY)
    assert drift_of(ws, NOW + 16 * DAY, StoredQualityReport).status == "ok"
    assert decision.action == "all_clear"


def test_the_page_draws_what_the_column_was_compared_with(moved):
    accept_drift(moved, CONFIG, "z", **SAID)
    go_on(moved, 8, 2.0, start=NOW + 8 * DAY)
    end = NOW + 16 * DAY
    check(moved, end)
    window = Window(end - WEEK, end)
    drawn = collect(moved, CONFIG, 1, window)
    then, now = drawn.charts["z"].medians
    assert then == pytest.approx(now, abs=0.1)
    text = " ".join(plain(page(drawn)).split())
    assert "which ann accepted as the new normal" in text
    withdraw_acceptance(moved, CONFIG, "z", reason="it was a promotion", actor="ben", now=SAID["now"])
    again = collect(moved, CONFIG, 1, window)
    assert again.charts["z"] == drawn.charts["z"], "the stored report was made with it"


@pytest.mark.parametrize(
    ("columns", "change", "error", "words"),
    [
        ("zz", {}, ConfigError, "the version has no column zz; did you mean 'z'"),
        ([], {}, ConfigError, "name the columns"),
        ("z", {"reason": "  "}, ConfigError, "give a reason"),
        ("x", {}, ConfigError, "x has not changed in 2026-02-11 00:00 to 2026-02-18 00:00 UTC"),
        ("z", {"window": Window(NOW + 100 * DAY, NOW + 101 * DAY)}, InsufficientData, "at least 200 rows, got 0"),
    ],
)
def test_what_cannot_be_accepted_is_said_and_nothing_is_written(moved, columns, change, error, words):
    with pytest.raises(error, match=words):
        accept_drift(moved, CONFIG, columns, **{**SAID, **change})
    assert moved.store.accepted.of_version("toy", 1) == []
    assert list(ledger.entries(moved.store, "toy", ledger.Action.ACCEPT_DRIFT)) == []


def test_a_version_without_a_check_needs_a_window(ws):
    with pytest.raises(UnknownWindow, match="version 1 has not been checked yet"):
        accept_drift(ws, CONFIG, "z", **SAID)


def test_damaged_counts_are_named(moved):
    accept_drift(moved, CONFIG, "z", **SAID)
    [row] = moved.store.accepted.of_version("toy", 1)
    with moved.store.begin() as connection:
        accepted_table.put(connection, accepted_table.AcceptedCounts(**{**row.__dict__, "payload": b"damaged"}))
    with pytest.raises(SchemaError, match="the accepted window of z cannot be read .*: withdraw it"):
        check(moved, NOW + 8 * DAY)
    withdraw_acceptance(moved, CONFIG, "z", reason="damaged", actor="ben", now=SAID["now"])
    check(moved, NOW + 8 * DAY)
    assert drift_of(moved, NOW + 8 * DAY).features["z"].accepted is None


def test_the_window_before_is_compared_where_the_model_asks_for_it(ws):
    live(ws, moved_rows(NOW, 14, 2.0), days=14)
    go_on(ws, 7, 4.0, start=NOW + 14 * DAY)
    first, second, third = (NOW + n * WEEK for n in (1, 2, 3))
    for end in (first, second, third):
        check(ws, end, PREVIOUS)
    reports = [drift_of(ws, end, StoredConsecutiveReport) for end in (first, second, third)]
    assert [report.status for report in reports] == ["insufficient", "ok", "drift"]
    assert "has 0 rows of version 1" in reports[0].sentence
    assert reports[2].features["z"].severity == "drift"
    assert (reports[2].previous, reports[2].n_previous) == (Window(first, second), 7 * 24 * 20)
    text = plain(page(collect(ws, PREVIOUS, 1, Window(second, third))))
    assert "Against the window before" in text
    assert "No decision rests on this comparison." in text


def test_a_change_since_the_window_before_is_an_alert_of_its_own(ws):
    config = PREVIOUS.model_copy(update={"alerts": toy_config(alerts={"fire_after": 1, "digest": None}).alerts})
    live(ws, moved_rows(NOW, 7, 2.0), days=7)
    check(ws, NOW + WEEK, config)
    accept_drift(ws, config, "z", **SAID)
    go_on(ws, 7, 4.0, start=NOW + WEEK)
    decision, _ = check(ws, NOW + 2 * WEEK, config)
    loop.notify(ws, config, decision, now=NOW + 2 * WEEK)

    def drifts():
        return {row["subject"]: row["state"] for row in ws.store.alerts.list("toy") if row["kind"] == "data_drift"}

    assert drifts() == {"z": "firing", "z against the window before": "firing"}
    accept_drift(ws, config, "z", **{**SAID, "now": NOW + 2 * WEEK})
    assert set(drifts().values()) == {"resolved"}


def test_the_window_before_decides_nothing(ws):
    live(ws, toy_rows(NOW, days=14), days=14)
    go_on(ws, 7, 0.25, start=NOW + 14 * DAY)
    without, _ = check(ws, NOW + 21 * DAY)
    assert ws.store.reports.list("toy", "consecutive") == []
    with_previous, _ = check(ws, NOW + 21 * DAY, PREVIOUS)
    assert with_previous == without
    assert len(ws.store.reports.list("toy", "consecutive")) == 1


def test_a_window_before_of_few_hours_is_no_comparison(ws):
    """A version that came into production late in the week before answers one weekday beside a whole week."""
    start = NOW + 6 * DAY
    live(ws, toy_rows(start, days=8, per_hour=60), days=8, start=start)
    check(ws, NOW + 14 * DAY, PREVIOUS)
    report = drift_of(ws, NOW + 14 * DAY, StoredConsecutiveReport)
    assert report.status == "insufficient"
    assert "has rows of version 1 in 24 h alone" in report.sentence
