"""Check the labels of a stretch themselves: their values, their spread, their coverage and their delay.

A feed of labels can break while it still delivers. Every metric is then wrong, and a version that is trained and
compared on such labels may be promoted. So the labels are compared with those that the version was trained on.

============  ================================================================================================
invalid       labels that the target cannot have
single value  a run of equal labels that is too improbable for the variation of the reference's days
shift         the base rate (regression: the mean) or the spread of some consecutive days is outside that variation,
              significantly and materially
coverage      hours in which labels arrive have them for too few predictions
late          hours whose labels matured a day ago or more have none, although others have
============  ================================================================================================

The first four *break* a stretch: it is quarantined for everything that rests on labels. Late labels, and a smaller
shift of the whole window, only warn.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from keel.ledger.wording import format_probability
from keel.stats.label_profile import (
    MIN_LABELS,
    LabelBaseline,
    LabelHours,
    log_deviations,
    log_odds,
    runs_of_one_value,
    sums_of,
)
from keel.window import DAY, HOUR, Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from keel.stats.label_profile import Floats, Times

    Mask = NDArray[np.bool_]

BREAK_ALPHA = 1e-5
"""Of each test that breaks a stretch. A check makes about thirty of them, four times a day."""
WARN_ALPHA = 1e-3
"""Of the tests of the whole window that warn."""
BREAK_LOG_ODDS, WARN_LOG_ODDS = math.log(3), math.log(2)
"""Material change of a base rate: at one half an odds ratio of 3 is a PSI of .27 and one of 2 a PSI of .12, which are
the usual thresholds (Siddiqi 2006). The PSI itself does not see a rare event become five times as frequent."""
BREAK_MEAN, WARN_MEAN = 0.5, 1 / 3
"""Material change of a mean, in standard deviations of a label: a PSI of about .25 and .1 for normal labels."""
BREAK_SPREAD, WARN_SPREAD = math.log(1.5), math.log(1.25)
"""Material change of the logarithm of the standard deviation: a PSI of .34 and .1 for normal labels."""
MIN_SHIFT_LABELS = 100
"""Labels that a shift needs."""
MAX_EXCLUDED = 0.25
"""Largest share of a block's hours that may be excluded. A block with fewer hours left lacks too much of the daily
cycle, and is not tested for a shift: with a third of its hours left out, days of flights raise false alarms."""
LONGEST_SHIFT = 7
"""Days of the longest interval that is tested for a shift."""
RUN_FACTOR = 2
"""A run of equal labels must be longer than the reference's longest by this factor."""
COVERAGE_ERRORS = 3.0
"""Standard errors by which coverage must be below its limit."""


class LabelStatus(StrEnum):
    """What a stretch's labels can be used for."""

    OK = "ok"
    WARN = "warn"
    BROKEN = "broken"
    """Nothing may rest on the labels of the stretch until a person releases it."""
    QUARANTINED = "quarantined"
    """They are broken, and all of it was found by an earlier check."""
    INSUFFICIENT = "insufficient"
    """There are too few labels to test, or no reference to test them against."""


@dataclass(frozen=True)
class LabelFinding:
    """One fault of a stretch of labels."""

    kind: str
    """``invalid``, ``single_value``, ``base_rate``, ``mean``, ``spread``, ``coverage`` or ``late``."""
    status: LabelStatus
    start: datetime
    end: datetime
    n: int
    """Labels of the stretch; predictions where labels are late."""
    sentence: str
    p_value: float | None = None

    def to_dict(self) -> dict[str, object]:
        """Return JSON values."""
        times = {"start": self.start.isoformat(), "end": self.end.isoformat()}
        return {**self.__dict__, **times, "status": self.status.value}


