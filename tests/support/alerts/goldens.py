"""Mails as files that a person has looked at: `tests/data/alerts`.

They are stored as their headers and their plain text; the HTML says the same, which another test checks, and is looked
at as the pictures in `docs/alerts`. To write them anew, set KEEL_WRITE_GOLDENS=1.
"""

from __future__ import annotations

import os
from email.message import EmailMessage

from tests.support.airflow.mails import text_of
from tests.support.paths import PROJECT

FOLDER = PROJECT / "tests" / "data" / "alerts"
WRITE = "KEEL_WRITE_GOLDENS"
LEFT_OUT = {"content-type", "content-transfer-encoding", "mime-version"}


def require_golden(name: str, mail: EmailMessage) -> None:
    """Fail where a mail says something else than its file."""
    headers = [f"{name_}: {value}" for name_, value in mail.items() if name_.lower() not in LEFT_OUT]
    made = "\n".join([*headers, "", text_of(mail)])
    golden = FOLDER / f"{name}.eml"
    if os.environ.get(WRITE):
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(made, encoding="utf-8")
    assert golden.read_text(encoding="utf-8") == made, f"where that is meant, write the files anew with {WRITE}=1"
