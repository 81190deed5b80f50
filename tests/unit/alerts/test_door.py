"""The door: an observation is applied once; what it changes and what it tells are there together, or neither is."""

from __future__ import annotations

import logging
import threading
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from keel.alerts.door import Notice, Posted, observe_in
from keel.alerts.records import Examined, Message, Observation
from keel.alerts.silences import silence
from keel.config import Kind, ModelConfig, Severity
from keel.errors import StoreUnavailable
from keel.workspace import Workspace
from tests.support.alerts.observations import DAY, HOUR, MONDAY, WEEK, alerting, drift, finding, seen, told_plainly

if TYPE_CHECKING:
    from pathlib import Path

    from keel.store import Store

BROKEN = finding()


def apply(store: Store, observation: Observation, config: ModelConfig | None = None, **changes) -> Posted:
    now = changes.pop("now", observation.at)
    compose = changes.pop("compose", told_plainly)
    return observe_in(store, config or alerting(), observation, compose, now=now)


def changes(posted: Posted) -> list[tuple[str, str]]:
    return [(str(each.alert.kind), str(each.change)) for each in posted.news]


def test_an_error_is_told_in_the_observation_that_finds_it(store: Store) -> None:
    posted = apply(store, seen(BROKEN))

    assert changes(posted) == [("performance", "firing")]
    [delivery] = store.outbox.deliveries()
    assert (delivery["channel"], delivery["recipient"], delivery["state"]) == ("email", "ann@example.com", "pending")
    assert delivery["message_id"] == posted.message_id
    assert [each.delivery_id for each in posted.deliveries] == [delivery["delivery_id"]]
    message = Message.from_dict(store.outbox.message(delivery["message_id"]) or {})
    assert message.happened == "Performance of the model is not what it was."
    [alert] = store.alerts.list("toy")
    assert (alert["state"], alert["message_id"], alert["told_severity"]) == ("firing", posted.message_id, "error")
    assert (alert["told_at"], alert["first_seen"]) == (MONDAY, MONDAY)
    assert [each["event"] for each in store.alerts.events(alert["alert_id"])] == ["firing", "told"]


def test_the_same_again_is_told_to_nobody_and_its_end_once(store: Store) -> None:
    first = apply(store, seen(BROKEN))
    again = apply(store, seen(BROKEN, at=MONDAY + DAY))
    config = alerting(resolve_after=2)
    ends = [apply(store, seen(at=MONDAY + n * DAY), config) for n in (2, 3, 4)]

    assert again == Posted()
    assert [changes(each) for each in ends] == [[], [("performance", "resolved")], []]
    [over] = store.alerts.list("toy")
    assert (over["state"], over["resolved_at"]) == ("resolved", MONDAY + 3 * DAY)
    message = Message.from_dict(store.outbox.message(ends[1].message_id or "") or {})
    assert message.references == (first.message_id,)
    assert message.topic == "resolved"


def test_an_observation_is_applied_once_and_its_message_is_returned_again(store: Store) -> None:
    once = apply(store, seen(BROKEN))
    twice = apply(store, seen(BROKEN), compose=lambda _: pytest.fail("composed again"))

    assert (twice.message_id, twice.deliveries, twice.repeated) == (once.message_id, once.deliveries, True)
    [alert] = store.alerts.list("toy")
    assert alert["seen"] == 1
    assert len(store.outbox.deliveries()) == 1


def test_what_is_older_than_the_newest_of_its_source_tells_nobody(store: Store) -> None:
    apply(store, seen(at=MONDAY))
    backfilled = apply(store, seen(BROKEN, finding(Kind.DATA_QUALITY), at=MONDAY - 7 * HOUR), now=MONDAY)
    other_source = apply(store, seen(BROKEN, at=MONDAY - DAY, source="watch"), now=MONDAY)

    assert backfilled == Posted()
    assert store.alerts.observation(f"check-toy-{(MONDAY - 7 * HOUR).isoformat()}") is not None
    assert changes(other_source) == [("performance", "firing")]


@pytest.mark.parametrize("age", [HOUR, 6 * HOUR])
def test_an_older_window_begins_and_ends_only_what_no_newer_one_could_judge(store: Store, age: timedelta) -> None:
    gone = finding(Kind.NO_PREDICTIONS)
    apply(store, seen(finding(Kind.DATA_QUALITY), at=MONDAY - DAY))
    apply(store, seen(gone, at=MONDAY))
    ends = [Examined(kind=kind) for kind in (Kind.NO_PREDICTIONS, Kind.DATA_QUALITY, Kind.LABELS_MISSING)]
    found = (BROKEN, finding(Kind.LABEL_QUALITY), finding(Kind.PROMOTION))
    cleared = seen(*found, at=MONDAY - age).model_copy(update={"examined": tuple(ends)})

    assert sorted(changes(apply(store, cleared, now=MONDAY + HOUR))) == [
        ("data_quality", "resolved"),
        ("label_quality", "firing"),
        ("promotion", "event"),
    ]
    assert changes(apply(store, seen(gone, at=MONDAY + 6 * HOUR))) == []
    [alert] = [each for each in store.alerts.list("toy", is_open=True) if each["kind"] == "no_predictions"]
    assert (alert["first_seen"], alert["last_seen"]) == (MONDAY, MONDAY + 6 * HOUR)


