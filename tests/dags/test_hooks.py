from __future__ import annotations

import pytest


def connection(uri):
    from airflow.sdk import Connection

    return Connection.from_uri(uri, conn_id="probe")


@pytest.mark.parametrize(
    ("uri", "url"),
    [
        ("postgres://keel:p%40ss@db:5433/keel", "postgresql://keel:p%40ss@db:5433/keel"),
        ("postgresql://keel@db/keel?sslmode=require", "postgresql://keel@db/keel?sslmode=require"),
        ("postgres://db/keel", "postgresql://db/keel"),
        ("sqlite:////srv/keel/keel.db", "sqlite:////srv/keel/keel.db"),
        ("sqlite://%2Fsrv%2Fkeel%2Fkeel.db", "sqlite:////srv/keel/keel.db"),
    ],
)
def test_database_url_of_a_connection(uri, url):
    from keel_airflow.hooks import database_url

    assert database_url(connection(uri)) == url


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("http://mlflow:5000", "http://mlflow:5000"),
        ("https://mlflow.example.com", "https://mlflow.example.com"),
        ("http://mlflow.example.com:443/https", "https://mlflow.example.com:443"),
        ("generic://?tracking_uri=databricks%3A%2F%2Fprod", "databricks://prod"),
        ("sqlite:////srv/mlflow.db", "sqlite:////srv/mlflow.db"),
    ],
)
def test_tracking_uri_of_a_connection(uri, expected):
    from keel_airflow.hooks import tracking_uri

    assert tracking_uri(connection(uri)) == expected


def test_tracking_uri_with_a_login_sets_the_clients_environment(monkeypatch):
    import os

    from keel_airflow.hooks import tracking_uri

    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "")

    assert tracking_uri(connection("http://keel:s3cret@mlflow:5000")) == "http://mlflow:5000"
    assert (os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"]) == ("keel", "s3cret")


def test_hook_prefers_connections_to_the_environment(tmp_path, new_keel_home, monkeypatch):
    from keel_airflow.hooks import KeelHook

    monkeypatch.setenv("KEEL_STORE_URL", f"sqlite:///{tmp_path}/environment.db")
    with KeelHook().get_conn() as workspace:
        assert workspace.store.url == f"sqlite:///{tmp_path}/environment.db"

    monkeypatch.setenv("AIRFLOW_CONN_KEEL_STORE", f"sqlite:///{tmp_path}/connection.db")
    monkeypatch.setenv("AIRFLOW_CONN_MLFLOW_DEFAULT", "http://mlflow:5000")
    with KeelHook().get_conn() as workspace:
        assert workspace.store.url == f"sqlite:///{tmp_path}/connection.db"
        assert workspace.registry.tracking_uri == "http://mlflow:5000"
        assert workspace.home == new_keel_home


@pytest.mark.parametrize("url", ["sqlite:////srv/keel/keel.db", "postgresql://keel:p%40ss@127.0.0.1:5433/keel"])
def test_stack_gives_its_store_and_registry_to_airflow_as_variables(url):
    from keel.cli.standalone.environment import airflow_connections
    from keel_airflow.hooks import database_url, tracking_uri

    found = airflow_connections({"KEEL_STORE_URL": url, "MLFLOW_TRACKING_URI": "http://127.0.0.1:5000"})

    assert database_url(connection(found["AIRFLOW_CONN_KEEL_STORE"])) == url
    assert tracking_uri(connection(found["AIRFLOW_CONN_MLFLOW_DEFAULT"])) == "http://127.0.0.1:5000"


def test_hook_without_connections_opens_embedded_databases(new_keel_home):
    from keel_airflow.hooks import KeelHook

    with KeelHook().get_conn() as workspace:
        assert workspace.store.url == f"sqlite:///{new_keel_home / 'keel.db'}"
        assert workspace.registry.tracking_uri == f"sqlite:///{new_keel_home / 'mlflow.db'}"
