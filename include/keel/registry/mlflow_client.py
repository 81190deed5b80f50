"""The connection to MLflow: its client, its errors in Keel's terms, and a version as it describes it.

MLflow costs four seconds to import, so it is imported inside the functions that need it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from keel.errors import RegistryUnavailable, without_credentials

PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
"""MLflow's own default waits over two minutes for a server that is not there; Airflow retries the task anyway."""


@dataclass(frozen=True)
class Tracking:
    """MLflow at one URI, which it keeps in a global: one process talks to one registry."""

    uri: str

    @property
    def client(self) -> Any:
        """An MLflow client."""
        return self.module.MlflowClient(self.uri)

    @property
    def module(self) -> Any:
        """MLflow itself, whose functions go to this URI from now on."""
        for name, value in PATIENCE.items():
            os.environ.setdefault(name, value)
        import mlflow

        mlflow.set_tracking_uri(self.uri)
        return mlflow

    @contextmanager
    def reachable(self) -> Iterator[None]:
        """Turn 'MLflow does not answer' into `RegistryUnavailable`; other errors stay what they are."""
        import requests
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import OperationalError

        try:
            yield
        except (requests.ConnectionError, requests.Timeout, OperationalError) as error:
            raise self._unavailable(error) from None
        except MlflowException as error:
            if error.error_code in {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE"}:
                raise self._unavailable(error) from None
            raise

    def _unavailable(self, error: Exception) -> RegistryUnavailable:
        # MLflow's own messages and their causes repeat the whole URI, with its password.
        shown = without_credentials(self.uri)
        said = str(error).replace(self.uri.rstrip("/"), shown.rstrip("/"))
        return RegistryUnavailable(f"MLflow at {shown} does not answer: {said}")


@dataclass(frozen=True)
class VersionInfo:
    """One registered version, as the registry describes it."""

    model: str
    version: int
    run_id: str
    tags: Mapping[str, str] = field(default_factory=dict, compare=False)
    created_at: datetime | None = field(default=None, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {"model": self.model, "version": self.version, "run_id": self.run_id, "tags": dict(self.tags)}


def means_missing(error: Any) -> bool:
    """Whether MLflow says that something is not there.

    A missing alias answers INVALID_PARAMETER_VALUE, a missing version or model RESOURCE_DOES_NOT_EXIST.
    """
    return error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}


def info_of(found: Any) -> VersionInfo:
    """Return what an MLflow model version says."""
    created = datetime.fromtimestamp(found.creation_timestamp / 1000, UTC)
    return VersionInfo(found.name, int(found.version), found.run_id, dict(found.tags), created)
