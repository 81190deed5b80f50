"""Names of features: what YAML, Keel's own columns and Unicode make of them is said when the file is read."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from keel.config import ModelConfig, load_model, read_models
from keel.config.feature_names import RESERVED
from keel.config.loading import validated
from keel.errors import ConfigError

FILE = """model: toy
target: {{name: bought}}
features: {{x: numeric, {feature}: numeric}}
"""
NFC = "größe"
NFD = unicodedata.normalize("NFD", NFC)


def written(folder: Path, content: str) -> Path:
    path = folder / "model.yaml"
    path.write_text(content, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "read"),
    [
        *(("no", "false"), ("yes", "true"), ("on", "true"), ("Off", "false"), ("null", "null"), ("~", "null")),
        *(("1", "the int 1"), ("1.5", "the float 1.5"), ("0x10", "the int 16"), ("1:30", "the int 90")),
        ("2013-05-01", "the date 2013-05-01"),
    ],
)
def test_feature_name_that_yaml_reads_as_another_value_is_refused_with_the_remedy(
    tmp_path: Path, name: str, read: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_model(written(tmp_path, FILE.format(feature=name)), {})
    assert f'YAML reads the name {name} as {read}: write it in quotes, "{name}"' in str(caught.value)
    assert "line 3, column 24" in str(caught.value)
    assert load_model(written(tmp_path, FILE.format(feature=f'"{name}"')), {}).features == dict.fromkeys(
        ("x", name), "numeric"
    )


@pytest.mark.parametrize(
    "section", ["serving: {entity_column: no}", "promotion: {segments: [no]}", "owner: 2013-05-01"]
)
def test_text_that_yaml_reads_as_another_value_is_refused_with_the_remedy(tmp_path: Path, section: str) -> None:
    key = section.partition(":")[0]
    with pytest.raises(ConfigError, match=rf"{key}.*must be a text \(got .*are texts only in quotes"):
        load_model(written(tmp_path, FILE.format(feature="z") + section), {})


@pytest.mark.parametrize("name", RESERVED)
def test_feature_with_the_name_of_a_column_of_keels_is_refused_when_it_is_configured(name: str) -> None:
    with pytest.raises(ConfigError, match=f"features: a feature cannot be called '{name}'.*rename it, .*'{name}_'"):
        validated(ModelConfig, {"model": "toy", "target": {"name": "y"}, "features": {name: "numeric"}}, origin="here")


def test_model_with_a_reserved_feature_hides_no_other(tmp_path: Path) -> None:
    for model, feature in (("good", "z"), ("bad", "score")):
        (tmp_path / model).mkdir()
        written(tmp_path / model, FILE.format(feature=feature).replace("toy", model))
    models, broken = read_models(tmp_path, {})
    assert list(models) == ["good"]
    assert "bad/model.yaml: features: a feature cannot be called 'score'" in str(broken[0])


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["", "x"], "'' cannot be a feature's name"),
        (["a\x00"], "NUL"),
        ([NFC, NFD], "one name, with its accents in two"),
    ],
)
def test_feature_name_that_the_store_cannot_have_is_refused_when_it_is_configured(
    names: list[str], reason: str
) -> None:
    features = dict.fromkeys(names, "numeric")
    with pytest.raises(ConfigError, match=reason):
        validated(ModelConfig, {"model": "toy", "target": {"name": "y"}, "features": features}, origin="here")
