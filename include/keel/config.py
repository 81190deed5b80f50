"""What a monitored model's ``model.yaml`` may say, validated once at the edge.

Every value can be overridden without touching the file, in this order, later wins: the file, the environment
(``KEEL__DRIFT__ALPHA=0.01`` for all models, ``KEEL__FLIGHT_DELAY__DRIFT__ALPHA=0.01`` for one), and the
``overrides`` parameter of a DAG run (``{"drift.alpha": 0.01}``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from keel.errors import ConfigError, UnknownModel, suggestion

MODELS_FOLDER = Path(__file__).resolve().parents[1] / "models"
ENVIRONMENT_PREFIX = "KEEL__"
_DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([smhdw])\s*$")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

FeatureKind = Literal["numeric", "categorical"]
Metric = Literal["brier", "log_loss", "roc_auc", "accuracy", "mae", "rmse"]
METRICS_OF_KIND: dict[str, frozenset[str]] = {
    "binary": frozenset({"brier", "log_loss", "roc_auc", "accuracy"}),
    "regression": frozenset({"mae", "rmse"}),
}


def parse_duration(value: object) -> object:
    """Turn ``"24h"``, ``"7d"``, ``"30m"`` into a timedelta; anything else is left for pydantic to judge.

    >>> parse_duration("36h")
    datetime.timedelta(days=1, seconds=43200)
    """
    if isinstance(value, str) and (match := _DURATION.match(value)):
        return timedelta(**{_UNITS[match[2]]: float(match[1])})
    return value


Duration = Annotated[timedelta, BeforeValidator(parse_duration), Field(ge=timedelta(0))]


class Section(BaseModel):
    """A part of the configuration: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TargetConfig(Section):
    """What the model predicts, and how long its truth takes to arrive."""

    name: str
    kind: Literal["binary", "regression"] = "binary"
    label_delay: Duration = timedelta(hours=24)


class KeelSource(Section):
    """Predictions come from Keel's own prediction log."""

    source: Literal["keel"] = "keel"


class SqlSource(Section):
    """Predictions lie in a table on a SQL connection; the keys map its columns to Keel's."""

    source: Literal["sql"]
    conn: str
    table: str
    id: str
    time: str
    score: str | None = None
    prediction: str | None = None
    version: str | None = None


class FileSource(Section):
    """Predictions lie in Parquet or CSV files, by fsspec URL."""

    source: Literal["files"]
    url: str
    id: str
    time: str
    score: str | None = None
    prediction: str | None = None
    version: str | None = None


PredictionSource = Annotated[KeelSource | SqlSource | FileSource, Field(discriminator="source")]


class CheckConfig(Section):
    """When the model is checked, and on what window."""

    schedule: str | None = "0 */6 * * *"
    """Five-field cron in UTC; null: checked only when asked, or when the live monitor alarms."""
    lookback: Duration = timedelta(days=7)

    @field_validator("schedule")
    @classmethod
    def _five_fields(cls, value: str | None) -> str | None:
        if value is not None and len(value.split()) != 5:
            raise ValueError(f"{value!r} is not a cron expression of five fields")
        return value


class DriftConfig(Section):
    """Thresholds of the drift check; a feature has drifted when it is significant *and* material."""

    alpha: float = Field(default=0.05, gt=0, lt=1)
    """False discovery rate over the model's columns, per check."""
    min_rows: int = Field(default=500, ge=1)
    """Below this many rows a window is ``insufficient``."""
    psi_warn: float = Field(default=0.1, ge=0)
    psi_alert: float = Field(default=0.25, ge=0)
    """The usual reading of the index: .1 moderate, .25 major (Siddiqi 2006); applied to its excess over chance."""
    max_share: float = Field(default=0.3, gt=0, le=1)
    """Share of features drifted from which the window as a whole has drifted."""
    max_impact: float | None = Field(default=None, ge=0)
    """Summed impact (units of the loss) from which the window has drifted; none: share alone decides."""
    max_missing_increase: float = Field(default=0.05, ge=0, le=1)
    max_new_category_rate: float = Field(default=0.01, ge=0, le=1)
    seed: int = 0

    @model_validator(mode="after")
    def _ordered(self) -> DriftConfig:
        if self.psi_alert < self.psi_warn:
            raise ValueError(f"psi_alert ({self.psi_alert}) must not be below psi_warn ({self.psi_warn})")
        return self


