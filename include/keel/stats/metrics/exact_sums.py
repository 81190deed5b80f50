"""Sums of floats without rounding, so that any split of the values adds up to the same total.

Floating-point addition rounds at every step, and the rounding depends on the order. Every float is a whole number times
a power of two, so their sum is one too. It is stored as that fraction, and rounded once, in the conversion to a float.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from keel.stats.metrics.losses import Floats

_DIGITS = 53
"""Binary digits of a float's mantissa."""


def exact_sums(values: Floats) -> tuple[Fraction, Fraction]:
    """Return the sum of finite floats, shape (n,), and the sum of their squares, as exact fractions.

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


def ratio(above: int, below: int) -> float:
    """Return the float nearest to above/below, infinite beyond the largest float; below > 0.

    >>> ratio(1, 3), ratio(-(10**400), 1)
    (0.3333333333333333, -inf)
    """
    try:
        return above / below
    except OverflowError:
        return math.inf if above > 0 else -math.inf


def to_float(number: Fraction) -> float:
    """Return the float nearest to a fraction, infinite beyond the largest float."""
    return ratio(number.numerator, number.denominator)


def to_text(number: Fraction) -> str:
    """Return a sum as text, in hexadecimal: a whole number, and the power of two that divides it.

    >>> to_text(Fraction(-5, 8)), to_text(Fraction(7))
    ('-5/3', '7/0')
    """
    return f"{number.numerator:x}/{number.denominator.bit_length() - 1:x}"


def from_texts(texts: Sequence[str]) -> tuple[list[int], int]:
    """Read sums that `to_text` wrote, at least one: whole numbers over a common power of two, and that power.

    >>> from_texts(["-5/3", "7/0"])
    ([-5, 56], 3)
    """
    parts = "/".join(texts).split("/")
    powers = [int(part, 16) for part in parts[1::2]]
    power = max(powers)
    return [int(part, 16) << power - own for part, own in zip(parts[::2], powers, strict=True)], power
