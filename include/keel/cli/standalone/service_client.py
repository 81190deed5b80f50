"""Replay a model's labelled history through the scoring service: rows as requests, labels as feedback."""

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
"""Rows of a request: about 1 MB, which delays other callers only briefly."""
PATIENCE_SECONDS = 180.0
"""Time that the service has to answer, to load a version, or to deliver its records to the store."""
_AGAIN = frozenset({429, 502, 503, 504})
"""Statuses after which a request is sent again. Its ids are fixed, so that every row is stored once."""


class ServiceFailed(KeelError):
    """The scoring service rejected a request or did not reach an expected state in time."""

    exit_code = 3
    permanent = False


class ScoringService:
    """An HTTP client of one scoring service.

    Parameters
    ----------
    url : str
        Address of the service.
    key : str, optional
        API key, if the service requires one.
    patience : float
        Seconds, as `PATIENCE_SECONDS`.

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

    def predict(self, config: ModelConfig, rows: pa.Table) -> None:
        """Send rows for prediction, with their own ``id`` and ``time``."""
        for batch in _batches(rows):
            columns = batch.select([name for name in config.features if name in batch.column_names])
            values = (column.to_pylist() for column in columns.columns)
            body = {
                "dataframe_split": {"columns": columns.column_names, "data": list(zip(*values, strict=True))},
                "keel": {"ids": batch["id"].to_pylist(), "times": batch["time"].to_pylist()},
            }
            self._call("POST", f"/models/{config.model}/invocations", body)

    def submit(self, config: ModelConfig, labels: pa.Table) -> None:
        """Submit labels: a table with the columns ``id``, ``label``, ``observed_at``."""
        for batch in _batches(labels):
            self._call("POST", "/feedback", {"model": config.model, "labels": batch.to_pylist()})

    def performance(self, model: str, **query: str) -> list[dict[str, Any]]:
        """Return the performance of a model, as the service reports it."""
        found: list[dict[str, Any]] = self._call("GET", f"/models/{model}/performance", params=query)["performance"]
        return found

    def wait_for_version(self, model: str, version: int) -> None:
        """Wait until the service answers with this version; `ServiceFailed` after the patience."""
        self._wait(lambda state: state["models"].get(model, {}).get("production") == version, f"load version {version}")

    def wait_for_experiment(self, model: str, experiment_id: str) -> None:
        """Wait until the service splits requests by this experiment; `ServiceFailed` after the patience."""

        def splits(state: Any) -> bool:
            return bool(state["models"].get(model, {}).get("experiment") == experiment_id)

        self._wait(splits, f"start {experiment_id}")

    def wait_until_stored(self) -> None:
        """Wait until all answers and labels are in the store; `ServiceFailed` after the patience."""
        self._wait(lambda state: state["spool"]["records"] == 0, "deliver its records to the store")

    def _wait(self, done: Callable[[Any], bool], what: str) -> None:
        deadline = time.monotonic() + self._patience
        while not done(state := self._call("GET", "/version")):
            if time.monotonic() > deadline:
                raise ServiceFailed(f"{self.url} did not {what} within {self._patience:.0f} s: {state}")
            time.sleep(0.1)

    def _call(self, method: str, path: str, body: Any = None, *, params: dict[str, str] | None = None) -> Any:
        """Return the decoded response; repeat the request while the service is unreachable or overloaded."""
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
    """Send the rows and labels of [start, end) to the service, wait until they are stored, and count them.

    Without a production version the service cannot answer, and the rows are stored as history.
    """
    version = deployments.read(ws.store, config.model).production
    if version is None:
        return replay(ws, config, rows, start=start, end=end)
    part, labels = between(rows, start, end), labels_between(config, rows, start, end)
    service.wait_for_version(config.model, version)
    service.predict(config, part)
    service.submit(config, labels)
    service.wait_until_stored()
    return Replayed(version, part.num_rows, labels.num_rows)


def _batches(rows: pa.Table) -> Iterator[pa.Table]:
    for start in range(0, rows.num_rows, BATCH):
        yield rows.slice(start, BATCH)
