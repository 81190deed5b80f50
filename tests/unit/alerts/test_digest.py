"""Digests: what can wait is told together, once a day or week, and what has ended meanwhile is told as over."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from keel.alerts.acknowledging import acknowledge
from keel.alerts.digest import due_models, flush_digests
from keel.alerts.door import Posted, observe_in
from keel.alerts.findings.outcome import observe_outcome
from keel.alerts.records import Alert, AlertEvent, Change, Delivery, Examined, Finding, Message
from keel.alerts.silences import end_silence, silence
from keel.config import Kind, ModelConfig, Severity
from keel.monitoring.records import Outcome
from keel.store import alerts as alerts_table
from keel.workspace import Workspace
from tests.support.alerts.observations import DAY, HOUR, MONDAY, WEEK, alerting, drift, finding, seen, told_plainly
from tests.support.alerts.reports import decision

if TYPE_CHECKING:
    from pathlib import Path

    from keel.store import Store

SUNDAY = MONDAY + 6 * DAY
TOY = alerting(fire_after=1, resolve_after=1)


@pytest.fixture
def ws(store: Store, tmp_path: Path) -> Workspace:
    return Workspace(tmp_path, store, registry=None)  # type: ignore[arg-type]  # nothing here is about versions


def check(
    store: Store, at: datetime, *findings: Finding, config: ModelConfig = TOY, now: datetime | None = None
) -> Posted:
    observation = seen(*findings, at=at, model=config.model)
    return observe_in(store, config, observation, told_plainly, now=now or at)


def told(posted: list[Posted]) -> list[list[tuple[str, str]]]:
    return [[(each.alert.subject, str(each.change)) for each in one.news] for one in posted]


def test_warnings_wait_until_their_week_is_over_and_are_told_once(ws: Workspace) -> None:
    check(ws.store, MONDAY, drift("x"))
    check(ws.store, MONDAY + DAY, drift("x"), drift("z"))

    assert flush_digests(ws, [TOY], now=SUNDAY + 23 * HOUR) == []
    posted = flush_digests(ws, [TOY], now=MONDAY + WEEK)
    assert flush_digests(ws, [TOY], now=MONDAY + WEEK) == []
    assert flush_digests(ws, [TOY], now=MONDAY + 2 * WEEK) == []

    assert told(posted) == [[("x", "firing"), ("z", "firing")]]
    message = Message.from_dict(ws.store.outbox.message(posted[0].message_id or "") or {})
    assert (message.topic, message.model, message.severity) == ("digest", "toy", Severity.WARNING)
    assert [each["message_id"] for each in ws.store.alerts.list()] == [message.message_id] * 2
    events = ws.store.alerts.events(ws.store.alerts.list()[0]["alert_id"])
    assert [each["event"] for each in events] == ["firing", "told"]


def test_what_began_and_ended_meanwhile_is_one_line(ws: Workspace) -> None:
    check(ws.store, MONDAY, drift("x"))
    check(ws.store, MONDAY + 2 * DAY)
    [posted] = flush_digests(ws, [TOY], now=MONDAY + WEEK)

    [news] = posted.news
    assert (news.change, news.lasted) == (Change.RESOLVED, 2 * 86_400)
    assert news.alert.message_id is None, "nobody had heard of it"
    assert ws.store.alerts.waiting("toy") == []


def test_what_was_told_in_a_digest_is_over_in_a_later_one(ws: Workspace) -> None:
    check(ws.store, MONDAY, drift("x"))
    [first] = flush_digests(ws, [TOY], now=MONDAY + WEEK)
    check(ws.store, MONDAY + WEEK + DAY)
    [second] = flush_digests(ws, [TOY], now=MONDAY + 2 * WEEK)

    assert told([first, second]) == [[("x", "firing")], [("x", "resolved")]]
    assert second.news[0].alert.message_id == first.message_id


@pytest.mark.parametrize(("is_told_before", "change"), [(False, "firing"), (True, "escalated")])
def test_an_escalation_is_told_at_once_and_not_again_in_the_digest(
    ws: Workspace, is_told_before: bool, change: str
) -> None:
    check(ws.store, MONDAY, drift("x"))
    monday = MONDAY + WEEK
    assert len(flush_digests(ws, [TOY], now=monday if is_told_before else MONDAY)) == is_told_before
    worse = check(ws.store, monday + DAY, finding(Kind.DATA_DRIFT, "x", Severity.ERROR))

    assert told([worse]) == [[("x", change)]], "what waited for the digest was read by nobody"
    [alert] = ws.store.alerts.list("toy")
    events = [(each["event"], each["detail"]) for each in ws.store.alerts.events(alert["alert_id"])]
    assert ("escalated", "warning to error") in events
    assert flush_digests(ws, [TOY], now=MONDAY + 3 * WEEK) == []


def test_one_message_a_recipient_over_all_models(ws: Workspace) -> None:
    configs = [
        alerting("one", email=["ann@example.com", "bob@example.com"], fire_after=1),
        alerting("two", email=["bob@example.com", "cleo@example.com"], fire_after=1),
        alerting("quiet", email=["ann@example.com"]),
    ]
    for config in configs[:2]:
        check(ws.store, MONDAY, drift("x"), config=config)
    posted = flush_digests(ws, configs, now=MONDAY + WEEK)

    got = {each.recipient: one.message_id for one in posted for each in one.deliveries}
    assert len(got) == sum(len(each.deliveries) for each in posted) == 3
    models = {name: Message.from_dict(ws.store.outbox.message(got[name] or "") or {}).model for name in got}
    assert models == {"ann@example.com": "one", "bob@example.com": "", "cleo@example.com": "two"}
    assert len(posted[1].news) == 2 or len(posted[0].news) == 2


def test_a_daily_digest_goes_out_the_next_day_and_none_at_once(ws: Workspace) -> None:
    daily = alerting("daily", digest="daily", fire_after=1)
    at_once = alerting("prompt", digest=None, fire_after=1)
    check(ws.store, MONDAY + 23 * HOUR, drift("x"), config=daily)
    prompt = check(ws.store, MONDAY + 23 * HOUR, drift("x"), config=at_once)

    assert prompt.message_id is not None
    assert flush_digests(ws, [daily, at_once], now=MONDAY + 23.5 * HOUR) == []
    assert told(flush_digests(ws, [daily, at_once], now=MONDAY + DAY)) == [[("x", "firing")]]


def test_what_waited_is_told_when_there_is_no_digest_any_more(ws: Workspace) -> None:
    check(ws.store, MONDAY, drift("x"))
    assert told(flush_digests(ws, [alerting(digest=None)], now=MONDAY + HOUR)) == [[("x", "firing")]]


def test_a_replayed_year_has_its_digests_in_its_own_time(ws: Workspace) -> None:
    now = MONDAY + timedelta(days=400)
    posted = [check(ws.store, MONDAY + n * DAY, drift("x"), now=now) for n in range(10)]

    digests = [each.digest_id for each in posted]
    assert [n for n, each in enumerate(digests) if each] == [7]
    assert flush_digests(ws, [TOY], now=now) == []
    [delivery] = ws.store.outbox.deliveries()
    assert (delivery["message_id"], delivery["created_at"]) == (digests[7], now)


def test_a_retraining_that_changed_nothing_is_told_with_what_is_told_anyway(ws: Workspace) -> None:
    retrained = finding(Kind.RETRAINED, severity=Severity.INFO)
    check(ws.store, MONDAY, retrained)
    assert flush_digests(ws, [TOY], now=MONDAY + WEEK) == []

    check(ws.store, MONDAY + WEEK, drift("x"))
    assert told(flush_digests(ws, [TOY], now=MONDAY + 2 * WEEK)) == [[("", "event"), ("x", "firing")]]


def test_a_retraining_of_old_data_is_told_with_the_time_of_its_data(ws: Workspace) -> None:
    """A person asked for it, so it is seen by the clock, among rows that have the data's time."""
    asked, now = decision("retrain", decision_id="asked", reason="a try"), MONDAY + 300 * DAY
    kept = Outcome(outcome="kept_champion", sentence="Kept champion 3.", version=3, champion=3, challenger=4)
    observe_in(ws.store, TOY, observe_outcome(TOY, asked, kept, now=now), told_plainly, now=now)
    check(ws.store, MONDAY, drift("x"), now=now)
    [posted] = flush_digests(ws, [TOY], now=now + WEEK)
    [table] = Message.from_dict(ws.store.outbox.message(posted.message_id or "") or {}).evidence
    assert sorted(row[:2] for row in table.rows) == [
        ("input x", "since 2 March 2026"),
        ("retrained version 4", "1 March 2026"),
    ]


