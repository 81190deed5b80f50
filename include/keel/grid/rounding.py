"""Which values are one number, written with more and with fewer digits.

A client that keeps prices as 32-bit floats asks for 0.9900000095 where the version was trained on 0.99. A sum that is
added in another order differs in its last digit. Such a value must lie on the knot, not in the cell beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from keel.grid.counts import Floats, Integers

EXACT_BITS = 53
"""Significant bits of a 64-bit float: a value is on a knot only if it is equal."""
FLOAT32_BITS = 24
"""Significant bits of a 32-bit float: a value is on a knot if the two differ by no more than that rounding."""

_LAST_DIGITS = 2.0**-49
"""The difference, relative to their size, of values that differ in their last digits alone: a few 64-bit steps."""


def half_steps(values: Floats, bits: int = FLOAT32_BITS) -> Floats:
    """Return by how much rounding to ``bits`` significant bits may move each value, shape (values,), ≥ 0.

    It is half of the distance to the next number of that many bits, and relative to the value's own size at any size: 0
    for 0, and for `EXACT_BITS`. That a 32-bit float holds nothing below 1e-45 or above 3e38 is not taken into account.

    >>> bool(abs(float(np.float32(0.99)) - 0.99) <= half_steps(np.array([0.99]))[0] < 3e-8)
    True
    >>> half_steps(np.array([1.0, 1.9, 2.0, 0.0])).tolist() == [2.0**-24, 2.0**-24, 2.0**-23, 0.0]
    True
    """
    if bits >= EXACT_BITS:
        return np.zeros(len(values))
    _, exponents = np.frexp(values)
    return np.where(values == 0, 0.0, np.ldexp(1.0, exponents - 1 - bits))


def knot_bounds(knots: Floats, bits: int) -> tuple[Floats, Floats]:
    """Return the least and the greatest value that count as each knot, shape (knots,) each.

    Knots that ``bits`` cannot tell apart, because the roundings of two neighbours meet, count exactly: such a column is
    finer than the rounding, like the seconds of a timestamp.

    knots: ascending, finite.
    """
    reach = half_steps(knots, bits)
    if len(knots) > 1 and reach.any():
        with np.errstate(over="ignore"):  # a gap that overflows is wide
            apart = np.diff(knots) > reach[1:] + reach[:-1]
        reach[1:][~apart] = reach[:-1][~apart] = 0.0
    limit = np.finfo(np.float64).max
    with np.errstate(over="ignore"):
        return np.maximum(knots - reach, -limit), np.minimum(knots + reach, limit)


def round_to_bits(values: Floats, bits: int = FLOAT32_BITS) -> Floats:
    """Return each finite value rounded to ``bits`` significant bits, at any size; none becomes infinite.

    >>> round_to_bits(np.array([0.99]))[0] == np.float32(0.99)
    np.True_
    """
    if bits == FLOAT32_BITS and _fit_float32(values):
        return values.astype(np.float32).astype(np.float64)
    mantissas, exponents = np.frexp(values)
    limit = np.finfo(np.float64).max
    with np.errstate(over="ignore"):
        return np.clip(np.ldexp(np.rint(np.ldexp(mantissas, bits)), exponents - bits), -limit, limit)


def _fit_float32(values: Floats) -> bool:
    """Whether each value is 0 or in the range where 32-bit floats have all of their bits; they round alike then."""
    size = np.abs(values)
    least = float(np.min(size, where=size > 0, initial=np.inf))
    return least >= 2.0**-126 and float(np.max(size, initial=0.0)) < 2.0**127


def merge_roundings(values: Floats, counts: Integers) -> Floats:
    """Return the value that stands for each, shape (values,): the most frequent one of those that are one number.

    One number are values that differ in their last digits alone, and a value and its own rounding to 32 bits, which a
    reference has where some clients send 32-bit floats. Where that rounding holds a third value, or both are whole
    numbers, as among ten-digit codes, the column is finer than the rounding, and they stay apart.

    values: distinct, ascending, finite. counts: how often each occurs.

    >>> merge_roundings(np.array([0.1, 0.3, 0.1 + 0.2, 0.5]), np.array([1, 5, 2, 1])).tolist()
    [0.1, 0.3, 0.3, 0.5]
    """
    group = _same_but_for_last_digits(values)
    if group[-1:] + 1 < len(values):
        merged, totals = _most_frequent(values, counts, group)
        return merge_roundings(merged, totals)[group]
    rounded = round_to_bits(values)
    first = np.flatnonzero(np.r_[True, rounded[1:] != rounded[:-1]])
    size = np.diff(first, append=len(values))
    pair = first[size == 2]
    pair = pair[(values[pair] == rounded[pair]) | (values[pair + 1] == rounded[pair])]
    pair = pair[~(_are_whole(values[pair]) & _are_whole(values[pair + 1]))]
    if not len(pair):
        return values
    standing = values.copy()
    standing[pair] = standing[pair + 1] = np.where(counts[pair] >= counts[pair + 1], values[pair], values[pair + 1])
    return standing


def _same_but_for_last_digits(values: Floats) -> Integers:
    """Return the number of each value's group, ascending from 0; a group is no wider than the last digits."""
    with np.errstate(over="ignore"):
        size = np.abs(values)
        apart = np.diff(values) > _LAST_DIGITS * np.maximum(size[1:], size[:-1])
    if apart.all():
        return np.arange(len(apart) + 1)
    whole = _are_whole(values)
    apart |= whole[1:] & whole[:-1]
    group = np.cumsum(np.r_[False, apart])
    if not apart.all():
        edges = np.flatnonzero(np.r_[True, apart, True])
        least, greatest = values[edges[:-1]], values[edges[1:] - 1]
        with np.errstate(over="ignore"):
            wide = greatest - least > _LAST_DIGITS * np.maximum(np.abs(least), np.abs(greatest))
        group = np.cumsum(np.r_[False, apart | wide[group[1:]]])
    return group


def _are_whole(values: Floats) -> NDArray[np.bool_]:
    """Whether each value is a whole number."""
    whole: NDArray[np.bool_] = np.floor(values) == values  # several times as fast as a remainder
    return whole


def _most_frequent(values: Floats, counts: Integers, group: Integers) -> tuple[Floats, Integers]:
    """Return each group's most frequent value, the least of equally frequent ones, and the group's rows."""
    order = np.lexsort((values, -counts, group))
    _, first = np.unique(group[order], return_index=True)
    return values[order][first], np.bincount(group, weights=counts).astype(np.int64)
