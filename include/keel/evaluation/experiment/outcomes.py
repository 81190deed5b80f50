"""Read the rows of an experiment as arrays, in the order in which they became known.

A row's arm is known at its time. Its outcome is known once its label has arrived *and* is matured:
``max(time + label_delay, observed_at)``. So the labels of both arms have the same age, and a later evaluation only
appends rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc

from keel.evaluation.experiment.plan import CHALLENGER, CHAMPION, Plan, in_utc, shares_at, version_of
from keel.stats.metrics.losses import Floats, Scored
from keel.stats.sequential.bounded_losses import PROBABILITY_METRICS

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from keel.stats.sequential.blocks import Times

    Mask = NDArray[np.bool_]
    Rows = slice | Mask


_NEVER = np.datetime64(2**63 - 1, "us")


@dataclass(frozen=True)
class Outcomes:
    """Labelled rows, one of each entity, in the order in which they became known; shapes (n,)."""

    time: Times
    known_at: Times
    challenger: Mask
    """Whether the challenger answered; in shadow mode False."""
    share: Floats
    """The challenger's share at the row's assignment; in shadow mode 0."""
    answered: Scored
    """Outputs that the metric does not need are NaN."""
    shadow: Scored
    """The challenger's outputs in shadow mode, else NaN."""
    usable: Mask
    """Whether label and outputs are in the metric's range and of the right version."""

    def __len__(self) -> int:
        return len(self.time)

    def take(self, index: Rows) -> Outcomes:
        """Return a subset of the rows."""
        if not isinstance(index, slice) and index.all():
            return self
        time, label = self.time[index], self.answered.label[index]
        answered, shadow = (
            Scored(label, _some(rows.score, index, len(time)), _some(rows.prediction, index, len(time)))
            for rows in (self.answered, self.shadow)
        )
        known = self.known_at[index], self.challenger[index], self.share[index]
        return Outcomes(time, *known, answered, shadow, self.usable[index])

    def until(self, moment: np.datetime64) -> Outcomes:
        """Return the rows that were known by a time."""
        return self.take(slice(0, int(np.searchsorted(self.known_at, moment, side="right"))))


@dataclass(frozen=True)
class Assigned:
    """All rows of an experiment, one of each entity, in the order of their times; shapes (n,)."""

    time: Times
    challenger: Mask
    share: Floats
    labelled: Mask
    """Whether a usable label had arrived by the time it matured."""

    def __len__(self) -> int:
        return len(self.time)

    def until(self, moment: np.datetime64) -> Assigned:
        """Return the rows with times up to a time."""
        n = int(np.searchsorted(self.time, moment, side="right"))
        return Assigned(self.time[:n], self.challenger[:n], self.share[:n], self.labelled[:n])


def outputs_for(plan: Plan) -> tuple[str, ...]:
    """Return the columns of outputs that the evaluation needs."""
    output = "score" if plan.loss.metric in PROBABILITY_METRICS else "prediction"
    return (output, "shadow_version", f"shadow_{output}") if plan.mode == "shadow" else (output,)


def read_rows(plan: Plan, outcomes: pa.Table, assigned: pa.Table, *, now: datetime) -> tuple[Outcomes, Assigned]:
    """Return the outcomes and the assigned rows that were known by ``now``.

    Both tables are those of `PredictionLog.experiment_rows`. They have one row of each entity, its first. An entity may
    be a number. Other columns are ignored.

    Parameters
    ----------
    outcomes
        Columns ``time, entity, version, arm, allocation, label, observed_at`` and `outputs_for` the plan; rows without
        a label do not count.
    assigned
        Columns ``time, entity, arm, allocation`` of all rows with an arm.

    """
    until = np.datetime64(in_utc(now), "us")
    order, known_at, in_time = _known(plan, outcomes, until)
    labelled = _outcomes(plan, outcomes, order, known_at)
    has_label = _has_label(assigned, outcomes, order[in_time & labelled.usable])
    time = _times(assigned, "time")
    rows = _until(time, until)
    time, challenger = time[rows], _is_challenger(assigned)[rows]
    share = _shares(plan, challenger, _numbers(assigned, "allocation")[rows], time)
    return labelled, Assigned(time, challenger, share, has_label[rows])


