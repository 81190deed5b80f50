"""river's FriedmanDrift, many rows at once: its three kinds of drift as functions of features and row.

Sources: Friedman 1991 (the function); Ikonomovska, Gama & Džeroski 2011 (the drifts); river 0.26's
``datasets.synth.FriedmanDrift``, which it agrees with.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

FEATURES = 10
KINDS = ("gra", "gsg", "lea")


def before(x: Floats) -> Floats:
    """Return the function before any drift; x: shape (rows, 10), in [0, 1]."""
    return _friedman(x, 0, 1, 2, 3, 4)


def gra(x: Floats, row: Integers, positions: tuple[int, ...]) -> Floats:
    """Everywhere and at once: features change places at the first position, and back at the second."""
    changed = (row >= positions[0]) & (row < positions[1])
    return np.where(changed, _friedman(x, 3, 5, 1, 0, 2), before(x))  # x5, which river's own gsg does not use


def gsg(x: Floats, row: Integers, positions: tuple[int, ...], *, window: int, old: Flags) -> Floats:
    """Everywhere, mixed: for ``window`` rows after the first position a row is old or new with equal probability.

    old: the draw of each row, used within the window. The second position must be behind the rows.
    """
    changed = (row >= positions[0]) & ~(old & (row < positions[0] + window))
    return np.where(changed, _friedman(x, 3, 4, 1, 0, 2), before(x))


def lea(x: Floats, row: Integers, positions: tuple[int, ...]) -> Floats:
    """In two regions that grow at each of three positions."""
    step = np.searchsorted(positions, row, side="right")
    low = (x[:, 1] < 0.3) & (x[:, 2] < 0.3) & ((x[:, 3] > 0.7) | (step > 2)) & ((x[:, 4] < 0.3) | (step > 1))
    high = (x[:, 1] > 0.7) & (x[:, 2] > 0.7) & ((x[:, 3] < 0.3) | (step > 2)) & ((x[:, 4] > 0.7) | (step > 1))
    base = 20 * (x[:, 2] - 0.5)
    in_low = 10 * x[:, 0] * x[:, 1] + base + 10 * x[:, 3] + 5 * x[:, 4]
    in_high = 10 * np.cos(x[:, 0] * x[:, 1]) + base + np.exp(x[:, 3]) + 5 * x[:, 4] ** 2
    return np.where(low & (step > 0), in_low, np.where(high & (step > 0), in_high, before(x)))


def stream(kind: str, rng: np.random.Generator, rows: int, change: int) -> tuple[Floats, Floats]:
    """Return features and targets, with the drift from row ``change`` on as the published comparison has it."""
    x, row = rng.random((rows, FEATURES)), np.arange(rows)
    third = (rows - change) // 3
    target: dict[str, Callable[[], Floats]] = {
        "gra": lambda: gra(x, row, (change, 2 * rows)),
        "gsg": lambda: gsg(x, row, (change, 2 * rows), window=500, old=rng.random(rows) < 0.5),
        "lea": lambda: lea(x, row, (change, change + third, change + 2 * third)),
    }
    return x, target[kind]() + rng.standard_normal(rows)


def _friedman(x: Floats, a: int, b: int, c: int, d: int, e: int) -> Floats:
    value: Floats = 10 * np.sin(np.pi * x[:, a] * x[:, b]) + 20 * (x[:, c] - 0.5) ** 2 + 10 * x[:, d] + 5 * x[:, e]
    return value
