"""Train a challenger on the labelled rows before a cut, and measure it on its holdout, the rows after the cut."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from keel.config import LiveConfig
from keel.errors import ConfigError, InsufficientData, TrainingFailed
from keel.grid.contexts import ContextReference
from keel.grid.reference import ReferenceGrid
from keel.registry.candidate import Candidate
from keel.registry.scoring_model import to_model_input
from keel.stats.label_profile import LabelBaseline
from keel.stats.metrics.losses import Estimate, Scored, estimate, finite_rows, needed_for, row_loss
from keel.stats.sequential.day_spread import measure_days
from keel.training.provenance import code_revision, digest_of, pipeline_digest, table_digest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from keel.config import ModelConfig, RetrainConfig

THRESHOLD_SLICE = 0.2
"""Share of the training rows, the latest, on which a model of the others chooses the decision threshold."""


@dataclass(frozen=True)
class Split:
    """The times that separate a challenger's training rows from its holdout."""

    start: datetime
    cut: datetime
    end: datetime

    @classmethod
    def ending(cls, end: datetime, config: ModelConfig) -> Split:
        """Split the time before ``end`` in which labels are matured; the last ``retrain.holdout`` is the holdout."""
        plan = retrain_plan(config)
        mature = end - config.target.label_delay
        cut = mature - plan.holdout
        return cls(cut - plan.window, cut, mature)


@dataclass(frozen=True)
class TrainingRows:
    """Labelled rows before and after the cut; columns as in the store."""

    split: Split
    training: pa.Table
    holdout: pa.Table

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the training rows and the holdout together."""
        return table_digest(pa.concat_tables([self.training, self.holdout]))


def retrain_plan(config: ModelConfig) -> RetrainConfig:
    """Return the model's ``retrain`` section; `ConfigError` for a model without one, which is only monitored."""
    if config.retrain is None:
        raise ConfigError(f"{config.model}: retrain: model.yaml has no such section, which training needs")
    return config.retrain


def training_key(config: ModelConfig, rows: TrainingRows) -> str:
    """Return the identity of a training: a digest of rows, features, target, pipeline code, metric and seed."""
    return digest_of(*_method(config), rows.digest)


def training_recipe(config: ModelConfig) -> str:
    """Return the identity of a training method: as `training_key`, with the durations of the rows in place of the rows.

    A decision that is carried out twice with the same recipe is one training, even if a label arrived in between.
    """
    plan = retrain_plan(config)
    return digest_of(*_method(config), str(plan.window), str(plan.holdout))


