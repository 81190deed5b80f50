"""Versions of a model in MLflow: register, resolve and load them, and set the aliases that others read.

Loading a model runs code, whatever its format. Only registered artifacts are loaded: the trust boundary is the right to
register.
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
from keel.registry.mlflow_client import STATUS_TAG, Tracking, VersionInfo, info_of, means_missing
from keel.registry.report_files import ReportFiles
from keel.registry.scoring_model import (
    ScoringModel,
    inputs_of,
    loaded,
    require_inputs,
    require_scores,
    require_sent,
    require_signature,
    trained_spellings,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from keel.config import ModelConfig
    from keel.grid.contexts import ContextReference
    from keel.grid.reference import ReferenceGrid

__all__ = ["Registry", "VersionInfo"]

KEY_TAG = "keel.training_key"
"""A tag that every version of Keel has from its creation."""


class Registry:
    """The model registry at one tracking URI.

    MLflow stores the tracking URI in a global, so one process uses one registry.

    pin: returns the registered artifacts of a version, or None. Only those are used: see `keel.registry.artifacts`.
    Without ``pin``, as in tools and tests, nothing is checked. `keel.workspace.Workspace` opens a registry with the
    ledger's pins.
    pages: address of MLflow's pages for people; see `keel.registry.report_files`.
    """

    def __init__(
        self,
        tracking_uri: str,
        *,
        artifacts: Path | None = None,
        pin: Pins | None = None,
        pages: str | None = None,
    ) -> None:
        self.tracking_uri = tracking_uri
        self._tracking = Tracking(tracking_uri)
        self._artifacts = artifacts
        self._files = Artifacts(self._tracking, pin)
        self.reports = ReportFiles(self._tracking, self._experiment, pages=pages)

    @property
    def client(self) -> Any:
        """An MLflow client for this registry."""
        return self._tracking.client

    def reachable(self) -> AbstractContextManager[None]:
        """Translate MLflow's errors inside the with block. See `keel.registry.mlflow_client.Tracking.reachable`."""
        return self._tracking.reachable()

    def versions(self, model: str) -> list[VersionInfo]:
        """Return all versions, oldest first; empty for an unknown model."""
        with self.reachable():
            found = self.client.search_model_versions(f"name = '{model}'")
        return sorted((info_of(v) for v in found), key=lambda v: v.version)

    def resolve(self, model: str, *, version: int | str | None = None, alias: str | None = None) -> VersionInfo:
        """Return a version by its number, else by its alias.

        Raises
        ------
        UnknownVersion
            There is none. The message lists the versions and aliases.

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
        """Set aliases to versions, and delete those whose version is None. Returns the aliases that changed."""
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
        """Return the newest version that has all these tags, or None.

        Versions whose registration was interrupted, and versions that are being deleted, do not count.
        """
        tagged = (v for v in reversed(self.versions(model)) if tags.items() <= v.tags.items())
        there = (v for v in tagged if v.tags.get(STATUS_TAG) != "deleted")
        return next((v for v in there if self._files.pinned(model, v.version)), None)

    def unpinned(self, model: str) -> list[VersionInfo]:
        """Return Keel's versions whose artifacts are not in the ledger, oldest first.

        Their registration was interrupted, or is running. Versions that others registered are not included.
        """
        made = (v for v in self.versions(model) if KEY_TAG in v.tags)
        return [v for v in made if not self._files.pinned(model, v.version)]

    def register(self, config: ModelConfig, candidate: Candidate, *, run_name: str) -> VersionInfo:
        """Log an estimator with its grid and reference, and register it as a new version."""
        import mlflow

        with self.reachable():
            client = self.client
            experiment = self._experiment(client, config.model)
            with mlflow.start_run(experiment_id=experiment, run_name=run_name) as run:
                mlflow.log_metrics(dict(candidate.metrics))
                # the status is the version's, and changes; nothing would change it in the run
                mlflow.set_tags({name: value for name, value in candidate.tags.items() if name != STATUS_TAG})
                with tempfile.TemporaryDirectory() as folder:
                    candidate.grid.save(Path(folder) / "grid.npz")
                    if candidate.contexts is not None:
                        Path(folder, "contexts.npz").write_bytes(candidate.contexts.to_bytes())
                    Path(folder, "reference.json").write_text(json.dumps(candidate.reference, indent=1))
                    mlflow.log_artifacts(folder, "keel")
                logged = log_estimator(config, candidate)
            _ensure_registered_model(client, config)
            created = client.create_model_version(
                config.model, logged.model_uri, run.info.run_id, tags=dict(candidate.tags), model_id=logged.model_id
            )
        return info_of(created)

    def digests(self, model: str, version: int) -> dict[str, str]:
        """Return SHA-256 by path of a version's files as MLflow returns them now. The ledger records them.

        The paths are ``model/<path>`` for each file of its model, and those of `keel.registry.artifacts.RUN_FILES` that
        it has.
        """
        return self._files.digests(self.resolve(model, version=version))

    def delete(self, version: VersionInfo) -> None:
        """Delete a version with its files. `keel.deployments.version_retention` chooses and records it before."""
        self._files.delete(version)

    def load(self, config: ModelConfig, version: int, *, anew: bool = False) -> ScoringModel:
        """Load a version for scoring. With ``anew`` it is loaded even if it is in memory.

        Raises
        ------
        UnknownVersion
            There is no such version.
        ArtifactChanged
            Its artifacts differ from those registered.
        ConfigError
            It needs a feature that the configuration does not have, or has as another kind.

        """
        found = self.resolve(config.model, version=version)
        threshold = self._files.reference(found).get("threshold")
        pyfunc = self._files.model(found, anew=anew)
        require_inputs(config, found.version, inputs_of(pyfunc))
        spellings = trained_spellings(self._files.grid(found))
        return ScoringModel(config, found.version, pyfunc, threshold, spellings)

    def fetch(self, model: str, version: int, folder: Path) -> Path:
        """Fetch a version's MLflow model into an empty folder and check it as `load` does. Returns the folder."""
        self._files.fetch(self.resolve(model, version=version), folder)
        return folder

    def grid(self, model: str, version: int) -> ReferenceGrid:
        """Return the reference grid of a version; `ArtifactChanged` if it differs from the one registered."""
        return self._files.grid(self.resolve(model, version=version))

    def context_reference(self, model: str, version: int) -> ContextReference | None:
        """Return the reference of a version's live monitors; None for a version that was registered without one.

        `ArtifactChanged` if it differs from the one registered.
        """
        return self._files.contexts(self.resolve(model, version=version))

    def reference(self, model: str, version: int) -> dict[str, Any]:
        """Return the baseline of a version: its holdout metrics, loss, threshold and windows.

        `ArtifactChanged` if it differs from the one registered.
        """
        return self._files.reference(self.resolve(model, version=version))

    def preflight(self, config: ModelConfig, version: int, rows: pa.Table) -> ScoringModel:
        """Load a version as for production, and score ``rows`` with it, if there are any.

        rows: features of recent requests. If a version needs a column that no request had, every request would fail.

        Raises
        ------
        UnknownVersion, ArtifactChanged
            As for `load`.
        NotPromotable
            It cannot be loaded, does not fit the features in production, or cannot score the rows.

        """
        found = self.resolve(config.model, version=version)
        self._files.require_unchanged(found)
        threshold = self._files.reference(found).get("threshold")
        pyfunc = loaded(config, found.version, lambda: self._files.model(found, anew=True))
        inputs = inputs_of(pyfunc)
        require_signature(config, found.version, inputs)
        require_sent(config, found.version, inputs, rows)
        model = ScoringModel(config, found.version, pyfunc, threshold, trained_spellings(self._files.grid(found)))
        require_scores(model, rows)
        return model

    def log_report(
        self, run_id: str, name: str, report: Mapping[str, Any], pages: Mapping[str, str] | None = None
    ) -> None:
        """Log a report as a JSON artifact of a run, and the same as ``pages`` beside it: their texts by file suffix."""
        with self.reachable():
            client = self.client
            client.log_dict(run_id, dict(report), f"keel/{name}.json")
            for suffix, page in (pages or {}).items():
                client.log_text(run_id, page, f"keel/{name}.{suffix}")

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
    """Set an alias. Two first inserts can race inside MLflow; the one that fails is tried again."""
    from mlflow.exceptions import MlflowException

    try:
        client.set_registered_model_alias(model, alias, str(version))
    except MlflowException as error:
        if "IntegrityError" not in str(error):
            raise
        client.set_registered_model_alias(model, alias, str(version))
