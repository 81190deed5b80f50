"""Fetch the files of a version, check them against their registered checksums, and load exactly what was checked.

The files of a version are those of its model, named ``model/<path>``, and those of its run: ``keel/grid.npz``,
``keel/reference.json`` and, unless an earlier release made it, ``keel/contexts.npz``. They are fetched into a new
folder or into memory, and checked and loaded there. So no file can change in between, and later changes in the artifact
store do not affect what is in memory.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keel.errors import ArtifactChanged, UnknownVersion
from keel.grid.contexts import ContextReference
from keel.grid.reference import ReferenceGrid
from keel.registry.mlflow_client import Tracking, VersionInfo, means_missing, replacement
from keel.registry.pinned_code import own_code

if TYPE_CHECKING:
    from keel.registry.pin import Pin

log = logging.getLogger(__name__)

Pins = Callable[[str, int], "Pin | None"]
"""Returns the registered artifacts of a version of a model, or None."""
Files = tuple[tuple[str, str], ...] | None
"""The expected files as (path, SHA-256), in order of path. None where nothing is checked."""

GRID, REFERENCE, CONTEXTS, MODEL = "keel/grid.npz", "keel/reference.json", "keel/contexts.npz", "model/"
RUN_FILES = (GRID, REFERENCE, CONTEXTS)
"""The files of a version's run. Earlier releases made no `CONTEXTS`; only the live monitors read it."""
ADDED_BY_MLFLOW = "registered_model_meta"
"""A file with model and version that MLflow writes into every downloaded copy, over a file of that name."""
VERSIONS_IN_MEMORY = 8
"""Versions whose grid and reference a process keeps in memory: two per model, for several models."""
MODELS_IN_MEMORY = 4
"""Loaded models that a process keeps in memory: champion and challenger of two models."""


class Artifacts:
    """The files of versions in one MLflow.

    pins: returns the registered artifacts. None checks nothing.
    """

    def __init__(self, tracking: Tracking, pins: Pins | None) -> None:
        self.tracking, self._pins = tracking, pins

    def pinned(self, model: str, version: int) -> bool:
        """Return whether the artifacts of a version are registered; True where nothing is checked."""
        return self._pins is None or self._pins(model, version) is not None

    def digests(self, version: VersionInfo) -> dict[str, str]:
        """Return SHA-256 by path of the files that MLflow returns now."""
        found = self._model_digests(version)
        for path in RUN_FILES:
            try:
                found[path] = _sha256(_run_artifact(self.tracking, version, path))
            except UnknownVersion:
                if path != CONTEXTS:
                    raise
        return found

    def require_unchanged(self, version: VersionInfo) -> None:
        """Check every file in the artifact store now, whatever is in memory."""
        for path in RUN_FILES:
            if (expected := self._expected(version, path)) or path != CONTEXTS:
                _checked_file(self.tracking, version, path, expected)
        _check(version, self._model_digests(version), self._expected(version, MODEL))

    def grid(self, version: VersionInfo) -> ReferenceGrid:
        """Return the reference grid."""
        return _grid(self.tracking, version, self._expected(version, GRID))

    def contexts(self, version: VersionInfo) -> ContextReference | None:
        """Return the reference of the live monitors; None for a version that was registered without one.

        A file that somebody added since is not read.
        """
        expected = self._expected(version, CONTEXTS)
        if expected == ():
            return None
        try:
            return ContextReference.from_bytes(_checked_file(self.tracking, version, CONTEXTS, expected))
        except UnknownVersion:
            return None

    def reference(self, version: VersionInfo) -> dict[str, Any]:
        """Return the baseline of the version."""
        loaded: dict[str, Any] = json.loads(_reference(self.tracking, version, self._expected(version, REFERENCE)))
        return loaded

    def model(self, version: VersionInfo, *, anew: bool = False) -> Any:
        """Return the version as an MLflow pyfunc. With ``anew`` it is loaded even if it is in memory."""
        load = _model.__wrapped__ if anew else _model
        return load(self.tracking, version, self._expected(version, MODEL))

    def fetch(self, version: VersionInfo, folder: Path) -> None:
        """Fetch the version's MLflow model into an empty folder and check it there."""
        _checked_model(self.tracking, version, str(folder), self._expected(version, MODEL))

    def delete(self, version: VersionInfo) -> None:
        """Delete a version, and the files of its run unless another version has the same run.

        The version is deleted last, so that an interrupted deletion can be repeated. MLflow keeps runs and models as
        deleted, without files, until ``mlflow gc``.
        """
        from mlflow.exceptions import MlflowException

        with self.tracking.reachable():
            client = self.tracking.client
            if version.run_id and not _is_shared(client, version):
                _delete_run(self.tracking, version.run_id)
            try:
                client.delete_model_version(version.model, str(version.version))
            except MlflowException as error:
                if not means_missing(error):
                    raise

    def _model_digests(self, version: VersionInfo) -> dict[str, str]:
        with tempfile.TemporaryDirectory() as folder:
            return _fetch_model(self.tracking, version, folder)

    def _expected(self, version: VersionInfo, under: str) -> Files:
        """Return the registered checksums of a file, or of a folder that ends in a slash."""
        if self._pins is None:
            return None
        pin = self._pins(version.model, version.version)
        if pin is None:
            raise ArtifactChanged(
                f"{version.model}: the ledger has no artifacts of version {version.version}, so it is not loaded: "
                f"train a version with Keel: airflow dags trigger {version.model}.retrain"
            )
        files = pin.files.items()
        return tuple(sorted((p, sha) for p, sha in files if p == under or (under[-1] == "/" and p.startswith(under))))


