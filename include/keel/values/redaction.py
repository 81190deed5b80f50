"""Texts from outside, such as a server's answer or a library's error, without credentials: they are stored and sent on.

A text may quote a connection that Keel never saw, so whatever looks like a credential is hidden. That is a net with
holes: a password within a sentence looks like a word. What Keel knows to be secret is handed in.
"""

from __future__ import annotations

import re

from keel.values.texts import shown

LONGEST = 300
"""Characters of an answer."""
READ = 4_000
"""Characters of a text that are looked at, or four times the limit if that is more. An answer may be endless."""
_HIDDEN = "***"
_VALUE = r"(?:\"(?:[^\"\\]|\\.)*\"?|'(?:[^'\\]|\\.)*'?|\[[^\]]*\]?|\{[^}]*\}?|[^\s,;&)}\]]+)"
"""One in quotes or brackets may have been cut, so that their ends are missing."""
_NAMES = (
    r"pass(?:word|wd|phrase|code)|(?<![a-z])(?:pass|pwd)(?![a-z])|secret|token(?![a-z])|authorization|"
    r"(?:api|access|private|account|routing|integration|encryption|signing|shared|fernet)[_-]?key"
)
_HOSTS_ARE_NAMES = (
    r"sqlite|postgres(?:ql)?|mysql|mariadb|mssql|oracle|mongodb|redis|rediss|amqps?|smtps?|s3a?|gs|abfss?|wasbs?|hdfs|"
    r"s?ftp|file"
)
"""Schemes of addresses of which the login alone is secret."""
_PATTERNS = (
    (re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[^-]*(?:-----END [A-Z ]{0,30}-----)?"), _HIDDEN),
    # user and password of an address; a password may hold any character but those that end an address
    (
        re.compile(rf"(?i)\b((?:{_HOSTS_ARE_NAMES})(?:\+\w{{1,20}})?://)(?!user:password@)[^\s\"'<>]*@"),
        rf"\1{_HIDDEN}@",
    ),
    (re.compile(r"(?i)\b(https?://)(?:[^/\s\"'<>]+|[^/\s\"'<>:]+:[^\s\"'<>]+)@"), rf"\1{_HIDDEN}@"),
    # the path of a webhook is its secret: only the host is shown
    (re.compile(r"(?i)\b(https?://[^/\s\"'<>]+)/[^\s\"'<>)\]]+"), rf"\1/{_HIDDEN}"),
    # of Apprise's addresses, such as slack://A/B/C, every part is one
    (
        re.compile(
            rf"(?i)\b(?!(?:https?|{_HOSTS_ARE_NAMES})(?:\+\w{{1,20}})?:)([a-z][a-z0-9+.-]{{0,30}}://)[^\s\"'<>)\]]+"
        ),
        rf"\1{_HIDDEN}",
    ),
    (re.compile(r"(?i)([?&][\w.-]{0,40}(?:sig|signature|credential|code|key)=)[^\s&\"'<>]+"), rf"\1{_HIDDEN}"),
    # what vendors begin their tokens with, and a JSON Web Token
    (
        re.compile(
            r"\bxox[a-z]-[A-Za-z0-9-]+|\bxapp-[A-Za-z0-9-]+|\bgh[a-z]_\w{16,}|\bgithub_pat_\w+|\bglpat-[\w-]+|"
            r"\bA[KS]IA[0-9A-Z]{16}\b|\beyJ[\w-]{8,}\.[\w-]+\.[\w-]+"
        ),
        _HIDDEN,
    ),
    # words of prose, such as "basic authentication", are none
    (re.compile(r"(?i)\b(bearer|basic)\s+(?!auth|token)[A-Za-z0-9+/=_.~-]{8,}"), rf"\1 {_HIDDEN}"),
    (re.compile(r"(?i)\b(token)\s+(?=[A-Za-z_.~-]{0,99}[0-9])[A-Za-z0-9+/=_.~-]{8,}"), rf"\1 {_HIDDEN}"),
    # the name may be a part of a longer one, such as client_secret or AWS_SECRET_ACCESS_KEY
    (re.compile(rf"(?i)((?:{_NAMES})[\w.-]{{0,40}}\\*[\"']?\s{{0,9}}[=:]\s{{0,9}}){_VALUE}"), rf"\1{_HIDDEN}"),
)


def without_secrets(text: str, *, secrets: tuple[str, ...] = (), limit: int = LONGEST, keep_lines: bool = False) -> str:
    """Return a text without credentials, cut to ``limit`` characters, on one line unless its lines are kept.

    secrets: what must not be in it, such as a connection's password. Beside them whatever looks like a credential is
    replaced. The time is bounded, whatever the text is, and a second pass changes nothing.

    >>> without_secrets("POST https://hooks.slack.com/services/T0/B0/abc failed: password=hunter2 is wrong")
    'POST https://hooks.slack.com/*** failed: password=*** is wrong'
    """
    found = sorted(filter(None, secrets), key=len, reverse=True)
    text = _begin(text, max(READ, 4 * limit), found)
    for pattern, hidden in _PATTERNS:
        text = pattern.sub(hidden, text)
    if not keep_lines:
        text = shown(text, max(len(text), 1))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _begin(text: str, length: int, secrets: list[str]) -> str:
    """Return the begin of a text without the secrets, the longest of which come first, nor a part of one at its end."""
    begin = text[:length]
    for secret in secrets:
        begin = begin.replace(secret, _HIDDEN)
    if len(text) <= length or not secrets:
        return begin
    return begin[: max(len(begin) - len(secrets[0]), 0)]
