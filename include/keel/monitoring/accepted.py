"""The accepted drifts of a version: windows that are the reference of a column, in place of the training rows.

Counts of a window lie on the cells of the version's grid, so they can be its reference at no cost. What was accepted
holds for one version, because another one has training rows of its own. It holds for windows that end with the accepted
one or later, until one that is accepted afterwards holds: an older window which is checked again gives the result that
it had. A person accepts with `keel.alerts.accepting`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from keel.errors import SchemaError
from keel.grid.counts import ColumnCounts, Counts
from keel.monitoring.records import AcceptedReference, StoredDriftReport
from keel.values.texts import CELL, shown
from keel.window import Window

if TYPE_CHECKING:
    from datetime import datetime

    from keel.grid.column_grid import ColumnGrid
    from keel.grid.reference import ReferenceGrid
    from keel.store.accepted import AcceptedCounts
    from keel.workspace import Workspace

log = logging.getLogger(__name__)

COARSE_SHARE = 0.1
"""Share of a window's values in one cell from which the cell hides too much to say nothing. A decile has as many."""


@dataclass(frozen=True)
class Accepted:
    """An accepted window's counts of one column."""

    about: AcceptedReference
    counts: ColumnCounts


def accepted_references(
    ws: Workspace, model: str, version: int, grid: ReferenceGrid, *, until: datetime | None = None
) -> dict[str, Accepted]:
    """Return what was last accepted for a version, by column.

    grid: the version's. What was counted on another one cannot be compared with it and is left out, with a warning.
    until: only windows that end by then.

    Raises
    ------
    SchemaError
        The stored counts of a column are damaged.

    """
    found: dict[str, Accepted] = {}
    for row in ws.store.accepted.of_version(model, version, until=until):
        if row.grid_id != grid.grid_id or row.column not in grid.layout.index:
            log.warning("%s: the accepted window of %s is of another grid than version %d", model, row.column, version)
            continue
        found[row.column] = read_accepted(grid, row)
    return found


def read_accepted(grid: ReferenceGrid, row: AcceptedCounts) -> Accepted:
    """Return a row of the store with its counts."""
    try:
        counts = Counts.from_bytes(row.payload).column(row.column)
    except (SchemaError, KeyError) as error:
        raise SchemaError(
            f"{row.model}: the accepted window of {row.column} cannot be read ({error}): withdraw it, accept it again"
        ) from None
    about = AcceptedReference(
        model=row.model,
        version=row.version,
        column=row.column,
        window=Window(row.window_start, row.window_end),
        rows=counts.n,
        accepted_by=row.accepted_by,
        reason=row.reason,
        accepted_at=row.accepted_at,
        limits=blind_spots(grid.column(row.column), counts),
    )
    return Accepted(about, counts)


def with_accepted(
    ws: Workspace, model: str, version: int, grid: ReferenceGrid, window: Window
) -> tuple[ReferenceGrid, dict[str, AcceptedReference]]:
    """Return the version's grid with the references that were accepted for a window, and what these are."""
    found = accepted_references(ws, model, version, grid, until=window.end)
    if not found:
        return grid, {}
    replaced = grid.with_references({name: each.counts for name, each in found.items()})
    return replaced, {name: each.about for name, each in found.items()}


def with_accepted_columns(body: dict[str, Any], accepted: Mapping[str, AcceptedReference]) -> dict[str, Any]:
    """Return a drift report's JSON values, with what each column was compared with where that was accepted."""
    if not accepted:
        return body
    features = {
        name: {**column, "accepted": accepted[name].to_dict()} if name in accepted else column
        for name, column in body["features"].items()
    }
    return {**body, "features": features, "sentence": f"{body['sentence']}{_compared(list(accepted))}"}


def accepted_columns(report: StoredDriftReport) -> dict[str, AcceptedReference]:
    """Return what a report compared columns with in place of the version's own reference, by column."""
    return {name: column.accepted for name, column in report.features.items() if column.accepted}


def accepted_sentence(report: StoredDriftReport) -> str:
    """Return which columns of a report were compared with an accepted window, to add to a sentence; empty for none."""
    return _compared(list(accepted_columns(report)))


def _compared(names: Sequence[str]) -> str:
    return f" Compared with an accepted window: {', '.join(names)}." if names else ""


def accepted_words(accepted: AcceptedReference) -> str:
    """Return what a column was compared with, in a sentence."""
    span = " to ".join(f"{time:%Y-%m-%d %H:%M}" for time in (accepted.window.start, accepted.window.end))
    return (
        f"Compared with {accepted.rows:,} rows of {span} UTC, which {shown(accepted.accepted_by, CELL)} accepted as "
        f"the new normal ({shown(accepted.reason, CELL)}), and not with the training rows."
    )


def blind_spots(column: ColumnGrid, counts: ColumnCounts) -> tuple[str, ...]:
    """Return which further moves the counts of a window cannot show as a reference, in sentences.

    The cells were laid over the training rows. Where many of the window's values share one of them that is no single
    value, a move among these is not seen.
    """
    if not counts.n_counted:
        return ()
    shares = counts.cells / counts.n_counted
    if column.kind == "categorical":
        if shares[-1] < COARSE_SHARE:
            return ()
        return (
            f"{shares[-1]:.0%} of the values are categories that training did not have: a move among them is hidden.",
        )
    knots, spots = column.knots, []
    for cell in np.flatnonzero(shares[::2] >= COARSE_SHARE) * 2:
        part = f"{shares[cell]:.0%} of the values lie "
        if not len(knots):
            spots.append(f"{part}where training had none: a move among them is hidden.")
        elif cell in (0, len(shares) - 1):
            side = f"below {knots[0]:g}, the least" if cell == 0 else f"above {knots[-1]:g}, the greatest"
            shown = "of a further move only that of their mean is seen" if column.scale else "a further move is hidden"
            spots.append(f"{part}{side} value of training: {shown}.")
        else:
            between = f"{knots[cell // 2 - 1]:g} and {knots[cell // 2]:g}"
            spots.append(f"{part}between {between}, where training had none: a move among them is hidden.")
    return tuple(spots)
