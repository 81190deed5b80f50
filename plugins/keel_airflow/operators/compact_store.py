"""Give the space of what was deleted back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keel_airflow.operators.base import WorkspaceOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class CompactStoreOperator(WorkspaceOperator):
    """Compacts the store while others read and write it."""

    def execute(self, context: Context) -> dict[str, Any]:
        """Return its size before and after, in bytes."""
        from keel import maintenance as upkeep

        with self.workspace() as workspace:
            return upkeep.compact(workspace)