def train(
    config: ModelConfig, rows: TrainingRows, *, reason: str, parent: int | None, decision_id: str = ""
) -> Candidate:
    """Fit the model's pipeline on the training rows, and measure it on the holdout.

    Parameters
    ----------
    reason, parent, decision_id
        Why it is trained, the version in production, and the decision; they are stored in the tags.

    Raises
    ------
    InsufficientData
        Too few labelled rows on either side of the cut.
    TrainingFailed
        The pipeline raised, its estimator cannot score, or the metric is not defined on the holdout.

    """
    plan = retrain_plan(config)
    require_rows(config, rows)
    example = to_model_input(rows.training.slice(0, 5), config)
    threshold = _choose_threshold(config, rows.training) if config.target.kind == "binary" else None
    estimator = _fit(config, rows.training)
    scored = score_rows(config, estimator, rows.holdout, threshold)
    loss = row_loss(config.performance.metric, scored)
    metrics = {name: estimate(name, scored) for name in (config.performance.metric, *config.performance.extra_metrics)}
    _require_defined(config, metrics[config.performance.metric], scored, rows.split)
    reference: dict[str, Any] = {
        "metric": config.performance.metric,
        "metrics": {name: e.to_dict() for name, e in metrics.items()},
        "loss": float(loss.mean()),
        "threshold": threshold,
        "labels": _label_baseline(rows),
        "training": _describe(rows.training, rows.split.start, rows.split.cut),
        "holdout": _describe(rows.holdout, rows.split.cut, rows.split.end),
    }
    times = rows.holdout["time"].to_numpy().astype("datetime64[us]")
    reference["days"] = measure_days(config.performance.metric, reference, times, scored)
    tags = {
        "keel.reason": reason,
        "keel.parent": str(parent or ""),
        "keel.decision_id": decision_id,
        "keel.recipe": training_recipe(config),
        "keel.training_start": rows.split.start.isoformat(),
        "keel.training_end": rows.split.cut.isoformat(),
        "keel.holdout_end": rows.split.end.isoformat(),
        "keel.data_sha256": rows.digest,
        "keel.code": code_revision(),
        "keel.pipeline_sha256": pipeline_digest(plan.pipeline),
        "keel.training_key": training_key(config, rows),
        "keel.threshold": "" if threshold is None else f"{threshold:.6g}",
        "keel.status": "candidate",
    }
    holdout = _with_outputs(rows.holdout, scored)
    outputs = output_kinds(config)
    grid = ReferenceGrid.fit(rows.training, dict(config.features), holdout=holdout, outputs=outputs, loss=loss)
    context = (config.live or LiveConfig()).context
    return Candidate(
        estimator=estimator,
        example=example,
        grid=grid,
        contexts=ContextReference.fit(grid, rows.training, holdout=holdout, context=context),
        reference=reference,
        tags=tags,
        metrics={f"holdout_{name}": e.value for name, e in metrics.items() if np.isfinite(e.value)},
    )


def score_rows(config: ModelConfig, estimator: Any, rows: pa.Table, threshold: float | None) -> Scored:
    """Score labelled rows with a fitted estimator; `TrainingFailed` if it raises or its scores are not finite."""
    features = to_model_input(rows, config)
    label = rows["label"].to_numpy()
    is_binary = config.target.kind == "binary"
    try:
        raw = np.asarray((estimator.predict_proba if is_binary else estimator.predict)(features), dtype=np.float64)
        value = raw[:, 1] if is_binary else raw.reshape(len(label))
    except Exception as error:
        raise TrainingFailed(f"{config.model}: the estimator cannot score: {type(error).__name__}: {error}") from error
    if not np.isfinite(value).all():
        raise TrainingFailed(f"{config.model}: the estimator gives scores that are not finite numbers")
    if not is_binary:
        return Scored(label, np.full(len(value), np.nan), value)
    return Scored(label, value, (value >= (0.5 if threshold is None else threshold)).astype(np.float64))


def output_kinds(config: ModelConfig) -> dict[str, str]:
    """Return the output columns of a model, and the kind of each."""
    if config.target.kind == "regression":
        return {"prediction": "numeric"}
    return {"score": "numeric", "prediction": "categorical"}


def _method(config: ModelConfig) -> tuple[str, ...]:
    """Return everything that determines a version but its rows."""
    plan = retrain_plan(config)
    return (
        config.model,
        config.target.model_dump_json(),
        repr(sorted(config.features.items())),
        plan.pipeline,
        str(plan.seed),
        config.performance.metric,
        pipeline_digest(plan.pipeline),
    )


def _fit(config: ModelConfig, rows: pa.Table) -> Any:
    plan = retrain_plan(config)
    pipeline_digest(
        plan.pipeline
    )  # a missing module is a configuration error; an import that raises is the pipeline's error
    try:
        estimator = import_module(plan.pipeline).build(config, plan.seed)
        return estimator.fit(to_model_input(rows, config), rows["label"].to_numpy())
    except Exception as error:
        raise TrainingFailed(f"{plan.pipeline}: {type(error).__name__}: {error}") from error


