"""Whatever arrives, each row counts once, no error is raised, and one cause opens one alarm."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

from keel.monitoring.live.groups import PAGE_ROWS
from keel.monitoring.live.starting import restored
from keel.monitoring.live.state import FORMAT, SavedState
from tests.support.live.models import MINUTE, PROMOTED, LiveModel

DAY = timedelta(days=1)
FEATURES = {"context": None, "columns": ["x"], "harm": False}
AUDITED = {"audit_share": 0.5, "audit_delay": "2h"}


def times(start, n, step=MINUTE):
    return pa.array([start + i * step for i in range(n)], pa.timestamp("us", "UTC"))


def groups(model):
    """Return the monitors of the mean loss, as they are stored."""
    return restored(model.ws, SavedState.from_bytes(model.stored.state)).groups[1:]


def test_catch_up_of_a_backlog_reads_pages_and_opens_one_alarm_for_each_changed_column(model, monkeypatch):
    model.arrive(PAGE_ROWS + 200)
    model.shifted(2 * PAGE_ROWS, by=1.0)
    limits = model.watch_pages(monkeypatch)
    done = model.catch_up(max_blocks=10_000)
    assert (done.rows, done.behind) == (3 * PAGE_ROWS + 200, False)
    assert [alarm.subject for alarm in done.opened] == ["x"]
    assert max(limits) <= PAGE_ROWS


def test_catch_up_in_any_steps_gives_the_same_bytes(trained, new_store):
    states = []
    for steps in (1, 3, 1_000):
        model = LiveModel.new(trained, new_store(), live={"columns": ["x", "colour"]}, labels=AUDITED)
        model.arrive(3, time=times(PROMOTED + 30 * DAY, 3))
        model.arrive(3, time=times(PROMOTED + 2 * DAY, 3))
        rows = model.arrive(700, version=1)
        model.label(rows, [1.0, 0.0] * 350)
        model.shifted(500, by=0.7)
        model.now += 2 * DAY
        model.shifted(300, by=0.7)
        while model.catch_up(now=PROMOTED + 4 * DAY, max_blocks=steps).behind:
            pass
        states.append(model.stored.state)
    assert states[0] == states[1] == states[2]


def test_catch_up_with_a_clock_that_goes_backwards_reads_every_row_once(model):
    model.arrive(150)
    assert model.catch_up().rows == 100
    model.arrive(150)
    assert model.catch_up(now=model.now - 30 * DAY).rows == 200
    assert (model.stored.rows, model.stored.seen_until <= model.now) == (300, True)
    model.arrive(100, time=times(PROMOTED - 2 * DAY, 100))
    before = model.stored.seen_until
    assert model.catch_up().rows == 100
    assert model.stored.seen_until == before


def test_catch_up_of_rows_dated_in_the_future_does_not_take_them_for_the_present(model):
    model.arrive(100, time=times(model.now + 3650 * DAY, 100))
    model.catch_up()
    assert model.stored.seen_until <= model.now
    model.shifted(300, by=3.0, time=times(model.now + 3650 * DAY, 300))
    [alarm] = model.catch_up().opened
    assert alarm.since <= model.now


@pytest.mark.parametrize("ahead", [timedelta(hours=6), 60 * DAY, 3650 * DAY])
def test_catch_up_of_a_replay_with_a_row_dated_ahead_counts_labels_as_without_it(trained, new_store, ahead):
    found = {}
    for misdated in (False, True):
        model = LiveModel.new(trained, new_store(), live={"context": None, "columns": ["x"]}, labels=AUDITED)
        model.arrive(150)
        model.arrive(1, time=times(model.now + (ahead if misdated else 0 * DAY), 1))
        for day in range(4):
            rows = model.arrive(1_000)
            model.label(rows, np.random.default_rng(day).integers(0, 2, 1_000).astype(float))
            model.catch_up(now=PROMOTED + 365 * DAY)
        harm, audit = groups(model)
        assert model.stored.seen_until <= model.now
        assert {alarm.opened_at <= model.now for alarm in model.open} == {True}
        found[misdated] = harm.test.blocks, harm.settled, audit.test.blocks, audit.settled, len(model.subjects)
    assert found[True] == found[False]
    assert found[False][0] > 10


def test_catch_up_of_a_client_whose_clock_is_ahead_lets_labels_mature_all_the_same(model):
    model = model.configured(live={"context": None, "columns": ["x"]})
    settled = []
    for _ in range(6):
        rows = model.arrive(480, time=times(model.now + DAY, 480))
        model.label(rows, np.zeros(480))
        model.catch_up()
        settled.append(groups(model)[0].settled)
    assert settled[:3] == [0, 0, 0]
    # five steps of eight hours after their arrival, not two days
    assert settled[4] > 480


def test_catch_up_of_a_large_block_reads_its_rows_when_it_is_whole(model, monkeypatch):
    model = model.configured(live={**FEATURES, "block_size": 200, "thinning": 3})
    limits = model.watch_pages(monkeypatch)
    for _ in range(5):
        model.arrive(110)
        assert model.catch_up().rows == 0
    assert limits == []
    model.arrive(110)
    assert (model.catch_up().rows, limits) == (600, [600])


def test_catch_up_of_some_late_rows_does_not_date_a_change_back(model):
    model.arrive(500)
    began = model.now
    late = [began - 6 * DAY if i % 20 == 0 else began + i * MINUTE for i in range(300)]
    model.shifted(300, by=1.5, time=pa.array(late, pa.timestamp("us", "UTC")))
    [alarm] = model.catch_up().opened
    assert abs(alarm.since - began) <= 100 * MINUTE


def test_catch_up_of_a_column_that_stops_arriving_opens_an_alarm_for_it_alone(model):
    model.arrive(500)
    model.arrive(300, x=None)
    assert [alarm.subject for alarm in model.catch_up().opened] == ["x"]


def test_catch_up_of_values_of_every_wrong_kind_raises_nothing(model):
    model.arrive(300)
    bad = pa.array(["abc", None, "", "NaN", "1e999", "-inf"] * 50)
    model.arrive(300, x=bad, z=np.where(np.arange(300) % 2, np.inf, np.nan), colour=pa.array(["puce\x00"] * 300))
    assert {alarm.subject for alarm in model.catch_up().opened} == {"x", "z", "colour"}


def test_catch_up_of_a_feature_that_becomes_constant_alarms_once_and_is_then_normal(model):
    model.arrive(500)
    model.arrive(400, z=np.full(400, 0.7))
    assert [alarm.subject for alarm in model.catch_up().opened] == ["z"]
    model.judge()
    model.arrive(2000, z=np.full(2000, 0.7))
    assert model.catch_up().opened == ()
    model.arrive(400)
    assert [alarm.subject for alarm in model.catch_up().opened] == ["z"]


def test_catch_up_of_alternating_versions_counts_the_rows_of_the_one_in_production(model):
    versions = pa.array([1 + i % 2 for i in range(400)], pa.int64())
    model.arrive(400, versions=versions)
    assert model.catch_up().rows == 200
    model.promote(2)
    model.now += MINUTE
    versions = pa.array([1 + i % 2 for i in range(400)], pa.int64())
    model.arrive(400, versions=versions)
    assert model.catch_up().rows == 200
    assert model.stored.rows == 200


@pytest.mark.parametrize("damage", ["truncated", "flipped", "nonsense", "newer", "reference"])
def test_catch_up_with_a_state_that_cannot_be_read_starts_afresh_and_says_so(model, damage):
    model.arrive(500)
    model.catch_up()
    state = model.stored.state
    if damage == "reference":
        model.damage_reference(b"nonsense")
    else:
        model.damage(
            {
                "truncated": state[: len(state) // 2],
                "flipped": state[:-50] + bytes([state[-50] ^ 1]) + state[-49:],
                "nonsense": b"nonsense",
                "newer": state.replace(b"%d\n" % FORMAT, b"%d\n" % (FORMAT + 1), 1),
            }[damage]
        )
    model.arrive(130)
    done = model.catch_up()
    [fault] = done.opened
    assert (fault.kind, fault.subject, done.rows) == ("fault", "state", 100)
    assert "behind prediction 500" in fault.sentence
    assert model.open == [fault]
    assert SavedState.from_bytes(model.stored.state).rows == 100
    model.shifted(270, by=2.0)
    assert [alarm.subject for alarm in model.catch_up().opened] == ["x"]


def test_catch_up_after_a_damaged_state_opens_no_second_alarm_for_an_open_one(model):
    model.arrive(500)
    model.shifted(300, by=1.5)
    [alarm] = model.catch_up().opened
    model.damage(b"")
    model.shifted(400, by=1.5)
    assert [each.kind for each in model.catch_up().opened] == ["fault"]
    assert model.subjects == {"x", "state"}
    model.judge()
    model.shifted(1000, by=1.5)
    assert model.catch_up().opened == ()
    assert alarm.alarm_id not in {each.alarm_id for each in model.open}


def test_catch_up_with_a_registry_that__goes_on_with_what_is_stored(model, tmp_path):
    model.arrive(200)
    model.catch_up()
    away = model.without_registry(tmp_path)
    away.shifted(300, by=2.0)
    assert [alarm.subject for alarm in away.catch_up().opened] == ["x"]
