"""What Slack, Teams, PagerDuty and Apprise are sent, of any text, and by templates of users."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keel.alerts.channels import apprise, pagerduty, slack, teams
from keel.alerts.records import Change, Message, Table
from keel.config import Kind, Severity
from tests.support.alerts.channel_messages import AT, HOSTILE, line, message
from tests.support.alerts.formats import texts, validate

ANY = st.text(max_size=400) | st.sampled_from([HOSTILE, "", "`", "``` `x` ```", "https://a.b/c`d`", "é" * 400])
KEY = "r" * 32


@st.composite
def messages(draw: st.DrawFn) -> Message:
    """Any message, of any texts and lengths."""
    several = st.lists(ANY, max_size=12).map(tuple)
    width = draw(st.integers(1, 6))
    rows = st.lists(st.lists(ANY, min_size=width, max_size=width).map(tuple), max_size=15).map(tuple)
    table = st.builds(
        Table,
        title=ANY,
        head=st.just(()) | st.lists(ANY, min_size=width, max_size=width).map(tuple),
        rows=rows,
        numeric=st.just((0,)),
        notes=several,
    )
    lines = st.builds(
        line,
        st.sampled_from(Kind),
        ANY,
        change=st.sampled_from(Change),
        severity=st.sampled_from(Severity),
        sentence=ANY,
    )
    return Message(
        message_id=draw(st.text("abc0", min_size=1, max_size=300)),
        model=draw(st.sampled_from(["bikes", ""])),
        topic=draw(st.sampled_from(["alert", "resolved", "event", "approval", "failure", "digest", "test"])),
        severity=draw(st.sampled_from(Severity)),
        subject=draw(ANY),
        at=AT,
        happened=draw(ANY),
        hurts=draw(several),
        done=draw(several),
        todo=draw(several),
        runbook=draw(st.none() | ANY | st.just("https://wiki.example/x?a=1&b=<2>")),
        facts=draw(st.dictionaries(ANY, ANY, max_size=12)),
        evidence=tuple(draw(st.lists(table, max_size=3))),
        verbatim=draw(ANY | st.text(max_size=5_000)),
        links=draw(st.dictionaries(ANY, ANY | st.just("https://run.example/1"), max_size=9)),
        alerts=tuple(draw(st.lists(lines, max_size=4))),
    )


@settings(deadline=timedelta(seconds=5), suppress_health_check=list(HealthCheck), max_examples=50)
@given(messages())
def test_any_message_is_what_every_vendor_takes(about: Message) -> None:
    post, card = slack.post(about), teams.request(about)
    validate(post, "slack_post")
    validate(card, "teams_message")
    assert len(json.dumps(card).encode()) < 28 * 1024
    assert "<!" not in post["text"]
    assert "<@" not in post["text"]
    validate(slack.edited(about, slack.memo(about)), "slack_post")
    for event in pagerduty.events(about):
        name = "pagerduty_event" if event.path == pagerduty.ALERT_PATH else "pagerduty_change"
        validate({**event.body, "routing_key": KEY}, name)
    note = apprise.notification(about)
    assert "\n" not in note.title
    assert note.body
    for value in (post, card, note.body, [event.body for event in pagerduty.events(about)]):
        json.dumps(value, ensure_ascii=False).encode()


def test_command_is_code_and_an_address_of_the_message_a_link() -> None:
    todo = "To see to it: `keel alerts ack 1` or https://airflow.example/run"
    about = message(line()).model_copy(update={"todo": (todo,)})
    items = [
        element
        for block in slack.post(about)["blocks"]
        for part in block.get("elements", ())
        if part.get("type") == "rich_text_list"
        for item in part["elements"]
        for element in item["elements"]
    ]
    assert {"type": "text", "text": "keel alerts ack 1", "style": {"code": True}} in items
    assert {"type": "link", "url": "https://airflow.example/run"} in items
    assert {"type": "link", "url": "https://wiki.example/bikes?a=1&b=2"} in items, "the runbook, and it is the first"


def test_address_in_the_data_is_no_link() -> None:
    about = message(line(), text="https://evil.example/login has drifted")
    for sent in (slack.post(about), teams.request(about), slack.edited(about, {**slack.memo(about), "at": "3 May"})):
        assert "evil.example/login" in json.dumps(sent)
        assert not [url for url in _links(sent) if "evil.example" in url]


def _links(given: object) -> list[str]:
    """Every address that opens by a click."""
    if isinstance(given, list):
        return [url for each in given for url in _links(each)]
    if not isinstance(given, dict):
        return []
    own = [str(given["url"])] if "url" in given else []
    return own + [url for each in given.values() for url in _links(each)]


def test_templates_of_a_user_replace_single_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slack.json.j2").write_text(
        '{"text": {{ fallback | tojson }}, "blocks": [{"type": "section", "text": '
        '{"type": "mrkdwn", "text": {{ ("mine: " ~ happened) | tojson }}}}]}'
    )
    (tmp_path / "apprise.txt.j2").write_text("mine: {{ happened }}")
    monkeypatch.setenv("KEEL_ALERT_TEMPLATES", str(tmp_path))
    about = message(line())
    assert texts(slack.post(about)["blocks"]) == [f"mine: {about.happened}"]
    assert apprise.notification(about).body == f"mine: {about.happened}"
    validate(teams.request(about), "teams_message")


@pytest.mark.parametrize(
    "template",
    [
        "{{ nothing_of_this_name }}",
        "{% if %}",
        "this is no JSON",
        '{"no": "blocks"}',
        "[]",
        "{{ message.__class__ }}",
        "",
    ],
)
def test_template_that_fails_is_replaced_and_the_message_says_so(
    template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("slack.json.j2", "teams.json.j2"):
        (tmp_path / name).write_text(template)
    monkeypatch.setenv("KEEL_ALERT_TEMPLATES", str(tmp_path))
    about = message(line())
    for value, name in ((slack.post(about), "slack_post"), (teams.request(about), "teams_message")):
        validate(value, name)
        assert any("KEEL_ALERT_TEMPLATES failed" in text for text in texts(value))


def test_card_of_a_template_that_is_too_large_keeps_what_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endless = "x" * 40_000
    (tmp_path / "teams.json.j2").write_text(json.dumps({"type": "AdaptiveCard", "body": [{"text": endless}]}))
    monkeypatch.setenv("KEEL_ALERT_TEMPLATES", str(tmp_path))
    about = message(line())
    card = teams.request(about)
    validate(card, "teams_message")
    assert any(about.happened in text for text in texts(card))
