"""Look whether all that is stored fits together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keel_airflow.operators.base import WorkspaceOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class VerifyStoreOperator(WorkspaceOperator):
    """Checks rows, marks, counts and sums against each other, and an SQLite file as such.

    What does not fit together fails the task at once, with a sentence for each fault.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        """Return how many faults there are: none."""
        from keel import maintenance as upkeep

        with self.workspace() as workspace:
            return upkeep.verify_store(workspace)