@pytest.mark.parametrize("lag", range(1, 7))
def test_a_door_that_lags_behind_another_tells_nothing_twice(store: Store, lag: int) -> None:
    broken = [(n // 6) % 2 == 1 for n in range(36)]
    found = [(finding(Kind.NO_PREDICTIONS),) if each else () for each in broken]
    told = []
    for n in range(36):
        for door, hour in (("first", n), ("second", n - lag)):
            if hour >= 0:
                at = MONDAY + hour * HOUR
                told += changes(apply(store, seen(*found[hour], at=at, name=f"{door} {hour}"), now=MONDAY + n * HOUR))
    assert [change for _, change in told] == ["firing", "resolved", "firing", "resolved", "firing"]


def test_failures_that_enter_out_of_order_all_count(store: Store) -> None:
    def failed(dag: str, at: datetime) -> list[tuple[str, str]]:
        failure = seen(finding(Kind.PIPELINE_FAILURE, dag), at=at, source="pipeline", name=dag)
        return changes(apply(store, failure, now=MONDAY))

    assert failed("toy.retrain", MONDAY) == [("pipeline_failure", "firing")]
    assert failed("toy.promote", MONDAY - timedelta(seconds=2)) == [("pipeline_failure", "firing")]


def test_a_window_that_ends_in_the_future_silences_nothing_until_then(store: Store) -> None:
    apply(store, seen(at=MONDAY + 52 * WEEK), now=MONDAY)
    assert changes(apply(store, seen(BROKEN), now=MONDAY)) == [("performance", "firing")]
    # an hour that has begun is no future, and what is older than the newest until now is told to nobody as before
    apply(store, seen(at=MONDAY + 8 * HOUR), now=MONDAY + 7.5 * HOUR)
    backfilled = apply(store, seen(finding(Kind.NO_PREDICTIONS), at=MONDAY + HOUR), now=MONDAY + 7.5 * HOUR)
    assert backfilled == Posted()


def test_what_waits_for_the_digest_rides_along_with_what_is_urgent(store: Store) -> None:
    config = alerting(fire_after=1)
    waits = apply(store, seen(drift("z")), config)
    urgent = apply(store, seen(drift("z"), drift("x"), finding(Kind.DATA_QUALITY), at=MONDAY + HOUR), config)

    assert waits.message_id is None
    # a column that is broken as a whole explains the drift
    assert changes(urgent) == [("data_quality", "firing")]
    rides = apply(
        store, seen(drift("y"), finding(Kind.LABEL_QUALITY), at=MONDAY, model="other"), alerting("other", fire_after=1)
    )
    assert changes(rides) == [("label_quality", "firing"), ("data_drift", "firing")]
    assert [each["alert_id"] for each in store.alerts.waiting("other")] == []
    assert len(store.alerts.waiting("toy")) == 1


def test_who_was_told_of_an_error_is_told_that_it_is_over(store: Store) -> None:
    routes = [{"channel": "pagerduty", "to": "pager", "severity": "error"}]
    config = alerting(routes=routes, resolve_after=1)
    apply(store, seen(BROKEN), config)
    apply(store, seen(finding(severity=Severity.WARNING), at=MONDAY + HOUR), config)
    over = apply(store, seen(at=MONDAY + DAY), config)

    assert {each.channel for each in over.deliveries} == {"email", "pagerduty"}


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        ({"channel": "slack", "to": "#ml", "severity": "critical"}, []),
        ({"channel": "slack", "to": "#ml", "severity": "error"}, ["#ml"]),
        ({"channel": "slack", "to": ["#ml", "#ops", "#ml"]}, ["#ml", "#ops"]),
        ({"channel": "slack", "to": "#ml", "kinds": ["data_drift"]}, []),
        ({"channel": "slack", "to": "#ml", "kinds": ["data_drift", "performance"]}, ["#ml"]),
    ],
)
def test_a_way_takes_what_it_is_for(store: Store, route: dict[str, object], expected: list[str]) -> None:
    config = alerting(routes=[route, {"channel": "email", "to": "ann@example.com"}])
    posted = apply(store, seen(BROKEN), config)

    assert [each.recipient for each in posted.deliveries if each.channel == "slack"] == expected
    assert [each.recipient for each in posted.deliveries if each.channel == "email"] == ["ann@example.com"]


