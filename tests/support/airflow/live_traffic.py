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
    from keel.workspace import Workspace

HISTORY = timedelta(days=4)


def launch_now(ws: Workspace) -> None:
    """Train the first version of ``tide`` on the four days up to this hour, and promote it."""
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    start, end = now - HISTORY - timedelta(hours=2), now - timedelta(hours=2)
    config = tide_config()
    rows = happen(start, end)
    replay(ws, config, rows, start=start, end=end)
    replay(ws, config, rows, start=end, end=end + config.target.label_delay)
    by = {"actor": "test", "run_id": "launch"}
    rollout.promote(ws, config, challenge(ws, config, end, **by).report_id, **by)


@dataclass
class Traffic:
    """Sends ``rows`` predictions every ``seconds`` in a thread, for as long as a ``with`` block lasts.

    shift: added to the wind, and may be changed at any time.
    """

    ws: Workspace
    rows: int = 40
    seconds: float = 0.2
    shift: float = 0.0
    sent: int = 0
    _numbers: Any = field(default_factory=itertools.count)
    _ended: threading.Event = field(default_factory=threading.Event)
    _failed: BaseException | None = None

    def __enter__(self) -> Self:
        self._model = self.ws.registry.load(tide_config(), 1)
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
        number, n = next(self._numbers), self.rows
        random, now = np.random.default_rng([7, number]), datetime.now(UTC)
        rows = pa.table(
            {
                "id": [f"{now.isoformat()}-{i}" for i in range(n)],
                "time": pa.array([now - timedelta(microseconds=n - i) for i in range(n)], pa.timestamp("us", "UTC")),
                "level": random.normal(size=n),
                "wind": random.normal(size=n) + self.shift,
                "harbour": random.choice(["north", "south", "west"], size=n),
            }
        )
        score, prediction = self._model.score(rows)
        scored = {
            "version": pa.array([1] * n, pa.int64()),
            "score": pa.array(score, from_pandas=True),
            "prediction": pa.array(prediction, from_pandas=True),
        }
        for name, column in scored.items():
            rows = rows.append_column(name, column)
        self.sent += self.ws.predictions(tide_config()).append(rows).stored

    def _flow(self) -> None:
        try:
            while not self._ended.wait(self.seconds):
                self.send()
        except BaseException as error:
            self._failed = error
