"""Every route of the plugin on a running API server: who gets an answer, and which.

The routes are those of the apps themselves, so a route without an entry in `CALLS` fails `test_no_route_is_forgotten`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.web.api_server import EXPIRED, NOBODY

if TYPE_CHECKING:
    import httpx

    from tests.support.web.api_server import ApiServer

pytestmark = pytest.mark.integration

GUARDED = "secret"
"""The model whose DAGs only operators may see (`tests.support.web.filled_home`)."""
WINDOW = {"since": "2024-03-12T00:00:00Z", "until": "2024-03-13T00:00:00Z"}
"""A day of production that has labels."""
HTML, PROBLEM = "text/html", "application/problem+json"


@dataclass(frozen=True)
class Call:
    """A request that has success, and who may send it."""

    method: str
    route: str
    """As the app has it. The values of its parameters are in `parameters`, else among the fixture `ids`."""
    status: int = 200
    acts: bool = False
    """Whether a viewer may not."""
    parameters: dict[str, str] = field(default_factory=dict)
    query: dict[str, Any] = field(default_factory=dict)
    body: dict[str, Any] | None = None

    @property
    def id(self) -> str:
        return f"{self.method} {self.route}"

    @property
    def is_page(self) -> bool:
        return self.route.startswith("/keel/") and not self.route.endswith(".json")

    def path(self, ids: dict[str, str]) -> str:
        """Return the path with the values of its parameters."""
        template = self.route.replace("/*", "/{file}").replace(":path}", "}")
        return template.format_map({**ids, **self.parameters}).format_map(ids)

    def send(self, web: ApiServer, ids: dict[str, str], *, user: str, **changes: Any) -> httpx.Response:
        """Send it as a user. changes: other values of the parameters, wherever they are."""
        values = {**ids, **changes}
        path = self.path(values)
        query = {key: value.format_map(values) for key, value in self.query.items()}
        return web.ask(self.method, path, user=user, params=query, json=self.content(values))

    def content(self, ids: dict[str, str]) -> dict[str, Any] | None:
        """Return the body."""
        return self.body and {
            key: value.format_map(ids) if isinstance(value, str) else value for key, value in self.body.items()
        }


CALLS = [
    Call("POST", "/drift/data-drift", body={"model": "{model}", **WINDOW}),
    Call("POST", "/drift/model-performance-drift", body={"model": "{model}", **WINDOW}),
    Call("POST", "/drift/check-and-retrain", 202, acts=True, body={"model": "{model}"}),
    Call("POST", "/drift/test-email", 202, acts=True, body={"model": "{model}"}),
    Call("GET", "/drift/reports", query={"model": "{model}"}),
    Call("GET", "/drift/reports/{report_id}"),
    Call("GET", "/models/"),
    Call("POST", "/models/promote", 202, acts=True, body={"model": "{model}"}),
    Call("POST", "/models/rollback", 202, acts=True, body={"model": "{model}"}),
    Call("GET", "/models/{model}/versions"),
    Call("GET", "/models/{model}/compare", query={"first": "2", "second": "1"}),
    Call("GET", "/models/{model}/deployments"),
    Call("GET", "/models/{model}/alerts"),
    Call("POST", "/models/{model}/alerts/{alert_id}/acknowledge", acts=True, body={"reason": "I look after it"}),
    Call("POST", "/models/{model}/silences", 201, acts=True, body={"duration": "1d", "reason": "planned work"}),
    Call("POST", "/models/{model}/silences/{silence_id}/end", acts=True, body={}),
    Call("GET", "/models/{model}/experiments"),
    # one is running: `test_actions` starts one where none is
    Call("POST", "/models/{model}/experiments", 409, acts=True, body={"challenger": 3}),
    Call("POST", "/models/{model}/experiments/{experiment_id}/stop", 202, acts=True, body={"reason": "it is over"}),
    Call("GET", "/keel/openapi.json"),
    Call("GET", "/keel/"),
    Call("GET", "/keel/models/{model}"),
    Call("GET", "/keel/models/{model}/checks"),
    Call("GET", "/keel/models/{model}/columns/{column:path}", parameters={"column": "wind"}),
    Call("GET", "/keel/dag/{dag_id}", parameters={"dag_id": "{model}.drift_check"}),
    Call("GET", "/keel/reports/{report_id}"),
    Call("GET", "/keel/static/{name}", parameters={"name": "keel.css"}),
]
OF_A_MODEL = [call for call in CALLS if "{model}" in str((call.route, call.query, call.body))]

each_call = pytest.mark.parametrize("call", CALLS, ids=lambda call: call.id)


@pytest.fixture(scope="module")
def routes(web: ApiServer) -> list[tuple[str, str]]:
    command = [sys.executable, "-W", "ignore", "-m", "tests.support.web.routes"]
    environment = {**web.environment, "PYTHONPATH": f"{web.environment['PYTHONPATH']}:plugins"}
    printed = subprocess.check_output(command, env=environment, text=True, timeout=120)
    return [(method, path) for method, path in json.loads(printed.splitlines()[-1])]


@pytest.fixture(scope="module")
def ids(web: ApiServer) -> dict[str, str]:
    """Of the stored records, as the API lists them."""
    reports = web.ask("GET", "/drift/reports", params={"model": "tide", "kind": "drift"}).json()["reports"]
    alerts = web.ask("GET", "/models/tide/alerts").json()["alerts"]
    experiments = web.ask("GET", "/models/tide/experiments").json()["experiments"]
    planned = {"kind": "pipeline_failure", "duration": "1d", "reason": "planned work"}
    silence = web.ask("POST", "/models/tide/silences", json=planned).json()
    return {
        "model": "tide",
        "silence_id": silence["silence_id"],
        "report_id": reports[0]["report_id"],
        "alert_id": str(alerts[0]["alert_id"]),
        "experiment_id": experiments[0]["experiment_id"],
    }


def test_no_route_is_forgotten(routes: list[tuple[str, str]]) -> None:
    assert len(routes) == len(set(routes))
    assert {(call.method, call.route) for call in CALLS} == set(routes)


@each_call
@pytest.mark.parametrize("user", [NOBODY, EXPIRED], ids=["no token", "expired token"])
def test_without_a_login_nothing_is_answered(web: ApiServer, ids: dict[str, str], call: Call, user: str) -> None:
    answer = call.send(web, ids, user=user)
    assert answer.status_code == 401
    assert_problem(answer, call)
    assert answer.headers["www-authenticate"] == "Bearer"


@each_call
def test_a_viewer_reads_and_does_not_act(web: ApiServer, ids: dict[str, str], call: Call) -> None:
    answer = call.send(web, ids, user="vera")
    if call.acts:
        assert answer.status_code == 403
        assert_problem(answer, call)
        assert "vera may not" in answer.json()["detail"]
    else:
        assert answer.status_code == 200, answer.text


@each_call
def test_the_right_role_has_success(web: ApiServer, ids: dict[str, str], call: Call) -> None:
    answer = call.send(web, ids, user="uma")
    assert answer.status_code == call.status, answer.text
    if "/static/" not in call.route:
        expected = PROBLEM if call.status >= 400 else HTML if call.is_page else "application/json"
        assert answer.headers["content-type"].startswith(expected)


@each_call
def test_another_method_is_refused(web: ApiServer, ids: dict[str, str], call: Call) -> None:
    allowed = {each.method for each in CALLS if each.route == call.route}
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - allowed:
        answer = web.ask(method, call.path(ids), json={})
        assert answer.status_code == 405, (method, answer.text)
        assert set(answer.headers["allow"].replace(" ", "").split(",")) <= allowed | {"HEAD"}
        assert_problem(answer, call)


@pytest.mark.parametrize("call", OF_A_MODEL, ids=lambda call: call.id)
def test_a_model_that_one_may_not_read_is_not_answered(web: ApiServer, ids: dict[str, str], call: Call) -> None:
    answer = call.send(web, ids, user="uma", model=GUARDED)
    assert answer.status_code == 403, answer.text
    assert_problem(answer, call)
    assert call.send(web, ids, user="olga", model=GUARDED).status_code != 403


@pytest.mark.parametrize("file", ["keel.css", "theme.js", "report.js", "page.js", "actions.js", "keel.svg"])
def test_static_files_are_for_those_who_are_logged_in(web: ApiServer, file: str) -> None:
    path = f"/keel/static/{file}"
    assert [web.ask("GET", path, user=user).status_code for user in (NOBODY, EXPIRED, "vera")] == [401, 401, 200]
    assert web.ask("GET", path).headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("file", ["..%2fstatic_files.py", "%2e%2e/routes.py", "nothing.js", "keel.css%00", "a" * 4000])
def test_no_other_file_is_served(web: ApiServer, file: str) -> None:
    answer = web.ask("GET", f"/keel/static/{file}")
    assert answer.status_code == 404
    assert "import" not in answer.text


def test_lists_leave_out_what_one_may_not_read(web: ApiServer) -> None:
    seen = {user: [each["model"] for each in web.ask("GET", "/models", user=user).json()["models"]] for user in USERS}
    assert sorted(seen["olga"]) == ["ebb", "secret", "tide"]
    assert sorted(seen["uma"]) == sorted(seen["vera"]) == ["ebb", "tide"]


USERS = ("olga", "uma", "vera")


def assert_problem(answer: httpx.Response, call: Call) -> None:
    """Check the form of an error, and that it tells nothing of the code."""
    if call.is_page:
        assert answer.headers["content-type"].startswith(HTML)
    else:
        assert answer.headers["content-type"] == PROBLEM
        problem = answer.json()
        assert problem["status"] == answer.status_code
        assert problem["title"]
        assert problem["detail"]
    assert "Traceback" not in answer.text
    assert ".py" not in answer.text
