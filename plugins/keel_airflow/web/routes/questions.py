"""Questions about drift and performance between two checks. The helper process computes them; nothing is stored."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ValidationError

from keel_airflow.web import computing, installation, limits, problems
from keel_airflow.web.limits import BoundedRoute
from keel_airflow.web.problems import Problem
from keel_airflow.web.schemas.common import ModelName, VersionName, iso
from keel_airflow.web.schemas.questions import (
    MOST_ROWS,
    SCALARS,
    DriftAnswer,
    DriftQuestion,
    PerformanceAnswer,
    PerformanceQuestion,
)
from keel_airflow.web.security import CallerDep, require_read

router = APIRouter(route_class=BoundedRoute, tags=["questions"])

ARROW = "application/vnd.apache.arrow.stream"
BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/DriftQuestion"}},
            ARROW: {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
QuestionT = TypeVar("QuestionT", bound=BaseModel)


@dataclass(frozen=True)
class Sent:
    """A body as it was sent."""

    body: bytes
    is_arrow: bool


async def sent_body(request: Request) -> Sent:
    """Read a body of JSON or of Arrow. It is parsed on a thread, and Arrow in the helper process."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != ARROW:
        try:
            limits.require_json(request)
        except Problem as problem:
            remedy = f"send application/json or {ARROW}"
            errors = [problems.entry("Content-Type", "neither JSON nor Arrow", remedy)]
            raise Problem(415, problem.title, problem.detail, errors=errors) from None
    return Sent(await request.body(), kind == ARROW)


@router.post("/data-drift", responses=problems.documented(400, 404, 409, 413, 415, 504), openapi_extra=BODY)
def measure_data_drift(
    caller: CallerDep,
    sent: Annotated[Sent, Depends(sent_body)],
    model: Annotated[ModelName | None, Query(description="of rows in Arrow's form")] = None,
    version: Annotated[VersionName | None, Query(description="of rows in Arrow's form; default: production")] = None,
) -> DriftAnswer:
    """Measure the drift of a window, or of rows that come along, from what a version was trained on.

    Nothing is stored. Rows come as ``rows`` in JSON, or as a stream of Arrow's IPC format with model and version in the
    query.
    """
    if sent.is_arrow:
        if model is None:
            wrong = problems.entry("model", "is missing", "name it in the query: /drift/data-drift?model=…")
            raise Problem(422, problems.INVALID_TITLE, "not valid: model", errors=[wrong])
        arguments: dict[str, Any] = {"model": model, "version": version, "form": "arrow"}
        body = sent.body
    else:
        question = parsed(DriftQuestion, sent.body)
        if question.rows is not None:
            _check_rows(question)
        arguments, body = _arguments(question), b""
        if question.rows is not None:
            arguments["form"], body = "records", json.dumps(question.rows).encode()
    _require(caller, arguments["model"])
    return DriftAnswer.model_validate(computing.ask("data_drift", arguments, body))


@router.post("/model-performance-drift", responses=problems.documented(404, 409, 504))
def measure_performance_drift(caller: CallerDep, body: PerformanceQuestion) -> PerformanceAnswer:
    """Measure the performance of a version on the labels of a window beside its holdout's. Nothing is stored."""
    _require(caller, body.model)
    return PerformanceAnswer.model_validate(computing.ask("performance_drift", _arguments(body)))


def parsed(kind: type[QuestionT], body: bytes) -> QuestionT:
    """Return a question from a body of JSON; a problem where it is none, 400, or is not valid, 422."""
    try:
        values = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Problem(
            400, "The request cannot be read", f"the body is no JSON: {error}"[:300], errors=[NO_JSON]
        ) from None
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        found = [{**each, "loc": ("body", *each["loc"])} for each in error.errors(include_url=False)]
        raise problems.of_validation(found) from None


NO_JSON = problems.entry("body", "is no JSON", "send a JSON object")


def _require(caller: Any, model: str) -> None:
    require_read(caller, model)
    installation.model_config(model)


def _arguments(question: PerformanceQuestion) -> dict[str, Any]:
    from keel.config.loading import parse_duration

    lookback: Any = None if question.lookback is None else parse_duration(question.lookback)
    return {
        "model": question.model,
        "version": question.version,
        "since": question.since and iso(question.since),
        "until": question.until and iso(question.until),
        "lookback": lookback and lookback.total_seconds(),
        "overrides": question.overrides,
    }


def _check_rows(question: DriftQuestion) -> None:
    """Refuse rows together with a window, and rows that are no objects of plain values."""
    errors = [
        problems.entry(name, "is given together with rows", "leave it out: rows have no window")
        for name in ("since", "until", "lookback")
        if getattr(question, name) is not None
    ]
    rows = question.rows or []
    if not rows:
        errors.append(problems.entry("rows", "there is none", "send at least one row, or leave rows out"))
    if len(rows) > MOST_ROWS:
        errors.append(problems.entry("rows", f"has {len(rows):,} rows", f"send at most {MOST_ROWS:,}"))
    wrong = next((at for at, row in enumerate(rows) if not _is_plain(row)), None)
    if wrong is not None:
        remedy = "send an object with a text, a number, true, false or null a column"
        errors.append(problems.entry(f"rows.{wrong}", "is no row", remedy))
    if errors:
        fields = ", ".join(each["field"] for each in errors)
        raise Problem(422, problems.INVALID_TITLE, f"not valid: {fields}", errors=errors)


def _is_plain(row: object) -> bool:
    return isinstance(row, dict) and all(type(value) in SCALARS for value in row.values())
