"""Published reports on a real MLflow (a SQLite file): one run a month, replaced by a second publication, deletable."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from keel.errors import SchemaError
from keel.registry.registry import Registry
from keel.registry.report_files import MONTH_TAG, ReportFiles

FILES = {"report.html": "<h1>äöü</h1>", "report.md": "# äöü\n"}


@pytest.fixture
def registry(tmp_path, migrated_mlflow):
    shutil.copy(migrated_mlflow, tmp_path / "mlflow.db")
    return Registry(f"sqlite:///{tmp_path / 'mlflow.db'}", artifacts=tmp_path / "artifacts")


def runs_of(registry):
    experiment = registry.client.get_experiment_by_name("keel/toy")
    return registry.client.search_runs([experiment.experiment_id])


def test_publish_writes_one_run_a_month_with_a_folder_each(registry):
    first = registry.reports.publish("toy", "2013-06", "2013-06-01T00_check", FILES, main="report.html")
    second = registry.reports.publish("toy", "2013-06", "2013-06-08T00_check", FILES, main="report.html")
    other = registry.reports.publish("toy", "2013-07", "2013-07-01T00_check", FILES, main="report.html")

    assert first.run_id == second.run_id != other.run_id
    assert {(run.info.run_name, run.data.tags[MONTH_TAG], run.info.status) for run in runs_of(registry)} == {
        ("reports 2013-06", "2013-06", "FINISHED"),
        ("reports 2013-07", "2013-07", "FINISHED"),
    }
    assert [file.path for file in registry.client.list_artifacts(first.run_id)] == [first.folder, second.folder]
    assert Path(first.address).read_text(encoding="utf-8") == FILES["report.html"]


def test_publish_again_replaces_the_files(registry):
    first = registry.reports.publish("toy", "2013-06", "2013-06-01T00_check", FILES, main="report.html")

    again = registry.reports.publish(
        "toy", "2013-06", "2013-06-01T00_check", {"report.html": "new"}, main="report.html"
    )

    assert again == first
    assert Path(again.address).read_text(encoding="utf-8") == "new"


def test_delete_frees_the_files_and_the_empty_month(registry):
    first = registry.reports.publish("toy", "2013-06", "2013-06-01T00_check", FILES, main="report.html")
    second = registry.reports.publish("toy", "2013-06", "2013-06-08T00_check", FILES, main="report.html")

    registry.reports.delete(first.run_id, first.folder)

    assert not Path(first.address).parent.exists()
    assert Path(second.address).exists()
    assert len(runs_of(registry)) == 1

    registry.reports.delete(second.run_id, second.folder)
    registry.reports.delete(second.run_id, second.folder)
    registry.reports.delete("0" * 32, second.folder)

    assert not Path(second.address).parent.exists()
    assert runs_of(registry) == []


def test_publish_after_the_month_was_emptied_makes_a_new_run(registry):
    first = registry.reports.publish("toy", "2013-06", "2013-06-01T00_check", FILES, main="report.html")
    registry.reports.delete(first.run_id, first.folder)

    again = registry.reports.publish("toy", "2013-06", "2013-06-01T00_check", FILES, main="report.html")

    assert again.run_id != first.run_id
    assert Path(again.address).exists()


@pytest.mark.parametrize("folder", ["", "..", "../keel", "a/b"])
def test_delete_of_what_is_no_report_folder_deletes_nothing(registry, folder):
    published = registry.reports.publish("toy", "2013-06", "2013-06-01T00_check", FILES, main="report.html")

    with pytest.raises(SchemaError, match="nothing was deleted"):
        registry.reports.delete(published.run_id, folder)

    assert Path(published.address).exists()


def test_delete_in_a_run_of_a_version_deletes_nothing(registry):
    published = registry.reports.publish("toy", "2013-06", "2013-06-01T00_check", FILES, main="report.html")
    registry.client.delete_tag(published.run_id, MONTH_TAG)

    with pytest.raises(SchemaError, match="not one of reports"):
        registry.reports.delete(published.run_id, published.folder)

    assert Path(published.address).exists()


@pytest.mark.parametrize(
    ("pages", "start"),
    [
        ("https://mlflow.example.com/team/", "https://mlflow.example.com/team/#/experiments/"),
        ("https://user:secret@mlflow.example.com", "https://mlflow.example.com/#/experiments/"),
    ],
)
def test_address_is_of_the_pages_for_people_and_without_a_password(tmp_path, migrated_mlflow, pages, start):
    shutil.copy(migrated_mlflow, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    registry = Registry(uri, artifacts=tmp_path / "artifacts", pages=pages)

    published = registry.reports.publish("toy", "2013-06", "2013-06-01T00_check", FILES, main="report.html")

    assert published.address.startswith(start)
    assert published.address.endswith(f"/runs/{published.run_id}/artifacts/2013-06-01T00_check/report.html")


def test_address_of_a_server_whose_uri_holds_a_password_is_without_it(registry):
    # The client is of the database: no server is needed to write an address.
    server = SimpleNamespace(
        uri="https://keel:s3cret@mlflow.example.com", client=registry.client, reachable=nullcontext
    )
    registry.reports.publish("toy", "2013-05", "f", FILES, main="report.html")
    files = ReportFiles(server, lambda client, model: client.get_experiment_by_name(f"keel/{model}").experiment_id)

    published = files.publish("toy", "2013-05", "f", FILES, main="report.html")

    assert published.address.startswith("https://mlflow.example.com/#/experiments/")


def test_address_of_files_behind_a_password_is_without_it():
    location = "ftp://keel:s3cret@files.example.com/mlflow/1/artifacts?sig=1"
    run = SimpleNamespace(info=SimpleNamespace(artifact_uri=location))
    client = SimpleNamespace(
        get_run=lambda _: run, list_artifacts=lambda *_: [SimpleNamespace(path="keel/comparison.html")]
    )
    database = SimpleNamespace(uri="postgresql://keel:s3cret@db/mlflow", client=client, reachable=nullcontext)

    address = ReportFiles(database, lambda *_: "1").find("1", "keel/comparison.html")

    assert address == "ftp://files.example.com/mlflow/1/artifacts/keel/comparison.html"
