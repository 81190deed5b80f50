"""Verify the ledger, and sign what it is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from keel_airflow.operators.base import WorkspaceOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class VerifyLedgerOperator(WorkspaceOperator):
    """Proves the ledger's chain and what follows from it, and signs a checkpoint where a key and a place are set.

    A ledger that does not hold fails the task at once: what is folded from it is no ground to act on.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        """Return how many rows hold, and how many of them are signed."""
        from keel import maintenance as upkeep

        with self.workspace() as workspace:
            return upkeep.verify_ledger(workspace, now=datetime.now(UTC))
