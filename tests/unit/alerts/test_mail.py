"""A message as a mail: text, the same as HTML, and one picture within it, for every mail program."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email import message_from_bytes, policy

import pytest

from keel.alerts.mail import build
from keel.alerts.mail_html import render
from keel.monitoring.records import Message, MessagePart, MessagePicture
from keel.reports.charts.plain import to_plain
from keel.reports.charts.specs import Histogram
from tests.support.airflow.mails import html_of, pictures_of, text_of

NOW = datetime(2026, 3, 1, 0, 5, tzinfo=UTC)
CHART = Histogram("wind", (0.0, 1.0, 2.0), (0.3, 0.7), (0.8, 0.2))
SENTENCE = "wind has moved to lower values: ≤ 1 in 80% of the rows, before 30%."
LONG_URL = f"https://mlflow.example.com/#/experiments/1/runs/{'0' * 32}/artifacts/report.html?a=1&b=2"
MESSAGE = Message(
    subject="[Keel] toy: needs attention",
    text="Wind has drifted – by a lot.\n\nModel        toy\n",
    email=("oncall@example.com", "lead@example.com"),
    parts=(
        MessagePart(paragraphs=("Wind has drifted – by a lot.",)),
        MessagePart(facts={"Model": "toy", "Report": LONG_URL}),
        MessagePart(title="Columns", head=("Column", "PSI"), rows=(("wind", "0.412"),), numeric=(1,)),
    ),
    picture=MessagePicture(chart=to_plain(CHART), sentence=SENTENCE),
)


def parsed(message=MESSAGE, **options):
    mail = build(message, sender="keel@example.com", to=message.email, now=NOW, **options)
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
    assert text_of(mail).replace("\r\n", "\n") == MESSAGE.text
    [(address, picture)] = pictures_of(mail).items()
    assert f'src="{address}"' in html_of(mail)
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    [image] = [part for part in mail.walk() if part.get_content_maintype() == "image"]
    assert image.get_content_disposition() == "inline"
    assert not mail.defects


def test_mail_for_a_server_is_ascii_in_short_lines():
    mail, _ = parsed()

    lines = mail.as_string().encode("ascii").splitlines()

    assert max(map(len, lines)) <= 998


def test_same_message_at_the_same_time_is_the_same_mail():
    assert bytes(parsed()[0]) == bytes(parsed()[0])


def test_html_says_all_without_its_picture():
    _, mail = parsed()
    page = html_of(mail)

    assert page.count(SENTENCE) == 2  # the alternative text, and under the picture
    for said in ("toy: needs attention", "Wind has drifted – by a lot.", "Model", "toy", "Columns", "wind", "0.412"):
        assert said in page
    assert 'name="color-scheme" content="light dark"' in page


def test_html_refers_to_nothing_outside_the_mail_but_links():
    page = render(MESSAGE, picture="cid:1@keel")

    assert re.findall(r'src="([^"]+)"', page) == ["cid:1@keel"]
    assert "url(" not in page
    assert "<script" not in page
    [link] = re.findall(r'href="([^"]+)"', page)
    assert link == LONG_URL.replace("&", "&amp;")


def test_markup_in_data_is_text():
    name = '<img src=x onerror="alert(1)">'
    part = MessagePart(
        title=name,
        paragraphs=(name,),
        facts={name: name, "Link": f'https://example.com/"{name}'},
        head=(name,),
        rows=((name,),),
    )
    picture = MessagePicture(chart=to_plain(CHART), sentence=name)

    page = render(MESSAGE.model_copy(update={"subject": name, "parts": (part,), "picture": picture}), picture="cid:1")

    assert page.count("<img") == 1
    assert "onerror=&quot;" in page
    assert "<a " not in page  # an address holds no space


def test_message_without_parts_is_its_text():
    page = render(Message(subject="s", text="1 < 2\nnext"))

    assert "1 &lt; 2\nnext" in page


@pytest.mark.parametrize("chart", [{"kind": "Hologram"}, {"kind": "Histogram", "name": "x"}, {}])
def test_picture_that_cannot_be_drawn_is_left_out(chart, caplog):
    message = MESSAGE.model_copy(update={"picture": MessagePicture(chart=chart, sentence=SENTENCE)})

    _, mail = parsed(message)

    assert [part.get_content_type() for part in mail.walk()] == ["multipart/alternative", "text/plain", "text/html"]
    assert "<img" not in html_of(mail)
    assert "could not be drawn" in caplog.text


def test_subject_with_a_line_end_is_refused():
    with pytest.raises(ValueError, match="linefeed"):
        parsed(MESSAGE.model_copy(update={"subject": "s\nBcc: someone@example.com"}))
