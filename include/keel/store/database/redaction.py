"""Database URLs and driver messages without passwords, for logs and errors."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

from keel.values.redaction import without_secrets
from keel.values.texts import TEXT

if TYPE_CHECKING:
    from sqlalchemy import URL


def redacted_url(url: URL) -> str:
    """Return a database URL without password, driver and options, any of which may hold a secret."""
    backend = url.get_backend_name()
    if backend == "sqlite":
        return f"sqlite:///{url.database}"
    bare = url.set(drivername=backend, query={})
    if backend == "postgresql":
        host = url.host or next((str(v) for k, v in url.query.items() if k == "host"), "localhost")
        bare = bare.set(host=host)
    return bare.render_as_string(hide_password=True)


def without_passwords(message: str, url: URL) -> str:
    """Return a driver's message on one line, without the URL's passwords and whatever else looks like a credential."""
    values = [url.password, *(value for key, value in url.query.items() if "password" in key)]
    spellings = {text for v in values if v for text in (str(v), quote(str(v), safe=""), quote_plus(str(v)))}
    return without_secrets(" ".join(message.split()), secrets=tuple(spellings), limit=TEXT)
