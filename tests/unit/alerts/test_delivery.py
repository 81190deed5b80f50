"""Delivery: every try is recorded, what fails is tried again or becomes a file, and nothing is lost."""

from __future__ import annotations

import email
import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from email import policy
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from keel.alerts import channel_trouble, door
from keel.alerts import delivery as delivery_module
from keel.alerts.delivery import DEADLINE, GIVE_UP_AFTER, LEASE, retry, send_due
from keel.alerts.door import observe_in
from keel.alerts.outbox import EmlSender
from keel.alerts.records import Answer, Delivery, Examined, Finding, Message
from keel.config import Kind, Severity
from keel.errors import ConfigError, NoConnection, UnknownDelivery
from keel.store.database.alert_tables import messages
from tests.support.alerts.observations import DAY, HOUR, MONDAY, alerting, finding, seen, told_plainly
from tests.support.alerts.receiver import HttpSender, receiver

if TYPE_CHECKING:
    from pathlib import Path

    from keel.config import ModelConfig
    from keel.store import Store

MINUTE = timedelta(minutes=1)
OK = Answer(accepted=True, detail="250 OK", reference={"ts": "1"})
BUSY = Answer(accepted=False, detail="503 busy")
SLACK = alerting(email=[], routes=[{"channel": "slack", "to": "#ml", "severity": "info"}])


class Receiver:
    """A channel that gives answers in turn, the last one for ever, and keeps what it was given."""

    def __init__(self, *answers: Answer | Exception) -> None:
        self.answers = list(answers)
        self.got: list[tuple[str, str, tuple[str, ...]]] = []

    def send(self, message: Message, delivery: Delivery, earlier: Sequence[Delivery]) -> Answer:
        self.got.append((message.message_id, delivery.recipient, tuple(each.message_id for each in earlier)))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture(autouse=True)
