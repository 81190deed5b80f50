"""Where the loop's steps get rows and counts from: the prediction log and the hourly counts of one model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from keel.checks.quality import QualityStatus, check_quality
from keel.counts import Counts
from keel.engines.local import count_hours
from keel.errors import ConfigError
from keel.lifecycle.registry import require_features
from keel.lifecycle.training import Split, TrainingRows
from keel.measures.losses import Scored
from keel.memory import times_of
from keel.window import DAY, HOUR, Window, parse_time

if TYPE_CHECKING:
    import pyarrow as pa

    from keel.config import ModelConfig
    from keel.grid import ReferenceGrid
    from keel.store.predictions import PredictionLog
    from keel.workspace import Workspace


def prediction_log(ws: Workspace, config: ModelConfig) -> PredictionLog:
    """Return the model's prediction log; `ConfigError` for predictions that lie elsewhere, which cannot be read yet."""
    if config.predictions.source != "keel":
        raise ConfigError(
            f"{config.model}: predictions.source: {config.predictions.source!r} cannot be read yet; "
            "write predictions into Keel's own log and use 'keel'"
        )
    return ws.store.predictions(config.model, dict(config.features))


BRIDGE = timedelta(hours=12)
"""Longer than a quiet night; shorter than what one stray row on Monday and a break on Friday would set aside."""


@dataclass(frozen=True)
class Counted:
    """How much of a version was counted anew."""

    hours: int
    rows: int


def count_dirty(ws: Workspace, config: ModelConfig, version: int, dirty: Mapping[datetime, int]) -> Counted:
    """Count the hours of one version that have rows not yet counted: hour → the revision it is counted as of.

    `ConfigError` where the version knows a feature that the configuration does not.
    """
    predictions = prediction_log(ws, config)
    grid = ws.registry.grid(config.model, version)
    require_features(config, version, grid.features)
    rows = 0
    for start, end in stretches(dirty):
        hourly = count_hours(grid, predictions.read(start, end, version))
        new = {hour: counts for hour, counts in hourly.items() if hour in dirty}
        payloads = [(hour, counts.n, counts.to_bytes(), dirty[hour]) for hour, counts in new.items()]
        ws.store.counts.put_hours(config.model, version, grid.grid_id, payloads)
        predictions.clean_hours(version, [(hour, dirty[hour]) for hour in new])
        rows += sum(counts.n for counts in new.values())
    return Counted(len(dirty), rows)


def stretches(hours: Iterable[datetime]) -> list[tuple[datetime, datetime]]:
    """Return the spans [start, end) that these full hours make up, in order, none longer than a day.

    One span is one query and one table in memory, and it holds no hour that was not asked for.
    """
    spans: list[tuple[datetime, datetime]] = []
    for hour in sorted(hours):
        if spans and spans[-1][1] == hour and hour - spans[-1][0] < DAY:
            spans[-1] = (spans[-1][0], hour + HOUR)
        else:
            spans.append((hour, hour + HOUR))
    return spans


def window_counts(ws: Workspace, config: ModelConfig, version: int, grid: ReferenceGrid, window: Window) -> Counts:
    """Add up a window from its hourly counts."""
    hourly = ws.store.counts.get(config.model, version, grid.grid_id, window.start, window.end)
    return sum((Counts.from_bytes(payload) for _, payload in hourly), Counts.zero(grid))


def broken_stretches(ws: Workspace, config: ModelConfig, version: int, window: Window) -> list[Window]:
    """Return the stretches of hours that are broken on their own counts; the whole window where no hour is.

    Hours less than `BRIDGE` apart are one stretch: between them, as at night, there may be too few rows to tell.
    """
    grid = ws.registry.grid(config.model, version)
    broken: list[Window] = []
    for hour, payload in ws.store.counts.get(config.model, version, grid.grid_id, window.start, window.end):
        if check_quality(grid, Counts.from_bytes(payload), config=config.drift).status is not QualityStatus.BROKEN:
            continue
        if broken and hour - broken[-1].end < BRIDGE:
            broken[-1] = Window(broken[-1].start, hour + HOUR)
        else:
            broken.append(Window(hour, hour + HOUR))
    return broken or [window]


def training_rows(ws: Workspace, config: ModelConfig, window: Window) -> TrainingRows:
    """Read the labelled rows on both sides of the cut, without what is in quarantine."""
    split = Split.ending(window.end, config)
    predictions = prediction_log(ws, config)
    training = predictions.labelled(split.start, split.cut)
    return TrainingRows(split, training, predictions.labelled(split.cut, split.end))


def score_version(ws: Workspace, config: ModelConfig, version: int, rows: pa.Table) -> Scored:
    """Score labelled rows with a registered version."""
    score, prediction = ws.registry.load(config, version).score(rows)
    return Scored(rows["label"].to_numpy(), score, prediction)


def unseen_holdout(
    ws: Workspace, config: ModelConfig, holdout: Mapping[str, Any], champion: int
) -> tuple[pa.Table, dict[str, str]]:
    """Return the holdout rows later than all training data of both versions."""
    start, end = times_of(holdout)
    learned_until = parse_time(ws.registry.reference(config.model, champion)["training"]["end"])
    since = max(start, learned_until) if learned_until else start
    rows = prediction_log(ws, config).labelled(min(since, end), end)
    return rows, {"start": since.isoformat(), "end": end.isoformat()}


def scored(rows: pa.Table) -> Scored:
    """Return labelled predictions as the arrays that metrics take."""
    return Scored(*(rows[name].to_numpy(zero_copy_only=False) for name in ("label", "score", "prediction")))
