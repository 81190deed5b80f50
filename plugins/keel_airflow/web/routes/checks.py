"""Start a check, and send a message that shows that alerts arrive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response

from keel.errors import ConfigError
from keel_airflow.web import dag_runs, installation
from keel_airflow.web.dag_runs import IdempotencyKey, Start, Wait
from keel_airflow.web.limits import BoundedRoute
from keel_airflow.web.schemas.actions import CheckRequest, MessageRequest
from keel_airflow.web.schemas.common import iso
from keel_airflow.web.security import CallerDep, require_read, require_run

if TYPE_CHECKING:
    from collections.abc import Mapping

router = APIRouter(route_class=BoundedRoute, tags=["checks"])

TEST_DAG = "keel.test_message"


@router.post("/check-and-retrain", status_code=202, response_class=Response, responses=dag_runs.STARTED)
def check_and_retrain(
    request: Request, caller: CallerDep, body: CheckRequest, wait: Wait = 0, idempotency_key: IdempotencyKey = None
) -> Response:
    """Start ``<model>.drift_check``: it checks a window, decides, and retrains where it finds a reason."""
    dag_id = f"{body.model}.drift_check"
    require_run(caller, dag_id)
    installation.model_config(body.model)
    given: dict[str, Any] = {"start": body.start and iso(body.start), "end": body.end and iso(body.end)}
    asked = {name: value for name, value in {**given, "overrides": body.overrides}.items() if value}

    def checked() -> Mapping[str, Any]:
        _refuse_invalid(body)
        return {}

    wanted = Start(dag_id, body, asked, checked, wait, idempotency_key)
    return dag_runs.start(request, caller, wanted, dag_runs.decision_sentence(body.model, "decision"))


@router.post("/test-email", status_code=202, response_class=Response, responses=dag_runs.STARTED)
def send_test_message(
    request: Request, caller: CallerDep, body: MessageRequest, wait: Wait = 0, idempotency_key: IdempotencyKey = None
) -> Response:
    """Start ``keel.test_message``: it sends a sample by a channel, by mail if none is named, as alerts are sent."""
    require_read(caller, body.model)
    require_run(caller, TEST_DAG)
    installation.model_config(body.model)
    asked = {"model": body.model, "channel": body.channel, **({"to": body.to} if body.to else {})}
    wanted = Start(TEST_DAG, body, asked, wait=wait, key=idempotency_key)
    return dag_runs.start(request, caller, wanted, _sent)


def _sent(run_id: str) -> str:
    """Return what a run that has sent the message did: it fails where a receiver has not accepted it."""
    return "The message was accepted. Whether it arrives, its recipient sees."


def _refuse_invalid(body: CheckRequest) -> None:
    """Raise an error for a window that is none, or is not over, and for configuration that a run cannot override."""
    from keel.errors import BadRequest
    from keel.loop.windows import resolve_window
    from keel.window import now_utc
    from keel_airflow.operators.base import configuration

    config, now = configuration(body.model, body.overrides), now_utc()
    if body.start is not None and body.start >= (body.end or now):
        raise BadRequest(f"start: {iso(body.start)} is not before the end of the window")
    try:
        resolve_window(config, start=body.start, end=body.end, now=now)
    except (OverflowError, ConfigError) as error:
        raise BadRequest(f"overrides: check.lookback: no window is of this length: {error}") from None