@lru_cache(maxsize=VERSIONS_IN_MEMORY)
def _grid(tracking: Tracking, version: VersionInfo, expected: Files) -> ReferenceGrid:
    """Cached, because the files of a run never change. A deleted version is found by its lookup before."""
    return ReferenceGrid.from_bytes(_checked_file(tracking, version, GRID, expected))


@lru_cache(maxsize=VERSIONS_IN_MEMORY)
def _reference(tracking: Tracking, version: VersionInfo, expected: Files) -> bytes:
    return _checked_file(tracking, version, REFERENCE, expected)


@lru_cache(maxsize=MODELS_IN_MEMORY)
def _model(tracking: Tracking, version: VersionInfo, expected: Files) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        _checked_model(tracking, version, folder, expected)
        with own_code(Path(folder)):
            return tracking.module.pyfunc.load_model(folder)


def clear_cache() -> None:
    """Drop the grids, references and models that are in memory."""
    for cached in (_grid, _reference, _model):
        cached.cache_clear()


def _checked_model(tracking: Tracking, version: VersionInfo, folder: str, expected: Files) -> None:
    found = _fetch_model(tracking, version, folder)
    if not found and expected is None:
        raise UnknownVersion(f"version {version.version} of {version.model} has no model in MLflow's artifact store")
    _check(version, found, expected)


def _checked_file(tracking: Tracking, version: VersionInfo, path: str, expected: Files) -> bytes:
    try:
        content = _run_artifact(tracking, version, path)
    except UnknownVersion:
        _check(version, {}, expected)
        raise
    _check(version, {path: _sha256(content)}, expected)
    return content


def _check(version: VersionInfo, found: Mapping[str, str], expected: Files) -> None:
    """Raise `ArtifactChanged` with every file that differs from its registration."""
    if expected is None or found == dict(expected):
        return
    registered = dict(expected)
    ways = {
        "changed": [path for path in registered if path in found and found[path] != registered[path]],
        "missing": [path for path in registered if path not in found],
        "added": sorted(path for path in found if path not in registered),
    }
    said = "; ".join(f"{way}: {_listed(paths)}" for way, paths in ways.items() if paths)
    raise ArtifactChanged(
        f"{version.model}: the artifacts of version {version.version} differ from those registered, so it is not "
        f"loaded ({said}): restore the registered files; or roll back: airflow dags trigger {version.model}.rollback; "
        f"or {replacement(version.model)}"
    )


def _listed(paths: Sequence[str], shown: int = 10) -> str:
    more = f" and {len(paths) - shown} more" if len(paths) > shown else ""
    return ", ".join(paths[:shown]) + more


def _fetch_model(tracking: Tracking, version: VersionInfo, folder: str) -> dict[str, str]:
    """Fetch a version's model into a folder. Returns SHA-256 by path, empty if there is no model."""
    from mlflow.exceptions import MlflowException

    place, uri = Path(folder), f"models:/{version.model}/{version.version}"
    with tracking.reachable():
        try:
            tracking.module.artifacts.download_artifacts(artifact_uri=uri, dst_path=folder)
        except FileNotFoundError:
            return {}
        except MlflowException as error:
            if not means_missing(error):
                raise
            return {}
    (place / ADDED_BY_MLFLOW).unlink(missing_ok=True)
    return {
        f"{MODEL}{path.relative_to(place).as_posix()}": _digest(path) for path in place.rglob("*") if path.is_file()
    }


def _run_artifact(tracking: Tracking, version: VersionInfo, path: str) -> bytes:
    """Return an artifact of a version's run; `UnknownVersion` if Keel did not store it there."""
    with tracking.reachable(), tempfile.TemporaryDirectory() as folder:
        client = tracking.client
        parent = path.rpartition("/")[0]
        kept = {file.path for file in client.list_artifacts(version.run_id, parent)} if version.run_id else set()
        if path in kept:
            return Path(client.download_artifacts(version.run_id, path, folder)).read_bytes()
    raise UnknownVersion(
        f"version {version.version} of {version.model} was not registered by Keel: its run has no {path}; "
        f"train one: airflow dags trigger {version.model}.retrain"
    )


def _is_shared(client: Any, version: VersionInfo) -> bool:
    same_run = client.search_model_versions(f"run_id = '{version.run_id}'")
    return any((found.name, int(found.version)) != (version.model, version.version) for found in same_run)


def _delete_run(tracking: Tracking, run_id: str) -> None:
    client = tracking.client
    run = _found(client.get_run, run_id)
    if run is None:
        return
    for output in run.outputs.model_outputs if run.outputs else ():
        if logged := _found(client.get_logged_model, output.model_id):
            _delete_files(tracking, logged.artifact_location, output.model_id)
            client.delete_logged_model(output.model_id)
    _delete_files(tracking, run.info.artifact_uri, run_id)
    client.delete_run(run_id)


def _found(get: Callable[[str], Any], identity: str) -> Any:
    """Return what MLflow has under an id; None if it does not exist or was deleted."""
    from mlflow.exceptions import MlflowException

    try:
        return get(identity)
    except MlflowException as error:
        if not means_missing(error):
            raise
        return None


def _delete_files(tracking: Tracking, location: str, owner: str) -> None:
    """Delete a folder of the artifact store, but only if its address contains the id of its owner."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    if owner not in location.split("/"):
        log.warning("the files of %s are not deleted: %s does not contain that id", owner, location)
        return
    get_artifact_repository(location, tracking_uri=tracking.uri).delete_artifacts()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
