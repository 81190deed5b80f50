"""Delete a model's rows that are old enough."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from keel_airflow.operators.base import KeelOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class ExpireRowsOperator(KeelOperator):
    """Sums what labels have said, and deletes rows and labels older than the model's ``retention.rows``."""

    def execute(self, context: Context) -> dict[str, Any]:
        """Return how much was counted, summed and deleted, and what was kept though it is older."""
        from keel import maintenance as upkeep

        with self.keel() as (workspace, config):
            return upkeep.expire_rows(workspace, config, now=datetime.now(UTC))
