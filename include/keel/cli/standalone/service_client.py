"""The same past through the scoring service, as its clients would send it: rows to be answered, labels as feedback."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import httpx
import msgspec

from keel import deployments
from keel.cli.standalone.replay import Replayed, between, labels_between, replay
from keel.errors import KeelError

if TYPE_CHECKING:
    import pyarrow as pa

    from keel.config import ModelConfig
    from keel.workspace import Workspace

BATCH = 5_000
"""Rows of a request: about 1 MB, and as many as do not make a live caller wait for long."""
PATIENCE_SECONDS = 180.0
"""How long a service may take to answer at all, to load a version, or to bring what it has answered to the store."""
_AGAIN = frozenset({429, 502, 503, 504})
"""Statuses that say: not now. The ids are ours, so that what is sent again is there once."""


class ServiceFailed(KeelError):
    """The scoring service refused a request, or did not do in time what was waited for."""

    exit_code = 3
    permanent = False


class ScoringService:
    """A client of one scoring service, over HTTP and nothing else.

    url: where it listens. key: an API key, where it asks for one. patience: seconds, as `PATIENCE_SECONDS`.
    """

    def __init__(self, url: str, *, key: str | None = None, patience: float = PATIENCE_SECONDS) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.url = url
        self._client = httpx.Client(base_url=url, headers=headers, timeout=patience, trust_env=False)
        self._patience = patience

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def ask(self, config: ModelConfig, rows: pa.Table) -> None:
        """Have rows answered, under their own ``id`` and ``time``."""
        for batch in _batches(rows):
            columns = batch.select([name for name in config.features if name in batch.column_names])
            values = (column.to_pylist() for column in columns.columns)
            body = {
                "dataframe_split": {"columns": columns.column_names, "data": list(zip(*values, strict=True))},
                "keel": {"ids": batch["id"].to_pylist(), "times": batch["time"].to_pylist()},
            }
            self._call("POST", f"/models/{config.model}/invocations", body)

    def hand_in(self, config: ModelConfig, labels: pa.Table) -> None:
        """Hand in labels: ``id``, ``label``, ``observed_at``."""
        for batch in _batches(labels):
            self._call("POST", "/feedback", {"model": config.model, "labels": batch.to_pylist()})

    def performance(self, model: str, **asked: str) -> list[dict[str, Any]]:
        """Return the realised performance of a model as the service tells it."""
        found: list[dict[str, Any]] = self._call("GET", f"/models/{model}/performance", params=asked)["performance"]
        return found

    def wait_for_version(self, model: str, version: int) -> None:
        """Return when the service answers with this version; raises ServiceFailed if it does not get there."""
        self._wait(lambda state: state["models"].get(model, {}).get("production") == version, f"load version {version}")

    def wait_for_experiment(self, model: str, experiment_id: str) -> None:
        """Return when the service splits the requests of a model by this experiment; raises ServiceFailed."""

        def splits(state: Any) -> bool:
            return bool(state["models"].get(model, {}).get("experiment") == experiment_id)

        self._wait(splits, f"begin {experiment_id}")

    def wait_until_stored(self) -> None:
        """Return when everything answered and taken is in the store; raises ServiceFailed if it does not get there."""
        self._wait(lambda state: state["spool"]["records"] == 0, "bring what it has answered to the store")

    def _wait(self, done: Callable[[Any], bool], what: str) -> None:
        deadline = time.monotonic() + self._patience
        while not done(state := self._call("GET", "/version")):
            if time.monotonic() > deadline:
                raise ServiceFailed(f"{self.url} did not {what} within {self._patience:.0f} s: {state}")
            time.sleep(0.1)

    def _call(self, method: str, path: str, body: Any = None, *, params: dict[str, str] | None = None) -> Any:
        """Return what is answered; ask again while the service is away or says that it cannot now."""
        content = None if body is None else msgspec.json.encode(body)  # NaN becomes null
        headers = {} if body is None else {"Content-Type": "application/json"}
        deadline = time.monotonic() + self._patience
        while True:
            try:
                answer = self._client.request(method, path, content=content, headers=headers, params=params)
            except httpx.TransportError as error:
                problem = f"{self.url} does not answer: {error or type(error).__name__}"
            else:
                if answer.is_success:
                    return msgspec.json.decode(answer.content)
                problem = f"{self.url}{path} answered {answer.status_code}: {answer.text[:500]}"
                if answer.status_code not in _AGAIN:
                    raise ServiceFailed(problem)
            if time.monotonic() > deadline:
                raise ServiceFailed(problem)
            time.sleep(0.5)


def replay_through(
    service: ScoringService, ws: Workspace, config: ModelConfig, rows: pa.Table, *, start: datetime, end: datetime
) -> Replayed:
    """Do as `keel.cli.standalone.replay.replay`, with predictions and labels sent to the service; return when they
    are in the store.

    Counts what was sent. While there is no production version nobody can answer, and rows are written as history.
    """
    version = deployments.read(ws.store, config.model).production
    if version is None:
        return replay(ws, config, rows, start=start, end=end)
    asked, labels = between(rows, start, end), labels_between(config, rows, start, end)
    service.wait_for_version(config.model, version)
    service.ask(config, asked)
    service.hand_in(config, labels)
    service.wait_until_stored()
    return Replayed(version, asked.num_rows, labels.num_rows)


def _batches(rows: pa.Table) -> Iterator[pa.Table]:
    for start in range(0, rows.num_rows, BATCH):
        yield rows.slice(start, BATCH)