def test_what_is_covered_when_the_digest_goes_out_waits_or_is_dropped(ws: Workspace) -> None:
    check(ws.store, MONDAY, drift("x"), drift("z"))
    check(ws.store, MONDAY + DAY, drift("x"), drift("z"), finding(Kind.DATA_QUALITY, "", Severity.WARNING))
    assert told(flush_digests(ws, [TOY], now=MONDAY + WEEK)) == [[("", "firing")]]

    check(ws.store, MONDAY + WEEK, drift("z"))
    assert flush_digests(ws, [TOY], now=MONDAY + 2 * WEEK) == []
    quality = seen(drift("z"), at=MONDAY + 2 * WEEK)
    over = quality.model_copy(update={"examined": (*quality.examined, Examined(kind=Kind.DATA_QUALITY))})
    observe_in(ws.store, TOY, over, told_plainly, now=MONDAY + 2 * WEEK)
    [last] = flush_digests(ws, [TOY], now=MONDAY + 3 * WEEK)
    assert sorted(told([last])[0]) == [("", "resolved"), ("z", "firing")]
    assert ws.store.alerts.waiting("toy") == []


def test_what_a_person_silences_while_it_waits_is_not_told_until_the_silence_ends(ws: Workspace) -> None:
    check(ws.store, MONDAY, drift("x"))
    check(ws.store, MONDAY + DAY, drift("x"), drift("z"))
    made = silence(ws, "toy", subject="x", until=MONDAY + 3 * WEEK, reason="known", actor="ada", now=MONDAY + 2 * DAY)

    assert told(flush_digests(ws, [TOY], now=MONDAY + WEEK)) == [[("z", "firing")]]
    assert flush_digests(ws, [TOY], now=MONDAY + 2 * WEEK) == []
    end_silence(ws, made.silence_id, actor="ada", now=MONDAY + 2 * WEEK)
    assert told(flush_digests(ws, [TOY], now=MONDAY + 2 * WEEK + HOUR)) == [[("x", "firing")]]


