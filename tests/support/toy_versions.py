"""Register versions of the toy model, and find their files."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from keel import deployments
from keel.deployments.history import Status
from keel.ledger import entries as ledger
from keel.registry.pin import Pin
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
    artifacts = {
        "version": version.version, "run_id": version.run_id,
        "files": registry.digests(version.model, version.version),
    }  # fmt: skip
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
    return found | {f"keel/{name}": kept / name for name in ("grid.npz", "reference.json")}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
