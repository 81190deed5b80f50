"""The audit monitor on a store: which labels it uses, and when it stands still."""

from __future__ import annotations

import numpy as np

from keel.monitoring.live.audit import AuditMonitor
from keel.monitoring.live.audit_sample import is_audited
from keel.monitoring.live.groups import Judged
from keel.monitoring.live.loss_plan import plan_losses
from keel.monitoring.live.loss_test import VALUE
from tests.support.live.losses import REFERENCE, LossWorld, advance_all

HOUR = 60
SHARE = 0.5


def monitor_of(world: LossWorld) -> AuditMonitor:
    plan = plan_losses(world.config, REFERENCE)
    assert plan is not None
    return AuditMonitor.start(plan, after=0, share=SHARE, delay=world.config.labels.audit_delay, block_size=20)


def sample(n: int) -> list[int]:
    return [int(i) for i in np.flatnonzero(is_audited("toy", [f"p{i}" for i in range(n)], SHARE))]


def test_audit_monitor_reads_every_prediction_once_when_audited_labels_are_due(world: LossWorld) -> None:
    world.predict(range(200))
    monitor = monitor_of(world)
    [advance] = advance_all(monitor, world.feed(HOUR + 99))
    assert (advance.rows, monitor.blocks) == (100, 5)
    monitor = AuditMonitor.from_arrays(monitor.to_arrays())
    assert monitor.advance(world.feed(HOUR + 99), blocks=5) is None
    [advance] = advance_all(monitor, world.feed(HOUR + 500))
    assert (advance.rows, monitor.blocks) == (100, 10)


def test_audit_monitor_uses_the_labels_of_audited_rows_alone_and_counts_missing_ones_as_right(world: LossWorld) -> None:
    world.predict(range(19))
    audited = sample(19)
    others = [i for i in range(19) if i not in audited]
    world.label({**{i: True for i in others}, audited[0]: True, audited[1]: False})
    monitor = monitor_of(world)
    advance_all(monitor, world.feed(3 * HOUR))
    values = dict(enumerate(monitor.test.pending[:, VALUE].round(9)))
    assert {i: values[i] for i in others} == dict.fromkeys(others, 0.2)
    assert values[audited[0]] == 0.2 + (1 - 0.2) / SHARE
    assert {values[i] for i in audited[1:]} == {0.2 - 0.2 / SHARE}


def test_audit_monitor_finds_harm_and_says_that_it_is_estimated(world: LossWorld) -> None:
    world.predict(range(2_000))
    rng = np.random.default_rng(1)
    world.label({i: bool(rng.random() < (0.1 if i < 1_000 else 0.5)) for i in sample(2_000)})
    monitor = monitor_of(world)
    advance_all(monitor, world.feed(5_000))
    assert monitor.evidence()[0] > np.log(1e4)
    assert abs(monitor.test.rows_since - 1_000) < 200
    assert "estimated from the audited 50%, is 0." in monitor.sentence()
    assert monitor.note == ""
    monitor.restart(0, Judged(True, monitor.resume(0)))
    assert monitor.test.limit > 0.4


def test_audit_monitor_without_the_audited_labels_stands_still_and_says_so(world: LossWorld) -> None:
    world.predict(range(1_000))
    world.label({i: True for i in sample(1_000)[:200]})
    monitor = monitor_of(world)
    advance_all(monitor, world.feed(5_000))
    assert monitor.note.startswith("The test on an audit sample stands still. Only ")
    assert "and 80% is needed. keel live MODEL --audit FILE lists the predictions to label" in monitor.note
    assert 0 < monitor.test.detector.blocks < monitor.blocks


def test_audit_monitor_of_labels_that_merely_come_early_refuses_them_and_says_why(world: LossWorld) -> None:
    world.predict(range(1_500))
    world.label({i: True for i in range(0, 1_500, 2)})
    monitor = monitor_of(world)
    advance_all(monitor, world.feed(5_000))
    assert "merely come early, and are no random sample. The test is not valid for them" in monitor.note


def test_audit_monitor_goes_on_when_the_audited_labels_come_again(world: LossWorld) -> None:
    world.predict(range(4_000))
    world.label({i: False for i in sample(4_000) if i >= 1_000})
    monitor = monitor_of(world)
    advance_all(monitor, world.feed(1_000))
    assert monitor.note
    advance_all(monitor, world.feed(9_000))
    assert monitor.note == ""


def test_audit_monitor_state_in_any_steps_has_the_same_bits(world: LossWorld) -> None:
    world.predict(range(2_500))
    world.label({i: i % 3 == 0 for i in sample(2_500)})
    whole, steps = monitor_of(world), monitor_of(world)
    advance_all(whole, world.feed(9_000))
    assert len(advance_all(steps, world.feed(9_000), blocks=1)) > 1
    for name, array in whole.to_arrays().items():
        np.testing.assert_array_equal(array, steps.to_arrays()[name], err_msg=name)
