"""The service's routes. `keel.serving.http.middleware` turns the errors that they raise into responses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.routing import Route

from keel.errors import BadRequest, ConfigError, KeelError, suggestion
from keel.serving.api_keys import ApiKeys, Scope, keys_in
from keel.serving.http.json_bodies import decode_strictly
from keel.serving.http.json_requests import JSON, media_type, parse
from keel.serving.http.middleware import RETRY_AFTER, RequestMiddleware, json_error
from keel.serving.http.paths import Access, Path
from keel.serving.prediction_log.records import label_block
from keel.serving.service import Service
from keel.serving.worker_status import PUBLISH_SECONDS
from keel.values.scalars import shown
from keel.window import parse_time

if TYPE_CHECKING:
    from starlette.requests import Request

    from keel.config import ModelConfig
    from keel.serving.settings import Settings

T = TypeVar("T")

LARGE_BODY = 2**18
"""Bytes from which a body is parsed in a thread, as parsing would delay other requests by milliseconds."""
PERFORMANCE_SPAN = timedelta(days=30)
"""Length of the reported performance if no start is given."""
PERFORMANCE_PARAMETERS = ("bucket", "start", "end", "version")
EARLIEST = datetime.min.replace(tzinfo=UTC)
MAX_VERSION_DIGITS = 18
"""Digits of a version number that every database can compare."""
STORE_READERS = ThreadPoolExecutor(4, thread_name_prefix="keel-read")
"""For reads of the store. A store that does not answer takes half a minute, and no other work may wait for it."""
MATCH_SECONDS = 1.0
"""How long a response to feedback waits for the store."""
UNMATCHED = (
    "no prediction with these ids is in the store yet; their labels are kept and count once it is. If none arrives, "
    "the ids are wrong"
)
WITHHELD = "the reason is in the log, and is shown to clients with an API key"
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


def create_app(settings: Settings, *, service: Service | None = None) -> Starlette:
    """Return the ASGI application, whose lifespan starts and stops the service.

    Raises ConfigError or UnknownModel for settings that cannot be served.
    """
    serving = service or Service(settings)
    keys = ApiKeys(settings.keys_file) if settings.keys_file is not None else None

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await asyncio.to_thread(serving.start)
        publishing = asyncio.create_task(_publish_status(serving))
        try:
            yield
        finally:
            publishing.cancel()
            await asyncio.to_thread(serving.stop)

    app = Starlette(
        routes=[Route(path, each.answer, methods=[each.method]) for path, each in PATHS.items()],
        middleware=[
            Middleware(
                RequestMiddleware,
                service=serving,
                paths=PATHS,
                keys=keys,
                max_body=settings.max_body,
                seconds=settings.receive_seconds,
                is_own_host=settings.own_hosts(),
            )
        ],
        exception_handlers={HTTPException: _http_error},  # type: ignore[dict-item]
        lifespan=lifespan,
    )
    # a redirect would send the request, its key included, to the host that its own header names
    app.router.redirect_slashes = False
    app.state.service, app.state.keys = serving, keys
    return app


async def paths(request: Request) -> Response:
    """Return which paths there are, and what each does."""
    found = {f"{each.method} {path}": each.meaning for path, each in PATHS.items()}
    return _json({"paths": found, "documentation": "docs/serving.md"})


async def models(request: Request) -> Response:
    """Return the served models, each with the version in production that answers, or null."""
    serving = _service(request)
    state = serving.loader.state() if serving.loader is not None else {}
    return _json({"models": {name: state.get(name, {}).get("production") for name in sorted(serving.models)}})


async def invoke(request: Request) -> Response:
    """Answer rows in MLflow's protocol. The response is sent when the rows are in the spool."""
    serving = _service(request)
    model = request.path_params.get("model") or serving.only_model()
    served = serving.served(model)
    body, content_type = await request.body(), request.headers.get("content-type")
    _require_no_encoding(request)
    if len(body) < LARGE_BODY:
        rows = parse(body, content_type, served.inputs, clock=serving.clock)
    else:
        rows = await asyncio.to_thread(parse, body, content_type, served.inputs, clock=serving.clock)
    answer = await serving.scorer.answer(rows, served)
    serving.metrics.predicted(answer.block)
    return Response(answer.body(), headers=dict(answer.headers()), media_type="application/json")


