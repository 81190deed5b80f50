"""Tell a model's people what was found while looking after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from keel_airflow.channels import deliver
from keel_airflow.operators.base import airflow_errors, run_url

if TYPE_CHECKING:
    from airflow.sdk import Context


class TellFindingsOperator(BaseOperator):
    """Tells what `ReconcileOperator` found of one model, by every channel whose connection exists, else to the outbox.

    :param found: what `ReconcileOperator` returned. (templated)
    """

    template_fields: Sequence[str] = ("found",)

    def __init__(
        self,
        *,
        found: dict[str, Any],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.found = found

    def execute(self, context: Context) -> list[str]:
        """Return the channels that took the message; none where there is nothing to tell."""
        from keel.alerts.messages.findings import compose_findings
        from keel.config import get_model

        with airflow_errors():
            config = get_model(self.found["model"])
        return deliver(compose_findings(config, self.found, run_url=run_url(context)))
