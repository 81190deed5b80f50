"""Texts of servers and libraries without credentials: what was answered is stored, shown and sent on."""

from __future__ import annotations

import re

from keel.values.texts import shown

LONGEST = 300
"""Characters of an answer."""
_HIDDEN = "***"
_PATTERNS = (
    # user and password of an address
    (re.compile(r"(?i)\b(https?://)[^/\s]+@"), rf"\1{_HIDDEN}@"),
    # the path of a webhook is its secret: only the host is shown
    (re.compile(r"(?i)\b(https?://[^/\s\"'<>]+)/[^\s\"'<>)\]]+"), rf"\1/{_HIDDEN}"),
    # of Apprise's addresses, such as slack://A/B/C, every part is one
    (re.compile(r"(?i)\b(?!https?:)([a-z][a-z0-9+.-]*://)[^\s\"'<>)\]]+"), rf"\1{_HIDDEN}"),
    (re.compile(r"\bxox[a-z]-[A-Za-z0-9-]+|\bxapp-[A-Za-z0-9-]+"), _HIDDEN),
    # words of prose, such as "basic authentication", are none
    (re.compile(r"(?i)\b(bearer|basic)\s+(?!auth|token)[A-Za-z0-9+/=_.~-]{8,}"), rf"\1 {_HIDDEN}"),
    (re.compile(r"(?i)\b(token)\s+(?=[A-Za-z_.~-]*[0-9])[A-Za-z0-9+/=_.~-]{8,}"), rf"\1 {_HIDDEN}"),
    (
        re.compile(
            r"(?i)\b(pass(?:word|wd)?|pwd|secret|token|api[_-]?key|routing_key|integration_key|authorization)"
            r"([\"']?\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|[^\s,;&)}\]]+)"
        ),
        rf"\1\2{_HIDDEN}",
    ),
)


def without_secrets(text: str, *, secrets: tuple[str, ...] = (), limit: int = LONGEST) -> str:
    """Return a text on one line, without credentials, cut to ``limit`` characters.

    secrets: what must not be in it, such as a connection's password. Beside them whatever looks like a credential is
    replaced, because an error of a library may quote a connection that Keel never saw.

    >>> without_secrets("POST https://hooks.slack.com/services/T0/B0/abc failed: password=hunter2 is wrong")
    'POST https://hooks.slack.com/*** failed: password=*** is wrong'
    """
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, _HIDDEN)
    for pattern, hidden in _PATTERNS:
        text = pattern.sub(hidden, text)
    line = shown(text, max(len(text), 1))
    return line if len(line) <= limit else line[: limit - 1] + "…"