async def feedback(request: Request) -> Response:
    """Accept labels. Whether one matches a prediction is decided when it reaches the store."""
    from keel.feedback import label_table

    serving = _service(request)
    body = _read_json(request, await request.body())
    model, labels = labels_in(body, request.path_params.get("model"))
    config = serving.config(model or serving.only_model())
    table = await asyncio.to_thread(label_table, labels, config, now=datetime.now(UTC))
    block = label_block(config.model, table)
    await serving.store_block(block)
    unmatched = await _unmatched(serving, config, block.ids)
    answer = {"accepted": len(block.ids), "ids": block.ids, "unmatched": unmatched}
    return _json({**answer, "note": UNMATCHED} if unmatched else answer, status=202)


async def performance(request: Request) -> Response:
    """Return a model's realised performance over time, next to that of its holdout."""
    from keel.monitoring.performance_history import BUCKETS, series

    serving = _service(request)
    config = serving.config(request.path_params["model"])
    query = request.query_params
    for name in query:
        if name not in PERFORMANCE_PARAMETERS:
            near = suggestion(name, PERFORMANCE_PARAMETERS)
            raise BadRequest(f"{shown(name)}: unknown parameter{near}; valid: {', '.join(PERFORMANCE_PARAMETERS)}")
    end = _time("end", query.get("end")) or datetime.now(UTC)
    start = _time("start", query.get("start")) or max(end, EARLIEST + PERFORMANCE_SPAN) - PERFORMANCE_SPAN
    if start >= end:
        raise BadRequest(f"start: {start.isoformat()} must be before end, {end.isoformat()}")
    number = query.get("version")
    if number is not None and not (number.isdecimal() and len(number) <= MAX_VERSION_DIGITS):
        raise BadRequest(f"version: {shown(number)} is not a version number")
    bucket = query.get("bucket", "day")
    if bucket not in BUCKETS:
        raise BadRequest(f"bucket: {bucket!r} must be one of {', '.join(BUCKETS)}")
    version = None if number is None else int(number)
    found = await _read(series, serving.open_workspace(), config, start, end, bucket=bucket, version=version)
    return _json({"model": config.model, "bucket": bucket, "performance": found})


async def experiments(request: Request) -> Response:
    """Return a model's experiments, running and ended."""
    from keel.deployments import experiments as known

    serving = _service(request)
    config = serving.config(request.path_params["model"])
    found = await _read(known.list_all, serving.open_workspace().store, config.model)
    return _json({"model": config.model, "experiments": [each.to_dict() for each in found]})


async def health(request: Request) -> Response:
    """Return 200 if the process can go on; 503 if it needs a restart or its disk does not write."""
    fault = (await _probed_service(request)).fault
    if not fault:
        return _json({"status": "ok"})
    return _json({"status": "broken", "error": fault if _has_access(request) else WITHHELD}, status=503)


async def ready(request: Request) -> Response:
    """Return 200 if requests can be answered; 503 with what is missing if not."""
    serving = await _probed_service(request)
    own = serving.missing
    serving.workers.publish(own)  # before reading the others', so that of two workers at least one sees the other
    missing = {**own, **serving.workers.missing()}
    if not _has_access(request):
        missing = dict.fromkeys(["service"] if missing else [], WITHHELD)  # names are not for strangers either
    document = {"ready": not missing, "missing": missing}
    return _json(document, status=503, headers={"Retry-After": RETRY_AFTER}) if missing else _json(document)


async def version(request: Request) -> Response:
    """Return what runs: Keel's version, each model's versions, the spool's state."""
    return _json(_service(request).state())


async def metrics(request: Request) -> Response:
    """Return all metrics in Prometheus' text format."""
    serving = _service(request)
    serving.refresh_metrics()
    return Response(serving.metrics.text(), headers={"Content-Type": PROMETHEUS})


PATHS: Mapping[str, Path] = {
    "/": Path(paths, "GET", Access.ANY_KEY, "these paths"),
    "/models": Path(models, "GET", Scope.READ, "the served models and their versions in production"),
    "/models/{model}/invocations": Path(invoke, "POST", Scope.PREDICT, "predictions for rows"),
    "/invocations": Path(invoke, "POST", Scope.PREDICT, "the same, if one model is served"),
    "/models/{model}/feedback": Path(feedback, "POST", Scope.LABEL, "labels of predictions"),
    "/feedback": Path(feedback, "POST", Scope.LABEL, "the same, if one model is served or the body names it"),
    "/models/{model}/performance": Path(performance, "GET", Scope.READ, "realised performance"),
    "/models/{model}/experiments": Path(experiments, "GET", Scope.READ, "experiments, running and ended"),
    "/health": Path(health, "GET", Access.OPEN, "whether the process can go on"),
    "/ping": Path(health, "GET", Access.OPEN, "the same, under the name in MLflow's server and its health checks"),
    "/ready": Path(ready, "GET", Access.OPEN, "whether requests can be answered"),
    "/version": Path(version, "GET", Scope.READ, "what runs: versions, spool, workers"),
    "/metrics": Path(metrics, "GET", Scope.READ, "metrics in Prometheus' text format"),
}
"""Every path, and all that is decided by it."""