def _no_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is told of a channel in trouble: nobody but the outbox."""
    (tmp_path / "models").mkdir()
    monkeypatch.setenv("KEEL_MODELS_FOLDER", str(tmp_path / "models"))


@pytest.fixture
def outbox(tmp_path: Path) -> EmlSender:
    return EmlSender(tmp_path / "outbox", "keel@example.com")


@pytest.fixture
def send(store: Store, outbox: EmlSender) -> Callable[..., tuple[Delivery, ...]]:
    def at(now: datetime, *, fallback: object = outbox, **senders: Receiver) -> tuple[Delivery, ...]:
        return send_due(store, senders, fallback, now=now, clock=lambda: now)  # type: ignore[arg-type]

    return at


def post(store: Store, *, at: datetime = MONDAY, config=SLACK, found: bool = True) -> str:
    observation = seen(*([finding()] if found else []), at=at, model=config.model)
    posted = observe_in(store, config, observation, told_plainly, now=at)
    assert posted.message_id
    return posted.message_id


def files(outbox: EmlSender) -> list[str]:
    return sorted(path.name for path in outbox.folder.glob("*")) if outbox.folder.exists() else []


def test_what_is_accepted_is_sent_once_and_its_reference_is_kept(store: Store, send) -> None:
    message_id, slack = post(store), Receiver(OK)
    [sent] = send(MONDAY, slack=slack)

    assert (sent.state, sent.answer, sent.reference, sent.tries) == ("sent", "250 OK", {"ts": "1"}, 1)
    assert slack.got == [(message_id, "#ml", ())]
    assert send(MONDAY + DAY, slack=slack) == ()
    [row] = store.outbox.deliveries()
    assert Delivery.from_dict(row) == sent
    [attempt] = store.outbox.tries(sent.delivery_id)
    assert (attempt["number"], attempt["at"], attempt["answer"]) == (1, MONDAY, "250 OK")
    assert attempt["accepted"]
    assert store.outbox.undelivered() == {}


def test_what_fails_is_tried_again_after_longer_and_longer_pauses(store: Store, send) -> None:
    post(store)
    slack, now, pauses = Receiver(BUSY), MONDAY, []
    for _ in range(8):
        [delivery] = [each for each in send(now, slack=slack) if each.channel == "slack"]
        assert delivery.next_try_at is not None
        assert all(each.channel != "slack" for each in send(delivery.next_try_at - MINUTE / 60, slack=slack))
        pauses.append((delivery.next_try_at - now) / MINUTE)
        now = delivery.next_try_at

    assert pauses == [1, 2, 5, 15, 30, 60, 60, 60]
    assert store.outbox.undelivered()["slack"] == 1
    assert len(store.outbox.tries(delivery.delivery_id)) == 8


def test_a_receiver_that_asks_to_wait_is_given_the_time(store: Store, send) -> None:
    post(store)
    asks = Answer(accepted=False, detail="429", retry_after=600)
    [delivery] = send(MONDAY, slack=Receiver(asks))
    assert delivery.next_try_at == MONDAY + 10 * MINUTE
    # a shorter one than Keel's own pause makes no difference, and one of years is no way to lose a message
    [delivery] = send(MONDAY + 10 * MINUTE, slack=Receiver(asks.model_copy(update={"retry_after": 1})))
    assert delivery.next_try_at == MONDAY + 12 * MINUTE
    [delivery] = send(MONDAY + 12 * MINUTE, slack=Receiver(asks.model_copy(update={"retry_after": 1e12})))
    assert delivery.next_try_at == MONDAY + GIVE_UP_AFTER


def test_after_three_days_the_message_becomes_a_file_and_the_channel_an_alert(store: Store, send, outbox) -> None:
    post(store)
    slack, now = Receiver(BUSY), MONDAY
    while (delivery := next(each for each in send(now, slack=slack) if each.channel == "slack")).state == "pending":
        assert delivery.next_try_at is not None
        now = delivery.next_try_at

    assert now == MONDAY + GIVE_UP_AFTER
    assert delivery.state == "failed"
    assert delivery.answer is not None
    assert delivery.answer.startswith("503 busy; written to the outbox as ")
    assert (delivery.reference or {})["file"] in files(outbox)
    [channel, _] = sorted(store.alerts.list(is_open=True), key=lambda row: row["kind"])
    assert (channel["kind"], channel["subject"], channel["model"]) == ("channel", "slack", "")
    # it was told after half an hour, not after three days
    assert MONDAY + 20 * MINUTE < channel["first_seen"] < MONDAY + HOUR


def test_a_channel_without_connection_says_so_once_and_again_when_it_works(store: Store, send, outbox) -> None:
    config = alerting(routes=SLACK.alerts.routes)
    mail = Receiver(OK)
    for day in range(3):
        found = [finding(subject=f"metric {day}")]
        observe_in(store, config, seen(*found, at=MONDAY + day * DAY), told_plainly, now=MONDAY + day * DAY)
        sent = send(MONDAY + day * DAY, slack=Receiver(NoConnection("slack_default: no such connection")), email=mail)
        states = {each.channel: each.state for each in sent if each.model == "toy"}
        assert states == {"slack": "pending", "email": "sent"}

    [channel] = [row for row in store.alerts.list() if row["kind"] == "channel"]
    assert "slack_default: no such connection" in channel["sentence"]
    assert [each["topic"] for each in store.outbox.messages("")] == ["alert"]
    assert len([name for name in files(outbox) if name.endswith(".eml")]) == 4, "three messages, and that about slack"

    send(MONDAY + 2 * DAY + HOUR, slack=Receiver(OK), email=mail)
    toy = [row["state"] for row in store.outbox.deliveries(channel="slack") if row["model"] == "toy"]
    assert toy == ["sent"] * 3, "what waited is sent without anything new to tell"
    [channel] = [row for row in store.alerts.list() if row["kind"] == "channel"]
    assert (channel["state"], channel["resolution"]) == ("resolved", "slack: #ml took a message")
    assert [each["topic"] for each in store.outbox.messages("")] == ["alert", "resolved"]
    assert "slack" in store.outbox.messages("")[1]["happened"]


@pytest.mark.parametrize("channels", [["email", "slack", "teams"], ["teams", "slack", "email"]])
def test_what_no_channel_takes_is_one_file_of_the_outbox(store: Store, outbox, channels: list[str]) -> None:
    to = {"email": "ann@example.com", "slack": "#ml", "teams": "teams_ml"}
    config = alerting(email=[], routes=[{"channel": channel, "to": name} for channel, name in to.items()])
    for day, ways in enumerate((config, SLACK)):
        found = seen(finding(subject=f"metric {day}"), at=MONDAY + day * DAY)
        posted = observe_in(store, ways, found, told_plainly, now=MONDAY + day * DAY)
        sent = [
            each
            for channel in channels
            for each in send_due(store, {}, outbox, now=MONDAY + day * DAY, channel=channel)
            if each.message_id == posted.message_id
        ]
        [file] = {(each.reference or {})["file"] for each in sent}
        assert all(each.answer.endswith(f"written to the outbox as {file}") for each in sent)
        mail = email.message_from_bytes((outbox.folder / file).read_bytes(), policy=policy.default)
        assert mail["To"] == ("undisclosed-recipients:;" if day else "ann@example.com")
    assert len(files(outbox)) == 2


def test_one_refused_address_is_an_alert_of_its_own_and_hides_no_other(store: Store, outbox) -> None:
    config = alerting(email=["ann@example.com", "bob@example.com"])

    class Mail:
        def send(self, message: Message, delivery: Delivery, earlier: Sequence[Delivery]) -> Answer:
            is_known = delivery.recipient.startswith("ann")
            return OK if is_known else Answer(accepted=False, detail="550 no such user", is_final=True)

    for day in range(3):
        now = MONDAY + day * DAY
        observe_in(store, config, seen(finding(subject=f"metric {day}"), at=now), told_plainly, now=now)
        sent = send_due(store, {"email": Mail()}, outbox, now=now, clock=lambda at=now: at)
        states = {each.recipient: each.state for each in sent if each.message_id != "" and each.channel == "email"}
        assert states == {"ann@example.com": "sent", "bob@example.com": "failed"}

    [alert] = [row for row in store.alerts.list() if row["kind"] == "channel"]
    assert (alert["subject"], alert["state"], alert["model"]) == ("email: bob@example.com", "firing", "toy")


def configure(monkeypatch: pytest.MonkeyPatch, *configs: ModelConfig, invalid: Sequence[ConfigError] = ()) -> None:
    found = {each.model: each for each in configs}
    for module in (channel_trouble, door):
        monkeypatch.setattr(module, "read_models", lambda: (found, list(invalid)))


TWO = alerting(email=["ann@example.com", "bob@example.com"])
BOB_IS_REFUSED = Answer(accepted=False, detail="550 no such user", is_final=True)


class Mail:
    """A mail server that does not know Bob."""

    def send(self, message: Message, delivery: Delivery, earlier: Sequence[Delivery]) -> Answer:
        return BOB_IS_REFUSED if delivery.recipient.startswith("bob") else OK


def channel_alerts(store: Store) -> list[tuple[str, str, str | None]]:
    rows = [row for row in store.alerts.list() if row["kind"] == "channel"]
    return [(row["subject"], row["state"], row["resolution"]) for row in rows]


@pytest.mark.parametrize("models", ["with bob", "invalid", "none"])
def test_alert_of_a_recipient_stays_while_a_configuration_may_name_him(store: Store, send, monkeypatch, models) -> None:
    configure(monkeypatch, TWO)
    post(store, config=TWO)
    send(MONDAY, email=Mail())
    left = {"with bob": [TWO], "invalid": [alerting(model="other")], "none": []}[models]
    configure(monkeypatch, *left, invalid=[ConfigError("model.yaml: no such key")] if models == "invalid" else [])
    send(MONDAY + DAY, email=Mail())
    assert channel_alerts(store) == [("email: bob@example.com", "firing", None)]


@pytest.mark.parametrize("is_model_left", [True, False])
def test_alert_of_a_recipient_is_over_when_no_configuration_names_him(
    store: Store, send, monkeypatch, is_model_left
) -> None:
    configure(monkeypatch, TWO)
    post(store, config=TWO)
    send(MONDAY, email=Mail())
    assert [state for _, state, _ in channel_alerts(store)] == ["firing"]
    told = len(store.outbox.messages())
    configure(monkeypatch, alerting(model="toy" if is_model_left else "other"))
    send(MONDAY + DAY, email=Mail())
    why = "nobody is told by email: bob@example.com any more"
    assert channel_alerts(store) == [("email: bob@example.com", "resolved", why)]
    assert len(store.outbox.messages()) == told + is_model_left, "people of other models did not know of it"
    send(MONDAY + 2 * DAY, email=Mail())
    assert len(channel_alerts(store)) == 1


@pytest.mark.parametrize("channel", ["teams", "slack"])
def test_trouble_of_a_way_that_no_configuration_names_is_told_to_nobody(
    store: Store, send, monkeypatch, channel: str
) -> None:
    gone = alerting(email=[], routes=[{"channel": channel, "to": ["a_team"]}])
    post(store, config=gone)
    configure(monkeypatch, alerting(model="other"))
    assert [each.state for each in send(MONDAY)] == ["pending"]
    assert channel_alerts(store) == []
    assert len(store.outbox.messages()) == 1


def test_refusals_of_a_whole_channel_are_one_alert(store: Store, send) -> None:
    config = alerting(email=[f"person-{number}@example.com" for number in range(5)])
    refuses = Receiver(Answer(accepted=False, detail="TLS mismatch", is_final=True))
    observe_in(store, config, seen(finding()), told_plainly, now=MONDAY)
    send(MONDAY, email=refuses)

    [alert] = [row for row in store.alerts.list() if row["kind"] == "channel"]
    assert (alert["subject"], alert["model"]) == ("email", "")
    assert alert["sentence"] == "Messages by email do not arrive: TLS mismatch."


def test_a_missing_connection_is_one_alert_for_all_models(store: Store, outbox, monkeypatch) -> None:
    routes = [{"channel": "teams", "to": ["teams_ml", "teams_ops"]}]
    models = [alerting(name, email=[], routes=routes) for name in ("toy", "other")]
    configure(monkeypatch, *models)

    class Teams:
        def send(self, message: Message, delivery: Delivery, earlier: Sequence[Delivery]) -> Answer:
            if delivery.recipient == "teams_ml":
                raise NoConnection("teams_ml: no such connection")
            return OK

    for day in range(3):
        now = MONDAY + day * DAY
        for config in models:
            found = seen(finding(subject=f"metric {day}"), at=now, model=config.model)
            observe_in(store, config, found, told_plainly, now=now)
        send_due(store, {"teams": Teams()}, outbox, now=now, clock=lambda at=now: at)

    [alert] = [row for row in store.alerts.list() if row["kind"] == "channel"]
    assert (alert["subject"], alert["state"], alert["model"]) == ("teams: teams_ml", "firing", "")
    assert store.alerts.open_channels() == {"teams": 1}


def test_mail_without_a_server_is_written_and_that_is_no_failure(store: Store, send, outbox) -> None:
    observe_in(store, alerting(), seen(finding()), told_plainly, now=MONDAY)
    observe_in(store, alerting("alone", email=[]), seen(finding(), model="alone"), told_plainly, now=MONDAY)
    sent = send(MONDAY, email=Receiver(NoConnection("no mail server")))

    assert [each.state for each in sent] == ["sent", "sent"]
    assert [row["kind"] for row in store.alerts.list()] == ["performance"] * 2
    made = [
        email.message_from_bytes((outbox.folder / name).read_bytes(), policy=policy.default) for name in files(outbox)
    ]
    assert sorted(mail["To"] for mail in made) == ["ann@example.com", "undisclosed-recipients:;"]
    assert {mail["X-Keel-Channel"] for mail in made} == {None, "outbox"}


def test_a_sender_that_takes_for_ever_holds_up_no_other(store: Store, send, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery_module, "DEADLINE", 0.5)
    assert timedelta(seconds=DEADLINE) < LEASE
    post(store)
    observe_in(store, alerting("other"), seen(finding(), model="other"), told_plainly, now=MONDAY)
    end = threading.Event()

    class Drips(Receiver):
        def send(self, message: Message, delivery: Delivery, earlier: Sequence[Delivery]) -> Answer:
            end.wait(60)
            return super().send(message, delivery, earlier)

    sent = {each.channel: each for each in send(MONDAY, slack=Drips(OK), email=Receiver(OK))}
    end.set()
    assert (sent["slack"].state, sent["slack"].answer) == ("pending", "slack took longer than 0 s")
    assert sent["slack"].next_try_at == MONDAY + MINUTE
    assert sent["email"].state == "sent"


def test_channels_are_sent_side_by_side(store: Store, send) -> None:
    post(store, config=alerting(routes=SLACK.alerts.routes))
    has_slack, has_mail = threading.Event(), threading.Event()

    class Together(Receiver):
        def __init__(self, mine: threading.Event, other: threading.Event) -> None:
            super().__init__(OK)
            self.mine, self.other = mine, other

        def send(self, message: Message, delivery: Delivery, earlier: Sequence[Delivery]) -> Answer:
            self.mine.set()
            return OK if self.other.wait(10) else BUSY

    sent = send(MONDAY, slack=Together(has_slack, has_mail), email=Together(has_mail, has_slack))
    assert [each.state for each in sent] == ["sent", "sent"]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery_module, "DEADLINE", 0.3)


def test_a_receiver_that_hangs_is_asked_once_a_round_and_holds_up_no_other(store: Store, outbox, impatient) -> None:
    on_call = {"channel": "pagerduty", "to": "on_call", "severity": "error"}
    config = alerting(email=[f"person-{number}@example.com" for number in range(6)], routes=[on_call])
    observe_in(store, config, seen(finding()), told_plainly, now=MONDAY)
    began = time.monotonic()

    def clock() -> datetime:
        return MONDAY + timedelta(seconds=time.monotonic() - began) + later

    with receiver() as mails, receiver() as pager:
        senders = {"email": HttpSender(mails.url), "pagerduty": HttpSender(pager.url)}
        mails.takes, later = 30.0, 0 * MINUTE
        sent = send_due(store, senders, outbox, now=MONDAY, clock=clock)
        assert [each.state for each in sent if each.channel == "pagerduty"] == ["sent"]
        assert len(mails.got) == 1
        tries = {each.recipient: (each.state, each.tries) for each in sent if each.channel == "email"}
        assert set(tries.values()) == {("pending", 1)}
        assert len(tries) == 6

        later = 2 * MINUTE
        send_due(store, senders, outbox, now=clock(), clock=clock, channel="email")
        assert len(mails.got) == 2, "with another message: it may be the first that is not answered"
        mails.takes, later = 0.0, 5 * MINUTE
        send_due(store, senders, outbox, now=clock(), clock=clock)
        assert len(mails.got) == 6
    rows = store.outbox.deliveries(channel="email")
    assert {(row["state"], row["tries"]) for row in rows} == {("sent", 3)}
    answers = [each["answer"] for row in rows for each in store.outbox.tries(row["delivery_id"])]
    assert answers.count("email took longer than 0 s") == 2
    assert answers.count("email took longer than 0 s (asked with another message)") == 10


def test_a_refusal_that_takes_long_is_an_answer_and_holds_up_no_other(
    store: Store, outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = alerting(email=[f"{name}@example.com" for name in ("gone", "ann", "bob")])
    observe_in(store, config, seen(finding()), told_plainly, now=MONDAY)
    ticks = time.monotonic

    class Tarpit:
        def send(self, message: Message, delivery: Delivery, earlier: Sequence[Delivery]) -> Answer:
            if delivery.recipient != "gone@example.com":
                return OK
            monkeypatch.setattr(delivery_module.time, "monotonic", lambda: ticks() + 60)
            return Answer(accepted=False, detail="450 unknown")

    # the address that is refused is the first
    store.outbox.retry(store.outbox.deliveries(recipient="gone@example.com")[0]["delivery_id"], now=MONDAY - DAY)
    sent = send_due(store, {"email": Tarpit()}, outbox, now=MONDAY, clock=lambda: MONDAY)
    states = [(each.recipient.partition("@")[0], each.state) for each in sent]
    assert states[0] == ("gone", "pending")
    assert sorted(states[1:]) == [("ann", "sent"), ("bob", "sent")]


def test_a_connection_that_hangs_holds_up_no_other_of_its_channel(store: Store, outbox, impatient) -> None:
    config = alerting(email=[], routes=[{"channel": "teams", "to": ["a_hangs", "b_works"]}])
    for number in range(2):
        found = seen(finding(subject=str(number)), at=MONDAY + number * HOUR)
        observe_in(store, config, found, told_plainly, now=MONDAY)

    class Teams:
        def send(self, message: Message, delivery: Delivery, earlier: Sequence[Delivery]) -> Answer:
            return HttpSender({"a_hangs": hangs, "b_works": works}[delivery.recipient].url).send(message, delivery, ())

    with receiver() as hangs, receiver() as works:
        hangs.takes = 30.0
        sent = send_due(store, {"teams": Teams()}, outbox, now=MONDAY, clock=lambda: MONDAY)
    assert (len(hangs.got), len(works.got)) == (1, 2)
    assert [each.state for each in sent if each.recipient == "a_hangs"] == ["pending"] * 2


def test_mail_waits_for_a_server_that_is_gone_and_the_channel_is_an_alert(store: Store, send, outbox) -> None:
    config, gone = alerting(email=["ann@example.com"]), Receiver(NoConnection("no mail server"))
    first = post(store, config=config)
    send(MONDAY, email=Receiver(Answer(accepted=True, detail="250 OK")))
    second = post(store, config=alerting("other", email=["ann@example.com"]), at=MONDAY + 40 * DAY)
    [waits] = send(MONDAY + 40 * DAY, email=gone)

    assert (waits.message_id, waits.state, waits.answer) == (
        second,
        "pending",
        f"no mail server; written to the outbox as {files(outbox)[0]}",
    )
    [channel] = [row for row in store.alerts.list(is_open=True) if row["kind"] == "channel"]
    assert (channel["subject"], channel["sentence"]) == ("email", "Messages by email do not arrive: no mail server.")

    again = Receiver(OK)
    send(MONDAY + 40 * DAY + MINUTE, email=again)
    assert [message_id for message_id, _, _ in again.got] == [second]
    assert [row for row in store.alerts.list(is_open=True) if row["kind"] == "channel"] == []
    assert first not in {message_id for message_id, _, _ in again.got}


def test_mails_that_a_lost_server_leaves_for_days_become_files(store: Store, send, outbox) -> None:
    config = alerting(email=["ann@example.com"])
    post(store, config=config)
    send(MONDAY, email=Receiver(Answer(accepted=True, detail="250 OK")))
    post(store, config=alerting("other", email=["ann@example.com"]), at=MONDAY + DAY)
    [failed] = send(MONDAY + DAY + GIVE_UP_AFTER, email=Receiver(NoConnection("no mail server")))
    assert failed.state == "failed"
    assert (failed.reference or {})["file"] in files(outbox)


def test_an_exception_of_a_sender_is_an_answer_without_secrets(
    store: Store, send, caplog: pytest.LogCaptureFixture
) -> None:
    post(store)
    words = "cannot post to https://hooks.slack.com/services/T1/B2/canary1: password='canary2' for smtp://me:canary3@mx"
    with caplog.at_level(logging.DEBUG):
        [delivery] = send(MONDAY, slack=Receiver(RuntimeError(words)))

    assert delivery.state == "pending"
    assert delivery.answer is not None
    assert delivery.answer.startswith("RuntimeError: cannot post to https://hooks.slack.com/***")
    everything = f"{store.outbox.deliveries()} {store.outbox.tries(delivery.delivery_id)} {caplog.text}"
    assert "canary" not in everything


def test_a_full_disk_of_the_outbox_loses_nothing(store: Store, send, outbox: EmlSender) -> None:
    observe_in(store, alerting(), seen(finding()), told_plainly, now=MONDAY)
    outbox.folder.write_text("a file where the folder should be")
    [delivery] = send(MONDAY)
    assert (delivery.state, delivery.next_try_at) == ("pending", MONDAY + MINUTE)

    outbox.folder.unlink()
    [delivery] = send(MONDAY + MINUTE)
    assert delivery.state == "sent"


def test_a_refused_message_waits_while_the_outbox_cannot_take_it(store: Store, send, outbox: EmlSender) -> None:
    post(store)
    outbox.folder.write_text("a file where the folder should be")
    refused = Receiver(Answer(accepted=False, detail="404 channel_not_found", is_final=True))
    [delivery] = send(MONDAY + 4 * DAY, slack=refused)
    assert (delivery.state, delivery.next_try_at) == ("pending", MONDAY + 4 * DAY + MINUTE)

    outbox.folder.unlink()
    delivery = send(MONDAY + 5 * DAY, slack=refused)[0]
    assert delivery.state == "failed"


def test_the_end_is_not_sent_before_the_beginning(store: Store, send) -> None:
    config = alerting(email=[], routes=SLACK.alerts.routes, resolve_after=1)
    first = post(store, config=config)
    [failed] = send(MONDAY, slack=Receiver(BUSY))
    second = post(store, config=config, at=MONDAY + MINUTE / 2, found=False)

    busy, slack = Receiver(BUSY), Receiver(OK)
    send(MONDAY + MINUTE / 2, slack=busy)
    assert busy.got == [(first, "#ml", ())], "it is tried once more, and the end waits"
    send(MONDAY + HOUR, slack=slack)
    assert slack.got == [(first, "#ml", ()), (second, "#ml", (first,))]
    assert failed.message_id == first


class Picky(Receiver):
    """A channel that does not take one message, such as a mail server with a filter."""

    def __init__(self, refused: str) -> None:
        super().__init__(OK)
        self.refused: str | None = refused

    def send(self, message: Message, delivery: Delivery, earlier: Sequence[Delivery]) -> Answer:
        answer = super().send(message, delivery, earlier)
        return BUSY if message.message_id == self.refused else answer


def test_what_was_written_first_is_tried_once_more_before_what_gets_worse(store: Store, send) -> None:
    config = alerting(email=[], routes=SLACK.alerts.routes, digest=None)

    def see(severity: Severity, at: datetime) -> str:
        found = seen(finding(Kind.DATA_QUALITY, "x", severity), at=at)
        return observe_in(store, config, found, told_plainly, now=at).message_id or ""

    first = see(Severity.WARNING, MONDAY)
    slack, now = Picky(first), MONDAY
    while now < MONDAY + 6 * HOUR:
        send(now, slack=slack)
        now += 10 * MINUTE
    slack.got.clear()
    worse = see(Severity.ERROR, now)
    send(now + MINUTE, slack=slack)
    assert [each for each, _, _ in slack.got] == [first, worse]


def test_what_gets_worse_does_not_wait_for_a_message_that_does_not_get_through(store: Store, send) -> None:
    config = alerting(email=[], routes=SLACK.alerts.routes, resolve_after=1, digest=None)
    now, quality = MONDAY, (Kind.DATA_QUALITY, "x")

    def see(*findings: Finding, at: datetime) -> str:
        examined = (Examined(kind=Kind.DATA_QUALITY),)
        observation = seen(*findings, at=at).model_copy(update={"examined": examined})
        return observe_in(store, config, observation, told_plainly, now=at).message_id or ""

    first = see(finding(*quality, Severity.WARNING), at=now)
    slack = Picky(first)
    other = observe_in(store, config, seen(finding(subject="other"), at=now, source="watch"), told_plainly, now=now)
    for now in (MONDAY, MONDAY + MINUTE, MONDAY + 3 * MINUTE, MONDAY + 8 * MINUTE):
        send(now, slack=slack)
    assert [each for each, _, _ in slack.got].count(other.message_id or "") == 1
    now += MINUTE
    worse = see(finding(*quality), at=now)
    slack.got.clear()
    sent = send(now, slack=slack)

    assert [each for each, _, _ in slack.got] == [first, worse], (
        "the first is tried once more, and comes first if it can"
    )
    assert {each.message_id: each.state for each in sent} == {first: "pending", worse: "sent"}

    over = see(at=now + MINUTE)
    sent = send(now + MINUTE, slack=slack)
    assert [each.message_id for each in sent] == [first], "that it is over waits until it can be known to have begun"
    slack.refused = None
    sent = send(now + 2 * HOUR, slack=slack)
    assert [each.message_id for each in sent if each.channel == "slack"] == [first, over]


@pytest.mark.parametrize("channel", ["email", "slack", "pagerduty"])
def test_news_that_is_told_with_an_end_waits_only_where_that_ends_an_incident(store: Store, send, channel) -> None:
    to = "ann@example.com" if channel == "email" else "somebody"
    config = alerting(email=[], routes=[{"channel": channel, "to": to}], resolve_after=1)
    first = post(store, config=config)
    picky = Picky(first)
    send(MONDAY, **{channel: picky})
    now = MONDAY + MINUTE / 2
    mixed = seen(finding(Kind.DATA_QUALITY, "x"), at=now)
    second = observe_in(store, config, mixed, told_plainly, now=now).message_id
    changes = [each["change"] for each in (store.outbox.message(second) or {})["alerts"]]
    assert changes == ["firing", "resolved"]
    states = {each.message_id: each.state for each in send(now, **{channel: picky})}
    waits = channel == "pagerduty"
    assert states == {first: "pending"} | ({} if waits else {second: "sent"}), "the first is tried once more before it"

    picky.refused = None
    left = [first, second] if waits else [first]
    assert [each.message_id for each in send(MONDAY + HOUR, **{channel: picky})] == left


def test_only_what_was_asked_for_is_sent(store: Store, outbox: EmlSender) -> None:
    config = alerting(routes=SLACK.alerts.routes)
    first = observe_in(store, config, seen(finding(subject="one")), told_plainly, now=MONDAY).message_id
    later = seen(finding(subject="two"), at=MONDAY + HOUR)
    observe_in(store, config, later, told_plainly, now=MONDAY)
    receiver = Receiver(OK)
    senders = {"slack": receiver, "email": receiver}

    [sent] = send_due(store, senders, outbox, now=MONDAY, message_id=first, channel="slack")
    assert (sent.message_id, sent.channel) == (first, "slack")
    assert [each.channel for each in send_due(store, senders, outbox, now=MONDAY, limit=1)] == ["email", "slack"]
    assert len(send_due(store, senders, outbox, now=MONDAY)) == 1


def test_a_lease_keeps_others_away_until_it_runs_out(store: Store) -> None:
    post(store)
    until = MONDAY + LEASE
    taken = store.outbox.lease("one", now=MONDAY, until=until)
    assert taken is not None
    assert store.outbox.lease("two", now=until - MINUTE, until=until + LEASE) is None
    again = store.outbox.lease("two", now=until, until=until + LEASE)
    assert again is not None
    assert again["delivery_id"] == taken["delivery_id"]

    sent = Delivery.from_dict(again).model_copy(update={"state": "sent", "finished_at": until, "answer": "ok"})
    late = Delivery.from_dict(taken).model_copy(update={"answer": "timed out", "next_try_at": until})
    store.outbox.finish_try(sent.to_dict(), {"at": until, "accepted": True, "answer": "ok", "milliseconds": 1})
    store.outbox.finish_try(late.to_dict(), {"at": until, "accepted": False, "answer": "timed out", "milliseconds": 9})
    [row] = store.outbox.deliveries()
    assert (row["state"], row["answer"], row["tries"]) == ("sent", "ok", 2)


def test_senders_at_the_same_time_send_each_message_once(store: Store, outbox: EmlSender) -> None:
    for number in range(20):
        now = MONDAY + number * HOUR
        observe_in(store, SLACK, seen(finding(subject=str(number)), at=now), told_plainly, now=MONDAY)
    slack, start = Receiver(OK), threading.Barrier(4)

    def work() -> None:
        start.wait()
        send_due(store, {"slack": slack}, outbox, now=MONDAY)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len({message_id for message_id, _, _ in slack.got}) == len(slack.got) == 20


def test_a_person_can_have_a_failed_message_sent_again(store: Store, send) -> None:
    post(store)
    [failed, *_] = send(MONDAY, slack=Receiver(Answer(accepted=False, detail="404", is_final=True)))
    assert failed.state == "failed"
    retry(store, failed.delivery_id, now=MONDAY + HOUR)
    sent = next(each for each in send(MONDAY + HOUR, slack=Receiver(OK)) if each.channel == "slack")
    assert (sent.state, sent.delivery_id) == ("sent", failed.delivery_id)

    for name in (failed.delivery_id, "nothing"):
        with pytest.raises(UnknownDelivery, match=name):
            retry(store, name, now=MONDAY)


def test_the_same_delivery_is_one_file(store: Store, outbox: EmlSender) -> None:
    message = Message.from_dict(store.outbox.message(post(store)) or {})
    delivery = Delivery.from_dict(store.outbox.deliveries()[0])
    assert outbox.send(message, delivery, ()) == outbox.send(message, delivery, ())
    assert len(files(outbox)) == 1
    mail = email.message_from_bytes((outbox.folder / files(outbox)[0]).read_bytes(), policy=policy.default)
    assert (mail["To"], mail["X-Keel-Channel"]) == ("undisclosed-recipients:;", "slack #ml")
    assert mail["Subject"].endswith("Performance of the model is not what it was.")
    assert message.at.tzinfo == UTC


def test_one_file_that_channels_write_at_the_same_time_is_whole(store: Store, outbox: EmlSender) -> None:
    message = Message.from_dict(store.outbox.message(post(store)) or {})
    delivery = Delivery.from_dict(store.outbox.deliveries()[0])
    names, start, answers = [f"{number:012}" for number in range(20)], threading.Barrier(4), list[Answer]()

    def write() -> None:
        for name in names:
            start.wait()
            answers.append(outbox.send(message, delivery.model_copy(update={"delivery_id": name}), ()))

    threads = [threading.Thread(target=write) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert [each.detail for each in answers if not each.accepted] == []
    assert len(answers) == 80
    assert len(files(outbox)) == 20


def test_a_message_that_cannot_be_read_holds_up_no_other(store: Store, send) -> None:
    first, second = post(store), post(store, config=alerting("other"), at=MONDAY + HOUR)
    with store.begin() as connection:
        mine = sa.update(messages).where(messages.c.message_id == first)
        connection.execute(mine.values(body='{"message_id": "of another release"}'))
    slack = Receiver(OK)
    sent = {each.message_id: each for each in send(MONDAY + HOUR, slack=slack, email=slack)}

    assert sent[first].state == "failed"
    assert (sent[first].answer or "").startswith("the stored message cannot be read: Message: ")
    assert sent[second].state == "sent"


def test_what_kills_its_sender_is_tried_last_the_next_time(store: Store) -> None:
    config = alerting(email=["ann@example.com", "bob@example.com", "cleo@example.com"])
    observe_in(store, config, seen(finding()), told_plainly, now=MONDAY)
    until = MONDAY + LEASE
    poison = store.outbox.lease("killed", now=MONDAY, until=until)
    assert poison is not None

    later = [store.outbox.lease("next", now=until, until=until + LEASE) for _ in range(3)]
    assert [row["delivery_id"] == poison["delivery_id"] for row in later if row] == [False, False, True]
