"""Evaluate a challenger within segments: its improvement for each value of the columns in ``promotion.segments``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
MAX_NAMED = 10
"""Segments that a sentence names."""
MAX_TOO_FEW = 50
"""Segments with too few rows that a record lists; a column of identifiers may have millions."""


class SegmentStatus(StrEnum):
    """The statuses of a challenger within one segment; the values are stored."""

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
    """At the comparison's level, for this segment alone; it decides the status."""
    simultaneous: tuple[float, float] = (math.nan, math.nan)
    """Bounds at the level divided by the number of evaluated segments: all lower bounds hold together."""

    @property
    def name(self) -> str:
        """Return ``column=value``."""
        return f"{self.column}={self.value}"

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values, NaN as None."""
        return {
            "column": self.column,
            "value": self.value,
            "n": self.n,
            "status": str(self.status),
            "improvement": finite_or_none(self.improvement),
            "standard_error": finite_or_none(self.standard_error),
            "lower_bound": finite_or_none(self.lower_bound),
            "simultaneous": [finite_or_none(bound) for bound in self.simultaneous],
        }


@dataclass(frozen=True)
class Segments:
    """The evaluated segments, the lowest bound first, then those with too few rows."""

    found: tuple[Segment, ...] = ()
    not_listed: int = 0
    """Number of segments with too few rows beyond `MAX_TOO_FEW`."""

    @property
    def evaluated(self) -> list[Segment]:
        """The segments with enough rows."""
        return [segment for segment in self.found if segment.status is not SegmentStatus.TOO_FEW]

    def of(self, *statuses: SegmentStatus) -> list[Segment]:
        """Return the segments with one of these statuses."""
        return [segment for segment in self.found if segment.status in statuses]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "evaluated": len(self.evaluated),
            "not_listed": self.not_listed,
            "found": [segment.to_dict() for segment in self.found],
        }


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
    """Evaluate whether the challenger is worse by ``policy.segment_margin`` or more within any segment.

    A segment is *non-inferior* if its lower bound at ``level`` exceeds −margin. This needs no correction for the number
    of segments: a pass needs all of them, so one that is worse by the margin or more is missed with a chance of at most
    ``level`` (Berger 1982). It is *inferior* if its upper bound at ``level`` divided by the number of segments is below
    −margin; this correction is needed because one of many is reported. Otherwise it is *not shown*.

    Parameters
    ----------
    champion, challenger, columns, clusters
        Of the usable rows.
    neighbours
        The correlation of neighbouring clusters over all rows; one segment has too few rows to estimate its own.

    """
    parts = [(column, value, index) for column in columns for value, index in split_rows(columns[column])]
    large = [part for part in parts if len(part[2]) >= policy.segment_min_rows]
    small = sorted((part for part in parts if len(part[2]) < policy.segment_min_rows), key=lambda part: -len(part[2]))
    found = [
        _evaluate(
            Segment(column, value, len(index), SegmentStatus.UNDEFINED),
            champion.take(index),
            challenger.take(index),
            metric,
            clusters.take(index),
            neighbours,
            (level, level / len(large)),
            policy.segment_margin,
        )
        for column, value, index in large
    ]
    found.sort(key=lambda segment: segment.lower_bound if math.isfinite(segment.lower_bound) else -math.inf)
    for column, value, index in small[:MAX_TOO_FEW]:
        of_champion, of_challenger = (influence(metric, rows.take(index)) for rows in (champion, challenger))
        difference = improvement(metric, of_champion, of_challenger).value
        found.append(Segment(column, value, len(index), SegmentStatus.TOO_FEW, difference))
    return Segments(tuple(found), max(0, len(small) - MAX_TOO_FEW))


def _evaluate(
    segment: Segment,
    champion: Scored,
    challenger: Scored,
    metric: str,
    clusters: Clusters,
    neighbours: float,
    levels: tuple[float, float],
    margin: float,
) -> Segment:
    difference = improvement(metric, influence(metric, champion), influence(metric, challenger))
    error = uncertainty(difference.contributions, clusters, neighbours=neighbours)
    alone, together = (error.half_width(level) for level in levels)
    lower, below, above = difference.value - alone, difference.value - together, difference.value + together
    if not all(map(math.isfinite, (lower, below, above))):
        status = SegmentStatus.UNDEFINED
    elif lower > -margin:
        status = SegmentStatus.NON_INFERIOR
    else:
        status = SegmentStatus.INFERIOR if above < -margin else SegmentStatus.NOT_SHOWN
    return replace(
        segment,
        status=status,
        improvement=difference.value,
        standard_error=error.standard_error,
        lower_bound=lower,
        simultaneous=(below, above),
    )


def describe_segments(segments: Sequence[Segment]) -> str:
    """Return the names of the first segments with their improvement and bound, and the number of the others."""
    names = [f"{s.name} ({s.improvement:+.4f}, at least {s.lower_bound:+.4f})" for s in segments[:MAX_NAMED]]
    rest = len(segments) - len(names)
    return ", ".join(names) + (f" and {rest} more" if rest > 0 else "")


def split_rows(values: NDArray[Any]) -> Iterator[tuple[str, NDArray[np.intp]]]:
    """Yield each value as text, in order, with the indices of its rows; those without a value are one segment."""
    names = [MISSING if value is None or value != value else str(value) for value in values]
    # An array of texts gives each row the space of the longest, which may be a megabyte.
    codes = {name: code for code, name in enumerate(sorted(set(names)))}
    inverse = np.fromiter((codes[name] for name in names), np.intp, len(names))
    counts = np.bincount(inverse, minlength=len(codes))
    parts = np.split(np.argsort(inverse, kind="stable"), np.cumsum(counts)[:-1])
    yield from zip(codes, parts, strict=False)  # without rows there is one empty part
