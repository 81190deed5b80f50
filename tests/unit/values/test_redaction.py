"""What servers and libraries say, without credentials."""

from __future__ import annotations

import pytest

from keel.values.redaction import LONGEST, without_secrets


@pytest.mark.parametrize(
    "text",
    [
        "https://hooks.slack.com/services/T0/B0/canary",
        "cannot reach 'https://prod-1.westeurope.logic.azure.com:443/workflows/canary/triggers?sig=canary'",
        "smtp://me:canary@mx.example.com:587 refused",
        "smtp://me:p@canary@mx.example.com refused",
        "https://me:canary@example.com",
        "slack://canary/canary2/canary3: no such channel",
        "tgram://canary/12345",
        "Authorization: Bearer canary-1234567890",
        "Authorization: Basic canary12345==",
        "invalid token xoxb-1-canary",
        "{'password': 'canary', \"routing_key\": \"canary\"}",
        "login failed, password=canary, try again",
        "api_key: canary",
    ],
)
def test_what_looks_like_a_credential_is_hidden(text: str) -> None:
    assert "canary" not in without_secrets(text)
    assert "***" in without_secrets(text)


@pytest.mark.parametrize(
    "text",
    [
        "550 5.1.1 <nobody@example.com>: Recipient address rejected: User unknown",
        "535 5.7.8 Error: authentication failed: basic authentication is disabled",
        "429 rate_limited, retry after 30 s",
        "invalid token provided",
    ],
)
def test_what_a_person_needs_to_read_stays(text: str) -> None:
    assert without_secrets(text) == text


def test_a_known_secret_is_hidden_wherever_it_is() -> None:
    assert without_secrets("user canary is blocked: canary2", secrets=("canary", "canary2", "")) == (
        "user *** is blocked: ***"
    )


def test_an_answer_is_one_short_line() -> None:
    assert without_secrets("a\r\nBcc: b\x00") == "a  Bcc: b␀"
    assert len(without_secrets("x" * 10_000)) == LONGEST
