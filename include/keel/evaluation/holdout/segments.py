"""Where a challenger that is better on the whole is worse: its improvement within each value of chosen columns."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from keel.stats.json_numbers import finite_or_none
from keel.stats.metrics.paired import Clusters, improvement, influence, uncertainty

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from keel.config import PromotionConfig
    from keel.stats.metrics.losses import Scored

MISSING = "(missing)"
MOST_NAMED = 10
"""Segments that a sentence names."""
MOST_UNJUDGED = 50
"""Segments with too few rows that a record lists; a column of identifiers has no end of them."""


class SegmentStatus(StrEnum):
    """What is known of a challenger within one segment."""

    NON_INFERIOR = "non_inferior"
    INFERIOR = "inferior"
    NOT_SHOWN = "not_shown"
    UNDEFINED = "undefined"
    TOO_FEW = "too_few"


@dataclass(frozen=True)
class Segment:
    """The rows with one value of one column."""

    column: str
    value: str
    n: int
    status: SegmentStatus
    improvement: float = math.nan
    standard_error: float = math.nan
    lower_bound: float = math.nan
    """At the comparison's level, for this segment alone: it decides."""
    simultaneous: tuple[float, float] = (math.nan, math.nan)
    """Lower and upper bound, each at the level over the number of segments judged: all lower bounds hold together."""

    @property
    def name(self) -> str:
        """Return ``column=value``."""
        return f"{self.column}={self.value}"

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values, NaN as None."""
        return {
            "column": self.column, "value": self.value, "n": self.n, "status": str(self.status),
            "improvement": finite_or_none(self.improvement), "standard_error": finite_or_none(self.standard_error),
            "lower_bound": finite_or_none(self.lower_bound),
            "simultaneous": [finite_or_none(bound) for bound in self.simultaneous],
        }  # fmt: skip


@dataclass(frozen=True)
class Segments:
    """Every segment that was judged, the worst bound first, then those that were too small."""

    found: tuple[Segment, ...] = ()
    not_listed: int = 0
    """Segments too small to be judged beyond `MOST_UNJUDGED`."""

    @property
    def judged(self) -> list[Segment]:
        """Those with enough rows."""
        return [segment for segment in self.found if segment.status is not SegmentStatus.TOO_FEW]

    def of(self, *statuses: SegmentStatus) -> list[Segment]:
        """Return those with one of these statuses."""
        return [segment for segment in self.found if segment.status in statuses]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {"judged": len(self.judged), "not_listed": self.not_listed,
                "found": [segment.to_dict() for segment in self.found]}  # fmt: skip


def evaluate_segments(
    champion: Scored,
    challenger: Scored,
    *,
    metric: str,
    policy: PromotionConfig,
    columns: Mapping[str, NDArray[Any]],
    clusters: Clusters,
    neighbours: float,
    level: float,
) -> Segments:
    """Judge whether the challenger is not worse by ``policy.segment_margin`` or more within each segment.

    A segment is *non-inferior* when its lower bound at ``level`` exceeds −margin. No correction is due here: the
    challenger needs every segment, so a single one that is worse by the margin or more is missed with a chance of at
    most ``level``, however many there are (Berger 1982). It is *inferior* when the upper bound at ``level`` over the
    number of judged segments lies below −margin, which does accuse one among many; else it is *not shown*.

    Rows, clusters and columns are those of the usable rows. neighbours: the correlation of neighbouring clusters over
    all rows, as one segment's few rows hardly show their own.
    """
    sizes = [(column, value, index) for column in columns for value, index in _split(columns[column])]
    judged = [part for part in sizes if len(part[2]) >= policy.segment_min_rows]
    small = sorted((part for part in sizes if len(part[2]) < policy.segment_min_rows), key=lambda part: -len(part[2]))
    found = [
        _judge(Segment(column, value, len(index), SegmentStatus.UNDEFINED), champion.take(index),
               challenger.take(index), metric, clusters.take(index), neighbours, (level, level / len(judged)),
               policy.segment_margin)
        for column, value, index in judged
    ]  # fmt: skip
    found.sort(key=lambda segment: segment.lower_bound if math.isfinite(segment.lower_bound) else -math.inf)
    found += [
        Segment(column, value, len(index), SegmentStatus.TOO_FEW,
                improvement(metric, influence(metric, champion.take(index)),
                            influence(metric, challenger.take(index))).value)
        for column, value, index in small[:MOST_UNJUDGED]
    ]  # fmt: skip
    return Segments(tuple(found), max(0, len(small) - MOST_UNJUDGED))


def _judge(
    segment: Segment,
    champion: Scored,
    challenger: Scored,
    metric: str,
    clusters: Clusters,
    neighbours: float,
    levels: tuple[float, float],
    margin: float,
) -> Segment:
    better = improvement(metric, influence(metric, champion), influence(metric, challenger))
    sure = uncertainty(better.contributions, clusters, neighbours=neighbours)
    alone, together = (sure.half_width(level) for level in levels)
    lower, below, above = better.value - alone, better.value - together, better.value + together
    if not all(map(math.isfinite, (lower, below, above))):
        status = SegmentStatus.UNDEFINED
    elif lower > -margin:
        status = SegmentStatus.NON_INFERIOR
    else:
        status = SegmentStatus.INFERIOR if above < -margin else SegmentStatus.NOT_SHOWN
    return Segment(segment.column, segment.value, segment.n, status, better.value, sure.standard_error, lower,
                   (below, above))  # fmt: skip


def named(segments: Sequence[Segment]) -> str:
    """Name segments with their improvement and bound, the first ten."""
    told = [f"{s.name} ({s.improvement:+.4f}, at least {s.lower_bound:+.4f})" for s in segments[:MOST_NAMED]]
    rest = len(segments) - len(told)
    return ", ".join(told) + (f" and {rest} more" if rest > 0 else "")


def _split(values: NDArray[Any]) -> Iterator[tuple[str, NDArray[np.intp]]]:
    """Yield each value with the rows that have it."""
    names = np.array([MISSING if value is None or value != value else str(value) for value in values], dtype=np.str_)
    if not len(names):
        return
    unique, inverse, counts = np.unique(names, return_inverse=True, return_counts=True)
    parts = np.split(np.argsort(inverse, kind="stable"), np.cumsum(counts)[:-1])
    yield from zip(map(str, unique), parts, strict=True)
