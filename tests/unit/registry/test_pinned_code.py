"""A version keeps the project's code that it was trained with, whatever the project's code becomes."""

from __future__ import annotations

import importlib
import shutil
import sys
from dataclasses import replace
from textwrap import dedent

import numpy as np
import pytest

import models
from keel.registry.artifacts import clear_cache
from keel.registry.pinned_code import copy_code, own_code
from keel.registry.registry import Registry
from keel.registry.scoring_model import to_model_input
from tests.support.toy import toy_config, toy_rows
from tests.support.versions.toy import toy_candidate

PIPELINE = """
    from models.clipping import limits
    from sklearn.base import BaseEstimator, TransformerMixin

    class Clip(TransformerMixin, BaseEstimator):
        def fit(self, X, y=None):
            self.fitted_ = True
            return self

        def transform(self, X):
            from .late import factor
            return X.clip(-limits.LIMIT, limits.LIMIT) * factor()

    def build(config, seed):
        from sklearn.compose import make_column_transformer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        return make_pipeline(make_column_transformer((Clip(), ["x", "z"])), LogisticRegression(random_state=seed))
"""
LIMITS = "LIMIT = 2.0\n"
LATE = "def factor():\n    return 1.0\n"
CONFIG = toy_config(model="clipping")
ROWS = toy_rows(days=2)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The folder of a model of the project, whose pipeline has helpers beside it."""
    folder = tmp_path / "models" / "clipping"
    folder.mkdir(parents=True)
    for name, text in (("__init__", ""), ("pipeline", dedent(PIPELINE)), ("limits", LIMITS), ("late", LATE)):
        (folder / f"{name}.py").write_text(text)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(models, "__path__", [*models.__path__, str(tmp_path / "models")])
    monkeypatch.setattr(models.__spec__, "submodule_search_locations", models.__path__)
    yield folder
    forget()


def forget():
    """Let the next import read the project's code again, as the next deployment does."""
    clear_cache()
    for name in [name for name in sys.modules if name.startswith("models.clipping")]:
        del sys.modules[name]
    vars(models).pop("clipping", None)
    importlib.invalidate_caches()


def fitted():
    pipeline = importlib.import_module("models.clipping.pipeline").build(CONFIG, 0)
    return pipeline.fit(to_model_input(ROWS, CONFIG), ROWS["label"].to_numpy())


@pytest.fixture
def registry(migrated_mlflow, tmp_path):
    (tmp_path / "mlflow.db").write_bytes(migrated_mlflow.read_bytes())
    return Registry(f"sqlite:///{tmp_path / 'mlflow.db'}", artifacts=tmp_path / "artifacts")


def test_version_answers_with_the_code_that_it_was_trained_with(registry, package):
    candidate = toy_candidate()
    answers, modules = {}, None
    for limit, factor in ((2.0, 1.0), (0.1, 3.0)):
        (package / "limits.py").write_text(f"LIMIT = {limit}\n")
        (package / "late.py").write_text(LATE.replace("1.0", str(factor)))
        forget()
        estimator = fitted()
        version = registry.register(CONFIG, replace(candidate, estimator=estimator), run_name="retrain").version
        answers[version] = estimator.predict_proba(to_model_input(ROWS, CONFIG))[:, 1]
        modules = {name: sys.modules[name] for name in sys.modules if name.startswith("models")}
    (package / "limits.py").unlink()
    for version in (1, 2, 1):
        score, _ = registry.load(CONFIG, version, anew=True).score(ROWS)
        np.testing.assert_array_equal(score, answers[version])
    assert np.abs(answers[1] - answers[2]).max() > 0.05
    assert modules == {name: sys.modules[name] for name in sys.modules if name.startswith("models")}
    assert not [place for place in sys.path if place.endswith("code")]
    assert {path for path in registry.digests("clipping", 1) if path.startswith("model/code/")} == {
        f"model/code/models/{name}.py"
        for name in ("__init__", "clipping/__init__", "clipping/pipeline", "clipping/limits", "clipping/late")
    }


READS_FILES = """
    import importlib.resources
    import pkgutil
    from pathlib import Path

    HERE = Path(__file__).resolve()
    LIMITS = [
        Path(__file__).with_name("limit.txt").read_text(),
        importlib.resources.files(__package__).joinpath("limit.txt").read_text(),
        pkgutil.get_data(__package__, "limit.txt").decode(),
    ]
"""


def test_module_that_reads_a_file_beside_it_is_loaded_with_the_deployed_file(package, tmp_path):
    (package / "limits.py").write_text(dedent(READS_FILES))
    (package / "limit.txt").write_text("2.0")
    expected = vars(importlib.import_module("models.clipping.limits"))
    copy_code(["models.clipping.pipeline.Clip"], tmp_path / "version" / "code")
    forget()
    with own_code(tmp_path / "version"):
        pinned = importlib.import_module("models.clipping.limits")
    for name in ("HERE", "LIMITS", "__file__"):
        assert vars(pinned)[name] == expected[name]
    assert pinned.__spec__.origin == pinned.__file__ == str(package / "limits.py")


def test_module_whose_project_is_not_there_has_a_file(package, tmp_path):
    (package / "limits.py").write_text("LIMIT = 2.0 if __file__.endswith('.py') else 0.0\n")
    code = tmp_path / "version" / "code"
    copy_code(["models.clipping.pipeline.Clip"], code)
    shutil.rmtree(package)
    shutil.copytree(code / "models", code / "elsewhere")
    forget()
    for name in ("models.clipping.limits", "elsewhere.clipping.limits"):
        with own_code(tmp_path / "version"):
            pinned = importlib.import_module(name)
        assert (pinned.LIMIT, pinned.__file__.endswith("limits.py")) == (2.0, True)


def test_code_in_a_folder_without_init_is_loaded(package, tmp_path):
    (package / "__init__.py").unlink()
    forget()
    copy_code(["models.clipping.pipeline.Clip"], tmp_path / "version" / "code")
    forget()
    with own_code(tmp_path / "version"):
        assert importlib.import_module("models.clipping.pipeline").limits.LIMIT == 2.0


def test_version_without_types_of_the_project_stores_no_code(registry):
    candidate = toy_candidate()
    registry.register(toy_config(), candidate, run_name="retrain")
    assert not [path for path in registry.digests("toy", 1) if "code/" in path]