def test_the_end_of_what_was_told_is_told_although_it_was_silenced(ws: Workspace) -> None:
    check(ws.store, MONDAY, drift("x"))
    flush_digests(ws, [TOY], now=MONDAY + WEEK)
    now = MONDAY + WEEK
    silence(ws, "toy", until=now + 3 * DAY, reason="known", actor="ada", now=now)
    check(ws.store, now + HOUR, drift("x"))
    check(ws.store, now + DAY)

    assert told(flush_digests(ws, [TOY], now=now + WEEK)) == [[("x", "resolved")]]
    assert ws.store.alerts.waiting("toy") == []


def test_the_end_of_what_was_told_is_told_although_a_cause_explained_it_last(ws: Workspace) -> None:
    check(ws.store, MONDAY, drift("x"))
    flush_digests(ws, [TOY], now=MONDAY + WEEK)
    check(ws.store, MONDAY + WEEK, drift("x"), finding(Kind.DATA_QUALITY, "x", Severity.WARNING))
    check(ws.store, MONDAY + WEEK + DAY, finding(Kind.DATA_QUALITY, "x", Severity.WARNING))

    [over] = flush_digests(ws, [TOY], now=MONDAY + 2 * WEEK)
    assert sorted(told([over])[0]) == [("x", "firing"), ("x", "resolved")]


def test_each_group_of_a_digest_has_its_thread_its_order_and_its_acknowledgement(ws: Workspace) -> None:
    on_call = {"channel": "pagerduty", "to": "on_call", "severity": "warning"}
    one, two = alerting("one", routes=[on_call], fire_after=1, resolve_after=1), alerting("two", fire_after=1)
    for config in (one, two):
        check(ws.store, MONDAY, drift("x"), config=config)
    first, second = flush_digests(ws, [one, two], now=MONDAY + WEEK)
    assert [(len(each.news), each.deliveries[0].channel) for each in (first, second)] == [
        (2, "email"),
        (1, "pagerduty"),
    ]

    [alert] = ws.store.alerts.list("one")
    assert ws.store.alerts.threads([alert["message_id"]]) == [first.message_id, second.message_id]
    worse = check(ws.store, MONDAY + WEEK, finding(Kind.DATA_DRIFT, "x", Severity.ERROR), config=one)
    acknowledge(ws, alert["alert_id"], actor="ada", now=MONDAY + WEEK)
    paged = ws.store.outbox.deliveries(channel="pagerduty")
    assert len(paged) == 3
    over = check(ws.store, MONDAY + WEEK + HOUR, config=one)
    follows = {
        each.channel: set(
            ws.store.outbox.deliveries(message_ids=[over.message_id], channel=each.channel)[0]["follows"].split()
        )
        for each in over.deliveries
    }
    before = {each.channel: each.delivery_id for each in worse.deliveries}
    assert follows == {
        "email": {first.deliveries[0].delivery_id, before["email"]},
        "pagerduty": {second.deliveries[0].delivery_id, before["pagerduty"]},
    }


