"""Charts of one line of text: block characters."""

from __future__ import annotations

import math
from collections.abc import Sequence

BLOCKS = "▁▂▃▄▅▆▇█"
NOTHING = " "


def bars(values: Sequence[float | None], *, width: int = 20, top: float | None = None) -> str:
    """Return a character for each of ``values``, as high as its share of the largest (or of ``top``).

    More than ``width`` values are taken together by their mean. A value that is not known is a space.

    >>> bars([0, 1, 2, None, 4])
    '▁▃▅ █'
    """
    means = _means(_finite(values), width)
    highest = max((value for value in means if value is not None), default=0.0) if top is None else top
    return "".join(NOTHING if value is None else _mark(value, highest) for value in means)


def together(sides: Sequence[Sequence[float]], *, width: int = 20) -> list[str]:
    """Return the shares of each side as `bars`, to one scale.

    >>> together([[0.5, 0.5], [0.9, 0.1]])
    ['▅▅', '█▂']
    """
    means = [_means(_finite(shares), width) for shares in sides]
    top = max((value for shares in means for value in shares if value is not None), default=0.0)
    return [bars(shares, width=width, top=top) for shares in means]


def sparkline(values: Sequence[float | None], *, width: int = 20) -> str:
    """Return a history as `bars` between its smallest and largest value. A constant one is flat.

    >>> sparkline([5, 6, 7]), sparkline([3, 3]), sparkline([])
    ('▁▅█', '▁▁', '')
    """
    known = _finite(values)
    lowest = min((value for value in known if value is not None), default=0.0)
    return bars([None if value is None else value - lowest for value in known], width=width)


def up_to(values: Sequence[float | None], top: float, *, width: int = 20) -> str:
    """Return a history as `bars` from zero to ``top``. Only what has reached it is as high as a line.

    More than ``width`` values are taken together by their greatest.

    >>> up_to([0, 1, 4, 7.9, 8, None], 8)
    '▁▂▄▇█ '
    """
    known = greatest(_finite(values), width)
    reached = [None if value is None else min(max(value / top, 0.0), 1.0) * (len(BLOCKS) - 1) for value in known]
    return "".join(NOTHING if mark is None else BLOCKS[max(int(mark), mark > 0)] for mark in reached)


def greatest(values: Sequence[float | None], width: int) -> list[float | None]:
    """Return at most ``width`` values, the greatest of each part, so that no peak is lost.

    >>> greatest([1, 3, None, None, 2, 0], 3)
    [3, None, 2]
    """
    if len(values) <= width:
        return list(values)
    parts = (values[i * len(values) // width : (i + 1) * len(values) // width] for i in range(width))
    return [max((value for value in part if value is not None), default=None) for part in parts]


def _finite(values: Sequence[float | None]) -> list[float | None]:
    return [value if value is not None and math.isfinite(value) else None for value in values]


def _means(values: Sequence[float | None], width: int) -> list[float | None]:
    if len(values) <= width:
        return list(values)
    means: list[float | None] = []
    for i in range(width):
        part = [v for v in values[i * len(values) // width : (i + 1) * len(values) // width] if v is not None]
        means.append(sum(part) / len(part) if part else None)
    return means


def _mark(value: float, highest: float) -> str:
    if not value > 0 or not highest > 0:
        return BLOCKS[0]
    return BLOCKS[min(max(round(value / highest * (len(BLOCKS) - 1)), 1), len(BLOCKS) - 1)]
