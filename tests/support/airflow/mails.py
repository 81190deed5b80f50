"""The parts of a mail, as a mail program finds them."""

from __future__ import annotations

from email.message import EmailMessage


def text_of(mail: EmailMessage) -> str:
    """Return what is read where HTML is not."""
    return _content(mail, "plain")


def html_of(mail: EmailMessage) -> str:
    """Return the HTML document."""
    return _content(mail, "html")


def pictures_of(mail: EmailMessage) -> dict[str, bytes]:
    """Return the pictures by the address at which the HTML refers to them."""
    parts = [part for part in mail.walk() if part.get_content_maintype() == "image"]
    return {f"cid:{part['Content-ID'].strip('<>')}": part.get_content() for part in parts}


def _content(mail: EmailMessage, kind: str) -> str:
    body = mail.get_body((kind,))
    assert body is not None, [part.get_content_type() for part in mail.walk()]
    return body.get_content()
