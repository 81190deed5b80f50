"""Ledger rows are described for readers who know neither Keel nor statistics; no row raises."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keel.ledger import narrative
from keel.ledger.entries import Action, Entry
from keel.ledger.narrative import describe
from tests.support.ledger.story import COMPARED, HARM, STORY, TRIED, entry


def one(action: str, body: Any, **changes: Any) -> str:
    return describe(entry(1, action, body, **changes))


def test_every_action_has_a_function_of_its_own():
    assert set(narrative.DESCRIBERS) == set(Action)
    assert len(set(narrative.DESCRIBERS.values())) == len(Action)
    assert {row.action for row in STORY} >= set(Action)


@pytest.mark.parametrize("row", STORY, ids=lambda row: f"{row.seq}-{row.action}")
def test_a_realistic_row_is_described_in_whole_sentences(row):
    text = describe(row)
    assert text[0].isupper()
    assert text[-1] in ".!?"
    assert "  " not in text
    assert ".." not in text
    for jargon in ("None", "{", "_", "lower_bound", "nan", "generation"):
        assert jargon not in text.replace("flight_delay", ""), text


def test_a_promotion_is_described_with_its_data_numbers_people_and_versions():
    [promoted] = [row for row in STORY if row.seq == 9]
    assert describe(promoted) == (
        "Version 3 was promoted to production in place of version 1. The run was started by ada. On 19,153 labelled "
        "rows of 9 to 30 June 2013, which neither version had seen, its Brier score (lower is better) was 0.1841, "
        "against 0.2046 of version 1. That is better by 0.0205, by at least 0.0187 with 95 % confidence. It had to be "
        "better, and that was shown. It was approved by grace and requested by ada. It is on probation on the data of "
        "1 to 8 July 2013: Keel rolls it back if that data shows harm. In production before: version 1; after: "
        "version 3. A rollback goes to version 1."
    )


def test_a_rollback_is_described_with_its_reason():
    [rolled_back] = [row for row in STORY if row.action == Action.ROLLBACK]
    assert describe(rolled_back) == (
        f"Version 5 was rolled back; version 3 is in production again. Reason: {HARM} Version 5 was quarantined: it "
        "cannot be promoted until a person reinstates it. In production before: version 5; after: version 3. There is "
        "no version to roll back to."
    )


def test_the_start_and_end_of_an_experiment_are_described():
    started, ended = (row for row in STORY if row.action in (Action.EXPERIMENT_START, Action.EXPERIMENT_END))
    assert describe(started) == (
        "An experiment of version 6 against version 3 was started in production. The run was started by ada. Reason: "
        "the new feed. Version 6 answers 5 % of the entities for 24 hours, then 50 %, assigned at random. By its Brier "
        "score (lower is better) it must be better, with an error rate of at most 5 %. Without a result, the "
        "experiment ends after 20,000 outcomes or 61 days."
    )
    assert describe(ended) == (
        "The experiment of version 6 against version 3 ended: no difference was shown. Version 6 against version 3: no "
        "difference is shown on all outcomes that were planned. Version 3 answers all requests again."
    )


def test_a_shadow_experiment_and_a_stopped_one_are_described_as_such():
    plan = {**TRIED, "mode": "shadow", "stages": []}
    assert "Version 6 scores every request in shadow mode; version 3 answers all of them." in one(
        Action.EXPERIMENT_START, {"experiment": plan, "evidence": {"reason": "a look"}}
    )
    evidence = {"outcome": "stopped", "plan": plan, "sentence": "Stopped it: too dear", "reason": "too dear"}
    assert one(Action.EXPERIMENT_END, {"experiment": None, "evidence": evidence}) == (
        "The experiment of version 6 against version 3 was stopped by ada, without a verdict. Reason: too dear. "
        "Version 3 answers all requests again."
    )


def test_a_promotion_after_an_experiment_is_described_as_such():
    evidence = {**COMPARED, "basis": "experiment", "loss": "Brier score", "level": 0.05}
    body = {"from": {"production": 1}, "to": {"production": 3, "previous": 1}, "evidence": evidence}
    assert (
        "In an experiment in production from 9 to 30 June 2013, on 19,153 outcomes, its mean Brier score was 0.1841, "
        "against 0.2046 of version 1 (lower is better). That is better by 0.0205, by at least 0.0187"
    ) in one(Action.PROMOTE, body)


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        (
            (0.02, 0.01, 0.0),
            "better by 0.0200, by at least 0.0100 with 95 % confidence. It had to be better, and that was shown.",
        ),
        ((0.02, 0.01, 0.015), "It had to be better by more than 0.015, and that was not shown."),
        ((0.02, -0.01, 0.0), "better by 0.0200, but with 95 % confidence it may be worse by up to 0.0100."),
        (
            (-0.02, -0.03, 0.0),
            "worse by 0.0200, by up to 0.0300 with 95 % confidence. It had to be better, and that was not shown.",
        ),
        ((-0.001, -0.003, -0.005), "It had to be worse by less than 0.005, and that was shown."),
    ],
)
def test_the_lower_bound_is_described_in_words(numbers, told):
    names = ("improvement", "lower_bound", "margin")
    evidence = {**COMPARED, **dict(zip(names, numbers, strict=True))}
    assert told in one(Action.KEEP_CHAMPION, {"evidence": evidence})


@pytest.mark.parametrize(("level", "confidence"), [(0.0125, "98.75"), (0.00018, "99.98"), (2e-6, "99.9998")])
def test_the_confidence_is_that_of_the_level_used(level, confidence):
    told = one(Action.KEEP_CHAMPION, {"evidence": {**COMPARED, "alpha": 0.05, "level": level}})
    assert f"with {confidence} % confidence" in told


def test_a_challenger_that_failed_for_another_reason_is_described_by_that_reason():
    evidence = {**COMPARED, "verdict": "fail", "reason": "worse than allowed for carrier EV"}
    told = one(Action.KEEP_CHAMPION, {"evidence": evidence})
    assert "that was shown. It failed for another reason: worse than allowed for carrier EV. Version 1 stays" in told


def test_an_inconclusive_comparison_is_described_with_its_reason():
    for verdict in ("inconclusive", "keep_champion"):
        reason = "inconclusive: the holdout has 40 usable rows, 200 are needed"
        told = one(Action.KEEP_CHAMPION, {"evidence": {
            "verdict": verdict, "challenger": 4, "champion": 3, "reason": reason, "champion_value": None, "n": 40,
        }})  # fmt: skip
        assert told == (
            "Version 4 was not promoted. The run was started by ada. The comparison was inconclusive: the holdout has "
            "40 usable rows, 200 are needed. Version 3 stays in production."
        )


def test_a_row_of_a_scheduled_run_names_no_person():
    assert "ada" in one(Action.CONFIRM, {"evidence": {"version": 3}}, actor="ada")
    for actor in ("airflow", "None", ""):
        told = one(Action.CONFIRM, {"evidence": {"version": 3}}, actor=actor)
        assert told == "Version 3 passed its probation and stays in production."


def test_a_probation_without_enough_evidence_is_not_described_as_passed():
    said = {"version": 3, "sentence": "The probation shows nothing: no labels."}
    for verdict in ("inconclusive", "broken_promise"):
        told = one(Action.CONFIRM, {"evidence": {**said, "watched": {"verdict": verdict}}}, actor="keel")
        assert told == (
            "The probation of version 3 was ended by keel; the version stays in production. "
            "The probation shows nothing: no labels."
        )
    told = one(Action.CONFIRM, {"evidence": {**said, "reason": "its labels never come"}})
    assert told.endswith("was ended by ada; the version stays in production. Reason: its labels never come.")


def test_names_of_users_keep_their_case():
    approval = {"challenger": 3, "champion": None, "approver": "grace", "requesters": ["ada", "bob"]}
    assert one(Action.APPROVE, {"approval": approval}) == (
        "Version 3 was approved for production by grace. It was requested by ada and bob."
    )
    assert one(Action.DECLINE, {"approval": approval}).startswith("Version 3 was declined by grace.")


def test_an_unknown_action_is_described_by_its_name():
    body = {"evidence": {"sentence": "Split traffic between 3 and 4"}}
    assert one("start_experiment", body) == "Start experiment by ada. Split traffic between 3 and 4."
    assert one("", {}, actor="") == "."


def test_rows_without_a_stored_comparison_are_described():
    first = {
        "evidence": {"challenger": 1, "champion": None, "verdict": "promote",
                     "sentence": "Version 1 is the first; there is no champion to compare it with."},
        "from": {"production": None, "staging": None, "previous": None},
        "to": {"production": 1, "staging": None, "previous": None},
    }  # fmt: skip
    assert one("promote", first, actor="airflow") == (
        "Version 1 was promoted to production as the first version. Version 1 is the first; there is no champion to "
        "compare it with. In production before: no version; after: version 1."
    )


def test_control_characters_are_replaced():
    told = one("told", {"evidence": {"sentence": "all\x1b[2J is\r\nwell\x07"}})
    assert told.isprintable()
    assert "\x1b" not in told


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = (
    "from", "to", "statuses", "artifacts", "probation", "approval", "evidence", "production", "staging", "previous",
    "challenger", "champion", "champion_value", "challenger_value", "improvement", "lower_bound", "margin", "alpha",
    "level", "n", "metric", "holdout", "start", "end", "since", "until", "verdict", "reason", "sentence", "forced_by",
    "requested_by", "requesters", "approver", "files", "version", "status", "quarantined", "released", "tags", "3",
    "keel.training_start", "keel.training_end", "keel.holdout_end", "experiment", "plan", "stages", "share", "seconds",
    "max_n", "mode", "outcome", "experiment_id", "basis", "loss",
)  # fmt: skip
VALUES = JSON | st.sampled_from(["2013-05-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
PARTS = st.recursive(VALUES, lambda inner: st.dictionaries(st.sampled_from(NAMES), inner, max_size=8), max_leaves=20)


@settings(max_examples=150, deadline=None)
@given(action=st.sampled_from([*Action, "unheard_of"]), body=st.dictionaries(st.sampled_from(NAMES), PARTS) | JSON)
def test_no_row_raises(action, body):
    row = Entry(1, "m", datetime(2026, 3, 1, tzinfo=UTC), "ada", str(action), 0, 0, body, "", "")
    text = describe(row)
    assert text
    assert text.isprintable()
