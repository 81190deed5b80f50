"""Translate the errors of database drivers.

A store that is unreachable or locked, or has lost a table, raises StoreUnavailable, and data that no retry gets into it
SchemaError.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import adbc_driver_manager
import sqlalchemy.exc
from sqlalchemy import URL

from keel.errors import SchemaError, StoreUnavailable
from keel.store.database.redaction import redacted_url, without_passwords

# SQLSTATE classes and codes that blame the server, not the statement
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
# what the server can never take: data exceptions, and program limits such as the size of a row
_UNFIT_CLASSES = frozenset({"22", "54"})
_SAYS_UNFIT = re.compile("too many columns|too many SQL variables|string or blob too big|Query string is too large")
# tables and columns that the migrations created and that are gone
_GONE_CODES = frozenset({"42P01", "42703"})
_SAYS_GONE = re.compile(r"no such (?:table|column): \S+|(?:relation|column) \S+ does not exist")
_LONGEST = 300
"""Characters of a driver's words in a message. Drivers may repeat the whole statement, with a name per feature."""
# SQLite's messages for errors that its driver raises as other classes
_SAYS_UNAVAILABLE = re.compile(
    "file is not a database|disk I/O error|database or disk is full|image is malformed|malformed database schema"
)
_DRIVER_ERRORS = (adbc_driver_manager.Error, sqlalchemy.exc.SQLAlchemyError, OSError)


@contextmanager
def translated(url: URL) -> Iterator[None]:
    """Raise a KeelError for an error of a driver. Its message names the store and what to do, no password.

    StoreUnavailable: the store is at fault, also where a table or column is gone. SchemaError: it can never take the
    data. Any other error, such as a violated constraint, passes unchanged.
    """
    try:
        yield
    except _DRIVER_ERRORS as error:
        if is_unfit(error):
            raise SchemaError(explain_unfit(url, error)) from None
        if missing := missing_part(error):
            raise StoreUnavailable(explain_missing(url, missing)) from None
        if not is_unavailable(error):
            raise
        raise StoreUnavailable(explain(url, error)) from None


def is_unfit(error: BaseException) -> bool:
    """Return whether an error means that the store can never take the data, however often it is tried."""
    origin, state = origin_of(error)
    return state[:2] in _UNFIT_CLASSES if state else _SAYS_UNFIT.search(str(origin)) is not None


def is_unavailable(error: BaseException) -> bool:
    """Return whether an error means that the store is unreachable, locked, full, read-only or damaged."""
    origin, state = origin_of(error)
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


def missing_part(error: BaseException) -> str:
    """Return what the database says about a table or column that does not exist; empty for any other error."""
    origin, state = origin_of(error)
    said = _SAYS_GONE.search(str(origin))
    return said[0] if said and (not state or state in _GONE_CODES) else ""


def origin_of(error: BaseException) -> tuple[BaseException, str]:
    """Return the driver's own error and its SQLSTATE, empty where it has none, as on SQLite."""
    origin = getattr(error, "orig", None) or error
    return origin, getattr(origin, "pgcode", None) or getattr(origin, "sqlstate", None) or ""


def explain(url: URL, error: BaseException) -> str:
    """Return one line without the password: which store failed, what the driver said, what to do."""
    said = words_of(url, error)
    advice = next(text for pattern, text in _ADVICE if re.search(pattern, said, re.IGNORECASE))
    return f"the store at {redacted_url(url)} does not answer ({said}): {advice}"


def explain_unfit(url: URL, error: BaseException) -> str:
    """Return one line without the password: which store refused the data, and what the driver said."""
    return (
        f"the store at {redacted_url(url)} cannot take these rows, tables or values ({words_of(url, error)}): "
        "no retry helps; shorten them, or let the model have fewer features"
    )


def explain_missing(url: URL, said: str) -> str:
    """Return one line without the password: which store lacks what, and what to do."""
    return (
        f"the store at {redacted_url(url)} has lost a part of its schema ({said}), which was changed outside Keel: "
        "keel ledger rebuild makes the tables deployments and experiments again from the ledger; "
        "restore any other table from a backup"
    )


def words_of(url: URL, error: BaseException) -> str:
    """Return the beginning of what the driver said, in one line without the password."""
    said = " ".join(without_passwords(str(origin_of(error)[0]), url).split())
    return said if len(said) <= _LONGEST else said[:_LONGEST] + " …"
