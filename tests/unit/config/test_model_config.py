"""Valid and invalid model.yaml files: an error names the file, the key and the nearest valid key."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from keel.config import DriftConfig, ModelConfig, get_model, load_model, load_models, read_models, renames
from keel.errors import ConfigError, UnknownModel

MINIMAL = """
model: tide
target: {name: high}
features: {level: numeric, harbour: categorical}
"""
FEATURES = "{level: numeric, harbour: categorical}"
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_model(text: str | bytes = MINIMAL, folder: str = "tide") -> Path:
        path = tmp_path / "models" / folder / "model.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write_model


def refused(path: Path, environment: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load_model(path, environment or {})
    assert caught.value.exit_code == 2
    assert caught.value.permanent
    return str(caught.value)


def test_load_model_of_a_minimal_file_has_the_defaults(write: Write) -> None:
    config = load_model(write(), {})
    assert config.drift == DriftConfig()
    assert config.check.schedule == "0 */6 * * *"
    assert config.check.lookback == timedelta(days=7)
    assert config.predictions.source == "keel"
    assert config.retrain is None, "a model can be watched without being retrained"


def test_the_shipped_example_is_valid() -> None:
    assert load_models(environment={})["flight_delay"].retrain is not None


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("drift: {alhpa: 0.1}", "drift.alhpa: unknown key; did you mean 'alpha'?; valid: alpha, against, min_rows, "),
        ("drfit: {alpha: 0.1}", "drfit: unknown key; did you mean 'drift'?; valid: model, owner, "),
        ("alerts: {emial: [a@b.c]}", "alerts.emial: unknown key; did you mean 'email'?"),
        ("retrain: {pipline: m.p}", "retrain.pipline: unknown key; did you mean 'pipeline'?"),
        ("retrain: {window: 9d}", "retrain.pipeline: required key is missing"),
        ("predictions: {source: kafka}", "predictions.source: Input should be 'keel' (got 'kafka')"),
        ("drift: {alpha: 1.5}", "drift.alpha: Input should be less than 1 (got 1.5)"),
        ("drift: {alpha: .nan}", "drift.alpha: Input should be a finite number (got nan)"),
        ("drift: {max_impact: .inf}", "drift.max_impact: Input should be a finite number (got inf)"),
        ("drift: {min_rows: many}", "drift.min_rows: Input should be a valid integer"),
        ("drift: {psi_warn: 0.3, psi_alert: 0.2}", "drift: psi_alert (0.2) must not be below psi_warn (0.3)"),
        ("drift: high", "drift: Input should be a valid dictionary"),
        ("check: {schedule: hourly}", "check.schedule: must be a cron expression of five fields"),
        ("check: {schedule: '99 * * * *'}", "check.schedule: must be a cron expression of five fields"),
        ("check: {schedule: '* * * * * *'}", "check.schedule: must be a cron expression of five fields"),
        ("reports: {retention: 2h}", "reports.retention: must be at least a day, or null"),
        ("reports: {publish: sometimes}", "reports.publish: Input should be a valid boolean"),
        ("performance: {metric: rmse}", "performance.metric: 'rmse' does not suit a binary target; choose from "),
        ("performance: {extra_metrics: [brier, auc]}", "performance.extra_metrics.1: Input should be 'brier', "),
    ],
)
def test_load_model_with_a_mistake_names_file_and_key(lines: str, message: str, write: Write) -> None:
    path = write(f"{MINIMAL}{lines}\n")
    assert any(line.startswith(f"{path}: {message}") for line in refused(path).splitlines())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: tide\nfeatures: {level: numeric}", "target: required key is missing"),
        (
            MINIMAL.replace("level: numeric", "level: text"),
            "features.level: Input should be 'numeric' or 'categorical'",
        ),
        (MINIMAL.replace("level: numeric", "sql: text"), "features.sql: Input should be 'numeric' or 'categorical'"),
        (
            MINIMAL.replace(FEATURES, "{}"),
            "features: Dictionary should have at least 1",
        ),
        (
            MINIMAL.replace(FEATURES, "[level]"),
            "features: Input should be a valid dict",
        ),
        (MINIMAL.replace("level:", "high:"), "features: 'high' is the target and cannot be a feature"),
        (MINIMAL.replace("tide", "Tide Model"), "model: String should match pattern"),
        (MINIMAL.replace("tide", "drift"), "model: 'drift' is the name of a section"),
        ("", "must be a mapping with the keys model, owner, "),
        ("- model: tide", "must be a mapping with the keys model, owner, "),
        ("{model: tide", "not valid YAML: while parsing a flow mapping"),
        ("drift:\n\talpha: 1", "not valid YAML: while scanning for the next token"),
        (b"model: \xff\xfe", "not valid YAML: 'utf-8' codec can't decode"),
        (f"{MINIMAL}drift: {{alpha: .1}}\ndrift: {{alpha: .2}}", "not valid YAML: 'drift' occurs twice"),
        ("model: !!python/object/apply:os.getcwd []", "not valid YAML: could not determine a constructor"),
        (f"{MINIMAL}description: 2013-02-30", "not valid YAML: day is out of range for month"),
        (f"{MINIMAL}? [drift]\n: {{alpha: .1}}", "not valid YAML: a key must be a text"),
        (f"{MINIMAL}? {{drift: 1}}\n: {{alpha: .1}}", "not valid YAML: a key must be a text"),
        ("description: " + "[" * 2_000 + "]" * 2_000, "not valid YAML: lists or mappings are nested too deeply"),
    ],
)
def test_load_model_of_an_invalid_file_names_the_reason(text: str | bytes, message: str, write: Write) -> None:
    path = write(text)
    assert refused(path).startswith(f"{path}: {message}")


def test_load_model_reports_each_mistake_on_its_own_line(write: Write) -> None:
    path = write(f"{MINIMAL}drift: {{alhpa: 1}}\ncheck: {{lookback: 7}}\n")
    lines = refused(path).splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"{path}: ") for line in lines)


def test_load_model_of_a_missing_file_names_it(tmp_path: Path) -> None:
    path = tmp_path / "model.yaml"
    assert refused(path) == f"{path}: cannot be read: No such file or directory"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", timedelta(seconds=90)),
        ("30m", timedelta(minutes=30)),
        ("1.5h", timedelta(minutes=90)),
        ("24 h", timedelta(days=1)),
        ("7d", timedelta(days=7)),
        ("2w", timedelta(days=14)),
    ],
)
def test_load_model_reads_durations(text: str, expected: timedelta, write: Write) -> None:
    assert load_model(write(f"{MINIMAL}check: {{lookback: {text}}}"), {}).check.lookback == expected


@pytest.mark.parametrize("text", ["7", "-7d", "7 fortnights", "d", "''", "[7d]", "null", "99999999999w"])
def test_load_model_refuses_an_invalid_duration(text: str, write: Write) -> None:
    path = write(f"{MINIMAL}check: {{lookback: {text}}}")
    assert refused(path).startswith(f"{path}: check.lookback: ")


@pytest.mark.parametrize(
    "lines",
    [
        "predictions: {conn: w, table: t, id: i, time: t}",
        "predictions: {url: 's3://b/p', id: i, time: t}",
        "predictions: {source: sql}",
    ],
)
def test_load_model_with_a_source_that_cannot_be_read_yet_is_refused(lines: str, write: Write) -> None:
    path = write(f"{MINIMAL}{lines}\n")
    [line] = refused(path).splitlines()
    assert line.startswith(f"{path}: predictions: tables and files are not available yet")
    assert "set predictions.source to 'keel'" in line


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ("live: {context: levl}", "live.context: 'levl' is no feature, and not hour or weekday; did you mean 'level'?"),
        ("live: {columns: [scor]}", "live.columns: 'scor' is no feature or output; did you mean 'score'?"),
        ("live: {alpha: 0.1, average_run_length: 5000}", "keep one of the two promises"),
        ("live: {columns: [], harm: false}", "live: nothing would be monitored"),
        ("live: {columns: [level], context: level, harm: false}", "turn the monitors off with live: null"),
        ("live: null\nlabels: {audit_share: 0.1}", "live is null, so no test would read the audited labels"),
        ("live: {harm: false}\nlabels: {audit_share: 0.1}", "or set live.harm to true"),
        ("labels: {audit_share: 0.1, audit_delay: 24h}", "labels.audit_delay: 1d is not shorter than"),
    ],
)
def test_load_model_with_an_impossible_live_monitor_is_refused(lines: str, reason: str, write: Write) -> None:
    assert reason in refused(write(f"{MINIMAL}{lines}\n"))


def test_load_model_with_the_mean_loss_alone_is_monitored(write: Write) -> None:
    assert load_model(write(f"{MINIMAL}live: {{columns: []}}\n")).live.columns == ()


def test_load_model_without_live_monitors_has_none(write: Write) -> None:
    assert load_model(write(f"{MINIMAL}live: null\n")).live is None
    assert load_model(write(f"{MINIMAL}live: {{context: hour}}\n")).live.context == ("hour",)


def test_environment_overrides_the_file_and_a_models_variable_the_common_one(write: Write) -> None:
    path = write(f"{MINIMAL}drift: {{alpha: 0.2, min_rows: 7}}")
    for_all = {"KEEL__DRIFT__ALPHA": "0.1", "KEEL__CHECK__LOOKBACK": "3d"}
    assert load_model(path, for_all).drift.alpha == 0.1
    config = load_model(path, {**for_all, "KEEL__TIDE__DRIFT__ALPHA": "0.01", "KEEL__OTHER__DRIFT__ALPHA": "0.5"})
    assert config.drift.alpha == 0.01
    assert config.drift.min_rows == 7
    assert config.check.lookback == timedelta(days=3)


def test_environment_can_switch_the_schedule_off(write: Write) -> None:
    assert load_model(write(), {"KEEL__CHECK__SCHEDULE": "null"}).check.schedule is None


def test_environment_for_all_models_skips_one_without_the_section(write: Write) -> None:
    assert load_model(write(), {"KEEL__RETRAIN__WINDOW": "30d"}).retrain is None
    assert "retrain is not configured" in refused(write(), {"KEEL__TIDE__RETRAIN__WINDOW": "30d"})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("KEEL__DRIFT__ALHPA", "0.1", "drift.alhpa: no such key; did you mean 'alpha'?"),
        ("KEEL__TIDE__DRFIT__ALPHA", "0.1", "drfit.alpha: no such section; did you mean 'drift'?"),
        ("KEEL__DRIFT__ALPHA", "high", "drift.alpha: Input should be a valid number"),
        ("KEEL__DRIFT__ALPHA", "{", "'{' is not a YAML value"),
        ("KEEL__DRIFT__ALPHA", "", "drift.alpha: Input should be a valid number"),
        ("KEEL__MODEL", "other", "model: the name cannot be overridden"),
    ],
)
def test_environment_with_a_mistake_names_the_variable(name: str, value: str, message: str, write: Write) -> None:
    assert refused(write(), {name: value}).startswith(f"environment {name}: {message}")


def test_environment_with_a_misspelt_variable_is_refused(write: Write) -> None:
    write()
    folder = write().parents[1]
    models, broken = read_models(folder, {"KEEL__DRFIT__ALPHA": "1", "KEEL__TDIE__DRIFT__ALPHA": "1"})
    assert list(models) == ["tide"]
    assert [str(error) for error in broken] == [
        "environment KEEL__DRFIT__ALPHA: 'drfit' is neither a section nor a model; did you mean 'drift'?",
        "environment KEEL__TDIE__DRIFT__ALPHA: 'tdie' is neither a section nor a model; did you mean 'tide'?",
    ]


def test_overrides_of_a_run_override_file_and_environment(write: Write) -> None:
    config = load_model(write(), {"KEEL__DRIFT__ALPHA": "0.1"})
    changed = config.with_overrides({"drift.alpha": 0.01, "check.lookback": "1d", "features.level": "categorical"})
    assert changed.drift.alpha == 0.01
    assert changed.check.lookback == timedelta(days=1)
    assert changed.features["level"] == "categorical"
    assert config.drift.alpha == 0.1, "a configuration is frozen"


def test_overrides_with_a_mapping_replace_only_its_keys(write: Write) -> None:
    config = load_model(write(f"{MINIMAL}drift: {{min_rows: 7}}"), {}).with_overrides({"drift": {"alpha": 0.2}})
    assert (config.drift.alpha, config.drift.min_rows) == (0.2, 7)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("drift.alhpa", 1, "drift.alhpa: no such key; did you mean 'alpha'?; valid: alpha, "),
        ("drfit.alpha", 1, "drfit.alpha: no such section; did you mean 'drift'?; valid: model, "),
        ("drift.alpha.low", 1, "drift.alpha.low: alpha is a value, not a section"),
        ("drift", {"alhpa": 1}, "drift: alhpa: no such key; did you mean 'alpha'?"),
        ("drift.alpha", "x", "drift.alpha: Input should be a valid number"),
        ("drift.psi_warn", 0.9, "drift: psi_alert (0.25) must not be below psi_warn (0.9)"),
        ("model", "other", "model: the name cannot be overridden"),
        ("", 1, ": no such key"),
    ],
)
def test_overrides_with_a_mistake_name_the_key(key: str, value: object, message: str, write: Write) -> None:
    config = load_model(write(), {})
    with pytest.raises(ConfigError) as caught:
        config.with_overrides({key: value}, origin="params.overrides")
    assert str(caught.value).startswith(f"params.overrides: {message}")


def test_read_models_with_two_files_of_one_model_keeps_the_first_and_names_the_second(write: Write) -> None:
    folder = write(folder="a").parents[1]
    second = write(folder="b")
    models, broken = read_models(folder, {})
    assert list(models) == ["tide"]
    assert [str(error) for error in broken] == [f"{second}: model: 'tide' is already configured by another file"]
    with pytest.raises(ConfigError, match=re.escape(str(second))):
        load_models(folder, {})


def test_read_models_with_an_invalid_file_returns_the_others(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write().parents[1]
    broken = write("{", folder="broken")
    models, errors = read_models(folder, {})
    assert list(models) == ["tide"]
    assert len(errors) == 1
    assert get_model("tide", folder).model == "tide"
    with pytest.raises(ConfigError, match="no model named 'tid' is configured; did you mean 'tide'") as caught:
        get_model("tid", folder)
    assert f"\n{broken}: not valid YAML" in str(caught.value)


@pytest.mark.parametrize("text", ["", "\0", "description: 2013-02-30", "? [a]\n: b", "a: !!int x", "[" * 2_000])
def test_read_models_with_a_file_of_any_content_returns_the_others(text: str, write: Write) -> None:
    folder = write().parents[1]
    broken = write(text, folder="broken")
    models, [error] = read_models(folder, {})
    assert list(models) == ["tide"]
    assert str(error).startswith(f"{broken}: ")


def test_read_models_of_a_configured_folder_that_does_not_exist_names_it(tmp_path: Path) -> None:
    models, [error] = read_models(environment={"KEEL_MODELS_FOLDER": str(tmp_path / "modles")})
    assert models == {}
    assert str(error) == f"environment KEEL_MODELS_FOLDER: there is no folder {tmp_path / 'modles'}"


def test_get_model_of_an_unknown_model_lists_the_configured_ones(write: Write) -> None:
    folder = write().parents[1]
    with pytest.raises(UnknownModel, match="no model named 'tid' is configured; did you mean 'tide'.*configured: tide"):
        get_model("tid", folder)
    with pytest.raises(UnknownModel, match="configured: none"):
        get_model("tide", folder / "empty")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=5,
    ),
    st.sampled_from(
        [*ModelConfig.model_fields, "drift.alpha", "check.lookback", "predictions.source", "features.level"]
    ),
)
def test_overrides_with_any_value_raise_only_config_errors(value: object, key: str) -> None:
    config = ModelConfig.model_validate(yaml.safe_load(MINIMAL))
    try:
        changed = config.with_overrides({key: value})
    except ConfigError:
        return
    assert isinstance(changed, ModelConfig)
    assert changed.model == "tide"


RENAMED = pytest.mark.parametrize(("old", "new"), renames.KEYS.items())


def nested(dotted: str, value: object) -> dict[str, object]:
    section, _, key = dotted.partition(".")
    return {section: {key: value}}


def test_the_table_of_renames_leads_from_keys_that_are_gone_to_keys_that_exist() -> None:
    known = {f"{s}.{key}" for s, field in ModelConfig.model_fields.items() for key in keys_of(field.annotation)}
    assert set(renames.KEYS.values()) <= known
    assert not set(renames.KEYS) & known


def keys_of(section: object) -> list[str]:
    return list(getattr(section, "model_fields", {}))


@RENAMED
def test_an_old_key_in_a_file_is_refused_and_names_the_new_one(old: str, new: str, write: Write) -> None:
    path = write(MINIMAL + yaml.safe_dump(nested(old, 1)))
    assert refused(path) == f"{path}: {old}: renamed to {new} in 0.2"


@RENAMED
@pytest.mark.parametrize("model", ["", "TIDE__"])
def test_an_old_key_in_the_environment_is_refused_and_names_the_new_one(
    model: str, old: str, new: str, write: Write
) -> None:
    variable = f"KEEL__{model}{old.upper().replace('.', '__')}"
    assert refused(write(), {variable: "1"}) == f"environment {variable}: {old}: renamed to {new} in 0.2"


@RENAMED
def test_an_old_key_in_the_overrides_of_a_run_is_refused_and_names_the_new_one(
    old: str, new: str, write: Write
) -> None:
    config = load_model(write(), {})
    for overrides in ({old: 1}, nested(old, 1)):
        with pytest.raises(ConfigError, match=re.escape(f"{old}: renamed to {new} in 0.2")):
            config.with_overrides(overrides, origin="params.overrides")
