"""Operators of ``keel.alerts``: find overdue checks, put waiting warnings into a message, send what is due."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from keel.errors import ConfigError, SampleRefused, UnknownModel
from keel_airflow.operators.base import WorkspaceOperator, airflow_errors, requested_values, run_url

if TYPE_CHECKING:
    from airflow.sdk import Context


class FindOverdueOperator(WorkspaceOperator):
    """Finds checks that have not come in their time, and those that have come at last. Returns their models.

    A check is told of once, however often it is found, and so is that it has come. What a silence has covered until now
    is told here, too.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        """Look for them, and put what is new into the outbox."""
        from keel_airflow.overdue import report_overdue

        with self.workspace() as workspace:
            return {"overdue": report_overdue(workspace, now=datetime.now(UTC))}


class FlushDigestsOperator(WorkspaceOperator):
    """Puts the warnings that have waited for a day or a week into one message for each person.

    Returns how many messages it has put into the outbox.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        """Compose the digests that are due."""
        from keel.alerts.digest import flush_digests
        from keel.config import read_models

        with self.workspace() as workspace:
            posted = flush_digests(workspace, list(read_models()[0].values()), now=datetime.now(UTC))
        return {"digests": len(posted)}


class SendDueOperator(WorkspaceOperator):
    """Sends what the outbox holds and is due. Returns how many deliveries were sent, wait again, and have failed.

    Its end is the end of the run, so it also says that this DAG works again, where people know that it did not.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        """Send the messages."""
        from keel_airflow.delivering import counted, deliver
        from keel_airflow.runs import RunEnd, report_run

        end = RunEnd(context["dag"].dag_id, context["run_id"], succeeded=True, run_url=run_url(context))
        with self.workspace() as workspace:
            report_run(workspace, end, model=None, now=datetime.now(UTC))
            return counted(deliver(workspace))


class SendSampleOperator(WorkspaceOperator):
    """Sends a sample to each recipient, by the providers' hooks as every alert. Returns what each receiver answered.

    The run's parameters ``model``, ``channel`` and ``to`` say whose recipients, by which channel, and to whom instead.
    It needs no store. It fails where a receiver has not accepted the message.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        """Send the messages, each once."""
        params = context["params"]
        with airflow_errors():
            return _send_samples(params["model"], params["channel"], params["to"])


def _send_samples(model: str | None, channel: Any, to: str | None) -> dict[str, Any]:
    """Send a sample to each recipient, and return the answers.

    Raises
    ------
    InvalidParameter
        There is no such model, or nobody to send it to.
    SampleRefused
        A receiver has not accepted it.

    """
    from keel.alerts.outbox import EmlSender
    from keel.alerts.samples import send_samples
    from keel.config import get_model, read_models
    from keel.workspace import home_of
    from keel_airflow.channels import senders
    from keel_airflow.delivering import mail_from

    with requested_values(ConfigError, UnknownModel):
        configs = [get_model(model)] if model else list(read_models()[0].values())
        fallback = EmlSender(home_of(os.environ) / "outbox", mail_from())
        found = send_samples(configs, senders(), fallback, channel=channel, to=to, now=datetime.now(UTC))
    sent = [{"channel": each.channel, "recipient": each.recipient, **each.answer.to_dict()} for each in found]
    refused = [f"{each['channel']} to {each['recipient']}: {each['detail']}" for each in sent if not each["accepted"]]
    if refused:
        raise SampleRefused("not accepted: " + "; ".join(refused))
    return {"sent": sent}
