"""New rows are read once, in blocks; an alarm opens once, and its monitor starts anew when a check has judged it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.live_models import LiveModel

if TYPE_CHECKING:
    from keel.store import Store
    from tests.support.cloned_versions import Trained


@pytest.fixture
def model(trained: Trained, store: Store) -> LiveModel:
    return LiveModel.new(trained, store, live={"context": None, "columns": ["x", "z", "colour"], "harm": False})


def test_catch_up_of_a_first_poll_reads_whole_blocks_since_the_promotion(trained, store):
    model = LiveModel.new(trained, store, promoted=False)
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
