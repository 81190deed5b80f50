"""A message as a mail to one recipient: text, the same as HTML, and one picture within it, for every mail program."""

from __future__ import annotations

import re
from email import message_from_bytes, policy

import pytest

from keel.alerts.channels.email import build, mail_id
from keel.alerts.records import Message, Table
from keel.config import Severity
from keel.monitoring.records import MessagePicture
from keel.reports.charts.plain import to_plain
from keel.reports.charts.specs import Histogram
from tests.support.airflow.mails import html_of, pictures_of, text_of
from tests.support.alerts.samples import NOW
from tests.support.reports.html_reader import read

TO = "oncall@example.com"
CHART = Histogram("wind", (0.0, 1.0, 2.0), (0.3, 0.7), (0.8, 0.2))
SENTENCE = "wind has moved to lower values: ≤ 1 in 80% of the rows, before 30%."
LONG_URL = f"https://mlflow.example.com/#/experiments/1/runs/{'0' * 32}/artifacts/report.html?a=1&b=2"
MESSAGE = Message(
    message_id="m2",
    model="toy_shop",
    topic="alert",
    severity=Severity.ERROR,
    subject="toy_shop: wind has changed",
    at=NOW,
    happened="The input wind has changed – by a lot.",
    hurts=("Not known.",),
    todo=("See `keel live toy_shop` first.",),
    evidence=(Table(title="Columns", head=("Column", "PSI"), rows=(("wind", "0.412"),), numeric=(1,)),),
    links={"Report": LONG_URL},
    picture=MessagePicture(chart=to_plain(CHART), sentence=SENTENCE),
)
HOSTILE = '<img src=x onerror="alert(1)">{{ 7 * 7 }}\r\nBcc: someone@example.com\x1b[31m\u202e'


def changed(**values):
    return MESSAGE.model_copy(update=values)


def parsed(message=MESSAGE, *, to=TO, **options):
    mail = build(message, sender="keel@example.com", to=to, now=NOW, **options)
    return mail, message_from_bytes(bytes(mail), policy=policy.default)


@pytest.mark.parametrize("readable", [False, True])
def test_mail_is_text_or_else_html_with_its_picture(readable):
    _, mail = parsed(readable=readable)
    assert [part.get_content_type() for part in mail.walk()] == [
        "multipart/alternative",
        "text/plain",
        "multipart/related",
        "text/html",
        "image/png",
    ]
    [(address, picture)] = pictures_of(mail).items()
    assert f'src="{address}"' in html_of(mail)
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    [image] = [part for part in mail.walk() if part.get_content_maintype() == "image"]
    assert image.get_content_disposition() == "inline"
    assert not [defect for part in mail.walk() for defect in part.defects]


def test_mail_has_one_recipient_and_what_mail_programs_filter_by():
    _, mail = parsed()
    assert [str(address) for address in mail["To"].addresses] == [TO]
    assert mail["Subject"] == "[Keel] toy_shop: wind has changed"
    assert mail["Date"].datetime == NOW
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["List-Id"] == "<toy-shop.keel.localhost>"
    assert (mail["X-Keel-Model"], mail["X-Keel-Severity"], mail["X-Keel-Topic"]) == ("toy_shop", "error", "alert")


def test_mails_of_one_alert_are_a_thread_of_each_recipient():
    _, first = parsed(changed(message_id="m1"))
    _, second = parsed(changed(references=("m1",)))
    _, third = parsed(changed(message_id="m3", references=("m1", "m2")))
    assert (first["In-Reply-To"], first["References"]) == (None, None)
    assert second["In-Reply-To"] == first["Message-ID"]
    assert third["References"] == f"{first['Message-ID']} {second['Message-ID']}"
    assert third["In-Reply-To"] == second["Message-ID"]
    _, of_another = parsed(to="lead@example.com")
    assert of_another["Message-ID"] != second["Message-ID"]
    assert re.fullmatch(r"<m2\.[0-9a-f]{12}@keel\.localhost>", mail_id("m2", TO))


def test_mail_for_a_server_is_ascii_in_short_lines():
    mail, _ = parsed(changed(references=tuple(f"{number:016x}" for number in range(200))))
    lines = mail.as_string().encode("ascii").splitlines()
    assert max(map(len, lines)) <= 998