def _known(plan: Plan, rows: pa.Table, until: np.datetime64) -> tuple[NDArray[np.int64], Times, Mask]:
    """Return the rows known by a time in order, when they became known, and whether that was on maturing."""
    observed_rows = rows["observed_at"].is_valid().to_numpy()
    if plan.mode == "ab":
        observed_rows &= rows["arm"].is_valid().to_numpy()
    known_at = _times(rows, "time") + np.timedelta64(plan.label_delay)
    observed = np.where(observed_rows, _times(rows, "observed_at"), _NEVER)
    in_time = observed <= known_at
    np.maximum(known_at, observed, out=known_at)
    order = np.flatnonzero(known_at <= until)
    order = order[np.argsort(known_at[order], kind="stable")]
    return order, known_at[order], in_time[order]


def _has_label(assigned: pa.Table, outcomes: pa.Table, with_label: NDArray[np.int64]) -> Mask:
    """Return which rows of ``assigned`` have a label; with_label: indices of ``outcomes``."""
    if assigned is not outcomes:
        entities = outcomes["entity"].take(with_label).combine_chunks()
        found: Mask = pc.is_in(assigned["entity"], value_set=entities).to_numpy()
        return found
    has_label = np.zeros(len(assigned), dtype=bool)
    has_label[with_label] = True
    return has_label


def _until(time: Times, moment: np.datetime64) -> slice | NDArray[np.int64]:
    """Return the rows up to a time, in the order of their times."""
    if not (time[1:] < time[:-1]).any():
        return slice(0, int(np.searchsorted(time, moment, side="right")))
    order = np.argsort(time, kind="stable")
    return order[time[order] <= moment]


def _outcomes(plan: Plan, rows: pa.Table, order: NDArray[np.int64], known_at: Times) -> Outcomes:
    needed, missing = outputs_for(plan), np.broadcast_to(np.float64(math.nan), len(order))

    def numbers(name: str) -> Floats:
        return _numbers(rows, name)[order]

    def scored(*names: str) -> Scored:
        return Scored(label, *(numbers(name) if name in needed else missing for name in names))

    time, challenger, label = _times(rows, "time")[order], _is_challenger(rows)[order], numbers("label")
    answered, shadow = scored("score", "prediction"), scored("shadow_score", "shadow_prediction")
    version = np.where(challenger, version_of(plan, CHALLENGER), version_of(plan, CHAMPION))
    usable = plan.loss.usable(answered) & (numbers("version") == version)
    if plan.mode == "shadow":
        usable &= plan.loss.usable(shadow) & (numbers("shadow_version") == plan.challenger)
    share = _shares(plan, challenger, numbers("allocation"), time)
    return Outcomes(time, known_at, challenger, share, answered, shadow, usable)


def _some(values: Floats, index: Rows, size: int) -> Floats:
    """Return a subset of the values; a broadcast NaN stays one value in memory."""
    return values[index] if values.strides != (0,) else np.broadcast_to(np.float64(math.nan), size)


def _is_challenger(rows: pa.Table) -> Mask:
    found: Mask = pc.fill_null(pc.equal(rows["arm"], CHALLENGER), False).to_numpy()
    return found


def _shares(plan: Plan, challenger: Mask, own: Floats, time: Times) -> Floats:
    """Return the challenger's share from the stored probability of the row's arm; the plan's if it is missing."""
    stored = np.where(challenger, own, 1 - own)
    with np.errstate(invalid="ignore"):
        known = (stored > 0) & (stored < 1)
    return np.where(known & (plan.mode == "ab"), stored, shares_at(plan, time))


def _times(rows: pa.Table, name: str) -> Times:
    found: Times = rows[name].to_numpy().astype("datetime64[us]", copy=False)
    return found


def _numbers(rows: pa.Table, name: str) -> Floats:
    found: Floats = pc.cast(rows[name], "float64").to_numpy()
    return found
