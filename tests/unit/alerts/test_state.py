"""An alert begins once, gets worse at once, ends once; nobody is told of what a cause or a silence explains."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keel.alerts.records import EPISODE, PARTS, Alert, Change, Examined, News, Silence, State
from keel.alerts.state import is_prompt
from keel.config import AlertsConfig, Kind, Severity
from tests.support.alerts.life import START, STEP, Life, changes, finding, silence_of

DRIFT = finding(Kind.DATA_DRIFT, "temp")
DRIFT_ERROR = finding(Kind.DATA_DRIFT, "temp", Severity.ERROR)
HARM = finding(Kind.PERFORMANCE, "", Severity.ERROR)
NO_ROWS = finding(Kind.NO_PREDICTIONS, "", Severity.ERROR)
BROKEN = finding(Kind.DATA_QUALITY, "temp", Severity.ERROR)
LATE = finding(Kind.LABELS_MISSING)
CHECKED = (Kind.DATA_DRIFT, Kind.PREDICTION_DRIFT, Kind.PERFORMANCE, Kind.NO_PREDICTIONS, Kind.DATA_QUALITY)


def firing(kind: Kind = Kind.DATA_DRIFT, subject: str = "temp") -> list[tuple[Kind, str, Change]]:
    return [(kind, subject, Change.FIRING)]


def test_warning_of_a_test_is_told_in_the_second_window_in_a_row():
    life = Life()
    assert life.see(DRIFT) == []
    assert life.of(Kind.DATA_DRIFT, "temp").state is State.PENDING
    assert changes(life.see(DRIFT)) == firing()
    assert life.see(DRIFT) == []
    assert life.of(Kind.DATA_DRIFT, "temp").seen == 3
    assert life.events(Kind.DATA_DRIFT, "temp") == ["pending", "firing"]


def test_warning_that_the_next_window_does_not_show_leaves_no_trace():
    life = Life()
    life.see(DRIFT)
    assert life.see() == []
    assert life.alerts == {}
    assert [step.events for step in life.steps] == [(), ()]
    assert life.see(DRIFT) == []  # the first of two again


def test_feature_that_drifts_in_every_other_window_is_never_told():
    life = Life()
    assert [life.see(DRIFT) if i % 2 else life.see() for i in range(20)] == [[]] * 20


def test_feature_that_flaps_while_it_fires_keeps_its_one_alert():
    life = Life()
    life.see(DRIFT)
    life.see(DRIFT)
    assert [life.see(DRIFT) if i % 3 == 2 else life.see() for i in range(20)] == [[]] * 20
    assert len(life.alerts) == 1


@pytest.mark.parametrize("found", [DRIFT_ERROR, HARM, LATE, NO_ROWS], ids=lambda each: each.kind.value)
def test_harm_and_facts_are_told_in_the_window_that_shows_them(found):
    assert changes(Life().see(found)) == [(found.kind, found.subject, Change.FIRING)]


def test_what_a_test_found_is_over_after_windows_without_it_and_what_is_a_fact_at_once():
    life = Life()
    life.see(DRIFT_ERROR, LATE)
    told = life.see(examined=(Kind.DATA_DRIFT, Kind.LABELS_MISSING))
    assert changes(told) == [(Kind.LABELS_MISSING, "", Change.RESOLVED)]
    assert told[0].lasted == STEP.total_seconds()
    assert told[0].alert.resolution == "the latest check was clear"
    assert life.see() == []
    assert (life.of(Kind.DATA_DRIFT, "temp").seen, life.of(Kind.DATA_DRIFT, "temp").clear) == (0, 2)
    [over] = life.see()
    assert (over.change, over.lasted) == (Change.RESOLVED, 3 * STEP.total_seconds())
    assert (over.alert.seen, over.alert.clear) == (0, 3)
    assert life.events(Kind.DATA_DRIFT, "temp") == ["firing", "resolved"]
    assert over.alert.resolution == "3 checks in a row were clear"
    assert life.see() == []


def test_window_that_could_not_be_judged_counts_neither_way():
    life = Life()
    life.see(DRIFT)
    before = life.of(Kind.DATA_DRIFT, "temp")
    assert life.see(examined=(Kind.PERFORMANCE,)) == []
    assert life.see(examined=(Examined(kind=Kind.DATA_DRIFT, subject="wind"),)) == []
    after = life.of(Kind.DATA_DRIFT, "temp")
    assert (after.state, after.seen, after.last_seen) == (State.PENDING, before.seen, before.last_seen)
    assert changes(life.see(DRIFT)) == firing()


def test_window_that_is_checked_twice_is_one_window():
    life = Life()
    life.see(DRIFT)
    assert life.see(DRIFT, after=timedelta(0)) == []
    assert changes(life.see(DRIFT)) == firing()


def test_clear_window_that_is_checked_again_counts_once():
    life = Life()
    life.see(HARM)
    assert [life.see(after=timedelta(0)) for _ in range(5)] == [[]] * 5, "the window that shows it"
    assert life.see() == []
    assert [life.see(after=timedelta(0)) for _ in range(5)] == [[]] * 5
    assert life.see() == []
    assert changes(life.see()) == [(Kind.PERFORMANCE, "", Change.RESOLVED)]


def test_pending_alert_does_not_wait_for_ever_for_a_window_that_can_tell():
    few, many = Life(), Life()
    for life, windows in ((few, 2), (many, 3)):  # three are enough to resolve
        life.see(DRIFT)
        assert [life.see(examined=()) for _ in range(windows)] == [[]] * windows
    assert changes(few.see(DRIFT)) == firing()
    assert many.see(DRIFT) == []
    assert many.of(Kind.DATA_DRIFT, "temp").seen == 1


def test_version_of_older_data_ends_an_alert_with_the_last_window_that_showed_it():
    life = Life()
    life.see(HARM)
    life.see(HARM)
    promoted = finding(Kind.PROMOTION, "version 4", Severity.INFO)
    told = life.see(promoted, examined=(), version_changed=True, after=-10 * STEP)
    assert [(each.change, each.lasted) for each in told][-1] == (Change.RESOLVED, STEP.total_seconds())


def test_worse_is_told_at_once_and_better_is_not():
    life = Life()
    life.see(DRIFT)
    life.see(DRIFT)
    assert changes(life.see(DRIFT_ERROR)) == [(Kind.DATA_DRIFT, "temp", Change.ESCALATED)]
    assert life.see(DRIFT) == []
    assert life.of(Kind.DATA_DRIFT, "temp").severity is Severity.WARNING
    assert life.see(DRIFT_ERROR) == []  # known
    assert life.events(Kind.DATA_DRIFT, "temp")[-1] == "escalated"


def test_acknowledged_alert_fires_again_where_it_gets_worse():
    life = Life()
    life.see(DRIFT)
    life.see(DRIFT)
    alert = life.of(Kind.DATA_DRIFT, "temp")
    taken = alert.model_copy(update={"state": State.ACKNOWLEDGED, "acknowledged_by": "ada"})
    life.alerts[alert.alert_id] = taken
    assert life.see(DRIFT) == []
    assert life.of(Kind.DATA_DRIFT, "temp").state is State.ACKNOWLEDGED
    assert changes(life.see(DRIFT_ERROR)) == [(Kind.DATA_DRIFT, "temp", Change.ESCALATED)]
    assert life.of(Kind.DATA_DRIFT, "temp").acknowledged_by is None


def test_error_that_nobody_acknowledges_is_told_again_where_that_is_configured():
    life = Life(AlertsConfig(remind="24h"))
    life.see(HARM)
    told = [changes(life.see(HARM)) for _ in range(8)]
    assert [bool(each) for each in told] == [False, False, False, True] * 2
    assert told[3] == [(Kind.PERFORMANCE, "", Change.REMINDER)]
    life.alerts = {each.alert_id: each.model_copy(update={"state": State.ACKNOWLEDGED}) for each in life.open}
    assert [life.see(HARM) for _ in range(8)] == [[]] * 8


def test_error_that_was_worse_is_not_news_after_a_reminder():
    life = Life(AlertsConfig(remind="6h"))
    life.see(finding(Kind.PERFORMANCE, "", Severity.CRITICAL))
    told = [change for found in (HARM, finding(Kind.PERFORMANCE, "", Severity.CRITICAL)) for change in life.see(found)]
    assert [each.change for each in told] == [Change.REMINDER] * 2


def test_warning_is_not_told_again():
    life = Life(AlertsConfig(remind="6h"))
    assert [len(life.see(LATE)) for _ in range(5)] == [1, 0, 0, 0, 0]


def test_drift_is_not_told_while_performance_is_degraded_and_is_told_afterwards_if_it_lasts():
    life = Life(AlertsConfig(fire_after=2, resolve_after=1))
    assert changes(life.see(HARM, DRIFT)) == [(Kind.PERFORMANCE, "", Change.FIRING)]
    assert life.see(HARM, DRIFT) == []
    assert life.of(Kind.DATA_DRIFT, "temp").inhibited_by == life.of(Kind.PERFORMANCE).fingerprint
    told = life.see(DRIFT)
    assert changes(told) == [*firing(), (Kind.PERFORMANCE, "", Change.RESOLVED)]
    assert life.events(Kind.DATA_DRIFT, "temp") == ["pending", "firing", "inhibited"]


def test_drift_that_a_cause_explained_to_its_end_is_never_told():
    life = Life(AlertsConfig(fire_after=1, resolve_after=1))
    life.see(NO_ROWS, DRIFT, examined=CHECKED)
    assert changes(life.see(examined=CHECKED)) == [(Kind.NO_PREDICTIONS, "", Change.RESOLVED)]


def test_drift_that_does_harm_is_told_beside_degraded_performance():
    assert len(Life().see(HARM, DRIFT_ERROR)) == 2


@pytest.mark.parametrize("subject", ["temp", ""])
def test_cause_explains_nothing_that_is_worse_than_itself(subject):
    warns = finding(Kind.DATA_QUALITY, subject)
    life = Life(AlertsConfig(fire_after=1))
    assert changes(life.see(DRIFT, warns, examined=CHECKED)) == [(Kind.DATA_QUALITY, subject, Change.FIRING)]
    assert changes(life.see(DRIFT_ERROR, warns, examined=CHECKED)) == firing()


def test_cause_that_is_not_sure_yet_explains_nothing():
    life = Life(AlertsConfig(fire_after=2))
    life.see(DRIFT)
    assert changes(life.see(DRIFT, finding(Kind.PERFORMANCE))) == firing()


def test_cause_that_comes_later_does_not_take_back_what_was_told():
    life = Life()
    life.see(DRIFT)
    life.see(DRIFT)
    assert changes(life.see(DRIFT, BROKEN)) == [(Kind.DATA_QUALITY, "temp", Change.FIRING)]
    assert life.see(DRIFT_ERROR, BROKEN) == []  # worse, and explained
    told = life.see(DRIFT_ERROR, examined=(Kind.DATA_DRIFT, Kind.DATA_QUALITY))
    assert (Kind.DATA_DRIFT, "temp", Change.ESCALATED) in changes(told)


def test_silenced_alert_is_told_when_the_silence_is_over_if_it_still_shows():
    until = START + 4 * STEP
    life = Life(silences=[silence_of(kind=Kind.DATA_DRIFT, until=until)])
    assert [changes(life.see(DRIFT)) for _ in range(5)] == [[], [], [], firing(), []]
    shown = Life(silences=[silence_of(kind=Kind.DATA_DRIFT, until=until)])
    shown.see(DRIFT)
    shown.see(DRIFT)
    assert [shown.see() for _ in range(6)] == [[]] * 6


def test_what_begins_anew_under_a_silence_is_told_when_that_ends():
    def asked(episode):
        return finding(Kind.APPROVAL, "version 4").model_copy(update={"evidence": {EPISODE: episode}})

    life = Life()
    assert changes(life.see(asked("first"))) == [(Kind.APPROVAL, "version 4", Change.FIRING)]
    life.silences = [silence_of(until=life.at + 3 * STEP)]
    assert life.see(asked("second")) == []
    assert life.see(asked("second")) == []
    assert changes(life.see(asked("second"))) == [(Kind.APPROVAL, "version 4", Change.REMINDER)]
    assert life.see(asked("second")) == []


def test_parts_of_one_alert_end_one_by_one_and_are_told_once():
    def failed(part, episode=None):
        evidence = {PARTS: [part], **({EPISODE: episode} if episode else {})}
        return finding(Kind.PIPELINE_FAILURE, "load.all", Severity.ERROR).model_copy(update={"evidence": evidence})

    def worked(part, parts=None):
        return [Examined(kind=Kind.PIPELINE_FAILURE, subject="load.all", part=part, parts=parts)]

    def left():
        return [each.evidence[PARTS] for each in life.open]

    life = Life()
    assert [len(life.see(failed(part), examined=())) for part in (3, 0, 3, 7)] == [1, 0, 0, 0]
    assert left() == [[0, 3, 7]]
    assert life.see(examined=worked(5)) == []
    assert life.see(examined=worked(0)) == []
    assert life.see(examined=worked(1, parts=5)) == []  # there is no 7 any more
    assert left() == [[3]]
    assert changes(life.see(examined=worked(3))) == [(Kind.PIPELINE_FAILURE, "load.all", Change.RESOLVED)]
    told = [changes(life.see(failed(part, day), examined=())) for part, day in [(1, "mon"), (2, "mon"), (4, "tue")]]
    assert [[change for _, _, change in each] for each in told] == [[Change.FIRING], [], [Change.REMINDER]]
    assert left() == [[4]]
    assert len(life.see(examined=worked(None))) == 1  # of a task that is not mapped any more


@pytest.mark.parametrize(("source", "is_told"), [("check", True), ("pipeline", False)])
def test_fact_that_was_silenced_is_told_by_the_next_check_though_that_cannot_judge_it(source, is_told):
    life = Life(silences=[silence_of(until=START + 2 * STEP)])
    assert life.see(BROKEN, NO_ROWS) == []  # its rows are quarantined, and no later window has them
    told = life.see(source=source, examined=[Kind.NO_PREDICTIONS])
    assert changes(told) == [(Kind.DATA_QUALITY, "temp", Change.FIRING)] * is_told
    assert changes(life.see(examined=())) == [(Kind.DATA_QUALITY, "temp", Change.FIRING)] * (not is_told)


def test_message_about_something_else_has_no_place_for_what_was_silenced():
    life = Life(silences=[silence_of(kind=Kind.DATA_DRIFT, until=START + 3 * STEP)])
    life.see(DRIFT_ERROR)
    life.see(DRIFT_ERROR)
    assert changes(life.see(LATE, examined=())) == [(Kind.LABELS_MISSING, "", Change.FIRING)]
    assert changes(life.see(DRIFT_ERROR)) == firing()


def test_end_of_what_was_told_is_told_although_it_is_silenced():
    life = Life()
    life.see(HARM)
    life.silences = [silence_of()]
    assert [changes(life.see()) for _ in range(3)][-1] == [(Kind.PERFORMANCE, "", Change.RESOLVED)]


def test_another_version_ends_what_was_found_of_the_version_before():
    life = Life()
    life.see(HARM, LATE, DRIFT)
    promoted = finding(Kind.PROMOTION, "version 4", Severity.INFO)
    told = life.see(HARM, promoted, examined=(), version_changed=True, resolution="version 4 was promoted")
    assert changes(told) == [
        (Kind.PROMOTION, "version 4", Change.EVENT),
        (Kind.PERFORMANCE, "", Change.RESOLVED),
    ]
    assert told[1].alert.resolution == "version 4 was promoted"
    assert [each.kind for each in life.open] == [Kind.LABELS_MISSING]
    assert life.see(DRIFT) == []  # a new alert, seen once
    ends = {"version_changed": True, "resolution": "version 5 was promoted"}
    [late] = life.see(examined=[Kind.LABELS_MISSING], **ends)  # no version ends that
    assert late.alert.resolution == "the latest check was clear"
    life.see(LATE)
    [late] = life.see(examined=[Examined(kind=Kind.LABELS_MISSING, resolution="nobody asks for them")], **ends)
    assert late.alert.resolution == "nobody asks for them"


def test_harm_and_the_version_that_ends_it_in_one_observation_is_one_event():
    life = Life()
    promoted = finding(Kind.PROMOTION, "version 4", Severity.INFO)
    assert changes(life.see(HARM, promoted, version_changed=True)) == [(Kind.PROMOTION, "version 4", Change.EVENT)]
    assert life.open == []


def test_event_is_over_at_once_and_told_each_time():
    life = Life()
    retrained = finding(Kind.ROLLBACK, "version 5", Severity.ERROR)
    for _ in range(2):
        [news] = life.see(retrained)
        assert (news.change, news.alert.state, news.lasted) == (Change.EVENT, State.RESOLVED, None)
    assert len(life.alerts) == 2
    life.silences = [silence_of(kind=Kind.ROLLBACK)]
    assert life.see(retrained) == []


def test_person_ends_an_alert_at_once():
    life = Life()
    life.see(DRIFT)
    life.see(DRIFT)
    over = Examined(kind=Kind.DATA_DRIFT, subject="temp", is_over=True)
    [news] = life.see(examined=(over,), resolution="ada accepted it")
    assert (news.change, news.alert.resolution) == (Change.RESOLVED, "ada accepted it")


def test_news_are_ordered_by_severity_and_cost_and_the_end_comes_last():
    life = Life(AlertsConfig(fire_after=1))
    life.see(LATE)
    found = [
        finding(Kind.DATA_DRIFT, "a", rank=0.1),
        finding(Kind.DATA_DRIFT, "b", rank=0.3),
        finding(Kind.DATA_DRIFT, "c", Severity.ERROR, rank=0.0),
    ]
    told = life.see(*found, examined=(Kind.LABELS_MISSING,))
    assert [each.alert.subject for each in told] == ["c", "b", "a", ""]


def test_of_the_same_thing_found_twice_the_worse_counts():
    life = Life()
    [news] = life.see(DRIFT, DRIFT_ERROR, DRIFT)
    assert news.alert.severity is Severity.ERROR


def test_alerts_of_another_model_are_left_alone():
    life = Life()
    life.see(HARM)
    [alert] = life.open
    life.alerts = {alert.alert_id: alert.model_copy(update={"model": "other"})}
    assert [life.see() for _ in range(4)] == [[]] * 4
    assert life.steps[-1].alerts == ()


def test_news_that_wait_for_the_digest():
    life = Life()
    weekly, at_once = AlertsConfig(), AlertsConfig(digest=None)
    [late] = life.see(LATE)
    [harm] = life.see(HARM)
    [retrained] = life.see(finding(Kind.RETRAINED, "version 4", Severity.INFO))
    [asked] = life.see(finding(Kind.APPROVAL, "version 4", Severity.INFO))
    ended = [life.see(examined=(Kind.PERFORMANCE, Kind.LABELS_MISSING, Kind.APPROVAL)) for _ in range(3)]
    over = {each.alert.kind: each for news in ended for each in news}
    waits = [late, retrained, over[Kind.LABELS_MISSING]]
    prompt = [harm, asked, over[Kind.PERFORMANCE], over[Kind.APPROVAL]]
    assert [is_prompt(each, weekly) for each in waits] == [False] * 3
    assert [is_prompt(each, weekly) for each in prompt] == [True] * 4
    assert [is_prompt(each, at_once) for each in waits] == [True, False, True]


FOUND = [
    finding(kind, subject, severity)
    for kind, subjects in {
        Kind.DATA_DRIFT: ("a", "b", "a against the window before"),
        Kind.PREDICTION_DRIFT: ("score",),
        Kind.PERFORMANCE: ("",),
        Kind.DATA_QUALITY: ("a", ""),
        Kind.NO_PREDICTIONS: ("",),
        Kind.PIPELINE_FAILURE: ("toy.drift_check",),
        Kind.ROLLBACK: ("version 2",),
    }.items()
    for subject in subjects
    for severity in (Severity.WARNING, Severity.ERROR, Severity.CRITICAL)
]
WINDOW = st.fixed_dictionaries(
    {
        "findings": st.lists(st.sampled_from(FOUND), max_size=4),
        "examined": st.sets(st.sampled_from([Kind.DATA_DRIFT, Kind.PERFORMANCE, *CHECKED, Kind.PIPELINE_FAILURE])),
        "version_changed": st.sampled_from([False] * 9 + [True]),
        "acknowledge": st.booleans(),
    }
)
SILENCES = st.lists(
    st.builds(
        lambda kind, subject, windows: silence_of(kind=kind, subject=subject, until=START + windows * STEP),
        st.sampled_from([None, Kind.DATA_DRIFT, Kind.PERFORMANCE, Kind.ROLLBACK]),
        st.sampled_from([None, "a", "a*", "version ?"]),
        st.integers(1, 30),
    ),
    max_size=2,
)


def explained(alert: Alert, others: list[Alert]) -> bool:
    """Whether an open alert explains another one, written once more in other words."""
    as_bad = [each for each in others if each.severity.level >= alert.severity.level]
    causes = {(each.kind, each.subject) for each in as_bad if each.state is not State.PENDING}  # itself is none
    kinds = {kind for kind, _ in causes}
    drift = alert.kind in (Kind.DATA_DRIFT, Kind.PREDICTION_DRIFT)
    if Kind.NO_PREDICTIONS in kinds and (drift or alert.kind is Kind.PERFORMANCE):
        return True
    if Kind.PERFORMANCE in kinds and drift and alert.severity in (Severity.INFO, Severity.WARNING):
        return True
    column = alert.subject.split(" against the window")[0]
    return alert.kind is Kind.DATA_DRIFT and bool({(Kind.DATA_QUALITY, column), (Kind.DATA_QUALITY, "")} & causes)


def see(life: Life, window: dict[str, Any]) -> list[News]:
    return life.see(
        *window["findings"], examined=window["examined"], version_changed=window["version_changed"], resolution="known"
    )


def acknowledge(life: Life) -> None:
    for each in life.open:
        if each.state is State.FIRING:
            changed = {"state": State.ACKNOWLEDGED, "acknowledged_by": "ada"}
            life.alerts[each.alert_id] = each.model_copy(update=changed)


def covered(alert: Alert, silences: list[Silence], life: Life) -> bool:
    """Whether a silence covers an alert at this time, written once more for the patterns of `SILENCES`."""
    begins = {None: "", "a": "a", "a*": "a", "version ?": "version "}
    return any(
        each.kind in (None, alert.kind)
        and each.until > life.at
        and alert.subject.startswith(begins[each.subject])
        and (each.subject != "a" or alert.subject in ("a", "a against the window before"))
        for each in silences
    )


@settings(max_examples=400, deadline=None)
@given(
    st.lists(WINDOW, min_size=1, max_size=40),
    SILENCES,
    st.integers(1, 3),
    st.integers(1, 4),
    st.sampled_from([None, "12h"]),
)
def test_any_history_has_one_open_alert_a_fingerprint_and_one_end_for_each_beginning(
    windows, silences, fire_after, resolve_after, remind
):
    life = Life(AlertsConfig(fire_after=fire_after, resolve_after=resolve_after, remind=remind), silences)
    told: Counter[tuple[str, Change]] = Counter()
    for window in windows:
        news = see(life, window)
        assert len({each.fingerprint for each in life.open}) == len(life.open)
        for each in news:
            told[each.alert.alert_id, each.change] += 1
            if each.change is Change.RESOLVED:
                assert told[each.alert.alert_id, Change.FIRING] == 1
            else:
                assert not covered(each.alert, silences, life)
                assert not explained(each.alert, life.open)
        for each in life.open:  # nothing else is kept back
            if each.state is State.FIRING and each.last_seen == life.at and each.told_at is None:
                assert explained(each, life.open) or covered(each, silences, life)
        if window["acknowledge"]:
            acknowledge(life)
    for alert_id, alert in life.alerts.items():
        assert told[alert_id, Change.FIRING] <= 1
        assert told[alert_id, Change.ESCALATED] <= 2  # there are three severities
        assert told[alert_id, Change.RESOLVED] == (0 if alert.is_open else told[alert_id, Change.FIRING])
    assert {alert_id for alert_id, _ in told} <= life.alerts.keys()
    assert {event.alert_id for step in life.steps for event in step.events} <= life.alerts.keys()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["seen", "clear", "not judged"]), max_size=40), st.integers(1, 4), st.integers(1, 4))
def test_warning_fires_and_ends_after_as_many_windows_in_a_row_as_configured(windows, fire_after, resolve_after):
    life = Life(AlertsConfig(fire_after=fire_after, resolve_after=resolve_after))
    fires, seen, clear, unknown = False, 0, 0, 0
    for window in windows:
        told = changes(life.see(*[DRIFT][: window == "seen"], examined=[Kind.DATA_DRIFT][: window != "not judged"]))
        expected = []
        if window == "seen":
            seen, clear, unknown = seen + 1, 0, 0
            expected = [Change.FIRING] if not fires and seen == fire_after else []
        elif window == "clear":
            seen, clear = 0, clear + 1
            expected = [Change.RESOLVED] if fires and clear == resolve_after else []
        else:
            unknown += 1
            seen = 0 if not fires and unknown >= resolve_after else seen
        fires = Change.FIRING in expected or (fires and not expected)
        assert told == [(Kind.DATA_DRIFT, "temp", each) for each in expected]
