"""Operators of ``keel.alerts``: find overdue checks, put waiting warnings into a message, send what is due."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from keel_airflow.operators.base import WorkspaceOperator, run_url

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
