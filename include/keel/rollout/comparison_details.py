"""Compute what a comparison's page shows beside the evidence: both versions' scores, and the live decisions that flip.

None of it is part of a verdict. So whatever goes wrong here is named in the comparison, and nothing fails.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from keel.errors import for_people
from keel.evaluation.holdout.flips import count_flips
from keel.evaluation.holdout.score_curves import describe_scores
from keel.store.quarantines import DATA
from keel.training.datasets import recent_predictions

if TYPE_CHECKING:
    import pyarrow as pa

    from keel.config import ModelConfig
    from keel.evaluation.holdout.comparison import Comparison
    from keel.stats.metrics.losses import Floats, Scored
    from keel.workspace import Workspace

log = logging.getLogger(__name__)

LIVE_ROWS = 20_000
"""The last predictions that are looked at: enough for a share to within 0.7 percentage points."""


def details_of(
    ws: Workspace,
    config: ModelConfig,
    found: Comparison,
    scores: Sequence[Scored],
    versions: Sequence[int],
    until: datetime,
) -> dict[str, Any]:
    """Return ``score_curves`` and ``flips`` of a comparison.

    scores, versions: of the champion and of the challenger; the scores on all rows of the comparison.
    until: the last predictions before it are looked at.
    """
    champion, challenger = (each.take(found.rows.mask) for each in scores)
    return {
        "score_curves": _or_fault("score_curves", lambda: describe_scores(found.metric, champion, challenger)),
        "flips": _or_fault("flips", lambda: live_flips(ws, config, versions, until=until, on_holdout=champion)),
    }


def live_flips(
    ws: Workspace, config: ModelConfig, versions: Sequence[int], *, until: datetime, on_holdout: Scored
) -> dict[str, Any]:
    """Return which of the last `LIVE_ROWS` predictions before ``until`` the challenger makes otherwise.

    Those of hours whose data is quarantined are excluded: what any version makes of broken inputs says nothing.
    What the champion answered itself is taken from the log; other rows it scores now. A value of a regression is
    changed if it differs by more than the champion's mean absolute error on the holdout, ``on_holdout``.
    """
    rows = _not_quarantined(ws, config, recent_predictions(ws, config, LIVE_ROWS, end=until))
    if not rows.num_rows:
        return {"n": 0}
    champion, challenger = versions
    old, answered = _answers(ws, config, champion, rows)
    _, new = ws.registry.load(config, challenger).score(rows)
    size = None
    if config.target.kind == "regression":
        errors = np.abs(on_holdout.prediction - on_holdout.label)
        size = float(errors.mean()) if len(errors) else 0.0
    segments = {name: rows[name].to_numpy(zero_copy_only=False) for name in config.promotion.segments}
    first, last = rows["time"][0].as_py(), rows["time"][-1].as_py()
    return {
        **count_flips(old, new, segments, size=size),
        "answered_by_champion": answered,
        "start": first.isoformat(),
        "end": last.isoformat(),
    }


def _not_quarantined(ws: Workspace, config: ModelConfig, rows: pa.Table) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    for each in ws.store.quarantines(config.model, about=DATA) if rows.num_rows else ():
        start, end = (pa.scalar(each[name], rows["time"].type) for name in ("start", "end"))
        rows = rows.filter(pc.or_(pc.less(rows["time"], start), pc.greater_equal(rows["time"], end)))
    return rows


def _answers(ws: Workspace, config: ModelConfig, version: int, rows: pa.Table) -> tuple[Floats, int]:
    """Return a version's predictions, those from the log where it has them, and how many these are."""
    logged = rows["prediction"].to_numpy(zero_copy_only=False).astype(np.float64)
    own = (rows["version"].to_numpy(zero_copy_only=False) == version) & np.isfinite(logged)
    if not own.all():
        logged = logged.copy()
        logged[~own] = ws.registry.load(config, version).score(rows.filter(~own))[1]
    return logged, int(own.sum())


def _or_fault(name: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what is computed, or why it was not."""
    try:
        return compute()
    except Exception as error:
        log.warning("the comparison is without its %s", name, exc_info=True)
        return {"fault": for_people(error)}