def _choose_threshold(config: ModelConfig, rows: pa.Table) -> float:
    """Return the threshold with the best F1 on the latest training rows, scored by a model of the earlier ones."""
    split = round(rows.num_rows * (1 - THRESHOLD_SLICE))
    earlier, later = rows.slice(0, split), rows.slice(split)
    if len(np.unique(earlier["label"].to_numpy())) < 2:
        raise TrainingFailed(f"{config.model}: the training rows hold only one class of {config.target.name!r}")
    scored = score_rows(config, _fit(config, earlier), later, None)
    return _best_f1_threshold(scored.label, scored.score)


def _best_f1_threshold(label: NDArray[np.float64], score: NDArray[np.float64]) -> float:
    """Return the highest score t for which deciding ``score >= t`` has the best F1; 0.5 without any positive."""
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(label[order])
    if not len(label) or hits[-1] == 0:
        return 0.5
    ranked = score[order]
    flagged = np.arange(1, len(order) + 1)
    # Rows with equal scores are flagged together: only the last of them is a threshold.
    attainable = np.append(ranked[1:] != ranked[:-1], True)
    f1 = np.where(attainable, 2 * hits / (flagged + hits[-1]), -1.0)
    return float(ranked[int(np.argmax(f1))])


def _with_outputs(rows: pa.Table, scored: Scored) -> pa.Table:
    """Return the rows with the candidate's score and prediction in place of those of the versions that answered."""
    for name, values in (("score", scored.score), ("prediction", scored.prediction)):
        rows = rows.set_column(rows.schema.get_field_index(name), name, pa.array(values, from_pandas=True))
    return rows


def require_rows(config: ModelConfig, rows: TrainingRows, *, why: str = "") -> None:
    """Raise `InsufficientData` for too few rows on either side of the cut, `TrainingFailed` for labels it cannot use.

    why: what may have left too few rows.
    """
    plan = retrain_plan(config)
    needs = (("training", rows.training, plan.min_rows), ("holdout", rows.holdout, config.promotion.min_rows))
    for part, table, needed in needs:
        if table.num_rows < needed:
            raise InsufficientData(
                feature=f"{config.model}: labelled {part} rows", needed=needed, got=table.num_rows, why=why
            )
        label = table["label"].to_numpy()
        if not finite_rows("mae", Scored(label, label, label)).all():
            raise TrainingFailed(f"{config.model}: the {part} rows hold labels that are not finite numbers")
        if config.target.kind == "binary" and not np.isin(label, (0.0, 1.0)).all():
            place = int(np.argmax(~np.isin(label, (0.0, 1.0))))
            raise TrainingFailed(
                f"{config.model}: the {part} rows hold labels other than 0 and 1, such as {label[place]:g} of "
                f"{table['id'][place].as_py()!r}; replace them: keel feedback {config.model} FILE --correct --reason …"
            )


def _require_defined(config: ModelConfig, measured: Estimate, scored: Scored, split: Split) -> None:
    """Raise `TrainingFailed` if the metric is not defined on the holdout: later checks would have no baseline."""
    if measured.defined:
        return
    metric, n = config.performance.metric, len(scored)
    found = f"{n:,} labelled rows from {split.cut:%Y-%m-%d %H:%M} to {split.end:%Y-%m-%d %H:%M} UTC"
    if config.target.kind == "binary":
        found += f", {int(scored.label.sum()):,} of them positive"
    raise TrainingFailed(
        f"{config.model}: metric undefined on the holdout: {metric} needs {needed_for(metric)}, and there are {found}; "
        "lengthen retrain.holdout, or choose another performance.metric"
    )


def _label_baseline(rows: TrainingRows) -> dict[str, float | None] | None:
    """Return the labels of the training rows and the holdout, which later labels are compared with."""
    both = pa.concat_tables([each.select(["time", "label"]) for each in (rows.training, rows.holdout)])
    found = LabelBaseline.measure(both["time"].to_numpy().astype("datetime64[us]"), both["label"].to_numpy())
    return found.to_dict() if found else None


def _describe(rows: pa.Table, start: datetime, end: datetime) -> dict[str, Any]:
    return {"start": start.isoformat(), "end": end.isoformat(), "rows": rows.num_rows, "sha256": table_digest(rows)}
