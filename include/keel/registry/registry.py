"""Versions of a model in MLflow: registering, resolving, loading, and the aliases others read.

Loading a model runs code whatever its format. What is loaded is what was registered and nothing else; the trust
boundary is who may register.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keel.errors import UnknownVersion, suggestion
from keel.registry.artifacts import Artifacts, Pins
from keel.registry.candidate import Candidate, log_estimator
from keel.registry.mlflow_client import Tracking, VersionInfo, info_of, means_missing
from keel.registry.scoring_model import (
    ScoringModel,
    inputs_of,
    loaded,
    require_inputs,
    require_scores,
    require_sent,
    require_signature,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from keel.config import ModelConfig
    from keel.grid.reference import ReferenceGrid

__all__ = ["Registry", "VersionInfo"]

KEY_TAG = "keel.training_key"
"""A tag that every version has that Keel has made, from the moment on at which it is there."""


class Registry:
    """The model registry at one tracking URI.

    MLflow keeps the tracking URI in a global; one process talks to one registry.

    pin: says what was registered as a version, or that nothing does (None); only what was registered is ever used, see
    `keel.registry.artifacts`. Without ``pin``, as in tools and tests, nothing is checked: whatever lies in the
    artifact store is used. `keel.workspace.Workspace` opens a registry with the ledger's pins.
    """

    def __init__(self, tracking_uri: str, *, artifacts: Path | None = None, pin: Pins | None = None) -> None:
        self.tracking_uri = tracking_uri
        self._tracking = Tracking(tracking_uri)
        self._artifacts = artifacts
        self._kept = Artifacts(self._tracking, pin)

    @property
    def client(self) -> Any:
        """An MLflow client for this registry."""
        return self._tracking.client

    def reachable(self) -> AbstractContextManager[None]:
        """Turn what MLflow raises when it does not answer into `RegistryUnavailable`, inside a with block."""
        return self._tracking.reachable()

    def versions(self, model: str) -> list[VersionInfo]:
        """Return all versions, oldest first; empty for a model the registry does not know."""
        with self.reachable():
            found = self.client.search_model_versions(f"name = '{model}'")
        return sorted((info_of(v) for v in found), key=lambda v: v.version)

    def resolve(self, model: str, *, version: int | str | None = None, alias: str | None = None) -> VersionInfo:
        """Return an explicit version, else the one an alias points to.

        Raises
        ------
        UnknownVersion
            Listing the versions and aliases that do exist.

        """
        from mlflow.exceptions import MlflowException

        with self.reachable():
            try:
                if version is not None:
                    return info_of(self.client.get_model_version(model, str(version)))
                return info_of(self.client.get_model_version_by_alias(model, alias or "production"))
            except MlflowException as error:
                if not means_missing(error):
                    raise
        raise UnknownVersion(self._explain_missing(model, version, alias or "production"))

    def aliases(self, model: str) -> dict[str, int]:
        """Return alias → version; empty for an unknown model."""
        from mlflow.exceptions import MlflowException

        with self.reachable():
            try:
                found = self.client.get_registered_model(model).aliases
            except MlflowException as error:
                if not means_missing(error):
                    raise
                return {}
        return {name: int(version) for name, version in found.items()}

    def set_aliases(self, model: str, wanted: Mapping[str, int | None]) -> list[str]:
        """Make the aliases say what ``wanted`` says (None: no such alias); return those that had to change."""
        present = self.aliases(model)
        changed = [alias for alias, version in wanted.items() if present.get(alias) != version]
        with self.reachable():
            for alias in changed:
                version = wanted[alias]
                if version is None:
                    self.client.delete_registered_model_alias(model, alias)
                else:
                    _set_alias(self.client, model, alias, version)
        return changed

    def set_tags(self, model: str, version: int, tags: Mapping[str, str]) -> None:
        """Set tags of a version."""
        with self.reachable():
            for name, value in tags.items():
                self.client.set_model_version_tag(model, str(version), name, value)

    def find(self, model: str, tags: Mapping[str, str]) -> VersionInfo | None:
        """Return the newest version that has all these tags.

        Not one whose registration was cut short, nor one that is being deleted.
        """
        tagged = (v for v in reversed(self.versions(model)) if tags.items() <= v.tags.items())
        there = (v for v in tagged if v.tags.get("keel.status") != "deleted")
        return next((v for v in there if self._kept.pinned(model, v.version)), None)

    def unpinned(self, model: str) -> list[VersionInfo]:
        """Return the versions that Keel has made and of which nothing says what was registered, oldest first.

        Their registration was cut short, or is under way. What others have registered is not among them.
        """
        made = (v for v in self.versions(model) if KEY_TAG in v.tags)
        return [v for v in made if not self._kept.pinned(model, v.version)]

    def register(self, config: ModelConfig, candidate: Candidate, *, run_name: str) -> VersionInfo:
        """Log an estimator with its grid and reference, and register it as a new version with its tags."""
        import mlflow

        with self.reachable():
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
        return info_of(created)

    def digests(self, model: str, version: int) -> dict[str, str]:
        """Return SHA-256 by path of a version's files as MLflow gives them back now: what is pinned in the ledger.

        ``model/<path>`` for each file of its model, ``keel/grid.npz`` and ``keel/reference.json`` of its run.
        """
        return self._kept.digests(self.resolve(model, version=version))

    def delete(self, version: VersionInfo) -> None:
        """Delete a version with its files; `keel.deployments.version_retention` says which may be, and records it
        first.
        """
        self._kept.delete(version)

    def load(self, config: ModelConfig, version: int, *, anew: bool = False) -> ScoringModel:
        """Load a version for scoring; ``anew`` does not take one that is in memory.

        Raises
        ------
        UnknownVersion
            There is no such version.
        ArtifactChanged
            It is not what was registered.
        ConfigError
            It needs a feature that the configuration does not have (any more), or has as another kind.

        """
        found = self.resolve(config.model, version=version)
        threshold = self._kept.reference(found).get("threshold")
        pyfunc = self._kept.model(found, anew=anew)
        require_inputs(config, found.version, inputs_of(pyfunc))
        return ScoringModel(config, found.version, pyfunc, threshold)

    def fetch(self, model: str, version: int, folder: Path) -> Path:
        """Put a version's MLflow model into an empty folder, checked as for `load`, and return the folder."""
        self._kept.fetch(self.resolve(model, version=version), folder)
        return folder

    def grid(self, model: str, version: int) -> ReferenceGrid:
        """Return the reference grid of a version; `ArtifactChanged` where it is not what was registered."""
        return self._kept.grid(self.resolve(model, version=version))

    def reference(self, model: str, version: int) -> dict[str, Any]:
        """Return what a version is compared with: its holdout metrics, loss, threshold and windows.

        `ArtifactChanged` where it is not what was registered.
        """
        return self._kept.reference(self.resolve(model, version=version))

    def preflight(self, config: ModelConfig, version: int, rows: pa.Table) -> ScoringModel:
        """Load a version from the registry as for production, and have it score ``rows``, as far as there are any.

        rows: recent requests' features; a column that a version needs and no request has had would fail every request.

        Raises
        ------
        UnknownVersion, ArtifactChanged
            As for `load`.
        NotPromotable
            It cannot be loaded, does not fit the features in production, or cannot score them.

        """
        found = self.resolve(config.model, version=version)
        self._kept.require_unchanged(found)
        threshold = self._kept.reference(found).get("threshold")
        pyfunc = loaded(config, found.version, lambda: self._kept.model(found, anew=True))
        inputs = inputs_of(pyfunc)
        require_signature(config, found.version, inputs)
        require_sent(config, found.version, inputs, rows)
        model = ScoringModel(config, found.version, pyfunc, threshold)
        require_scores(model, rows)
        return model

    def log_report(self, run_id: str, name: str, report: Mapping[str, Any], *, page: str | None = None) -> None:
        """Keep a report as a JSON artifact of a run, and ``page``, the same for people, as Markdown beside it."""
        with self.reachable():
            client = self.client
            client.log_dict(run_id, dict(report), f"keel/{name}.json")
            if page is not None:
                client.log_text(run_id, page, f"keel/{name}.md")

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