class PerformanceConfig(Section):
    """How realised performance is judged once labels are there."""

    metric: Metric = "brier"
    max_increase: float = Field(default=0.01, ge=0)
    """How much worse than on the holdout, in units of the metric, before harm is material."""
    alpha: float = Field(default=0.05, gt=0, lt=1)
    min_rows: int = Field(default=500, ge=2)
    also: tuple[Metric, ...] = ()


class LiveConfig(Section):
    """The monitor that looks after every block of predictions."""

    every: int = Field(default=100, ge=1)
    contexts: str | None = None


class RetrainConfig(Section):
    """How a challenger is trained."""

    pipeline: str
    window: Duration = timedelta(days=90)
    holdout: Duration = timedelta(days=14)
    cooldown: Duration = timedelta(hours=24)
    min_rows: int = Field(default=1000, ge=10)
    seed: int = 0


class PromotionConfig(Section):
    """What a challenger must show to replace the champion."""

    approval: Literal["auto", "required"] = "auto"
    margin: float = 0.0
    """The lower bound of the improvement must exceed this; 0 asks for a challenger shown to be better."""
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    min_rows: int = Field(default=200, ge=2)
    probation: Duration = timedelta(days=7)


class AlertsConfig(Section):
    """Whom to tell."""

    email: tuple[str, ...] = ()
    slack: str | None = None
    cooldown: Duration = timedelta(hours=24)
    runbook: str | None = None


class ModelConfig(Section):
    """One monitored model, as its ``model.yaml`` describes it."""

    model: str = Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)
    owner: str = "ml-platform"
    description: str = ""
    target: TargetConfig
    features: dict[str, FeatureKind] = Field(min_length=1)
    predictions: PredictionSource = KeelSource()
    check: CheckConfig = CheckConfig()
    drift: DriftConfig = DriftConfig()
    performance: PerformanceConfig = PerformanceConfig()
    live: LiveConfig = LiveConfig()
    retrain: RetrainConfig | None = None
    promotion: PromotionConfig = PromotionConfig()
    alerts: AlertsConfig = AlertsConfig()

    @field_validator("predictions", mode="before")
    @classmethod
    def _source_by_shape(cls, value: object) -> object:
        """``conn`` or ``url`` say where predictions lie, so ``source`` need not be repeated."""
        if isinstance(value, dict) and "source" not in value:
            return {"source": "sql" if "conn" in value else "files" if "url" in value else "keel", **value}
        return value

    @model_validator(mode="after")
    def _consistent(self) -> ModelConfig:
        allowed = METRICS_OF_KIND[self.target.kind]
        for metric in (self.performance.metric, *self.performance.also):
            if metric not in allowed:
                raise ValueError(
                    f"performance.metric: {metric!r} does not suit a {self.target.kind} target; "
                    f"choose from {', '.join(sorted(allowed))}"
                )
        if self.target.name in self.features:
            raise ValueError(f"features: {self.target.name!r} is the target and cannot be a feature")
        return self

    def with_overrides(self, overrides: Mapping[str, Any], *, origin: str = "overrides") -> ModelConfig:
        """Return this configuration with dotted keys replaced, validated again.

        Raises
        ------
        ConfigError
            Naming ``origin``, the key and the nearest valid one.

        """
        raw = self.model_dump(mode="python")
        for dotted, value in overrides.items():
            _replace(raw, dotted.split("."), value, origin=f"{origin}: {dotted}")
        return _validated(raw, origin=origin)


def load_models(
    folder: Path | str | None = None, environment: Mapping[str, str] | None = None
) -> dict[str, ModelConfig]:
    """Read every ``<folder>/*/model.yaml``, by model name.

    Raises
    ------
    ConfigError
        Naming each broken file, the key, and the nearest valid key.

    """
    models, broken = read_models(folder, environment)
    if broken:
        raise ConfigError("\n".join(map(str, broken)))
    return models