def test_same_message_at_the_same_time_is_the_same_mail():
    assert bytes(parsed()[0]) == bytes(parsed()[0])


def test_html_says_all_without_its_picture():
    page = html_of(parsed()[1])
    assert page.count(SENTENCE) == 2  # the alternative text, and under the picture
    assert 'name="color-scheme" content="light dark"' in page
    assert re.search(r"<code [^>]*>keel live toy_shop</code>", page)
    assert "See keel live toy_shop first." in text_of(parsed()[1])


def test_html_refers_to_nothing_outside_the_mail_but_links():
    page = html_of(parsed()[1])
    assert [link for link in read(page).links if not link.startswith("cid:")] == [LONG_URL]
    assert "url(" not in page
    assert "<script" not in page


def hostile():
    table = Table(title=HOSTILE, head=(HOSTILE,), rows=((HOSTILE,),), notes=(HOSTILE,))
    return changed(
        happened=HOSTILE,
        hurts=(HOSTILE,),
        done=(HOSTILE,),
        todo=(f"`{HOSTILE}`",),
        runbook=f"javascript:{HOSTILE}",
        facts={HOSTILE: HOSTILE},
        evidence=(table,),
        verbatim=HOSTILE,
        links={HOSTILE: f'https://example.com/"{HOSTILE}', "Run": "javascript:alert(1)", "Log": "file:///etc/passwd"},
        picture=MessagePicture(chart=to_plain(CHART), sentence=HOSTILE),
    )


def test_markup_in_data_is_text_in_every_part_of_a_mail():
    _, mail = parsed(hostile())
    page, text = html_of(mail), text_of(mail)
    assert [element for element in read(page).elements if element[0] in ("script", "iframe", "object", "a")] == []
    [(_, attributes)] = [element for element in read(page).elements if element[0] == "img"]
    assert "onerror" not in attributes
    assert page.count("onerror=&#34;") >= 10
    assert "49" not in re.sub(r"[0-9a-f]{6,}|\d+px", "", page).replace("{{ 7 * 7 }}", "")
    for part in (page, text):
        assert "\x1b" not in part
        assert "\u202e" not in part
        assert "{{ 7 * 7 }}" in part
    assert mail["Bcc"] is None


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\u2028", "\x85", "\x0b", "\x00"])
def test_subject_of_whatever_text_is_one_line_and_smuggles_in_no_header(end):
    subject = Message.model_validate({**MESSAGE.to_dict(), "subject": f"s{end}Bcc: someone@example.com{'x' * 5_000}"})
    _, mail = parsed(subject)
    assert mail["Bcc"] is None
    assert mail["Subject"].startswith("[Keel] s")
    assert len(mail["Subject"]) < 400


@pytest.mark.parametrize("field", ["to", "sender"])
def test_address_with_a_line_end_is_refused(field):
    given = {"to": TO, "sender": "keel@example.com", field: "a@example.com\nBcc: someone@example.com"}
    with pytest.raises(ValueError, match="linefeed"):
        build(MESSAGE, now=NOW, **given)


@pytest.mark.parametrize("chart", [{"kind": "Hologram"}, {"kind": "Histogram", "name": "x"}, {}])
def test_picture_that_cannot_be_drawn_is_left_out_and_still_described(chart, caplog):
    _, mail = parsed(changed(picture=MessagePicture(chart=chart, sentence=SENTENCE)))
    assert [part.get_content_type() for part in mail.walk()] == ["multipart/alternative", "text/plain", "text/html"]
    assert "<img" not in html_of(mail)
    assert SENTENCE in html_of(mail)
    assert "could not be drawn" in caplog.text


def test_message_of_nothing_but_a_sentence_is_a_mail():
    bare = Message(
        message_id="m", model="", topic="alert", severity=Severity.INFO, subject="s", at=NOW, happened="It happened."
    )
    _, mail = parsed(bare)
    assert text_of(mail).splitlines()[0] == "It happened."
    assert "You get this because you are named under alerts in a model.yaml." in text_of(mail)
    assert mail["List-Id"] == "<all-models.keel.localhost>"


def test_text_part_is_readable_in_a_file():
    mail, _ = parsed(readable=True)
    assert "The input wind has changed – by a lot.\nDoes it hurt? Not known.\n" in bytes(mail).decode()
