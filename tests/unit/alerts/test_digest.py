"""Digests: what can wait is told together, once a day or week, and what has ended meanwhile is told as over."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from keel.alerts.digest import due_models, flush_digests
from keel.alerts.door import Posted, observe_in
from keel.alerts.records import Alert, AlertEvent, Change, Finding, Message
from keel.alerts.silences import end_silence, silence
from keel.config import Kind, ModelConfig, Severity
from keel.store import alerts as alerts_table
from keel.workspace import Workspace
from tests.support.alerts.observations import DAY, HOUR, MONDAY, WEEK, alerting, drift, finding, seen, told_plainly

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


def test_an_escalation_is_told_at_once_and_not_again_in_the_digest(ws: Workspace) -> None:
    check(ws.store, MONDAY, drift("x"))
    worse = check(ws.store, MONDAY + DAY, finding(Kind.DATA_DRIFT, "x", Severity.ERROR))

    assert told([worse]) == [[("x", "escalated")]]
    assert flush_digests(ws, [TOY], now=MONDAY + WEEK) == []


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


def test_what_is_covered_when_the_digest_goes_out_waits_or_is_dropped(ws: Workspace) -> None:
    check(ws.store, MONDAY, drift("x"), drift("z"))
    rows = ws.store.alerts.list()
    with ws.store.begin() as connection:
        covered = [{**row, "inhibited_by": "a cause"} for row in rows]
        alerts_table.put_alerts(connection, covered, now=MONDAY)
    assert flush_digests(ws, [TOY], now=MONDAY + WEEK) == []

    with ws.store.begin() as connection:
        over = {**rows[0], "inhibited_by": "a cause", "state": "resolved", "resolved_at": MONDAY + WEEK}
        alerts_table.put_alerts(connection, [over, {**rows[1], "inhibited_by": None}], now=MONDAY)
    assert told(flush_digests(ws, [TOY], now=MONDAY + WEEK)) == [[(rows[1]["subject"], "firing")]]
    assert ws.store.alerts.waiting("toy") == []


def test_what_a_person_silences_while_it_waits_is_not_told_until_the_silence_ends(ws: Workspace) -> None:
    check(ws.store, MONDAY, drift("x"))
    check(ws.store, MONDAY + DAY, drift("x"), drift("z"))
    made = silence(ws, "toy", subject="x", until=MONDAY + 3 * WEEK, reason="known", actor="ada", now=MONDAY + 2 * DAY)

    assert told(flush_digests(ws, [TOY], now=MONDAY + WEEK)) == [[("z", "firing")]]
    assert flush_digests(ws, [TOY], now=MONDAY + 2 * WEEK) == []
    end_silence(ws, made.silence_id, actor="ada", now=MONDAY + 2 * WEEK)
    assert told(flush_digests(ws, [TOY], now=MONDAY + 2 * WEEK + HOUR)) == [[("x", "firing")]]


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
