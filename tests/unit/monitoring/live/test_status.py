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
    assert [at for at, _ in x.trajectory] == sorted(at for at, _ in x.trajectory)
    assert x.trajectory[-1][1] == pytest.approx(x.evidence, abs=1e-3)
    assert len(x.trajectory) == 7
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
