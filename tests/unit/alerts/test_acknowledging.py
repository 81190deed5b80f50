"""What a person does to an alert is recorded with who did it, and is told where it has to be."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from keel import maintenance
from keel.alerts.acknowledging import acknowledge, end_removed, resolve
from keel.alerts.door import observe
from keel.alerts.records import Alert, AlertLine, Change, Message, State, fingerprint
from keel.config import Kind, Severity
from keel.errors import UnknownAlert
from keel.workspace import Workspace
from tests.support.alerts.observations import DAY, HOUR, MONDAY, alerting, drift, finding, seen, told_plainly

FILE = """
model: {}
owner: tests
target: {{name: bought, label_delay: 24h}}
features: {{x: numeric}}
check: {{schedule: null, lookback: 7d}}
performance: {{metric: brier, max_degradation: 0.01}}
alerts: {{email: [ann@example.com]}}
"""
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


def configure(folder: Path, *models: str, invalid: bool = False) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in models:
        (folder / name).mkdir()
        (folder / name / "model.yaml").write_text(FILE.format(name))
    if invalid:
        (folder / "broken").mkdir()
        (folder / "broken" / "model.yaml").write_text("model: [")


@pytest.mark.parametrize(("models", "invalid"), [(["other", "toy"], False), (["other"], True), ([], False)])
def test_alerts_of_a_model_that_may_be_configured_do_not_end(ws, tmp_path, monkeypatch, models, invalid):
    monkeypatch.setenv("KEEL_MODELS_FOLDER", str(tmp_path / "models"))
    configure(tmp_path / "models", *models, invalid=invalid)
    see(ws, finding())
    assert end_removed(ws.store, but="other", now=MONDAY + 9 * DAY) == set()
    assert [each.state for each in alerts_of(ws)] == [State.FIRING]


def test_alerts_of_a_model_that_is_still_checked_do_not_end_where_its_folder_is_not_named(ws, tmp_path, monkeypatch):
    monkeypatch.setenv("KEEL_MODELS_FOLDER", str(tmp_path / "models"))
    configure(tmp_path / "models", "other")
    see(ws, finding())
    see(ws, finding(), at=MONDAY + 7 * DAY)
    assert end_removed(ws.store, but="other", now=MONDAY + 14 * DAY) == set()
    assert [each.state for each in alerts_of(ws)] == [State.FIRING]
    assert end_removed(ws.store, but="other", now=MONDAY + 16 * DAY) == {"toy"}


def test_alerts_end_with_their_model_and_nobody_is_told(ws, tmp_path, monkeypatch):
    monkeypatch.setenv("KEEL_MODELS_FOLDER", str(tmp_path / "models"))
    configure(tmp_path / "models", "toy")
    see(ws, finding(), drift("pending"), routes=[PAGED])
    see(ws, finding(), finding(Kind.DATA_QUALITY, "x", Severity.WARNING), at=MONDAY + HOUR)
    told = len(ws.store.outbox.messages())
    configure(tmp_path / "models", "other")
    other = alerting("other")
    maintenance.expire_alerts(ws, other, now=MONDAY + 9 * DAY)

    found = {each.kind: each for each in alerts_of(ws)}
    assert found.keys() == {Kind.PERFORMANCE, Kind.DATA_QUALITY}
    assert {(each.state, each.resolved_at, each.resolution) for each in found.values()} == {
        (State.RESOLVED, MONDAY + 9 * DAY, "the model was removed")
    }
    assert [each["event"] for each in ws.store.alerts.events(found[Kind.PERFORMANCE].alert_id)] == [
        *("firing", "told", "resolved")
    ]
    assert len(ws.store.outbox.messages()) == told
    assert ws.store.alerts.waiting("toy") == []
    assert ws.store.verify() == []
    assert maintenance.expire_alerts(ws, other, now=MONDAY + 741 * DAY)["alerts_deleted"] == 2
