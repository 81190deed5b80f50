"""Delete the versions that nobody needs any more."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from keel_airflow.operators.base import KeelOperator, asked_by

if TYPE_CHECKING:
    from airflow.sdk import Context


class PruneVersionsOperator(KeelOperator):
    """Deletes versions that are deployed nowhere, and were kept as long as the model's policy wants."""

    def execute(self, context: Context) -> dict[str, Any]:
        """Return what was deleted, and why."""
        from keel import maintenance as upkeep

        with self.keel() as (workspace, config):
            asked = {"actor": asked_by(context), "run_id": context["run_id"]}
            return upkeep.prune(workspace, config, now=datetime.now(UTC), **asked)
