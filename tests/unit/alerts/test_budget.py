"""The budget of messages that chance may cause, and the level that keeps it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keel.alerts.budget import Recorded, alert_levels, looks, looks_of, promise, recorded_looks, spent
from keel.alerts.door import observe_in
from keel.config import Kind
from tests.support.alerts.observations import DAY, HOUR, MONDAY, alerting, finding, seen, told_plainly
from tests.support.toy import toy_config

LIVE = 0.05 * 30 / 365.25 * 2
"""Messages of false live alarms in 30 days, by the default promise of one year in twenty."""


def model(name="toy", *, schedule="0 */6 * * *", drift=None, live=None, performance=None, **alerts):
    return toy_config(
        model=name,
        check={"schedule": schedule, "lookback": "7d"},
        drift={"min_rows": 200, **(drift or {})},
        alerts={"email": ["ann@example.com"], **alerts},
        **({"live": live} if live is not None else {}),
    )


@pytest.mark.parametrize(
    ("schedule", "times"),
    [
        (None, 0),
        ("0 */6 * * *", 120),
        ("* * * * *", 43_200),
        ("0 9 * * 1", 30 / 7),
        ("*/20 8-17 * * 1-5", 3 * 10 * 30 * 5 / 7),
        ("0 0 1 * *", 30 / (365.25 / 12)),
        ("0 0 29 2 *", 30 / 1461),
        ("0 0 30 2 *", 0),  # a day that does not come
    ],
)
def test_looks_are_those_of_the_schedule(schedule, times):
    assert looks(schedule) == pytest.approx(times, rel=2e-3)  # as four years begin and end


@pytest.mark.parametrize(
    ("schedule", "day", "month", "times"),
    [
        ("0 */6 * * *", 0, 0, 120),  # nothing is recorded yet
        ("0 */6 * * *", 4, 120, 120),
        ("0 */6 * * *", 3, 117, 120),  # some did not come
        ("0 */6 * * *", 4, 720, 720),
        ("0 */6 * * *", 24, 24, 720),  # the first day on which something else starts them
        ("0 9 * * 1", 1, 1, 30 / 7),  # the day of the schedule
        (None, 24, 24, 720),
        (None, 0, 9, 9),
        (None, 0, 0, 0),
    ],
)
def test_checks_beyond_the_schedule_are_looks_too(schedule, day, month, times):
    assert looks_of(model(schedule=schedule), Recorded(day, month)) == pytest.approx(times, rel=2e-3)


@pytest.mark.parametrize(
    ("schedule", "every"),
    [(None, HOUR), (None, DAY), ("0 */6 * * *", HOUR), ("0 */6 * * *", 6 * HOUR), (None, HOUR / 4)],
)
def test_promise_is_kept_from_the_first_check_whatever_starts_them(schedule, every):
    """Chance costs a check its level for each family. What the first days of a higher rate cost is not a fifth."""
    config = model(schedule=schedule)
    fixed, cost = LIVE + 0.1, 2.0
    per_day, checks, spending = DAY // every, 60 * DAY // every, []
    for number in range(1, checks + 1):
        levels = alert_levels(config, [config], {"toy": Recorded(min(number, per_day), min(number, 30 * per_day))})
        spending.append(cost * (4 * levels.level + levels.harm))
    month = checks // 2
    assert fixed + sum(spending[:month]) <= 2 * 1.2
    assert fixed + sum(spending[month:]) <= 2 * (1 + 1e-9)


def test_recorded_checks_are_those_of_the_last_month_each_window_once(store):
    config = alerting()
    for number, hours in enumerate([-31 * 24, -30 * 24 + 1, -5, -5, -1, 0]):
        at = MONDAY + hours * HOUR
        observe_in(store, config, seen(at=at, name=f"check {number}"), told_plainly, now=at)
    observe_in(store, config, seen(at=MONDAY - HOUR, source="live"), told_plainly, now=MONDAY)
    assert recorded_looks(store, MONDAY) == {"toy": Recorded(2, 3)}
    assert recorded_looks(store, MONDAY, checking="toy") == {"toy": Recorded(3, 4)}
    assert recorded_looks(store, MONDAY, checking="other")["other"] == Recorded(1, 1)


def test_levels_spend_half_of_the_budget_on_harm_and_half_on_every_other_family():
    [person] = promise([model()]).people
    [share] = person.models
    assert (share.looks, share.families, share.tells_harm, share.messages_each) == (120, 4, True, 2)
    assert share.fixed == pytest.approx(LIVE)
    assert person.long_run_level == pytest.approx((2 - LIVE) / 10 / 2)
    left = 2 - LIVE - 0.1
    assert person.level == pytest.approx(left / 2 / (120 * 4 * 2))
    assert person.harm_level == pytest.approx(left / 2 / (120 * 2))
    assert alert_levels(model(), [model()]) == (person.level, person.harm_level, 0.05)


def test_each_model_and_each_further_family_of_a_person_lowers_the_level():
    alone, shared = alert_levels(model(), [model()]), alert_levels(model(), [model(), model("other")])
    previous = alert_levels(model(drift={"against": ["training", "previous"]}), [])
    assert shared.level < alone.level / 1.9
    assert shared.harm < alone.harm / 1.9
    assert previous.level == pytest.approx(alone.level * 4 / 5)
    assert previous.harm == alone.harm


def test_models_of_other_people_do_not_matter():
    others = [model(f"model_{i}", email=[f"{i}@example.com"]) for i in range(5)]
    assert alert_levels(model(), [model(), *others]) == alert_levels(model(), [])


def test_strictest_person_of_a_model_sets_its_level():
    mine = model(email=["ann@example.com", "bob@example.com"])
    of_bob = [model(f"model_{i}", email=["bob@example.com"]) for i in range(3)]
    made = promise([mine, *of_bob])
    ann, bob = made.people
    assert bob.level < ann.level
    assert made.levels["toy"] == bob.level
    assert made.expected(bob) == pytest.approx(2)
    assert made.expected(ann) < 2


def test_address_in_another_spelling_is_the_same_person():
    spelt = model(email=["Ann@Example.com", "ann@example.com"])
    [person] = promise([spelt, model("other")]).people
    assert (person.recipient, len(person.models)) == ("ann@example.com", 2)


def test_smallest_budget_of_a_persons_models_counts():
    [person] = promise([model(budget=4), model("other", budget=0.5)]).people
    assert person.budget == 0.5


def test_route_that_takes_no_such_findings_costs_nothing():
    paged = {"channel": "pagerduty", "to": "on_call"}
    for route in ({"severity": "critical"}, {"kinds": ["pipeline_failure"]}):
        made = promise([model(email=[], routes=[{**paged, **route}])])
        assert [(each.level, each.harm_level, made.expected(each)) for each in made.people] == [(1, 1, 0)]
        assert (made.levels, made.harm_levels) == ({"toy": 0.05}, {"toy": 0.05})


def test_person_who_is_told_no_findings_of_a_model_leaves_its_level_alone():
    paged = {"channel": "email", "to": "bob@example.com", "severity": "critical"}
    others = [model(f"model_{i}", email=["bob@example.com"]) for i in range(5)]
    made = promise([model(routes=[paged]), *others])
    assert (made.levels["toy"], made.harm_levels["toy"], made.long_run_levels["toy"]) == alert_levels(model(), [])


@pytest.mark.parametrize(("models", "budget"), [(1, 0.1), (19, 2), (50, 2), (10, 0.5)])
def test_however_many_models_share_a_budget_each_can_be_told_of(models, budget):
    made = promise([model(f"model_{i}", budget=budget) for i in range(models)])
    [person] = made.people
    left = budget - models * LIVE
    assert left > 0
    assert made.is_kept(person)
    assert made.expected(person) == pytest.approx(budget)
    assert all(level >= 0.44 * left / (models * 120 * 4 * 2) for level in made.levels.values())
    assert all(level >= 0.44 * left / (models * 120 * 2) for level in made.harm_levels.values())
    assert all(level == pytest.approx(min(0.05, left / 10 / models / 2)) for level in made.long_run_levels.values())


def test_route_of_one_kind_spends_all_of_the_budget_on_it():
    paged = {"channel": "pagerduty", "to": "on_call"}
    [harm] = promise([model(email=[], routes=[{**paged, "kinds": ["performance"]}])]).people
    [quality] = promise([model(email=[], routes=[{**paged, "kinds": ["data_quality"]}])]).people
    assert harm.harm_level == pytest.approx((2 - LIVE - 0.1) / (120 * 2))
    assert quality.level == pytest.approx(2 / (120 * 2))
    assert (quality.models[0].families, quality.models[0].tells_harm) == (1, False)


def test_level_is_never_above_that_of_the_check_itself():
    assert alert_levels(model(schedule=None), []) == (0.05, 0.05, 0.05)
    assert alert_levels(model(schedule="0 0 1 * *", drift={"alpha": 0.01}), []) == (0.01, 0.05, 0.05)


def test_budget_that_live_monitors_exceed_alone_leaves_nothing_and_says_so():
    made = promise([model(budget=0.001)])
    [person] = made.people
    assert (made.levels, made.harm_levels) == ({"toy": 0}, {"toy": 0})
    assert made.expected(person) == pytest.approx(LIVE)
    assert made.long_run_levels == {"toy": 0}
    assert not made.is_kept(person)


def test_live_monitors_cost_what_they_promise():
    [alpha] = promise([model(live={"alpha": 0.2})]).people[0].models
    [run_length] = promise([model(live={"average_run_length": 5_000})]).people[0].models
    assert alpha.live_alarms == pytest.approx(0.2 * 30 / 365.25)
    assert run_length.live_alarms == pytest.approx(10_000 / 5_000 * 30 / 365.25)


def test_reminders_of_an_error_that_nobody_takes_over_are_paid_for():
    [share] = promise([model(remind="24h", resolve_after=12)]).people[0].models
    assert share.messages_each == 2 + 7 + 3  # a week's window, and three days until it is over


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([None, "0 */6 * * *", "0 9 * * 1", "*/15 * * * *"]),
            st.floats(0.2, 20),
            st.sets(st.sampled_from(["ann@example.com", "bob@example.com", "cem@example.com"])),
            st.sampled_from([None, "12h"]),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_promise_is_kept_for_every_person_of_any_set_of_models(models):
    configs = [
        model(f"model_{i}", schedule=schedule, budget=budget, email=sorted(people), remind=remind)
        for i, (schedule, budget, people, remind) in enumerate(models)
    ]
    made = promise(configs)
    assert {each.recipient for each in made.people} == {name for *_, people, _ in models for name in people}
    for person in made.people:
        fixed = sum(each.fixed for each in person.models)
        assert made.is_kept(person) == (fixed <= person.budget * (1 + 1e-9))
        assert all(0 <= made.levels[each.model] <= 0.05 for each in person.models)
    for config in configs:
        levels = tuple(each[config.model] for each in (made.levels, made.harm_levels, made.long_run_levels))
        assert alert_levels(config, configs) == pytest.approx(levels, rel=1e-9)


def test_spent_counts_what_was_accepted_by_person_and_kind(store):
    config = alerting(email=["ann@example.com", "bob@example.com"])
    for day, found in enumerate([finding(), finding(Kind.PIPELINE_FAILURE, "toy.drift_check")]):
        at = MONDAY + day * DAY
        observe_in(store, config, seen(found, at=at), told_plainly, now=at)
    assert [each.messages for each in spent(store, [config], since=MONDAY, until=MONDAY + 2 * DAY)] == [0, 0]
    for row in store.outbox.deliveries():
        if row["recipient"] == "ann@example.com" or row["created_at"] > MONDAY:
            attempt = {"at": MONDAY, "accepted": True, "answer": "250 ok", "milliseconds": 3}
            store.outbox.finish_try({**row, "state": "sent", "finished_at": MONDAY}, attempt)
    ann, bob = spent(store, [config], since=MONDAY, until=MONDAY + 2 * DAY)
    assert (ann.recipient, ann.messages, ann.by_kind) == (
        "ann@example.com",
        2,
        {"performance": 1, "pipeline_failure": 1},
    )
    assert (bob.messages, bob.by_kind) == (1, {"pipeline_failure": 1})
    [later, _] = spent(store, [config], since=MONDAY + DAY, until=MONDAY + timedelta(days=2))
    assert later.messages == 1
