"""Connect to MLflow: its client, its errors translated, and the description of a version.

Importing MLflow takes four seconds, so the functions that need it import it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from keel.errors import ConfigError, RegistryRefused, RegistryUnavailable, UnknownVersion, without_credentials

PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
"""MLflow's defaults wait over two minutes for a missing server. Airflow retries the task anyway."""

STATUS_TAG = "keel.status"
"""The tag of a version with its status."""
REGISTRY_VARIABLE = "MLFLOW_REGISTRY_URI"
"""The variable by which MLflow keeps versions elsewhere than runs, whatever URI a client is made with."""
GONE = 404
"""HTTP status of an artifact that does not exist."""


@contextmanager
def versions_beside_runs(uri: str) -> Iterator[None]:
    """Let MLflow keep versions at this URI too, whatever ``MLFLOW_REGISTRY_URI`` says.

    An argument of the client would not be enough: MLflow reads the files of a version by its global.
    """
    import mlflow

    before = os.environ.get(REGISTRY_VARIABLE)
    mlflow.set_registry_uri(uri)  # which sets the variable too
    try:
        yield
    finally:
        mlflow.set_registry_uri(None)
        os.environ.pop(REGISTRY_VARIABLE, None)
        if before is not None:
            os.environ[REGISTRY_VARIABLE] = before


@dataclass(frozen=True)
class Tracking:
    """MLflow at one URI. MLflow stores the URI in a global, so one process uses one registry."""

    uri: str

    @property
    def client(self) -> Any:
        """An MLflow client; `ConfigError` for a URI that MLflow cannot use."""
        module = self.module
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import DatabaseError, OperationalError

        try:
            return module.MlflowClient(self.uri)
        except OperationalError:
            raise
        except (MlflowException, DatabaseError, ValueError) as error:
            reason = self._without_password(error).partition("\n")[0]
            raise ConfigError(
                f"MLFLOW_TRACKING_URI: MLflow cannot use {without_credentials(self.uri)}: {reason}"
            ) from None

    @property
    def module(self) -> Any:
        """The mlflow module, whose functions use this URI from now on."""
        for name, value in PATIENCE.items():
            os.environ.setdefault(name, value)
        import mlflow

        mlflow.set_tracking_uri(self.uri)
        return mlflow

    @contextmanager
    def reachable(self) -> Iterator[None]:
        """Translate every error of MLflow's inside the with block into one of Keel's.

        Raises
        ------
        RegistryUnavailable
            MLflow does not answer, or a file cannot be read or written.
        UnknownVersion
            What was asked for does not exist, such as a version or file that another process has just deleted.
        RegistryRefused
            Any other refusal.

        """
        import requests
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import OperationalError

        try:
            yield
        except requests.HTTPError as error:
            is_gone = error.response is not None and error.response.status_code == GONE
            raise (self._gone(error) if is_gone else self._unavailable(error)) from None
        except FileNotFoundError as error:
            raise self._gone(error) from None
        except (OperationalError, OSError) as error:  # also of the requests library
            raise self._unavailable(error) from None
        except MlflowException as error:
            if error.error_code in {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE"}:
                raise self._unavailable(error) from None
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                raise self._gone(error) from None
            said = self._without_password(error)
            raise RegistryRefused(f"MLflow at {without_credentials(self.uri)} refused: {said}") from None

    def _gone(self, error: Exception) -> UnknownVersion:
        shown = without_credentials(self.uri)
        return UnknownVersion(
            f"MLflow at {shown} does not have it, or not any more: {self._without_password(error)}; another process "
            "may have deleted it; to list the versions: keel versions list, with the model's name"
        )

    def _unavailable(self, error: Exception) -> RegistryUnavailable:
        shown = without_credentials(self.uri)
        return RegistryUnavailable(f"MLflow at {shown} does not answer: {self._without_password(error)}")

    def _without_password(self, error: Exception) -> str:
        """Return the text of an error of MLflow's, which repeats the whole URI."""
        return str(error).replace(self.uri.rstrip("/"), without_credentials(self.uri).rstrip("/"))


@dataclass(frozen=True)
class VersionInfo:
    """A registered version, as MLflow describes it."""

    model: str
    version: int
    run_id: str
    tags: Mapping[str, str] = field(default_factory=dict, compare=False)
    created_at: datetime | None = field(default=None, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {"model": self.model, "version": self.version, "run_id": self.run_id, "tags": dict(self.tags)}


def replacement(model: str) -> str:
    """Return how to replace a production version that cannot be loaded, where no rollback is possible.

    The comparison of a retrained version with such a champion is inconclusive, so a retrain alone keeps the champion.
    """
    return (
        f"train another (airflow dags trigger {model}.retrain), and put it into production without a comparison: start "
        f"{model}.promote with its version, force and a reason"
    )


def means_missing(error: Any) -> bool:
    """Return whether an error of MLflow means that something does not exist.

    A missing alias raises INVALID_PARAMETER_VALUE, a missing version or model RESOURCE_DOES_NOT_EXIST.
    """
    return error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}


def info_of(found: Any) -> VersionInfo:
    """Return the description of an MLflow model version."""
    created = datetime.fromtimestamp(found.creation_timestamp / 1000, UTC)
    return VersionInfo(found.name, int(found.version), found.run_id, dict(found.tags), created)
