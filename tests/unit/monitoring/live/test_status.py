"""The status tells the evidence of each monitor, and when nothing reads what waits."""

from __future__ import annotations

from datetime import timedelta

import pytest

from keel.monitoring.live.status import live_status
from tests.support.live.models import LiveModel

HOUR = timedelta(hours=1)


@pytest.fixture
def model(trained, sqlite_store):
    return LiveModel.new(trained, sqlite_store, live={"context": None, "columns": ["x", "z"]})


def test_status_tells_evidence_alarms_and_trajectory(model):
    model.arrive(400)
    model.shifted(330, by=1.5)
    [alarm] = model.catch_up().opened
    status = live_status(model.ws, model.config, now=model.now)
    assert (status.state, status.version, status.blocks, status.rows, status.waiting) == ("reading", 1, 7, 700, 30)
    assert [each.alarm for each in status.alarms] == [alarm]
    x, z, harm = status.monitors
    assert (x.kind, x.subject, x.blocks, harm.kind) == ("shift", "x", 7, "harm")
    assert x.evidence > x.bound > z.evidence
    assert harm.evidence is None
    assert list(status.times) == sorted(status.times)
    assert x.trajectory[-1] == pytest.approx(x.evidence, abs=1e-3)
    assert len(x.trajectory) == len(status.times) == 7
    model.judge()
    after = live_status(model.ws, model.config, now=model.now, trajectories=False)
    assert (after.alarms, [each.alarm_id for each in after.judged]) == ((), [alarm.alarm_id])
    assert after.judged[0].judged_by == "decision-1"
    assert after.monitors[0].trajectory == ()
    assert (after.monitors[0].evidence, after.monitors[0].blocks) == (None, 0)  # it starts anew with the next block
    assert after.monitors[1] == z.model_copy(update={"trajectory": ()})


def test_status_of_whole_blocks_that_nobody_reads_asks_for_the_reader(model):
    model.arrive(100)
    model.catch_up()
    model.arrive(240)
    soon = model.now - timedelta(minutes=238)
    assert live_status(model.ws, model.config, now=soon).state == "reading"
    stalled = live_status(model.ws, model.config, now=model.now)
    assert (stalled.state, stalled.waiting) == ("stalled", 240)
    assert "240 predictions wait and the last block was read 4 h ago" in stalled.sentence
    assert "trained.drift_check paused, or the triggerer down?" in stalled.sentence


def test_status_of_a_block_that_came_after_a_quiet_night_is_not_stalled(model):
    model.arrive(100)
    model.catch_up()
    model.now += 9 * HOUR
    now = model.now + timedelta(minutes=2)
    model.arrive(100)
    assert live_status(model.ws, model.config, now=now).state == "reading"


def test_status_right_after_a_pause_waits_for_the_next_look(model):
    model.arrive(100)
    model.catch_up()
    store = model.ws.store.live
    store.set_paused("trained", True, now=model.now)
    model.arrive(500)
    store.set_paused("trained", False, now=model.now)
    soon = live_status(model.ws, model.config, now=model.now + timedelta(minutes=1))
    assert (soon.state, soon.waiting) == ("reading", 500)
    later = live_status(model.ws, model.config, now=model.now + timedelta(minutes=6))
    assert later.state == "stalled"


def test_status_counts_no_labels_that_nothing_will_read(model):
    quiet = model.configured(live={"context": None, "columns": ["x", "z"], "harm": False})
    rows = quiet.arrive(250)
    quiet.label(rows.slice(0, 100), [0] * 100)
    assert live_status(model.ws, model.config, now=model.now).waiting_labels == 100
    assert live_status(quiet.ws, quiet.config, now=quiet.now).waiting_labels == 0
    quiet.catch_up()
    read = live_status(quiet.ws, quiet.config, now=quiet.now)
    assert (read.waiting, read.waiting_labels) == (50, 0)


def test_status_of_monitors_that_are_off_has_open_alarms_and_nothing_of_the_last_run(model):
    model.arrive(400)
    model.shifted(300, by=1.5)
    model.catch_up()
    model.damage(b"nonsense")
    off = model.configured(live=None)
    off.arrive(500)
    status = live_status(off.ws, off.config, now=off.now)
    assert (status.state, len(status.alarms)) == ("off", 1)
    assert (status.monitors, status.promise, status.fault, status.waiting) == ((), "", "", 0)


def test_status_before_the_first_poll_and_of_models_without_monitors(model):
    assert live_status(model.ws, model.config, now=model.now).state == "starting"
    model.ws.store.live.set_paused("trained", True, now=model.now)
    model.arrive(100)
    paused = live_status(model.ws, model.config, now=model.now)
    assert (paused.state, paused.waiting) == ("paused", 100)
    assert "keel live trained --resume" in paused.sentence
    off = model.configured(live=None)
    assert live_status(off.ws, off.config, now=model.now).state == "off"
    model.promote(None)
    assert live_status(model.ws, model.config, now=model.now).state == "no version"


def test_status_of_a_damaged_state_says_so(model):
    model.arrive(100)
    model.catch_up()
    model.damage(b"nonsense")
    status = live_status(model.ws, model.config, now=model.now)
    assert "cannot be used" in status.fault
    assert status.monitors == ()


def test_status_after_a_rollback_counts_no_row_of_an_earlier_term_as_waiting(model):
    model.arrive(300)
    model.catch_up()
    model.promote(2)
    model.arrive(200)  # of a client that has not noticed
    model.promote(1)
    model.arrive(50)
    assert live_status(model.ws, model.config, now=model.now).waiting == 50
    model.arrive(20, version=2)
    model.promote(2)
    model.arrive(30, version=2)
    assert live_status(model.ws, model.config, now=model.now).waiting == 30
