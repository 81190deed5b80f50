"""Configuration of the monitored models: each model's ``model.yaml``, validated when it is read.

A value comes from one of these places; a later one overrides an earlier one:

1. the file;
2. the environment: ``KEEL__DRIFT__ALPHA=0.01`` for all models, ``KEEL__FLIGHT_DELAY__DRIFT__ALPHA=0.01`` for one;
3. the parameter ``overrides`` of a DAG run: ``{"drift.alpha": 0.01}``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, model_validator

from keel.config.alerting import AlertsConfig, Channel, Kind, RouteConfig, Severity
from keel.config.feature_names import why_unusable
from keel.config.loading import Section, read_yaml, replace_keys, shown_duration, validated
from keel.config.renames import refused
from keel.config.sections import (
    METRICS_OF_KIND,
    CheckConfig,
    DriftConfig,
    FeatureKind,
    LabelsConfig,
    LiveConfig,
    Metric,
    PerformanceConfig,
    PredictionsConfig,
    PromotionConfig,
    ReportsConfig,
    RetentionConfig,
    RetrainConfig,
    ServingConfig,
    TargetConfig,
)
from keel.errors import ConfigError, UnknownModel, suggestion

__all__ = [
    "AlertsConfig",
    "Channel",
    "CheckConfig",
    "DriftConfig",
    "FeatureKind",
    "Kind",
    "LabelsConfig",
    "LiveConfig",
    "Metric",
    "ModelConfig",
    "PerformanceConfig",
    "PredictionsConfig",
    "PromotionConfig",
    "ReportsConfig",
    "RetentionConfig",
    "RetrainConfig",
    "RouteConfig",
    "ServingConfig",
    "Severity",
    "TargetConfig",
    "get_model",
    "load_model",
    "load_models",
    "models_folder",
    "read_models",
]

MODEL_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
"""What a model may be called."""
MODELS_FOLDER = Path(__file__).resolve().parents[2] / "models"
ENVIRONMENT_PREFIX = "KEEL__"


class ModelConfig(Section):
    """One monitored model, as its ``model.yaml`` describes it."""

    model: str = Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)
    owner: str = "ml-platform"
    description: str = ""
    target: TargetConfig
    features: dict[str, FeatureKind] = Field(min_length=1)
    predictions: PredictionsConfig = PredictionsConfig()
    check: CheckConfig = CheckConfig()
    drift: DriftConfig = DriftConfig()
    performance: PerformanceConfig = PerformanceConfig()
    labels: LabelsConfig = LabelsConfig()
    live: LiveConfig | None = LiveConfig()
    retrain: RetrainConfig | None = None
    promotion: PromotionConfig = PromotionConfig()
    serving: ServingConfig = ServingConfig()
    retention: RetentionConfig = RetentionConfig()
    reports: ReportsConfig = ReportsConfig()
    alerts: AlertsConfig = AlertsConfig()

    @model_validator(mode="after")
    def _consistent(self) -> ModelConfig:
        allowed = METRICS_OF_KIND[self.target.kind]
        for metric in (self.performance.metric, *self.performance.extra_metrics):
            if metric not in allowed:
                raise ValueError(
                    f"performance.metric: {metric!r} does not suit a {self.target.kind} target; "
                    f"choose from {', '.join(sorted(allowed))}"
                )
        if self.model in ModelConfig.model_fields:
            raise ValueError(
                f"model: {self.model!r} is the name of a section, so KEEL__… would be ambiguous; choose another name"
            )
        for name in self.promotion.segments:
            if self.features.get(name) != "categorical":
                raise ValueError(f"promotion.segments: {name!r} is not a categorical feature of the model")
        if reason := why_unusable(self.features):
            raise ValueError(f"features: {reason}")
        if self.target.name in self.features:
            raise ValueError(f"features: {self.target.name!r} is the target and cannot be a feature")
        self._check_live()
        needed, keys = self._rows_needed()
        if self.retention.rows is not None and self.retention.rows < needed:
            raise ValueError(
                f"retention.rows: {shown_duration(self.retention.rows)} is shorter than {' + '.join(keys)} "
                f"({shown_duration(needed)}), for which rows are needed; raise retention.rows or shorten the others"
            )
        oldest = self.serving.max_age + self.check.lookback
        if self.retention.rows is not None and self.retention.rows < oldest:
            raise ValueError(
                f"serving.max_age: {shown_duration(self.serving.max_age)} is too long for retention.rows "
                f"({shown_duration(self.retention.rows)}): a row that arrives so late would be deleted before a check "
                f"counts it. Keep rows for serving.max_age + check.lookback ({shown_duration(oldest)}) or "
                "longer, or shorten serving.max_age"
            )
        return self

    def _check_live(self) -> None:
        """Raise `ValueError` for columns and contexts that the live monitors cannot have."""
        if self.live is not None:
            known = (
                *self.features,
                *(("prediction",) if self.target.kind == "regression" else ("score", "prediction")),
            )
            for name in self.live.columns or ():
                if name not in known:
                    raise ValueError(f"live.columns: {name!r} is no feature or output{suggestion(name, known)}")
            for name in self.live.context:
                if name not in (*self.features, "hour", "weekday"):
                    raise ValueError(
                        f"live.context: {name!r} is no feature, and not hour or weekday"
                        f"{suggestion(name, (*self.features, 'hour', 'weekday'))}"
                    )
            monitored = set(known if self.live.columns is None else self.live.columns) - set(self.live.context)
            if not monitored and not self.live.harm:
                raise ValueError(
                    "live: nothing would be monitored: no column of live.columns is left beside live.context, and "
                    "live.harm is false. Name a column, or turn the monitors off with live: null"
                )
        self._check_audit()

    def _check_audit(self) -> None:
        """Raise `ValueError` for an audit sample that no test reads, or that is none."""
        if self.labels.audit_share is not None and (self.live is None or not self.live.harm):
            off = "live is null" if self.live is None else "live.harm is false"
            raise ValueError(
                f"labels.audit_share: {off}, so no test would read the audited labels. Remove labels.audit_share, or "
                f"{'remove live: null' if self.live is None else 'set live.harm to true'}"
            )
        if self.labels.audit_share is not None and self.labels.audit_delay >= self.target.label_delay:
            raise ValueError(
                f"labels.audit_delay: {shown_duration(self.labels.audit_delay)} is not shorter than "
                f"target.label_delay ({shown_duration(self.target.label_delay)}). Labels that merely come late are no "
                "random sample of predictions, and the test on an audit sample is not valid for them. Remove "
                "labels.audit_share, or have the audited labels found out earlier"
            )

    def _rows_needed(self) -> tuple[timedelta, list[str]]:
        """Return the age of the oldest rows that a run reads, and the keys that determine it.

        A run can check a window that ended one lookback ago and train on the rows labelled by then.
        """
        spans = {"check.lookback": self.check.lookback, "target.label_delay": self.target.label_delay}
        if self.retrain is not None:
            spans |= {"retrain.window": self.retrain.window, "retrain.holdout": self.retrain.holdout}
        return sum(spans.values(), timedelta(0)), list(spans)

    def with_overrides(self, overrides: Mapping[str, Any], *, origin: str = "overrides") -> ModelConfig:
        """Return this configuration with dotted keys replaced, validated again.

        Raises
        ------
        ConfigError
            The message names ``origin``, the key and the nearest valid key.

        """
        raw = self.model_dump(mode="python")
        replace_keys(raw, overrides, origin=origin)
        if raw["model"] != self.model:
            raise ConfigError(f"{origin}: model: the name cannot be overridden, because all data is stored under it")
        return validated(ModelConfig, raw, origin=origin)


def load_models(
    folder: Path | str | None = None, environment: Mapping[str, str] | None = None
) -> dict[str, ModelConfig]:
    """Return the configuration in each ``<folder>/*/model.yaml``, by model name.

    Raises
    ------
    ConfigError
        The message names each invalid file, the key and the nearest valid key.

    """
    models, broken = read_models(folder, environment)
    if broken:
        raise ConfigError("\n".join(map(str, broken)))
    return models


def read_models(
    folder: Path | str | None = None, environment: Mapping[str, str] | None = None
) -> tuple[dict[str, ModelConfig], list[ConfigError]]:
    """Return the valid configurations by model name, and an error for each invalid file or environment variable.

    A mistake in one file does not hide the other models. Whatever serves, maintains or lists several models reads them
    with this function, works on the valid ones, and names the errors.
    """
    environ = os.environ if environment is None else environment
    root = Path(folder or models_folder(environ))
    models: dict[str, ModelConfig] = {}
    broken: list[ConfigError] = []
    if folder is None and environ.get("KEEL_MODELS_FOLDER") and not root.is_dir():
        broken.append(ConfigError(f"environment KEEL_MODELS_FOLDER: there is no folder {root}"))
    for path in sorted(root.glob("*/model.yaml")):
        try:
            config = load_model(path, environ)
            if config.model in models:
                raise ConfigError(f"{path}: model: {config.model!r} is already configured by another file")
            models[config.model] = config
        except ConfigError as error:
            broken.append(error)
    folders = {path.parent.name for path in root.glob("*/model.yaml")}
    return models, broken + _unknown_variables(environ, folders | models.keys())


