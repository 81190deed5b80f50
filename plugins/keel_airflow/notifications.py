"""Notifications outside the tasks: a run failed or timed out or works again, or it waits for approval."""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseNotifier

from keel_airflow.runs import RunEnd, composer, end_of, observation_of, report_run

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)


class KeelNotifier(BaseNotifier):
    """Tells people, once, that a run of a DAG has failed, and once that the DAG works again.

    For ``on_failure_callback`` and ``on_success_callback`` of any DAG, of Keel or of your own; the same object for
    both. Airflow runs it in the DAG processor, also where a run has timed out or its process was killed. It can be the
    callback of single tasks, too; then each of them fails and works again on its own.

        with DAG("load_weather", on_failure_callback=KeelNotifier(), on_success_callback=KeelNotifier(), …):

    A run that a person started with a parameter that is not valid, or before the model's first version, notifies no
    one: that person reads the error in the run, nothing was changed, and no check has failed.

    Where Keel's store fails, the message is sent without it, once an hour at most.

    :param model: name of the monitored model whose people are told; None: those of every model
    """

    def __init__(self, *, model: str | None = None) -> None:
        super().__init__()
        self.model = model

    def render_template_fields(self, *_: Any, **__: Any) -> None:
        """Render nothing: an error's text is not a template, and the context of ``dag.test`` cannot render."""

    def notify(self, context: Context) -> None:
        """Put what is new into the outbox, and send it at once."""
        from keel_airflow.delivering import deliver_quietly
        from keel_airflow.hooks import KeelHook

        end, now = end_of(context, told_by=KeelNotifier), datetime.now(UTC)
        if end.refused_its_user:
            log.info("the run %s was refused, and its user reads why; no one else is notified", end.run_id)
            return
        try:
            with KeelHook().get_conn() as workspace:
                posted = report_run(workspace, end, model=self.model, now=now)
                told = deliver_quietly(workspace, message_id=posted.message_id if posted else None)
        except Exception:
            if end.succeeded:
                raise
            log.exception("the store cannot take the failure of %s", end.subject)
            told = tell_without_store(end, model=self.model, now=now)
        log.info("notified of the end of %s by: %s", end.run_id, ", ".join(told) or "no channel")


def tell_without_store(end: RunEnd, *, model: str | None, now: datetime) -> list[str]:
    """Send the message about a failed run by every channel, else into the outbox, and return what took it."""
    from keel.alerts.direct import tell_directly
    from keel.alerts.outbox import EmlSender
    from keel.config import read_models
    from keel.workspace import home_of
    from keel_airflow.channels import senders
    from keel_airflow.delivering import mail_from

    valid, home = read_models()[0], home_of(os.environ)
    config = valid.get(model) if model else None
    told = tell_directly(
        [config] if config else list(valid.values()),
        observation_of(end, model=model, now=now),
        composer(end, config, now),
        senders(),
        EmlSender(home / "outbox", mail_from()),
        home=home,
        now=now,
    )
    return list(dict.fromkeys(each.channel if each.state == "sent" else "outbox" for each in told))


class ApprovalNotifier(BaseNotifier):
    """Notifies a model's people that a task waits for their approval, with the address at which to answer.

    :param model: name of the monitored model
    """

    def __init__(self, *, model: str) -> None:
        super().__init__()
        self.model = model

    def render_template_fields(self, *_: Any, **__: Any) -> None:
        """Render nothing: the evidence in a question is not a template."""

    def notify(self, context: Context) -> None:
        """Put the question into the outbox, and send it at once."""
        from keel.config import get_model
        from keel_airflow.approvals import report_question
        from keel_airflow.delivering import deliver_quietly
        from keel_airflow.hooks import KeelHook

        with KeelHook().get_conn() as workspace:
            posted = report_question(workspace, get_model(self.model), context)
            told = deliver_quietly(workspace, message_id=posted.message_id)
        log.info("asked for approval by: %s", ", ".join(told) or "no channel")