def test_a_model_that_tells_nobody_has_a_message_for_the_outbox(store: Store) -> None:
    posted = apply(store, seen(BROKEN), alerting(email=[]))

    assert [(each.channel, each.recipient) for each in posted.deliveries] == [("outbox", "")]


def test_a_message_that_cannot_be_composed_is_a_plain_one(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    def broken(notice: Notice) -> Message:
        raise ZeroDivisionError

    with caplog.at_level(logging.ERROR):
        posted = apply(store, seen(BROKEN), compose=broken)

    message = Message.from_dict(store.outbox.message(posted.message_id or "") or {})
    assert message.happened == "Performance of the model is not what it was."
    assert "could not be composed" in caplog.text


def test_a_store_that_fails_while_composing_leaves_nothing(store: Store) -> None:
    def away(notice: Notice) -> Message:
        raise StoreUnavailable("away")

    with pytest.raises(StoreUnavailable):
        apply(store, seen(BROKEN), compose=away)

    assert store.alerts.list() == []
    assert store.outbox.messages() == []
    assert store.alerts.observation(seen(BROKEN).observation_id) is None
    assert apply(store, seen(BROKEN)).message_id is not None


def test_a_message_that_nobody_needs_leaves_the_alert_untold(store: Store) -> None:
    silent = apply(store, seen(BROKEN), compose=lambda _: None)
    later = apply(store, seen(BROKEN, at=MONDAY + HOUR))

    assert silent.message_id is None
    assert changes(later) == [("performance", "firing")]


def test_what_concerns_no_single_model_is_told_to_the_people_of_all_once(
    store: Store, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("models")
    for name, people in (("one", "ann@example.com, bob@example.com"), ("two", "bob@example.com"), ("bad", "nobody")):
        (folder / name).mkdir()
        text = f"model: {name}\ntarget: {{name: y, label_delay: 24h}}\nfeatures: {{x: numeric}}\n"
        (folder / name / "model.yaml").write_text(f"{text}alerts: {{email: [{people}]}}\n")
    monkeypatch.setenv("KEEL_MODELS_FOLDER", str(folder))
    broken = seen(finding(Kind.LEDGER_BROKEN, severity=Severity.CRITICAL), model="", source="maintenance")

    posted = observe_in(store, None, broken, told_plainly, now=MONDAY)

    assert [each.recipient for each in posted.deliveries] == ["ann@example.com", "bob@example.com"]


def test_doors_at_the_same_time_open_one_alert_and_tell_it_once(store: Store) -> None:
    start = threading.Barrier(8)
    posted: list[Posted] = []

    def enter(number: int) -> None:
        start.wait()
        posted.append(apply(store, seen(BROKEN, name=f"check {number}", at=MONDAY)))

    threads = [threading.Thread(target=enter, args=(number,)) for number in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert sorted(len(each.news) for each in posted) == [0] * 7 + [1]
    assert len(store.alerts.list()) == len(store.outbox.messages()) == 1


def test_what_ends_and_begins_again_are_two_alerts(store: Store) -> None:
    config = alerting(resolve_after=1)
    for day, found in enumerate([(BROKEN,), (), (BROKEN,)]):
        apply(store, seen(*found, at=MONDAY + day * DAY), config)

    found = store.alerts.list("toy")
    assert [each["state"] for each in found] == ["firing", "resolved"]
    assert len({each["alert_id"] for each in found}) == 2
    assert store.alerts.open_by_severity() == {("toy", "error"): 1}


def test_times_by_the_clock_and_by_the_data_are_kept_apart(store: Store) -> None:
    now = datetime.fromisoformat("2030-01-01T00:00:00+00:00")
    posted = apply(store, seen(BROKEN), now=now)

    assert posted.deliveries[0].created_at == now
    [alert] = store.alerts.list()
    assert alert["first_seen"] == MONDAY


def test_a_silence_keeps_quiet_until_it_ends_and_what_still_fires_is_told_then(store: Store, tmp_path: Path) -> None:
    ws = Workspace(tmp_path, store, registry=None)  # type: ignore[arg-type]  # nothing here is about versions
    until = MONDAY + 2 * DAY
    silence(ws, "toy", kind=Kind.PERFORMANCE, until=until, reason="a campaign", actor="ada", now=MONDAY - DAY)

    posted = [apply(store, seen(BROKEN, at=MONDAY + day * DAY)) for day in range(4)]
    assert [changes(each) for each in posted] == [[], [], [("performance", "firing")], []]
    [alert] = store.alerts.list()
    events = [each["event"] for each in store.alerts.events(alert["alert_id"])]
    assert events == ["firing", "silenced", "told"]
