"""The OpenAPI document of the REST endpoints, made of the routes themselves.

``python -m keel_airflow.web.openapi docs/openapi.json`` writes the committed one, and with ``--check`` compares it.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse

from keel_airflow.web import problems
from keel_airflow.web.limits import BoundedRoute
from keel_airflow.web.schemas.problem import ProblemDetails
from keel_airflow.web.schemas.questions import DriftQuestion

if TYPE_CHECKING:
    from fastapi.routing import APIRoute

VERSION = "1"
"""Of the endpoints. It changes when a client has to."""
DESCRIPTION = """\
Questions to Keel, and what it can be told to do, on Airflow's API server.

Every path needs a login to Airflow: a token in `Authorization: Bearer …`, which `POST /auth/token` gives, or the cookie
of Airflow's pages. Reading about a model needs read access to its DAG `<model>.drift_check`. What starts a DAG needs
the permission to run that DAG.

Errors are problem details (RFC 9457). Times are ISO 8601 in UTC.
"""
SECURITY = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A token of this Airflow: POST /auth/token with username and password gives one.",
    },
    "cookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": "_token",
        "description": "Airflow's own, after a login by its page. What changes something must come from that page.",
    },
}
ALWAYS, WITH_BODY = (401, 403, 422, 503), (400, 413, 415)
"""Statuses of problems that every operation can have, and those that read a body."""

router = APIRouter(route_class=BoundedRoute)


@router.get("/openapi.json", include_in_schema=False)
def get_document(request: Request) -> JSONResponse:
    """Return the document, with the address below which this Airflow is mounted."""
    root = str(request.scope.get("root_path", "")).removesuffix("/keel")
    return JSONResponse({**document(), "servers": [{"url": root or "/"}]}, headers={"Cache-Control": "no-store"})


@cache
def document() -> Mapping[str, Any]:
    """Return the document. Its addresses are relative to Airflow's."""
    from keel_airflow.web.rest import rest_routers

    routes: list[APIRoute] = []
    for prefix, routers in rest_routers().items():
        whole = APIRouter(route_class=BoundedRoute)
        for each in routers:
            whole.include_router(each, prefix=prefix)
        routes += whole.routes  # type: ignore[arg-type]
    for route in routes:
        route.path_format = route.path_format.rstrip("/")
        route.operation_id = route.name
    made = copy.deepcopy(get_openapi(title="Keel", version=VERSION, description=DESCRIPTION, routes=routes))
    schemas = made.setdefault("components", {}).setdefault("schemas", {})
    for theirs in ("HTTPValidationError", "ValidationError"):
        schemas.pop(theirs, None)
    schemas.update(_problem_schemas())
    schemas["DriftQuestion"] = DriftQuestion.model_json_schema()
    made["components"]["securitySchemes"] = SECURITY
    made["security"] = [{name: []} for name in SECURITY]
    for path in made["paths"].values():
        for operation in path.values():
            _complete(operation)
    return made


def text() -> str:
    """Return the document as it is committed."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


def _complete(operation: dict[str, Any]) -> None:
    """Add to an operation the problems that it can answer with because of what wraps it."""
    statuses = (*ALWAYS, *(WITH_BODY if "requestBody" in operation else ()))
    responses = operation["responses"]
    responses.update({str(status): problem for status, problem in problems.documented(*statuses).items()})
    for status, response in responses.items():
        if status == "503":
            response["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
    operation["responses"] = dict(sorted(responses.items()))
    for parameter in operation.get("parameters", ()):
        parameter["schema"] = _without_null(parameter["schema"])


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a parameter that may be missing. A query can leave a value out, and cannot say null."""
    given = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    if len(given) != 1:
        return schema
    return {**given[0], **{name: value for name, value in schema.items() if name != "anyOf"}}


def _problem_schemas() -> dict[str, Any]:
    schema = ProblemDetails.model_json_schema(ref_template="#/components/schemas/{model}")
    return {**schema.pop("$defs"), problems.SCHEMA.rpartition("/")[2]: {**schema, "title": "Problem"}}


def main(arguments: Sequence[str]) -> int:
    """Write the document to a file, or compare it with the file's; 1 where they differ."""
    parser = argparse.ArgumentParser(prog="python -m keel_airflow.web.openapi", description=main.__doc__)
    parser.add_argument("path", type=Path, help="the file, such as docs/openapi.json")
    parser.add_argument("--check", action="store_true", help="compare only")
    given = parser.parse_args(arguments)
    path: Path = given.path
    if given.check:
        is_same = path.read_text(encoding="utf-8") == text()
        if not is_same:
            sys.stderr.write(f"{path} is not what the routes say: python -m keel_airflow.web.openapi {path}\n")
        return 0 if is_same else 1
    path.write_text(text(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
