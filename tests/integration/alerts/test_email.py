"""Mail through the SMTP provider to real servers: what arrives, and how each fault is told."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from keel.alerts.records import Answer, Change
from keel.config import Kind
from keel.errors import ConnectionUnreadable, NoConnection
from tests.support.alerts.channel_messages import HOSTILE, delivery, message, of_kind
from tests.support.alerts.mail_servers import LOGIN, PASSWORD, free_port, mail_server, scripted_server

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS"),  # implicit TLS is TLS, too
]
Connect = Callable[..., None]
TLS = {"none": (True, True), "starttls": (True, False), "implicit": (False, True)}


def send(to: str = "ann@example.com", **kwargs: object) -> Answer:
    from keel_airflow.channels import senders

    about = message(**kwargs)
    return senders()["email"].send(about, delivery(about, "email", to), ())


def connect_to(
    connect: Connect, port: int, mode: str = "none", *, password: str | None = None, **extra: object
) -> None:
    no_ssl, no_tls = TLS[mode]
    login = {"login": LOGIN, "password": password} if password else {}
    fields = {"disable_ssl": no_ssl, "disable_tls": no_tls, "from_email": "keel@example.com", **extra}
    connect("smtp_default", conn_type="smtp", host="127.0.0.1", port=port, extra=fields, **login)


@pytest.mark.parametrize("mode", TLS)
def test_mail_arrives_once_for_one_recipient_through_each_kind_of_tls(
    mode: str, tmp_path: Path, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mail_server(tmp_path, mode, login=mode != "none") as server:
        if mode != "none":
            monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        connect_to(connect, server.port, mode, password=PASSWORD if mode != "none" else None)
        answer = send()
        assert answer.accepted, answer
        assert "queued as 4711" in answer.detail
        [mail] = server.inbox.mails
        [envelope] = server.inbox.envelopes
        assert envelope.rcpt_tos == ["ann@example.com"]
        assert mail["To"] == "ann@example.com"
        assert mail["From"] == "keel@example.com"
        assert bool(server.inbox.sessions[0].authenticated) == (mode != "none")


@pytest.mark.parametrize("tls", ["none", "starttls", "implicit"])
def test_mail_by_one_environment_variable(tls: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with mail_server(tmp_path, tls, login=tls != "none") as server:
        login = f"{LOGIN}:{quote(PASSWORD, safe='')}@" if tls != "none" else ""
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        monkeypatch.setenv("KEEL_SMTP_URL", f"smtp://{login}127.0.0.1:{server.port}?tls={tls}")
        monkeypatch.setenv("KEEL_MAIL_FROM", "models@example.com")
        answer = send()
        assert answer.accepted, answer
        assert server.inbox.mails[0]["From"] == "models@example.com"


@pytest.mark.parametrize("written", ["keel+alerts@example.com", "keel%2Balerts@example.com"])
def test_sender_of_the_variable_may_have_a_plus_sign(
    written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mail_server(tmp_path, "none") as server:
        monkeypatch.setenv("KEEL_SMTP_URL", f"smtp://127.0.0.1:{server.port}?tls=none&from={written}")
        assert send().accepted
        assert server.inbox.mails[0]["From"] == "keel+alerts@example.com"
        assert server.inbox.envelopes[0].mail_from == "keel+alerts@example.com"


@pytest.mark.parametrize(
    "url",
    [
        "http://h",
        "smtp://",
        "smtp://u:canarypw@h:x",
        "smtp://u:canarypw@h?tls=perhaps",
        "smtp://u:canarypw@h?password=x",
    ],
)
def test_mail_by_a_variable_that_is_no_address_is_refused_for_good_without_repeating_it(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEEL_SMTP_URL", url)
    answer = send()
    assert (answer.accepted, answer.is_final) == (False, True)
    assert "KEEL_SMTP_URL" in answer.detail
    assert "like smtp://user:password@host:587?tls=starttls (or implicit, or none)" in answer.detail
    assert "canary" not in answer.detail


def test_mail_by_a_connection_without_a_host_is_refused_for_good(connect: Connect) -> None:
    connect("smtp_default", conn_type="smtp", login="me", password="canarypw")
    answer = send()
    assert (answer.accepted, answer.is_final) == (False, True)
    assert "'smtp_default' has no host" in answer.detail


def test_mail_without_a_server_has_no_connection() -> None:
    with pytest.raises(NoConnection, match=r"smtp_default.*KEEL_SMTP_URL"):
        send()


class Down:
    """A secrets backend that does not answer."""

    def get_connection(self, conn_id: str) -> None:
        raise ConnectionError(f"the vault is sealed: token=canary of {conn_id}")


def test_connection_that_cannot_be_read_is_not_one_that_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk.execution_time import supervisor

    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", '{"conn_type": "smtp", "password": "canary",}')
    with pytest.raises(ConnectionUnreadable, match="smtp_default.*EnvironmentVariablesBackend") as broken:
        send()
    monkeypatch.delenv("AIRFLOW_CONN_SMTP_DEFAULT")
    backends = [Down(), *supervisor.ensure_secrets_backend_loaded()]
    monkeypatch.setattr(supervisor, "ensure_secrets_backend_loaded", lambda: backends)
    with pytest.raises(ConnectionUnreadable, match="smtp_default.*Down fails with ConnectionError") as away:
        send()
    assert "canary" not in f"{broken.value}{away.value}"
    with mail_server(tmp_path) as server:
        monkeypatch.setenv("KEEL_SMTP_URL", f"smtp://127.0.0.1:{server.port}?tls=none")
        assert send().accepted, "a variable is always there"


def test_mail_of_every_kind_is_well_formed(tmp_path: Path, connect: Connect) -> None:
    from keel_airflow.channels import senders

    with mail_server(tmp_path) as server:
        connect_to(connect, server.port)
        for kind in Kind:
            for change in (Change.FIRING, Change.RESOLVED) if kind.lasts else (Change.EVENT,):
                about = of_kind(kind, change)
                assert senders()["email"].send(about, delivery(about, "email", "a@example.com"), ()).accepted
        for mail in server.inbox.mails:
            assert not mail.defects, mail.defects
            assert "It is so" in mail.get_body(("plain",)).get_content()
            assert "It is so" in mail.get_body(("html",)).get_content()


def test_mail_with_hostile_names_has_no_second_header_and_no_markup(tmp_path: Path, connect: Connect) -> None:
    with mail_server(tmp_path) as server:
        connect_to(connect, server.port)
        assert send(text=HOSTILE).accepted
        [mail] = server.inbox.mails
        assert mail["Bcc"] is None
        assert not mail.defects
        assert all("\n" not in value for value in mail.values())
        html = mail.get_body(("html",)).get_content()
        assert "<b>&" not in html
        assert "a&lt;b&gt;&amp;c" in html


def test_refused_recipient_is_final_and_a_full_mailbox_is_not(tmp_path: Path, connect: Connect) -> None:
    with mail_server(tmp_path) as server:
        connect_to(connect, server.port)
        server.inbox.refusals |= {
            "gone@example.com": "550 5.1.1 no such user",
            "full@example.com": "452 4.2.2 mailbox full",
        }
        gone, full = send("gone@example.com"), send("full@example.com")
        assert (gone.accepted, gone.is_final) == (False, True)
        assert "recipient refused: 550 5.1.1 no such user" in gone.detail
        assert (full.accepted, full.is_final) == (False, False)
        assert not server.inbox.envelopes


@pytest.mark.parametrize(("reply", "is_final"), [("451 4.7.1 try later", False), ("554 5.7.1 looks like spam", True)])
def test_refused_mail_is_told_with_the_servers_words(
    reply: str, is_final: bool, tmp_path: Path, connect: Connect
) -> None:
    with mail_server(tmp_path) as server:
        connect_to(connect, server.port)
        server.inbox.data_reply = reply
        answer = send()
        assert (answer.accepted, answer.is_final) == (False, is_final)
        assert reply in answer.detail


def test_mail_beyond_the_servers_size_is_refused_for_good(tmp_path: Path, connect: Connect) -> None:
    with mail_server(tmp_path, size=200) as server:
        connect_to(connect, server.port)
        answer = send()
        assert (answer.accepted, answer.is_final) == (False, True)
        assert "552" in answer.detail


def test_wrong_password_is_final_and_no_spelling_of_it_is_told(
    tmp_path: Path, connect: Connect, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    wrong = PASSWORD + "-wrong"
    with mail_server(tmp_path, "starttls", login=True) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        connect_to(connect, server.port, "starttls", password=wrong)
        answer = send()
        assert (answer.accepted, answer.is_final) == (False, True)
        assert answer.detail.startswith("wrong credentials: 535 5.7.8 no such login keel, password ***")
    logged = "\n".join(record.getMessage() for record in caplog.records if record.name != "mail.log")  # the server's
    for said in (answer.detail, logged):
        for spelling in (wrong, quote(wrong, safe=""), base64.b64encode(wrong.encode()).decode()):
            assert spelling not in said


@pytest.mark.parametrize(
    ("client", "server_mode", "said", "is_final"),
    [
        ("implicit", "none", "does not speak TLS", True),
        ("starttls", "none", "STARTTLS", True),
        ("none", "implicit", "", False),
    ],
)
def test_tls_mismatch_is_told(
    client: str, server_mode: str, said: str, is_final: bool, tmp_path: Path, connect: Connect
) -> None:
    with mail_server(tmp_path, server_mode) as server:
        connect_to(connect, server.port, client, timeout=2)
        answer = send()
        assert (answer.accepted, answer.is_final) == (False, is_final), answer
        assert said in answer.detail
        assert not server.inbox.envelopes


def test_certificate_that_is_not_trusted_sends_nothing_not_even_the_password(tmp_path: Path, connect: Connect) -> None:
    with mail_server(tmp_path, "starttls", login=True) as server:
        connect_to(connect, server.port, "starttls", password=PASSWORD)
        answer = send()
        assert not answer.accepted
        assert "certificate is not trusted" in answer.detail
        assert not server.inbox.sessions


def test_server_that_is_away_slow_or_unknown_is_tried_again(connect: Connect) -> None:
    connect_to(connect, free_port())
    assert "connection refused" in send().detail
    with scripted_server(5.0) as port:
        connect_to(connect, port, timeout=1)
        answer = send()
        assert (answer.accepted, answer.is_final) == (False, False)
        assert "no answer within" in answer.detail
        assert answer.is_silent
    connect("smtp_default", conn_type="smtp", host="nowhere.invalid", port=25, extra={"disable_ssl": True})
    answer = send()
    assert (answer.accepted, answer.is_final) == (False, False)
    assert "host's name is not known" in answer.detail


def test_server_that_takes_the_mail_and_loses_the_connection_is_tried_again(connect: Connect) -> None:
    with scripted_server(b"220 hi", b"250 hi", b"250 ok", b"250 ok", b"354 go", None) as port:
        connect_to(connect, port, timeout=2)
        answer = send()
        assert (answer.accepted, answer.is_final) == (False, False)


def test_server_that_accepts_and_is_gone_before_quit_has_accepted(connect: Connect) -> None:
    with scripted_server(b"220 hi", b"250 hi", b"250 ok", b"250 ok", b"354 go", b"250 queued", None) as port:
        connect_to(connect, port, timeout=2)
        answer = send()
        assert answer.accepted
        assert "250 queued" in answer.detail


def test_address_that_is_not_ascii_arrives_where_the_server_takes_it(tmp_path: Path, connect: Connect) -> None:
    with mail_server(tmp_path) as server:
        connect_to(connect, server.port)
        assert send("jürgen@example.com").accepted
        assert server.inbox.envelopes[0].rcpt_tos == ["jürgen@example.com"]
    with scripted_server(b"220 hi", b"250 hi", b"250 ok") as port:
        connect_to(connect, port, timeout=2)
        answer = send("jürgen@example.com")
        assert (answer.accepted, answer.is_final) == (False, True)
        assert "not ASCII" in answer.detail
