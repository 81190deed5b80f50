"""What a person does to an alert is recorded with who did it, and is told where it has to be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from keel.alerts.acknowledging import acknowledge, resolve
from keel.alerts.door import observe
from keel.alerts.records import Alert, AlertLine, Change, Message, State, fingerprint
from keel.config import Kind, Severity
from keel.errors import UnknownAlert
from keel.workspace import Workspace
from tests.support.alerts.observations import DAY, HOUR, MONDAY, alerting, drift, finding, seen, told_plainly

PAGED = {"channel": "pagerduty", "to": "on_call", "severity": "error"}


@pytest.fixture
def ws(store, store_url: str, tmp_path: Path) -> Iterator[Workspace]:
    with Workspace.open(home=tmp_path / "home", store_url=store_url) as opened:
        yield opened


def see(ws: Workspace, *findings, at=MONDAY, **alerts):
    return observe(ws, alerting(**alerts), seen(*findings, at=at), told_plainly, now=at)


def alerts_of(ws: Workspace) -> list[Alert]:
    return [Alert.from_dict(row) for row in ws.store.alerts.list()]


def incident_messages(ws: Workspace) -> list[Message]:
    rows = ws.store.outbox.deliveries(channel="pagerduty")
    return [Message.from_dict(ws.store.outbox.message(row["message_id"]) or {}) for row in rows]


def test_acknowledged_alert_is_kept_with_who_took_it_over_and_its_incident_too(ws):
    see(ws, finding(), routes=[PAGED])
    [before] = alerts_of(ws)
    taken = acknowledge(ws, before.alert_id[:5], actor="ada", reason="on it", now=MONDAY + HOUR)
    assert alerts_of(ws) == [taken]
    assert (taken.state, taken.acknowledged_by) == (State.ACKNOWLEDGED, "ada")
    *_, event = ws.store.alerts.events(before.alert_id)
    assert (event["event"], event["actor"], event["detail"]) == ("acknowledged", "ada", "on it")
    first, second = incident_messages(ws)
    assert [(each.fingerprint, each.change) for each in second.alerts] == [(before.fingerprint, Change.ACKNOWLEDGED)]
    assert isinstance(second.alerts[0], AlertLine)
    assert second.references == (first.message_id,)
    assert [row["channel"] for row in ws.store.outbox.deliveries(message_ids=[second.message_id])] == ["pagerduty"]


def test_alert_that_was_paged_when_it_got_worse_is_acknowledged_there(ws):
    config = {"routes": [PAGED], "digest": None, "fire_after": 1}
    see(ws, drift(), **config)
    see(ws, finding(Kind.DATA_DRIFT, "x", Severity.ERROR), at=MONDAY + DAY, **config)
    [alert] = alerts_of(ws)
    acknowledge(ws, alert.alert_id, actor="ada", now=MONDAY + DAY)
    assert [each.alerts[0].change for each in incident_messages(ws)] == [Change.ESCALATED, Change.ACKNOWLEDGED]


def test_alert_that_no_incident_is_about_is_acknowledged_in_silence(ws):
    see(ws, finding())
    sent = ws.store.outbox.deliveries()
    [alert] = alerts_of(ws)
    acknowledge(ws, alert.alert_id, actor="ada", now=MONDAY)
    assert ws.store.outbox.deliveries() == sent


def test_second_acknowledgement_changes_nothing(ws):
    see(ws, finding(), routes=[PAGED])
    [alert] = alerts_of(ws)
    first = acknowledge(ws, alert.alert_id, actor="ada", now=MONDAY)
    assert acknowledge(ws, alert.alert_id, actor="grace", now=MONDAY + HOUR) == first
    assert len(incident_messages(ws)) == 2


def test_alert_that_does_not_fire_cannot_be_acknowledged(ws):
    see(ws, finding(), drift())
    rows = {each.kind: each for each in alerts_of(ws)}
    firing = rows[Kind.PERFORMANCE].alert_id
    for wrong in ("", "zz", "%", rows[Kind.DATA_DRIFT].alert_id):  # that of the drift waits for a second window
        with pytest.raises(UnknownAlert, match=rf"no alert that fires .* there are: {firing} \(toy performance\)"):
            acknowledge(ws, wrong, actor="ada", now=MONDAY)
    resolve(ws, alerting(), fingerprint("toy", Kind.PERFORMANCE, ""), reason="known", actor="ada", now=MONDAY)
    with pytest.raises(UnknownAlert, match="there are: none"):
        acknowledge(ws, firing, actor="ada", now=MONDAY)


def test_alert_that_a_person_ends_is_over_at_once_and_told_to_those_who_were_told(ws):
    for day in range(2):
        see(ws, drift(), at=MONDAY + day * DAY, digest=None)
    identity = fingerprint("toy", Kind.DATA_DRIFT, "x")
    ending = {"reason": "ada accepted the drift of x", "actor": "ada", "now": MONDAY + 9 * DAY}
    posted = resolve(ws, alerting(digest=None), identity, **ending)
    assert posted is not None
    [news] = posted.news
    assert (news.change, news.alert.resolution) == (Change.RESOLVED, "ada accepted the drift of x")
    assert news.lasted == DAY.total_seconds()  # up to the last window that showed it
    [event] = [each for each in ws.store.alerts.events(news.alert.alert_id) if each["event"] == "resolved"]
    assert (event["actor"], event["detail"]) == ("ada", "ada accepted the drift of x")
    assert len(ws.store.outbox.deliveries()) == 2
    assert resolve(ws, alerting(digest=None), identity, **ending) is None
    assert see(ws, drift(), at=MONDAY + 2 * DAY, digest=None).news == ()  # a new alert, seen once
    assert len(alerts_of(ws)) == 2
