"""A new run in the same term of a version: what was judged alarms no second time, and what was not read is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from keel.monitoring.alarms import Verdict
from keel.monitoring.live.state import SavedState
from keel.monitoring.live.status import live_status
from tests.support.live.models import MINUTE, LiveModel
from tests.support.toy import DAY

if TYPE_CHECKING:
    from keel.monitoring.records import LiveAlarm
    from keel.store import Store
    from tests.support.versions.cloned import Trained

COLUMNS = {"context": None, "columns": ["x"], "harm": False}
LOSSES = {"context": None, "columns": ["x"]}


@pytest.fixture
def losses(trained: Trained, sqlite_store: Store) -> LiveModel:
    """A model whose labels mature a day after their predictions."""
    return LiveModel.new(trained, sqlite_store, live=LOSSES)


def again(model: LiveModel, **live: Any) -> LiveModel:
    """Return the model before a new run: under other settings, or without any with a state that cannot be read."""
    if not live:
        model.damage(b"")
        return model
    before = model.config.live
    assert before is not None
    return model.configured(live={**before.model_dump(), **live})


def labelled(model: LiveModel, n: int, *, flipped: float) -> tuple[LiveAlarm, ...]:
    """Let predictions arrive, a share of them with a wrong label, and mature. Returns what opened."""
    rows = model.arrive(n)
    wrong = np.random.default_rng([3, n]).random(n) < flipped
    model.label(rows, np.abs(rows["prediction"].to_numpy() - wrong))
    model.now += 2 * DAY
    model.arrive(100)
    return tuple(alarm for alarm in model.catch_up().opened if alarm.kind != "fault")


def limit(model: LiveModel, kind: str = "harm") -> float:
    assert model.stored.state is not None
    return float(SavedState.from_bytes(model.stored.state).groups[kind]["numbers"][0])


SETTINGS = [
    {"alpha": 0.04},
    {"block_size": 50},
    {"context": ["weekday"]},
    {"columns": ["x", "z"]},
    {"thinning": 2},
    {},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda each: next(iter(each), "damaged state"))
def test_start_behind_a_judged_shift_takes_what_was_judged_as_normal(
    trained: Trained, sqlite_store: Store, settings: dict[str, Any]
) -> None:
    model = LiveModel.new(trained, sqlite_store, live=COLUMNS)
    model.arrive(500)
    model.shifted(300, by=1.0)
    assert [alarm.subject for alarm in model.catch_up().opened] == ["x"]
    model.judge()  # and the ended run has no block behind it
    model = again(model, **settings)
    model.shifted(1_600, by=1.0)
    assert {alarm.kind for alarm in model.catch_up().opened} <= {"fault"}
    assert model.stored.rows == 1_600
    model.shifted(600, by=-0.5)
    assert "x" in {alarm.subject for alarm in model.catch_up().opened}


@pytest.mark.parametrize(
    "settings", [{"alpha": 0.04}, {"block_size": 50}, {}], ids=lambda each: next(iter(each), "damaged")
)
def test_start_behind_a_judged_loss_tolerates_it_and_reads_all_that_came_later(
    losses: LiveModel, settings: dict[str, Any]
) -> None:
    rows = losses.arrive(3_000)
    losses.label(rows, 1.0 - rows["prediction"].to_numpy())
    [alarm] = losses.catch_up().opened
    assert alarm.kind == "harm"
    losses.judge()
    losses.catch_up()
    settled = 3_000 - 10 - 24 * 60  # the last block ends ten rows before its last
    judged = limit(losses)
    model = again(losses, **settings)
    model.now += 2 * DAY
    model.arrive(100)
    done = model.catch_up()
    assert done.labels == 3_000 - settled
    assert {alarm.kind for alarm in done.opened} <= {"fault"}
    assert limit(model) == judged


@pytest.mark.parametrize("settings", [{"alpha": 0.04}, {}], ids=["settings", "damaged"])
def test_start_behind_a_judged_loss_has_its_limit_and_alarms_on_more(
    losses: LiveModel, settings: dict[str, Any]
) -> None:
    [alarm] = labelled(losses, 2_000, flipped=0.4)
    losses.judge(alarm)
    assert labelled(losses, 2_000, flipped=0.4) == ()
    judged = limit(losses)
    model = again(losses, **settings)
    assert labelled(model, 3_000, flipped=0.4) == ()
    assert limit(model) == judged
    assert [alarm.kind for alarm in labelled(model, 3_000, flipped=0.7)] == ["harm"]


def test_start_behind_a_loss_on_broken_labels_keeps_the_limit_and_reads_them_no_second_time(losses: LiveModel) -> None:
    assert labelled(losses, 500, flipped=0.0) == ()
    before = limit(losses)
    [alarm] = labelled(losses, 2_000, flipped=1.0)
    losses.judge(alarm, verdict=Verdict.EXPLAINED)
    model = again(losses, alpha=0.04)
    assert labelled(model, 2_000, flipped=0.0) == ()
    assert limit(model) == before
    assert [alarm.kind for alarm in labelled(model, 2_000, flipped=0.5)] == ["harm"]


def test_start_without_a_judged_loss_adds_up_from_the_promotion(losses: LiveModel) -> None:
    assert labelled(losses, 1_000, flipped=0.05) == ()
    model = again(losses, block_size=50)
    model.arrive(100)
    assert model.catch_up().labels == 1_000


def test_start_with_a_row_dated_ahead_reads_again_what_has_matured(losses: LiveModel) -> None:
    losses.arrive(1, time=pa.array([losses.now + 365 * DAY], pa.timestamp("us", "UTC")))
    for _ in range(3):
        rows = losses.arrive(24 * 60)
        losses.label(rows, rows["prediction"].to_numpy())
        losses.catch_up()
    model = again(losses, alpha=0.04)
    model.arrive(100)
    assert model.catch_up().labels > 24 * 60


def test_alarm_that_a_new_run_has_not_come_to_is_judged_with_what_the_earlier_run_had(losses: LiveModel) -> None:
    [alarm] = labelled(losses, 2_000, flipped=0.4)
    before = limit(losses)
    model = again(losses, alpha=0.04)
    assert model.catch_up().blocks == 0  # the new run has no block yet
    model.judge(alarm)
    assert labelled(model, 2_000, flipped=0.4) == ()
    assert limit(model) > before + 0.05


@pytest.mark.parametrize(("tolerated", "is_open"), [(0.5, False), (0.011, True)])
def test_alarm_on_a_loss_that_is_tolerated_by_now_is_not_confirmed(
    losses: LiveModel, tolerated: float, is_open: bool
) -> None:
    [alarm] = labelled(losses, 2_000, flipped=0.4)
    performance = losses.config.performance.model_dump() | {"max_degradation": tolerated}
    model = losses.configured(live=LOSSES, performance=performance)
    assert labelled(model, 1_000, flipped=0.0) == ()
    [stored] = model.ws.store.live.alarms_of([alarm.alarm_id])
    assert stored["verdict"] == (None if is_open else Verdict.NOT_CONFIRMED)
    assert [each.alarm_id for each in model.open] == ([alarm.alarm_id] if is_open else [])
    assert model.catch_up().opened == ()


def test_alarm_that_a_new_run_takes_over_grows_with_its_rows_and_evidence(
    trained: Trained, sqlite_store: Store
) -> None:
    model = LiveModel.new(trained, sqlite_store, live=COLUMNS)
    model.arrive(500)
    model.shifted(100, by=2.0)
    [opened] = model.catch_up().opened
    model = again(model, alpha=0.04)
    model.shifted(2_000, by=2.0)
    model.catch_up()
    model.shifted(1_000, by=2.0)
    model.catch_up()
    [alarm] = model.open
    assert alarm.alarm_id == opened.alarm_id
    assert alarm.rows_since == opened.rows_since + 3_000
    assert alarm.evidence is not None
    assert opened.evidence is not None
    assert alarm.evidence > 3 * opened.evidence


def test_audit_behind_a_judged_loss_goes_on_there_and_tolerates_it(trained: Trained, sqlite_store: Store) -> None:
    model = LiveModel.new(
        trained, sqlite_store, live=LOSSES, labels={"audit_share": 0.5, "audit_delay": "1h"},
        target={"name": "bought", "label_delay": "30d"},
    )  # fmt: skip
    [alarm] = labelled(model, 2_000, flipped=0.5)
    assert alarm.kind == "audit"
    model.judge(alarm)
    assert model.catch_up().opened == ()
    judged = limit(model, "audit")
    model.damage(b"")
    assert labelled(model, 2_000, flipped=0.5) == ()
    assert limit(model, "audit") == judged


def test_rollback_reads_nothing_of_the_versions_first_term_again(trained: Trained, sqlite_store: Store) -> None:
    model = LiveModel.new(trained, sqlite_store, live=COLUMNS)
    model.arrive(1, time=pa.array([model.now + 60 * DAY], pa.timestamp("us", "UTC")))
    model.arrive(1_000)
    model.shifted(300, by=1.0)
    model.catch_up()
    model.judge()
    model.now += 10 * DAY
    model.promote(2)
    model.arrive(200, version=2)
    model.catch_up()
    model.now += 10 * DAY
    model.promote(1, action="rollback")
    model.arrive(50)
    assert model.catch_up().rows == 0
    model.shifted(350, by=1.0)  # what was judged in the first term is new in this one
    assert [alarm.subject for alarm in model.catch_up().opened] == ["x"]


def test_rollback_closes_the_alarms_of_the_versions_first_term(losses: LiveModel) -> None:
    assert labelled(losses, 500, flipped=0.0) == ()
    before = limit(losses)
    [alarm] = labelled(losses, 2_000, flipped=0.5)
    losses.promote(2)
    assert [each.alarm_id for each in losses.open] == [alarm.alarm_id]  # a check says that it is of another version
    losses.arrive(200, version=2)
    losses.catch_up()
    losses.promote(1, action="rollback")
    assert losses.open == []
    [stored] = losses.ws.store.live.alarms_of([alarm.alarm_id])
    assert (stored["verdict"], stored["judged_by"]) == (Verdict.OBSOLETE, "ledger row 3")
    assert labelled(losses, 2_000, flipped=0.0) == ()
    assert limit(losses) == before
    assert [each.kind for each in labelled(losses, 2_000, flipped=0.5)] == ["harm"]


def test_start_says_what_changed_and_what_stays_judged(model: LiveModel) -> None:
    model.arrive(200)
    model.catch_up()
    model = again(model, block_size=50)
    model.now += MINUTE
    model.arrive(50)
    model.catch_up()
    notes = " ".join(live_status(model.ws, model.config, now=model.now).notes)
    assert "settings changed: live.block_size. What checks have judged stays judged" in notes
