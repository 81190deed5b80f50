"""The configured models of a service: one team's mistake is its own, and a new folder needs no restart."""

from __future__ import annotations

import logging

import pytest

from keel.errors import ConfigError, UnknownModel
from keel.serving.models.configured import ConfiguredModels
from tests.support.serving.process import write_models
from tests.support.toy import toy_config


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An installation with the models toy and other, and one whose file is broken."""
    monkeypatch.setenv("KEEL_MODELS_FOLDER", str(tmp_path / "models"))
    write_models(tmp_path, toy_config(), toy_config(model="other"))
    write(tmp_path, "broken", "model: broken\nfaetures: {}\n")
    return tmp_path


def write(home, name, text):
    path = home / "models" / name / "model.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def read_twice(models):
    """Look twice, as a file counts when it is as at the last look; return the names of new models."""
    found = [*models.read_again(), *models.read_again()]
    for config in found:
        models.serve(config)
    return [config.model for config in found]


@pytest.mark.parametrize("wanted", [(), ("toy",), ("toy", "other")])
def test_broken_file_keeps_no_other_model_from_being_served(home, wanted, caplog):
    models = ConfiguredModels(wanted)
    assert sorted(models.served) == sorted(wanted or ("toy", "other"))
    [error] = models.broken
    assert "broken/model.yaml" in error
    with caplog.at_level(logging.ERROR):
        models.log_broken()
    assert "broken/model.yaml" in caplog.text
    assert models.state()["broken"] == [error]
    assert "its model.yaml is not valid" in str(models.unknown("broken"))
    assert "faetures" in str(models.unknown("broken"))


def test_models_that_are_wanted_must_be_valid(home):
    with pytest.raises(UnknownModel, match=r"(?s)its model.yaml is not valid: .*faetures"):
        ConfiguredModels(("toy", "broken"))
    with pytest.raises(UnknownModel, match="did you mean 'toy'"):
        ConfiguredModels(("toi",))


def test_files_none_of_which_is_valid_are_all_named(home):
    write(home, "toy", "a")
    write(home, "other", "b")
    with pytest.raises(ConfigError) as caught:
        ConfiguredModels(())
    for name in ("toy", "other", "broken"):
        assert f"{name}/model.yaml" in str(caught.value)


def test_new_folder_and_corrected_file_are_taken_up(home):
    models = ConfiguredModels(())
    before = models.read_at
    assert read_twice(models) == []
    assert "models were read at" in str(models.unknown("more"))
    write_models(home, toy_config(model="more"), toy_config(model="broken"))
    assert read_twice(models) == ["broken", "more"]
    assert sorted(models.served) == ["broken", "more", "other", "toy"]
    assert models.broken == ()
    assert models.read_at > before
    assert read_twice(models) == []


def test_half_written_file_does_not_count(home):
    models = ConfiguredModels(())
    write_models(home, toy_config(model="more"))
    whole = (home / "models" / "more" / "model.yaml").read_text()
    write(home, "more", whole)
    assert models.read_again() == []
    write(home, "more", whole + "description: more\n")  # it grows between two looks
    assert models.read_again() == []
    [config] = models.read_again()
    assert config.model == "more"


def test_service_of_named_models_takes_up_no_others(home):
    models = ConfiguredModels(("toy",))
    write_models(home, toy_config(model="more"))
    assert read_twice(models) == []
    for name in ("more", "other"):
        assert "this service was started for toy only (--model)" in str(models.unknown(name))


def test_changed_configuration_of_a_served_model_is_named_and_not_used(home, caplog):
    models = ConfiguredModels(())
    served = dict(models.served)
    write_models(home, toy_config(serving={"max_rows": 7}))
    (home / "models" / "other" / "model.yaml").unlink()
    with caplog.at_level(logging.WARNING):
        assert read_twice(models) == read_twice(models) == []
    assert [record.args for record in caplog.records] == [("other",), ("toy",)]
    assert "restart the service" in caplog.text
    assert models.state()["changed"] == ["other", "toy"]
    assert models.served == served


def test_model_of_unnamed_requests_stays_when_another_appears(home):
    (home / "models" / "other" / "model.yaml").unlink()
    models = ConfiguredModels(())
    assert models.only == "toy"
    write_models(home, toy_config(model="more"))
    assert read_twice(models) == ["more"]
    assert models.only == "toy"
