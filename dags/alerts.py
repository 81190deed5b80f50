"""``keel.alerts``: find checks that have not come, send what waits, and try again what was not accepted.

It is the one DAG of which the messages of all models depend, and the cheapest: three short tasks without the registry.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG

from keel_airflow.operators.alerts import FindOverdueOperator, FlushDigestsOperator, SendDueOperator
from keel_airflow.policy import Tag, dag_arguments
from keel_airflow.schedules import alerts_schedule

DOC = """
## Purpose
Sends the messages of all models that are due. It finds checks that have not come in their time, and what a silence has
covered until now. It puts warnings that have waited for a day or a week into one message for each person. Then it sends
what the outbox holds: messages whose run has ended before they left, and those that a mail server or a channel has not
accepted, with growing pauses.

## Inputs
- Each model's `alerts` and `check.schedule`, the stored decisions, and the outbox in Keel's store.
- The connections `smtp_default`, `slack_default` or `slack_webhook_default`, and those that `alerts.routes` name.
- Runs at `KEEL_ALERTS_SCHEDULE` (UTC; not set: every minute). One run at a time.

## Outputs
- Messages to people. Each try is stored with what the server answered: `keel alerts list` shows what does not leave.
- `send_due` returns how many messages were sent, how many wait for another try, and how many have failed.

## When it fails
Checks and retrainings go on, and send their own messages. What was not accepted waits until this DAG works again.
- `send_due` does not fail because a server refuses a message: that is stored, and a message by another way says so.
- Any task: the store cannot be read. Mend it; the next run does the work of this one. Clearing a task is not needed.
- A failure of this DAG is told to people, once an hour at most while the store is down.
"""

# Its last task tells that it works again. A callback for that would start a process every minute.
ARGUMENTS = dag_arguments(None, doc=DOC, tags={Tag.ALERTS}, dagrun_timeout=timedelta(hours=1))
ARGUMENTS |= {"on_success_callback": None}

with DAG(
    "keel.alerts",
    description="Send the messages that are due, and find checks that have not come",
    schedule=alerts_schedule(),
    **ARGUMENTS,
):
    overdue = FindOverdueOperator(task_id="find_overdue")
    digests = FlushDigestsOperator(task_id="flush_digests")
    send = SendDueOperator(task_id="send_due")

    overdue >> digests >> send
