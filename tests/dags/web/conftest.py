"""Airflow's own API server app, in this process, with Keel's plugin, and people of each kind who call it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fastapi.testclient import TestClient

from tests.support.airflow.tide import copy_keel

if TYPE_CHECKING:
    from fastapi import FastAPI


@pytest.fixture(scope="session")
def airflow_app(airflow_db: None) -> FastAPI:
    """The app that ``airflow api-server`` serves, with the apps of the plugin mounted."""
    from airflow.api_fastapi.app import create_app

    return create_app(apps="core")


@pytest.fixture(scope="session")
def token_of(airflow_app: FastAPI) -> Callable[..., str]:
    """Make a token of Airflow's for a person with a role: admin, op, user or viewer. It may be expired."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    def make(role: str = "admin", *, seconds: int = 600) -> str:
        user = SimpleAuthManagerUser(username=f"{role}-person", role=role, teams=[])
        return get_auth_manager().generate_jwt(user, expiration_time_in_seconds=seconds)

    return make


@pytest.fixture
def fresh_installation() -> Iterator[None]:
    """The server opens its workspace anew in this test, and keeps it in no other."""
    from keel_airflow.web import installation

    installation.close()
    yield
    installation.close()


@pytest.fixture
def served_home(
    tide_promoted: Path, new_keel_home: Path, no_connections: None, fresh_installation: None
) -> Iterator[Path]:
    """A copy of a Keel with two versions and their checks, which the server answers about."""
    copy_keel(tide_promoted, new_keel_home)
    yield new_keel_home
    shutil.rmtree(new_keel_home)


@pytest.fixture
def client(airflow_app: FastAPI, token_of: Callable[..., str]) -> TestClient:
    """A viewer's client of Airflow's app. An error of the server is an answer here, as it is to a client."""
    headers = {"Authorization": f"Bearer {token_of('viewer')}"}
    return TestClient(airflow_app, headers=headers, raise_server_exceptions=False)
