"""The scoring service's routes. What they raise becomes an answer in `keel.serving.http.middleware`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.responses import Response

from keel.errors import BadRequest, ConfigError, suggestion
from keel.serving.api_keys import Keys, presented
from keel.serving.http.json_requests import parse
from keel.serving.http.middleware import RETRY_AFTER, Gate, problem
from keel.serving.models.input_schema import shown
from keel.serving.prediction_log.records import label_block
from keel.serving.service import Service
from keel.serving.worker_status import TELL_SECONDS
from keel.window import parse_time

if TYPE_CHECKING:
    from starlette.requests import Request

    from keel.serving.settings import Settings

T = TypeVar("T")

ASIDE_BYTES = 2**18
"""A body from which reading it would hold up other requests for milliseconds: it is read in a thread."""
PERFORMANCE_SPAN = timedelta(days=30)
"""What is told of realised performance if no start is given."""
ASKED_OF_PERFORMANCE = ("bucket", "start", "end", "version")
FIRST = datetime.min.replace(tzinfo=UTC)
LONGEST_NUMBER = 18
"""Digits of a version that every database can look for."""
READERS = ThreadPoolExecutor(4, thread_name_prefix="keel-read")
"""For what the store is asked; where it does not answer, that takes half a minute, and nothing else is to wait."""
WITHHELD = "why is said to those who have a key, and in the log"
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


def create_app(settings: Settings, *, service: Service | None = None) -> FastAPI:
    """Return the app: an ASGI application whose lifespan starts and stops the service.

    Raises ConfigError or UnknownModel for settings it cannot run with.
    """
    serving = service or Service(settings)
    keys = Keys(settings.keys_file) if settings.keys_file is not None else None

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(serving.start)
        telling = asyncio.create_task(_tell(serving))
        try:
            yield
        finally:
            telling.cancel()
            await asyncio.to_thread(serving.stop)

    app = FastAPI(title="Keel", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.service, app.state.keys = serving, keys
    app.add_middleware(Gate, service=serving, keys=keys, max_body=settings.max_body, seconds=settings.receive_seconds)
    app.add_exception_handler(HTTPException, _http_error)  # type: ignore[arg-type]
    for path, endpoint, method in (
        ("/models/{model}/invocations", invoke, "POST"),
        ("/invocations", invoke, "POST"),
        ("/models/{model}/feedback", feedback, "POST"),
        ("/feedback", feedback, "POST"),
        ("/models/{model}/performance", performance, "GET"),
        ("/models/{model}/experiments", experiments, "GET"),
        ("/health", health, "GET"),
        ("/ping", health, "GET"),  # what MLflow's server, and those who watch it, call it
        ("/ready", ready, "GET"),
        ("/version", version, "GET"),
        ("/metrics", metrics, "GET"),
    ):
        # Plain routes: what FastAPI would read of a request, these read themselves, and faster.
        app.add_route(path, endpoint, methods=[method])
    return app


async def invoke(request: Request) -> Response:
    """Answer rows in MLflow's protocol; the answer leaves when what is to be stored of it is in the spool."""
    serving = _serving(request)
    model = request.path_params.get("model") or serving.only_model()
    served = serving.served(model)
    body, content_type = await request.body(), request.headers.get("content-type")
    _require_plain(request)
    if len(body) < ASIDE_BYTES:
        rows = parse(body, content_type, served.inputs, clock=serving.clock)
    else:
        rows = await asyncio.to_thread(parse, body, content_type, served.inputs, clock=serving.clock)
    answer = await serving.scorer.answer(rows, served)
    serving.metrics.predicted(answer.block)
    return Response(answer.body(), headers=dict(answer.headers()), media_type="application/json")


async def feedback(request: Request) -> Response:
    """Take labels; what becomes of each is decided when it reaches the store."""
    from keel.feedback import label_table

    serving = _serving(request)
    body = _read_json(request, await request.body())
    model, labels = _labels(body, request.path_params.get("model"))
    config = serving.config(model or serving.only_model())
    table = await asyncio.to_thread(label_table, labels, config, now=datetime.now(UTC))
    block = label_block(config.model, table)
    await serving.keep(block)
    return _json({"accepted": len(block.ids), "ids": block.ids}, status=202)


async def performance(request: Request) -> Response:
    """Tell a model's realised performance over time, beside what its holdout promised."""
    from keel.monitoring.performance_history import BUCKETS, series

    serving = _serving(request)
    config = serving.config(request.path_params["model"])
    asked = request.query_params
    for name in asked:
        if name not in ASKED_OF_PERFORMANCE:
            near = suggestion(name, ASKED_OF_PERFORMANCE)
            raise BadRequest(f"{shown(name)}: unknown parameter{near}; valid: {', '.join(ASKED_OF_PERFORMANCE)}")
    end = _time("end", asked.get("end")) or datetime.now(UTC)
    start = _time("start", asked.get("start")) or max(end, FIRST + PERFORMANCE_SPAN) - PERFORMANCE_SPAN
    if start >= end:
        raise BadRequest(f"start: {start.isoformat()} is not before the end, {end.isoformat()}")
    number = asked.get("version")
    if number is not None and not (number.isdecimal() and len(number) <= LONGEST_NUMBER):
        raise BadRequest(f"version: {shown(number)} is not a version's number")
    bucket = asked.get("bucket", "day")
    if bucket not in BUCKETS:
        raise BadRequest(f"bucket: {bucket!r} must be one of {', '.join(BUCKETS)}")
    version = None if number is None else int(number)
    found = await _read(series, serving.opened(), config, start, end, bucket=bucket, version=version)
    return _json({"model": config.model, "bucket": bucket, "performance": found})


