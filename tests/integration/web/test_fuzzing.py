"""Requests that Schemathesis makes of the OpenAPI document, valid and invalid: it names every answer.

2,000 requests in CI, 100,000 with ``KEEL_FULL_SIZE=1``; ``KEEL_FUZZING_CASES`` sets another number.
"""

from __future__ import annotations

import json
import math
import os
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.paths import PROJECT

if TYPE_CHECKING:
    import requests

    from tests.support.web.api_server import ApiServer

pytestmark = [pytest.mark.integration, pytest.mark.slow]

FULL = bool(os.environ.get("KEEL_FULL_SIZE"))
CASES = int(os.environ.get("KEEL_FUZZING_CASES", "100000" if FULL else "2000"))
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
SCHEMA = schemathesis.openapi.from_dict(json.loads((PROJECT / "docs" / "openapi.json").read_text()))
OPERATIONS = {f"{each.ok().method.upper()} {each.ok().path}": each.ok() for each in SCHEMA.get_all_operations()}
SLOW = {
    name for name in OPERATIONS if name.startswith("POST /drift/") or name.endswith(("/promote", "/rollback", "/stop"))
}
"""A valid request to these computes, or starts a run of a DAG: they get a tenth of the others' requests."""
SHARE = CASES / (len(OPERATIONS) - 0.9 * len(SLOW))


def size_of(name: str) -> int:
    """Return how many requests an operation gets."""
    return max(20, math.ceil(SHARE * (0.1 if name in SLOW else 1)))


Known = dict[str, list[Any]]


@pytest.fixture(scope="module")
def known(web: ApiServer) -> Known:
    """Values that exist, by the parameter's name: of invented names the answer is always 404."""
    reports = web.ask("GET", "/drift/reports", params={"model": "tide"}).json()["reports"]
    alerts = web.ask("GET", "/models/tide/alerts", params={"state": "all"}).json()["alerts"]
    experiments = web.ask("GET", "/models/tide/experiments").json()["experiments"]
    ids = [each["report_id"] for each in reports]
    return {
        "model": ["tide", "ebb"],
        "report_id": ids,
        "report": ids,
        "before": ids,
        "first": ["1", "2", "3", "production"],
        "second": ["1", "2", "3", "previous"],
        "alert_id": [each["alert_id"] for each in alerts],
        "experiment_id": [each["experiment_id"] for each in experiments],
    }


@pytest.fixture(scope="module")
def session(web: ApiServer) -> requests.Session:
    import requests

    made = requests.Session()
    made.trust_env = False
    made.headers.update(web.headers("olga"))
    return made


@pytest.mark.timeout(3600 if FULL else 600)
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_answer_is_one_that_the_document_names(
    web: ApiServer, session: requests.Session, known: Known, name: str
) -> None:
    operation = OPERATIONS[name]
    modes = [operation.as_strategy(generation_mode=mode) for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)]
    sent = 0

    @settings(
        max_examples=size_of(name),
        derandomize=not FULL,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=st.one_of(modes), chosen=st.data())
    def ask(case: schemathesis.Case, chosen: st.DataObject) -> None:
        nonlocal sent
        for values in (case.path_parameters, case.query, case.body):
            for parameter in known.keys() & values.keys() if isinstance(values, dict) else ():
                if chosen.draw(st.booleans()):
                    values[parameter] = chosen.draw(st.sampled_from(known[parameter]))
        if isinstance(case.query, dict) and case.query.get("wait") in range(1, 61):
            case.query["wait"] = 0  # no run ends here: nothing but seconds would be spent
        case.call_and_validate(base_url=web.url + web.root, session=session, checks=CHECKS, timeout=60)
        sent += 1

    ask()
    assert sent >= 10


def test_the_requests_are_as_many_as_stated() -> None:
    assert sum(map(size_of, OPERATIONS)) >= CASES
