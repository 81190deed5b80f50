"""Register versions of the toy model, and find their files."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from keel import deployments
from keel.deployments.history import Status
from keel.ledger import entries as ledger
from keel.registry.artifacts import RUN_FILES
from keel.registry.pin import Pin
from keel.registry.registry import Registry
from keel.training.training import Split, TrainingRows, train
from tests.support.toy import DAY, START, toy_config, toy_rows


def toy_candidate(seed=0, *, flip=False):
    """Train a version of the toy model without registering it; another seed has other training rows."""
    rows = toy_rows(days=5, seed=seed, flip=flip)
    for name in ("score", "prediction"):
        rows = rows.append_column(name, pa.nulls(rows.num_rows, pa.float64()))
    split = Split(START, START + 3 * DAY, START + 5 * DAY)
    learned = 3 * 24 * 20
    parts = TrainingRows(split, rows.slice(0, learned), rows.slice(learned))
    return train(toy_config(), parts, reason="first", parent=None)


def pin_of(registry, version, model="toy"):
    """Return a pin of the files that the artifact store has now."""
    return Pin(version, registry.resolve(model, version=version).run_id, registry.digests(model, version), 1)


def register(store, registry, config, candidate, *, now, key=None):
    """Register a candidate as the loop does: in MLflow, then its checksums and its status in the ledger."""
    tags = {**candidate.tags, **({"keel.training_key": key} if key else {})}
    version = registry.register(config, replace(candidate, tags=tags), run_name="retrain")
    return record(store, version, registry.digests(version.model, version.version), now=now)


def record(store, version, digests, *, now):
    """Write a version's checksums and its status to the ledger, and return its number."""
    artifacts = {"version": version.version, "run_id": version.run_id, "files": digests}
    deployments.append(
        store, version.model, actor="tests", action=ledger.Action.REGISTER, now=now,
        body={"artifacts": artifacts, "evidence": {"sentence": "registered", "tags": dict(version.tags)}},
        statuses={version.version: (Status.CANDIDATE, "first")},
    )  # fmt: skip
    return version.version


def files_of(registry, version, model="toy") -> dict[str, Path]:
    """Return a version's files on disk by their path in its pin."""
    run = registry.client.get_run(registry.resolve(model, version=version).run_id)
    kept = Path(run.info.artifact_uri.removeprefix("file://")) / "keel"
    [logged] = run.outputs.model_outputs
    place = Path(registry.client.get_logged_model(logged.model_id).artifact_location.removeprefix("file://"))
    found = {f"model/{path.relative_to(place)}": path for path in place.rglob("*") if path.is_file()}
    return found | {path: kept.parent / path for path in RUN_FILES}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class PreparedRegistry:
    """An MLflow with the same candidate registered up to ``most`` times.

    Each test gets it back with as many of the versions as it needs, their files included. That takes a tenth of the
    time of registering them.
    """

    def __init__(self, folder: Path, config, candidate, most: int) -> None:
        self.folder = folder / "mlflow"
        self.tracking_uri = f"sqlite:///{self.folder / 'mlflow.db'}"
        self._saved = folder / "saved"
        self.folder.mkdir()
        registry = self.open()
        registry.versions(config.model)  # creates the database
        self._copy(self.folder, self._saved / "0")
        self._versions = []
        for number in range(1, most + 1):
            version = registry.register(config, candidate, run_name="retrain")
            self._versions.append((version, registry.digests(config.model, version.version)))
            self._copy(self.folder, self._saved / str(number))

    @property
    def artifacts(self) -> Path:
        return self.folder / "artifacts"

    def open(self, **options) -> Registry:
        return Registry(self.tracking_uri, artifacts=self.artifacts, **options)

    def restore(self, number: int):
        """Put MLflow back to when it had this many versions. Return them, each with its files' digests."""
        self._copy(self._saved / str(number), self.folder)
        return self._versions[:number]

    @staticmethod
    def _copy(source: Path, target: Path) -> None:
        """Copy database and files. MLflow keeps its connections, so the database is replaced by SQLite itself."""
        target.mkdir(parents=True, exist_ok=True)
        with (
            closing(sqlite3.connect(source / "mlflow.db")) as there,
            closing(sqlite3.connect(target / "mlflow.db")) as here,
        ):
            there.backup(here)
        shutil.rmtree(target / "artifacts", ignore_errors=True)
        if (source / "artifacts").exists():
            shutil.copytree(source / "artifacts", target / "artifacts")