async def experiments(request: Request) -> Response:
    """Tell a model's experiments, those that run and those that have ended."""
    from keel.deployments import experiments as known

    serving = _serving(request)
    config = serving.config(request.path_params["model"])
    found = await _read(known.list_all, serving.opened().store, config.model)
    return _json({"model": config.model, "experiments": [each.to_dict() for each in found]})


async def health(request: Request) -> Response:
    """Say whether the process can go on; if not, it is to be started anew."""
    broken = (await _looked(request)).healthy
    if not broken:
        return _json({"status": "ok"})
    return _json({"status": "broken", "error": broken if _may_know(request) else WITHHELD}, status=503)


async def ready(request: Request) -> Response:
    """Say whether requests can be answered, and if not what is missing."""
    serving = await _looked(request)
    own = serving.missing
    serving.siblings.tell(own)  # before looking at the others: one that is about to take requests sees it, or is seen
    missing = {**own, **serving.siblings.missing()}
    if not _may_know(request):
        missing = dict.fromkeys(missing, WITHHELD)
    document = {"ready": not missing, "missing": missing}
    return _json(document, status=503, headers={"Retry-After": RETRY_AFTER}) if missing else _json(document)


async def version(request: Request) -> Response:
    """Say what runs: Keel, each model's versions, the spool."""
    return _json(_serving(request).state())


async def metrics(request: Request) -> Response:
    """Give everything that is counted, to Prometheus."""
    serving = _serving(request)
    serving.show()
    return Response(serving.metrics.text(), headers={"Content-Type": PROMETHEUS})


def _may_know(request: Request) -> bool:
    """Whether to say what stands in the way on a path that is open to everybody: it names hosts, users and folders."""
    keys, key = request.app.state.keys, presented(request.scope["headers"])
    return keys is None or (key is not None and keys.name_of(key) is not None)


def _serving(request: Request) -> Service:
    return request.app.state.service


async def _tell(serving: Service) -> None:
    """Keep the other workers informed, of no less than that this one's event loop runs."""
    while serving.siblings.several:
        if serving.room.missing:
            await asyncio.to_thread(serving.room.look)
        serving.siblings.tell(serving.missing)
        await asyncio.sleep(TELL_SECONDS)


async def _looked(request: Request) -> Service:
    """Return the service, which knows by now whether it can write; where it can, that costs nothing."""
    serving = _serving(request)
    if serving.room.missing:
        await asyncio.to_thread(serving.room.look)
    return serving


async def _read(read: Callable[..., T], *args: Any, **options: Any) -> T:
    """Call what waits for the store, in a thread of those that requests to be answered and labels do not need."""
    return await asyncio.get_running_loop().run_in_executor(READERS, partial(read, *args, **options))


def _require_plain(request: Request) -> None:
    coding = request.headers.get("content-encoding", "identity")
    if coding.lower() != "identity":
        raise BadRequest(f"Content-Encoding: {coding!r} is not understood; send the body as it is", status=415)


def _read_json(request: Request, body: bytes) -> Any:
    _require_plain(request)
    content_type = request.headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise BadRequest(f"Content-Type: {content_type or 'none'!r}; send application/json", status=415)
    try:
        return msgspec.json.decode(body)
    except RecursionError:
        raise BadRequest("the JSON is nested too deeply", status=400) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"the body is not JSON: {error}", status=400) from None


def _labels(body: Any, named: str | None) -> tuple[str | None, list[Any]]:
    """Return the model and the labels that a body of feedback holds: one label, or ``labels``, and maybe ``model``."""
    if not isinstance(body, dict):
        raise BadRequest('the body must be an object: one label, or {"model": …, "labels": [ … ]}')
    rest = dict(body)
    model = rest.pop("model", None)
    if model is not None and not isinstance(model, str):
        raise BadRequest("model: must be a text")
    if named is not None and model not in (None, named):
        raise BadRequest(f"model: the body says {model!r}, the path {named!r}")
    if "labels" not in rest:
        return named or model, [rest]
    labels = rest.pop("labels")
    if rest:
        raise BadRequest(f"{next(iter(rest))}: stands beside labels; what is said of a label stands inside it")
    return named or model, labels


def _time(name: str, text: str | None) -> datetime | None:
    try:
        return parse_time(text)
    except ConfigError as error:
        raise BadRequest(f"{name}: {error}") from None
    except OverflowError:
        raise BadRequest(f"{name}: {text} is a time that no clock shows in UTC") from None


def _json(document: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(document), status, headers, media_type="application/json")


async def _http_error(request: Request, error: HTTPException) -> Response:
    """Say in Keel's form what the router says: no such path, or not that method."""
    said = {404: f"there is nothing at {request.url.path}", 405: f"{request.method} is not what this path takes"}
    kinds = {404: "NotFound", 405: "MethodNotAllowed"}
    return problem(
        error.status_code, said.get(error.status_code, str(error.detail)), kinds.get(error.status_code, "HttpError"),
        dict(error.headers or {}),
    )  # fmt: skip
