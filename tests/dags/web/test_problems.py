"""Every error has a status by name, and nothing that is not known by name is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from fastapi import APIRouter
from fastapi.testclient import TestClient
from sqlalchemy.exc import OperationalError

from keel import errors
from keel.errors import KeelError
from keel_airflow.web import apps, limits, problems, security

if TYPE_CHECKING:
    from fastapi import FastAPI

SECRET = "postgresql://keel:hunter2@db/keel"


def kinds(base: type[KeelError] = KeelError) -> Iterator[type[KeelError]]:
    for kind in base.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield kind
        yield from kinds(kind)


@pytest.mark.parametrize("kind", sorted(set(kinds()), key=lambda kind: kind.__name__))
def test_every_error_of_keels_has_a_status_that_tells_it(kind: type[KeelError]) -> None:
    error = kind.__new__(kind)
    Exception.__init__(error, "it is so")
    if isinstance(error, errors.BadRequest):
        error.status = 422
    problem = problems.of_error(error)
    assert problem.status in (404, 409, 422, 503)
    # whoever calls need not learn where the store and the registry are
    is_told = kind not in (errors.StoreUnavailable, errors.StoreNotPrepared, errors.RegistryUnavailable)
    assert (problem.detail == "it is so") == is_told
    assert (problem.retry_after is not None) == (problem.status == 503)
    if not kind.permanent:
        assert problem.status == 503


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.UnknownModel("x", []), 404),
        (errors.UnknownAlert("x"), 404),
        (errors.NothingToRollBackTo("x"), 409),
        (errors.NotPromotable("x"), 409),
        (errors.StaleGeneration("x"), 409),
        (errors.InvalidParameter("x"), 422),
        (errors.BadRequest("x", status=413), 413),
        (errors.StoreUnavailable("x"), 503),
        (errors.RegistryUnavailable("x"), 503),
    ],
)
def test_error_has_its_status(error: KeelError, status: int) -> None:
    assert problems.of_error(error).status == status


@pytest.mark.parametrize(
    ("error", "fields"),
    [
        (errors.BadRequest("since: 2013-05-01T00:00:00+00:00 is not before the end"), ["since"]),
        (errors.ConfigError("overrides: drift.alpha: is 5\noverrides: nope: no such key"),
         ["overrides.drift.alpha", "overrides.nope"]),
        (errors.BadSilence("it would have no effect"), [""]),
    ],
)  # fmt: skip
def test_request_that_is_not_valid_has_an_entry_a_field(error: KeelError, fields: list[str]) -> None:
    problem = problems.of_error(error)
    assert [each["field"] for each in problem.errors] == fields
    assert all(each["message"] and each["remedy"] for each in problem.errors)


@pytest.fixture(scope="module")
def failing(airflow_app: FastAPI, token_of: Callable[..., str]) -> TestClient:
    router = APIRouter(route_class=limits.BoundedRoute)

    @router.get("/bug")
    def bug(caller: security.CallerDep) -> str:
        raise RuntimeError(SECRET)

    @router.get("/database")
    def database(caller: security.CallerDep) -> str:
        raise OperationalError("SELECT 1", {}, Exception(SECRET))

    @router.get("/wrong")
    def wrong(caller: security.CallerDep) -> int:
        return "no number"  # type: ignore[return-value]

    headers = {"Authorization": f"Bearer {token_of('viewer')}"}
    return TestClient(apps.guarded("test", [router]), headers=headers)


@pytest.mark.parametrize(("path", "status"), [("/bug", 500), ("/database", 503), ("/wrong", 500)])
def test_unexpected_error_is_logged_and_told_to_nobody(
    failing: TestClient, caplog: pytest.LogCaptureFixture, path: str, status: int
) -> None:
    answer = failing.get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json().keys() == {"type", "title", "status", "detail", "instance", "errors"}
    assert SECRET not in answer.text
    assert "no number" not in answer.text
    assert any(record.exc_info for record in caplog.records)


def test_database_that_is_down_at_the_login_is_503(failing: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.models.revoked_token import RevokedToken

    def is_revoked(jti: str) -> bool:
        raise OperationalError("SELECT 1", {}, Exception(SECRET))

    monkeypatch.setattr(RevokedToken, "is_revoked", is_revoked)
    answer = failing.get("/bug")
    assert (answer.status_code, SECRET in answer.text) == (503, False)
    assert answer.headers["retry-after"]
