"""The ledger's rows are told so that somebody who knows neither Keel nor statistics can follow; no row stops it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keel.ledger import narrative
from keel.ledger.entries import Action, Entry
from keel.ledger.narrative import tell
from tests.support.ledger_story import COMPARED, HARM, STORY, TRIED, entry


def one(action: str, body: Any, **changes: Any) -> str:
    return tell(entry(1, action, body, **changes))


def test_every_action_is_told_and_by_a_function_of_its_own():
    assert set(narrative.TALES) == set(Action)
    assert len(set(narrative.TALES.values())) == len(Action)
    assert {row.action for row in STORY} >= set(Action)


@pytest.mark.parametrize("row", STORY, ids=lambda row: f"{row.seq}-{row.action}")
def test_a_realistic_row_is_told_in_whole_sentences(row):
    told = tell(row)
    assert told[0].isupper()
    assert told[-1] in ".!?"
    assert "  " not in told
    assert ".." not in told
    for jargon in ("None", "{", "_", "lower_bound", "nan", "generation"):
        assert jargon not in told.replace("flight_delay", ""), told


def test_a_promotion_is_told_with_its_data_numbers_people_and_places():
    [promoted] = [row for row in STORY if row.seq == 9]
    assert tell(promoted) == (
        "Version 3 went into production in place of version 1. The run was started by ada. On 19,153 labelled rows of "
        "9 to 30 June 2013, which neither version had seen, its Brier score (lower is better) was 0.1841, against "
        "0.2046 of version 1. That is better by 0.0205; allowing for chance, still by at least 0.0187 (95 % "
        "confidence). It had to be shown to be better, and it was. It was approved by grace, and asked for by ada. "
        "It is on probation on the data of 1 to 8 July 2013: shown to do harm there, it is taken back. In production "
        "before: version 1; after: version 3. Version 1 is kept to go back to."
    )


def test_a_rollback_is_told_with_its_reason():
    [taken_back] = [row for row in STORY if row.action == Action.ROLLBACK]
    assert tell(taken_back) == (
        f"Version 5 was taken back, and version 3 serves again. Why: {HARM} Version 5 is quarantined: it cannot come "
        "back until a person releases it. In production before: version 5; after: version 3. No version is kept to go "
        "back to."
    )


def test_an_experiment_is_told_from_its_start_to_its_end():
    started, ended = (row for row in STORY if row.action in (Action.EXPERIMENT_START, Action.EXPERIMENT_END))
    assert tell(started) == (
        "Version 6 is tried in production beside version 3. The run was started by ada. Why: the new feed. Who gets "
        "its answer is drawn once for each entity: 5 % of them for 24 hours, then 50 %. By its Brier score (lower is "
        "better) it has to be shown to be better, with a chance of at most 5 % to be wrong; without an answer it ends "
        "after 20,000 outcomes or 61 days."
    )
    assert tell(ended) == (
        "The experiment with version 6 beside version 3 ended: no difference is shown. Version 6 against version 3: no "
        "difference is shown on all outcomes that were planned. Version 3 answers everybody again."
    )


def test_a_shadow_and_an_experiment_that_was_stopped_are_told_as_such():
    plan = {**TRIED, "mode": "shadow", "stages": []}
    assert "It is asked whatever version 3 is asked, and answers nobody." in one(
        Action.EXPERIMENT_START, {"experiment": plan, "evidence": {"reason": "a look"}}
    )
    evidence = {"outcome": "stopped", "plan": plan, "sentence": "Stopped it: too dear", "reason": "too dear"}
    assert one(Action.EXPERIMENT_END, {"experiment": None, "evidence": evidence}) == (
        "The experiment with version 6 beside version 3 was stopped by ada, without a verdict. Why: too dear. "
        "Version 3 answers everybody again."
    )


def test_a_promotion_that_rests_on_an_experiment_says_so():
    evidence = {**COMPARED, "basis": "experiment", "loss": "Brier score", "level": 0.05}
    body = {"from": {"production": 1}, "to": {"production": 3, "previous": 1}, "evidence": evidence}
    assert (
        "In an experiment in production from 9 to 30 June 2013, on 19,153 outcomes, its mean Brier score was 0.1841, "
        "against 0.2046 of version 1 (lower is better). That is better by 0.0205; allowing for chance, still by"
    ) in one(Action.PROMOTE, body)


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        ((0.02, 0.01, 0.0), "better by 0.0200; allowing for chance, still by at least 0.0100 (95 % confidence). It had "
                            "to be shown to be better, and it was."),
        ((0.02, 0.01, 0.015), "still by at least 0.0100 (95 % confidence). It had to be shown to be better by more "
                              "than 0.015, and it was not."),
        ((0.02, -0.01, 0.0), "better by 0.0200; allowing for chance, it may as well be worse by 0.0100 (95 % conf"),
        ((-0.02, -0.03, 0.0), "worse by 0.0200; allowing for chance, by up to 0.0300 (95 % confidence). It had to be "
                              "shown to be better, and it was not."),
        ((-0.001, -0.003, -0.005), "It had to be shown to be worse by less than 0.005, and it was."),
    ],
)  # fmt: skip
def test_the_bound_is_told_in_words(numbers, told):
    names = ("improvement", "lower_bound", "margin")
    evidence = {**COMPARED, **dict(zip(names, numbers, strict=True))}
    assert told in one(Action.KEEP_CHAMPION, {"evidence": evidence})


def test_the_confidence_is_the_level_that_was_used():
    told = one(Action.KEEP_CHAMPION, {"evidence": {**COMPARED, "alpha": 0.05, "level": 0.0125}})
    assert "(98.75 % confidence)" in told


def test_a_challenger_that_failed_otherwise_is_not_told_as_if_the_bound_decided():
    evidence = {**COMPARED, "verdict": "fail", "reason": "worse than allowed for carrier EV"}
    told = one(Action.KEEP_CHAMPION, {"evidence": evidence})
    assert "and it was. All the same it did not pass: worse than allowed for carrier EV. Version 1 stays" in told


def test_what_could_not_be_concluded_says_so():
    for verdict in ("inconclusive", "keep_champion"):
        reason = "inconclusive: the holdout has 40 usable rows, 200 are needed"
        told = one(Action.KEEP_CHAMPION, {"evidence": {
            "verdict": verdict, "challenger": 4, "champion": 3, "reason": reason, "champion_value": None, "n": 40,
        }})  # fmt: skip
        assert told == (
            "Version 4 was not taken. The run was started by ada. Nothing could be concluded: the holdout has 40 "
            "usable rows, 200 are needed. Version 3 stays in production."
        )


def test_what_nobody_started_names_nobody():
    assert "ada" in one(Action.CONFIRM, {"evidence": {"version": 3}}, actor="ada")
    for actor in ("airflow", "None", ""):
        told = one(Action.CONFIRM, {"evidence": {"version": 3}}, actor=actor)
        assert told == "Version 3 has passed its probation, and stays in production."


def test_a_probation_that_has_shown_nothing_is_not_told_as_passed():
    said = {"version": 3, "sentence": "The probation shows nothing: no labels."}
    for verdict in ("inconclusive", "broken_promise"):
        told = one(Action.CONFIRM, {"evidence": {**said, "watched": {"verdict": verdict}}}, actor="keel")
        assert told == (
            "The probation of version 3 was ended by keel, and it stays in production. "
            "The probation shows nothing: no labels."
        )
    told = one(Action.CONFIRM, {"evidence": {**said, "reason": "its labels never come"}})
    assert told.endswith("was ended by ada, and it stays in production. Why: its labels never come.")


def test_names_of_users_are_written_as_they_are():
    approval = {"challenger": 3, "champion": None, "approver": "grace", "requesters": ["ada", "bob"]}
    assert one(Action.APPROVE, {"approval": approval}) == (
        "Version 3 was approved for production by grace. It was asked for by ada and bob."
    )
    assert one(Action.DECLINE, {"approval": approval}).startswith("Version 3 was declined by grace.")


def test_an_unknown_action_is_told_as_it_is():
    body = {"evidence": {"sentence": "Split traffic between 3 and 4"}}
    assert one("start_experiment", body) == "Start experiment by ada. Split traffic between 3 and 4."
    assert one("", {}, actor="") == "."


def test_rows_from_before_comparisons_were_kept_are_told():
    first = {
        "evidence": {"challenger": 1, "champion": None, "verdict": "promote",
                     "sentence": "Version 1 is the first; there is no champion to compare it with."},
        "from": {"production": None, "staging": None, "previous": None},
        "to": {"production": 1, "staging": None, "previous": None},
    }  # fmt: skip
    assert one("promote", first, actor="airflow") == (
        "Version 1 went into production, the first to do so. Version 1 is the first; there is no champion to compare "
        "it with. In production before: no version; after: version 1."
    )


def test_what_moves_a_cursor_or_breaks_a_line_does_not_come_through():
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
def test_no_row_stops_the_telling(action, body):
    row = Entry(1, "m", datetime(2026, 3, 1, tzinfo=UTC), "ada", str(action), 0, 0, body, "", "")
    told = tell(row)
    assert told
    assert told.isprintable()
