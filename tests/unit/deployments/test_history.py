"""The state of a model follows from its ledger rows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from keel.deployments.history import (
    Deployment,
    History,
    Status,
    changed_statuses,
    fold,
    production_since,
    production_term,
)
from keel.ledger.entries import Entry

NOW = datetime(2026, 3, 1, tzinfo=UTC)
NOTHING: Mapping[str, int | None] = {"production": None, "staging": None, "previous": None}


def entry(seq: int, action: str = "promote", *, to: Mapping[str, int | None] | None = None, **body: Any) -> Entry:
    """A row; ``to`` names the deployed versions, and makes the row a change."""
    if to is not None:
        body |= {"from": {}, "to": {**NOTHING, **to}}
    generation = seq if to is not None else 0
    return Entry(seq, "m", NOW + timedelta(days=seq), "somebody", action, generation - 1, generation, body, "", "")


def statuses(state: History) -> dict[int, str]:
    return {version: str(reached.status) for version, reached in state.version_statuses.items()}


def reached(status: Status, reason: str = "because") -> dict[str, str]:
    return {"status": str(status), "reason": reason}


def test_fold_without_rows_is_an_empty_deployment() -> None:
    assert fold("m", []) == History(Deployment("m"))


def test_fold_takes_the_deployment_of_the_last_change_and_the_number_of_the_last_row() -> None:
    rows = [entry(1, to={"production": 1}), entry(2, to={"production": 2, "previous": 1}), entry(3, "told")]
    state = fold("m", rows)
    assert state.deployment == Deployment("m", 2, None, 1, generation=2)
    assert state.seq == 3


def test_production_since_is_in_the_datas_time_where_a_promotion_recorded_it() -> None:
    began = NOW - timedelta(days=500)
    probation = {"version": 1, "previous": None, "since": began.isoformat(), "until": NOW.isoformat()}
    first = entry(1, to={"production": 1}, probation=probation)
    staged = entry(2, "stage", to={"production": 1, "staging": 2})
    by_hand = entry(3, "out_of_band", to={"production": 2, "previous": 1})
    back = entry(4, "rollback", to={"production": 1}, probation=probation)
    gone = entry(5, "out_of_band", to={})
    assert production_since([]) is None
    assert production_since([first]) == production_since([first, staged]) == began
    assert production_since([first, staged, by_hand]) == NOW + timedelta(days=3)
    assert production_since([first, staged, by_hand, back]) == NOW + timedelta(days=4)
    assert production_since([first, staged, by_hand, back, gone]) is None


def test_production_term_begins_behind_the_rows_that_were_there_before_the_change() -> None:
    assert production_term([entry(1)]) is None
    rows = [
        entry(1, to={"production": 1}),  # by a release without numbers
        entry(2, to={"production": 2, "previous": 1}, arrival=300),
        entry(3, "stage", to={"production": 2, "previous": 1, "staging": 3}, arrival=400),
        entry(4, "rollback", to={"production": 1}, arrival=500),
    ]
    found = [production_term(rows[:n]) for n in (1, 2, 3, 4)]
    assert [(term.version, term.arrival) for term in found if term] == [(1, 0), (2, 300), (2, 300), (1, 500)]


def test_a_version_status_has_its_reason_time_and_row() -> None:
    state = fold("m", [entry(4, "register", statuses={"7": reached(Status.CANDIDATE, "trained")})])
    found = state.version_statuses[7]
    assert (found.status, found.reason, found.seq) == (Status.CANDIDATE, "trained", 4)
    assert found.since == NOW + timedelta(days=4)
    assert state.status(7) is Status.CANDIDATE
    assert state.status(8) is None


def test_a_later_row_replaces_the_status_of_an_earlier_one() -> None:
    rows = [
        entry(1, "register", statuses={"1": reached(Status.CANDIDATE), "2": reached(Status.CANDIDATE)}),
        entry(2, "keep_champion", statuses={"2": reached(Status.REJECTED)}),
    ]
    assert statuses(fold("m", rows)) == {1: "candidate", 2: "rejected"}


def test_rows_without_statuses_give_those_that_follow_from_the_aliases() -> None:
    rows = [
        entry(n, to={"production": n, "previous": n - 1 or None}, evidence={"sentence": f"promoted {n}"})
        for n in (1, 2, 3)
    ]
    state = fold("m", rows)
    assert statuses(state) == {1: "archived", 2: "previous", 3: "production"}
    assert state.version_statuses[2].reason == "promoted 3"


def test_a_pin_has_the_number_of_its_register_row() -> None:
    artifacts = {"version": 3, "run_id": "r", "files": {"model/MLmodel": "ab"}}
    state = fold("m", [entry(1, "register", artifacts=artifacts)])
    pin = state.pins[3]
    assert (pin.version, pin.run_id, dict(pin.files), pin.seq) == (3, "r", {"model/MLmodel": "ab"}, 1)


PROBATION = {"version": 2, "previous": 1, "since": "2026-03-01T00:00:00+00:00", "until": "2026-03-08T00:00:00+00:00"}


def test_a_promotion_begins_a_probation() -> None:
    state = fold("m", [entry(1, to={"production": 2, "previous": 1}, probation=PROBATION)])
    assert state.probation is not None
    assert (state.probation.version, state.probation.previous, state.probation.seq) == (2, 1, 1)
    assert state.probation.until - state.probation.since == timedelta(days=7)


@pytest.mark.parametrize(
    ("row", "over"),
    [
        (entry(2, "confirm", probation=None), True),
        (entry(2, "rollback", to={"production": 1}), True),
        (entry(2, "stage", to={"production": 2, "previous": 1, "staging": 3}), False),
        (entry(2, "told"), False),
    ],
    ids=["confirmed", "another version in production", "a version is staged", "another action"],
)
def test_a_probation_ends_by_a_row_or_when_another_version_is_in_production(row: Entry, over: bool) -> None:
    state = fold("m", [entry(1, to={"production": 2, "previous": 1}, probation=PROBATION), row])
    assert (state.probation is None) is over


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({}, {"production": 1}, {1: "production"}),
        ({"production": 1}, {"production": 2, "previous": 1}, {1: "previous", 2: "production"}),
        (
            {"production": 2, "previous": 1, "staging": 3},
            {"production": 3, "previous": 2},
            {1: "archived", 2: "previous", 3: "production"},
        ),
        ({"production": 2, "previous": 1}, {"production": 1}, {1: "production", 2: "archived"}),
        ({"staging": 1}, {"staging": 2}, {1: "candidate", 2: "staging"}),
        ({"production": 1}, {"production": 1, "staging": 1}, {}),
        ({"production": 2, "previous": 1}, {"production": 2, "previous": 1, "staging": 1}, {1: "staging"}),
        ({"production": 2, "previous": 1, "staging": 1}, {"production": 2, "previous": 1}, {1: "previous"}),
        ({"production": 1, "staging": 1}, {"production": 2, "staging": 1}, {1: "staging", 2: "production"}),
        ({"production": 1}, {"production": 1}, {}),
    ],
)
def test_changed_statuses_follow_a_versions_first_alias(before: Any, after: Any, expected: dict[int, str]) -> None:
    found = changed_statuses(Deployment("m", **before), Deployment("m", **after))
    assert {version: str(status) for version, status in found.items()} == expected
