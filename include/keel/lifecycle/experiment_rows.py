"""The rows of an experiment as a verdict needs them: plain arrays, in the order in which they came to be known.

What is known of a row is known at two moments: its arm at its time, and its outcome once its label has come *and* was
due, ``max(time + label_delay, observed_at)``. So the labels of both arms are equally old, and a later look only adds
rows behind those of an earlier one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc

from keel.lifecycle.experiment import CHALLENGER, CHAMPION, Plan, in_utc, shares_at, version_of
from keel.measures.losses import Floats, Scored

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from keel.measures.blocks import Times

    Mask = NDArray[np.bool_]
    Rows = slice | Mask


@dataclass(frozen=True)
class Outcomes:
    """Labelled rows, one of each entity, ordered by when they were known; shapes (n,)."""

    time: Times
    known_at: Times
    challenger: Mask
    """Whether the challenger answered; in shadow mode False."""
    share: Floats
    """The challenger's, with which the arm was drawn; in shadow mode 0."""
    answered: Scored
    shadow: Scored
    """The challenger's outputs in shadow mode; else NaN."""
    usable: Mask
    """Whether all that the verdict needs is there: label and outputs in the metric's range, of the right version."""

    def __len__(self) -> int:
        return len(self.time)

    def take(self, index: Rows) -> Outcomes:
        """Return some of the rows."""
        answered, shadow = (
            Scored(rows.label[index], rows.score[index], rows.prediction[index])
            for rows in (self.answered, self.shadow)
        )
        times = self.time[index], self.known_at[index]
        return Outcomes(*times, self.challenger[index], self.share[index], answered, shadow, self.usable[index])

    def until(self, moment: np.datetime64) -> Outcomes:
        """Return the rows known by a moment."""
        return self.take(slice(0, int(np.searchsorted(self.known_at, moment, side="right"))))


@dataclass(frozen=True)
class Assigned:
    """All rows of an experiment, one of each entity, in the order of their times; shapes (n,)."""

    time: Times
    challenger: Mask
    share: Floats
    labelled: Mask
    """Whether a usable label had come by the time it was due."""

    def __len__(self) -> int:
        return len(self.time)

    def until(self, moment: np.datetime64) -> Assigned:
        """Return the rows with times up to a moment."""
        n = int(np.searchsorted(self.time, moment, side="right"))
        return Assigned(self.time[:n], self.challenger[:n], self.share[:n], self.labelled[:n])


def read_rows(
    plan: Plan, outcomes: pa.Table, assigned: pa.Table, *, now: datetime, label_delay: timedelta
) -> tuple[Outcomes, Assigned]:
    """Take what `PredictionLog.outcomes` and `.assigned` return, and of it what was known by ``now``.

    outcomes: ``entity, time, version, arm, allocation, score, prediction, label, observed_at, shadow_version,
    shadow_score, shadow_prediction``, of rows with a label. assigned: ``entity, time, arm, allocation``, of all rows
    with an arm. Other columns are not looked at. Both have one row of each entity, its first.
    """
    until, delay = np.datetime64(in_utc(now), "us"), np.timedelta64(label_delay)
    if plan.mode == "ab":
        outcomes = outcomes.filter(outcomes["arm"].is_valid())
    due = _times(outcomes, "time") + delay
    observed = _times(outcomes, "observed_at")
    known_at = np.maximum(due, observed)
    order = np.argsort(known_at, kind="stable")
    order = order[known_at[order] <= until]
    labelled = _outcomes(plan, outcomes.take(order), known_at[order])
    in_time = outcomes["entity"].take(order).filter(labelled.usable & (observed <= due)[order])
    rows = assigned.take(np.argsort(_times(assigned, "time"), kind="stable"))
    rows = rows.filter(_times(rows, "time") <= until)
    time = _times(rows, "time")
    came = pc.is_in(rows["entity"], value_set=in_time.combine_chunks()).to_numpy()
    return labelled, Assigned(time, _is_challenger(rows), _shares(plan, rows, time), came)


def _outcomes(plan: Plan, rows: pa.Table, known_at: Times) -> Outcomes:
    time, challenger, label = _times(rows, "time"), _is_challenger(rows), _numbers(rows, "label")
    answered = Scored(label, _numbers(rows, "score"), _numbers(rows, "prediction"))
    shadow = Scored(label, _numbers(rows, "shadow_score"), _numbers(rows, "shadow_prediction"))
    by = np.where(challenger, version_of(plan, CHALLENGER), version_of(plan, CHAMPION))
    usable = plan.loss.usable(answered) & (_numbers(rows, "version") == by)
    if plan.mode == "shadow":
        usable &= plan.loss.usable(shadow) & (_numbers(rows, "shadow_version") == plan.challenger)
    return Outcomes(time, known_at, challenger, _shares(plan, rows, time), answered, shadow, usable)


def _is_challenger(rows: pa.Table) -> Mask:
    found: Mask = pc.fill_null(pc.equal(rows["arm"], CHALLENGER), False).to_numpy()
    return found


def _shares(plan: Plan, rows: pa.Table, time: Times) -> Floats:
    """Return the challenger's share from what was stored, the probability of the row's own arm; else the plan's."""
    own = _numbers(rows, "allocation")
    stored = np.where(_is_challenger(rows), own, 1 - own)
    with np.errstate(invalid="ignore"):
        known = (stored > 0) & (stored < 1)
    return np.where(known & (plan.mode == "ab"), stored, shares_at(plan, time))


def _times(rows: pa.Table, name: str) -> Times:
    found: Times = rows[name].to_numpy().astype("datetime64[us]")
    return found


def _numbers(rows: pa.Table, name: str) -> Floats:
    found: Floats = pc.cast(rows[name], "float64").to_numpy()
    return found
