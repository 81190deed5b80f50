"""Read one value as a number, a category or an identity."""

from __future__ import annotations

import re
from decimal import Decimal
from math import isfinite
from typing import Any

import numpy as np

LONGEST_IDENTITY = 1024
"""Bytes of an id or an entity. PostgreSQL cannot index much longer texts."""
EXACT = 2**53
"""Above it a float64 does not hold every whole number."""
TRUTHS = {"True": "true", "TRUE": "true", "False": "false", "FALSE": "false"}
"""How pandas, R and spreadsheets write what JSON writes as true and false."""
_WHOLE = re.compile(r"(-?(?:0|[1-9][0-9]*))\.0+")
_ROUNDED = re.compile(r"-?[0-9](?:\.[0-9]+)?[eE]\+[0-9]+")
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)")


def number_in(text: str) -> float | None:
    """Return the number that a text names, NaN for the text ``nan``; None for any other text.

    ``true`` and ``false`` in any case are 1 and 0. Python reads 1_000 as a number, other software does not: it is none.

    >>> number_in(" 1.5 "), number_in("TRUE"), number_in("1_000"), number_in("NA")
    (1.5, 1.0, None, None)
    """
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return float(text.strip().lower() == "true") if is_truth(text) else None


def number_of(value: object) -> float | None:
    """Return a value as float64, NaN where it is missing (None or NaN); None if it is no number.

    >>> number_of(True), number_of("2"), number_of([2])
    (1.0, 2.0, None)
    """
    if isinstance(value, str):
        return number_in(value)
    if value is None:
        return float("nan")
    if isinstance(value, bool | int | float | Decimal | np.number | np.bool_):
        try:
            return float(value)
        except (OverflowError, ValueError):
            return None
    return None


def category_in(text: str) -> str:
    """Return the name of the category that a text names: the text, but one spelling of a truth and of a whole number.

    A whole number has its digits as its name, however it is written, because a table with a gap turns 3 into 3.0. Other
    texts are names as they stand: ``007``, ``1.10``, ``NA``, ``None`` and the empty text.

    >>> category_in("False"), category_in("3.0"), category_in("1e+16"), category_in("007"), category_in("NA")
    ('false', '3', '10000000000000000', '007', 'NA')
    """
    last = text[-1:]
    if last == "e" or last == "E":
        return TRUTHS.get(text, text)
    if "0" <= last <= "9" and ("." in text or "+" in text):
        if whole := _WHOLE.fullmatch(text):
            return "0" if whole[1] == "-0" else whole[1]
        if _ROUNDED.fullmatch(text) and isfinite(number := float(text)) and number.is_integer():
            return str(int(number))
    return text


def category_of(value: object) -> str | None:
    """Return the name of a value's category; None where it is missing (None or NaN). ValueError for any other type.

    >>> category_of(False), category_of(3.0), category_of(0.5), category_of(float("nan"))
    ('false', '3', '0.5', None)
    """
    if isinstance(value, str):
        return category_in(value)
    if value is None:
        return None
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, int | float | np.number | Decimal):
        return name_of_number(value)
    raise ValueError("is neither a text, a number nor true or false")


def name_of_number(value: Any) -> str | None:
    """Return the digits of a whole number, whatever its type, else its shortest decimal form; None for NaN.

    >>> name_of_number(Decimal("1.00")), name_of_number(-0.0), name_of_number(np.float32(3.1))
    ('1', '0', '3.1')
    """
    if isinstance(value, int):
        return str(int(value))  # it may be larger than any float
    number = float(value)
    if number != number:
        return None
    if not isfinite(number):
        return str(number)
    return str(int(value)) if number.is_integer() else str(value if isinstance(value, np.floating) else number)


def has_variants(name: str) -> bool:
    """Return whether a category's name has other spellings: a truth, or the digits of a whole number."""
    return name in ("true", "false") or _INTEGER.fullmatch(name) is not None


def identity_of(value: object) -> str:
    """Return an id or an entity as the text that is stored: a text as it stands, a whole number as its digits.

    A whole number may have a fraction of zeros, because a table with a gap turns 17 into 17.0.

    Raises
    ------
    ValueError
        For any other value, an empty text, one longer than `LONGEST_IDENTITY` bytes, one with a NUL or half a surrogate
        pair, which databases cannot store, and a number beyond 2⁵³ that a float has rounded. The message is a
        predicate.

    >>> identity_of(17), identity_of(17.0), identity_of("17.0"), identity_of("007")
    ('17', '17', '17', '007')
    """
    value = _without_fraction(value)
    if isinstance(value, bool | np.bool_) or not isinstance(value, str | int | np.integer):
        raise ValueError(f"must be a text or a whole number, not {_kind(value)}")
    text = str(value)
    if "0" <= text[-1:] <= "9" and ("." in text or "+" in text):
        whole = _WHOLE.fullmatch(text)
        if whole and len(whole[1]) <= 17 and abs(int(whole[1])) <= EXACT:
            text = str(int(whole[1]))
        elif whole or _ROUNDED.fullmatch(text):
            raise ValueError(f"{text!r} is a number that lost digits on its way: send all its digits")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise ValueError("holds half a surrogate pair, which is no text") from None
    if not 0 < size <= LONGEST_IDENTITY:
        raise ValueError(f"must be of 1 to {LONGEST_IDENTITY} bytes (has {size})")
    if "\x00" in text:
        raise ValueError("holds a NUL character, which PostgreSQL cannot store")
    return text


def _without_fraction(value: object) -> object:
    """Return a whole number as an int, and any other value as it is."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        if abs(float(value)) > EXACT:
            raise ValueError(f"{value!r} is a number that lost digits on its way: send all its digits")
        return int(value)
    if isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value():
        return int(value)
    return value


def label_of(value: object, *, binary: bool) -> float:
    """Return a label as a number. ValueError, with a predicate, for a value that the target cannot have.

    binary: 0, 1, true or false, as numbers or texts. Otherwise any finite number, as a number or text.

    >>> label_of("True", binary=True), label_of("1e3", binary=False)
    (1.0, 1000.0)
    """
    number = number_of(value)
    if binary:
        if number is not None and number in (0, 1):
            return abs(number)  # not -0.0
        raise ValueError(f"must be 0 or 1 (or true, false) for a binary target (got {shown(value)})")
    if number is None or isinstance(value, bool | np.bool_) or (isinstance(value, str) and is_truth(value)):
        raise ValueError(f"must be a number (got {shown(value)})")
    if not isfinite(number):
        raise ValueError(f"must be a finite number (got {shown(value)})")
    return number + 0.0  # turns -0.0 into 0.0


def is_truth(text: str) -> bool:
    """Return whether a text is ``true`` or ``false``, in any case."""
    return text.strip().lower() in ("true", "false")


def shown(value: object) -> str:
    """Return a value as a message shows it: like JSON, at most 60 characters.

    >>> shown("a"), shown(True), shown(None), shown([1])
    ("'a'", 'true', 'null', 'a list')
    """
    plain = {dict: "an object", list: "a list", type(None): "null"}
    text = plain.get(type(value)) or (str(value).lower() if isinstance(value, bool) else repr(value))
    return text if len(text) <= 60 else f"{text[:57]}..."


def _kind(value: object) -> str:
    names: dict[type, str] = {bool: "true or false", float: "a fraction", dict: "an object", list: "a list"}
    return "null" if value is None else names.get(type(value), type(value).__name__)
