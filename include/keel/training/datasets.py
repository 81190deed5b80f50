"""Read labelled and recent rows of a model, for training, comparing and testing versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from keel.stats.metrics.losses import Scored
from keel.store.predictions.casting import take, to_kind
from keel.store.predictions.encoding import empty
from keel.training.training import Split, TrainingRows
from keel.window import Window, parse_time, times_of

if TYPE_CHECKING:
    import pyarrow as pa

    from keel.config import ModelConfig
    from keel.workspace import Workspace


PREFLIGHT_ROWS = 100
"""Recent rows that a version must score before it may be promoted."""
LOGGED = ("time", "version", "prediction")
"""What a recent row has beside its features."""


def training_rows(ws: Workspace, config: ModelConfig, window: Window) -> TrainingRows:
    """Read the labelled rows before and after the cut, without quarantined data."""
    split = Split.ending(window.end, config)
    predictions = ws.predictions(config)
    training = predictions.labelled(split.start, split.cut)
    return TrainingRows(split, training, predictions.labelled(split.cut, split.end))


def score_version(ws: Workspace, config: ModelConfig, version: int, rows: pa.Table) -> Scored:
    """Score labelled rows with a registered version."""
    score, prediction = ws.registry.load(config, version).score(rows)
    return Scored(rows["label"].to_numpy(), score, prediction)


def unseen_holdout(
    ws: Workspace, config: ModelConfig, holdout: Mapping[str, Any], *versions: int
) -> tuple[pa.Table, dict[str, str]]:
    """Return the holdout rows after the training data of all versions, and their interval."""
    start, end = times_of(holdout)
    trained_until = [parse_time(ws.registry.reference(config.model, v)["training"]["end"]) for v in versions]
    since = max([start, *filter(None, trained_until)])
    rows = ws.predictions(config).labelled(min(since, end), end)
    return rows, {"start": since.isoformat(), "end": end.isoformat()}


def recent_rows(
    ws: Workspace, config: ModelConfig, limit: int = PREFLIGHT_ROWS, *, end: datetime | None = None
) -> pa.Table:
    """Return ``time`` and the features of the last ``limit`` predictions before ``end``, oldest first.

    A value that is not of its feature's kind is missing, as in training. A feature that no request had is left out.
    """
    import pyarrow as pa

    parts = _last(ws, config, limit, end)
    if not parts:
        return pa.table({})
    present = {name for part in parts for name in part.column_names}
    names = ["time", *(name for name in config.features if name in present)]
    return _joined(config, parts, limit).select(names)


def recent_predictions(ws: Workspace, config: ModelConfig, limit: int, *, end: datetime | None = None) -> pa.Table:
    """Return ``time``, ``version``, ``prediction`` and the features of the last ``limit`` predictions before ``end``.

    The oldest is first; an empty log gives a table without columns. Labelled history that no version scored is left
    out. A value that is absent, or not of its feature's kind, is missing, as in training. So is a prediction that is no
    number.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    parts = _last(ws, config, limit, end)
    if not parts:
        return pa.table({})
    rows = _joined(config, parts, limit)
    return rows.filter(pc.is_valid(rows["version"]))


def _last(ws: Workspace, config: ModelConfig, limit: int, end: datetime | None) -> list[pa.Table]:
    """Return tables that hold the last ``limit`` rows before ``end``, and perhaps earlier ones; empty without rows."""
    predictions = ws.predictions(config)
    times = predictions.times()
    if times is None:
        return []
    first, last = times
    until, span = end or last + timedelta(microseconds=1), timedelta(seconds=1)
    # The log has no query for the last n rows; doubling the interval reads little more than is needed.
    while span < until - first and predictions.count(until - span, until) < limit:
        span = min(2 * span, until - first)
    return predictions.read(until - span, until)


def _joined(config: ModelConfig, parts: Sequence[pa.Table], limit: int) -> pa.Table:
    import pyarrow as pa

    rows = pa.concat_tables([_as_configured(part, config) for part in parts]).sort_by("time")
    return rows.slice(max(0, rows.num_rows - limit))


def _as_configured(rows: pa.Table, config: ModelConfig) -> pa.Table:
    """Return the rows with the features in their configured types and numbers as predictions.

    A feature that no row has is a column of nulls, and a prediction that is no number is null.
    """
    import pyarrow as pa

    columns = {
        name: to_kind(take(rows, name), kind).values if name in rows.column_names else empty(kind, rows.num_rows)
        for name, kind in config.features.items()
    }
    # One value that is no number makes its part's column text, which no other part can be joined to.
    logged = {name: rows[name] for name in LOGGED} | {"prediction": to_kind(take(rows, "prediction"), "numeric").values}
    return pa.table({**logged, **columns})
