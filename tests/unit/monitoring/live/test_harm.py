"""The harm monitor on a store: which pairs it reads, when, and each once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from keel.monitoring.live.audit import AuditMonitor
from keel.monitoring.live.groups import Judged
from keel.monitoring.live.harm import HarmMonitor
from keel.monitoring.live.loss_plan import LossPlan, plan_losses, why_untested
from keel.store.predictions.arrow_session import ArrowSession
from tests.support.live.losses import MINUTE, REFERENCE, START, LossWorld, advance_all
from tests.support.toy import toy_config

if TYPE_CHECKING:
    import pyarrow as pa

    from keel.config import ModelConfig
    from keel.store import Store

DAY = 24 * 60


def a_plan(config: ModelConfig) -> LossPlan:
    plan = plan_losses(config, REFERENCE)
    assert plan is not None
    return plan


def monitor_of(world: LossWorld, *, block_size: int = 20) -> HarmMonitor:
    return HarmMonitor.start(
        a_plan(world.config),
        after=0,
        last=world.log.last_arrival(),
        delay=world.config.target.label_delay,
        block_size=block_size,
    )


def counted(monitor: HarmMonitor) -> int:
    """Return how many pairs the monitor has tested, while all are in one run."""
    return monitor.blocks * monitor.test.block_size + len(monitor.test.pending)


def test_harm_monitor_waits_until_a_label_has_matured(world: LossWorld) -> None:
    world.predict(range(100))
    world.label({i: i < 40 for i in range(100)})
    monitor = monitor_of(world)
    assert monitor.advance(world.feed(99), blocks=10) is None
    [advance] = advance_all(monitor, world.feed(DAY + 49))
    assert (advance.rows, len(advance.ends), counted(monitor)) == (50, 2, 50)
    assert advance.ends[-1] == np.datetime64((START + 37 * MINUTE).replace(tzinfo=None), "us")
    assert monitor.advance(world.feed(DAY + 49), blocks=10) is None
    advance_all(monitor, world.feed(DAY + 99))
    assert counted(monitor) == 100


def test_harm_monitor_reads_each_pair_once_whenever_its_label_comes(store: Store, config: ModelConfig) -> None:
    world = LossWorld(store, config)
    rng = np.random.default_rng(1)
    wrong = {i: bool(rng.random() < 0.3) for i in range(400)}
    order = [int(i) for i in rng.permutation(400)]
    monitor, total = monitor_of(world), 0
    for step in range(8):
        world.predict(range(step * 50, step * 50 + 50))
        world.label({i: wrong[i] for i in order[step * 50 : step * 50 + 50]})
        total += sum(each.rows for each in advance_all(monitor, world.feed(DAY + step * 50 + 20)))
        monitor = HarmMonitor.from_arrays(monitor.to_arrays())
    total += sum(each.rows for each in advance_all(monitor, world.feed(DAY + 1_000)))
    assert (total, counted(monitor)) == (400, 400)


def test_harm_monitor_in_steps_of_any_size_has_the_same_bits(world: LossWorld) -> None:
    world.predict(range(2_500))
    world.label({i: i % 7 == 0 for i in range(0, 2_500, 2)})
    whole, steps = monitor_of(world), monitor_of(world)
    advance_all(whole, world.feed(DAY + 5_000))
    assert len(advance_all(steps, world.feed(DAY + 5_000), blocks=1)) > 1
    for name, array in whole.to_arrays().items():
        np.testing.assert_array_equal(array, steps.to_arrays()[name], err_msg=name)


def test_harm_monitor_of_another_version_reads_nothing(world: LossWorld) -> None:
    world.predict(range(40), version=2)
    world.label({i: True for i in range(40)})
    monitor = monitor_of(world)
    assert sum(each.rows for each in advance_all(monitor, world.feed(2 * DAY))) == 0


def test_harm_monitor_leaves_out_quarantined_times(world: LossWorld) -> None:
    world.predict(range(100))
    world.label({i: 30 <= i < 70 for i in range(100)})
    monitor = monitor_of(world)
    excluded = ((START + 30 * MINUTE, START + 70 * MINUTE),)
    [advance] = advance_all(monitor, world.feed(2 * DAY, excluded=excluded))
    assert (advance.rows, counted(monitor)) == (60, 60)
    assert monitor.test.evidence < 0


@pytest.mark.parametrize("kind", ["harm", "audit"])
def test_monitor_drops_the_rows_it_holds_that_were_quarantined_meanwhile(world: LossWorld, kind: str) -> None:
    monitor: HarmMonitor | AuditMonitor = monitor_of(world)
    if kind == "audit":
        monitor = AuditMonitor.start(
            a_plan(world.config), after=0, share=0.5, delay=world.config.labels.audit_delay, block_size=20
        )
    world.predict(range(55))
    world.label({i: i >= 40 for i in range(55)})
    advance_all(monitor, world.feed(2 * DAY))
    assert (monitor.blocks, len(monitor.test.pending)) == (2, 15)
    world.predict(range(60, 75))
    world.label({i: False for i in range(60, 75)})
    advance_all(monitor, world.feed(2 * DAY, excluded=((START + 45 * MINUTE, START + 60 * MINUTE),)))
    assert (monitor.blocks, len(monitor.test.pending)) == (3, 0)


def test_harm_monitor_late_labels_sorted_by_value_are_read_in_the_order_of_predictions(world: LossWorld) -> None:
    world.predict(range(400))
    monitor = monitor_of(world)
    advance_all(monitor, world.feed(2 * DAY))
    wrong = [i for i in range(400) if i % 10 == 0]
    world.label({i: True for i in wrong})
    world.label({i: False for i in range(400) if i % 10})
    highest = max(each.evidence.max() for each in advance_all(monitor, world.feed(2 * DAY)) if len(each.evidence))
    assert (counted(monitor), highest < np.log(1_000)) == (400, True)


def test_harm_monitor_with_a_row_dated_later_than_now_goes_on(world: LossWorld) -> None:
    world.predict([5 * DAY, *range(20)])
    world.label({5 * DAY: True, **{i: False for i in range(20)}})
    monitor = monitor_of(world)
    assert monitor.advance(world.feed(20, blocks={20: 21}), blocks=10) is None
    assert monitor.advance(world.feed(DAY + 19), blocks=10) is None, "its label would come early"
    monitor = HarmMonitor.from_arrays(monitor.to_arrays())
    [advance] = advance_all(monitor, world.feed(DAY + 30))
    assert advance.rows == 21
    assert advance.ends[-1] == np.datetime64((START + 17 * MINUTE).replace(tzinfo=None), "us")


def test_harm_monitor_with_a_backlog_reads_pages_of_bounded_memory(
    world: LossWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keel.monitoring.live.harm.MIN_PAGE", 10)
    monkeypatch.setattr("keel.monitoring.live.harm.PAGE_ROWS", 50)
    world.predict(range(330))
    world.label({i: False for i in range(330)})
    monitor = monitor_of(world, block_size=100)
    found = advance_all(monitor, world.feed(2 * DAY), blocks=10)
    assert [each.rows for each in found] == [50] * 6 + [30]
    assert counted(monitor) == 330


def test_harm_monitor_without_a_matured_row_reads_no_page(world: LossWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world.predict(range(1_000))
    world.label({i: False for i in range(1_000)})
    monitor = monitor_of(world)
    fetched: list[int] = []
    fetch = ArrowSession.fetch

    def watched(session: ArrowSession, statement: Any) -> pa.Table:
        found = fetch(session, statement)
        fetched.append(found.num_rows)
        return found

    monkeypatch.setattr(ArrowSession, "fetch", watched)
    assert monitor.advance(world.feed(DAY - 1), blocks=10) is None
    assert sum(fetched) <= 1
    fetched.clear()
    [advance] = advance_all(monitor, world.feed(DAY + 39))
    assert (advance.rows, sum(fetched) <= 44) == (40, True)


def test_harm_monitor_sentence_names_the_mean_the_start_and_what_is_tolerated(world: LossWorld) -> None:
    world.predict(range(400))
    world.label({i: i >= 200 for i in range(400)})
    monitor = monitor_of(world)
    advance_all(monitor, world.feed(2 * DAY))
    assert monitor.sentence() == (
        "The mean share of wrong decisions of 200 labelled predictions since 2026-03-01 03:25 UTC is 1, and at most "
        f"{monitor.test.limit:.4g} is tolerated."
    )
    assert monitor.evidence()[0] > 50
    monitor.restart(0, Judged(True, monitor.resume(0)))
    assert monitor.test.limit == 1
    assert np.isneginf(monitor.evidence()[0])


def test_plan_of_losses_is_the_upper_bound_of_the_holdout_and_the_tolerance(config: ModelConfig) -> None:
    plan = a_plan(config)
    assert 0.1 + 0.01 < plan.limit < 0.12
    assert (plan.mean, plan.tolerance) == (pytest.approx(0.1), 0.01)
    assert LossPlan.from_arrays(plan.to_arrays()) == plan


def test_plan_of_a_holdout_whose_days_differ_tolerates_more_and_is_restored(config: ModelConfig) -> None:
    days = {"loss": "accuracy", "days": 14, "rows": 700.0, "within": 0.09, "between": 0.002, "unexplained": 0.09}
    plan = plan_losses(config, {**REFERENCE, "days": days})
    assert plan is not None
    assert plan.limit > a_plan(config).limit + 0.01
    assert plan.correlation(0.1) < plan.correlation() == pytest.approx(0.002 / 0.09)
    assert LossPlan.from_arrays(plan.to_arrays()) == plan
    assert a_plan(config).correlation() == 0


def test_plan_of_a_regression_has_its_cap_and_speaks_in_units_of_the_metric() -> None:
    config = toy_config(target={"name": "y", "kind": "regression"}, performance={"metric": "mae"})
    reference = {"metrics": {"mae": {"value": 10.0, "standard_error": 0.1, "n": 10_000}}}
    plan = plan_losses(config, reference)
    assert plan is not None
    assert plan.loss.cap == pytest.approx(60.0)
    assert plan.in_units(plan.mean) == "10"
    assert float(plan.in_units(plan.limit)) > 10.01
    assert LossPlan.from_arrays(plan.to_arrays()) == plan


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ({"metrics": {}}, "the statistics of the version's holdout have no accuracy"),
        ({"metrics": {"accuracy": {"value": 0.2, "standard_error": 0.2, "n": 4}}}, "a holdout of 4 labels"),
    ],
)
def test_version_without_a_usable_baseline_is_not_tested_and_says_why(
    config: ModelConfig, reference: dict[str, object], why: str
) -> None:
    assert plan_losses(config, reference) is None
    assert why in why_untested(config, reference)
    assert why_untested(config, REFERENCE) == ""


def test_plan_tolerates_a_judged_level_of_its_own_loss_alone(config: ModelConfig) -> None:
    plan = a_plan(config)
    assert plan.tolerated(plan.level(0.3)) == pytest.approx(0.31)
    assert plan.tolerated(plan.level(1.0)) == 1
    assert plan.tolerated({**plan.level(0.3), "metric": "brier"}) == plan.limit
    assert plan.tolerated({}) == plan.limit
