"""What the databases raise, translated once: what cannot be reached or is locked becomes StoreUnavailable."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote, quote_plus

import adbc_driver_manager
import sqlalchemy.exc
from sqlalchemy import URL

from keel.errors import StoreUnavailable

# SQLSTATE classes and codes for which the server, not the statement, is the reason
_UNAVAILABLE_CLASSES = frozenset({"08", "28", "3D", "3F", "53", "57", "58"})
_UNAVAILABLE_CODES = frozenset({"25006", "40001", "40P01", "42501", "55P03"})
_ADVICE = (
    (
        r"locked|lock timeout|55P03|busy",
        "another process holds it: try again, and look for a long or stuck transaction",
    ),
    (r"read-?only", "the file, its folder or the server is read-only: make it writable for this user"),
    (r"full|53100|disk I/O", "the disk is full or failing: free some space, and look at the system log"),
    (r"not a database|malformed", "the file is damaged or not a Keel store: restore it from a backup"),
    (r"permission denied|no schema", "let this user create, read and write tables in the schema"),
    (r"password|authentication|role", "check user and password of the keel_store connection"),
    (r"database .* does not exist", "create the database, or correct its name in the keel_store connection"),
    (r"", "check that it is up and that this machine and user may reach it"),
)
# SQLite's own words, for errors that its driver files under other classes
_SAYS_UNAVAILABLE = re.compile(
    "file is not a database|disk I/O error|database or disk is full|image is malformed|malformed database schema"
)
_DRIVER_ERRORS = (adbc_driver_manager.Error, sqlalchemy.exc.SQLAlchemyError, OSError)


@contextmanager
def translated(url: URL) -> Iterator[None]:
    """Raise StoreUnavailable, naming the store and what to do but no password, where the store is at fault.

    Any other error, such as a violated constraint, passes through as it is.
    """
    try:
        yield
    except _DRIVER_ERRORS as error:
        if not is_unavailable(error):
            raise
        raise StoreUnavailable(explain(url, error)) from None


def is_unavailable(error: BaseException) -> bool:
    """Whether ``error`` says that the store is unreachable, locked, full, read-only or damaged."""
    origin = getattr(error, "orig", None) or error
    state = getattr(origin, "pgcode", None) or getattr(origin, "sqlstate", None)
    if state:
        return state[:2] in _UNAVAILABLE_CLASSES or state in _UNAVAILABLE_CODES
    if isinstance(error, sqlalchemy.exc.DBAPIError) and error.connection_invalidated:
        return True
    unavailable = (
        adbc_driver_manager.OperationalError,
        sqlalchemy.exc.OperationalError,
        sqlalchemy.exc.InterfaceError,
        sqlalchemy.exc.TimeoutError,
        OSError,
    )
    return isinstance(error, unavailable) or _SAYS_UNAVAILABLE.search(str(origin)) is not None


def explain(url: URL, error: BaseException) -> str:
    """Return one line: which store, what the driver said, what to do; without the password."""
    said = " ".join(str(getattr(error, "orig", None) or error).split())
    for secret in secrets_of(url):
        said = said.replace(secret, "***")
    advice = next(text for pattern, text in _ADVICE if re.search(pattern, said, re.IGNORECASE))
    return f"the store at {shown(url)} does not answer ({said}): {advice}"


def secrets_of(url: URL) -> list[str]:
    """Return the ways in which the password may be spelt in a driver's message, longest first."""
    values = [url.password, *(value for key, value in url.query.items() if "password" in key)]
    spelt = {form for v in values if v for form in (str(v), quote(str(v), safe=""), quote_plus(str(v)))}
    return sorted(spelt, key=len, reverse=True)


def shown(url: URL) -> str:
    """Return the URL for people: no password, no driver, no options."""
    if url.get_backend_name() == "sqlite":
        return f"sqlite:///{url.database}"
    bare = url.set(drivername="postgresql", query={})
    host = url.host or next((str(v) for k, v in url.query.items() if k == "host"), "localhost")
    return bare.set(host=host).render_as_string(hide_password=True)
