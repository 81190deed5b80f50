"""What no run tells of, such as a check that has not come: ``keel.alerts`` looks every minute, a check's deadline too.

The two are independent. ``keel.alerts`` needs the scheduler and a free slot for a task. The deadline needs the
scheduler and the triggerer, so it also works while every slot is taken by tasks that hang.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import (  # type: ignore[attr-defined]  # Airflow's stub of the package leaves them out
    DAG,
    AsyncCallback,
    DeadlineAlert,
    DeadlineReference,
)

from keel.monitoring.check_times import GRACE

if TYPE_CHECKING:
    from keel.alerts.records import Observation
    from keel.config import ModelConfig
    from keel.workspace import Workspace

log = logging.getLogger(__name__)


class DeadlineDAG(DAG):
    """A DAG with a deadline, which ``airflow dags test`` can run.

    Airflow 3.3.2 cannot: at the end of such a run it takes the deadline's definition for the id of a stored one (issue
    73428). A run of a test has no deadline here. The DAG that is stored with it is parsed anew and keeps its own.
    """

    def test(self, *arguments: Any, **named: Any) -> Any:
        """Run it in this process."""
        self.deadline = None
        return super().test(*arguments, **named)


def check_deadline(config: ModelConfig) -> DeadlineAlert | None:
    """Return the deadline of a model's check; None where it has no schedule, so that it cannot be late.

    Airflow raises it for every run that is not successful `GRACE` after it was queued, also for one that a person
    started, and late after an outage. So it is a bell only: the store says whether the check is overdue.
    """
    if config.check.schedule is None:
        return None
    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=GRACE,
        callback=AsyncCallback(look_for_overdue, kwargs={"model": config.model}),
        name="check overdue",
    )


async def look_for_overdue(model: str, context: dict[str, Any] | None = None) -> None:
    """Tell people of a check that is overdue. Airflow's triggerer calls it when the deadline of a run has passed.

    Called once or often, people are told once: an alert is one by its fingerprint.
    """
    # The triggerer is one event loop, and its heartbeat must not wait for a database or a mail server.
    await asyncio.to_thread(_look, model)


def _look(model: str) -> None:
    from keel.window import now_utc
    from keel_airflow.hooks import KeelHook

    with KeelHook().get_conn() as workspace:
        log.info("overdue after its deadline: %s", report_overdue(workspace, only=model, now=now_utc(), send=True))


def report_overdue(workspace: Workspace, *, now: datetime, only: str | None = None, send: bool = False) -> list[str]:
    """Put what is new about overdue checks into the outbox, and return the models whose check is overdue.

    What people are owed of alerts at which no run looks again, as after a silence, is put there, too.

    only: one model; None: every model with a valid configuration, and what concerns no single one.
    send: whether what is new is also sent at once.
    """
    from functools import partial

    from keel.alerts.door import observe
    from keel.alerts.messages.alerts import compose_alerts
    from keel.alerts.overdue import find_overdue, find_owed
    from keel.config import read_models
    from keel_airflow.delivering import deliver_quietly

    def tell(observation: Observation) -> None:
        config = configs.get(observation.model)
        posted = observe(workspace, config, observation, partial(compose_alerts, config, now=now), now=now)
        if send:
            deliver_quietly(workspace, message_id=posted.message_id)

    configs = {name: config for name, config in read_models()[0].items() if only in (None, name)}
    found = find_overdue(workspace, configs.values(), now=now)
    for observation in found:
        tell(observation)
    for observation in find_owed(workspace, [*configs.values(), *([] if only else [None])], now=now):
        tell(observation)
    return [each.model for each in found if each.findings]
