"""``keel.test_message``: send a sample by a channel as alerts are sent, because a user or the API requests it."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG

from keel_airflow.operators.alerts import SendSampleOperator
from keel_airflow.params import sample_params
from keel_airflow.policy import Tag, dag_arguments

DOC = """
## Purpose
Shows that alerts arrive. It sends a sample to the people whom a model tells, or to one recipient, by the same provider
and connection as every alert.

## Inputs
- Runs only by hand or by the API. `model` is whose people are meant (empty: those of every model).
- `channel` (empty: all), and `to`, a recipient in place of the configured ones, which needs a channel.
- The connection of the channel, such as `smtp_default`. Without a mail server a mail is a file in the outbox.

## Outputs
- The messages. They pass the outbox by: each is tried once, and none is stored.
- The result of `send_sample`: what each receiver answered.

## When it fails
The receiver rejected the message, or no recipient is configured. The error names the receiver and the reason. Correct
the connection or the recipient, then start another run. A cleared task sends again. Keel notifies no one of this
failure: the person who started the run reads it there.
"""

ARGUMENTS = dag_arguments(None, doc=DOC, tags={Tag.ALERTS}, dagrun_timeout=timedelta(hours=1))

with DAG(
    "keel.test_message",
    description="Send a message that shows that alerts arrive",
    schedule=None,
    params=sample_params(),
    **ARGUMENTS,
):
    SendSampleOperator(task_id="send_sample")
