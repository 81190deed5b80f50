"""Traffic that arrives now, for the live monitors of real processes: a trained version answers rows, many a second."""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa

from keel import rollout
from keel.cli.standalone.replay import replay
from tests.support.airflow.tide import challenge, happen, tide_config

if TYPE_CHECKING:
    from collections.abc import Callable

    from keel.config import ModelConfig
    from keel.workspace import Workspace

HISTORY = timedelta(days=4)


def launch_now(ws: Workspace) -> None:
    """Train the first version of ``tide`` on the four days up to this hour, and promote it."""
    start, end = last_hour() - HISTORY, last_hour()
    launch(ws, tide_config(), happen(start, end), start=start, end=end)


def last_hour() -> datetime:
    """Return a full hour that is far enough back for a check to look at."""
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)


def launch(ws: Workspace, config: ModelConfig, rows: pa.Table, *, start: datetime, end: datetime) -> None:
    """Train the first version of a model on labelled rows of [start, end), and promote it."""
    replay(ws, config, rows, start=start, end=end)
    replay(ws, config, rows, start=end, end=end + config.target.label_delay)
    by = {"actor": "test", "run_id": "launch"}
    rollout.promote(ws, config, challenge(ws, config, end, **by).report_id, **by)


@dataclass
class Tides:
    """The features of ``tide``. shift: added to the wind, and may be changed at any time."""

    shift: float = 0.0
    _numbers: Any = field(default_factory=itertools.count)

    def __call__(self, n: int) -> pa.Table:
        random = np.random.default_rng([7, next(self._numbers)])
        wind, harbour = random.normal(size=n) + self.shift, random.choice(["north", "south", "west"], size=n)
        return pa.table({"level": random.normal(size=n), "wind": wind, "harbour": harbour})


@dataclass
class Traffic:
    """Sends ``rows`` predictions of version 1 every ``seconds`` in a thread, for as long as a ``with`` block lasts.

    features: returns the features of that many rows.
    """

    ws: Workspace
    config: ModelConfig
    features: Callable[[int], pa.Table]
    rows: int = 40
    seconds: float = 0.2
    sent: int = 0
    _ended: threading.Event = field(default_factory=threading.Event)
    _failed: BaseException | None = None

    def __enter__(self) -> Self:
        self._model = self.ws.registry.load(self.config, 1)
        self._thread = threading.Thread(target=self._flow)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        if self._failed is not None:
            raise self._failed

    def send(self) -> None:
        """Store one batch of predictions, dated now."""
        rows, now = self.features(self.rows), datetime.now(UTC)
        n = rows.num_rows
        score, prediction = self._model.score(rows)
        scored = {
            "id": [f"{now.isoformat()}-{i}" for i in range(n)],
            "time": pa.array([now - timedelta(microseconds=n - i) for i in range(n)], pa.timestamp("us", "UTC")),
            "version": pa.array([1] * n, pa.int64()),
            "score": pa.array(score, from_pandas=True),
            "prediction": pa.array(prediction, from_pandas=True),
        }
        for name, column in scored.items():
            rows = rows.append_column(name, pa.array(column) if isinstance(column, list) else column)
        self.sent += self.ws.predictions(self.config).append(rows).stored

    def _flow(self) -> None:
        try:
            while not self._ended.wait(self.seconds):
                self.send()
        except BaseException as error:
            self._failed = error
