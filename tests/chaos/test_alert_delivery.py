"""Whoever tells people is killed, or loses the connection: everything arrives, and few things twice.

``KEEL_CHAOS_TRIALS`` sets the number of kills at random times; the full size has 100.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from keel.alerts.delivery import LEASE, send_due
from keel.alerts.door import observe_in
from keel.alerts.outbox import EmlSender
from keel.store import Store
from tests.support.alerts.observations import DAY, MONDAY, alerting, drift, finding, seen, told_plainly
from tests.support.alerts.receiver import HttpSender, Receiver, receiver
from tests.support.chaos.kills import TIMEOUT, TRIALS, numbers_of, random_delays, run, run_until_killed

if TYPE_CHECKING:
    from pathlib import Path

PEOPLE = [f"person-{number}@example.com" for number in range(8)]
CONFIG = alerting(email=PEOPLE, fire_after=1)
A_BATCH = 0.25
"""Seconds; a process opens the store and sends to all of them in about that."""


@pytest.fixture
def listening() -> Iterator[Receiver]:
    with receiver() as server:
        yield server


@pytest.fixture
def fallback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EmlSender:
    (tmp_path / "models").mkdir()
    monkeypatch.setenv("KEEL_MODELS_FOLDER", str(tmp_path / "models"))
    return EmlSender(tmp_path / "outbox", "keel@example.com")


def post(store_url: str, number: int, now: datetime) -> Callable[[], object]:
    """Find something new, which is told to everyone."""

    def step() -> object:
        with Store.open(store_url, timeout=TIMEOUT) as store:
            found = seen(finding(subject=f"trouble {number}"), at=now)
            return len(observe_in(store, CONFIG, found, told_plainly, now=now).deliveries)

    return step


def send(store_url: str, url: str, fallback: EmlSender, now: datetime) -> Callable[[], object]:
    def step() -> object:
        with Store.open(store_url, timeout=TIMEOUT) as store:
            return len(send_due(store, {"email": HttpSender(url)}, fallback, now=now, clock=lambda: now))

    return step


def test_a_sender_that_is_killed_again_and_again_delivers_everything(
    store_url: str, listening: Receiver, fallback: EmlSender
) -> None:
    listening.takes = 0.005
    now = MONDAY
    for number, delay in enumerate(random_delays(TRIALS, A_BATCH)):
        # what a killed one had in its hands is free again
        now += LEASE
        assert run(post(store_url, number, now)).result == len(PEOPLE)
        run_until_killed(send(store_url, listening.url, fallback, now), delay)
    interrupted = sum(listening.got.values())
    now += LEASE
    while run(send(store_url, listening.url, fallback, now)).result:
        pass

    with Store.open(store_url) as store:
        rows = store.outbox.deliveries()
        tries = sum(len(store.outbox.tries(row["delivery_id"])) for row in rows)
        assert store.verify() == []
    twice = sum(listening.got.values()) - len(listening.got)
    print(
        f"{TRIALS} kills, {len(rows)} deliveries, {interrupted} before the last, {twice} twice, {tries} tries recorded"
    )
    assert len(rows) == TRIALS * len(PEOPLE)
    assert {row["state"] for row in rows} == {"sent"}
    assert set(listening.got) == {row["delivery_id"] for row in rows}
    assert twice <= TRIALS
    assert interrupted < len(rows), "the kills came too late to interrupt anything"


def test_a_receiver_that_takes_a_message_and_loses_the_connection_gets_it_again(
    store_url: str, listening: Receiver, fallback: EmlSender
) -> None:
    run(post(store_url, 0, MONDAY))
    listening.losses = 5
    now, rounds = MONDAY, 0
    while True:
        run(send(store_url, listening.url, fallback, now))
        with Store.open(store_url) as store:
            rows = store.outbox.deliveries(state="pending")
        if not rows:
            break
        now, rounds = min(row["next_try_at"] for row in rows), rounds + 1

    assert (rounds, now) == (1, MONDAY + timedelta(minutes=1))
    assert len(listening.got) == len(PEOPLE)
    assert sum(listening.got.values()) == len(PEOPLE) + 5
    with Store.open(store_url) as store:
        lost = next(row for row in store.outbox.deliveries() if row["tries"] == 2)
        answers = [attempt["answer"] for attempt in store.outbox.tries(lost["delivery_id"])]
        assert not fallback.folder.exists()
    assert answers == ["RemoteDisconnected: Remote end closed connection without response", "200 ok"]


def test_a_door_that_is_killed_has_written_all_or_nothing(store_url: str) -> None:
    run(post(store_url, 0, MONDAY))  # the schema, and an alert that the next observation resolves
    boundaries = run(enter(store_url, 0)).boundaries
    whole, nothing = 0, 0
    for kill in numbers_of(boundaries, store_url):
        number = kill + 1
        assert run(enter(store_url, number), kill_at=kill).killed
        with Store.open(store_url) as store:
            parts = _parts(store, number)
            assert parts in ((False,) * 5, (True,) * 5), (boundaries[kill], parts)
            assert store.verify() == []
        whole, nothing = whole + parts[0], nothing + (not parts[0])
        assert not run(enter(store_url, number)).killed
        with Store.open(store_url) as store:
            assert _parts(store, number) == (True,) * 5
            assert len(store.outbox.messages(f"model_{number}")) == 1
            assert len(store.outbox.deliveries(message_ids=[_message_id(store, number)])) == len(PEOPLE)
    assert whole
    assert nothing


def enter(store_url: str, number: int) -> Callable[[], object]:
    """Let a model of its own have two findings, of which one can wait, and rides along."""

    def step() -> object:
        config = alerting(f"model_{number}", email=PEOPLE, fire_after=1)
        with Store.open(store_url, timeout=TIMEOUT) as store:
            found = seen(finding(), drift("x"), at=MONDAY, model=config.model)
            other = seen(drift("x"), at=MONDAY - DAY, model=config.model, source="watch")
            observe_in(store, config, other, told_plainly, now=MONDAY)
            return observe_in(store, config, found, told_plainly, now=MONDAY).message_id

    return step


def _message_id(store: Store, number: int) -> str:
    row = store.alerts.observation(f"check-model_{number}-{MONDAY.isoformat()}")
    return str(row["message_id"]) if row else ""


def _parts(store: Store, number: int) -> tuple[bool, ...]:
    """Return whether each part of what the door writes is there."""
    message_id = _message_id(store, number)
    alerts = [row for row in store.alerts.list(f"model_{number}") if row["kind"] == "performance"]
    events = [event for row in alerts for event in store.alerts.events(row["alert_id"])]
    return (
        bool(message_id),
        store.outbox.message(message_id) is not None,
        len(store.outbox.deliveries(message_ids=[message_id])) == len(PEOPLE),
        bool(alerts) and alerts[0]["message_id"] == message_id,
        {"firing", "told"} <= {event["event"] for event in events},
    )