@dataclass(frozen=True)
class LabelStretch:
    """The labels of a stretch of time, and what they are compared with.

    The sums of ``hours`` are about the baseline's mean. Hours that a person released, and quarantined data, are in
    ``window`` and not in ``hours``.
    """

    window: Window
    hours: LabelHours
    baseline: LabelBaseline | None
    binary: bool
    min_coverage: float
    """Smallest share of predictions with a label; 0: not checked."""
    excluded: Times = field(default_factory=lambda: np.array([], "datetime64[h]"))
    """Hours that are left out."""

    def findings(self) -> tuple[LabelFinding, ...]:
        """Return the faults, those that break a stretch first.

        The hours of impossible labels are not tested for a run of one value, and neither for a shift. A feed that is
        nearly dead has long runs of one value: the rest of its days is tested for a shift without them.
        """
        invalid = list(self._invalid())
        possible = self._without(invalid)
        single = list(possible._single_values())
        shifts = possible._without(single)._shifts(warn=not single)
        found = [*invalid, *single, *self._coverage(), *shifts]
        order = [LabelStatus.BROKEN, LabelStatus.WARN]
        return tuple(sorted(found, key=lambda each: (order.index(each.status), each.start)))

    @property
    def labels(self) -> int:
        """Number of labels."""
        return int(self.hours.labelled.sum())

    @property
    def mean(self) -> float:
        """Mean label; NaN without labels."""
        n = float(self.hours.labelled.sum())
        return self.hours.centre + float(self.hours.total.sum()) / n if n else math.nan

    @property
    def deviation(self) -> float:
        """Standard deviation of the labels; NaN without labels."""
        n = float(self.hours.labelled.sum())
        if not n:
            return math.nan
        variance = float(self.hours.squares.sum()) / n - (float(self.hours.total.sum()) / n) ** 2
        return math.sqrt(max(variance, 0.0))

    def _without(self, found: list[LabelFinding]) -> LabelStretch:
        """Return the stretch without the hours of some faults."""
        if not found:
            return self
        inside = np.zeros(len(self.hours), dtype=bool)
        for each in found:
            start, end = (np.datetime64(_naive(time), "h") for time in (each.start, each.end))
            inside |= (self.hours.hour >= start) & (self.hours.hour < end)
        return replace(self, hours=self.hours.take(~inside))

    def _invalid(self) -> Iterator[LabelFinding]:
        if not self.binary:
            return
        h = self.hours
        with np.errstate(invalid="ignore"):
            wrong = (h.lowest < 0) | (h.highest > 1)
        for first, last in _runs(wrong):
            start, end = time_of(h.hour[first]), time_of(h.hour[last]) + HOUR
            values = f"between {np.nanmin(h.lowest[first : last + 1]):g} and {np.nanmax(h.highest[first : last + 1]):g}"
            sentence = f"labels {_between(start, end)} lie {values}, and the target is 0 or 1"
            n = int(h.labelled[first : last + 1].sum())
            yield LabelFinding("invalid", LabelStatus.BROKEN, start, end, n, sentence)

    def _single_values(self) -> Iterator[LabelFinding]:
        base, h = self.baseline, self.hours.take(self.hours.labelled > 0)
        if base is None:
            return
        for first, until in runs_of_one_value(h.lowest, h.highest):
            n, value = int(h.labelled[first:until].sum()), h.lowest[first]
            if n < MIN_LABELS or n <= RUN_FACTOR * base.longest_run:
                continue
            chance = base.chance_of_one_value(n)
            if chance > BREAK_ALPHA:
                continue
            # the value may have stopped, and come back, within the hours beside the run
            start = max(time_of(h.hour[first]) - HOUR, self.window.start)
            end = min(time_of(h.hour[until - 1]) + 2 * HOUR, self.window.end)
            share = f"{base.mode_share:.1%} of the reference's labels" if self.binary else "the reference's labels vary"
            sentence = f"all {n:,} labels {_between(start, end)} are {value:g}; " + (
                f"{share} have its most frequent value" if self.binary else share
            )
            yield LabelFinding("single_value", LabelStatus.BROKEN, start, end, n, sentence, chance)

    def _coverage(self) -> Iterator[LabelFinding]:
        h, limit = self.hours, self.min_coverage
        if not limit or not self.labels:
            return
        blocks, number = self._blocks()
        for i, (start, end) in enumerate(blocks[:-1]):  # labels of the last block may come with a nightly batch
            of = number == i
            arriving = of & (h.labelled > 0)
            rows, labelled = float(h.rows[arriving].sum()), float(h.labelled[arriving].sum())
            if rows and labelled / rows + COVERAGE_ERRORS * math.sqrt(0.25 / rows) < limit:
                sentence = f"only {labelled / rows:.0%} of {rows:,.0f} predictions {_between(start, end)} have a label"
                yield LabelFinding("coverage", LabelStatus.BROKEN, start, end, int(labelled), sentence)
            total = float(h.rows[of].sum())
            if total >= MIN_LABELS and total - rows > (1 - limit) * total:
                sentence = (
                    f"labels are late: {total - rows:,.0f} of {total:,.0f} predictions {_between(start, end)} lie in "
                    "hours without a label, a day or more after they matured"
                )
                yield LabelFinding("late", LabelStatus.WARN, start, end, int(total), sentence)

    def _blocks(self) -> tuple[list[tuple[datetime, datetime]], NDArray[np.int64]]:
        """Return blocks of 24 h, counted back from the end, and the block of each hour; the first takes the rest."""
        start, end = self.window.start, self.window.end
        edges = [start, *(end - i * DAY for i in range(self._count - 1, 0, -1)), end]
        return list(zip(edges[:-1], edges[1:], strict=True)), self._block_of(self.hours.hour)

    def _block_of(self, hours: Times) -> NDArray[np.int64]:
        before_end = (np.datetime64(_naive(self.window.end)) - hours - np.timedelta64(1, "h")) // np.timedelta64(1, "D")
        return np.maximum(self._count - 1 - before_end.astype(np.int64), 0)

    @property
    def _count(self) -> int:
        return max(1, (self.window.end - self.window.start) // DAY)

    def _shifts(self, *, warn: bool) -> Iterator[LabelFinding]:
        """Yield intervals of whole days that are outside the variation of the reference's days, the clearest first.

        warn: whether to test the whole window, for a smaller shift, if no interval is found.
        """
        if self.baseline is None:
            return
        blocks, number = self._blocks()
        h = self.hours
        n, total, squares = (sums_of(number, each, len(blocks)) for each in (h.labelled, h.total, h.squares))
        lengths = np.array([(end - start) / HOUR for start, end in blocks])
        excluded = np.bincount(self._block_of(self.excluded), minlength=len(blocks))
        tested = (n > 0) & (excluded <= MAX_EXCLUDED * lengths)
        n, total, squares = n * tested, total * tested, squares * tested
        tests, open_, broke = _Tests(self.baseline, self.binary, n, total, squares), tested, False
        while found := tests.clearest(open_):
            (first, until), test = found
            broke = True
            open_[first:until] = False
            yield self._finding(test, LabelStatus.BROKEN, blocks[first][0], blocks[until - 1][1])
        if warn and not broke and n.sum() >= MIN_SHIFT_LABELS:
            for test in tests.of(0, len(n)):
                if test.p_value <= WARN_ALPHA and test.effect >= test.warns_from:
                    yield self._finding(test, LabelStatus.WARN, self.window.start, self.window.end)

    def _finding(self, test: _Test, status: LabelStatus, start: datetime, end: datetime) -> LabelFinding:
        sure = format_probability(test.p_value)
        sentence = f"the {test.name} of {test.n:,} labels {_between(start, end)} is {test.shown} ({sure})"
        return LabelFinding(test.kind, status, start, end, test.n, sentence, test.p_value)


@dataclass(frozen=True)
class _Test:
    kind: str
    name: str
    n: int
    shown: str
    p_value: float
    effect: float
    warns_from: float
    breaks_from: float


@dataclass(frozen=True)
class _Tests:
    """The blocks of a stretch: numbers of labels, sums and sums of squares less the baseline's mean."""

    baseline: LabelBaseline
    binary: bool
    n: Floats
    total: Floats
    squares: Floats

    def clearest(self, open_: Mask) -> tuple[tuple[int, int], _Test] | None:
        """Return the interval of open blocks with the smallest p-value among those that break; None if none does.

        Its first and its last block differ materially themselves, so that it has no sound days at its ends.
        """
        moved = [{test.kind for test in self._of(i) if test.effect >= test.warns_from} for i in range(len(self.n))]
        found = [
            ((first, until), test)
            for first in range(len(self.n))
            for until in range(first + 1, min(first + LONGEST_SHIFT, len(self.n)) + 1)
            if moved[first] & moved[until - 1] and open_[first:until].all()
            if self.n[first:until].sum() >= MIN_SHIFT_LABELS
            for test in self.of(first, until)
            if test.kind in moved[first] & moved[until - 1]
            if test.p_value <= BREAK_ALPHA and test.effect >= test.breaks_from
        ]
        return min(found, key=lambda each: (each[1].p_value, each[0][0] - each[0][1])) if found else None

    def _of(self, block: int) -> Iterator[_Test]:
        return self.of(block, block + 1) if self.n[block] else iter(())

    def of(self, first: int, until: int) -> Iterator[_Test]:
        """Yield the tests of the blocks first ≤ i < until."""
        base = self.baseline
        n, total, squares = (each[first:until] for each in (self.n, self.total, self.squares))
        labels = float(n.sum())
        mean = base.mean + float(total.sum()) / labels
        p_value = base.p_of_mean(n[n > 0], mean)
        if self.binary:
            effect = abs(log_odds(labels, mean * labels) - log_odds(base.n, base.mean * base.n))
            shown = f"{mean:.1%}, {base.mean:.1%} in the reference"
            yield _Test("base_rate", "base rate", int(labels), shown, p_value, effect, WARN_LOG_ODDS, BREAK_LOG_ODDS)
            return
        effect = abs(mean - base.mean) / base.deviation if base.deviation else math.inf * (mean != base.mean)
        shown = f"{mean:.4g}, {base.mean:.4g} in the reference"
        yield _Test("mean", "mean", int(labels), shown, p_value, effect, WARN_MEAN, BREAK_MEAN)
        logs = log_deviations(n, total, squares)
        if len(logs) and not math.isnan(base.spread):
            effect = abs(float(logs.mean()) - base.spread)
            shown = f"{math.exp(logs.mean()):.4g}, {math.exp(base.spread):.4g} in the reference"
            name, p_value = "standard deviation", base.p_of_spread(logs)
            yield _Test("spread", name, int(labels), shown, p_value, effect, WARN_SPREAD, BREAK_SPREAD)


def _runs(mask: Mask) -> Iterator[tuple[int, int]]:
    """Yield the first and last index of each run of true values."""
    edges = np.diff(np.concatenate([[0], mask.astype(np.int8), [0]]))
    yield from zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1, strict=True)


def time_of(hour: np.datetime64) -> datetime:
    """Return an hour as an aware time."""
    found: datetime = hour.astype("datetime64[us]").astype(datetime)
    return found.replace(tzinfo=UTC)


def _naive(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(tzinfo=None)


def _between(start: datetime, end: datetime) -> str:
    return f"from {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"