def labels_in(body: Any, path_model: str | None) -> tuple[str | None, list[Any]]:
    """Return the model and the labels of a feedback body: one label, or ``labels``, and optionally ``model``."""
    if not isinstance(body, dict):
        raise BadRequest('the body must be an object: one label, or {"model": …, "labels": [ … ]}')
    rest = dict(body)
    model = rest.pop("model", None)
    if model is not None and not isinstance(model, str):
        raise BadRequest("model: must be a text")
    if path_model is not None and model not in (None, path_model):
        raise BadRequest(f"model: the body names {model!r}, the path {path_model!r}")
    if "labels" not in rest:
        return path_model or model, [rest]
    labels = rest.pop("labels")
    if rest:
        raise BadRequest(f"{next(iter(rest))}: not allowed next to labels; put it inside each label")
    return path_model or model, labels


def _has_access(request: Request) -> bool:
    """Return whether an open path may show reasons and names to this client: they contain hosts, users and folders."""
    keys: ApiKeys | None = request.app.state.keys
    return keys is None or Scope.READ in (keys.scopes_of(keys_in(request.scope["headers"])) or ())


def _service(request: Request) -> Service:
    return request.app.state.service


async def _publish_status(serving: Service) -> None:
    """Publish this worker's status to the others, which also shows that its event loop runs."""
    while serving.workers.several:
        if serving.write_guard.refusal:
            await asyncio.to_thread(serving.write_guard.probe)
        serving.workers.publish(serving.missing)
        await asyncio.sleep(PUBLISH_SECONDS)


async def _probed_service(request: Request) -> Service:
    """Return the service after a probe of the disk if writes were refused; otherwise that costs nothing."""
    serving = _service(request)
    if serving.write_guard.refusal:
        await asyncio.to_thread(serving.write_guard.probe)
    return serving


async def _read(read: Callable[..., T], *args: Any, **options: Any) -> T:
    """Call a function that reads the store, in a thread that predictions and labels do not use."""
    return await asyncio.get_running_loop().run_in_executor(STORE_READERS, partial(read, *args, **options))


async def _unmatched(serving: Service, config: ModelConfig, ids: list[str]) -> list[str] | None:
    """Return the ids without a prediction in the store; None if it does not say so in time. Labels do not wait for it.

    A prediction that was answered within the last second or so may still be on its way.
    """
    workspace, shipper = serving.workspace, serving.shipper
    if workspace is None or shipper is None or shipper.error is not None:
        return None
    log = partial(workspace.store.predictions, config.model, config.features)
    try:
        async with asyncio.timeout(MATCH_SECONDS):
            known = await _read(lambda: log().known_ids(ids))
    except (TimeoutError, KeelError):
        return None
    return [name for name in dict.fromkeys(ids) if name not in known]


def _require_no_encoding(request: Request) -> None:
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise BadRequest(f"Content-Encoding: {encoding!r} is not supported; send the body uncompressed", status=415)


def _read_json(request: Request, body: bytes) -> Any:
    _require_no_encoding(request)
    media_type(request.headers.get("content-type", ""), (JSON,))
    return decode_strictly(body)


def _time(name: str, text: str | None) -> datetime | None:
    try:
        return parse_time(text)
    except ConfigError as error:
        raise BadRequest(f"{name}: {error}") from None
    except OverflowError:
        raise BadRequest(f"{name}: {text} is outside the supported range of years 1 to 9999 in UTC") from None


def _json(document: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(document), status, headers, media_type="application/json")


async def _http_error(request: Request, error: HTTPException) -> Response:
    """Return the router's errors in Keel's form, such as a wrong method."""
    wrong_method = error.status_code == 405
    return json_error(
        error.status_code,
        f"this path does not support {request.method}" if wrong_method else str(error.detail),
        "MethodNotAllowed" if wrong_method else "HttpError",
        dict(error.headers or {}),
    )
