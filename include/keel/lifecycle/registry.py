"""Versions of a model in MLflow: registering, resolving, loading, and the aliases others read.

Loading a model runs code whatever its format: the trust boundary is who may write to the registry.
MLflow costs four seconds to import, so it is imported inside the functions that need it.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keel.errors import RegistryUnavailable, UnknownVersion, suggestion
from keel.grid import ReferenceGrid
from keel.lifecycle.candidate import Candidate, log_estimator
from keel.lifecycle.scoring import ScoringModel, require_features

if TYPE_CHECKING:
    from keel.config import ModelConfig

ALIASES = ("production", "staging", "previous")
VERSIONS_IN_MEMORY = 8
"""How many versions' grids and references a process keeps: two per model that it works on, with room."""
REGISTRY_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
"""MLflow's own default waits over two minutes for a server that is not there; Airflow retries the task anyway."""


@dataclass(frozen=True)
class VersionInfo:
    """One registered version, as the registry describes it."""

    model: str
    version: int
    run_id: str
    tags: Mapping[str, str] = field(default_factory=dict, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {"model": self.model, "version": self.version, "run_id": self.run_id, "tags": dict(self.tags)}


class Registry:
    """The model registry at one tracking URI.

    MLflow keeps the tracking URI in a global; one process talks to one registry.
    """

    def __init__(self, tracking_uri: str, *, artifacts: Path | None = None) -> None:
        self.tracking_uri = tracking_uri
        self._artifacts = artifacts

    @property
    def client(self) -> Any:
        """An MLflow client for this registry."""
        for name, value in REGISTRY_PATIENCE.items():
            os.environ.setdefault(name, value)
        import mlflow

        mlflow.set_tracking_uri(self.tracking_uri)
        return mlflow.MlflowClient(self.tracking_uri)

    def versions(self, model: str) -> list[VersionInfo]:
        """Return all versions, oldest first; empty for a model the registry does not know."""
        with self._reachable():
            found = self.client.search_model_versions(f"name = '{model}'")
        return sorted((_info(v) for v in found), key=lambda v: v.version)

    def resolve(self, model: str, *, version: int | str | None = None, alias: str | None = None) -> VersionInfo:
        """Return an explicit version, else the one an alias points to.

        Raises
        ------
        UnknownVersion
            Listing the versions and aliases that do exist.

        """
        from mlflow.exceptions import MlflowException

        with self._reachable():
            try:
                if version is not None:
                    return _info(self.client.get_model_version(model, str(version)))
                return _info(self.client.get_model_version_by_alias(model, alias or "production"))
            except MlflowException as error:
                if not _means_missing(error):
                    raise
        raise UnknownVersion(self._explain_missing(model, version, alias or "production"))

    def aliases(self, model: str) -> dict[str, int]:
        """Return alias → version; empty for an unknown model."""
        from mlflow.exceptions import MlflowException

        with self._reachable():
            try:
                found = self.client.get_registered_model(model).aliases
            except MlflowException as error:
                if not _means_missing(error):
                    raise
                return {}
        return {name: int(version) for name, version in found.items()}

    def set_aliases(self, model: str, wanted: Mapping[str, int | None]) -> list[str]:
        """Make the aliases say what ``wanted`` says (None: no such alias); return those that had to change."""
        present = self.aliases(model)
        changed = [alias for alias, version in wanted.items() if present.get(alias) != version]
        with self._reachable():
            for alias in changed:
                version = wanted[alias]
                if version is None:
                    self.client.delete_registered_model_alias(model, alias)
                else:
                    _set_alias(self.client, model, alias, version)
        return changed

    def set_tags(self, model: str, version: int, tags: Mapping[str, str]) -> None:
        """Set tags of a version."""
        with self._reachable():
            for name, value in tags.items():
                self.client.set_model_version_tag(model, str(version), name, value)

    def set_statuses(self, model: str, *, production: int, previous: int | None) -> None:
        """Tag which version is in production and which was before it; one that was so earlier is archived."""
        current = {production: "production"} | ({previous: "previous"} if previous is not None else {})
        earlier = [v.version for v in self.versions(model) if v.tags.get("keel.status") in current.values()]
        for version, status in {**dict.fromkeys(earlier, "archived"), **current}.items():
            self.set_tags(model, version, {"keel.status": status})

    def find(self, model: str, tags: Mapping[str, str]) -> VersionInfo | None:
        """Return the newest version that has all these tags."""
        return next((v for v in reversed(self.versions(model)) if tags.items() <= v.tags.items()), None)

    def register(self, config: ModelConfig, candidate: Candidate, *, run_name: str) -> VersionInfo:
        """Log an estimator with its grid and reference, and register it as a new version with its tags."""
        import mlflow

        with self._reachable():
            client = self.client
            experiment = self._experiment(client, config.model)
            with mlflow.start_run(experiment_id=experiment, run_name=run_name) as run:
                mlflow.log_metrics(dict(candidate.metrics))
                mlflow.set_tags(dict(candidate.tags))
                with tempfile.TemporaryDirectory() as folder:
                    candidate.grid.save(Path(folder) / "grid.npz")
                    Path(folder, "reference.json").write_text(json.dumps(candidate.reference, indent=1))
                    mlflow.log_artifacts(folder, "keel")
                logged = log_estimator(config, candidate)
            _ensure_registered_model(client, config)
            created = client.create_model_version(
                config.model, logged.model_uri, run.info.run_id, tags=dict(candidate.tags), model_id=logged.model_id
            )
        return _info(created)

    def load(self, config: ModelConfig, version: int) -> ScoringModel:
        """Load a version for scoring.

        Raises
        ------
        UnknownVersion
            There is no such version.
        ConfigError
            It needs a feature that the configuration does not have (any more).

        """
        import mlflow

        self.resolve(config.model, version=version)
        threshold = self.reference(config.model, version).get("threshold")
        with self._reachable():
            pyfunc = mlflow.pyfunc.load_model(f"models:/{config.model}/{version}")
        require_features(config, version, pyfunc.metadata.get_input_schema().input_names())
        return ScoringModel(config, version, pyfunc, threshold)

    def grid(self, model: str, version: int) -> ReferenceGrid:
        """Return the reference grid of a version."""
        return _grid(self.tracking_uri, self.resolve(model, version=version))

    def reference(self, model: str, version: int) -> dict[str, Any]:
        """Return what a version is compared with: its holdout metrics, loss, threshold and windows."""
        loaded: dict[str, Any] = json.loads(_reference(self.tracking_uri, self.resolve(model, version=version)))
        return loaded

    def log_report(self, run_id: str, name: str, report: Mapping[str, Any]) -> None:
        """Keep a report as a JSON artifact of a run."""
        with self._reachable():
            self.client.log_dict(run_id, dict(report), f"keel/{name}.json")

    def download(self, version: VersionInfo, path: str) -> bytes:
        """Return the content of an artifact of a version's run; `UnknownVersion` where Keel has not put it there."""
        with self._reachable(), tempfile.TemporaryDirectory() as folder:
            client = self.client
            parent = path.rpartition("/")[0]
            kept = {file.path for file in client.list_artifacts(version.run_id, parent)} if version.run_id else set()
            if path in kept:
                return Path(client.download_artifacts(version.run_id, path, folder)).read_bytes()
        raise UnknownVersion(
            f"version {version.version} of {version.model} was not registered by Keel: its run has no {path}; "
            f"train one: airflow dags trigger {version.model}.retrain"
        )

    def _experiment(self, client: Any, model: str) -> str:
        name = f"keel/{model}"
        found = client.get_experiment_by_name(name)
        if found:
            return str(found.experiment_id)
        location = self._artifacts.resolve().as_uri() if self._artifacts else None
        return str(client.create_experiment(name, artifact_location=location and f"{location}/{model}"))

    def _explain_missing(self, model: str, version: int | str | None, alias: str) -> str:
        existing = self.versions(model)
        if not existing:
            return f"{model} has no versions in the registry yet"
        aliases = self.aliases(model)
        named = ", ".join(f"{name} → {number}" for name, number in sorted(aliases.items())) or "none"
        asked = f"version {version}" if version is not None else f"alias {alias!r}{suggestion(alias, aliases)}"
        return f"{model} has no {asked}; versions: {', '.join(str(v.version) for v in existing)}; aliases: {named}"

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        """Turn 'the registry does not answer' into `RegistryUnavailable`; other errors stay what they are."""
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
        shown = _redacted(self.tracking_uri)
        said = str(error).replace(self.tracking_uri.rstrip("/"), shown.rstrip("/"))
        return RegistryUnavailable(f"MLflow at {shown} does not answer: {said}")


@lru_cache(maxsize=VERSIONS_IN_MEMORY)
def _grid(tracking_uri: str, version: VersionInfo) -> ReferenceGrid:
    """What a run has kept never changes; the version with its run is looked up each time, so one that is gone is."""
    return ReferenceGrid.from_bytes(Registry(tracking_uri).download(version, "keel/grid.npz"))


@lru_cache(maxsize=VERSIONS_IN_MEMORY)
def _reference(tracking_uri: str, version: VersionInfo) -> bytes:
    return Registry(tracking_uri).download(version, "keel/reference.json")


def _ensure_registered_model(client: Any, config: ModelConfig) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(config.model, description=config.description or None)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _set_alias(client: Any, model: str, alias: str, version: int) -> None:
    """The first insert of an alias can race inside MLflow and fail with an integrity error: once more settles it."""
    from mlflow.exceptions import MlflowException

    try:
        client.set_registered_model_alias(model, alias, str(version))
    except MlflowException as error:
        if "IntegrityError" not in str(error):
            raise
        client.set_registered_model_alias(model, alias, str(version))


def _means_missing(error: Any) -> bool:
    # A missing alias answers INVALID_PARAMETER_VALUE, a missing version or model RESOURCE_DOES_NOT_EXIST.
    return error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}


def _info(found: Any) -> VersionInfo:
    return VersionInfo(found.name, int(found.version), found.run_id, dict(found.tags))


def _redacted(uri: str) -> str:
    """Drop user and password from a URI."""
    scheme, separator, rest = uri.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"