def models_folder(environment: Mapping[str, str] | None = None) -> Path:
    """Return the folder with a subfolder for each model: that of ``KEEL_MODELS_FOLDER``, else the project's."""
    environ = os.environ if environment is None else environment
    return Path(environ.get("KEEL_MODELS_FOLDER") or MODELS_FOLDER)


def get_model(name: str, folder: Path | str | None = None) -> ModelConfig:
    """Return the configuration of one model.

    Raises
    ------
    UnknownModel
        No file configures the model; the message lists the configured models.
    ConfigError
        No valid file configures the model, and some file is invalid; the message names those files too.

    """
    models, broken = read_models(folder)
    if name in models:
        return models[name]
    unknown = UnknownModel(name, models)
    if broken:
        raise ConfigError("\n".join([f"{unknown}; not valid:", *map(str, broken)]))
    raise unknown


def load_model(path: Path | str, environment: Mapping[str, str] | None = None) -> ModelConfig:
    """Return the configuration in one ``model.yaml``, with the overrides of the environment applied."""
    path = Path(path)
    raw = read_yaml(path)
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: must be a mapping with the keys {', '.join(ModelConfig.model_fields)}")
    config = validated(ModelConfig, raw, origin=str(path))
    return _from_environment(config, os.environ if environment is None else environment)


