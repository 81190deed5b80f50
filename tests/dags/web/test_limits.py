"""What the server does for Keel at most: threads of its own, bodies of a size and of a type."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from fastapi import APIRouter
from fastapi.testclient import TestClient
from pydantic import BaseModel

from keel_airflow.web import apps, limits, security

if TYPE_CHECKING:
    from fastapi import FastAPI


class Rows(BaseModel):
    rows: list[Any] = []


@pytest.fixture
def waiting_app(airflow_app: FastAPI) -> Iterator[tuple[FastAPI, threading.Event]]:
    """An app with an endpoint that waits for an event, and one that reads a body."""
    router, go_on = APIRouter(route_class=limits.BoundedRoute), threading.Event()

    @router.get("/slow")
    def wait(caller: security.CallerDep) -> str:
        return str(go_on.wait(30))

    @router.post("/rows")
    def count(caller: security.CallerDep, body: Rows) -> int:
        return len(body.rows)

    yield apps.guarded("test", [router]), go_on
    go_on.set()


@pytest.fixture
def poster(waiting_app: tuple[FastAPI, threading.Event], token_of: Callable[..., str]) -> TestClient:
    headers = {"Authorization": f"Bearer {token_of('admin')}"}
    return TestClient(waiting_app[0], headers=headers, raise_server_exceptions=False)


def test_requests_that_wait_take_none_of_airflows_threads_and_one_too_many_is_refused(
    airflow_app: FastAPI, waiting_app: tuple[FastAPI, threading.Event], token_of: Callable[..., str]
) -> None:
    app, go_on = waiting_app
    headers = {"Authorization": f"Bearer {token_of('admin')}"}
    fits = limits.THREADS + limits.WAITING

    async def scenario() -> None:
        keel = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://keel", headers=headers)
        airflow = httpx.AsyncClient(transport=httpx.ASGITransport(airflow_app), base_url="http://af", headers=headers)
        async with keel, airflow:
            running = [asyncio.create_task(keel.get("/slow", timeout=60)) for _ in range(fits)]
            while limits.threads().statistics().tasks_waiting < limits.WAITING:
                await asyncio.sleep(0.01)
            refused = await keel.get("/slow")
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            # a plain def endpoint of Airflow's, which runs on the threads of its own
            assert (await asyncio.wait_for(airflow.get("/api/v2/version"), 10)).status_code == 200
            go_on.set()
            assert {answer.status_code for answer in await asyncio.gather(*running)} == {200}
            assert (await keel.get("/slow")).status_code == 200

    asyncio.run(scenario())


def test_reading_that_is_late_is_given_up_and_keeps_its_thread_until_it_ends(
    token_of: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "READING_SECONDS", 0.3)
    router, go_on = APIRouter(route_class=limits.BoundedRoute), threading.Event()

    @router.get("/slow")
    def wait(caller: security.CallerDep) -> str:
        return str(go_on.wait(30))

    app, headers = apps.guarded("test", [router]), {"Authorization": f"Bearer {token_of('admin')}"}

    async def scenario() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x", headers=headers) as keel:
            late = await asyncio.gather(*(keel.get("/slow", timeout=60) for _ in range(limits.THREADS + 5)))
            assert {(each.status_code, each.headers["retry-after"]) for each in late} == {(503, "5")}
            assert limits.threads().statistics().borrowed_tokens == limits.THREADS
            go_on.set()
            while limits.threads().statistics().borrowed_tokens:
                await asyncio.sleep(0.01)
            assert (await keel.get("/slow")).status_code == 200

    asyncio.run(asyncio.wait_for(scenario(), 30))


def test_endpoint_that_would_block_the_servers_loop_is_no_route() -> None:
    async def blocking() -> None: ...

    with pytest.raises(TypeError, match="plain function"):
        limits.BoundedRoute("/x", blocking)


@pytest.mark.parametrize("is_chunked", [False, True])
def test_body_that_is_too_large_is_refused_however_it_is_sent(poster: TestClient, is_chunked: bool) -> None:
    body = b'{"rows": [' + b"1," * (limits.MAX_BODY // 2) + b"1]}"

    def parts() -> Iterator[bytes]:
        for start in range(0, len(body), 2**16):
            yield body[start : start + 2**16]

    answer = poster.post("/rows", content=parts() if is_chunked else body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    fits = b'{"rows": [' + b"1," * (limits.MAX_BODY // 2 - 8) + b"1]}"
    assert poster.post("/rows", content=fits, headers={"Content-Type": "application/json"}).status_code == 200


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b'{"rows": [1]}', "application/json", 200),
        (b'{"rows": [1]}', "application/json; charset=utf-8", 200),
        (b'{"rows": [1]}', "APPLICATION/JSON", 200),
        (b'{"rows": [1]}', "text/plain", 415),
        (b'{"rows": [1]}', "", 415),
        (b"{", "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"[" * 200_000, "application/json", 400),
        (b'{"rows": 9' + b"9" * 5000 + b"}", "application/json", 400),
        (b'{"rows": {"a": 1}}', "application/json", 422),
        (b"null", "application/json", 422),
        (b"", "application/json", 422),
        (b'"\\ud800"', "application/json", 422),
    ],
)
def test_body_of_any_content_has_a_status_of_its_own(poster: TestClient, body: bytes, kind: str, status: int) -> None:
    answer = poster.post("/rows", content=body, headers={"Content-Type": kind} if kind else {})
    assert answer.status_code == status, answer.text
    if status != 200:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == status


def test_streamed_body_is_not_read_to_its_end(
    waiting_app: tuple[FastAPI, threading.Event], token_of: Callable[..., str]
) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 20 * limits.MAX_BODY:
            sent += 2**20
            yield b" " * 2**20

    async def scenario() -> int:
        headers = {"Authorization": f"Bearer {token_of('admin')}", "Content-Type": "application/json"}
        transport = httpx.ASGITransport(waiting_app[0])
        async with httpx.AsyncClient(transport=transport, base_url="http://keel", headers=headers) as client:
            return (await client.post("/rows", content=endless())).status_code

    assert asyncio.run(scenario()) == 413
    assert sent < 2 * limits.MAX_BODY
