"""The plan of a backtest: its steps, and its identity."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from keel.errors import ConfigError
from tests.support.backtest.plans import past_config, plan_of


def days(plan):
    return [f"{start:%m-%d} {end:%m-%d}" for start, end in plan.steps]


def test_steps_of_months_are_calendar_months_and_the_last_ends_with_the_span():
    plan = plan_of(start="2026-01-31", end="2026-04-15", every="month")
    assert days(plan) == ["01-31 02-28", "02-28 03-31", "03-31 04-15"]


def test_steps_of_a_duration_follow_each_other_and_the_last_may_be_shorter():
    assert days(plan_of(start="2026-02-01", end="2026-02-16", every="1w")) == [
        "02-01 02-08",
        "02-08 02-15",
        "02-15 02-16",
    ]


def test_history_start_reaches_back_as_far_as_the_longest_training_of_a_policy():
    plan = plan_of("default", "long:retrain.window=30d")
    assert plan.history_start == datetime(2026, 2, 5, tzinfo=UTC) - timedelta(days=1 + 3 + 30)


@pytest.mark.parametrize(
    ("span", "message"),
    [
        ({"start": "2026-03-02", "end": "2026-02-05"}, "must be before"),
        ({"start": "2026-02-05", "end": "2026-02-05"}, "must be before"),
        ({"start": "soon"}, "not an ISO 8601 time"),
        ({"end": "2026-03-02T10:30"}, "full hour"),
        ({"start": ""}, "full hour"),
        ({"every": "30d"}, "longer than the span"),
        ({"every": "month"}, "longer than the span"),
        ({"every": "0d"}, "full hours"),
        ({"every": "90m"}, "full hours"),
        ({"every": "weekly"}, "or month"),
        ({"start": "2000-01-01", "every": "1h"}, "more than 10,000 steps"),
        ({"every": "4000000d"}, "longer than the span"),
        ({"start": "1000-01-01", "every": "month"}, "more than 10,000 steps"),
        ({"start": "9999-01-01", "end": "9999-12-31", "every": "month"}, "in the years 1 to 9999"),
        ({"start": "0001-01-01", "end": "0001-03-01"}, "in the years 1 to 9999"),
    ],
)
def test_plan_of_a_span_that_cannot_be_is_refused_and_says_why(span, message):
    with pytest.raises(ConfigError, match=message) as found:
        plan_of(**span)
    assert found.value.exit_code == 2


def test_plan_of_a_model_without_retraining_is_refused():
    with pytest.raises(ConfigError, match="retrain: model.yaml has no such section"):
        plan_of(config=past_config(retrain=None))


def test_identity_differs_with_the_past_the_span_and_the_model_but_not_with_the_policies():
    plan = plan_of("default")
    assert plan.identity("a") == plan_of("never", "monthly").identity("a")
    others = [
        plan.identity("b"),
        plan_of(end="2026-03-01").identity("a"),
        plan_of(every="6d").identity("a"),
        plan_of(config=past_config(drift={"min_rows": 201})).identity("a"),
    ]
    assert len({plan.identity("a"), *others}) == 5


def test_policy_identity_differs_with_settings_timing_and_gate():
    plan = plan_of("default", "calm:drift.psi_alert=0.4", "monthly", "open:gate=off")
    assert len({plan.policy_identity(policy) for policy in plan.policies}) == 4
