"""Sums of floats without any rounding, so that parts add up to the same whole however they were cut.

Adding floats rounds at every step, and what is rounded depends on the order. Every float is a whole number times a
power of two, so their sum is one too, and is kept as that: a fraction. It is rounded once, where somebody asks for a
float.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from keel.measures.losses import Floats

_DIGITS = 53
"""Binary digits of a float's mantissa."""


def exact_sums(values: Floats) -> tuple[Fraction, Fraction]:
    """Return the sum of finite floats, shape (n,), and that of their squares, as the fractions that they are.

    >>> exact_sums(np.array([1e300, 1.0, -1e300]))[0], exact_sums(np.array([0.1] * 3))[1] == 3 * Fraction(0.1) ** 2
    (Fraction(1, 1), True)
    """
    if not len(values):
        return Fraction(0), Fraction(0)
    mantissas, exponents = np.frexp(values)
    lowest = int(exponents.min())
    shifts = (exponents - lowest).tolist()
    digits = np.ldexp(mantissas, _DIGITS).astype(np.int64).tolist()
    whole = [number << shift for number, shift in zip(digits, shifts, strict=True)]
    power = lowest - _DIGITS
    return _scaled(sum(whole), power), _scaled(sum(number * number for number in whole), 2 * power)


def _scaled(number: int, power: int) -> Fraction:
    return Fraction(number << power) if power >= 0 else Fraction(number, 1 << -power)


def to_float(number: Fraction) -> float:
    """Return the nearest float, infinite beyond the largest.

    >>> to_float(Fraction(1, 3)), to_float(Fraction(-(10**400)))
    (0.3333333333333333, -inf)
    """
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def to_text(number: Fraction) -> str:
    """Return a sum as text: a whole number and the power of two that divides it, in hexadecimal.

    >>> to_text(Fraction(-5, 8)), to_text(Fraction(7))
    ('-5/3', '7/0')
    """
    return f"{number.numerator:x}/{number.denominator.bit_length() - 1:x}"


def from_text(text: str) -> Fraction:
    """Return the sum that `to_text` wrote.

    >>> from_text("-5/3")
    Fraction(-5, 8)
    """
    numerator, power = text.split("/")
    return Fraction(int(numerator, 16), 1 << int(power, 16))
