"""Compare a window with the one of the same length before it, as ``drift.against: [training, previous]`` asks for.

A version that has drifted from its training rows stays so, month after month. The window before says when it moves
again. The comparison decides nothing: it is a report of its own, with a family of tests of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from keel.monitoring.drift import detect
from keel.monitoring.records import StoredConsecutiveReport
from keel.monitoring.window_counts import WindowCounts, window_counts
from keel.window import Window

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.grid.reference import ReferenceGrid
    from keel.workspace import Workspace

MIN_HOURS_SHARE = 0.5
"""Least hours with rows of the window before, as a share of the window's own. The first day of a new version beside a
whole week would show the weekday, and no drift."""


def compare_with_previous(
    ws: Workspace,
    config: ModelConfig,
    version: int,
    grid: ReferenceGrid,
    window: Window,
    counts: WindowCounts,
) -> StoredConsecutiveReport:
    """Return how the window differs from the one before it, both counted on the version's grid.

    ``insufficient`` where the version has too few rows or hours in either of them. Quarantined hours are in neither.

    counts: of ``window``.
    """
    previous = Window(window.start - (window.end - window.start), window.start)
    before = window_counts(ws, config, version, grid, previous, decided_before=window.end)
    rows = before.usable
    columns = {name: rows.column(name) for name in grid.layout.names}
    is_short = before.hours < MIN_HOURS_SHARE * counts.hours
    needed = rows.n + 1 if is_short else max(config.drift.min_rows, 1)
    report = detect(grid.with_references(columns), counts.usable, config.drift, min_reference=needed)
    return StoredConsecutiveReport.from_dict(
        {
            **report.to_dict(),
            "sentence": _sentence(report.sentence, version, previous, before, is_short, config),
            "quarantined": counts.quarantined.size,
            "previous": previous,
            "n_previous": rows.n,
        }
    )


def _sentence(
    found: str, version: int, previous: Window, before: WindowCounts, is_short: bool, config: ModelConfig
) -> str:
    span = " to ".join(f"{time:%Y-%m-%d %H:%M}" for time in (previous.start, previous.end))
    name = f"window before ({span} UTC)"
    n, needed = before.usable.n, max(config.drift.min_rows, 1)
    if n < needed:
        return f"The {name} has {n:,} rows of version {version}; the comparison needs {needed:,}."
    if is_short:
        return f"The {name} has rows of version {version} in {before.hours} h alone, too few to compare."
    return f"Against the {name}, {n:,} rows: {found}"
