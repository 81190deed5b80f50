"""Predictions and labels in a real store, for the monitors of the mean loss."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from keel.monitoring.live.groups import Advance, Feed, MonitorGroup
from tests.support.store_fixtures import MICROSECONDS

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.store import Store

START = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
REFERENCE = {"metrics": {"accuracy": {"value": 0.9, "standard_error": 0.003, "n": 10_000}}}


class LossWorld:
    """Predictions a minute apart from `START`, all with a score of .2 and a decision of 0. A label of 1 is an error."""

    def __init__(self, store: Store, config: ModelConfig) -> None:
        self.config = config
        self.log = store.predictions(config.model, {"x": "numeric"})

    def predict(self, numbers: Iterable[int], *, version: int = 1, score: float | None = 0.2) -> None:
        """Store predictions."""
        numbers = list(numbers)
        n = len(numbers)
        self.log.append(
            pa.table(
                {
                    "id": [f"p{i}" for i in numbers],
                    "time": pa.array([START + i * MINUTE for i in numbers], MICROSECONDS),
                    "version": pa.array([version] * n, pa.int64()),
                    "score": pa.array([score] * n, pa.float64()),
                    "prediction": np.zeros(n),
                }
            )
        )

    def label(self, errors: dict[int, bool]) -> None:
        """Store labels."""
        self.log.add_labels(
            pa.table(
                {
                    "id": [f"p{i}" for i in errors],
                    "label": [float(wrong) for wrong in errors.values()],
                    "observed_at": pa.array([START] * len(errors), MICROSECONDS),
                }
            )
        )

    def feed(
        self,
        minutes: int,
        *,
        excluded: tuple[tuple[datetime, datetime], ...] = (),
        blocks: Mapping[int, int] | None = None,
    ) -> Feed:
        """Return the feed of a pass at a time at which the latest row is that of ``minutes``.

        blocks: the last numbers of blocks that were read, by their end in minutes.
        """
        horizon = START + minutes * MINUTE
        read = blocks or {}
        ends = np.array([(START + end * MINUTE).replace(tzinfo=None) for end in read], "datetime64[us]")
        numbers = np.array([*read.values()], np.int64)
        return Feed(self.log, self.config, 1, horizon, horizon, self.log.last_arrival(), excluded, ends, numbers)


def advance_all(monitor: MonitorGroup, feed: Feed, *, blocks: int = 1_000) -> list[Advance]:
    """Advance until nothing more is waiting."""
    found = []
    while advance := monitor.advance(feed, blocks=blocks):
        found.append(advance)
        assert len(found) < 200
        if not advance.more:
            break
    return found
