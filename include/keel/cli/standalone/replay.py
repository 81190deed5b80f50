"""Replay a model's labelled history into the store: predictions at their times, labels after their delay."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from keel import deployments
from keel.training.history import between, labelled_history

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.workspace import Workspace

__all__ = ["Replayed", "between", "labelled_history", "labels_between", "replay"]


@dataclass(frozen=True)
class Replayed:
    """Number of stored predictions and labels of a replay."""

    version: int | None
    """The version that predicted; None where the rows became history."""
    predictions: int
    labels: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return dict(self.__dict__)


def replay(ws: Workspace, config: ModelConfig, rows: pa.Table, *, start: datetime, end: datetime) -> Replayed:
    """Store the predictions of [start, end) and the labels observed in that time; repeating it changes nothing.

    A label is observed ``target.label_delay`` after its prediction, so the last labels belong to the next interval.
    """
    version = deployments.read(ws.store, config.model).production
    part = between(rows, start, end)
    part = _as_history(part) if version is None else _scored(ws, config, version, part)
    predictions = ws.predictions(config)
    stored = predictions.append(part.drop_columns(["label"])).stored if part.num_rows else 0
    labels = labels_between(config, rows, start, end)
    added = predictions.add_labels(labels).stored if labels.num_rows else 0
    return Replayed(version, stored, added)


def labels_between(config: ModelConfig, rows: pa.Table, start: datetime, end: datetime) -> pa.Table:
    """Return the labels observed in [start, end), with the columns ``id``, ``label``, ``observed_at``."""
    delay = config.target.label_delay
    matured = between(rows, start - delay, end - delay)
    known = matured.filter(pc.is_valid(matured["label"]))
    return pa.table({"id": known["id"], "label": known["label"], "observed_at": pc.add(known["time"], delay)})


def _as_history(rows: pa.Table) -> pa.Table:
    nothing = pa.nulls(rows.num_rows, pa.float64())
    return (
        rows.append_column("version", pa.nulls(rows.num_rows, pa.int64()))
        .append_column("score", nothing)
        .append_column("prediction", nothing)
    )


def _scored(ws: Workspace, config: ModelConfig, version: int, rows: pa.Table) -> pa.Table:
    if not rows.num_rows:
        return _as_history(rows)
    score, prediction = ws.registry.load(config, version).score(rows)
    return (
        rows.append_column("version", pa.array([version] * rows.num_rows, pa.int64()))
        .append_column("score", pa.array(score, from_pandas=True))
        .append_column("prediction", pa.array(prediction, from_pandas=True))
    )