def test_who_was_sent_a_beginning_is_sent_its_end_and_an_incident_is_of_what_its_way_takes(ws: Workspace) -> None:
    errors = {"severity": "error"}
    pager, on_call = {"channel": "pagerduty", "to": "pager"}, {"channel": "email", "to": "on-call@example.com"}
    config = alerting(resolve_after=1, routes=[pager | errors, on_call | errors])
    rides = finding(Kind.LABELS_MISSING, severity=Severity.WARNING)
    check(ws.store, MONDAY, finding(), rides, config=config)
    [harm] = [each["alert_id"] for each in ws.store.alerts.list() if each["kind"] == Kind.PERFORMANCE]
    acknowledge(ws, harm, actor="ada", now=MONDAY + HOUR / 2)
    for hours in (1, 2):
        kinds = (Kind.PERFORMANCE, Kind.LABELS_MISSING)[:hours]
        clear = seen(at=MONDAY + hours * HOUR).model_copy(update={"examined": tuple(Examined(kind=k) for k in kinds)})
        observe_in(ws.store, config, clear, told_plainly, now=MONDAY + hours * HOUR)
    flush_digests(ws, [config], now=MONDAY + WEEK)

    sent: dict[str, list[tuple[str, str]]] = {}
    for row in ws.store.outbox.deliveries():
        each = Delivery.from_dict(row)
        lines = Message.from_dict(ws.store.outbox.message(each.message_id) or {}).alerts
        told_of = [line for line in lines if each.tells is None or line.fingerprint in each.tells]
        sent.setdefault(each.recipient, []).extend((str(line.kind), str(line.change)) for line in told_of)
    everything = [
        *(("performance", "firing"), ("labels_missing", "firing")),
        *(("performance", "resolved"), ("labels_missing", "resolved")),
    ]
    assert sent == {
        "ann@example.com": everything,
        "on-call@example.com": everything,
        "pager": [("performance", str(change)) for change in (Change.FIRING, Change.ACKNOWLEDGED, Change.RESOLVED)],
    }


def test_what_nobody_wants_to_hear_is_closed_without_a_message(ws: Workspace) -> None:
    errors_only = alerting(email=[], routes=[{"channel": "slack", "to": "#ml", "severity": "error"}], fire_after=1)
    check(ws.store, MONDAY, drift("x"), config=errors_only)

    assert flush_digests(ws, [errors_only], now=MONDAY + WEEK) == []
    assert ws.store.alerts.waiting("toy") == []
    assert ws.store.outbox.messages() == []


def test_rows_are_read_back_as_they_were_written(ws: Workspace) -> None:
    check(ws.store, MONDAY, drift("x"))
    [row] = ws.store.alerts.list()
    alert = Alert.from_dict(row)

    with ws.store.begin() as connection:
        alerts_table.put_alerts(connection, [alert.to_dict()], now=MONDAY)
    assert ws.store.alerts.get(alert.alert_id) == row
    assert ws.store.alerts.find(alert.alert_id[:6]) == [row]
    [event] = ws.store.alerts.events(alert.alert_id)
    assert AlertEvent.from_dict(event).event == "firing"


def test_a_digest_that_nobody_writes_is_seen(ws: Workspace) -> None:
    check(ws.store, MONDAY + HOUR, drift("x"), finding(Kind.RETRAINED, severity=Severity.INFO))
    assert due_models(ws, [TOY], now=SUNDAY) == []
    assert due_models(ws, [TOY], now=MONDAY + WEEK) == ["toy"]
    flush_digests(ws, [TOY], now=MONDAY + WEEK)
    check(ws.store, MONDAY + WEEK, drift("x"), finding(Kind.RETRAINED, severity=Severity.INFO))
    assert due_models(ws, [TOY], now=MONDAY + 3 * WEEK) == [], "a retraining alone is no reason"
