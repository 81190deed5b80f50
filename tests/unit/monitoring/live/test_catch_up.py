"""New rows are read once, in blocks; an alarm opens once, and its monitor starts anew when a check has judged it."""

from __future__ import annotations

import math

import pytest

from keel.monitoring.live.status import live_status
from tests.support.live.models import MINUTE, LiveModel


def test_catch_up_of_a_first_poll_reads_whole_blocks_since_the_promotion(trained, sqlite_store):
    model = LiveModel.new(trained, sqlite_store, promoted=False)
    model.arrive(130)
    model.promote(1)
    model.arrive(250)
    done = model.catch_up()
    assert (done.version, done.blocks, done.rows, done.opened) == (1, 2, 200, ())
    assert (model.stored.predictions_until, model.stored.rows) == (330, 200)
    assert model.catch_up().rows == 0
    model.arrive(50)
    assert model.catch_up().rows == 100
    assert (model.stored.predictions_until, model.stored.rows) == (430, 300)


def test_catch_up_of_a_shift_opens_one_alarm_and_says_when_it_began(model):
    model.arrive(1000)
    began = model.now
    model.shifted(300, by=1.0)
    [alarm] = model.catch_up().opened
    assert (alarm.kind, alarm.subject, alarm.version) == ("shift", "x", 1)
    assert abs((alarm.since - began).total_seconds()) < 60 * 100
    assert alarm.evidence >= alarm.bound
    assert model.open == [alarm]
    model.shifted(100, by=1.0)
    again = model.catch_up()
    assert again.opened == ()
    [after] = model.open
    assert after.alarm_id == alarm.alarm_id
    assert after.evidence > alarm.evidence
    assert after.rows_since == alarm.rows_since + 100


def test_catch_up_after_a_check_has_judged_takes_what_was_judged_as_normal(model):
    model.arrive(500)
    model.shifted(300, by=1.0)
    model.catch_up()
    model.judge()
    model.shifted(1500, by=1.0)
    assert model.catch_up().opened == ()
    model.shifted(400, by=-0.5)
    [alarm] = model.catch_up().opened
    assert (alarm.subject, alarm.block < 20) == ("x", True)


def test_catch_up_after_one_of_two_alarms_was_judged_restarts_that_monitor_alone(model):
    model.arrive(500)
    model.shifted(300, by=1.0, z=[9.0] * 300)
    first, second = sorted(model.catch_up().opened, key=lambda alarm: alarm.subject)
    model.judge(first)
    model.shifted(100, by=1.0, z=[9.0] * 100)
    model.catch_up()
    [alarm] = model.open
    assert (alarm.alarm_id, alarm.evidence > second.evidence) == (second.alarm_id, True)


def test_catch_up_after_a_deployment_reads_the_new_versions_rows_against_its_reference(model):
    model.arrive(250)
    model.shifted(300, by=2.0)
    model.catch_up()
    old = model.stored
    model.arrive(40, version=2)  # answered by an experiment's arm before
    model.promote(2)
    model.arrive(60, version=2)
    model.arrive(30, version=1)  # answered before the switch, stored after it
    assert model.catch_up().rows == 0
    assert (model.stored.version, model.stored.rows) == (2, 0)
    assert model.stored.started_at > old.started_at
    model.arrive(40, version=2)
    done = model.catch_up()
    assert (done.version, done.rows, done.opened) == (2, 100, ())
    assert [alarm.version for alarm in model.open] == [1]  # no check has judged it


def test_catch_up_after_a_rollback_begins_behind_it(model):
    model.arrive(200)
    model.catch_up()
    model.promote(2)
    model.arrive(100, version=2)
    model.catch_up()
    model.promote(1, action="rollback")
    model.arrive(130)
    assert model.catch_up().rows == 100
    assert model.stored.predictions_until == 400


def test_catch_up_after_a_version_was_staged_goes_on(model):
    model.arrive(200)
    model.catch_up()
    before = model.stored
    model.stage(2)
    model.arrive(100)
    assert model.catch_up().rows == 100
    assert (model.stored.started_at, model.stored.rows) == (before.started_at, 300)
    assert model.stored.generation > before.generation


def test_catch_up_after_settings_changed_starts_at_the_row_where_it_stopped(model):
    model.arrive(500)
    model.shifted(300, by=1.0)
    model.catch_up()
    model.judge()
    other = model.configured(live={"context": None, "columns": ["x"], "harm": False, "block_size": 50})
    other.shifted(50, by=1.0)
    done = other.catch_up()
    assert (done.rows, done.opened) == (50, ())
    assert (other.stored.predictions_until, other.stored.rows) == (850, 50)
    assert "live.block_size" in " ".join(live_status(other.ws, other.config, now=other.now).notes)


def test_catch_up_while_paused_reads_nothing_and_loses_nothing(model):
    model.arrive(100)
    model.catch_up()
    model.ws.store.live.set_paused("trained", True, now=model.now)
    model.arrive(200)
    assert model.catch_up().rows == 0
    model.ws.store.live.set_paused("trained", False, now=model.now)
    assert model.catch_up().rows == 200


def test_catch_up_of_a_model_without_monitors_or_version_does_nothing(model):
    model.arrive(100)
    off = model.configured(live=None)
    assert off.catch_up().blocks == 0
    model.promote(None)
    assert model.catch_up().version is None
    assert model.ws.store.live.read("trained") is None


def test_catch_up_reads_no_more_than_asked_for_and_says_that_it_is_behind(model):
    model.arrive(500)
    first = model.catch_up(max_blocks=3)
    assert (first.blocks, first.behind) == (3, True)
    assert (model.catch_up().blocks, model.catch_up().behind) == (2, False)


def test_catch_up_with_thinning_monitors_every_nth_row(trained, sqlite_store):
    settings = {"context": None, "columns": ["x"], "harm": False, "thinning": 3, "block_size": 50}
    model = LiveModel.new(trained, sqlite_store, live=settings)
    x = [0.0, 0.0, 99.0] * 200  # every third row, and no other, is far away
    model.arrive(620, x=[*x, *[0.0] * 20])
    done = model.catch_up()
    assert (done.rows, done.blocks, len(done.opened)) == (600, 4, 1)
    assert model.stored.predictions_until == 600
    assert model.open[0].rows_since % 150 == 0


def test_catch_up_promises_the_bound_over_all_monitors(trained, sqlite_store):
    model = LiveModel.new(
        trained, sqlite_store, live={"context": None, "columns": ["x", "z"], "alpha": 0.1, "expected_traffic": 1000.0}
    )
    model.arrive(100)
    model.catch_up()
    status = live_status(model.ws, model.config, now=model.now)
    blocks = 3650
    assert [each.bound for each in status.monitors] == [pytest.approx(math.log10(3 * blocks / 0.1))] * 3
    assert "any of the 3 monitors alarms within 3,650 blocks of 100 predictions" in status.promise


def test_catch_up_counts_no_audited_prediction_as_a_label(trained, sqlite_store):
    audited = {"audit_share": 0.5, "audit_delay": "1h"}
    model = LiveModel.new(trained, sqlite_store, live={"context": None, "columns": ["x"]}, labels=audited)
    rows = model.arrive(1000)
    done = model.catch_up()
    assert (done.rows, done.labels) == (1000, 0)
    model.label(rows, [0.0] * 1000)
    model.now += 48 * 60 * MINUTE
    model.arrive(100)
    assert model.catch_up().labels == 1000