def read_models(
    folder: Path | str | None = None, environment: Mapping[str, str] | None = None
) -> tuple[dict[str, ModelConfig], list[ConfigError]]:
    """Return the models whose file is valid, and an error for each file that is not.

    One team's typing error must not take the other teams' models out of sight.
    """
    environ = os.environ if environment is None else environment
    root = Path(folder or environ.get("KEEL_MODELS_FOLDER") or MODELS_FOLDER)
    models: dict[str, ModelConfig] = {}
    broken: list[ConfigError] = []
    for path in sorted(root.glob("*/model.yaml")):
        try:
            config = load_model(path, environ)
            if config.model in models:
                raise ConfigError(f"{path}: model: {config.model!r} is already configured by another file")
            models[config.model] = config
        except ConfigError as error:
            broken.append(error)
    return models, broken


def get_model(name: str, folder: Path | str | None = None) -> ModelConfig:
    """Return the configuration of one model.

    Raises
    ------
    UnknownModel
        Listing those that are configured.
    ConfigError
        When the model is not among the valid files and some file is not valid.

    """
    models, broken = read_models(folder)
    if name in models:
        return models[name]
    if broken:
        raise ConfigError("\n".join(map(str, broken)))
    raise UnknownModel(name, models)


def load_model(path: Path | str, environment: Mapping[str, str] | None = None) -> ModelConfig:
    """Read one ``model.yaml`` and apply the environment's overrides."""
    path = Path(path)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: must be a mapping with the keys {', '.join(ModelConfig.model_fields)}")
    config = _validated(raw, origin=str(path))
    return _from_environment(config, os.environ if environment is None else environment)


def _from_environment(config: ModelConfig, environ: Mapping[str, str]) -> ModelConfig:
    shared: dict[str, Any] = {}
    own: dict[str, Any] = {}
    mine = f"{config.model.upper()}__"
    for variable, text in sorted(environ.items()):
        if not variable.startswith(ENVIRONMENT_PREFIX):
            continue
        rest = variable.removeprefix(ENVIRONMENT_PREFIX)
        target = own if rest.startswith(mine) else shared
        key = rest.removeprefix(mine).lower().replace("__", ".")
        if target is shared and key.split(".")[0] not in ModelConfig.model_fields:
            continue  # another model's variable
        target[key] = yaml.safe_load(text)
    for group in (shared, own):
        if group:
            config = config.with_overrides(group, origin="environment KEEL__*")
    return config


def _replace(raw: dict[str, Any], path: list[str], value: Any, *, origin: str) -> None:
    *parents, last = path
    for part in parents:
        inner = raw.get(part)
        if not isinstance(inner, dict):
            raise ConfigError(f"{origin}: no such section{suggestion(part, raw)}")
        raw = inner
    if last not in raw:
        raise ConfigError(f"{origin}: no such key{suggestion(last, raw)}; valid: {', '.join(raw)}")
    raw[last] = value


def _validated(raw: dict[str, Any], *, origin: str) -> ModelConfig:
    try:
        return ModelConfig.model_validate(raw)
    except ValidationError as error:
        raise ConfigError("\n".join(f"{origin}: {_explain(raw, item)}" for item in error.errors())) from error


def _explain(raw: dict[str, Any], item: Any) -> str:
    where = [str(part) for part in item["loc"] if part not in {"keel", "sql", "files"}]
    key = ".".join(where)
    if item["type"] == "extra_forbidden":
        known = _fields_at(where[:-1])
        return f"{key}: unknown key{suggestion(where[-1], known)}; valid: {', '.join(known)}"
    if item["type"] == "missing":
        return f"{key}: required key is missing"
    message = item["msg"].removeprefix("Value error, ")
    return f"{key}: {message} (got {item['input']!r})" if key and not isinstance(item["input"], dict) else message


def _fields_at(path: list[str]) -> list[str]:
    section: Any = ModelConfig
    for part in path:
        field = getattr(section, "model_fields", {}).get(part)
        candidates = getattr(field.annotation, "__args__", (field.annotation,)) if field else ()
        section = [c for c in candidates if hasattr(c, "model_fields")]
        section = section[0] if len(section) == 1 else section
    sections = section if isinstance(section, list) else [section]
    return list(dict.fromkeys(name for s in sections for name in getattr(s, "model_fields", {})))