def _from_environment(config: ModelConfig, environ: Mapping[str, str]) -> ModelConfig:
    """Apply the variables for all models, then those for this model."""
    prefix = f"{config.model.upper()}__"
    variables = {name.removeprefix(ENVIRONMENT_PREFIX): name for name in _variables(environ)}
    shared = {rest: name for rest, name in variables.items() if _section(rest) in ModelConfig.model_fields}
    # A variable for all models skips a model without that section, such as KEEL__RETRAIN__… one without retraining.
    shared = {rest: name for rest, name in shared.items() if getattr(config, _section(rest)) is not None}
    own = {rest.removeprefix(prefix): name for rest, name in variables.items() if rest.startswith(prefix)}
    for group in (shared, own):
        if group:
            values = {_dotted(rest): _value(environ, name) for rest, name in group.items()}
            config = config.with_overrides(values, origin=f"environment {', '.join(group.values())}")
    return config


def _unknown_variables(environ: Mapping[str, str], models: set[str]) -> list[ConfigError]:
    """Return an error for each variable that names neither a section nor a model and so would change nothing."""
    known = [*ModelConfig.model_fields, *sorted(models)]
    errors = []
    for name in _variables(environ):
        rest = name.removeprefix(ENVIRONMENT_PREFIX)
        if (section := _section(rest)) not in known:
            unknown = f"{section!r} is neither a section nor a model{suggestion(section, known)}"
            errors.append(ConfigError(f"environment {name}: {refused(_dotted(rest)) or unknown}"))
    return errors


def _variables(environ: Mapping[str, str]) -> list[str]:
    return sorted(name for name in environ if name.startswith(ENVIRONMENT_PREFIX))


def _section(rest: str) -> str:
    return rest.split("__")[0].lower()


def _dotted(rest: str) -> str:
    return rest.lower().replace("__", ".")


def _value(environ: Mapping[str, str], name: str) -> Any:
    try:
        return yaml.safe_load(environ[name])
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:  # as `read_yaml`, and for unhashable keys
        raise ConfigError(f"environment {name}: {environ[name][:200]!r} is not a YAML value: {error}") from error
